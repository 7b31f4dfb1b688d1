//! Where data lie, a folder or an archive: its names, and the bytes of each file.

use super::DataError;
use super::account::{Account, Reason};
use super::archive::{Archive, Caps};
use super::ledger;
use super::listing::{DEEPEST, File, Listing, out_of_sight};
use super::place::Place;
use super::stored::Stored;
use crate::disk::Kind;

/// The most files and folders of a folder that are looked at.
const MOST: usize = 10_000_000;

/// Where data lie.
#[derive(Debug)]
pub(super) enum Root {
    Folder(Place),
    Archive(Archive),
}

impl Root {
    /// Looks whether a folder or an archive is at `place`.
    ///
    /// # Errors
    /// Neither is there, or it is an archive of a kind that is not read.
    pub(super) fn open(place: &Place, caps: Caps) -> Result<Self, DataError> {
        match place.kind()? {
            Kind::Folder => Ok(Self::Folder(place.clone())),
            Kind::File => Archive::open(place, caps).map(Self::Archive),
            Kind::Other => Err(DataError::malformed(&place.path, "is neither a folder nor a file")),
        }
    }

    /// All names; what is no file that can be read goes into `account`.
    ///
    /// # Errors
    /// What the system refuses, a folder whose name is no UTF-8, and what [`Archive::list`] refuses.
    pub(super) fn list(&self, account: &mut Account) -> Result<Listing, DataError> {
        match self {
            Self::Archive(archive) => archive.list(account),
            Self::Folder(root) => {
                let mut walk = Walk { root, listing: Listing::default(), account };
                walk.folder(root, "", 0)?;
                Ok(walk.listing)
            }
        }
    }

    /// Where the bytes of `files` are; those of an archive are read now.
    ///
    /// # Errors
    /// What [`Archive::read`] refuses.
    pub(super) fn sources(&self, files: &[&File]) -> Result<Vec<Stored>, DataError> {
        match self {
            Self::Folder(root) => {
                Ok(files.iter().map(|file| Stored::File(root.join(&file.name))).collect())
            }
            Self::Archive(archive) => {
                let read = archive.read(files.iter().map(|file| file.entry))?;
                let read: std::collections::BTreeMap<usize, std::sync::Arc<[u8]>> =
                    read.into_iter().map(|(entry, bytes)| (entry, bytes.into())).collect();
                let source = |file: &&File| {
                    let name = format!("{}: {}", archive.path().display(), file.name);
                    Stored::Bytes {
                        name,
                        bytes: read.get(&file.entry).cloned().unwrap_or_default(),
                    }
                };
                Ok(files.iter().map(source).collect())
            }
        }
    }
}

/// A walk through a folder.
struct Walk<'a> {
    root: &'a Place,
    listing: Listing,
    account: &'a mut Account,
}

impl Walk<'_> {
    /// Everything in `folder`, whose name from the root is `prefix`. Links are followed, as the folder is the user's own;
    /// what is no file is never opened.
    fn folder(&mut self, folder: &Place, prefix: &str, depth: usize) -> Result<(), DataError> {
        if depth > DEEPEST {
            let problem = format!("folders nested deeper than {DEEPEST}");
            return Err(DataError::malformed(&folder.path, problem));
        }
        for (path, kind) in folder.list()? {
            let name = path.file_name().unwrap_or_default().to_owned();
            let lossy = format!("{prefix}{}", name.to_string_lossy());
            if let Some(reason) = out_of_sight(&name.to_string_lossy()) {
                if lossy != ledger::NAME {
                    self.account.skip(reason, &lossy);
                }
                continue;
            }
            let kind = match kind {
                Kind::Other => folder.disk.led_to(&path),
                known => Some(known),
            };
            let Some(kind) = kind else {
                self.account.skip(Reason::Link, &lossy);
                continue;
            };
            let name = name.into_string().ok().map(|_| lossy.clone());
            match (name, kind) {
                (None, Kind::Folder) => {
                    let problem = "is no UTF-8, which names of folders must be";
                    return Err(DataError::malformed(&path, format!("its name {problem}")));
                }
                (None, _) => self.account.skip(Reason::BadName, &lossy),
                (Some(name), Kind::Folder) => {
                    let inner = Place { path, ..folder.clone() };
                    self.folder(&inner, &format!("{name}/"), depth + 1)?;
                    self.listing.folders.push(name);
                }
                (Some(name), Kind::File) => self.listing.files.push(File { name, entry: 0 }),
                (Some(name), Kind::Other) => self.account.skip(Reason::Device, &name),
            }
            if self.listing.files.len() + self.listing.folders.len() > MOST {
                let problem = format!("has more than {MOST} files and folders");
                return Err(DataError::malformed(&self.root.path, problem));
            }
        }
        Ok(())
    }
}
