//! The start of a server over a folder of runs in whatever state it is: what a request was cut off at is finished or taken back, what a run's
//! own log says is taken in, and run directories that the store does not know become runs of it.
//!
//! A run's process writes its log first, and the server notes what else the store knows ([`Note`]), so the store can be made of the directories
//! again. Nothing is removed that has no mark ([`crate::scratch`]).

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use engine::config::{Bert, Config, Model};
use engine::data;
use engine::event::{Entry, Event, StagePlan};
use engine::models;
use engine::nn::NetworkSize;
use engine::train::ARTIFACTS;
use engine::win::surgery;
use rusqlite::Connection;

use super::control::{cancelled, is_controlled, is_locked};
use super::ingest;
use super::note::Note;
use super::registry::{ADOPTED, ELSEWHERE, Jobs};
use crate::datasets::{BUILT_IN, Datasets, PREFIX};
use crate::run::{End, Facts, Input, Outcome, RUN, State, View, next};
use crate::scratch::{self, GONE, NEW};
use crate::store::{Line, New, Run, now};

/// Most letters of a directory's name that becomes a run's id.
const ID: usize = 64;

/// A name that does as a run's id: safe in an address, and no hidden folder.
fn is_id(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric();
    (1..=ID).contains(&name.len())
        && name.starts_with(first)
        && name.chars().all(|c| first(c) || "-_.".contains(c))
}

