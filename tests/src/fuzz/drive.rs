//! Starts workers, gives them numbers, watches them, and keeps what they fail at.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Case, Kind, put, seeds::Seeds, work::Work};

/// What is to be tried, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program that [`super::work::run`]s when its first argument is `work`.
    pub worker: PathBuf,
    /// What the workers work on.
    pub work: Work,
    /// Numbers of the inputs.
    pub inputs: Range<u64>,
    /// Workers at a time.
    pub processes: usize,
    /// How long an input may take.
    pub patience: Duration,
    /// Bytes of address space that a worker has, where the system limits that.
    pub memory: u64,
    /// Where inputs that fail are kept.
    pub kept: PathBuf,
    /// Failures after which no more is tried.
    pub most: usize,
}

/// An input at which a worker failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its number.
    pub number: u64,
    /// What it is.
    pub kind: Kind,
    /// What happened.
    pub how: String,
}

/// What came of inputs of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Refused in a sentence.
    pub refused: u64,
    /// Answered as before.
    pub same: u64,
    /// Answered otherwise, and rightly.
    pub other: u64,
    /// Failed.
    pub failed: u64,
}

/// What came of all.
#[derive(Debug, Default)]
pub struct Report {
    /// By kind.
    pub counts: BTreeMap<Kind, Count>,
    /// By number.
    pub failures: Vec<Failure>,
    /// The most memory that a worker held, in KiB, and the input at which it did.
    pub peak: (u64, u64),
    /// The longest that an input took, in milliseconds, and which.
    pub slowest: (u64, u64),
    /// Whether Python judged as well.
    pub python: bool,
}

impl Report {
    /// Whether nothing failed.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
    }

    fn take(&mut self, said: &Said) {
        let count = self.counts.entry(said.kind).or_default();
        match said.what.as_str() {
            "refused" => count.refused += 1,
            "same" => count.same += 1,
            "other" => count.other += 1,
            how => {
                let failure = Failure { number: said.number, kind: said.kind, how: how.into() };
                self.fail(failure);
            }
        }
        self.peak = self.peak.max((said.peak, said.number));
        self.slowest = self.slowest.max((said.millis, said.number));
    }

    fn fail(&mut self, failure: Failure) {
        self.counts.entry(failure.kind).or_default().failed += 1;
        self.failures.push(failure);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12}{:>9}{:>9}{:>9}{:>9}", "", "refused", "same", "other", "failed")?;
        for (kind, count) in &self.counts {
            let Count { refused, same, other, failed } = count;
            writeln!(f, "{kind:<12}{refused:>9}{same:>9}{other:>9}{failed:>9}")?;
        }
        let ((peak, big), (millis, slow)) = (self.peak, self.slowest);
        write!(
            f,
            "most memory {} MiB (input {big}), longest {millis} ms (input {slow})",
            peak >> 10
        )
    }
}

/// A worker's line.
#[derive(Debug)]
struct Said {
    number: u64,
    kind: Kind,
    millis: u64,
    peak: u64,
    what: String,
}

impl Said {
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(5, '\t');
        let mut next = || parts.next();
        Some(Self {
            number: next()?.parse().ok()?,
            kind: next()?.parse().ok()?,
            millis: next()?.parse().ok()?,
            peak: next()?.parse().ok()?,
            what: next()?.into(),
        })
    }
}

/// Tries all inputs.
///
/// # Errors
/// A worker cannot be started, or a failed input not be kept.
pub fn run(plan: &Plan) -> io::Result<Report> {
    let next = AtomicU64::new(plan.inputs.start);
    let report = Mutex::new(Report::default());
    let ends: Vec<io::Result<()>> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..plan.processes).map(|_| scope.spawn(|| watch(plan, &next, &report))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    ends.into_iter().collect::<io::Result<()>>()?;
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failures.sort_by_key(|failure| failure.number);
    keep(plan, &report.failures)?;
    Ok(report)
}

/// Gives one worker after the other numbers, until there are none left.
fn watch(plan: &Plan, next: &AtomicU64, report: &Mutex<Report>) -> io::Result<()> {
    let lock = || report.lock().unwrap_or_else(PoisonError::into_inner);
    let mut worker = Worker::start(plan)?;
    lock().python = worker.python;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= plan.inputs.end || lock().failures.len() >= plan.most {
            return Ok(());
        }
        match worker.ask(number, plan.patience) {
            Ok(said) => lock().take(&said),
            Err(how) => {
                let kinds = &plan.work.kinds;
                let kind = kinds[(number % kinds.len() as u64) as usize];
                lock().fail(Failure { number, kind, how });
                worker = Worker::start(plan)?;
            }
        }
        let done = number + 1 - plan.inputs.start;
        if done.is_multiple_of(1000) {
            eprintln!("{done} inputs, {} failed", lock().failures.len());
        }
    }
}

