//! What can be wrong with data, each as one sentence: what, where, what is allowed.

use std::path::{Path, PathBuf};

use crate::text::escape;

/// Why a data set could not be opened or a batch could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The system refused to read a file or a folder.
    #[error("cannot read {}: {source}", shown(path))]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// A file does not hold what its format says.
    #[error("{}: {problem}", shown(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// An archive holds an entry that is never unpacked.
    #[error("{}: entry \"{entry}\" {problem}", shown(archive))]
    Entry {
        /// The archive.
        archive: PathBuf,
        /// The entry's name, with control characters escaped.
        entry: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A picture cannot be decoded, or is larger than what is decoded.
    #[error("image {}: {problem}", escape(name))]
    Image {
        /// The file, or archive and entry.
        name: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// More images are asked for than there are.
    #[error("{key} = {asked} is more than the {there} images in {}", escape(place))]
    Count {
        /// The configuration's key.
        key: &'static str,
        /// How many are asked for.
        asked: usize,
        /// How many there are.
        there: usize,
        /// Where they were counted.
        place: String,
    },
    /// A setting that this data cannot follow.
    #[error("{key}: {problem}")]
    Setting {
        /// The configuration's key.
        key: &'static str,
        /// The bad value and what is allowed.
        problem: String,
    },
    /// A thread that makes batches ended before its time.
    #[error("a data thread stopped without an answer; this is a defect of the program")]
    Stopped,
}

/// A path as it may be shown.
fn shown(path: &Path) -> String {
    escape(&path.display().to_string()).into_owned()
}

impl DataError {
    /// `DataError::Read` at `path`, for `map_err`.
    pub(super) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Read { path: path.into(), source }
    }

    /// `DataError::Malformed` at `path`.
    pub(super) fn malformed(path: &Path, problem: impl Into<String>) -> Self {
        Self::Malformed { path: path.into(), problem: problem.into() }
    }

    /// `DataError::Setting` about `key`.
    pub(super) fn setting(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Setting { key, problem: problem.into() }
    }
}