impl Jobs {
    /// Takes up the folder of runs, before anything else uses the store; ids of the runs that are new to it.
    ///
    /// # Errors
    /// The folder or the store cannot be used.
    pub(crate) fn take_up(&self, datasets: &Datasets) -> Result<Vec<String>> {
        let mut found = Vec::new();
        // A note of a row that this store has not written yet is newer than the store is.
        let last = self.store.read(Line::last)?;
        let mut greatest = last;
        for path in scratch::entries(&self.folder)? {
            match scratch::marked(&path) {
                Some((NEW, id)) => self.finish_create(&path, id)?,
                Some((GONE, id)) => self.finish_delete(&path, id)?,
                _ => continue,
            }
        }
        for path in scratch::entries(&self.folder)? {
            if scratch::marked(&path).is_some() {
                // It could not be removed, and the log has said so.
                continue;
            }
            let id = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let note = Note::read(&path);
            if let Some(run) = self.store.read(|db| Run::find(db, &id))? {
                greatest = greatest.max(note.as_ref().map_or(0, |note| note.seq));
                self.catch_up(run, &path, note.filter(|note| note.seq > last))?;
                continue;
            }
            match self.adopt(&id, &path, note.as_ref(), datasets) {
                Ok(state) => {
                    tracing::info!(run = %id, state = state.name(), "taken up from its directory");
                    greatest = greatest.max(note.map_or(0, |note| note.seq));
                    found.push(id);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), "left alone, as it is no run of a server: {error:#}");
                }
            }
        }
        self.miss()?;
        self.store.write(|db| Line::pass(db, greatest))?;
        for run in self.store.read(Run::all)? {
            let noted = Note::read(&self.directory(&run));
            if noted.is_none_or(|note| !note.agrees(&Note::of(&run, note.seq))) {
                self.note(&run.id);
            }
        }
        Ok(found)
    }

    /// A create was cut off: with its row the run was made, without it nobody was told of it.
    fn finish_create(&self, path: &Path, id: &str) -> Result<()> {
        let place = self.folder.join(id);
        let known = is_id(id) && self.store.read(|db| Run::find(db, id))?.is_some();
        if known && !place.exists() {
            fs::rename(path, &place)
                .with_context(|| format!("cannot rename `{}`", path.display()))?;
        } else {
            scratch::remove(path);
        }
        Ok(())
    }

    /// A delete was cut off: its row goes, and its files.
    fn finish_delete(&self, path: &Path, id: &str) -> Result<()> {
        if !self.folder.join(id).exists() {
            self.store.write(|db| -> rusqlite::Result<()> {
                match Run::find(db, id)? {
                    Some(_) => Run::delete(db, id),
                    None => Ok(()),
                }
            })?;
        }
        scratch::remove(path);
        Ok(())
    }

    /// Takes in what the log of a known run says beyond what the store has of it, and a note that is newer than the store, as where that was
    /// put back from an older copy.
    fn catch_up(&self, run: Run, path: &Path, note: Option<Note>) -> Result<()> {
        let log = path.join("events.jsonl");
        let length = log.metadata().map_or(0, |data| data.len());
        let shorter = length < run.bytes;
        // The supervisor looks after those that hold a device.
        if !shorter && !run.slots.is_empty() && note.is_none() {
            return Ok(());
        }
        self.store.write(|db| -> Result<()> {
            let mut run = run;
            if let Some(note) = &note {
                run.slots.clear();
                note.label(&mut run);
                run.save_labels(db)?;
            }
            if shorter {
                tracing::warn!(run = %run.id, "its log is shorter than it was: it is read anew");
                let config = Config::from_toml(&run.config, "configuration").unwrap_or_default();
                run.view = view(&config, &stages(&log));
                (run.bytes, run.outcome) = (0, None);
                Run::forget_log(db, &run.id)?;
            }
            let before = run.bytes;
            read_all(db, &mut run, &log)?;
            let locked = is_locked(&path.join("run.lock"));
            let news = locked || run.bytes != before || shorter || note.is_some();
            if run.slots.is_empty() && news {
                settle(db, &mut run, path, locked, note.as_ref())?;
            }
            run.save(db)?;
            Ok(())
        })
    }

    /// Makes a run of a directory that the store does not know; its state.
    fn adopt(
        &self,
        id: &str,
        path: &Path,
        note: Option<&Note>,
        datasets: &Datasets,
    ) -> Result<State> {
        anyhow::ensure!(
            is_id(id),
            "the name of a run has at most {ID} of a-z, A-Z, 0-9, -, _ and ., and begins with none of the last three"
        );
        anyhow::ensure!(path.symlink_metadata()?.is_dir(), "it is no directory");
        let file = path.join("config.toml");
        let text = fs::read_to_string(&file).context("it has no config.toml that can be read")?;
        let config = Config::from_toml(&text, &file.display().to_string())?;
        let log = path.join("events.jsonl");
        let student = size(&config, false).unwrap_or_default();
        let new = New {
            id: id.into(),
            name: id.into(),
            config: self.named(&config, datasets).to_toml(),
            config_hash: config.hash(),
            preset: note.and_then(|note| note.preset.clone()),
            facts: Facts {
                arch: config.model.arch().into(),
                dataset: name_of(&config, datasets),
                methods: config.methods.clone(),
                seeds: config.seeds.clone(),
                student,
                teacher: size(&config, true).unwrap_or_default(),
            },
            view: view(&config, &stages(&log)),
        };
        self.store.write(|db| -> Result<State> {
            let mut run = Run::insert(db, &new)?;
            if let Some(note) = note {
                note.label(&mut run);
                run.save_labels(db)?;
            }
            read_all(db, &mut run, &log)?;
            let (created, started) = times(&log);
            run.started = started;
            settle(db, &mut run, path, is_locked(&path.join("run.lock")), note)?;
            run.save(db)?;
            run.created = created.or_else(|| seconds(&file)).unwrap_or_else(now);
            run.save_origin(db)?;
            Ok(run.state)
        })
    }

    /// A configuration with names in the place of paths.
    fn named(&self, config: &Config, datasets: &Datasets) -> Config {
        let mut named = config.clone();
        if let Some(path) = config.data.path() {
            named.data.set_path(Some(PREFIX.to_owned() + &datasets.name_of(path)));
        }
        if let Some(from) = &mut named.teacher.from {
            *from = self.run_named(Path::new(from));
        }
        if let Model::Bert(Bert { from: Some(from), .. }) = &mut named.model {
            *from = self.run_named(Path::new(from));
        }
        named
    }

    /// A run in the place of its folder, or of its student's; of what lies elsewhere the path's last part.
    fn run_named(&self, path: &Path) -> String {
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let student = path.parent().filter(|_| path.ends_with(ARTIFACTS));
        let run = student.unwrap_or(path);
        let ours = run.parent() == Some(&*self.folder);
        if ours { format!("{RUN}{}", name(run)) } else { name(path) }
    }

    /// Runs whose directories are not there: what would go on cannot.
    fn miss(&self) -> Result<()> {
        let missing = |run: &Run| !self.directory(run).is_dir();
        for mut run in self.store.read(Run::all)?.into_iter().filter(missing) {
            tracing::warn!(run = %run.id, "its directory is not there");
            let waits = matches!(run.state, State::Draft | State::Queued | State::Paused);
            if waits && run.slots.is_empty() {
                self.store.write(|db| -> rusqlite::Result<()> {
                    (run.state, run.place) = (State::Failed, None);
                    run.finished = Some(now());
                    run.error = Some("its directory is not there any more".into());
                    run.save(db)
                })?;
            }
        }
        Ok(())
    }

    /// What a closer look at a run's configuration found.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn examined(
        &self,
        id: &str,
        student: NetworkSize,
        teacher: Option<NetworkSize>,
        widths: &[(u32, u32)],
    ) -> rusqlite::Result<()> {
        let run = self.store.write(|db| -> rusqlite::Result<Option<Run>> {
            let Some(mut run) = Run::find(db, id)? else { return Ok(None) };
            run.facts.student = student;
            run.facts.teacher = teacher.unwrap_or_default();
            for block in &mut run.view.blocks {
                let place = (block.block as usize).saturating_sub(1);
                if let Some(&(student, teacher)) = widths.get(place) {
                    (block.student_width, block.teacher_width) = (student, teacher);
                }
            }
            run.save(db)?;
            run.save_origin(db)?;
            Ok(Some(run))
        })?;
        if let Some(run) = run {
            self.say_run(&run);
        }
        Ok(())
    }
}

