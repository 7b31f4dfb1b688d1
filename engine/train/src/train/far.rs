//! What a rank that has no run directory asks of rank 0, which has one: members to train, lines for the log, files.
//!
//! Each device of a rank asks on a channel of its own, and waits for the answer on the same. A message is a head in CBOR, which keeps every bit of a number, and then bytes.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{past::Past, planned::Planned};
use crate::{
    disk::{Append, Disk, Fill, Held, Kind},
    event::Event,
    formats::FormatError,
    ranks::{Channel, Link, RankError},
};

/// The channel of a rank's device.
pub(super) fn channel_of(device: usize) -> Channel {
    Channel::new(0x1000 + device as u16)
}

/// A request. Bytes that belong to it stand behind it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// A member that an adapter of this name can train.
    Take(String),
    /// What became of a member that was taken.
    Put { name: String, trained: bool },
    /// A line for the log.
    Append(Box<Event>),
    /// All lines shall be on the disk.
    Sync,
    /// The bytes of a file.
    Read(PathBuf),
    /// A file of these bytes.
    Write(PathBuf),
    /// These bytes at the end of a file, on the disk.
    Extend(PathBuf),
    /// What a folder holds.
    List(PathBuf),
    /// What is at a path.
    Kind(PathBuf),
    /// A folder and those above it.
    MakeFolder(PathBuf),
    /// No such file.
    Remove(PathBuf),
    /// No leftovers in a folder.
    RemoveLeftovers(PathBuf),
    /// The device trains no more; an error, if that is why.
    Leave(Option<String>),
}

/// An answer. Bytes that belong to it stand behind it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is done, or these are the bytes.
    Done,
    /// A member, and what the log says of it and of its teacher; none if there is none left.
    Member(Option<Taken>),
    /// What a folder holds.
    Items(Vec<(PathBuf, Kind)>),
    /// What is at a path.
    Kind(Option<Kind>),
    /// The disk of rank 0 refuses, and why.
    Refused { problem: String, trouble: Trouble },
}

/// What whoever asks a disk goes by, where it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Trouble {
    /// Nothing is there.
    Missing,
    /// There is no room.
    Full,
    /// Something else.
    Other,
}

impl Answer {
    /// The answer that is an error.
    pub(super) fn refusal(error: &FormatError) -> Self {
        let (problem, missing) = match error {
            FormatError::Io { source, .. } => {
                (source.to_string(), source.kind() == io::ErrorKind::NotFound)
            }
            other => (other.to_string(), false),
        };
        let trouble = match missing {
            true => Trouble::Missing,
            false if error.is_full() => Trouble::Full,
            false => Trouble::Other,
        };
        Self::Refused { problem, trouble }
    }
}

/// A head and bytes as a message.
pub(super) fn pack(head: &impl Serialize, bytes: &[u8]) -> Result<Vec<u8>, RankError> {
    let mut message = vec![0; 4];
    let packed = ciborium::into_writer(head, &mut message);
    packed.map_err(|error| RankError::Carrier(format!("a message cannot be made: {error}")))?;
    let length = (message.len() - 4) as u32;
    message[..4].copy_from_slice(&length.to_le_bytes());
    message.extend_from_slice(bytes);
    Ok(message)
}

/// [`pack`] backwards, of a message of `rank`.
pub(super) fn unpack<T: DeserializeOwned>(
    rank: usize,
    mut message: Vec<u8>,
) -> Result<(T, Vec<u8>), RankError> {
    let wrong = |problem: String| RankError::Wrong { rank, problem };
    let cut = || wrong("has sent a message that is cut short".into());
    let length = message.first_chunk().map(|head| u32::from_le_bytes(*head) as usize);
    let end = 4 + length.ok_or_else(cut)?;
    let head = message.get(4..end).ok_or_else(cut)?;
    let head = ciborium::from_reader(head);
    let head = head.map_err(|error| wrong(format!("has sent what nobody knows: {error}")))?;
    message.drain(..end);
    Ok((head, message))
}

/// A member that was taken, and what the log says of it and of its teacher.
pub(super) type Taken = (Planned, BTreeMap<String, Past>);

/// Rank 0, as a device of another rank reaches it. It is the disk of the run as well.
#[derive(Debug)]
pub(super) struct Far {
    link: Arc<dyn Link>,
    channel: Channel,
    /// One question at a time.
    asking: Mutex<()>,
}

impl Far {
    /// For a device of this rank.
    pub(super) fn new(link: Arc<dyn Link>, device: usize) -> Self {
        Self { link, channel: channel_of(device), asking: Mutex::new(()) }
    }

