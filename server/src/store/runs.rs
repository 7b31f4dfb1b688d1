//! Rows of `runs`.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use serde::{Deserialize, Serialize};

use super::log::Kind;
use crate::run::{Facts, Outcome, State, View};

/// Seconds since 1970-01-01 UTC.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A run as the store has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    /// Made by the server.
    pub(crate) id: String,
    /// For people.
    pub(crate) name: String,
    /// Where it stands.
    pub(crate) state: State,
    /// When it was made.
    pub(crate) created: f64,
    /// When its first process was started.
    pub(crate) started: Option<f64>,
    /// When it ended.
    pub(crate) finished: Option<f64>,
    /// As its maker gave it: TOML, with names of data sets.
    pub(crate) config: String,
    /// SHA-256 of the configuration that it is trained by.
    pub(crate) config_hash: String,
    /// The preset it was made of.
    pub(crate) preset: Option<String>,
    /// What its configuration comes to.
    pub(crate) facts: Facts,
    /// What its events came to.
    pub(crate) view: View,
    /// Rank in the queue.
    pub(crate) place: Option<i64>,
    /// The devices it holds; none without a process.
    pub(crate) slots: Vec<String>,
    /// When its last process was started.
    pub(crate) launched: f64,
    /// Processes since its last checkpoint.
    pub(crate) attempts: u32,
    /// How much of its log is taken in.
    pub(crate) bytes: u64,
    /// How its last process says it ended.
    pub(crate) outcome: Option<Outcome>,
    /// Why it failed, or is paused where nobody asked for it.
    pub(crate) error: Option<String>,
    /// What people write on it.
    pub(crate) labels: Labels,
}

/// What people write on a run, to find it again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Labels {
    /// Words by which runs are put together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    /// Anything.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) notes: String,
}

impl Labels {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a new run begins with.
#[derive(Debug, Clone)]
pub(crate) struct New {
    /// See [`Run`].
    pub(crate) id: String,
    /// See [`Run`].
    pub(crate) name: String,
    /// See [`Run`].
    pub(crate) config: String,
    /// See [`Run`].
    pub(crate) config_hash: String,
    /// See [`Run`].
    pub(crate) preset: Option<String>,
    /// See [`Run`].
    pub(crate) facts: Facts,
    /// See [`Run`].
    pub(crate) view: View,
}

const COLUMNS: &str = "id, name, state, created, started, finished, config, config_hash, preset, facts, view, place, slot, launched, attempts, bytes, outcome, error, labels";

/// A column that holds JSON, or a name, that this program wrote.
fn parsed<T>(row: &Row<'_>, column: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| {
        let problem = format!("column {column} holds `{}`", text.escape_debug());
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, problem.into())
    })
}

