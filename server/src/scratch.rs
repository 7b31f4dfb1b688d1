//! What a start may throw away: only what the server itself has marked.
//!
//! A mark is how a name begins. What is being made has the mark [`NEW`] until it is whole; what is being deleted gets the mark [`GONE`]
//! first. A rename is one step, so wherever a server is killed, either a name has its mark or the thing is whole. Everything else in the data
//! directory is somebody's: it is taken up, or left alone and named in the log.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, TempDir};

/// Mark of what is being made.
pub(crate) const NEW: &str = ".taper-new-";
/// Mark of what is being deleted.
pub(crate) const GONE: &str = ".taper-gone-";

/// A folder in `parent` for something that is being made; removed with what is left in it when it is dropped.
///
/// # Errors
/// What the system refuses.
pub(crate) fn folder(parent: &Path) -> io::Result<TempDir> {
    Builder::new().prefix(NEW).tempdir_in(parent)
}

/// A file in `parent`, likewise.
///
/// # Errors
/// What the system refuses.
pub(crate) fn file(parent: &Path, suffix: &str) -> io::Result<NamedTempFile> {
    Builder::new().prefix(NEW).suffix(suffix).tempfile_in(parent)
}

/// A folder in `parent` for what is being deleted; removed when it is dropped, with what was moved into it.
///
/// # Errors
/// What the system refuses.
pub(crate) fn bin(parent: &Path) -> io::Result<TempDir> {
    Builder::new().prefix(GONE).tempdir_in(parent)
}

/// The name without its mark; none where it has none.
pub(crate) fn marked(path: &Path) -> Option<(&'static str, &str)> {
    let name = path.file_name()?.to_str()?;
    [NEW, GONE].into_iter().find_map(|mark| Some((mark, name.strip_prefix(mark)?)))
}

/// Removes what has a mark; what cannot be removed is named in the log, and tried again at the next start.
pub(crate) fn remove(path: &Path) {
    let is_folder = path.symlink_metadata().is_ok_and(|data| data.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Ok(()) => {
            tracing::info!(path = %path.display(), "removed what a request that was cut off left");
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot remove what a request left");
        }
    }
}

/// Removes everything in `folder` that has a mark, and answers with the rest, in order.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn sweep(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (left, others): (Vec<PathBuf>, Vec<PathBuf>) =
        entries(folder)?.into_iter().partition(|path| marked(path).is_some());
    left.iter().for_each(|path| remove(path));
    Ok(others)
}

/// What is in a folder, in order.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}
