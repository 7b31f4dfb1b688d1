//! The file of what a network says of each test picture.

use std::path::Path;

use super::FormatError;
use crate::disk::Disk;
use crate::verdicts::{VERDICTS, Verdicts};

/// Writes verdicts into the folder of a member or a teacher, in one line: with a number a line, most of the file would be spaces.
///
/// # Errors
/// What the disk refuses.
pub fn write_on(disk: &dyn Disk, folder: &Path, verdicts: &Verdicts) -> Result<(), FormatError> {
    let path = folder.join(VERDICTS);
    let mut text =
        serde_json::to_string(verdicts).map_err(|error| FormatError::content(&path, error))?;
    text.push('\n');
    disk.make_folder(path.parent().unwrap_or(folder))?;
    disk.write_bytes(&path, text.as_bytes())
}

/// Reads the verdicts in the folder of a member or a teacher; none where there are none, as of runs before there were any, and of text.
///
/// # Errors
/// The file cannot be read, or is damaged.
pub fn read_on(disk: &dyn Disk, folder: &Path) -> Result<Option<Verdicts>, FormatError> {
    let path = folder.join(VERDICTS);
    let bytes = match disk.read(&path) {
        Err(error) if error.is_missing() => return Ok(None),
        read => read?,
    };
    let verdicts: Verdicts =
        serde_json::from_slice(&bytes).map_err(|error| FormatError::content(&path, error))?;
    if !verdicts.is_whole() {
        let problem = "there is not one verdict of a known class for each picture";
        return Err(FormatError::content(&path, problem));
    }
    Ok(Some(verdicts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SystemDisk;

    #[test]
    fn verdicts_are_read_as_they_were_written_and_damaged_ones_are_refused() {
        let folder = std::env::temp_dir().join(format!("taper-verdicts-{}", std::process::id()));
        assert_eq!(read_on(&SystemDisk, &folder).expect("none"), None);
        let mut verdicts = Verdicts::of(&["a".into(), "b".into()]);
        verdicts.push(1, &[0.25, 0.5]);
        write_on(&SystemDisk, &folder, &verdicts).expect("written");
        assert_eq!(read_on(&SystemDisk, &folder).expect("read"), Some(verdicts));
        let path = folder.join(VERDICTS);
        let text = std::fs::read_to_string(&path).expect("read");
        for (from, to) in [("\"labels\":[1]", "\"labels\":[2]"), ("\"said\":[1]", "\"said\":[]")] {
            std::fs::write(&path, text.replace(from, to)).expect("written");
            let said = read_on(&SystemDisk, &folder).expect_err("damaged").to_string();
            assert!(said.contains("not one verdict"), "{said}");
        }
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
