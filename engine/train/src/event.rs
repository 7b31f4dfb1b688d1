//! What has happened, see [`taper_core::event`], in an append-only file.
//!
//! A line is complete or ignored. When a killed run is resumed, the steps after its last checkpoint are taken again, so readers drop what
//! the log said of them: see [`Event::Resumed`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use taper_core::event::*;

use crate::{
    clock::{Clock, SystemClock},
    disk::{Append, Disk, SystemDisk},
    formats::FormatError,
};

/// The writer of `events.jsonl`.
#[derive(Debug)]
pub struct EventLog {
    file: Box<dyn Append>,
    path: PathBuf,
    /// `seq` of the next line.
    next: u64,
    clock: Arc<dyn Clock>,
    steady: Steady,
    /// Whether the last line has no end.
    torn: bool,
}

impl EventLog {
    /// Opens the log, making it if it is not there. A line that a killed process left without its end is closed, so that it stays the only
    /// one that is lost, and `seq` goes on.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn open(path: &Path) -> Result<EventLog, FormatError> {
        Self::on(&SystemDisk, Arc::new(SystemClock::default()), path)
    }

    /// [`Self::open`] on a disk, with the times of a clock.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn on(
        disk: &dyn Disk,
        clock: Arc<dyn Clock>,
        path: &Path,
    ) -> Result<EventLog, FormatError> {
        let file = disk.append(path)?;
        let bytes = disk.read(path)?;
        let last = parse(&bytes).last();
        // A `seq` that has no successor is damage: the numbers before it go on.
        let next = parse(&bytes).map(|entry| entry.seq).max();
        let next = next.map_or(0, |seq| seq.saturating_add(1));
        let steady = Steady { last: last.map_or(0.0, |entry| entry.time), ahead: 0.0 };
        let torn = bytes.last().is_some_and(|&byte| byte != b'\n');
        Ok(EventLog { file, path: path.into(), next, clock, steady, torn })
    }

    /// Appends an event with the time of now, and returns the line's entry.
    ///
    /// # Errors
    /// What the system refuses; the next line then starts behind what was written of this one.
    pub fn append(&mut self, event: Event) -> Result<Entry, FormatError> {
        let time = self.steady.tell((self.clock.unix().as_secs_f64() * 1e3).round() / 1e3);
        let entry = Entry { seq: self.next, time, event };
        let line = entry.to_line().map_err(|error| FormatError::content(&self.path, error))?;
        let line = if self.torn { format!("\n{line}") } else { line };
        // One write a line; whatever may be left of a failed one is closed before the next.
        let written = self.file.append(line.as_bytes());
        self.torn = written.is_err();
        written?;
        self.next = self.next.saturating_add(1);
        Ok(entry)
    }

    /// Waits until all lines are on the disk; called before a checkpoint that they belong to.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn sync(&self) -> Result<(), FormatError> {
        self.file.sync()
    }
}

/// The time of day, made monotonic, as readers take differences of a log's times: if the clock is set back, the times of the log stay ahead of
/// it by as much from then on.
#[derive(Debug, Default)]
struct Steady {
    last: f64,
    ahead: f64,
}

impl Steady {
    fn tell(&mut self, now: f64) -> f64 {
        if now + self.ahead < self.last {
            self.ahead = self.last - now;
        }
        self.last = now + self.ahead;
        self.last
    }
}

/// All complete lines that are entries.
fn parse(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    lines(bytes).filter_map(|line| serde_json::from_slice(line).ok())
}

/// The lines that have their end.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let complete = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    bytes[..complete].split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

/// How many complete lines of a log's bytes are no entries and are passed over: torn by a kill, damaged, or of a later Taper.
pub fn passed_over(bytes: &[u8]) -> usize {
    lines(bytes).count() - parse(bytes).count()
}

/// Reads a log: complete lines only, without what a later [`Event::Resumed`] took back.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path) -> Result<Vec<Entry>, FormatError> {
    Ok(entries(&SystemDisk.read(path)?))
}

