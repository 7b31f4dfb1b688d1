//! What lies in a run directory for its process and the server to know each other by: `control.json`, which the one writes and the other obeys,
//! and the lock that a process holds while it lives.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::formats::{FormatError, atomic};
use serde::{Deserialize, Serialize};

use crate::run::Want;
use crate::run::usage::Meter;

/// What the server writes and the process polls, in the run directory.
const CONTROL: &str = "control.json";
/// How often a process looks what it shall do.
const POLL: Duration = Duration::from_millis(200);
/// Exit status of a process that was told to end at once: 128 + SIGTERM, as shells have it.
const CANCELLED: i32 = 143;

/// The content of `control.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Control {
    want: Want,
}

impl Control {
    pub(super) fn read(folder: &Path) -> Option<Want> {
        let text = std::fs::read(folder.join(CONTROL)).ok()?;
        serde_json::from_slice::<Control>(&text).ok().map(|control| control.want)
    }

    pub(super) fn write(folder: &Path, want: Want) -> Result<(), FormatError> {
        let text = format!("{}\n", serde_json::json!({ "want": want }));
        atomic::write_bytes(&folder.join(CONTROL), text)
    }
}

/// Whether a server has started processes of the run, which obey it.
pub(super) fn is_controlled(folder: &Path) -> bool {
    Control::read(folder).is_some()
}

/// Whether its last process was told to end at once.
pub(super) fn cancelled(folder: &Path) -> bool {
    Control::read(folder) == Some(Want::Cancel)
}

/// Obeys `control.json` of a run directory from now on: sets `stop`, or ends the process at once; and writes down what the process takes. A thread of its own polls, so that it is
/// heard even while the device hangs.
pub(crate) fn obey(folder: &Path, stop: Arc<AtomicBool>) -> io::Result<()> {
    let folder = folder.to_owned();
    let mut meter = Meter::new(&folder);
    let poll = move || loop {
        meter.tick();
        match Control::read(&folder) {
            Some(Want::Cancel) => std::process::exit(CANCELLED),
            Some(Want::Stop) => stop.store(true, Ordering::SeqCst),
            Some(Want::Run) | None => {}
        }
        std::thread::sleep(POLL);
    };
    std::thread::Builder::new().name("control".into()).spawn(poll).map(drop)
}

/// Whether another process holds the lock. A shared lock asks: should a run start in this moment, only it would be refused, and started again.
pub(super) fn is_locked(path: &Path) -> bool {
    match File::open(path).map(|file| file.try_lock_shared()) {
        Ok(Ok(())) => false,
        Ok(Err(TryLockError::WouldBlock)) => true,
        Ok(Err(TryLockError::Error(_))) | Err(_) => false,
    }
}
