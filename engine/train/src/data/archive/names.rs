//! The names of an archive's entries: which are refused, which are skipped and which are files.

use std::collections::HashMap;

use super::super::DataError;
use super::super::account::{Account, Reason};
use super::super::listing::{self, Listing};
use super::format::Archive;

/// The longest name that is taken, in bytes.
const LONGEST: usize = 4096;

/// What an entry says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// As it stands there, whatever bytes these are.
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    /// Bytes of the file.
    pub(super) size: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// Another name of an earlier file.
    HardLink(Vec<u8>),
    /// It is skipped.
    Other(Reason),
}

/// Takes entries in and makes a listing of them.
pub(super) struct Names<'a> {
    archive: &'a Archive,
    account: &'a mut Account,
    pub(super) listing: Listing,
    /// Where each file stands in the listing.
    seen: HashMap<String, usize>,
    /// Bytes of the names so far.
    bytes: usize,
}

impl<'a> Names<'a> {
    pub(super) fn new(archive: &'a Archive, account: &'a mut Account) -> Self {
        Self { archive, account, listing: Listing::default(), seen: HashMap::new(), bytes: 0 }
    }

    /// One more entry, by its number in the archive.
    pub(super) fn add(&mut self, number: usize, entry: &Entry) -> Result<(), DataError> {
        let Entry { name: raw, kind, .. } = entry;
        let name = String::from_utf8_lossy(raw);
        self.check(&name)?;
        self.bytes += raw.len();
        if self.bytes > self.archive.caps.names {
            let most = self.archive.caps.names >> 20;
            return Err(self.archive.malformed(format!("its names have more than {most} MiB")));
        }
        let is_folder = *kind == Kind::Folder;
        let clean = listing::clean(&name);
        if clean.is_empty() {
            return Ok(());
        }
        if let Some(reason) = listing::out_of_sight(&clean) {
            if !is_folder {
                self.account.skip(reason, &clean);
            }
            return Ok(());
        }
        let deep = clean.split('/').count() > listing::DEEPEST;
        if deep || raw.len() > LONGEST || std::str::from_utf8(raw).is_err() {
            let some: String = clean.chars().take(200).collect();
            self.account.skip(Reason::BadName, &some);
            return Ok(());
        }
        match kind {
            Kind::Folder => self.listing.folders.push(clean),
            Kind::File => self.insert(clean, number),
            Kind::HardLink(target) => {
                let target = listing::clean(&String::from_utf8_lossy(target));
                match self.seen.get(&target).map(|&at| self.listing.files[at].entry) {
                    Some(entry) => self.insert(clean, entry),
                    None => self.account.skip(Reason::Link, &clean),
                }
            }
            Kind::Other(reason) => self.account.skip(*reason, &clean),
        }
        Ok(())
    }

    /// A sentence about the whole archive.
    pub(super) fn note(&mut self, sentence: &str) {
        self.account.note(sentence);
    }

    /// A later entry replaces an earlier one of the same name, as it does where an archive is unpacked.
    fn insert(&mut self, name: String, entry: usize) {
        if let Some(&at) = self.seen.get(&name) {
            self.account.skip(Reason::Twice, &name);
            self.listing.files[at].entry = entry;
            return;
        }
        self.seen.insert(name.clone(), self.listing.files.len());
        self.listing.files.push(listing::File { name, entry });
    }

    fn check(&self, name: &str) -> Result<(), DataError> {
        let bytes = name.as_bytes();
        let drive =
            matches!(bytes, [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic());
        if name.starts_with(['/', '\\']) || drive {
            let problem = "has an absolute path; names must be relative";
            return Err(self.archive.refused(name, problem));
        }
        if name.split(['/', '\\']).any(|part| part == "..") {
            return Err(self.archive.refused(name, "leaves the archive with \"..\""));
        }
        Ok(())
    }
}