/// [`read`] of a log's bytes.
pub fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for entry in parse(bytes) {
        if let Event::Resumed { member, step } = &entry.event {
            entries.retain(|earlier| match earlier.event.moment() {
                Some((who, at)) => {
                    member.as_deref().is_some_and(|member| member != who) || at <= *step
                }
                None => true,
            });
        }
        entries.push(entry);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(member: &str, step: u64, loss: f64) -> Event {
        Event::Step {
            member: member.into(),
            stage: "tune".into(),
            step,
            stage_step: step,
            loss,
            lr: 0.1,
            samples_per_s: 1000.0,
            loader_wait: Some(LoaderWait { mean_ms: 0.25, max_ms: 2.0 }),
            exchange: None,
            scaling: None,
        }
    }

    fn steps(entries: &[Entry]) -> Vec<(u64, u64)> {
        let of = |entry: &Entry| match entry.event {
            Event::Step { step, .. } => Some((entry.seq, step)),
            _ => None,
        };
        entries.iter().filter_map(of).collect()
    }

    #[test]
    fn a_line_has_its_place_and_its_type() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("events.jsonl");
        let mut log = EventLog::open(&path).expect("opened");
        log.append(step("win-0", 5, 0.25)).expect("written");
        let report = MergeReport {
            max_abs_error: 1e-6,
            relative_error: 1e-7,
            inputs: 500,
            params_before: 3,
            params_after: 2,
        };
        log.append(Event::Merge { member: "win-0".into(), step: 5, report }).expect("written");
        let text = std::fs::read_to_string(&path).expect("read");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!((&lines[0]["seq"], &lines[0]["type"]), (&0.into(), &"step".into()));
        assert_eq!((&lines[1]["seq"], &lines[1]["relative_error"]), (&1.into(), &1e-7.into()));
        assert!(lines[0]["time"].as_f64().is_some_and(|time| time > 1.6e9));
        assert_eq!(read(&path).expect("read").len(), 2);
    }

    #[test]
    fn a_clock_that_is_set_back_goes_on_from_where_it_was() {
        let mut steady = Steady::default();
        let told: Vec<f64> =
            [100.0, 101.0, 41.0, 43.5, 200.0].map(|now| steady.tell(now)).into_iter().collect();
        assert_eq!(told, [100.0, 101.0, 101.0, 103.5, 260.0]);
        // A log goes on where it ended as well.
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, "{\"seq\":0,\"time\":1e10,\"type\":\"warning\",\"message\":\"a\"}\n")
            .expect("written");
        let mut log = EventLog::open(&path).expect("opened");
        let entry = log.append(Event::Warning { message: "b".into() }).expect("written");
        assert_eq!((entry.seq, entry.time), (1, 1e10));
    }

    #[test]
    fn a_torn_tail_costs_one_line_and_seq_goes_on() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("events.jsonl");
        let mut log = EventLog::open(&path).expect("opened");
        for n in 1..=3 {
            log.append(step("win-0", n, 1.0)).expect("written");
        }
        let length = std::fs::metadata(&path).expect("there").len();
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opened");
        file.set_len(length - 7).expect("cut");
        assert_eq!(steps(&read(&path).expect("read")), [(0, 1), (1, 2)]);

        let mut log = EventLog::open(&path).expect("opened again");
        log.append(Event::Resumed { member: None, step: 2 }).expect("written");
        log.append(step("win-0", 3, 1.0)).expect("written");
        assert_eq!(steps(&read(&path).expect("read")), [(0, 1), (1, 2), (3, 3)]);
    }

    #[test]
    fn a_resume_takes_back_later_steps_of_its_member_only() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("events.jsonl");
        let mut log = EventLog::open(&path).expect("opened");
        for event in [
            step("kd-0", 9, 1.0),
            step("win-0", 4, 1.0),
            step("win-0", 5, 1.0),
            Event::Warning { message: "stays".into() },
            Event::Resumed { member: Some("win-0".into()), step: 4 },
            step("win-0", 5, 2.0),
        ] {
            log.append(event).expect("written");
        }
        let entries = read(&path).expect("read");
        assert_eq!(steps(&entries), [(0, 9), (1, 4), (5, 5)]);
        assert_eq!(entries.len(), 5);
    }

    #[test]
    fn foreign_lines_are_passed_over() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, "not json\n{\"seq\":3,\"time\":1,\"type\":\"of_the_future\"}\n")
            .expect("written");
        assert!(read(&path).expect("read").is_empty());
        assert_eq!(passed_over(&std::fs::read(&path).expect("read")), 2);
    }
}
