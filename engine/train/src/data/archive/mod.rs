//! Reading archives that may be hostile: tar, plain or gzip, and zip. First the names, then the bytes of those that are
//! wanted; nothing else is held.
//!
//! A name that is absolute or has `..` refuses the whole archive. Whatever else is no file that can be read is skipped,
//! and the [`Account`] says so.

mod format;
mod names;
mod tar;
mod zip;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;

use super::DataError;
use super::account::Account;
use super::listing::{self, Listing};
use crate::text::escape;
pub(super) use format::{Archive, Caps};
use format::{Format, Inner};
use names::Names;

/// A file of a plain tar, and where its bytes lie in the tar's own file.
#[derive(Debug, Clone)]
pub(super) struct Lying {
    pub(super) name: String,
    pub(super) bytes: Range<u64>,
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
                    names.note(&self.unmarked());
                }
            }
        }
        Ok(names.listing)
    }

    /// Whether its files lie in it as they are.
    pub(super) fn is_plain_tar(&self) -> bool {
        self.format == Format::Tar
    }

    /// What [`Self::list`] lists of a plain tar, and where the bytes of each file lie, so that they can be read later and in any order. Only
    /// headers are read.
    ///
    /// # Errors
    /// As [`Self::list`]; an archive that has to be unpacked.
    pub(super) fn lying(&self, account: &mut Account) -> Result<Vec<Lying>, DataError> {
        if !self.is_plain_tar() {
            let problem = "is packed, and its files cannot be read where they lie; a plain tar is expected (gunzip unpacks a tar.gz)";
            return Err(self.malformed(problem));
        }
        let mut names = Names::new(self, account);
        let mut places: BTreeMap<usize, Range<u64>> = BTreeMap::new();
        let marked = tar::walk(self, &mut |number, entry, body| {
            places.insert(number, body.start..body.start.saturating_add(entry.size));
            names.add(number, entry)
        })?;
        if !marked {
            names.note(&self.unmarked());
        }
        let lying = |file: listing::File| Lying {
            bytes: places.get(&file.entry).cloned().unwrap_or_default(),
            name: file.name,
        };
        Ok(names.listing.files.into_iter().map(lying).collect())
    }

    /// A tar in this one.
    pub(super) fn inside(&self, lying: &Lying) -> Self {
        let Lying { name, bytes } = lying.clone();
        let inner = Some(Inner { name, bytes });
        Self { place: self.place.clone(), format: Format::Tar, caps: self.caps, inner }
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

#[cfg(test)]
pub(super) mod tests;
