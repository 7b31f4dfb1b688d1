//! The loop that carries out what the store says: one step at a time, each of which can be the last.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::adapters::{Adapter, Adapters};
use super::ingest;
use super::registry::{Jobs, Message};
use super::room::is_of_room;
use crate::run::{End, Input, Outcome, ROOM, State, Want, next};
use crate::store::{Kind, Run, now};

/// How often logs and processes are looked at.
const TICK: Duration = Duration::from_millis(200);
/// Shortest time between two summaries of a run.
const SUMMARY: Duration = Duration::from_millis(500);
/// Processes of a run that may die one after the other without a new checkpoint.
const ATTEMPTS: u32 = 3;
/// Why the queue waits.
const FULL: &str = "the disk is full; the queue waits for room";
/// How long a process that was cancelled may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the supervisor does to the world, apart from the store.
pub(crate) trait Host {
    /// Starts the process of a run, on the adapter of this index, or on all that its configuration means.
    ///
    /// # Errors
    /// What the system refuses.
    fn launch(&mut self, run: &Run, adapter: Option<usize>) -> io::Result<()>;
    /// Whether it has one.
    fn alive(&mut self, run: &Run) -> bool;
    /// Says what it shall do; again and again, so it must be cheap where nothing changes.
    ///
    /// # Errors
    /// What the system refuses.
    fn want(&mut self, run: &Run, want: Want) -> io::Result<()>;
    /// Ends it, if it can.
    fn kill(&mut self, run: &Run);
}

/// Carries out what the store says.
#[derive(Debug)]
pub(crate) struct Supervisor<H> {
    jobs: Arc<Jobs>,
    adapters: Arc<Adapters>,
    host: H,
    /// Since when a run should have ended.
    cancelled: HashMap<String, Instant>,
    /// When a run was last spoken of, and whether something has happened since.
    told: HashMap<String, (Instant, bool)>,
    /// Whether the server goes down: nothing is launched, and what runs shall stop.
    closing: bool,
    /// Whether the store had to be given the room that was kept for it, and there is no other yet: likewise.
    full: bool,
}

impl<H: Host> Supervisor<H> {
    /// Before its first tick.
    pub(crate) fn new(jobs: Arc<Jobs>, adapters: Arc<Adapters>, host: H) -> Self {
        let (cancelled, told) = (HashMap::new(), HashMap::new());
        Self { jobs, adapters, host, cancelled, told, closing: false, full: false }
    }

    /// Ticks until `woken` is closed; then stops all runs at checkpoints and waits for them, at most so long. They are taken up at the next start.
    pub(crate) fn run(mut self, woken: &mpsc::Receiver<()>, close: &mpsc::Receiver<Duration>) {
        // What is in the way, said once: it may take somebody hours to make room on a disk.
        let mut trouble = None;
        loop {
            let failed = self.tick_or_make_room().err().map(|error| trouble_of(&error));
            let now = failed.or_else(|| self.full.then(|| FULL.into()));
            *self.jobs.trouble.lock().unwrap_or_else(PoisonError::into_inner) = now.clone();
            match &now {
                Some(error) if now != trouble => {
                    tracing::error!(%error, "the queue is at a standstill; trying again and again");
                }
                None if trouble.is_some() => tracing::info!("the queue goes on"),
                _ => {}
            }
            trouble = now;
            // Woken or not, it looks again.
            let (Ok(()) | Err(_)) = woken.recv_timeout(TICK);
            if let Ok(patience) = close.try_recv() {
                self.close(patience);
                return;
            }
        }
    }

    /// A tick, a second time with the room that was kept for it where the store finds none.
    fn tick_or_make_room(&mut self) -> rusqlite::Result<()> {
        let done = match self.tick() {
            Err(error) if is_of_room(&error) && self.jobs.reserve.give() => {
                self.full = true;
                self.tick()
            }
            done => done,
        };
        if done.is_ok() {
            self.jobs.reserve.keep();
            self.full &= !self.jobs.reserve.is_kept();
        }
        done
    }

    fn close(&mut self, patience: Duration) {
        self.closing = true;
        let begun = Instant::now();
        loop {
            if let Err(error) = self.tick_or_make_room() {
                tracing::error!(%error, "cannot stop the runs in order");
            }
            let left = self.jobs.store.read(Run::with_device).unwrap_or_default();
            if left.is_empty() {
                return;
            }
            if begun.elapsed() > patience {
                tracing::warn!(
                    runs = left.len(),
                    "still at work; they go on without the server, and the next start finds them"
                );
                return;
            }
            std::thread::sleep(TICK);
        }
    }

