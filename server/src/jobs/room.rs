//! Room on the disk for the words that it is full: the store has to grow a little to say so.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// The file, whose name is nobody else's.
const NAME: &str = ".taper-reserve";
/// Bytes that are kept.
const KEPT: u64 = 4 << 20;
/// Free bytes under which nothing is kept.
const AMPLE: u64 = 4 * KEPT;
/// Free bytes under which a run's process is taken to have died of a full disk.
const LEAST: u64 = 1 << 20;

/// A file that reserves space on the disk and gives it up when the disk is full.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(super) fn new(data_dir: &Path) -> Reserve {
        Reserve { path: data_dir.join(NAME) }
    }

    fn free(&self) -> u64 {
        self.path.parent().and_then(|folder| fs4::available_space(folder).ok()).unwrap_or(u64::MAX)
    }

    /// Takes its room, if it has none and there is enough.
    pub(super) fn keep(&self) {
        if self.is_kept() || self.free() < AMPLE {
            return;
        }
        let taken = || -> io::Result<()> {
            let mut file = File::create(&self.path)?;
            // File systems make holes of zeros.
            file.write_all(&vec![0x55; KEPT as usize])?;
            file.sync_all()
        };
        if let Err(error) = taken() {
            tracing::warn!(path = %self.path.display(), %error, "no room can be kept for a full disk");
            drop(std::fs::remove_file(&self.path));
        }
    }

    /// Whether it has its room.
    pub(super) fn is_kept(&self) -> bool {
        self.path.exists()
    }

    /// Gives its room; whether it had any.
    pub(super) fn give(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }

    /// Whether runs find nothing to write to. What was given is the store's.
    pub(super) fn is_full(&self) -> bool {
        let given = if self.is_kept() { 0 } else { KEPT };
        self.free() < LEAST + given
    }
}

/// Whether the store says that it found no room.
pub(crate) fn is_of_room(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_kept_once_and_given_once() {
        let folder = tempfile::tempdir().expect("folder");
        let reserve = Reserve::new(folder.path());
        assert!(!reserve.give());
        reserve.keep();
        reserve.keep();
        let size = std::fs::metadata(folder.path().join(NAME)).expect("kept").len();
        assert_eq!(size, KEPT);
        assert!(reserve.give() && !reserve.give());
    }
}
