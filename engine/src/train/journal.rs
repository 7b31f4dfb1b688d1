//! The log of a run while it goes on: devices write to it side by side, and the run goes by what it says.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
};

use crate::{
    event::{self, Entry, Event, EventLog},
    formats::FormatError,
};

/// What the log says of a member or a teacher.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    /// The adapter on which it was begun, empty if an older log does not say; none: it was not.
    pub(super) begun: Option<String>,
    /// What it came to; none: it is not trained.
    pub(super) finished: Option<End>,
    /// What each stage came to, in words.
    pub(super) ends: BTreeMap<String, String>,
}

/// What a trained member came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) train_error: f64,
    pub(super) epochs: Option<f64>,
    pub(super) seconds: Option<f64>,
}

/// The log, who listens, and what it said so far.
#[derive(Debug)]
pub(super) struct Journal {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    log: EventLog,
    listener: mpsc::Sender<Entry>,
    past: BTreeMap<String, Past>,
}

impl State {
    fn take(&mut self, event: &Event) {
        match event {
            Event::MemberStarted { member, adapter, .. } => {
                self.of(member).begun = Some(adapter.clone().unwrap_or_default());
            }
            Event::Step { member, stage, loss, .. } => {
                let end = format!("training loss {loss:.4} at the end");
                self.of(member).ends.insert(stage.clone(), end);
            }
            Event::BlockNarrowed { member, block, discrepancy, .. } => {
                let end = format!("discrepancy {discrepancy:.4} on the fixed inputs");
                self.of(member).ends.insert(format!("narrow {block}"), end);
            }
            Event::MemberFinished { member, train_error, epochs, seconds, .. } => {
                let (train_error, epochs, seconds) = (*train_error, *epochs, *seconds);
                self.of(member).finished = Some(End { train_error, epochs, seconds });
            }
            _ => {}
        }
    }

    fn of(&mut self, member: &str) -> &mut Past {
        self.past.entry(member.into()).or_default()
    }
}

impl Journal {
    /// Opens the log at `path`, making it if there is none. Whoever listens hears of every new entry, until the journal is dropped.
    ///
    /// # Errors
    /// What the system refuses.
    pub(super) fn open(path: &Path) -> Result<(Self, mpsc::Receiver<Entry>), FormatError> {
        let log = EventLog::open(path)?;
        let (listener, heard) = mpsc::channel();
        let mut state = State { log, listener, past: BTreeMap::new() };
        for entry in event::read(path)? {
            state.take(&entry.event);
        }
        Ok((Self { state: Mutex::new(state) }, heard))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an event to the log, then tells the listener.
    ///
    /// # Errors
    /// What the system refuses.
    pub(super) fn append(&self, event: Event) -> Result<(), FormatError> {
        let mut state = self.lock();
        let entry = state.log.append(event)?;
        state.take(&entry.event);
        // Nobody needs to listen.
        drop(state.listener.send(entry));
        Ok(())
    }

    /// Waits until all lines are on the disk; called before a checkpoint that they belong to.
    ///
    /// # Errors
    /// What the system refuses.
    pub(super) fn sync(&self) -> Result<(), FormatError> {
        self.lock().log.sync()
    }

    /// What was said of a member.
    pub(super) fn past(&self, member: &str) -> Past {
        self.lock().past.get(member).cloned().unwrap_or_default()
    }
}
