//! Files of a data set, wherever they lie.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufReader, Read, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use super::DataError;
use super::archive::Lying;
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
    /// A part of a file, which a plain tar has of each of its own. It is read when it is asked for: bytes on a disk can be read in any order, so
    /// that shuffling needs no buffer.
    Part {
        /// The file.
        whole: Arc<Place>,
        /// Its name in there.
        name: Box<str>,
        /// Which of its bytes.
        bytes: Range<u64>,
    },
    /// A row of a table, of which many are read together.
    #[cfg_attr(target_family = "wasm", allow(dead_code, reason = "no table is read there"))]
    Row {
        /// The table.
        of: Arc<dyn Together>,
        /// Which row.
        at: Row,
    },
}

/// A row of a group that is read as a whole.
#[cfg_attr(target_family = "wasm", allow(dead_code, reason = "no table is read there"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) group: u32,
    pub(super) row: u32,
}

/// Files that are read in groups.
pub(super) trait Together: fmt::Debug + Send + Sync {
    /// Names a row, for errors.
    fn name(&self, at: Row) -> String;

    /// The bytes of a row.
    ///
    /// # Errors
    /// Its group is damaged, or it has none.
    fn bytes(&self, at: Row) -> Result<Vec<u8>, DataError>;

    /// Bytes that a group takes once it is read.
    fn weight(&self, group: u32) -> u64;
}

impl Stored {
    /// A file of a tar; `around` are the names of folders or archives that stand before its own.
    pub(super) fn lying(whole: &Arc<Place>, around: &str, lying: Lying) -> Self {
        let name = format!("{around}{}", lying.name).into();
        Self::Part { whole: Arc::clone(whole), name, bytes: lying.bytes }
    }

    /// The file, or archive and entry.
    pub(super) fn name(&self) -> Cow<'_, str> {
        match self {
            Self::File(place) => place.path.to_string_lossy(),
            Self::Bytes { name, .. } => name.into(),
            Self::Part { whole, name, .. } => {
                Cow::Owned(format!("{}: {name}", whole.path.display()))
            }
            Self::Row { of, at } => Cow::Owned(of.name(*at)),
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
            Self::Part { whole, bytes: range, .. } => {
                let length = (range.end - range.start).min(most + 1);
                let mut bytes = Vec::new();
                let mut part = open_part(whole, range)?.take(length);
                part.read_to_end(&mut bytes).map_err(DataError::read(&whole.path))?;
                if (bytes.len() as u64) < length {
                    let name = self.name().into_owned();
                    let problem = "its file is shorter now than when the data were opened".into();
                    return Err(DataError::Image { name, problem });
                }
                Ok(Cow::Owned(bytes))
            }
            Self::Row { of, at } => of.bytes(*at).map(Cow::Owned),
        }
    }

    /// Its bytes as a stream.
    pub(super) fn open(&self) -> Result<Box<dyn Read + '_>, DataError> {
        match self {
            Self::File(place) => Ok(Box::new(BufReader::new(open_file(place)?))),
            Self::Bytes { bytes, .. } => Ok(Box::new(&bytes[..])),
            Self::Part { whole, bytes, .. } => {
                let part = open_part(whole, bytes)?.take(bytes.end - bytes.start);
                Ok(Box::new(BufReader::new(part)))
            }
            Self::Row { of, at } => Ok(Box::new(io::Cursor::new(of.bytes(*at)?))),
        }
    }
}

/// Opens a file where a part of it begins.
fn open_part(whole: &Place, part: &Range<u64>) -> Result<Box<dyn Parts>, DataError> {
    let mut file = open_file(whole)?;
    file.seek(SeekFrom::Start(part.start)).map_err(DataError::read(&whole.path))?;
    Ok(file)
}

/// Opens a regular file only: opening a pipe would block until somebody writes to it.
fn open_file(place: &Place) -> Result<Box<dyn Parts>, DataError> {
    if place.kind()? != Kind::File {
        let problem = "is a folder, a device or a pipe, and no file";
        return Err(DataError::malformed(&place.path, problem));
    }
    place.open()
}
