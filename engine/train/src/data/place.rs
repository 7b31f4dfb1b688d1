//! Where data are: a path on a disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::DataError;
use crate::disk::{Disk, Kind, Parts, SystemDisk};
use crate::formats::FormatError;

/// A path on a disk.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
}

impl From<&Path> for Place {
    /// On the operating system's.
    fn from(path: &Path) -> Self {
        Self { disk: Arc::new(SystemDisk), path: path.into() }
    }
}

impl Place {
    /// What is inside of it.
    pub(super) fn join(&self, name: &str) -> Self {
        Self { disk: Arc::clone(&self.disk), path: self.path.join(name) }
    }

    /// What is there.
    ///
    /// # Errors
    /// Nothing is, or nobody may look.
    pub(super) fn kind(&self) -> Result<Kind, DataError> {
        match self.disk.kind(&self.path) {
            Some(kind) => Ok(kind),
            // What it says against opening it is why.
            None => self.open().map(|_| Kind::Other),
        }
    }

    /// Opens the file.
    ///
    /// # Errors
    /// What the disk refuses.
    pub(super) fn open(&self) -> Result<Box<dyn Parts>, DataError> {
        self.disk.open(&self.path).map_err(refused(&self.path))
    }

    /// What the folder holds, by name.
    ///
    /// # Errors
    /// What the disk refuses.
    pub(super) fn list(&self) -> Result<Vec<(PathBuf, Kind)>, DataError> {
        let mut items = self.disk.list(&self.path).map_err(refused(&self.path))?;
        items.sort_by(|(a, _), (b, _)| a.file_name().cmp(&b.file_name()));
        Ok(items)
    }
}

/// What a disk refuses, as what is wrong with the data.
pub(super) fn refused(path: &Path) -> impl FnOnce(FormatError) -> DataError {
    move |error| match error {
        FormatError::Io { source, .. } => DataError::read(path)(source),
        other => DataError::malformed(path, other.to_string()),
    }
}