/// The state of a run that has no process of this server, by what was noted of it, its directory and what its log came to.
fn settle(
    db: &Connection,
    run: &mut Run,
    path: &Path,
    locked: bool,
    note: Option<&Note>,
) -> rusqlite::Result<()> {
    let begun = run.view.last > 0.0;
    let outcome = run.outcome.take();
    let place = note.map_or(run.place, |note| note.place);
    let (state, error) = if locked {
        (note.map_or(State::Running, |note| note.state.at_work()), None)
    } else {
        let noted = note.and_then(|note| by_note(note, outcome.as_ref(), run.bytes));
        noted.unwrap_or_else(|| by_log(outcome, begun, path, run.state))
    };
    if state != run.state || place != run.place {
        (run.state, run.place) = (state, place.filter(|_| state == State::Queued));
        if state == State::Queued && run.place.is_none() {
            run.enqueue(db, true)?;
        }
        let end = if begun { run.view.last } else { now() };
        run.finished = state.is_ended().then_some(end);
    }
    if locked {
        // What the server before this one started obeys; what a command started does not.
        let slot = if is_controlled(path) { ADOPTED } else { ELSEWHERE };
        (run.slots, run.launched) = (vec![slot.into()], 0.0);
        run.started = run.started.or_else(|| Some(now()));
    }
    run.error = error;
    Ok(())
}

/// The state and the error that a note tells of, where the log has come to so many bytes: none where somebody else has trained the run since.
fn by_note(note: &Note, outcome: Option<&Outcome>, bytes: u64) -> Option<(State, Option<String>)> {
    // Its process is no more, as the supervisor would have noticed.
    let (end, why) = outcome.map_or((End::Died, None), Outcome::end);
    if let Some(state) = next(note.state, Input::End(end)) {
        return Some((state, why));
    }
    (note.bytes >= bytes).then(|| (note.state, note.error.clone()))
}

/// The state and the error that a log tells of; `before` is the state of a run that has not begun.
fn by_log(
    outcome: Option<Outcome>,
    begun: bool,
    path: &Path,
    before: State,
) -> (State, Option<String>) {
    match outcome {
        Some(Outcome::Done) => (State::Done, None),
        Some(Outcome::Failed { error }) => (State::Failed, Some(error)),
        _ if cancelled(path) => (State::Cancelled, None),
        Some(Outcome::Stopped { cause }) => (State::Stopped, cause),
        None if begun => {
            let error = "its process ended without a word; resume goes on from its last checkpoint";
            (State::Failed, Some(error.into()))
        }
        // It has not begun: it waits as it did.
        None => (before, None),
    }
}

/// Takes in all that a log has beyond what is known of it.
fn read_all(db: &Connection, run: &mut Run, log: &Path) -> Result<()> {
    while let Some(part) = ingest::read(log, run.bytes)? {
        ingest::take(db, run, &part)?;
    }
    Ok(())
}

/// What a run is seen to be before its first event.
fn view(config: &Config, stages: &[StagePlan]) -> View {
    let (student, teacher) = (size(config, false), size(config, true));
    let blocks = |size: &Option<NetworkSize>| -> Vec<u32> {
        size.iter().flat_map(|size| &size.blocks).map(|block| block.width).collect()
    };
    let mut widths: Vec<(u32, u32)> = blocks(&student).into_iter().zip(blocks(&teacher)).collect();
    // The head's.
    widths.pop();
    View::new(config, stages, &widths)
}

/// The size of a configuration's student, or of the teacher that it is widened to. The data set is not opened: how many classes and pixels
/// it has, data of its kind have as a rule.
fn size(config: &Config, wide: bool) -> Option<NetworkSize> {
    let subject = data::promised(config);
    let mut network = models::network(&config.model, subject.input, subject.output);
    if wide {
        network = surgery::widen(&network, config.teacher.factor, config.teacher.widen);
    }
    network.size().ok()
}

fn name_of(config: &Config, datasets: &Datasets) -> String {
    let path = config.data.path();
    path.map_or_else(|| BUILT_IN.into(), |path| datasets.name_of(path))
}

/// The entries of a log.
fn entries(log: &Path) -> impl Iterator<Item = Entry> {
    let lines = File::open(log).ok().map(|file| BufReader::new(file).split(b'\n'));
    let lines = lines.into_iter().flatten().map_while(std::io::Result::ok);
    lines.filter_map(|line| serde_json::from_slice(&line).ok())
}

/// What a log's last process set out to train.
fn stages(log: &Path) -> Vec<StagePlan> {
    let planned = entries(log).filter_map(|entry| match entry.event {
        Event::RunStarted { stages, .. } => Some(stages),
        _ => None,
    });
    planned.last().unwrap_or_default()
}

/// When a log's first entry was written, and when its first process knew what to do.
fn times(log: &Path) -> (Option<f64>, Option<f64>) {
    let is_start = |entry: &Entry| matches!(entry.event, Event::RunStarted { .. });
    let first = entries(log).next().map(|entry| entry.time);
    (first, entries(log).find(is_start).map(|entry| entry.time))
}

/// When a file was written, in seconds since 1970.
fn seconds(file: &Path) -> Option<f64> {
    let time = file.metadata().ok()?.modified().ok()?;
    Some(time.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?.as_secs_f64())
}

#[cfg(test)]
#[path = "states.rs"]
mod states;