    /// Looks at every run that holds a device, then gives the free devices to the queue.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn tick(&mut self) -> rusqlite::Result<()> {
        for run in self.jobs.store.read(Run::with_device)? {
            // In this order: what a process wrote before it ended is there to be read.
            let alive = self.host.alive(&run);
            let run = self.read_log(run)?;
            if alive {
                self.hold(&run);
            } else {
                self.end(run)?;
            }
        }
        self.tell_late();
        if !self.closing && !self.full { self.dispatch() } else { Ok(()) }
    }

    /// Takes in what the run's log has to say.
    fn read_log(&mut self, mut run: Run) -> rusqlite::Result<Run> {
        let log = self.jobs.directory(&run).join("events.jsonl");
        loop {
            let part = match ingest::read(&log, run.bytes) {
                Ok(Some(part)) => part,
                Ok(None) => return Ok(run),
                Err(error) => {
                    tracing::warn!(run = %run.id, %error, "its log cannot be read");
                    return Ok(run);
                }
            };
            let id = run.id.clone();
            let (now, said) = self.jobs.store.write(|db| -> rusqlite::Result<_> {
                // The state may have changed since this tick began.
                let mut run = Run::find(db, &id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
                let said = ingest::take(db, &mut run, &part)?;
                run.save(db)?;
                Ok((run, said))
            })?;
            run = now;
            for (seq, line) in said {
                let data = format!("{{\"run\":\"{id}\",\"entry\":{line}}}");
                self.jobs.send(Message { seq, kind: Kind::Entry, run: id.clone(), data });
            }
            self.tell(&run);
        }
    }

    /// Tells readers how a run stands, at most twice a second.
    fn tell(&mut self, run: &Run) {
        match self.told.get_mut(&run.id) {
            Some((last, late)) if last.elapsed() < SUMMARY => *late = true,
            _ => {
                self.told.insert(run.id.clone(), (Instant::now(), false));
                self.jobs.say_run(run);
            }
        }
    }

    fn tell_late(&mut self) {
        let due = |(last, late): &(Instant, bool)| *late && last.elapsed() >= SUMMARY;
        let ids: Vec<String> =
            self.told.iter().filter(|(_, told)| due(told)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            match self.jobs.store.read(|db| Run::find(db, &id)) {
                Ok(Some(run)) => self.tell(&run),
                _ => drop(self.told.remove(&id)),
            }
        }
    }

    /// Sees to it that a process does what the run's state asks.
    fn hold(&mut self, run: &Run) {
        if run.is_elsewhere() {
            return;
        }
        let want = match run.state.want() {
            Want::Run if self.closing || self.full => Want::Stop,
            want => want,
        };
        if let Err(error) = self.host.want(run, want) {
            tracing::warn!(run = %run.id, %error, "cannot be told what to do; trying again");
        }
        if want == Want::Cancel {
            let since = self.cancelled.entry(run.id.clone()).or_insert_with(Instant::now);
            if since.elapsed() > PATIENCE {
                self.host.kill(run);
            }
        }
    }

    /// The process of a run is no more.
    fn end(&mut self, run: Run) -> rusqlite::Result<()> {
        let full = self.full;
        let run = self.jobs.store.write(|db| -> rusqlite::Result<Run> {
            let mut run = Run::find(db, &run.id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            let (end, error) = match run.outcome.take() {
                Some(Outcome::Stopped { cause: None }) if full => {
                    (End::Full, Some(format!("the disk is full{ROOM}")))
                }
                Some(outcome) => outcome.end(),
                // It could not even write why.
                None if run.is_elsewhere() => {
                    let error = "the command that trained it ended without a word; resume goes on from its last checkpoint";
                    (End::Died, Some(error.into()))
                }
                None if self.jobs.reserve.is_full() => {
                    (End::Full, Some(format!("the disk is full{ROOM}")))
                }
                None if run.attempts >= ATTEMPTS => {
                    let last = last_words(&self.jobs.directory(&run));
                    let error =
                        format!("its process died {ATTEMPTS} times without a new checkpoint{last}");
                    (End::Hopeless, Some(error))
                }
                None => (End::Died, None),
            };
            if matches!(end, End::Stopped | End::Full) {
                // It ended in order, so it did not fail to get on.
                run.attempts = 0;
            }
            let input = Input::End(end);
            let state = match end {
                // Whoever started it may have stopped it, and the server does not go on with it unasked.
                End::Stopped | End::Full | End::Died | End::Hopeless if run.is_elsewhere() => {
                    Some(State::Stopped)
                }
                _ => next(run.state, input),
            };
            if let Some(state) = state {
                run.enter(db, state, input)?;
            }
            run.slots.clear();
            run.error = error;
            run.save(db)?;
            Ok(run)
        })?;
        self.cancelled.remove(&run.id);
        self.told.remove(&run.id);
        self.jobs.note(&run.id);
        tracing::info!(run = %run.id, state = run.state.name(), "has no process any more");
        self.jobs.say_run(&run);
        self.jobs.say_queue();
        Ok(())
    }

    /// Gives each free device to the first run that waits for it.
    fn dispatch(&mut self) -> rusqlite::Result<()> {
        let queue = self.jobs.store.read(Run::queue)?;
        if queue.is_empty() {
            return Ok(());
        }
        let holders = self.jobs.store.read(Run::with_device)?;
        let mut busy: Vec<String> = Vec::new();
        for run in holders {
            let adapter = run.view.adapter.as_deref().filter(|_| run.has_unknown_slot());
            let meant = adapter.and_then(|name| self.adapters.meant(name).ok()).unwrap_or_default();
            busy.extend(meant.into_iter().map(|adapter| adapter.slot));
            busy.extend(run.slots);
        }
        for run in queue {
            let device = run.device();
            let meant = match self.adapters.meant(&device) {
                Ok(meant) => meant,
                Err(error) => {
                    tracing::warn!(%error, "no adapters: the queue waits");
                    return Ok(());
                }
            };
            if meant.is_empty() {
                self.fail(&run.id, format!("there is no adapter `{device}` any more"))?;
                continue;
            }
            let all = device.eq_ignore_ascii_case(taper_gpu::ALL);
            let chosen = if all { meant } else { run.choose(meant, &busy) };
            let slots: Vec<String> = chosen.iter().map(|adapter| adapter.slot.clone()).collect();
            let free = slots.iter().all(|slot| !busy.contains(slot));
            // Held by this run from now on, or kept for it: a later run must not overtake one that waits for several devices.
            busy.extend(slots.iter().cloned());
            if !free || slots.is_empty() {
                continue;
            }
            let launched = self.jobs.store.write(|db| -> rusqlite::Result<Option<Run>> {
                let Some(mut run) = Run::find(db, &run.id)? else { return Ok(None) };
                let Some(state) = next(run.state, Input::Launch) else { return Ok(None) };
                run.enter(db, state, Input::Launch)?;
                (run.slots, run.launched, run.outcome) = (slots, now(), None);
                run.attempts += 1;
                run.save(db)?;
                Ok(Some(run))
            })?;
            let Some(run) = launched else { continue };
            // Before the process is there: its log then tells how that went on.
            self.jobs.note(&run.id);
            let adapter = chosen.first().filter(|_| !all).map(|adapter| adapter.index);
            if let Err(error) = self.host.launch(&run, adapter) {
                self.fail(&run.id, format!("its process cannot be started: {error}"))?;
                continue;
            }
            self.jobs.say_run(&run);
            self.jobs.say_queue();
        }
        Ok(())
    }

    fn fail(&mut self, id: &str, error: String) -> rusqlite::Result<()> {
        let run = self.jobs.store.write(|db| -> rusqlite::Result<Option<Run>> {
            let Some(mut run) = Run::find(db, id)? else { return Ok(None) };
            run.enter(db, State::Failed, Input::End(End::Failed))?;
            run.slots.clear();
            run.error = Some(error);
            run.save(db)?;
            Ok(Some(run))
        })?;
        if let Some(run) = run {
            self.jobs.note(&run.id);
            self.jobs.say_run(&run);
            self.jobs.say_queue();
        }
        Ok(())
    }
}

impl Run {
    /// What its configuration says of the adapter.
    fn device(&self) -> String {
        let table = self.config.parse::<toml::Table>().unwrap_or_default();
        table.get("device").and_then(toml::Value::as_str).unwrap_or("auto").to_owned()
    }

    /// The adapter to train it on, of those that its configuration means; none while they are busy. A run that has begun goes on on an adapter
    /// of the same name, where there is one, as it comes to the same bits there.
    fn choose(&self, meant: Vec<Adapter>, busy: &[String]) -> Vec<Adapter> {
        let known = self.view.adapter.as_ref();
        let same = |adapter: &Adapter| known == Some(&adapter.name);
        let begun = self.view.has_begun() && meant.iter().any(same);
        let free = |adapter: &Adapter| (!begun || same(adapter)) && !busy.contains(&adapter.slot);
        meant.into_iter().find(free).into_iter().collect()
    }
}

/// What is in the way, for people.
fn trouble_of(error: &rusqlite::Error) -> String {
    match is_of_room(error) {
        true => "the disk is full, and not even that can be written down; free some space".into(),
        false => format!("the store cannot be used: {error}"),
    }
}

/// The last line that a process wrote to standard error, as the end of a sentence.
fn last_words(folder: &Path) -> String {
    let text = std::fs::read(folder.join("stderr.log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(String::new, |line| format!("; it last said: {}", line.trim()))
}

#[cfg(test)]
#[path = "crashes.rs"]
mod crashes;
#[cfg(test)]
#[path = "slots.rs"]
mod slots;
