//! What the server remembers: runs, where each line of their logs lies, and their curves, in one SQLite file.
//!
//! A run's own append-only log is written first, by its process; what stands here can be made of it again.

mod log;
mod points;
mod runs;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rusqlite::{Connection, ErrorCode, OpenFlags, Result};

pub(crate) use log::{Kind, Line};
pub(crate) use points::{Curve, Window};
pub(crate) use runs::{Labels, New, Run, now};

/// Version of the tables, as `user_version` has it.
const VERSION: i64 = 3;
/// What makes tables of an earlier version those of the next.
const UPGRADES: [(i64, &str); 1] =
    [(2, "ALTER TABLE runs ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';")];

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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the file, making it where it is not there or empty. What cannot be used is not touched.
    ///
    /// # Errors
    /// The system refuses, the file is damaged or no store, or another version of the program made it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Store> {
        let is_new = match check(path)? {
            Found::Nothing => true,
            Found::Store => false,
            Found::Earlier(version) => {
                upgrade(path, version).with_context(|| cannot(path))?;
                return Self::open(path);
            }
            Found::Problem(problem) => {
                anyhow::bail!("the store `{}` {problem}; {REMEDY}", path.display())
            }
        };
        let writer = connect(path).with_context(|| cannot(path))?;
        if is_new {
            let tables = include_str!("tables.sql");
            let sql = format!("BEGIN IMMEDIATE; {tables} PRAGMA user_version = {VERSION}; COMMIT;");
            writer.execute_batch(&sql).with_context(|| cannot(path))?;
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

/// What to do about a store that cannot be used.
const REMEDY: &str = "put back a copy of it, or move it away: the next start then takes all runs up from their own directories";

fn cannot(path: &Path) -> String {
    format!("the store `{}` cannot be opened", path.display())
}

/// What lies where the store should.
enum Found {
    /// No file, or an empty one.
    Nothing,
    /// A store of this version, whole.
    Store,
    /// A store of this earlier version, which can be made one of the next.
    Earlier(i64),
    /// Something else: the end of a sentence about it.
    Problem(String),
}

/// Looks at a file without writing to it.
fn check(path: &Path) -> anyhow::Result<Found> {
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error).with_context(|| cannot(path)),
        Ok(data) if !data.is_file() => return Ok(Found::Problem("is no file".into())),
        Ok(data) if data.len() == 0 => return Ok(Found::Nothing),
        Ok(_) => {}
    }
    let looked = || -> Result<Found> {
        // Closing it writes nothing back, as closing a writer would.
        let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        reader.busy_timeout(Duration::from_secs(10))?;
        let number = |sql: &str| reader.query_row(sql, [], |row| row.get::<_, i64>(0));
        let found = match number("PRAGMA user_version")? {
            0 if number("SELECT count(*) FROM sqlite_schema")? == 0 => Found::Nothing,
            0 => Found::Problem("is a database of another program".into()),
            version if version == VERSION || upgrade_of(version).is_some() => {
                let sql = "PRAGMA quick_check(1)";
                let verdict: String = reader.query_row(sql, [], |row| row.get(0))?;
                match verdict.as_str() {
                    // Its rows are those of this program.
                    "ok" if version == VERSION => Run::all(&reader).map(|_| Found::Store)?,
                    "ok" => Found::Earlier(version),
                    _ => Found::Problem(format!("is damaged ({})", verdict.replace('\n', " "))),
                }
            }
            newer if newer > VERSION => Found::Problem(format!(
                "is of a newer program (version {newer} of its tables, and this one knows {VERSION}); use that program"
            )),
            older => Found::Problem(format!(
                "is of another program (version {older} of its tables, and this one knows {VERSION}); use that program"
            )),
        };
        Ok(found)
    };
    match looked() {
        Ok(found) => Ok(found),
        Err(error) if is_of_the_file(&error) => Ok(Found::Problem(format!("is damaged ({error})"))),
        Err(error) => Err(error).with_context(|| cannot(path)),
    }
}

/// Whether an error is about what stands in the file, and not about reaching it.
fn is_of_the_file(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown
        ),
        // A table or a column is missing, or a value is none of ours.
        _ => true,
    }
}

fn upgrade_of(version: i64) -> Option<&'static str> {
    UPGRADES.iter().find(|(of, _)| *of == version).map(|(_, sql)| *sql)
}

/// Makes the tables of a version those of the next, wholly or not at all.
fn upgrade(path: &Path, version: i64) -> Result<()> {
    let (sql, next) = (upgrade_of(version).unwrap_or_default(), version + 1);
    connect(path)?
        .execute_batch(&format!("BEGIN IMMEDIATE; {sql} PRAGMA user_version = {next}; COMMIT;"))
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