fn run(row: &Row<'_>) -> Result<Run> {
    let outcome: Option<String> = row.get("outcome")?;
    // One a line: names of devices and places on a bus have no line ends.
    let slots: Option<String> = row.get("slot")?;
    Ok(Run {
        id: row.get("id")?,
        name: row.get("name")?,
        state: parsed(row, "state", State::of)?,
        created: row.get("created")?,
        started: row.get("started")?,
        finished: row.get("finished")?,
        config: row.get("config")?,
        config_hash: row.get("config_hash")?,
        preset: row.get("preset")?,
        facts: parsed(row, "facts", |text| serde_json::from_str(text).ok())?,
        view: parsed(row, "view", |text| serde_json::from_str(text).ok())?,
        place: row.get("place")?,
        slots: slots.unwrap_or_default().lines().map(str::to_owned).collect(),
        launched: row.get("launched")?,
        attempts: row.get("attempts")?,
        bytes: row.get::<_, i64>("bytes")?.unsigned_abs(),
        outcome: outcome.and_then(|text| serde_json::from_str(&text).ok()),
        error: row.get("error")?,
        labels: parsed(row, "labels", |text| serde_json::from_str(text).ok())?,
    })
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn select(db: &Connection, rest: &str, of: impl rusqlite::Params) -> Result<Vec<Run>> {
    let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM runs {rest}"))?;
    statement.query_map(of, run)?.collect()
}

impl Run {
    /// All runs, newest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn all(db: &Connection) -> Result<Vec<Run>> {
        select(db, "ORDER BY created DESC, id", [])
    }

    /// The run of this id.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn find(db: &Connection, id: &str) -> Result<Option<Run>> {
        Ok(select(db, "WHERE id = ?", [id])?.pop())
    }

    /// Those that hold a device: they have a process, or had one when the server last looked.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn with_device(db: &Connection) -> Result<Vec<Run>> {
        select(db, "WHERE slot IS NOT NULL ORDER BY launched", [])
    }

    /// The queue, next one first.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn queue(db: &Connection) -> Result<Vec<Run>> {
        select(db, "WHERE state = 'queued' ORDER BY place, created, id", [])
    }

    /// Ids of the queue, next one first.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn queued_ids(db: &Connection) -> Result<Vec<String>> {
        let sql = "SELECT id FROM runs WHERE state = 'queued' ORDER BY place, created, id";
        db.prepare_cached(sql)?.query_map([], |row| row.get(0))?.collect()
    }

    /// A new run, a draft.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn insert(db: &Connection, new: &New) -> Result<Run> {
        db.execute(
            "INSERT INTO runs (id, name, state, created, config, config_hash, preset, facts, view)
             VALUES (?, ?, 'draft', ?, ?, ?, ?, ?, ?)",
            params![
                new.id,
                new.name,
                now(),
                new.config,
                new.config_hash,
                new.preset,
                json(&new.facts)?,
                json(&new.view)?
            ],
        )?;
        Kind::Run.append(db, &new.id)?;
        Run::find(db, &new.id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// Writes what can change, and says so in the log if the state or the queue did.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn save(&self, db: &Connection) -> Result<()> {
        let before: Option<(String, Option<i64>)> = db
            .prepare_cached("SELECT state, place FROM runs WHERE id = ?")?
            .query_row([&self.id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        db.prepare_cached(
            "UPDATE runs SET state = ?, started = ?, finished = ?, view = ?, place = ?, slot = ?,
             launched = ?, attempts = ?, bytes = ?, outcome = ?, error = ? WHERE id = ?",
        )?
        .execute(params![
            self.state.name(),
            self.started,
            self.finished,
            json(&self.view)?,
            self.place,
            (!self.slots.is_empty()).then(|| self.slots.join("\n")),
            self.launched,
            self.attempts,
            i64::try_from(self.bytes).unwrap_or(i64::MAX),
            self.outcome.as_ref().map(json).transpose()?,
            self.error,
            self.id
        ])?;
        let Some((state, place)) = before else { return Ok(()) };
        if state != self.state.name() {
            Kind::Run.append(db, &self.id)?;
        }
        if place != self.place {
            Kind::Queue.append(db, "")?;
        }
        Ok(())
    }

    /// Writes what is set when it is made: when that was, and what its configuration comes to.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn save_origin(&self, db: &Connection) -> Result<()> {
        db.prepare_cached("UPDATE runs SET created = ?, facts = ? WHERE id = ?")?
            .execute(params![self.created, json(&self.facts)?, self.id])
            .map(drop)
    }

    /// Writes what people call it and write on it, and says so in the log.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn save_labels(&self, db: &Connection) -> Result<()> {
        db.prepare_cached("UPDATE runs SET name = ?, labels = ? WHERE id = ?")?
            .execute(params![self.name, json(&self.labels)?, self.id])?;
        Kind::Run.append(db, &self.id).map(drop)
    }

    /// Forgets the lines of a run's log and its curves, which will be read anew.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn forget_log(db: &Connection, id: &str) -> Result<()> {
        db.execute("DELETE FROM log WHERE run = ? AND kind = 'entry'", [id])?;
        db.execute("DELETE FROM chunks WHERE run = ?", [id]).map(drop)
    }

    /// Puts it into the queue: at its head or its end.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn enqueue(&mut self, db: &Connection, head: bool) -> Result<()> {
        let sql = "SELECT coalesce(min(place), 0), coalesce(max(place), 0) FROM runs WHERE place IS NOT NULL";
        let (least, most): (i64, i64) =
            db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.place = Some(if head { least - 1 } else { most + 1 });
        Ok(())
    }

    /// Puts a queued run before another one, or at the end of the queue; whether both are queued.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn reorder(db: &Connection, id: &str, before: Option<&str>) -> Result<bool> {
        let mut order = Run::queued_ids(db)?;
        let Some(from) = order.iter().position(|queued| queued == id) else { return Ok(false) };
        let moved = order.remove(from);
        let to = match before {
            Some(before) if before == id => from,
            Some(before) => match order.iter().position(|queued| queued == before) {
                Some(to) => to,
                None => return Ok(false),
            },
            None => order.len(),
        };
        order.insert(to, moved);
        let mut place = db.prepare_cached("UPDATE runs SET place = ? WHERE id = ?")?;
        for (rank, id) in (1i64..).zip(&order) {
            place.execute(params![rank, id])?;
        }
        Kind::Queue.append(db, "")?;
        Ok(true)
    }

    /// Forgets a run, its curves and its log.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn delete(db: &Connection, id: &str) -> Result<()> {
        for table in ["log", "chunks"] {
            db.execute(&format!("DELETE FROM {table} WHERE run = ?"), [id])?;
        }
        db.execute("DELETE FROM runs WHERE id = ?", [id])?;
        Kind::Removed.append(db, id)?;
        Kind::Queue.append(db, "").map(drop)
    }
}
