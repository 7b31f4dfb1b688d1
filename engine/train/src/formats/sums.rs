//! `SHA256SUMS`, as coreutils' `sha256sum` writes and checks it.
//!
//! Every file of a model folder is read through [`read`], so none is used that differs from its sum. A folder without `SHA256SUMS` is read
//! as it is: folders from elsewhere have none. Where there is one, it has to name each file that is read; files that are not read
//! are not checked.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::FormatError;
use crate::{
    disk::{Disk, Kind, Parts, SystemDisk},
    text::hex,
};

/// Name of the file of check sums.
pub const NAME: &str = "SHA256SUMS";
/// The folder in a model's whose files belong to the model; what else lies there, as checkpoints in that of a teacher, does not.
pub const INSIDE: &str = "onnx";

/// Writes the check sums of all files in `folder` and in its folder [`INSIDE`], by name.
///
/// # Errors
/// What the system refuses.
pub fn write(folder: &Path) -> Result<(), FormatError> {
    write_on(&SystemDisk, folder)
}

/// [`write()`] on a disk.
///
/// # Errors
/// As [`write()`].
pub fn write_on(disk: &dyn Disk, folder: &Path) -> Result<(), FormatError> {
    let mut text = String::new();
    for name in names(disk, folder)? {
        let sum = hex(&Sha256::digest(disk.read(&folder.join(&name))?));
        text.push_str(&format!("{sum}  {name}\n"));
    }
    disk.write_bytes(&folder.join(NAME), text.as_bytes())
}

/// Names of the files in `folder` and in [`INSIDE`]; hidden ones and the sums themselves are left out.
fn names(disk: &dyn Disk, folder: &Path) -> Result<Vec<String>, FormatError> {
    let mut names = Vec::new();
    for (path, kind) in disk.list(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match kind {
            Kind::File if name != NAME && !name.starts_with('.') => names.push(name),
            Kind::Folder if name == INSIDE => {
                let inside = self::names(disk, &path)?;
                names.extend(inside.into_iter().map(|file| format!("{name}/{file}")));
            }
            Kind::File | Kind::Folder | Kind::Other => {}
        }
    }
    names.sort();
    Ok(names)
}

/// SHA-256 of a file as 64 hexadecimal digits.
///
/// # Errors
/// The file cannot be read.
pub fn of_file(path: &Path) -> Result<String, FormatError> {
    of_parts(path, &mut *SystemDisk.open(path)?)
}

fn of_parts(path: &Path, file: &mut dyn Parts) -> Result<String, FormatError> {
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).map_err(|source| FormatError::read(path, source))? {
            0 => return Ok(hex(&digest.finalize())),
            count => digest.update(&buffer[..count]),
        }
    }
}

/// The sums that `SHA256SUMS` in a folder has.
#[derive(Debug)]
struct Sums {
    /// By the file's name.
    named: BTreeMap<String, String>,
}

impl Sums {
    /// Those of `folder`; none where it has no `SHA256SUMS`.
    fn open(disk: &dyn Disk, folder: &Path) -> Result<Option<Self>, FormatError> {
        let path = folder.join(NAME);
        let text = match disk.read_text(&path) {
            Ok(text) => text,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut named = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            // Damaged, it may hold what a terminal would obey, so it is not shown.
            let bad = |what: &str| FormatError::content(&path, format!("line {number} {what}"));
            let (sum, name) = parse(line).ok_or_else(|| bad("is none of sha256sum's"))?;
            if named.insert(name.into(), sum).is_some() {
                return Err(bad("names a file that an earlier one names"));
            }
        }
        Ok(Some(Self { named }))
    }

    /// Whether `path`, which is called `name` here, is a file with this sum.
    fn compare(&self, path: &Path, name: &str, sum: &str) -> Result<(), FormatError> {
        let problem = match self.named.get(name) {
            Some(known) if known == sum => return Ok(()),
            Some(_) => "is damaged or was changed: its SHA-256 is not the one in SHA256SUMS",
            None => "is not named in the SHA256SUMS beside it",
        };
        Err(FormatError::Sum { path: path.into(), problem })
    }
}

/// Sum and name of a line: of a text (` `) or of bytes (`*`), with a folder's own `./` or without.
fn parse(line: &str) -> Option<(String, &str)> {
    let (sum, name) = line.split_once(' ')?;
    let name = name.strip_prefix([' ', '*'])?;
    let name = name.strip_prefix("./").unwrap_or(name);
    let right = sum.len() == 64 && sum.bytes().all(|digit| digit.is_ascii_hexdigit());
    (right && !name.is_empty()).then(|| (sum.to_ascii_lowercase(), name))
}

/// The bytes of a file, which has to have its sum in the `SHA256SUMS` beside it, if there is one.
///
/// # Errors
/// The file cannot be read, or [`FormatError::Sum`] if it is not the one that is named.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, FormatError> {
    let bytes = disk.read(path)?;
    if let Some(sums) = beside(disk, path)? {
        sums.compare(path, name(path), &hex(&Sha256::digest(&bytes)))?;
    }
    Ok(bytes)
}

