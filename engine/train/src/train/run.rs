//! A run: its directory, and the devices that train its members.

use std::{
    collections::BTreeMap,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize},
        mpsc,
    },
    thread,
};

use super::{
    TrainError,
    context::{Options, Stops, Teacher},
    crew::{Crew, devices},
    host::Host,
    journal::{Journal, Listener},
    measure::{self, Worth},
    members::{self, Desk},
    outline::{self, Planned},
    pool::Pool,
    spec::ARTIFACTS,
    teacher::{self, Imported},
};
use crate::{
    config::{self, Config, Data, Method, Split},
    data::{
        self, Contents, DataError, Dataset,
        text::{self, Tokenizer},
    },
    device::Device,
    disk::{Disk, Held, Kind},
    event::{self, Entry, Event, RunStatus},
    formats::{ModelFolder, verdicts},
};

/// The configuration of a run.
const CONFIG: &str = "config.toml";
/// The log of a run.
const EVENTS: &str = "events.jsonl";
/// What the process holds that trains a run.
const LOCK: &str = "run.lock";

/// A run directory that this process holds.
#[derive(Debug)]
pub struct Run {
    config: Config,
    /// What was taken over into the configuration, in words.
    taken: Vec<String>,
    out: PathBuf,
    host: Host,
    _lock: Held,
}

impl Run {
    /// Makes a run directory; `out` must be empty or not there, but for the lock of a process that was killed before it had written anything. What a teacher from elsewhere says of its pictures is written into the
    /// configuration, so that whoever reads that knows it.
    ///
    /// # Errors
    /// If `out` holds anything, or cannot be written; if the teacher is not there, or the configuration contradicts it.
    pub fn create(config: Config, out: &Path, host: &Host) -> Result<Self, TrainError> {
        let disk = &*host.disk;
        let own = out.join(LOCK);
        if disk.list(out).is_ok_and(|items| items.iter().any(|(item, _)| *item != own)) {
            let message = format!(
                "`{}` is not empty; take another folder, or go on with --resume",
                out.display()
            );
            return Err(TrainError::Folder(message));
        }
        let (config, taken) = teacher::settled(&config)?;
        disk.make_folder(out)?;
        let lock = lock(disk, out)?;
        disk.write_bytes(&out.join(CONFIG), config.to_toml().as_bytes())?;
        Ok(Self { config, taken, out: out.into(), host: host.clone(), _lock: lock })
    }

    /// Takes up the run in `out`, which must be of this configuration but for the adapter, or makes it.
    ///
    /// # Errors
    /// As [`Self::create`] and [`Self::resume`], and if the run in `out` is of another configuration.
    pub fn create_or_resume(config: Config, out: &Path, host: &Host) -> Result<Self, TrainError> {
        if host.disk.kind(&out.join(CONFIG)).is_none() {
            return Self::create(config, out, host);
        }
        let run = Self::resume(out, host)?;
        let (asked, there) = (teacher::settled(&config)?.0.flat(), run.config.flat());
        let differs = |key: &&String| *key != "device" && asked.get(*key) != there.get(*key);
        let Some(key) = asked.keys().chain(there.keys()).find(differs) else { return Ok(run) };
        let value = |of: &BTreeMap<String, String>| of.get(key).cloned().unwrap_or("absent".into());
        Err(TrainError::Folder(format!(
            "`{}` has a run of another configuration: `{key}` is {} there, and {} is asked for; take another folder",
            out.display(),
            value(&there),
            value(&asked)
        )))
    }

    /// Takes up a run directory, also one that has nothing but a configuration yet.
    ///
    /// # Errors
    /// If `out` is none, is damaged, or another process works on it; before the run has begun, as [`Self::create`].
    pub fn resume(out: &Path, host: &Host) -> Result<Self, TrainError> {
        let (disk, path) = (&*host.disk, out.join(CONFIG));
        if disk.kind(&path) != Some(Kind::File) {
            let message = format!("`{}` is no run directory: it has no config.toml", out.display());
            return Err(TrainError::Folder(message));
        }
        let lock = lock(disk, out)?;
        disk.remove_leftovers(out)?;
        let mut config = config::read_on(disk, &path)?;
        let mut taken = Vec::new();
        if disk.kind(&out.join(EVENTS)).is_none() {
            (config, taken) = teacher::settled(&config)?;
            disk.write_bytes(&path, config.to_toml().as_bytes())?;
        }
        Ok(Self { config, taken, out: out.into(), host: host.clone(), _lock: lock })
    }

