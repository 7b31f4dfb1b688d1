//! What a folder or an archive holds, by its names alone.

use std::path::Path;

use super::DataError;
use super::account::Reason;
use crate::text::escape;

/// Folders are followed so deep.
pub(super) const DEEPEST: usize = 64;

/// The names of a folder or an archive.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<File>,
    /// The folders, those without files among them.
    pub(super) folders: Vec<String>,
}

/// A file that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Its name from the outermost folder, with `/` between the folders.
    pub(super) name: String,
    /// The number of the entry in an archive that has its bytes.
    pub(super) entry: usize,
}

impl File {
    /// Its name in its folder, and that folder's.
    pub(super) fn split(&self) -> (&str, &str) {
        self.name.rsplit_once('/').unwrap_or(("", &self.name))
    }
}

/// A name without what means nothing in it: empty parts and dots.
pub(super) fn clean(name: &str) -> String {
    let parts: Vec<&str> =
        name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}

/// Why a name is passed over wherever it stands: hidden files, and what macOS adds to archives.
pub(super) fn out_of_sight(name: &str) -> Option<Reason> {
    let mut parts = name.split('/');
    if parts.clone().any(|part| part == "__MACOSX") {
        return Some(Reason::Macos);
    }
    parts.any(|part| part.starts_with('.')).then_some(Reason::Hidden)
}

/// The only folder that holds some of `files`, which the sentence calls `what`.
///
/// # Errors
/// There are two; the sentence names one file of each.
pub(super) fn only_folder<'a>(
    files: &[&'a File],
    what: &str,
    path: &Path,
) -> Result<&'a str, DataError> {
    let Some(first) = files.first() else { return Ok("") };
    let folder = first.split().0;
    match files.iter().find(|file| file.split().0 != folder) {
        None => Ok(folder),
        Some(other) => {
            let (one, two) = (escape(&first.name), escape(&other.name));
            let problem =
                format!("has {what} in two folders, \"{one}\" and \"{two}\"; name one of them");
            Err(DataError::malformed(path, problem))
        }
    }
}
