//! Reading archives that may be hostile: tar, plain or gzip, and zip. First the names, then the bytes of those that are
//! wanted; nothing else is held.
//!
//! A name that is absolute or has `..` refuses the whole archive. Whatever else is no file that can be read is skipped,
//! and the [`Account`] says so.

mod names;
mod tar;
mod zip;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::account::Account;
use super::{DataError, listing::Listing};
use crate::text::escape;
use names::Names;

/// What is read from an archive before it is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    /// Entries of any kind.
    pub(super) entries: usize,
    /// Bytes of all their names.
    pub(super) names: usize,
    /// Bytes of one file.
    pub(super) file: u64,
    /// Bytes of the whole archive after decompression.
    pub(super) total: u64,
}

impl Default for Caps {
    /// Three million pictures of up to 64 MiB, 8 GiB in all: they are held in memory.
    fn default() -> Self {
        Self { entries: 3_000_000, names: 256 << 20, file: 64 << 20, total: 8 << 30 }
    }
}

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Tar,
    TarGz,
    Zip,
}

/// First bytes of what is told by them and not read.
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
pub(super) struct Archive {
    path: PathBuf,
    format: Format,
    caps: Caps,
}

/// A file of an archive while its bytes are read.
pub(super) struct Member<'a> {
    /// Its name there.
    name: &'a str,
    size: u64,
    bytes: &'a mut dyn Read,
    archive: &'a Archive,
}

impl Archive {
    /// Tells what the file at `path` is by its first bytes.
    ///
    /// # Errors
    /// It cannot be read, or is an archive of another kind.
    pub(super) fn open(path: &Path, caps: Caps) -> Result<Self, DataError> {
        let mut start = Vec::new();
        let file = File::open(path).map_err(DataError::read(path))?;
        file.take(16).read_to_end(&mut start).map_err(DataError::read(path))?;
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
        Ok(Self { path: path.into(), format, caps })
    }

    /// Every file that can be read, and every folder. What else there is goes into `account`.
    ///
    /// # Errors
    /// A name that is absolute or has `..`, more than the caps allow, a truncated or damaged archive.
    pub(super) fn list(&self, account: &mut Account) -> Result<Listing, DataError> {
        let mut names = Names::new(self, account);
        match self.format {
            Format::Zip => zip::list(self, &mut names)?,
            _ => {
                if !tar::walk(self, &mut |number, entry, _| names.add(number, entry))? {
                    names.note("the archive has no end mark; it may have been cut off");
                }
            }
        }
        Ok(names.listing)
    }

    /// Shows `visit` the entries with the numbers of `wanted`, in the archive's order, with what `wanted` has of them.
    ///
    /// # Errors
    /// As [`Self::list`]; a file that is larger than is read, or damaged. What `visit` says.
    pub(super) fn visit<T>(
        &self,
        wanted: &BTreeMap<usize, T>,
        mut visit: impl FnMut(&T, &mut Member<'_>) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let mut show = |number: usize, name: &str, size: u64, bytes: &mut dyn Read| {
            let Some(of) = wanted.get(&number) else { return Ok(()) };
            visit(of, &mut Member { name, size, bytes, archive: self })
        };
        match self.format {
            Format::Zip => zip::read(self, wanted.keys().copied(), &mut show),
            _ => tar::walk(self, &mut |number, entry, bytes| {
                show(number, &String::from_utf8_lossy(&entry.name), entry.size, bytes)
            })
            .map(|_| ()),
        }
    }

    /// The bytes of the entries with these numbers.
    ///
    /// # Errors
    /// As [`Self::visit`].
    pub(super) fn read(
        &self,
        numbers: impl IntoIterator<Item = usize>,
    ) -> Result<BTreeMap<usize, Vec<u8>>, DataError> {
        let wanted: BTreeMap<usize, usize> = numbers.into_iter().map(|at| (at, at)).collect();
        let mut files = BTreeMap::new();
        self.visit(&wanted, |&number, member| {
            let mut bytes = Vec::new();
            member.copy(&mut bytes)?;
            files.insert(number, bytes);
            Ok(())
        })?;
        Ok(files)
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn malformed(&self, problem: impl Into<String>) -> DataError {
        DataError::malformed(&self.path, problem)
    }

    /// An error about an entry.
    fn refused(&self, name: &str, problem: impl Into<String>) -> DataError {
        let (archive, entry) = (self.path.clone(), escape(name).into_owned());
        DataError::Entry { archive, entry, problem: problem.into() }
    }

    fn too_many(&self) -> DataError {
        self.malformed(format!("more than {} entries, which is the most", self.caps.entries))
    }

    /// What an error of its stream means.
    fn damaged(&self, error: &io::Error) -> DataError {
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

impl Member<'_> {
    /// Writes all of it to `to`.
    ///
    /// # Errors
    /// It is larger than is read, or truncated; `to` does not take it.
    pub(super) fn copy(&mut self, to: &mut impl Write) -> Result<(), DataError> {
        let Self { size, archive, .. } = *self;
        let most = archive.caps.file;
        if size > most {
            let problem = format!("has {size} bytes, more than the {most} that are read");
            return Err(self.refused(problem));
        }
        let mut buffer = vec![0; 1 << 16];
        let mut copied = 0;
        loop {
            let count = match self.bytes.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // A zip says which file is damaged, a tar is damaged as a whole.
                Err(error) if archive.format == Format::Zip => {
                    return Err(self.refused(format!("is damaged: {}", escape(&error.to_string()))));
                }
                Err(error) => return Err(archive.damaged(&error)),
            };
            copied += count as u64;
            if copied > size {
                return Err(self.refused(format!("is longer than the {size} bytes that it says")));
            }
            to.write_all(&buffer[..count])
                .map_err(|error| self.refused(format!("cannot be written: {error}")))?;
        }
        if copied < size {
            return Err(self.refused(format!("is truncated: {copied} of {size} bytes")));
        }
        Ok(())
    }

    /// An error about it.
    pub(super) fn refused(&self, problem: impl Into<String>) -> DataError {
        self.archive.refused(self.name, problem)
    }
}

/// Ends with an error instead of reading more than `left` bytes, so that no bomb unfolds.
struct Capped<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or(ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}

#[cfg(test)]
pub(super) mod tests;