    /// Whether its log says that all of it is trained.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn is_done(&self) -> Result<bool, TrainError> {
        let (disk, path) = (&*self.host.disk, self.out.join(EVENTS));
        if disk.kind(&path).is_none() {
            return Ok(false);
        }
        let last = event::entries(&disk.read(&path)?).pop();
        let done = |entry: Entry| {
            matches!(entry.event, Event::RunFinished { status: RunStatus::Done, .. })
        };
        Ok(last.is_some_and(done))
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Trains what is left of the run; every event goes to the log and then to `sink`. Setting `stop` ends it with a checkpoint.
    ///
    /// # Errors
    /// Whatever stopped the run; its last checkpoints are kept.
    pub fn execute(
        &self,
        options: &Options,
        stop: &AtomicBool,
        sink: &mut (dyn FnMut(&Entry) + Send),
    ) -> Result<(), TrainError> {
        if !self.host.threads {
            let sink = Mutex::new(sink);
            let tell = |entry: Entry| sink.lock().unwrap_or_else(PoisonError::into_inner)(&entry);
            return self.train_and_say(options, stop, &tell);
        }
        let (sender, heard) = mpsc::channel();
        thread::scope(|scope| {
            // Training has a thread of its own, so that a slow `sink` does not hold it up. That thread drops the sender when it is done, which ends
            // the iteration over the entries here.
            let work = scope.spawn(move || {
                // It is no error if nobody listens.
                self.train_and_say(options, stop, &|entry| drop(sender.send(entry)))
            });
            heard.iter().for_each(|entry| sink(&entry));
            work.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Trains what is left, and says how it ended.
    fn train_and_say(
        &self,
        options: &Options,
        stop: &AtomicBool,
        listener: &Listener<'_>,
    ) -> Result<(), TrainError> {
        let Host { clock, disk, .. } = &self.host;
        let journal = Journal::open(&self.out.join(EVENTS), &**disk, clock, listener)?;
        let begun = clock.now();
        let result = self.train(options, stop, &journal);
        let status = match &result {
            Ok(()) => RunStatus::Done,
            Err(TrainError::Stopped(_)) => RunStatus::Stopped,
            // Nothing is wrong with the run: it goes on once there is room.
            Err(TrainError::Format(error)) if error.is_full() => RunStatus::Stopped,
            Err(_) => RunStatus::Failed,
        };
        let error = match &result {
            Ok(()) | Err(TrainError::Stopped(_)) => None,
            Err(error) => Some(error.to_string()),
        };
        let seconds = (clock.now() - begun).as_secs_f64();
        let told = journal.append(Event::RunFinished { status, error, seconds });
        // If both failed, the error that stopped the run is returned, not that of the log.
        result.and(told.map_err(Into::into))
    }

    fn train(
        &self,
        options: &Options,
        stop: &AtomicBool,
        journal: &Journal<'_>,
    ) -> Result<(), TrainError> {
        let config = &self.config;
        let kept = self.kept_tokenizer()?;
        let link = options.link.as_ref().filter(|link| link.count() > 1);
        if let Some(link) = link {
            members::call_to(&**link, config, &self.out, kept.as_ref())?;
        }
        let mut data =
            data::open_on(&self.host.disk, config, options.cache.as_deref(), kept.as_ref())?;
        if let Some(other) = journal.other_data(&data.account) {
            let problem = format!(
                "these are other data than this run has trained on, as {other}; it goes on with those, or begin another run"
            );
            return Err(DataError::Setting { key: "data.path", problem }.into());
        }
        if let (Some(tokenizer), None) = (data.subject().tokenizer, kept) {
            let json = tokenizer.json().to_string();
            self.host.disk.write_bytes(&self.out.join(text::TOKENIZER), json.as_bytes())?;
        }
        if let (Contents::Text(text), Some(account)) = (&data.contents, &mut data.account.text) {
            account.yardsticks = Some(text.yardsticks()?);
        }
        let prepared = outline::prepare(config, &data)?;
        let gpus = devices(config, &self.host, options, &prepared.outline)?;
        if let (Some(recorder), [gpu, ..]) = (&options.profile, &gpus[..]) {
            recorder.begin(&gpu.adapter().name, Arc::clone(gpu).peaks()?);
        }
        let own: Vec<String> = gpus
            .iter()
            .map(|gpu| &gpu.adapter().name)
            .map(|name| link.map_or(name.clone(), |of| members::adapter_on(of.host(), name)))
            .collect();
        let theirs = match link {
            Some(link) => members::gather(&**link, &data, &prepared)?,
            None => BTreeMap::new(),
        };
        let all = own.iter().chain(theirs.values().flatten());
        let mut names: Vec<&str> = Vec::new();
        all.for_each(|name| {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        });
        for message in journal.doubts(&config.hash()) {
            journal.append(Event::Warning { message })?;
        }
        journal.append(Event::RunStarted {
            version: env!("CARGO_PKG_VERSION").into(),
            adapter: names.join(", "),
            adapter_kind: gpus[0].adapter().device_type.clone(),
            config_hash: config.hash(),
            stages: prepared.outline.stages.clone(),
        })?;
        journal.append(Event::DataRead { account: data.account.clone() })?;
        for message in &self.taken {
            journal.append(Event::Log { message: message.clone() })?;
        }
        for message in &prepared.outline.warnings {
            journal.append(Event::Warning { message: message.clone() })?;
        }
        let mut caveats: Vec<String> =
            gpus.iter().filter_map(|gpu| gpu.adapter().caveat()).collect();
        caveats.dedup();
        for message in caveats {
            journal.append(Event::Warning { message })?;
        }
        if let Some(imported) = &prepared.imported {
            self.test_imported(imported, &data, journal, &gpus[0], &own[0])?;
        }
        // Where the batch is split, the first device trains the members, and the others help it.
        let trainers = if config.split == Split::Batch { 1 } else { names.len() };
        let pool = Pool::new(outline::planned(config), &names[..trainers], journal);
        let stops = Stops { user: stop, failure: AtomicBool::new(false) };
        let (host, data, prepared, stops) = (&self.host, &data, &prepared, &stops);
        let crew = Crew { config, host, options, data, prepared, stops };
        let desk = link.map(|link| Desk {
            link,
            out: &self.out,
            disk: &*self.host.disk,
            journal,
            pool: &pool,
            stops,
            open: AtomicUsize::new(theirs.values().map(Vec::len).sum()),
        });
        crew.train(gpus.into_iter().zip(&own).collect(), &pool, journal, desk.as_ref(), &theirs)?;
        self.keep_best(journal)
    }

    /// What makes tokens of text in this run since it began, whatever has become of the vocabulary that the configuration names.
    fn kept_tokenizer(&self) -> Result<Option<Tokenizer>, TrainError> {
        let disk = &*self.host.disk;
        Ok(match (&self.config.data, disk.kind(&self.out.join(text::TOKENIZER))) {
            (Data::Text(_), Some(Kind::File)) => Some(Tokenizer::read_on(disk, &self.out)?),
            _ => None,
        })
    }

    /// Tests each teacher from elsewhere that has not been tested, so that it has a row beside its students.
    fn test_imported(
        &self,
        imported: &BTreeMap<u64, Imported>,
        data: &Dataset,
        journal: &Journal<'_>,
        gpu: &Arc<dyn Device>,
        adapter: &str,
    ) -> Result<(), TrainError> {
        for (seed, Imported { teacher, .. }) in teacher::distinct(imported) {
            let member = format!("teacher-{seed}");
            if journal.past(&member).finished.is_some() {
                continue;
            }
            let shapes = teacher.network.shapes()?;
            let (params, macs) = (shapes.param_count(), shapes.total_macs());
            let adapter = Some(adapter.into());
            journal.append(Event::MemberStarted {
                member: member.clone(),
                method: None,
                seed,
                params,
                macs,
                adapter,
            })?;
            let Teacher { network, weights, .. } = teacher;
            let (task, batch) = (data.task(), self.config.vanilla.batch);
            let Worth { test, train_error, answers, verdicts } =
                measure::worth(network, task, weights, seed, batch, data, gpu)?;
            let folder = self.out.join("teachers").join(seed.to_string());
            if let Some(verdicts) = &verdicts {
                verdicts::write_on(&*self.host.disk, &folder, verdicts)?;
            }
            journal.append(Event::MemberFinished {
                member,
                method: None,
                seed,
                step: 0,
                accuracy: test.accuracy,
                loss: test.loss,
                train_error,
                answers,
                discrepancy: None,
                epochs: teacher.epochs,
                seconds: teacher.seconds,
                params,
                macs,
                teacher_epochs: Some(0.0),
                teacher_seconds: Some(0.0),
            })?;
        }
        Ok(())
    }

    /// Copies the WIN member (else the first method's) with the lowest final training error to `artifacts/`.
    fn keep_best(&self, journal: &Journal<'_>) -> Result<(), TrainError> {
        let wanted = match self.config.methods.contains(&Method::Win) {
            true => Some(Method::Win),
            false => self.config.methods.first().copied(),
        };
        let mut best: Option<(f64, String)> = None;
        for Planned { name, method, .. } in outline::planned(&self.config) {
            if let (true, Some(end)) = (method == wanted, journal.past(&name).finished)
                && best.as_ref().is_none_or(|(error, _)| end.train_error < *error)
            {
                best = Some((end.train_error, name));
            }
        }
        let Some((_, member)) = best else { return Ok(()) };
        let (disk, folder) = (&*self.host.disk, self.out.join("members").join(member));
        let folder = ModelFolder::read_on(disk, &folder.join(ARTIFACTS))?;
        Ok(folder.write_on(disk, &self.out.join(ARTIFACTS))?)
    }
}

/// The lock on a run directory, held as long as the value is there.
fn lock(disk: &dyn Disk, out: &Path) -> Result<Held, TrainError> {
    let busy = || TrainError::Folder(format!("another process works on `{}`", out.display()));
    disk.lock(&out.join(LOCK))?.ok_or_else(busy)
}
