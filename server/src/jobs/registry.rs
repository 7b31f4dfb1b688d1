//! Runs of the server: they are made, told what to do, forgotten, and spoken of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use anyhow::Context as _;
use engine::formats::atomic;
use rusqlite::Connection;
use tokio::sync::broadcast;

use super::control::is_locked;
use super::note::Note;
use super::room::Reserve;
use super::summary::RunSummary;
use crate::run::{Input, RUN, State, next};
use crate::scratch::{self, GONE, NEW};
use crate::store::{Kind, Line, New, Run, Store, now};

/// Stands for the device of a run that a command trains, which obeys no server.
pub(super) const ELSEWHERE: &str = "?elsewhere";
/// Stands for the device of a run whose process an earlier server started, and which the store did not know.
pub(super) const ADOPTED: &str = "?adopted";
/// Names that a refusal lists at most.
const SAID: usize = 5;
/// Messages that a slow reader may be behind before it is dropped.
const BEHIND: usize = 4096;

/// A message for the readers of the stream.
#[derive(Debug)]
pub(crate) struct Message {
    /// Number of the newest row of the log when it was said.
    pub(crate) seq: i64,
    /// Name of the event.
    pub(crate) kind: Kind,
    /// The run it is about.
    pub(crate) run: String,
    /// JSON.
    pub(crate) data: String,
}

/// What the server's parts share about runs.
#[derive(Debug)]
pub(crate) struct Jobs {
    /// Where they are kept.
    pub(crate) store: Store,
    pub(crate) folder: PathBuf,
    hub: broadcast::Sender<Arc<Message>>,
    wake: mpsc::SyncSender<()>,
    pub(super) reserve: Reserve,
    /// Held while a note is written, so that the newest is the last.
    noting: Mutex<()>,
    /// What keeps the supervisor from its work.
    pub(super) trouble: Mutex<Option<String>>,
}

