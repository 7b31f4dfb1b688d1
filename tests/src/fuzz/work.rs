//! A worker: reads numbers of inputs, has each judged, and says in a line what came of it. Whoever started it sees it die.

use std::{
    fs,
    io::{self, BufRead as _, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::{Case, Kind, Verdict, judge::Judge, seeds::Seeds};

/// What a worker works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The folder of the seeds.
    pub seeds: PathBuf,
    /// The seed of all inputs.
    pub seed: u64,
    /// The kinds that take turns.
    pub kinds: Vec<Kind>,
    /// What goes wrong at some numbers, to see that it is noticed.
    pub trips: Vec<(u64, Trip)>,
}

/// What can go wrong in a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trip {
    /// A panic.
    Panic,
    /// A panic in a thread, after which the input is refused.
    Thread,
    /// The process ends itself.
    Abort,
    /// It goes on for ever.
    Hang,
    /// It asks for all memory.
    Flood,
    /// It is answered otherwise than it should be.
    Differ,
}

impl Trip {
    const ALL: [(&str, Trip); 6] = [
        ("panic", Trip::Panic),
        ("thread", Trip::Thread),
        ("abort", Trip::Abort),
        ("hang", Trip::Hang),
        ("flood", Trip::Flood),
        ("differ", Trip::Differ),
    ];

    /// The trip of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, trip)| trip)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, trip)| *trip == self).map_or("", |(name, _)| name)
    }

    fn happen(self) -> Result<Verdict, String> {
        match self {
            Trip::Panic => panic!("tripped"),
            Trip::Thread => {
                drop(std::thread::spawn(|| panic!("tripped")).join());
                Ok(Verdict::Refused)
            }
            Trip::Abort => std::process::abort(),
            Trip::Hang => loop {
                std::thread::park();
            },
            Trip::Flood => {
                let mut all: Vec<Vec<u8>> = Vec::new();
                loop {
                    all.push(vec![1; 64 << 20]);
                }
            }
            Trip::Differ => Err("tripped".into()),
        }
    }
}

/// The last panic of any thread.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Judges the inputs whose numbers come on standard input.
///
/// # Errors
/// Whoever started it is gone, or the system does not let files be written.
pub fn run(work: &Work) -> io::Result<()> {
    std::panic::set_hook(Box::new(|info| {
        let mut last = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        // The first is the cause of those that follow.
        last.get_or_insert_with(|| info.to_string());
    }));
    let seeds = Seeds::open(&work.seeds);
    let mut judge = Judge::new(&seeds);
    let scratch = tempfile::tempdir()?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", if judge.has_python() { "python" } else { "alone" })?;
    out.flush()?;
    for line in io::stdin().lock().lines() {
        let Ok(number) = line?.parse::<u64>() else { continue };
        let folder = scratch.path().join(number.to_string());
        let begun = Instant::now();
        let case = Case::new(&seeds, &work.kinds, work.seed, number);
        let trip = work.trips.iter().find(|(at, _)| *at == number).map(|(_, trip)| *trip);
        let judged = catch_unwind(AssertUnwindSafe(|| match trip {
            Some(trip) => trip.happen(),
            None => judge.of(&case, number, &folder),
        }));
        drop(fs::remove_dir_all(&folder));
        let panic = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
        let said = match (panic, judged) {
            (Some(panic), _) => format!("panicked: {panic}"),
            (None, Ok(Ok(verdict))) => match verdict {
                Verdict::Refused => "refused".into(),
                Verdict::Same => "same".into(),
                Verdict::Other => "other".into(),
            },
            (None, Ok(Err(wrong))) => format!("wrong: {wrong}"),
            (None, Err(_)) => "panicked".into(),
        };
        let millis = begun.elapsed().as_millis();
        let said: String = said.escape_debug().collect();
        writeln!(out, "{number}\t{}\t{millis}\t{}\t{said}", case.kind, peak())?;
        out.flush()?;
    }
    Ok(())
}

/// The most memory that this process has held so far, in KiB; 0 where the system does not say.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}
