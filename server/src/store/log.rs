//! Rows of `log`: what a stream of events replays.

use rusqlite::{Connection, Result, params};

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A line of a run's own log.
    Entry,
    /// A run changed its state.
    Run,
    /// A run was deleted.
    Removed,
    /// The queue has another order.
    Queue,
}

impl Kind {
    /// The name in the store and on the stream.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Entry => "entry",
            Kind::Run => "run",
            Kind::Removed => "removed",
            Kind::Queue => "queue",
        }
    }

    /// Appends a row without a line; its number.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn append(self, db: &Connection, run: &str) -> Result<i64> {
        db.prepare_cached("INSERT INTO log (run, kind) VALUES (?, ?)")?
            .insert(params![run, self.name()])
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its number, over all runs.
    pub(crate) seq: i64,
    /// The run it is about.
    pub(crate) run: String,
    /// What it is about.
    pub(crate) kind: Kind,
    /// Where the line of an entry begins in the run's own log, and its bytes.
    pub(crate) range: (u64, u64),
}

impl Line {
    /// Appends the row of an entry: its number in the run's own log, and where its line lies there. The row's number.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn append(db: &Connection, run: &str, own: u64, range: (u64, u64)) -> Result<i64> {
        let sql = "INSERT INTO log (run, kind, own, start, length) VALUES (?, 'entry', ?, ?, ?)";
        db.prepare_cached(sql)?.insert(params![run, own as i64, range.0 as i64, range.1 as i64])
    }

    /// The greatest number so far, also of rows that are gone.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn last(db: &Connection) -> Result<i64> {
        let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'log'), 0)";
        db.query_row(sql, [], |row| row.get(0))
    }

    /// Sees to it that the next number is greater than `seq`: numbers that readers know of a store that is lost come in no other meaning.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn pass(db: &Connection, seq: i64) -> Result<()> {
        if Line::last(db)? < seq {
            let sql = "INSERT INTO log (seq, run, kind) VALUES (?, '', ?)";
            db.execute(sql, params![seq, Kind::Queue.name()])?;
        }
        Ok(())
    }

    /// At most `limit` rows after a number: all that are no entries, and the entries of `runs` (of all runs, if it is none).
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn after(
        db: &Connection,
        seq: i64,
        runs: Option<&[String]>,
        limit: usize,
    ) -> Result<Vec<Line>> {
        let wanted = match runs {
            None => "1".into(),
            Some(runs) => {
                let marks = vec!["?"; runs.len()].join(", ");
                format!("(kind <> 'entry' OR run IN ({marks}))")
            }
        };
        let sql = format!(
            "SELECT seq, run, kind, start, length FROM log WHERE seq > {seq} AND {wanted} ORDER BY seq LIMIT {limit}"
        );
        let runs = rusqlite::params_from_iter(runs.unwrap_or_default());
        db.prepare(&sql)?.query_map(runs, line)?.collect()
    }

    /// At most `limit` entries of one run after a number of its own log.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn of_run(db: &Connection, run: &str, own: i64, limit: usize) -> Result<Vec<Line>> {
        let sql = "SELECT seq, run, kind, start, length FROM log WHERE run = ? AND own > ? AND kind = 'entry' ORDER BY own LIMIT ?";
        db.prepare_cached(sql)?.query_map(params![run, own, limit as i64], line)?.collect()
    }

    /// The last `count` entries of one run, the earliest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn tail(db: &Connection, run: &str, count: usize) -> Result<Vec<Line>> {
        let sql = "SELECT seq, run, kind, start, length FROM log WHERE run = ? AND kind = 'entry' ORDER BY own DESC LIMIT ?";
        let mut statement = db.prepare_cached(sql)?;
        let lines = statement.query_map(params![run, count as i64], line)?;
        let mut lines = lines.collect::<Result<Vec<Line>>>()?;
        lines.reverse();
        Ok(lines)
    }
}

fn line(row: &rusqlite::Row<'_>) -> Result<Line> {
    let kind: String = row.get(2)?;
    let kinds = [Kind::Entry, Kind::Run, Kind::Removed, Kind::Queue];
    let number = |at| row.get::<_, i64>(at).map(i64::unsigned_abs);
    Ok(Line {
        seq: row.get(0)?,
        run: row.get(1)?,
        kind: kinds.into_iter().find(|known| known.name() == kind).unwrap_or(Kind::Queue),
        range: (number(3)?, number(4)?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    #[test]
    fn a_runs_own_lines_are_read_from_a_number_on_and_from_the_end() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(&folder.path().join("taper.sqlite")).expect("opened");
        let write = |run: &str, own: u64| {
            store.write(|db| Line::append(db, run, own, (10 * own, 10))).expect("written");
        };
        for own in 0..9 {
            write("a", own);
            write("b", own + 100);
        }
        store.write(|db| Kind::Run.append(db, "a")).expect("written");
        let starts = |lines: Result<Vec<Line>>| -> Vec<u64> {
            lines.expect("read").into_iter().map(|line| line.range.0).collect()
        };
        assert_eq!(starts(store.read(|db| Line::of_run(db, "a", 2, 3))), [30, 40, 50]);
        assert_eq!(starts(store.read(|db| Line::tail(db, "a", 3))), [60, 70, 80]);
        assert_eq!(starts(store.read(|db| Line::tail(db, "b", 100))).len(), 9);
        assert_eq!(starts(store.read(|db| Line::tail(db, "c", 100))), [0; 0]);
    }
}
