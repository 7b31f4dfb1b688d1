//! What the server remembers: runs, where each line of their logs lies, and their curves, in one SQLite file.
//!
//! A run's own append-only log is written first, by its process; what stands here can be made of it again.

mod log;
mod points;
mod runs;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;

pub(crate) use log::{Kind, Line};
pub(crate) use points::{Curve, Window};
pub(crate) use runs::{New, Run};

/// Version of the tables, as `user_version` has it.
const VERSION: i64 = 2;

/// One writer; readers have connections of their own, so that a long answer holds nobody up.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    #[cfg(test)]
    pub(crate) fuse: Fuse,
}

/// For tests of crashes: after so many moments before or after a commit, nothing is written any more.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Fuse(std::sync::atomic::AtomicI64);

#[cfg(test)]
impl Default for Fuse {
    fn default() -> Self {
        Fuse(i64::MAX.into())
    }
}

#[cfg(test)]
impl Fuse {
    /// Blows after so many moments.
    pub(crate) fn set(&self, moments: i64) {
        self.0.store(moments, std::sync::atomic::Ordering::SeqCst);
    }

    fn burn(&self) -> Result<()> {
        let left = self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        if left > 0 { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) }
    }
}

/// What the store says where it cannot.
pub(crate) type Result<T> = std::result::Result<T, rusqlite::Error>;

/// Seconds since 1970-01-01 UTC.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the file, making it where it is not there.
    ///
    /// # Errors
    /// The system refuses, or a newer version of the program made the file.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Store> {
        let writer = connect(path)?;
        let version: i64 = writer.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match version {
            0 => {
                writer.execute_batch(&format!(
                    "BEGIN IMMEDIATE; {} PRAGMA user_version = {VERSION}; COMMIT;",
                    include_str!("tables.sql")
                ))?;
            }
            VERSION => {}
            other => anyhow::bail!(
                "`{}` is of version {other} of the store, and this program knows {VERSION}; use the program that made it, or another --data-dir",
                path.display()
            ),
        }
        Ok(Store {
            path: path.into(),
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            #[cfg(test)]
            fuse: Fuse::default(),
        })
    }

    /// Changes something, wholly or not at all.
    ///
    /// # Errors
    /// What SQLite or `change` says; then nothing is changed.
    pub(crate) fn write<T, E: From<rusqlite::Error>>(
        &self,
        change: impl FnOnce(&Connection) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut writer = lock(&self.writer);
        #[cfg(test)]
        self.fuse.burn()?;
        let transaction =
            writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let done = change(&transaction)?;
        transaction.commit()?;
        #[cfg(test)]
        self.fuse.burn()?;
        Ok(done)
    }

    /// Reads something, from one moment.
    ///
    /// # Errors
    /// What SQLite or `question` says.
    pub(crate) fn read<T, E: From<rusqlite::Error>>(
        &self,
        question: impl FnOnce(&Connection) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let idle = lock(&self.readers).pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => connect(&self.path)?,
        };
        let answer = {
            let moment = reader.transaction()?;
            question(&moment)
        };
        lock(&self.readers).push(reader);
        answer
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    // Every commit is on the disk: a run that was accepted is there after a power cut. Tests crash often, and never by one.
    let synchronous = if cfg!(test) { "OFF" } else { "FULL" };
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};"
    ))?;
    Ok(connection)
}