/// Why a run cannot be paused, resumed, stopped or moved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// There is none of this id.
    #[error("there is no run `{0}`")]
    Unknown(String),
    /// Its state does not allow it.
    #[error("the run is {}, so it cannot {verb}", state.name())]
    State {
        /// Where it stands.
        state: State,
        /// What was asked.
        verb: &'static str,
    },
    /// It has a process.
    #[error("a process of the run is still alive; cancel it, or wait until it has stopped")]
    Alive,
    /// Others are to learn from it, or to begin with its weights.
    #[error("{0} would need the run, as teacher or to begin with; cancel or delete that first")]
    Needed(String),
    /// It is to learn from a run that is not there, which may have been deleted since it was looked at, or to begin with its weights.
    #[error("there is no run `{}`", .id.escape_debug())]
    NoRun {
        /// That run.
        id: String,
        /// The key that names it.
        field: &'static str,
    },
    /// A command trains it.
    #[error(
        "a command outside of the server trains the run, so it cannot {0}; stop it where it runs"
    )]
    Elsewhere(&'static str),
    /// Its directory.
    #[error("the directory of the run cannot be {what}: {source}")]
    Directory {
        /// `made` or `removed`.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The store.
    #[error("the store cannot be used: {0}")]
    Store(#[from] rusqlite::Error),
}

impl Jobs {
    /// Opens the store in `data_dir`; the other end of the channel wakes the supervisor.
    ///
    /// # Errors
    /// The folder cannot be made, or the store cannot be opened.
    pub(crate) fn open(data_dir: &Path) -> anyhow::Result<(Arc<Jobs>, mpsc::Receiver<()>)> {
        let folder = data_dir.join("runs");
        // A store that cannot be used is seen before anything is made.
        let store = Store::open(&data_dir.join("taper.sqlite"))?;
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make `{}`", folder.display()))?;
        let (wake, woken) = mpsc::sync_channel(1);
        let hub = broadcast::Sender::new(BEHIND);
        let (reserve, noting, trouble) =
            (Reserve::new(data_dir), Mutex::default(), Mutex::default());
        Ok((Arc::new(Jobs { store, folder, hub, wake, reserve, noting, trouble }), woken))
    }

    /// The directory of a run; ids are those of the store, never a client's words.
    pub(crate) fn directory(&self, run: &Run) -> PathBuf {
        self.folder.join(&run.id)
    }

    /// Makes a run, a draft, with `config` in its directory. Until its row is there the directory has a mark, so that a create which is cut
    /// off leaves all of a run or what the next start removes.
    ///
    /// # Errors
    /// The directory or the row cannot be written.
    pub(crate) fn create(&self, new: &New, config: &str) -> Result<Run, Refusal> {
        let failed = |source| Refusal::Directory { what: "made", source };
        let making = self.folder.join(NEW.to_owned() + &new.id);
        fs::create_dir(&making).map_err(failed)?;
        if let Err(error) = atomic::write_bytes(&making.join("config.toml"), config) {
            scratch::remove(&making);
            let kind =
                if error.is_full() { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            return Err(failed(io::Error::new(kind, error)));
        }
        let made = self.store.write(|db| -> Result<Run, Refusal> {
            for (field, id) in named(&new.config) {
                if Run::find(db, &id)?.is_none() {
                    return Err(Refusal::NoRun { id, field });
                }
            }
            Ok(Run::insert(db, new)?)
        });
        if matches!(made, Err(Refusal::NoRun { .. })) {
            scratch::remove(&making);
        }
        let run = made?;
        fs::rename(&making, self.directory(&run)).map_err(failed)?;
        self.note(&run.id);
        self.say_run(&run);
        Ok(run)
    }

    /// What is said from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Message>> {
        self.hub.subscribe()
    }

    /// Makes the supervisor look at once.
    pub(crate) fn wake(&self) {
        // Full: it has not yet looked since the last time. Gone: nothing is left to do.
        let (Ok(()) | Err(_)) = self.wake.try_send(());
    }

    /// Does to a run what a user asks.
    ///
    /// # Errors
    /// There is no such run, or its state does not allow it.
    pub(crate) fn tell(&self, id: &str, input: Input, verb: &'static str) -> Result<Run, Refusal> {
        let run = self.store.write(|db| -> Result<Run, Refusal> {
            let mut run = Run::find(db, id)?.ok_or_else(|| Refusal::Unknown(id.into()))?;
            let Some(state) = next(run.state, input) else {
                return Err(Refusal::State { state: run.state, verb });
            };
            if run.is_elsewhere() {
                return Err(Refusal::Elsewhere(verb));
            }
            run.enter(db, state, input)?;
            run.save(db)?;
            Ok(run)
        })?;
        self.note(&run.id);
        self.say_run(&run);
        self.say_queue();
        self.wake();
        Ok(run)
    }

    /// Calls a run something else, and writes something else on it.
    ///
    /// # Errors
    /// There is no such run.
    pub(crate) fn label(&self, id: &str, change: impl FnOnce(&mut Run)) -> Result<Run, Refusal> {
        let run = self.store.write(|db| -> Result<Run, Refusal> {
            let mut run = Run::find(db, id)?.ok_or_else(|| Refusal::Unknown(id.into()))?;
            change(&mut run);
            run.save_labels(db)?;
            Ok(run)
        })?;
        self.note(&run.id);
        self.say_run(&run);
        Ok(run)
    }

    /// Forgets a run and removes its directory, which has a mark before its row is gone: a delete that is cut off is finished by the next start.
    ///
    /// # Errors
    /// There is no such run, it has a process, one that is not finished needs it, or its directory cannot be renamed.
    pub(crate) fn delete(&self, id: &str) -> Result<(), Refusal> {
        let gone = self.folder.join(GONE.to_owned() + id);
        let deleted = self.store.write(|db| -> Result<(), Refusal> {
            let run = Run::find(db, id)?.ok_or_else(|| Refusal::Unknown(id.into()))?;
            let place = self.directory(&run);
            if run.is_elsewhere() {
                return Err(Refusal::Elsewhere("be deleted"));
            }
            if !run.slots.is_empty() || is_locked(&place.join("run.lock")) {
                return Err(Refusal::Alive);
            }
            let needing = needing(db, id)?;
            if !needing.is_empty() {
                return Err(Refusal::Needed(needing));
            }
            if gone.exists() {
                // Of an earlier run of this name, which could not be removed then.
                scratch::remove(&gone);
            }
            match fs::rename(&place, &gone) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => {
                    renamed.map_err(|source| Refusal::Directory { what: "removed", source })?;
                }
            }
            Ok(Run::delete(db, id)?)
        });
        if let Err(refusal) = deleted {
            let known = self.store.read(|db| Run::find(db, id)).is_ok_and(|run| run.is_some());
            if known
                && gone.exists()
                && !matches!(refusal, Refusal::Alive | Refusal::Elsewhere(_) | Refusal::Needed(_))
            {
                drop(fs::rename(&gone, self.folder.join(id)));
            }
            return Err(refusal);
        }
        if gone.exists() {
            // What cannot be removed now is removed at the next start.
            drop(fs::remove_dir_all(&gone));
        }
        self.say(Kind::Removed, id, format!("{{\"id\":{}}}", serde_json::json!(id)));
        self.say_queue();
        Ok(())
    }

    /// Writes into a run's directory what the store alone would know of it. What cannot be written is missed only where the store is lost.
    pub(crate) fn note(&self, id: &str) {
        let _held = self.noting.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self
            .store
            .read(|db| -> rusqlite::Result<_> { Ok((Run::find(db, id)?, Line::last(db)?)) });
        let folder = self.folder.join(id);
        if let Ok((Some(run), seq)) = known
            && folder.is_dir()
            && let Err(error) = Note::of(&run, seq).write(&folder)
        {
            tracing::warn!(run = %id, %error, "its name and its place in the queue cannot be noted");
        }
    }

    /// [`Self::note`] of all that wait: where one of them moves, others get another rank.
    pub(crate) fn note_queue(&self) {
        self.store.read(Run::queued_ids).unwrap_or_default().iter().for_each(|id| self.note(id));
    }

    /// A run as lists show it. Where the store cannot be written, what its row says may be over, so the cause is told as well.
    pub(crate) fn summary(&self, run: &Run, position: Option<usize>) -> RunSummary {
        let mut summary = RunSummary::of(run, position);
        if !run.slots.is_empty() || run.state == State::Queued {
            let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            summary.error = summary.error.or_else(|| trouble.clone());
        }
        summary
    }

    /// Tells readers how a run stands.
    pub(crate) fn say_run(&self, run: &Run) {
        let position = self.store.read(|db| run.position(db)).ok().flatten();
        let summary = self.summary(run, position);
        match serde_json::to_string(&summary) {
            Ok(data) => self.say(Kind::Run, &run.id, data),
            Err(error) => tracing::error!(%error, "a summary is not JSON"),
        }
    }

    /// Tells readers the order of the queue.
    pub(crate) fn say_queue(&self) {
        match self.store.read(Run::queued_ids) {
            Ok(queue) => {
                self.say(Kind::Queue, "", serde_json::json!({ "queue": queue }).to_string())
            }
            Err(error) => tracing::error!(%error, "the queue cannot be read"),
        }
    }

    fn say(&self, kind: Kind, run: &str, data: String) {
        match self.store.read(Line::last) {
            Ok(seq) => self.send(Message { seq, kind, run: run.into(), data }),
            Err(error) => tracing::error!(%error, "the log cannot be read"),
        }
    }

    pub(super) fn send(&self, message: Message) {
        // Sending fails only if nobody listens.
        drop(self.hub.send(Arc::new(message)));
    }
}

/// Names of those runs that may still need run `id`, for people.
fn needing(db: &Connection, id: &str) -> rusqlite::Result<String> {
    let runs = Run::all(db)?.into_iter();
    let names = |run: &Run| named(&run.config).any(|(_, named)| named == id);
    let needs = |run: &Run| run.state.needs_inputs() && names(run);
    let names: Vec<String> =
        runs.filter(needs).map(|run| format!("`{}` ({})", run.name, run.id)).collect();
    let more = names.len().saturating_sub(SAID);
    let said = names[..names.len() - more].join(", ");
    Ok(if more > 0 { format!("{said} and {more} more") } else { said })
}

/// The runs that a configuration names, with the keys that do: its teacher's, and that whose weights it begins with.
fn named(config: &str) -> impl Iterator<Item = (&'static str, String)> {
    let table = config.parse::<toml::Table>().unwrap_or_default();
    let from = |section: &str| {
        let from = table.get(section)?.get("from")?.as_str()?;
        from.strip_prefix(RUN).map(str::to_owned)
    };
    let both = [("teacher.from", from("teacher")), ("model.from", from("model"))];
    both.into_iter().filter_map(|(field, id)| Some((field, id?)))
}

impl Run {
    /// Whether a command trains it that obeys no server.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.slots.iter().any(|slot| slot == ELSEWHERE)
    }

    /// Whether it has a process, and which device that trains on is known by the log alone.
    pub(super) fn has_unknown_slot(&self) -> bool {
        self.slots.iter().any(|slot| slot == ELSEWHERE || slot == ADOPTED)
    }

    /// Goes on to `state`, with what belongs to it in the row.
    pub(super) fn enter(
        &mut self,
        db: &Connection,
        state: State,
        input: Input,
    ) -> rusqlite::Result<()> {
        self.state = state;
        self.place = None;
        match state {
            // What had an adapter gets the next one; what never had one waits for its turn.
            State::Queued => self.enqueue(db, input != Input::Start)?,
            State::Running => self.started = self.started.or(Some(now())),
            _ if state.is_ended() => self.finished = Some(now()),
            _ => {}
        }
        if matches!(input, Input::Start | Input::Resume) {
            (self.finished, self.error, self.attempts) = (None, None, 0);
        }
        Ok(())
    }

    /// Its place in the queue, from 0; none where it does not wait.
    pub(crate) fn position(&self, db: &Connection) -> rusqlite::Result<Option<usize>> {
        if self.state != State::Queued {
            return Ok(None);
        }
        Ok(Run::queued_ids(db)?.iter().position(|id| *id == self.id))
    }
}