/// Opens a file to be read in parts, which has to have its sum as for [`read`]; it is read once for that.
///
/// # Errors
/// As [`read`].
pub fn open(disk: &dyn Disk, path: &Path) -> Result<Box<dyn Parts>, FormatError> {
    let mut file = disk.open(path)?;
    if let Some(sums) = beside(disk, path)? {
        sums.compare(path, name(path), &of_parts(path, &mut *file)?)?;
        file.rewind().map_err(|source| FormatError::read(path, source))?;
    }
    Ok(file)
}

/// [`read`] of a file that may be missing; one that `SHA256SUMS` names may not.
///
/// # Errors
/// As [`read`].
pub fn read_if_there(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, FormatError> {
    if disk.kind(path).is_some() {
        return read(disk, path).map(Some);
    }
    match beside(disk, path)? {
        Some(sums) if sums.named.contains_key(name(path)) => {
            let problem = "is missing, though SHA256SUMS names it";
            Err(FormatError::Sum { path: path.into(), problem })
        }
        _ => Ok(None),
    }
}

/// What a file is called in the folder that it lies in.
fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn beside(disk: &dyn Disk, path: &Path) -> Result<Option<Sums>, FormatError> {
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    Sums::open(disk, if folder.as_os_str().is_empty() { Path::new(".") } else { &folder })
}

/// Checks every file that `SHA256SUMS` in `folder` names.
///
/// # Errors
/// A file is missing, or is not the one whose sum was written; the error names it.
pub fn check(folder: &Path) -> Result<(), FormatError> {
    let missing = || FormatError::read(&folder.join(NAME), io::ErrorKind::NotFound.into());
    let sums = Sums::open(&SystemDisk, folder)?.ok_or_else(missing)?;
    sums.named.keys().try_for_each(|name| {
        let path: PathBuf = folder.join(name);
        sums.compare(&path, name, &of_file(&path)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_sha256sum_and_find_a_changed_file() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("b"), "abc").expect("written");
        std::fs::write(folder.path().join("a"), "").expect("written");
        write(folder.path()).expect("written");
        let text = std::fs::read_to_string(folder.path().join(NAME)).expect("read");
        assert_eq!(
            text,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n"
        );
        check(folder.path()).expect("unchanged");
        std::fs::write(folder.path().join("b"), "abd").expect("written");
        assert!(check(folder.path()).expect_err("changed").to_string().contains("SHA-256"));
    }

    #[test]
    fn a_file_is_read_only_with_its_sum() {
        let folder = tempfile::tempdir().expect("folder");
        let at = |name: &str| folder.path().join(name);
        let put = |name: &str, text: &str| std::fs::write(at(name), text).expect("written");
        let said = |name: &str| read(&SystemDisk, &at(name)).expect_err("refused").to_string();
        put("a", "abc");
        assert_eq!(read(&SystemDisk, &at("a")).expect("no sums"), b"abc");
        assert_eq!(read_if_there(&SystemDisk, &at("b")).expect("no sums"), None);
        write(folder.path()).expect("written");
        assert_eq!(read(&SystemDisk, &at("a")).expect("unchanged"), b"abc");
        put("a", "abb");
        assert!(said("a").ends_with("SHA-256 is not the one in SHA256SUMS"), "{}", said("a"));
        put("b", "new");
        assert!(said("b").ends_with("is not named in the SHA256SUMS beside it"), "{}", said("b"));
        std::fs::remove_file(at("a")).expect("removed");
        let gone = read_if_there(&SystemDisk, &at("a")).expect_err("it is named").to_string();
        assert!(gone.ends_with("is missing, though SHA256SUMS names it"), "{gone}");
        assert_eq!(read_if_there(&SystemDisk, &at("c")).expect("nobody names it"), None);
        let hint = read(&SystemDisk, &at("b")).expect_err("not named").hint().expect("a hint");
        assert!(hint.contains("sha256sum"), "{hint}");
    }

    #[test]
    fn lines_are_those_that_sha256sum_takes() {
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let folder = tempfile::tempdir().expect("folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a"), "abc").expect("written");
        let upper = sum.to_ascii_uppercase();
        for text in [
            format!("{sum}  a"),
            format!("{sum} *a\n"),
            format!("{upper}  ./a\r\n{sum}  deep/er\n"),
        ] {
            std::fs::write(at(NAME), &text).expect("written");
            assert!(read(&SystemDisk, &at("a")).is_ok(), "{text}");
        }
        for text in [
            format!("SHA256 (a) = {sum}"),
            format!("{}  a", &sum[1..]),
            format!("{sum} a"),
            format!("{sum}  a\n\n"),
            format!("{sum}  a\n{sum}  a"),
            String::new(),
        ] {
            std::fs::write(at(NAME), &text).expect("written");
            assert!(read(&SystemDisk, &at("a")).is_err(), "{text}");
        }
    }
}