/// Writes the failed inputs below the plan's folder.
fn keep(plan: &Plan, failures: &[Failure]) -> io::Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    let seeds = Seeds::open(&plan.work.seeds);
    for Failure { number, how, .. } in failures {
        let case = Case::new(&seeds, &plan.work.kinds, plan.work.seed, *number);
        let folder = plan.kept.join(format!("{}-{number}", plan.work.seed));
        drop(fs::remove_dir_all(&folder));
        put(&folder.join("input"), &case.files)?;
        put(&folder.join("seed"), &case.seed)?;
        fs::write(folder.join("how"), format!("{}: {how}\n", case.kind))?;
    }
    Ok(())
}

/// A worker with its ends of the line.
struct Worker {
    child: Child,
    to: ChildStdin,
    said: Receiver<String>,
    /// The end of what it wrote to standard error.
    stderr: thread::JoinHandle<String>,
    python: bool,
}

impl Worker {
    fn start(plan: &Plan) -> io::Result<Self> {
        let mut command = limited(&plan.worker, plan.memory);
        let Work { seeds, seed, kinds, trips } = &plan.work;
        command.arg("work").arg("--seeds").arg(seeds).args(["--seed", &seed.to_string()]);
        for (number, trip) in trips {
            command.args(["--trip", &format!("{number}={}", trip.name())]);
        }
        command.args(kinds.iter().map(|kind| kind.name()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let gone = || io::Error::other("a worker has no pipes");
        let to = child.stdin.take().ok_or_else(gone)?;
        let from = BufReader::new(child.stdout.take().ok_or_else(gone)?);
        let errors = child.stderr.take().ok_or_else(gone)?;
        let (sender, said) = mpsc::channel();
        thread::spawn(move || {
            from.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let stderr = thread::spawn(move || tail(errors));
        let mut worker = Self { child, to, said, stderr, python: false };
        // It reads its seeds first.
        match worker.said.recv_timeout(Duration::from_secs(120)) {
            Ok(first) => worker.python = first == "python",
            Err(_) => return Err(io::Error::other(worker.end("does not begin"))),
        }
        Ok(worker)
    }

    /// What it makes of an input, or how it ended over it.
    fn ask(&mut self, number: u64, patience: Duration) -> Result<Said, String> {
        let begun = Instant::now();
        let asked = writeln!(self.to, "{number}").and_then(|()| self.to.flush());
        let line = match asked {
            Ok(()) => self.said.recv_timeout(patience),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        match line {
            Ok(line) => Said::parse(&line).ok_or_else(|| format!("said `{line}`")),
            Err(RecvTimeoutError::Timeout) => {
                Err(self.end(&format!("hung for {} s", begun.elapsed().as_secs())))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.end("died")),
        }
    }

    /// Ends it; how it was, and its last words.
    fn end(&mut self, what: &str) -> String {
        drop(self.child.kill());
        let status = self.child.wait().map_or_else(|error| error.to_string(), described);
        let reader = std::mem::replace(&mut self.stderr, thread::spawn(String::new));
        let words = reader.join().unwrap_or_default();
        format!("{what} ({status}) {}", words.trim().escape_debug())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn described(status: ExitStatus) -> String {
    status.to_string()
}

/// The last bytes of a stream.
fn tail(mut from: impl io::Read) -> String {
    let (mut last, mut buffer) = (VecDeque::new(), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        last.extend(&buffer[..count]);
        let over = last.len().saturating_sub(1000);
        last.drain(..over);
    }
    String::from_utf8_lossy(last.make_contiguous()).into_owned()
}

/// A program that gets no more than so many bytes of address space, where the system's shell can say so.
fn limited(program: &Path, memory: u64) -> Command {
    if !cfg!(target_os = "linux") {
        return Command::new(program);
    }
    let mut command = Command::new("sh");
    let limit = format!("ulimit -c 0 && ulimit -v {} && exec \"$0\" \"$@\"", memory >> 10);
    command.args(["-c", &limit]).arg(program);
    command
}