    /// Asks, and waits for the answer as long as rank 0 lives.
    ///
    /// # Errors
    /// Rank 0 is gone.
    pub(super) fn ask(
        &self,
        request: &Request,
        bytes: &[u8],
    ) -> Result<(Answer, Vec<u8>), RankError> {
        let _turn = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        self.link.send(0, self.channel, &pack(request, bytes)?)?;
        unpack(0, self.link.receive(0, self.channel, Duration::MAX)?)
    }

    /// A member for an adapter, with what the log says of it and of its teacher.
    ///
    /// # Errors
    /// Rank 0 is gone, or answers something else.
    pub(super) fn take(&self, adapter: &str) -> Result<Option<Taken>, RankError> {
        match self.ask(&Request::Take(adapter.into()), &[])?.0 {
            Answer::Member(member) => Ok(member),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks for something at a path of the run directory.
    pub(super) fn at(
        &self,
        path: &Path,
        writes: bool,
        request: &Request,
        bytes: &[u8],
    ) -> Result<(Answer, Vec<u8>), FormatError> {
        let refused = |source| match writes {
            true => FormatError::write(path, source),
            false => FormatError::read(path, source),
        };
        match self.ask(request, bytes) {
            Ok((Answer::Refused { problem, trouble }, _)) => {
                let kind = match trouble {
                    Trouble::Missing => io::ErrorKind::NotFound,
                    Trouble::Full => io::ErrorKind::StorageFull,
                    Trouble::Other => io::ErrorKind::Other,
                };
                Err(refused(io::Error::new(kind, problem)))
            }
            Ok(answer) => Ok(answer),
            Err(error) => Err(refused(io::Error::other(error))),
        }
    }
}

fn unexpected(answer: &Answer) -> RankError {
    RankError::Wrong { rank: 0, problem: format!("has answered another question: {answer:?}") }
}

impl Disk for Far {
    fn read(&self, path: &Path) -> Result<Vec<u8>, FormatError> {
        Ok(self.at(path, false, &Request::Read(path.into()), &[])?.1)
    }

    fn write(&self, path: &Path, fill: Fill<'_>) -> Result<(), FormatError> {
        let mut bytes = Vec::new();
        fill(&mut bytes).map_err(|source| FormatError::write(path, source))?;
        self.at(path, true, &Request::Write(path.into()), &bytes).map(drop)
    }

    fn append(&self, path: &Path) -> Result<Box<dyn Append>, FormatError> {
        self.at(path, true, &Request::Extend(path.into()), &[])?;
        let far =
            Far { link: Arc::clone(&self.link), channel: self.channel, asking: Mutex::default() };
        Ok(Box::new(FarFile { far, path: path.into() }))
    }

    fn list(&self, folder: &Path) -> Result<Vec<(PathBuf, Kind)>, FormatError> {
        match self.at(folder, false, &Request::List(folder.into()), &[])?.0 {
            Answer::Items(items) => Ok(items),
            other => Err(FormatError::read(folder, io::Error::other(unexpected(&other)))),
        }
    }

    fn kind(&self, path: &Path) -> Option<Kind> {
        match self.at(path, false, &Request::Kind(path.into()), &[]).ok()?.0 {
            Answer::Kind(kind) => kind,
            _ => None,
        }
    }

    fn make_folder(&self, folder: &Path) -> Result<(), FormatError> {
        self.at(folder, true, &Request::MakeFolder(folder.into()), &[]).map(drop)
    }

    fn remove(&self, path: &Path) -> Result<(), FormatError> {
        self.at(path, true, &Request::Remove(path.into()), &[]).map(drop)
    }

    fn remove_leftovers(&self, folder: &Path) -> Result<(), FormatError> {
        self.at(folder, true, &Request::RemoveLeftovers(folder.into()), &[]).map(drop)
    }

    /// Rank 0 holds the lock on the run directory for all.
    fn lock(&self, path: &Path) -> Result<Option<Held>, FormatError> {
        Err(FormatError::write(path, io::Error::other("only rank 0 locks")))
    }
}

/// A file of rank 0 that is appended to; what was appended is on the disk.
#[derive(Debug)]
struct FarFile {
    far: Far,
    path: PathBuf,
}

impl Append for FarFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.far.at(&self.path, true, &Request::Extend(self.path.clone()), bytes).map(drop)
    }

    fn sync(&self) -> Result<(), FormatError> {
        Ok(())
    }
}
