//! A run: its directory, and the devices that train its members.

use std::{
    collections::BTreeMap,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use super::{
    TrainError,
    context::{Context, Options, Stops, Teacher, autotuner},
    far::{Far, Request},
    host::Host,
    journal::{Journal, Listener},
    kept,
    measure::{self, Worth},
    member::Member,
    members::{self, Desk},
    outline::{self, Outline, Planned, Prepared},
    past::Past,
    pool::Pool,
    spec::{ARTIFACTS, MemberSpec},
    teacher::{self, Imported},
    team::{self, Follower, Team},
};
use crate::{
    config::{self, Config, Data, Method, Precision, Split},
    data::{
        self, Contents, DataError, Dataset,
        text::{self, Tokenizer},
    },
    device::{Device, DeviceError},
    disk::{Disk, Held, Kind},
    event::{self, Entry, Event, RunStatus},
    formats::ModelFolder,
    nn::NetworkError,
    ops::AdapterKind,
    ranks::{Link, Threads},
    win::algorithm,
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
            let Worth { test, train_error, answers } =
                measure::worth(network, task, weights, seed, batch, data, gpu)?;
            journal.append(Event::MemberFinished {
                member,
                method: None,
                seed,
                step: 0,
                accuracy: test.accuracy,
                loss: test.loss,
                train_error,
                answers,
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

/// Where devices take members.
pub(super) enum Members<'r> {
    /// Here.
    Pool(&'r Pool),
    /// Of rank 0.
    Far(&'r Far),
}

impl Members<'_> {
    /// The next member for an adapter of this name. The log knows then what became of it and of its teacher before.
    fn take(
        &self,
        adapter: &str,
        stops: &Stops<'_>,
        journal: &Journal<'_>,
    ) -> Result<Option<Planned>, TrainError> {
        match self {
            Self::Pool(pool) => Ok(pool.take(adapter, || stops.any())),
            Self::Far(_) if stops.any() => Ok(None),
            Self::Far(far) => Ok(far.take(adapter)?.map(|(planned, pasts)| {
                journal.tell(pasts);
                planned
            })),
        }
    }

    /// Says what became of a member that was taken.
    fn put(&self, name: &str, trained: bool) -> Result<(), TrainError> {
        match self {
            Self::Pool(pool) => pool.put(name, trained),
            Self::Far(far) => {
                far.ask(&Request::Put { name: name.into(), trained }, &[])?;
            }
        }
        Ok(())
    }
}

/// The devices of a run at work, or those of one of its ranks.
pub(super) struct Crew<'r> {
    pub(super) config: &'r Config,
    pub(super) host: &'r Host,
    pub(super) options: &'r Options,
    pub(super) data: &'r Dataset,
    pub(super) prepared: &'r Prepared,
    pub(super) stops: &'r Stops<'r>,
}

impl Crew<'_> {
    /// Trains what is left, on each device in a thread of its own; for each device of another rank a thread answers.
    fn train(
        &self,
        mut gpus: Vec<(Arc<dyn Device>, &String)>,
        pool: &Pool,
        journal: &Journal<'_>,
        desk: Option<&Desk<'_>>,
        theirs: &BTreeMap<usize, Vec<String>>,
    ) -> Result<(), TrainError> {
        let disk = &*self.host.disk;
        let work = |(gpu, name): (Arc<dyn Device>, &String), team: Option<Team<'_>>| {
            self.work(gpu, name, &Members::Pool(pool), journal, disk, team)
        };
        // As the first of the ranks that share batches.
        let lead = |link: &dyn Link, own: (Arc<dyn Device>, &String)| {
            let (clock, account) = (&self.host.clock, &self.data.account);
            let adapter = own.0.adapter().name.clone();
            Team::lead(link, clock, &adapter, account, |team| work(own, Some(team)))
        };
        let serve = |desk: &Desk<'_>, rank: usize, device: usize| {
            let mut watch = Watch { stops: self.stops, well: false };
            let done = desk.serve(rank, device);
            watch.well = done.is_ok();
            drop(watch);
            desk.open.fetch_sub(1, Ordering::SeqCst);
            done
        };
        let together = self.config.split == Split::Batch;
        let own = if together { Some(gpus.remove(0)) } else { gpus.pop() };
        let ends: Vec<Result<(), TrainError>> = thread::scope(|scope| {
            let (work, serve) = (&work, &serve);
            let mut others = Vec::with_capacity(gpus.len());
            let own = match (together, desk) {
                (true, Some(desk)) => own.map(|own| lead(&**desk.link, own)),
                (true, None) => {
                    let mut links = Threads::of(1 + gpus.len()).into_iter();
                    let first = links.next();
                    for ((gpu, _), link) in gpus.into_iter().zip(links) {
                        others.push(scope.spawn(move || self.follow(&link, gpu)));
                    }
                    own.zip(first).map(|(own, link)| lead(&link, own))
                }
                (false, desk) => {
                    others.extend(gpus.into_iter().map(|gpu| scope.spawn(move || work(gpu, None))));
                    if let Some(desk) = desk {
                        scope.spawn(|| desk.pass_stops());
                        for (&rank, devices) in theirs {
                            for device in 0..devices.len() {
                                others.push(scope.spawn(move || serve(desk, rank, device)));
                            }
                        }
                    }
                    own.map(|own| work(own, None))
                }
            };
            let join = |other: thread::ScopedJoinHandle<'_, Result<(), TrainError>>| {
                other.join().unwrap_or_else(|panic| resume_unwind(panic))
            };
            own.into_iter().chain(others.into_iter().map(join)).collect()
        });
        let stopped = || TrainError::Stopped(self.options.out.display().to_string());
        // A device that fails makes the others stop: its error is returned, not theirs.
        let failed = |end: Result<(), TrainError>| {
            end.err().filter(|error| !matches!(error, TrainError::Stopped(_)))
        };
        match ends.into_iter().find_map(failed) {
            Some(error) => Err(error),
            None if pool.is_done() => Ok(()),
            None => Err(stopped()),
        }
    }

    /// Runs a device's shares of what another rank trains.
    pub(super) fn follow(&self, link: &dyn Link, gpu: Arc<dyn Device>) -> Result<(), TrainError> {
        let (data, clock) = (self.data, &self.host.clock);
        team::follow(link, &Follower { gpu, data, clock })
    }

    /// Trains members on a device, whose adapter the log calls `adapter`, until none is left for it; with a team, that shares their batches.
    pub(super) fn work(
        &self,
        gpu: Arc<dyn Device>,
        adapter: &str,
        members: &Members<'_>,
        journal: &Journal<'_>,
        disk: &dyn Disk,
        team: Option<Team<'_>>,
    ) -> Result<(), TrainError> {
        // If this function ends by an error or a panic, the drop of `watch` makes the other devices stop as well.
        let mut watch = Watch { stops: self.stops, well: false };
        let clock = &self.host.clock;
        let autotuner = autotuner(gpu.adapter(), self.options, clock);
        let mut context = Context {
            config: self.config,
            options: self.options,
            data: self.data,
            journal,
            clock,
            disk,
            gpu,
            adapter,
            autotuner,
            stops: self.stops,
            team,
        };
        let mut lost = false;
        while let Some(planned) = members.take(adapter, self.stops, journal)? {
            match self.member(&mut context, &planned) {
                Ok(()) => members.put(&planned.name, true)?,
                Err(TrainError::Device(DeviceError::Lost(cause))) if !lost => {
                    lost = true;
                    let message = format!(
                        "the device was lost ({cause}); it is opened anew and the run goes on"
                    );
                    context.emit(Event::Warning { message })?;
                    context.reopen()?;
                    members.put(&planned.name, false)?;
                }
                Err(error) => return Err(error),
            }
        }
        watch.well = true;
        Ok(())
    }

    /// Trains a member or a teacher and writes what is kept of it.
    fn member(&self, context: &mut Context<'_>, planned: &Planned) -> Result<(), TrainError> {
        let Planned { name, method, seed } = planned;
        let (config, outline) = (context.config, &self.prepared.outline);
        let teacher = match method {
            Some(method) if method.needs_teacher() => Some(self.teacher(context, *seed)?),
            _ => None,
        };
        let count = context.data.train.len() as u64;
        let who = MemberSpec {
            name: name.clone(),
            method: *method,
            seed: *seed,
            folder: match method {
                Some(_) => self.options.out.join("members").join(name),
                None => self.teacher_folder(*seed),
            },
            stages: algorithm::of(config, *method, count),
            network: if method.is_some() { &outline.student } else { &self.prepared.wide },
            teacher: teacher.as_ref(),
            begins: self.prepared.begins.as_ref().filter(|_| method.is_some()),
        };
        let shapes = who.network.shapes()?;
        let (params, macs) = (shapes.param_count(), shapes.total_macs());
        let (member, method, seed) = (name.clone(), *method, *seed);
        let begun = context.journal.past(name).begun.is_some();
        context.emit(Event::MemberStarted {
            member: member.clone(),
            method,
            seed,
            params,
            macs,
            adapter: Some(context.adapter.into()),
        })?;
        let finished = Member::open(&who, context, begun)?.finish()?;
        let done = Event::MemberFinished {
            member,
            method,
            seed,
            step: finished.place.member_step,
            accuracy: finished.worth.test.accuracy,
            loss: finished.worth.test.loss,
            train_error: finished.worth.train_error,
            answers: finished.worth.answers,
            epochs: Some(finished.place.epochs),
            seconds: Some(finished.place.seconds),
            params,
            macs,
            teacher_epochs: who.teacher.map_or(Some(0.0), |teacher| teacher.epochs),
            teacher_seconds: who.teacher.map_or(Some(0.0), |teacher| teacher.seconds),
        };
        kept::keep(context, &who, finished)?;
        context.journal.sync()?;
        context.emit(done)
    }

    fn teacher_folder(&self, seed: u64) -> PathBuf {
        self.options.out.join("teachers").join(seed.to_string())
    }

    /// The teacher of a seed: imported, or trained before.
    fn teacher(&self, context: &Context<'_>, seed: u64) -> Result<Teacher, TrainError> {
        let imported = self.prepared.imported.as_ref();
        if let Some(of) = imported.and_then(|teachers| teachers.get(&seed)) {
            return Ok(of.teacher.clone());
        }
        let Past { finished, .. } = context.journal.past(&format!("teacher-{seed}"));
        let (epochs, seconds) = finished.map_or((None, None), |end| (end.epochs, end.seconds));
        let folder = self.teacher_folder(seed);
        let ModelFolder { weights, .. } = ModelFolder::read_on(context.disk, &folder)?;
        Ok(Teacher { network: self.prepared.wide.clone(), weights, epochs, seconds })
    }
}

