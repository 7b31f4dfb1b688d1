//! Files of a data set, wherever they lie.

use std::borrow::Cow;
use std::io::{BufReader, Read};
use std::sync::Arc;

use super::DataError;
use super::place::Place;
use crate::disk::{Kind, Parts};

/// A file of a data set, on the disk or in an archive.
#[derive(Debug, Clone)]
pub(super) enum Stored {
    /// A file.
    File(Place),
    /// The bytes of one, read from an archive.
    Bytes {
        /// Archive and entry, for errors.
        name: String,
        /// Encoded.
        bytes: Arc<[u8]>,
    },
}

impl Stored {
    /// The file, or archive and entry.
    pub(super) fn name(&self) -> Cow<'_, str> {
        match self {
            Self::File(place) => place.path.to_string_lossy(),
            Self::Bytes { name, .. } => name.into(),
        }
    }

    /// Its bytes, but no more than one above `most`: enough to refuse the file as too long.
    pub(super) fn bytes(&self, most: u64) -> Result<Cow<'_, [u8]>, DataError> {
        match self {
            Self::File(place) => {
                let mut bytes = Vec::new();
                let mut file = open_file(place)?.take(most + 1);
                file.read_to_end(&mut bytes).map_err(DataError::read(&place.path))?;
                Ok(Cow::Owned(bytes))
            }
            Self::Bytes { bytes, .. } => Ok(Cow::Borrowed(bytes)),
        }
    }

    /// Its bytes as a stream.
    pub(super) fn open(&self) -> Result<Box<dyn Read + '_>, DataError> {
        match self {
            Self::File(place) => Ok(Box::new(BufReader::new(open_file(place)?))),
            Self::Bytes { bytes, .. } => Ok(Box::new(&bytes[..])),
        }
    }
}

/// Opens a regular file only: opening a pipe would block until somebody writes to it.
fn open_file(place: &Place) -> Result<Box<dyn Parts>, DataError> {
    if place.kind()? != Kind::File {
        let problem = "is a folder, a device or a pipe, and no file";
        return Err(DataError::malformed(&place.path, problem));
    }
    place.open()
}
