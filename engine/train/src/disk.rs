//! Where a run keeps its files, on whatever machine it is: configuration, log, checkpoints and models.
//!
//! Who starts a run gives it a [`Disk`], on which its pictures are as well. Other paths that a user names (text, a teacher from elsewhere, a model
//! to export) are of the operating system, and are read by the standard library or [`SystemDisk`].

use std::{
    fmt::Debug,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::formats::{FormatError, atomic};

/// What fills a file that is written.
pub type Fill<'f> = &'f mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

/// A lock, held until it is dropped.
pub type Held = Box<dyn Debug + Send + Sync>;

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// Something else, such as a link in a folder that is listed.
    Other,
}

impl Kind {
    fn of(kind: fs::FileType) -> Self {
        match kind {
            kind if kind.is_file() => Kind::File,
            kind if kind.is_dir() => Kind::Folder,
            _ => Kind::Other,
        }
    }
}

/// A file that is read in parts.
pub trait Parts: Read + Seek {}

impl<T: Read + Seek> Parts for T {}

/// A disk. Threads may share it. Every error is a [`FormatError::Io`] that names the path.
pub trait Disk: Debug + Send + Sync {
    /// The bytes of a file.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    fn read(&self, path: &Path) -> Result<Vec<u8>, FormatError>;

    /// Opens a file to be read in parts. A disk that has no parts reads it whole.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    fn open(&self, path: &Path) -> Result<Box<dyn Parts>, FormatError> {
        Ok(Box::new(io::Cursor::new(self.read(path)?)))
    }

    /// Fills a file by `fill`, which is called once. Afterwards the file is there whole, also if the machine fails.
    ///
    /// # Errors
    /// Whatever the disk refuses, or `fill` returns; then the file is as it was.
    fn write(&self, path: &Path, fill: Fill<'_>) -> Result<(), FormatError>;

    /// Opens a file to be appended to, making it if it is not there.
    ///
    /// # Errors
    /// What the disk refuses.
    fn append(&self, path: &Path) -> Result<Box<dyn Append>, FormatError>;

    /// What a folder holds, in no order.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    fn list(&self, folder: &Path) -> Result<Vec<(PathBuf, Kind)>, FormatError>;

    /// What is at a path; none if nothing is, or nobody may look.
    fn kind(&self, path: &Path) -> Option<Kind>;

    /// What an item of a folder that [`Self::list`] calls other leads to, as a link does; none if that is nowhere, or a folder around it.
    fn led_to(&self, item: &Path) -> Option<Kind> {
        self.kind(item)
    }

    /// Makes a folder and those above it, unless they are there.
    ///
    /// # Errors
    /// What the disk refuses.
    fn make_folder(&self, folder: &Path) -> Result<(), FormatError>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the disk refuses.
    fn remove(&self, path: &Path) -> Result<(), FormatError>;

    /// Removes from a folder what [`Self::write`] left there of files when its process was killed.
    ///
    /// # Errors
    /// What the disk refuses.
    fn remove_leftovers(&self, folder: &Path) -> Result<(), FormatError>;

    /// Takes the lock that is called `path`, and may be a file there; none if another holds it.
    ///
    /// # Errors
    /// What the disk refuses.
    fn lock(&self, path: &Path) -> Result<Option<Held>, FormatError>;

    /// [`Self::write`] of a text or of bytes.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn write_bytes(&self, path: &Path, bytes: &[u8]) -> Result<(), FormatError> {
        self.write(path, &mut |file| file.write_all(bytes))
    }

    /// [`Self::read`] of a text.
    ///
    /// # Errors
    /// As [`Self::read`], and if it is not UTF-8.
    fn read_text(&self, path: &Path) -> Result<String, FormatError> {
        String::from_utf8(self.read(path)?).map_err(|_| {
            let problem = "stream did not contain valid UTF-8";
            FormatError::read(path, io::Error::new(io::ErrorKind::InvalidData, problem))
        })
    }
}

/// A file that is open to be appended to.
pub trait Append: Debug + Send {
    /// Appends bytes in one write.
    ///
    /// # Errors
    /// What the disk refuses; some of the bytes may be there then.
    fn append(&mut self, bytes: &[u8]) -> Result<(), FormatError>;

    /// Waits until all that was appended is there also if the machine fails.
    ///
    /// # Errors
    /// What the disk refuses.
    fn sync(&self) -> Result<(), FormatError>;
}

/// The operating system's files.
#[derive(Debug, Clone, Copy)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn read(&self, path: &Path) -> Result<Vec<u8>, FormatError> {
        fs::read(path).map_err(|source| FormatError::read(path, source))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>, FormatError> {
        let file = File::open(path).map_err(|source| FormatError::read(path, source))?;
        Ok(Box::new(file))
    }

    fn write(&self, path: &Path, fill: Fill<'_>) -> Result<(), FormatError> {
        atomic::write(path, |file| fill(file))
    }

    fn append(&self, path: &Path) -> Result<Box<dyn Append>, FormatError> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.map_err(|source| FormatError::write(path, source))?;
        Ok(Box::new(SystemFile { file, path: path.into() }))
    }

    fn list(&self, folder: &Path) -> Result<Vec<(PathBuf, Kind)>, FormatError> {
        let entries = fs::read_dir(folder).and_then(|entries| {
            let item = |entry: fs::DirEntry| Ok((entry.path(), Kind::of(entry.file_type()?)));
            entries.map(|entry| item(entry?)).collect()
        });
        entries.map_err(|source| FormatError::read(folder, source))
    }

    fn kind(&self, path: &Path) -> Option<Kind> {
        Some(Kind::of(path.metadata().ok()?.file_type()))
    }

    fn led_to(&self, item: &Path) -> Option<Kind> {
        let kind = self.kind(item)?;
        let back = kind == Kind::Folder && {
            let target = item.canonicalize().ok()?;
            item.parent()?.canonicalize().ok()?.starts_with(target)
        };
        (!back).then_some(kind)
    }

    fn make_folder(&self, folder: &Path) -> Result<(), FormatError> {
        fs::create_dir_all(folder).map_err(|source| FormatError::write(folder, source))
    }

    fn remove(&self, path: &Path) -> Result<(), FormatError> {
        fs::remove_file(path).map_err(|source| FormatError::write(path, source))
    }

    fn remove_leftovers(&self, folder: &Path) -> Result<(), FormatError> {
        atomic::remove_leftovers(folder)
    }

    /// The operating system's lock on a file, which it lets go of when the process ends.
    fn lock(&self, path: &Path) -> Result<Option<Held>, FormatError> {
        let file = File::create(path).map_err(|source| FormatError::write(path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(FormatError::write(path, source)),
        }
    }
}

#[derive(Debug)]
struct SystemFile {
    file: File,
    path: PathBuf,
}

impl Append for SystemFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.file.write_all(bytes).map_err(|source| FormatError::write(&self.path, source))
    }

    fn sync(&self) -> Result<(), FormatError> {
        self.file.sync_data().map_err(|source| FormatError::write(&self.path, source))
    }
}
