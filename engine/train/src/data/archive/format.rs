//! How an archive is packed, what of it is read at most, and what its errors say.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::path::Path;

use super::super::DataError;
use super::super::place::Place;
use crate::text::escape;

/// What is read from an archive before it is refused.
#[derive(Debug, Clone, Copy)]
pub(in crate::data) struct Caps {
    /// Entries of any kind.
    pub(in crate::data) entries: usize,
    /// Bytes of all their names.
    pub(in crate::data) names: usize,
    /// Bytes of one file.
    pub(in crate::data) file: u64,
    /// Bytes of the whole archive after decompression.
    pub(in crate::data) total: u64,
}

impl Default for Caps {
    /// Three million pictures of up to 64 MiB, 8 GiB in all: they are held in memory.
    fn default() -> Self {
        Self { entries: 3_000_000, names: 256 << 20, file: 64 << 20, total: 8 << 30 }
    }
}

impl Caps {
    /// For an archive whose files stay where they are, of which only names are held.
    pub(in crate::data) fn lying() -> Self {
        Self { total: u64::MAX, ..Self::default() }
    }
}

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Tar,
    TarGz,
    Zip,
}

/// First bytes of the formats that are recognised and not read.
const OTHERS: [(&[u8], &str); 8] = [
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\x04\x22\x4d\x18", "an lz4 archive"),
    (b"\x1f\x9d", "an archive of compress"),
    (b"LZIP", "an lzip archive"),
];

/// An archive whose format is known.
#[derive(Debug)]
pub(in crate::data) struct Archive {
    pub(super) place: Place,
    pub(super) format: Format,
    pub(super) caps: Caps,
    /// Where it lies in the file, if that is an archive around it.
    pub(super) inner: Option<Inner>,
}

/// A tar that is an entry of another one, which is a range of that one's bytes and needs no unpacking.
#[derive(Debug)]
pub(super) struct Inner {
    /// Its name there.
    pub(super) name: String,
    /// Its bytes in the file.
    pub(super) bytes: Range<u64>,
}

impl Archive {
    /// Tells what the file at `place` is by its first bytes.
    ///
    /// # Errors
    /// It cannot be read, or is an archive of another kind.
    pub(in crate::data) fn open(place: &Place, caps: Caps) -> Result<Self, DataError> {
        let (mut start, path) = (Vec::new(), &place.path);
        place.open()?.take(16).read_to_end(&mut start).map_err(DataError::read(path))?;
        if let Some((_, word)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
            let problem = format!(
                "is {word}, which is not read; unpack it and give the folder, or pack it as tar, tar.gz or zip"
            );
            return Err(DataError::malformed(path, problem));
        }
        let format = match start[..] {
            [0x1f, 0x8b, ..] => Format::TarGz,
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Format::Zip,
            _ => Format::Tar,
        };
        Ok(Self { place: place.clone(), format, caps, inner: None })
    }

    /// The file.
    pub(in crate::data) fn path(&self) -> &Path {
        &self.place.path
    }

    /// Where the file is.
    pub(in crate::data) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn malformed(&self, problem: impl Into<String>) -> DataError {
        let problem = match &self.inner {
            None => problem.into(),
            Some(inner) => format!("\"{}\" in it: {}", escape(&inner.name), problem.into()),
        };
        DataError::malformed(&self.place.path, problem)
    }

    /// An error about an entry.
    pub(super) fn refused(&self, name: &str, problem: impl Into<String>) -> DataError {
        let entry = match &self.inner {
            None => escape(name).into_owned(),
            Some(inner) => format!("{}/{}", escape(&inner.name), escape(name)),
        };
        let archive = self.place.path.clone();
        DataError::Entry { archive, entry, problem: problem.into() }
    }

    /// What is said of a tar that ends where an entry does.
    pub(super) fn unmarked(&self) -> String {
        let archive = match &self.inner {
            None => "the archive".into(),
            Some(inner) => format!("\"{}\"", escape(&inner.name)),
        };
        format!("{archive} has no end mark; it may have been cut off")
    }

    pub(super) fn too_many(&self) -> DataError {
        self.malformed(format!("more than {} entries, which is the most", self.caps.entries))
    }

    /// What an error of its stream means.
    pub(super) fn damaged(&self, error: &io::Error) -> DataError {
        self.malformed(match error.kind() {
            ErrorKind::FileTooLarge => format!(
                "unpacks to more than {} MiB; unpack it and give the folder",
                self.caps.total >> 20
            ),
            ErrorKind::UnexpectedEof => "truncated archive".into(),
            _ => format!("is no whole tar, tar.gz or zip archive: {}", escape(&error.to_string())),
        })
    }
}
