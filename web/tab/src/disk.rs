//! The origin's private files as a disk. Who writes a file writes it beside its place and moves it there.

use std::{
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use engine::{
    disk::{Append, Disk, Fill, Held, Kind, Parts},
    formats::{FormatError, atomic},
};

use crate::imports::{self, FAILED};

/// How a file is opened; `disk.ts` knows the numbers.
const TO_READ: i32 = 0;
const NEW: i32 = 1;
const TO_APPEND: i32 = 2;

/// Bytes that are written at once.
const PIECE: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
pub(crate) struct OriginDisk;

/// The path as the worker is told it.
fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The worker's reason: the name of the browser's error, a space, and its sentence.
fn reason() -> io::Error {
    let text = imports::take_text(imports::reason());
    let kind = match text.split(' ').next() {
        Some("NotFoundError") => ErrorKind::NotFound,
        Some("TypeMismatchError") => ErrorKind::IsADirectory,
        Some("QuotaExceededError") => ErrorKind::StorageFull,
        Some("NoModificationAllowedError") => ErrorKind::ResourceBusy,
        _ => ErrorKind::Other,
    };
    let said = text.split_once(' ').map_or(text.as_str(), |(_, said)| said);
    // It goes into a sentence of ours.
    io::Error::new(kind, said.trim_end_matches('.').to_owned())
}

/// A number that a call returned, unless it failed.
fn good(of: i32) -> io::Result<i32> {
    if of <= FAILED { Err(reason()) } else { Ok(of) }
}

/// An open file, closed when it is dropped.
#[derive(Debug)]
struct File {
    handle: i32,
    at: u64,
}

impl File {
    fn open(path: &Path, how: i32) -> io::Result<Self> {
        let handle = good(imports::disk_open(&name(path), how))?;
        let at = if how == TO_APPEND { imports::disk_size(handle) as u64 } else { 0 };
        Ok(Self { handle, at })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        imports::disk_close(self.handle);
    }
}

impl Read for File {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = good(imports::disk_get(self.handle, self.at, to))? as usize;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(by) => (self.at, by),
            SeekFrom::End(by) => (imports::disk_size(self.handle) as u64, by),
        };
        let before = || io::Error::new(ErrorKind::InvalidInput, "a place before the file's begin");
        self.at = from.checked_add_signed(by).ok_or_else(before)?;
        Ok(self.at)
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = good(imports::disk_put(self.handle, self.at, bytes))? as usize;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        good(imports::disk_flush(self.handle)).map(drop)
    }
}

/// A lock, let go when it is dropped, or when the worker ends.
#[derive(Debug)]
struct Lock(i32);

impl Drop for Lock {
    fn drop(&mut self) {
        imports::disk_unlock(self.0);
    }
}

impl Disk for OriginDisk {
    fn read(&self, path: &Path) -> Result<Vec<u8>, FormatError> {
        let length = good(imports::disk_read(&name(path)));
        length.map(imports::take).map_err(|source| FormatError::read(path, source))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>, FormatError> {
        let file = File::open(path, TO_READ).map_err(|source| FormatError::read(path, source))?;
        Ok(Box::new(io::BufReader::new(file)))
    }

    fn write(&self, path: &Path, fill: Fill<'_>) -> Result<(), FormatError> {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = path.with_file_name(atomic::temporary(&file));
        let written = (|| {
            let mut file = io::BufWriter::with_capacity(PIECE, File::open(&beside, NEW)?);
            fill(&mut file)?;
            file.flush()?;
            // A file that is open cannot be moved.
            drop(file);
            good(imports::disk_move(&name(&beside), &name(path))).map(drop)
        })();
        written.map_err(|source| {
            // What is left of it is removed by the next start at the latest.
            imports::disk_remove(&name(&beside));
            FormatError::write(path, source)
        })
    }

    fn append(&self, path: &Path) -> Result<Box<dyn Append>, FormatError> {
        let file =
            File::open(path, TO_APPEND).map_err(|source| FormatError::write(path, source))?;
        Ok(Box::new(Log { file, path: path.into() }))
    }

    fn list(&self, folder: &Path) -> Result<Vec<(PathBuf, Kind)>, FormatError> {
        let length = good(imports::disk_list(&name(folder)));
        let text = length.map(imports::take_text);
        let text = text.map_err(|source| FormatError::read(folder, source))?;
        // A line an item: `f` or `d`, and the name.
        let item = |line: &str| {
            let kind = if line.starts_with('d') { Kind::Folder } else { Kind::File };
            Some((folder.join(line.get(1..)?), kind))
        };
        Ok(text.lines().filter_map(item).collect())
    }

    fn kind(&self, path: &Path) -> Option<Kind> {
        match imports::disk_kind(&name(path)) {
            1 => Some(Kind::File),
            2 => Some(Kind::Folder),
            _ => None,
        }
    }

    fn make_folder(&self, folder: &Path) -> Result<(), FormatError> {
        let made = good(imports::disk_make_folder(&name(folder)));
        made.map(drop).map_err(|source| FormatError::write(folder, source))
    }

    fn remove(&self, path: &Path) -> Result<(), FormatError> {
        let removed = good(imports::disk_remove(&name(path)));
        removed.map(drop).map_err(|source| FormatError::write(path, source))
    }

    fn remove_leftovers(&self, folder: &Path) -> Result<(), FormatError> {
        for (path, kind) in self.list(folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if kind == Kind::File && atomic::is_temporary(&name) {
                self.remove(&path)?;
            }
        }
        Ok(())
    }

    /// A Web Lock of the path's name. A file is there as well, as on other disks.
    fn lock(&self, path: &Path) -> Result<Option<Held>, FormatError> {
        match good(imports::disk_lock(&name(path))) {
            Ok(0) => Ok(None),
            Ok(lock) => {
                let lock = Lock(lock);
                let made = File::open(path, NEW).map(drop);
                made.map_err(|source| FormatError::write(path, source))?;
                Ok(Some(Box::new(lock)))
            }
            Err(source) => Err(FormatError::write(path, source)),
        }
    }
}

/// A log.
#[derive(Debug)]
struct Log {
    file: File,
    path: PathBuf,
}

impl Append for Log {
    fn append(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.file.write_all(bytes).map_err(|source| FormatError::write(&self.path, source))
    }

    fn sync(&self) -> Result<(), FormatError> {
        let synced = good(imports::disk_flush(self.file.handle)).map(drop);
        synced.map_err(|source| FormatError::write(&self.path, source))
    }
}
