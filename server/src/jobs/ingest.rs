//! Reading the logs of runs, line by line as they grow, into the store.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use engine::event::{Entry, Event, RunStatus};
use rusqlite::Connection;

use crate::run::Outcome;
use crate::store::{Curve, Line, Run};

/// Bytes that are taken in at a time.
const PART: u64 = 4 << 20;

/// A log's lines that have no place in the store yet.
#[derive(Debug)]
pub(super) struct Part {
    /// Where they begin.
    start: u64,
    /// Whole lines.
    bytes: Vec<u8>,
}

/// Reads what a log has beyond `start`, up to the end of its last whole line; none where there is nothing new.
///
/// # Errors
/// The log cannot be read; one that is not there yet is no error.
pub(super) fn read(log: &Path, start: u64) -> io::Result<Option<Part>> {
    let mut file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(PART).read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    if whole == 0 && bytes.len() as u64 == PART {
        // A line without an end that is this long is none of ours: pass it over.
        return Ok(Some(Part { start, bytes }));
    }
    bytes.truncate(whole);
    Ok((!bytes.is_empty()).then_some(Part { start, bytes }))
}

/// A line with its number in the store's log.
pub(super) type Numbered = (i64, String);

/// Takes lines in: into the store's log, the run's view and its curves. What readers are to be told.
///
/// # Errors
/// What SQLite says.
pub(super) fn take(db: &Connection, run: &mut Run, part: &Part) -> rusqlite::Result<Vec<Numbered>> {
    let mut said = Vec::new();
    let mut curves: BTreeMap<(String, &'static str), Curve> = BTreeMap::new();
    let mut start = part.start;
    for line in part.bytes.split_inclusive(|&byte| byte == b'\n') {
        let (at, length) = (start, line.len() as u64);
        start += length;
        let Ok(entry) = serde_json::from_slice::<Entry>(line) else { continue };
        let seq = Line::append(db, &run.id, entry.seq, (at, length))?;
        run.view.apply(&entry);
        match &entry.event {
            Event::RunStarted { .. } => run.outcome = None,
            Event::Checkpoint { .. } | Event::MemberFinished { .. } => run.attempts = 0,
            Event::RunFinished { status, error, .. } => {
                run.outcome = Some(match status {
                    RunStatus::Done => Outcome::Done,
                    RunStatus::Stopped => Outcome::Stopped { cause: error.clone() },
                    RunStatus::Failed => {
                        Outcome::Failed { error: error.clone().unwrap_or_default() }
                    }
                });
            }
            Event::Resumed { member, step } => {
                write(db, &run.id, std::mem::take(&mut curves))?;
                Curve::take_back(db, &run.id, member.as_deref(), *step)?;
            }
            event => points(run, event, &mut curves),
        }
        if let Ok(text) = std::str::from_utf8(line) {
            said.push((seq, text.trim_end().to_owned()));
        }
    }
    write(db, &run.id, curves)?;
    run.bytes = start;
    Ok(said)
}

fn write(
    db: &Connection,
    run: &str,
    curves: BTreeMap<(String, &'static str), Curve>,
) -> rusqlite::Result<()> {
    curves.iter().try_for_each(|((member, series), curve)| curve.append(db, run, member, series))
}

/// The points that an event adds to its member's curves.
fn points(run: &Run, event: &Event, curves: &mut BTreeMap<(String, &'static str), Curve>) {
    let mut add = |member: &str, series: &'static str, step: u64, value: f64| {
        let curve = curves.entry((member.into(), series)).or_default();
        curve.x.push(step);
        curve.y.push(value);
    };
    match event {
        Event::Step { member, stage, step, loss, lr, samples_per_s, .. } => {
            add(member, "loss", *step, *loss);
            add(member, "lr", *step, *lr);
            add(member, "samples_per_s", *step, *samples_per_s);
            let batch = run.view.batch(member, stage);
            if batch > 0 && *samples_per_s > 0.0 {
                add(member, "step_ms", *step, 1e3 * batch as f64 / samples_per_s);
            }
        }
        Event::Epoch { member, step, accuracy, loss, .. } => {
            add(member, "test_loss", *step, *loss);
            if let Some(accuracy) = accuracy {
                add(member, "accuracy", *step, *accuracy);
            }
        }
        _ => {}
    }
}
