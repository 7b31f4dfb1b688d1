//! The log of a run while it goes on. Devices write to it concurrently, and a resumed run reads from it what is done already.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    far::{Far, Request},
    past::{End, Past},
};
use crate::{
    clock::Clock,
    data::Account,
    disk::Disk,
    event::{self, Entry, Event, EventLog},
    formats::FormatError,
};

/// The log, who listens, and what it said so far.
pub(super) struct Journal<'r> {
    state: Mutex<State>,
    to: To<'r>,
}

/// Where the lines go.
enum To<'r> {
    /// To the log here, and then to who listens.
    Log(Mutex<EventLog>, &'r Listener<'r>),
    /// To rank 0, which has the log.
    Rank(&'r Far),
}

/// Is told of every new entry, one at a time.
pub(super) type Listener<'r> = dyn Fn(Entry) + Sync + 'r;

#[derive(Debug, Default)]
struct State {
    past: BTreeMap<String, Past>,
    /// The configuration's hash, as the run was taken up last.
    config_hash: Option<String>,
    /// What was read of the data, as they were opened last.
    account: Option<Account>,
    /// Lines that are no entries.
    passed_over: usize,
}

impl State {
    fn take(&mut self, event: &Event) {
        match event {
            Event::RunStarted { config_hash, .. } => self.config_hash = Some(config_hash.clone()),
            Event::DataRead { account } => self.account = Some(account.clone()),
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

/// What errors call the log that another rank has.
const LOG_OF_RANK_0: &str = "the log of rank 0";

fn held(log: &Mutex<EventLog>) -> MutexGuard<'_, EventLog> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'r> Journal<'r> {
    /// Opens the log at `path`, making it if there is none.
    ///
    /// # Errors
    /// What the system refuses.
    pub(super) fn open(
        path: &Path,
        disk: &dyn Disk,
        clock: &Arc<dyn Clock>,
        listener: &'r Listener<'r>,
    ) -> Result<Self, FormatError> {
        let log = EventLog::on(disk, Arc::clone(clock), path)?;
        let bytes = disk.read(path)?;
        let mut state = State { passed_over: event::passed_over(&bytes), ..State::default() };
        for entry in event::entries(&bytes) {
            state.take(&entry.event);
        }
        Ok(Self { state: Mutex::new(state), to: To::Log(Mutex::new(log), listener) })
    }

    /// The log that rank 0 has. It says nothing of the past but what it is told by [`Self::tell`].
    pub(super) fn of_rank_0(far: &'r Far) -> Self {
        Self { state: Mutex::default(), to: To::Rank(far) }
    }

    /// Tells it what the log of rank 0 says.
    pub(super) fn tell(&self, pasts: BTreeMap<String, Past>) {
        self.lock().past.extend(pasts);
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
        match &self.to {
            To::Log(log, listener) => {
                let entry = held(log).append(event)?;
                state.take(&entry.event);
                listener(entry);
            }
            To::Rank(far) => {
                let request = Request::Append(Box::new(event.clone()));
                far.at(Path::new(LOG_OF_RANK_0), true, &request, &[])?;
                state.take(&event);
            }
        }
        Ok(())
    }

    /// Warnings of a resumed run about its log; `config_hash` is that of its configuration now.
    pub(super) fn doubts(&self, config_hash: &str) -> Vec<String> {
        let state = self.lock();
        let mut doubts = Vec::new();
        if state.passed_over > 0 {
            let lines = if state.passed_over == 1 { "line is" } else { "lines are" };
            doubts.push(format!(
                "{} {lines} passed over in events.jsonl: not whole, damaged, or of a later Taper",
                state.passed_over
            ));
        }
        if state.config_hash.as_ref().is_some_and(|before| before != config_hash) {
            doubts.push(
                "config.toml is not what this run was begun with: it was changed, is damaged, or this Taper knows other keys; the run goes on by what it says now"
                    .into(),
            );
        }
        doubts
    }

    /// In what these are other data than those that members were trained on, as the end of a sentence.
    pub(super) fn other_data(&self, now: &Account) -> Option<String> {
        let state = self.lock();
        let begun = state.past.values().any(|member| member.begun.is_some());
        state.account.as_ref().filter(|_| begun).and_then(|before| now.differs(before))
    }

    /// Waits until all lines are on the disk; called before a checkpoint that they belong to.
    ///
    /// # Errors
    /// What the system refuses.
    pub(super) fn sync(&self) -> Result<(), FormatError> {
        match &self.to {
            To::Log(log, _) => held(log).sync(),
            To::Rank(far) => far.at(Path::new(LOG_OF_RANK_0), true, &Request::Sync, &[]).map(drop),
        }
    }

    /// What the log says of a member.
    pub(super) fn past(&self, member: &str) -> Past {
        self.lock().past.get(member).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::SystemClock, disk::SystemDisk};

    #[test]
    fn a_changed_configuration_and_damaged_lines_are_said() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("events.jsonl");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let started = Event::RunStarted {
            version: "1".into(),
            adapter: String::new(),
            adapter_kind: String::new(),
            config_hash: "abc".into(),
            stages: Vec::new(),
        };
        let journal = Journal::open(&path, &SystemDisk, &clock, &|_| ()).expect("opened");
        assert!(journal.doubts("abc").is_empty());
        journal.append(started).expect("written");
        journal.append(Event::Log { message: "x".into() }).expect("written");
        let journal = Journal::open(&path, &SystemDisk, &clock, &|_| ()).expect("opened");
        assert!(journal.doubts("abc").is_empty());
        let said = journal.doubts("abd");
        assert!(said.len() == 1 && said[0].starts_with("config.toml is not"), "{said:?}");
        let text = std::fs::read_to_string(&path).expect("read");
        std::fs::write(&path, text.replace("\"log\"", "\"lof\"")).expect("written");
        let journal = Journal::open(&path, &SystemDisk, &clock, &|_| ()).expect("opened");
        let said = journal.doubts("abc");
        assert!(said.len() == 1 && said[0].starts_with("1 line is passed over"), "{said:?}");
    }
}
