//! What the process of a run takes of its machine, as time goes by: `usage.jsonl` in its directory, a line now and then, where the system tells.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The file in a run's directory.
const FILE: &str = "usage.jsonl";
/// How often a line is written.
const EVERY: Duration = Duration::from_secs(2);
/// Bytes at the end of the file that are read: more than a day.
const READ: u64 = 4 << 20;
/// Ticks of a processor's time in a second, as Linux tells programs, whatever its own clock does (`USER_HZ`).
const TICKS: f64 = 100.0;

/// What a process takes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Sample {
    /// Seconds since 1970.
    pub(crate) time: f64,
    /// Cores that it has kept busy since the sample before, in the mean.
    pub(crate) cores: f64,
    /// Bytes of its memory that are in RAM. Of a software adapter, the device's as well.
    pub(crate) memory: u64,
}

/// Measures this process, and writes it down.
pub(crate) struct Meter {
    path: PathBuf,
    /// When it was measured last, and the seconds of processors that it had taken by then.
    last: Option<(Instant, f64)>,
}

impl Meter {
    /// For the run in a directory.
    pub(crate) fn new(run: &Path) -> Self {
        Self { path: run.join(FILE), last: None }
    }

    /// Writes a line, where it is time for one and the system tells. A disk that is full has no room for it, and the run goes on.
    pub(crate) fn tick(&mut self) {
        let due = |(at, _): (Instant, f64)| at.elapsed() >= EVERY;
        if !self.last.is_none_or(due) {
            return;
        }
        let (stat, status) = match read_both() {
            Ok(both) => both,
            Err(_) => return,
        };
        let Some((seconds, memory)) = seconds(&stat).zip(memory(&status)) else { return };
        let at = Instant::now();
        if let Some((before, earlier)) = self.last.replace((at, seconds)) {
            let cores = (seconds - earlier) / (at - before).as_secs_f64();
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let sample = Sample { time: time.as_secs_f64(), cores, memory };
            let line = serde_json::json!(sample).to_string() + "\n";
            let file = OpenOptions::new().create(true).append(true).open(&self.path);
            drop(file.and_then(|mut file| file.write_all(line.as_bytes())));
        }
    }
}

/// What Linux says of this process.
fn read_both() -> io::Result<(String, String)> {
    Ok((std::fs::read_to_string("/proc/self/stat")?, std::fs::read_to_string("/proc/self/status")?))
}

/// Seconds of processors that a process has taken, by `/proc/PID/stat`: its 14th and 15th field, counted behind a name that may have spaces.
fn seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

/// Bytes in RAM by `/proc/PID/status`.
fn memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// What was measured of the run in a directory, at most `most` samples: where there are more, each is the mean of several. Lines that are none, as one
/// that a full disk cut, are passed over.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn read(run: &Path, most: usize) -> io::Result<Vec<Sample>> {
    let text = String::from_utf8_lossy(&end_of(&run.join(FILE), READ)?).into_owned();
    let samples: Vec<Sample> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let each = samples.len().div_ceil(most.max(1)).max(1);
    let mean = |part: &[Sample]| {
        let count = part.len() as f64;
        Sample {
            time: part[part.len() - 1].time,
            cores: part.iter().map(|of| of.cores).sum::<f64>() / count,
            memory: part.iter().map(|of| of.memory).sum::<u64>() / part.len() as u64,
        }
    };
    Ok(samples.chunks(each).map(mean).collect())
}

/// The last bytes of a file, at most so many; none of one that is not there.
///
/// # Errors
/// It cannot be read.
pub(crate) fn end_of(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_counted_behind_a_name_with_spaces_and_parentheses() {
        let stat = "77 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14";
        assert_eq!(seconds(stat), Some(3.0));
        assert_eq!(seconds("77 (a) S 1 2"), None);
        assert_eq!(memory("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t1\n"), Some(2 << 20));
        assert_eq!(memory("Name:\tx\n"), None);
    }

    #[test]
    fn many_samples_become_means_and_torn_lines_are_passed_over() {
        let run = tempfile::tempdir().expect("a folder");
        assert_eq!(read(run.path(), 5).expect("none"), []);
        let line = |k: u64| {
            let (time, cores) = (k as f64, (k % 2) as f64);
            serde_json::json!(Sample { time, cores, memory: 10 * k }).to_string() + "\n"
        };
        let text: String = (0..10).map(line).collect();
        std::fs::write(run.path().join(FILE), text + "{\"time\":1").expect("written");
        let found = read(run.path(), 5).expect("read");
        assert_eq!(found.len(), 5);
        assert!(found.iter().all(|sample| sample.cores == 0.5));
        assert_eq!((found[4].time, found[4].memory), (9.0, 85));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_works_is_seen_to() {
        let run = tempfile::tempdir().expect("a folder");
        let mut meter = Meter::new(run.path());
        meter.tick();
        let begun = Instant::now();
        let mut sum = 0u64;
        while begun.elapsed() < EVERY + Duration::from_millis(50) {
            sum = sum.wrapping_mul(3).wrapping_add(1);
        }
        std::hint::black_box(sum);
        meter.tick();
        let samples = read(run.path(), 5).expect("read");
        let [sample] = samples[..] else { panic!("{samples:?}") };
        // Other tests of this process work as well.
        assert!(sample.cores > 0.2 && sample.memory > 1 << 20, "{sample:?}");
        meter.tick();
        assert_eq!(read(run.path(), 5).expect("read").len(), 1, "it is not time yet");
    }
}
