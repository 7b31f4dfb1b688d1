//! Processes that do for the server what it does not do itself, and answer with JSON: they open data, devices and archives, and may die of
//! them. They have limits (`taper helper`), and end with the server: it holds their standard input open.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::figures::bytes;

/// Bytes of the answer that are read.
const ANSWER: u64 = 64 << 20;
/// Bytes of a file that a helper writes: an unpacked upload as a tar.
const FILE: u64 = 10 << 30;
/// Share of the machine's memory that a helper may take, and the least and most that this may be.
const SHARE: u64 = 4;
const LEAST: u64 = 1 << 30;
const MOST: u64 = 16 << 30;
/// How much longer than its own limit a helper is waited for.
const GRACE: Duration = Duration::from_secs(2);

/// Most memory of a helper, in bytes.
static MEMORY: LazyLock<u64> = LazyLock::new(|| {
    let share = memory().map_or(MOST, |memory| memory / SHARE);
    share.clamp(LEAST, MOST)
});

/// Bytes of memory of this machine, or of the part of it that this process is given; where Linux tells.
fn memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse::<u64>().ok());
    Some(group.unwrap_or(u64::MAX).min(kib << 10))
}

/// Runs a verb of the program for its one JSON answer, within limits; it ends when `patience` is over, or with this process.
///
/// # Errors
/// A sentence: it cannot be run, took too long or too much, failed (with its own last words), or answered something else.
pub(crate) fn ask<T: DeserializeOwned>(
    command: &mut Command,
    patience: Duration,
) -> Result<T, String> {
    ask_while(command, patience, &|| true)
}

/// [`ask`], for as long as somebody waits for the answer: once it is not `awaited` any more, the process is killed.
///
/// # Errors
/// As [`ask`]'s; nobody hears of it where nobody waits.
pub(crate) fn ask_while<T: DeserializeOwned>(
    command: &mut Command,
    patience: Duration,
    awaited: &dyn Fn() -> bool,
) -> Result<T, String> {
    let begun = Instant::now();
    let mut child = within_limits(command, patience)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("a helper process cannot be started: {error}"))?;
    // Open until it has ended, or this process has.
    let _held = child.stdin.take();
    // Both are drained meanwhile, or a talkative driver would wait for us as we for it.
    let drain = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(pipe) = pipe {
                drop(pipe.take(ANSWER).read_to_end(&mut bytes));
            }
            bytes
        })
    };
    let stdout = drain(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let stderr = drain(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if !awaited() => {
                end(&mut child);
                return Err("nobody waits for the answer of a helper process".into());
            }
            Ok(None) if begun.elapsed() < patience + GRACE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(None) => {
                end(&mut child);
                return Err(format!("a helper process took longer than {} s", patience.as_secs()));
            }
            Err(error) => {
                end(&mut child);
                return Err(format!("a helper process cannot be waited for: {error}"));
            }
        }
    };
    let stdout = stdout.join().unwrap_or_default();
    if let Ok(answer) = serde_json::from_slice(&stdout) {
        return Ok(answer);
    }
    let stderr = stderr.join().unwrap_or_default();
    Err(why(status, &String::from_utf8_lossy(&stderr)))
}

/// The same command as a helper.
fn within_limits(command: &Command, patience: Duration) -> Command {
    let mut helper = Command::new(command.get_program());
    helper
        .arg("helper")
        .args(["--memory", &MEMORY.to_string()])
        .args(["--file", &FILE.to_string()])
        .args(["--seconds", &patience.as_secs().to_string(), "--"])
        .args(command.get_args());
    helper
}

fn end(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

/// Why a helper did not answer, as a sentence.
fn why(status: ExitStatus, stderr: &str) -> String {
    if let Some(said) = stderr.lines().find_map(|line| line.strip_prefix("error: ")) {
        return said.to_owned();
    }
    let memory = ["memory allocation of", "std::bad_alloc", "Cannot allocate memory"];
    if memory.iter().any(|words| stderr.contains(words)) {
        let most = bytes(*MEMORY);
        return format!("this takes more memory than the {most} that the server gives it");
    }
    #[cfg(unix)]
    match std::os::unix::process::ExitStatusExt::signal(&status) {
        // SIGXCPU and SIGXFSZ, which have these numbers on Linux and macOS.
        Some(24) => return "this takes more processor time than the server gives it".into(),
        Some(25) => return "this writes a larger file than the server allows".into(),
        _ => {}
    }
    format!("a helper process ended with {status}")
}
