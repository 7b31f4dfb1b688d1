//! Files that are there whole or not at all, also after a crash or on a full disk.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::FormatError;

/// The begin and the end of a temporary name.
const PREFIX: &str = ".taper-";
const SUFFIX: &str = ".tmp";

/// The name under which a file is filled, where one process at a time writes it.
pub fn temporary(name: &str) -> String {
    format!("{PREFIX}{name}{SUFFIX}")
}

/// Whether a file of this name was left by who was killed while it was filled; [`remove_leftovers`] knows them by it.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// Writes `path` by `fill`: under a temporary name in the same folder, synced, renamed, and the folder synced.
///
/// # Errors
/// Whatever the system refuses, or `fill` returns; then `path` is as it was and nothing half-written remains.
pub fn write(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FormatError> {
    try_write(path, fill).map_err(|source| FormatError::write(path, source))
}

fn try_write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    // tempfile makes private files; these are published, so they get what the umask leaves.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // Dropped on any error below, and removed by that.
    let file = builder.tempfile_in(folder)?;
    let mut writer = BufWriter::with_capacity(1 << 20, file.as_file());
    fill(&mut writer)?;
    writer.flush()?;
    drop(writer);
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Makes renames in `folder` durable; Windows has no such call and needs none.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// [`write()`] of a text or of bytes.
///
/// # Errors
/// As [`write()`].
pub fn write_bytes(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), FormatError> {
    write(path, |writer| writer.write_all(bytes.as_ref()))
}

/// Removes temporary files that a killed process left in `folder`.
///
/// # Errors
/// The folder cannot be read, or a file not removed.
pub fn remove_leftovers(folder: &Path) -> Result<(), FormatError> {
    let io = |source| FormatError::read(folder, source);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_temporary(&name) {
            std::fs::remove_file(&path).map_err(|source| FormatError::write(&path, source))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("folder");
        entries
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a");
        write_bytes(&path, "old").expect("written");
        let error = write(&path, |writer| {
            writer.write_all(&[7; 100])?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .expect_err("the disk is full");
        assert!(error.to_string().starts_with("cannot write `"), "{error}");
        assert!(error.hint().expect("a hint").contains("free some space"));
        assert_eq!(std::fs::read(&path).expect("read"), b"old");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_panic_leaves_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a");
        let unwound = std::panic::catch_unwind(|| write(&path, |_| panic!("stop")));
        assert!(unwound.is_err());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let error = write_bytes(&folder.path().join("none/a"), "x").expect_err("no folder");
        assert!(error.to_string().contains("none/a"), "{error}");
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        for name in [".taper-x.tmp", "mine.tmp", "b"] {
            std::fs::write(folder.path().join(name), "x").expect("written");
        }
        remove_leftovers(folder.path()).expect("removed");
        let mut left = names(folder.path());
        left.sort();
        assert_eq!(left, ["b", "mine.tmp"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_written_file_may_be_read_by_others() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a");
        write_bytes(&path, "x").expect("written");
        let mode = |path: &Path| path.metadata().expect("metadata").permissions().mode() & 0o777;
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "x").expect("written");
        assert_eq!(mode(&path), mode(&plain));
    }
}