/// Opens the devices that the members are trained on; each of them can do what any of the run's stages needs.
pub(super) fn devices(
    config: &Config,
    host: &Host,
    options: &Options,
    outline: &Outline,
) -> Result<Vec<Arc<dyn Device>>, TrainError> {
    let device = options.device.as_deref().unwrap_or(&config.device);
    let mut gpus = host.devices.open(device, config.memory_budget)?;
    if options.profile.is_some() && gpus.len() > 1 {
        let message = format!("a profile is of one device, and `{device}` means {}", gpus.len());
        return Err(NetworkError::Unsupported(message).into());
    }
    if !host.threads && gpus.len() > 1 {
        let message = format!(
            "a run without threads trains on one device, and `{device}` means {}",
            gpus.len()
        );
        return Err(NetworkError::Unsupported(message).into());
    }
    for gpu in &gpus {
        if config.precision == Precision::Mixed {
            gpu.check_half()?;
        }
        outline::refuse_what_does_not_fit(config, outline, &gpu.target())?;
    }
    let together = config.split == Split::Batch;
    if together && options.link.is_some() {
        if gpus.len() > 1 {
            let message = format!(
                "with split = \"batch\" each of several ranks has one device, and `{device}` means {}; start a rank for each of them",
                gpus.len()
            );
            return Err(NetworkError::Unsupported(message).into());
        }
        return Ok(gpus);
    }
    let software = gpus[0].adapter().kind == AdapterKind::Cpu && host.threads;
    // A profile needs the device to itself, and a memory budget holds for all that runs at once.
    if software && options.profile.is_none() && config.memory_budget.is_none() {
        let most = if together { usize::MAX } else { outline::planned(config).len() };
        for _ in 1..options.side_by_side.min(most) {
            gpus.push(gpus[0].reopen()?);
        }
    }
    Ok(gpus)
}

/// Tells the other devices when one of them has failed.
struct Watch<'r> {
    stops: &'r Stops<'r>,
    well: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.well {
            self.stops.failure.store(true, Ordering::Relaxed);
        }
    }
}

/// The lock on a run directory, held as long as the value is there.
fn lock(disk: &dyn Disk, out: &Path) -> Result<Held, TrainError> {
    let busy = || TrainError::Folder(format!("another process works on `{}`", out.display()));
    disk.lock(&out.join(LOCK))?.ok_or_else(busy)
}
