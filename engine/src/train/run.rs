//! A run: its directory, its teachers and its members.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    TrainError,
    member::{ARTIFACTS, Finished, Member, Who},
    model,
};
use crate::{
    config::{Config, Method, Precision},
    data::{self, DataError, Dataset},
    event::{self, Entry, Event, EventLog, RunStatus, StagePlan},
    formats::{FormatError, ModelConfig, ModelFolder, atomic, card},
    gpu::{self, Gpu, GpuError, Tuner},
    models,
    nn::{Network, NetworkError, Weights},
    ops::AdapterKind,
    profile::Recorder,
    win::{
        algorithm::{self, Stage, Task},
        needs, surgery,
    },
};

/// When the tiles of products are chosen by timing them, instead of by the built-in table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tune {
    /// Never.
    #[default]
    Never,
    /// On GPUs, which differ. On software adapters the table is good, and whatever else runs there disturbs a timing.
    OnGpus,
    /// Everywhere.
    Always,
}

/// How a run is executed; nothing here changes its bits but [`Self::tune`], whose choices a stage that has begun keeps.
#[derive(Debug, Clone)]
pub struct Options {
    /// The run directory.
    pub out: PathBuf,
    /// Adapter, instead of the configuration's.
    pub device: Option<String>,
    /// How long a stage goes without a checkpoint.
    pub checkpoint_every: Duration,
    /// How the device is opened.
    pub gpu: gpu::Options,
    /// Where some steps of each stage are recorded, timed dispatch by dispatch.
    pub profile: Option<Recorder>,
    /// Whether tiles are timed.
    pub tune: Tune,
    /// A folder for what was timed, so that the next run need not; none: it is forgotten.
    pub cache: Option<PathBuf>,
}

impl Options {
    /// The usual options for a run directory.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        let (device, gpu) = (None, gpu::Options::default());
        let checkpoint_every = Duration::from_secs(20);
        let (tune, cache) = (Tune::Never, None);
        Self { out: out.into(), device, checkpoint_every, gpu, profile: None, tune, cache }
    }
}

/// A trained teacher.
#[derive(Debug, Clone)]
pub struct Teacher {
    /// Its architecture.
    pub network: Network,
    /// Its weights.
    pub weights: Weights,
    /// Passes over the training data; 0 if it was imported.
    pub epochs: f64,
    /// Seconds of training; 0 if it was imported.
    pub seconds: f64,
}

/// What the members of a run share while it goes on.
pub(super) struct Context<'r> {
    pub(super) config: &'r Config,
    pub(super) options: &'r Options,
    pub(super) gpu: Arc<Gpu>,
    /// Where tiles are timed.
    pub(super) tuner: Option<Tuner>,
    pub(super) data: &'r Dataset,
    pub(super) log: &'r mut EventLog,
    stop: &'r AtomicBool,
    sink: &'r mut dyn FnMut(&Entry),
}

impl Context<'_> {
    /// Writes an event to the log, then tells the listener.
    pub(super) fn emit(&mut self, event: Event) -> Result<(), TrainError> {
        let entry = self.log.append(event)?;
        (self.sink)(&entry);
        Ok(())
    }

    /// Whether the user wants the run to stop.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A run directory that this process holds.
#[derive(Debug)]
pub struct Run {
    config: Config,
    out: PathBuf,
    _lock: File,
}

/// The names of a run's teachers and members, in the order in which they are trained.
pub fn member_names(config: &Config) -> Vec<String> {
    let mut names = Vec::new();
    for seed in &config.seeds {
        if config.methods.iter().any(|m| m.needs_teacher()) && config.teacher.from.is_none() {
            names.push(format!("teacher-{seed}"));
        }
        names.extend(config.methods.iter().map(|method| format!("{method}-{seed}")));
    }
    names
}

impl Run {
    /// Makes a run directory; `out` must be empty or not there.
    ///
    /// # Errors
    /// If `out` holds anything, or cannot be written.
    pub fn create(config: Config, out: &Path) -> Result<Self, TrainError> {
        if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
            let message = format!(
                "`{}` is not empty; take another folder, or go on with --resume",
                out.display()
            );
            return Err(TrainError::Folder(message));
        }
        fs::create_dir_all(out).map_err(|source| FormatError::write(out, source))?;
        let lock = lock(out)?;
        atomic::write_bytes(&out.join("config.toml"), config.to_toml())?;
        Ok(Self { config, out: out.into(), _lock: lock })
    }

    /// Takes up a run directory.
    ///
    /// # Errors
    /// If `out` is none, is damaged, or another process works on it.
    pub fn resume(out: &Path) -> Result<Self, TrainError> {
        let path = out.join("config.toml");
        if !path.is_file() {
            let message = format!("`{}` is no run directory: it has no config.toml", out.display());
            return Err(TrainError::Folder(message));
        }
        let lock = lock(out)?;
        atomic::remove_leftovers(out)?;
        let text = fs::read_to_string(&path).map_err(|source| FormatError::read(&path, source))?;
        let config = Config::from_toml(&text, &path.display().to_string())?;
        Ok(Self { config, out: out.into(), _lock: lock })
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
        sink: &mut dyn FnMut(&Entry),
    ) -> Result<(), TrainError> {
        let begun = Instant::now();
        let mut log = EventLog::open(&self.out.join("events.jsonl"))?;
        let result = self.walk(options, stop, &mut log, sink);
        let status = match &result {
            Ok(()) => RunStatus::Done,
            Err(TrainError::Stopped(_)) => RunStatus::Stopped,
            Err(_) => RunStatus::Failed,
        };
        let error = result.as_ref().err().map(ToString::to_string);
        let entry = log.append(Event::RunFinished {
            status,
            error,
            seconds: begun.elapsed().as_secs_f64(),
        });
        match entry {
            Ok(entry) => sink(&entry),
            // What stopped the run is told rather than that the log could not be ended.
            Err(error) if result.is_ok() => return Err(error.into()),
            Err(_) => {}
        }
        result
    }

    fn walk(
        &self,
        options: &Options,
        stop: &AtomicBool,
        log: &mut EventLog,
        sink: &mut dyn FnMut(&Entry),
    ) -> Result<(), TrainError> {
        let config = &self.config;
        // Before the data are opened, which may take long.
        refuse_what_is_missing(config)?;
        let data = data::open(&config.data)?;
        let Prepared { outline, wide, imported } = prepare(config, &data)?;
        let Outline { student, teacher, stages } = outline;
        let device = options.device.as_deref().unwrap_or(&config.device);
        let gpu_options = gpu::Options { memory_budget: config.memory_budget, ..options.gpu };
        let gpu = Gpu::open(device, gpu_options)?;
        if config.precision == Precision::Mixed {
            gpu.check_half()?;
        }
        if let Some(recorder) = &options.profile {
            recorder.begin(&gpu.adapter.name, gpu::peaks(&gpu)?);
        }
        let tunes = match options.tune {
            Tune::Never => false,
            Tune::OnGpus => gpu.adapter.kind == AdapterKind::Gpu,
            Tune::Always => true,
        };
        let tuner = tunes.then(|| Tuner::new(&gpu, options.cache.as_deref(), gpu::BUDGET));
        let mut context = Context { config, options, gpu, tuner, data: &data, log, stop, sink };
        let mut lost = false;
        refuse_what_does_not_fit(config, &student, &teacher, &context.gpu)?;
        context.emit(Event::RunStarted {
            version: env!("CARGO_PKG_VERSION").into(),
            adapter: context.gpu.adapter.name.clone(),
            adapter_kind: context.gpu.adapter.device_type.clone(),
            config_hash: config.hash(),
            stages,
        })?;
        loop {
            match self.members(&mut context, &student, &wide, imported.as_ref()) {
                Err(TrainError::Gpu(GpuError::Lost(cause))) if !lost => {
                    lost = true;
                    let message = format!(
                        "the device was lost ({cause}); it is opened anew and the run goes on"
                    );
                    context.emit(Event::Warning { message })?;
                    context.gpu =
                        Gpu::open(device, gpu::Options { lose_after: None, ..gpu_options })?;
                }
                other => return other,
            }
        }
    }

    fn members(
        &self,
        context: &mut Context<'_>,
        student: &Network,
        wide: &Network,
        imported: Option<&BTreeMap<u64, Teacher>>,
    ) -> Result<(), TrainError> {
        let config = &self.config;
        let done = finished(&self.out.join("events.jsonl"))?;
        let count = context.data.train.len() as u64;
        for &seed in &config.seeds {
            let needs_teacher = config.methods.iter().any(|m| m.needs_teacher());
            let folder = self.out.join("teachers").join(seed.to_string());
            let teacher = match imported {
                Some(teachers) => teachers.get(&seed).cloned(),
                None if needs_teacher => {
                    let name = format!("teacher-{seed}");
                    let who = Who {
                        name,
                        method: None,
                        seed,
                        folder,
                        stages: algorithm::wide(config),
                        network: wide,
                        teacher: None,
                    };
                    Some(self.teacher(context, &who, done.get(&who.name))?)
                }
                None => None,
            };
            for &method in &config.methods {
                let name = format!("{method}-{seed}");
                if done.contains_key(&name) {
                    continue;
                }
                let folder = self.out.join("members").join(&name);
                let stages = algorithm::stages(config, method, count);
                let teacher = teacher.as_ref().filter(|_| method.needs_teacher());
                let who = Who {
                    name,
                    method: Some(method),
                    seed,
                    folder,
                    stages,
                    network: student,
                    teacher,
                };
                self.member(context, &who)?;
            }
        }
        self.keep_best()
    }

    fn teacher(
        &self,
        context: &mut Context<'_>,
        who: &Who<'_>,
        done: Option<&(f64, f64)>,
    ) -> Result<Teacher, TrainError> {
        if done.is_none() {
            self.member(context, who)?;
        }
        let done = finished(&self.out.join("events.jsonl"))?;
        let (epochs, seconds) = done.get(&who.name).copied().unwrap_or_default();
        let ModelFolder { weights, .. } = ModelFolder::read(&who.folder)?;
        Ok(Teacher { network: who.network.clone(), weights, epochs, seconds })
    }

    /// Trains a member or teacher and writes what is kept of it.
    fn member(&self, context: &mut Context<'_>, who: &Who<'_>) -> Result<(), TrainError> {
        let shapes = who.network.shapes()?;
        let (params, macs) = (shapes.param_count(), shapes.total_macs());
        let (member, method, seed) = (who.name.clone(), who.method, who.seed);
        let begun = event::read(&self.out.join("events.jsonl"))?.iter().any(
            |entry| matches!(&entry.event, Event::MemberStarted { member, .. } if *member == who.name),
        );
        context.emit(Event::MemberStarted {
            member: member.clone(),
            method,
            seed,
            params,
            macs,
        })?;
        let result = Member::open(who, context, begun)?.finish()?;
        let Finished { weights, test, train_error, merge, place } = result;

        let config = model_config(context.config, context.data, who.method.is_none());
        let facts = card::CardFacts {
            method: who.method,
            seed,
            data: describe_data(context.config, context.data),
            stages: describe_stages(who, &place.micro_batches, &self.ends_of_stages(&who.name)?),
            accuracy: test.accuracy,
            loss: test.loss,
            epochs: place.epochs,
            params,
            adapter: match context.config.precision {
                Precision::F32 => context.gpu.adapter.name.clone(),
                Precision::Mixed => format!("{}, in mixed precision", context.gpu.adapter.name),
            },
        };
        let card = card::render(&facts, &config, merge.as_ref());
        let folder = match who.method {
            Some(_) => who.folder.join(ARTIFACTS),
            None => who.folder.clone(),
        };
        ModelFolder { weights, config, merge, card }.write(&folder)?;
        context.log.sync()?;
        context.emit(Event::MemberFinished {
            member,
            method,
            seed,
            step: place.member_step,
            accuracy: test.accuracy,
            loss: test.loss,
            train_error,
            epochs: place.epochs,
            seconds: place.seconds,
            params,
            macs,
            teacher_epochs: who.teacher.map_or(0.0, |t| t.epochs),
            teacher_seconds: who.teacher.map_or(0.0, |t| t.seconds),
        })
    }

    /// What each stage of a member came to, in words, by the log.
    fn ends_of_stages(&self, name: &str) -> Result<BTreeMap<String, String>, TrainError> {
        let mut ends = BTreeMap::new();
        for entry in event::read(&self.out.join("events.jsonl"))? {
            match entry.event {
                Event::Step { member, stage, loss, .. } if member == name => {
                    ends.insert(stage, format!("training loss {loss:.4} at the end"));
                }
                Event::BlockNarrowed { member, block, discrepancy, .. } if member == name => {
                    let end = format!("discrepancy {discrepancy:.4} on the fixed inputs");
                    ends.insert(format!("narrow {block}"), end);
                }
                _ => {}
            }
        }
        Ok(ends)
    }

    /// Copies the WIN member (else the first method's) with the lowest final training error to `artifacts/`.
    fn keep_best(&self) -> Result<(), TrainError> {
        let wanted = match self.config.methods.contains(&Method::Win) {
            true => Some(Method::Win),
            false => self.config.methods.first().copied(),
        };
        let mut best: Option<(f64, String)> = None;
        for entry in event::read(&self.out.join("events.jsonl"))? {
            if let Event::MemberFinished { member, method, train_error, .. } = entry.event
                && method == wanted
                && best.as_ref().is_none_or(|(error, _)| train_error < *error)
            {
                best = Some((train_error, member));
            }
        }
        let Some((_, member)) = best else { return Ok(()) };
        let folder = ModelFolder::read(&self.out.join("members").join(member).join("artifacts"))?;
        Ok(folder.write(&self.out.join("artifacts"))?)
    }
}

/// The operating system's lock on a run directory, held as long as the file is open.
fn lock(out: &Path) -> Result<File, TrainError> {
    let path = out.join("run.lock");
    let file = File::create(&path).map_err(|source| FormatError::write(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(TrainError::Folder(format!("another process works on `{}`", out.display())))
        }
        Err(fs::TryLockError::Error(source)) => Err(FormatError::write(&path, source).into()),
    }
}

/// What a run trains, known before anything is.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The thin network that is wanted.
    pub student: Network,
    /// The wide one: the student widened, or an imported network.
    pub teacher: Network,
    /// Every stage, in order.
    pub stages: Vec<StagePlan>,
}

/// [`Outline`] with what training takes besides.
struct Prepared {
    outline: Outline,
    wide: Network,
    imported: Option<BTreeMap<u64, Teacher>>,
}

/// Networks and stages of a run on `data`.
///
/// # Errors
/// A setting that is not supported, a teacher that cannot be imported, a network whose pairs cannot be merged, a batch larger than the data.
pub fn outline(config: &Config, data: &Dataset) -> Result<Outline, TrainError> {
    refuse_what_is_missing(config)?;
    prepare(config, data).map(|prepared| prepared.outline)
}

fn prepare(config: &Config, data: &Dataset) -> Result<Prepared, TrainError> {
    let student = student(config, data);
    let wide = surgery::widen(&student, config.teacher.factor, config.teacher.widen);
    student.shapes()?;
    let imported = match &config.teacher.from {
        Some(from) => Some(import(config, from, &student)?),
        None => None,
    };
    let found = imported.as_ref().and_then(|all| all.values().next());
    let teacher = found.map_or(&wide, |teacher| &teacher.network).clone();
    let bridges = [Method::Win, Method::StartOnly];
    if config.methods.iter().any(|m| bridges.contains(m)) {
        // Refuse what cannot be merged before anything is trained.
        surgery::bridge(&student, &teacher, false)?;
    }
    let stages = stage_plans(config, &student, &teacher, data.train.len() as u64)?;
    Ok(Prepared { outline: Outline { student, teacher, stages }, wide, imported })
}

/// Settings that are understood but not built yet are refused, never ignored.
fn refuse_what_is_missing(config: &Config) -> Result<(), TrainError> {
    if config.device == "all" {
        let message = "device = \"all\" is not supported yet; name one adapter of `taper devices`";
        return Err(NetworkError::Unsupported(message.into()).into());
    }
    Ok(())
}

/// Every stage is planned before the first one is trained.
fn refuse_what_does_not_fit(
    config: &Config,
    student: &Network,
    teacher: &Network,
    gpu: &Gpu,
) -> Result<(), TrainError> {
    for needs in needs::needs(config, student, teacher, &gpu.target())? {
        if let Some(problem) = needs.problem {
            let stage =
                format!("{} of {}", needs.stage, needs.method.map_or("the teacher", Method::name));
            return Err(TrainError::TooLarge { stage, problem });
        }
    }
    Ok(())
}

/// Epochs and seconds of the members that are done.
fn finished(log: &Path) -> Result<BTreeMap<String, (f64, f64)>, TrainError> {
    let mut done = BTreeMap::new();
    for entry in event::read(log)? {
        if let Event::MemberFinished { member, epochs, seconds, .. } = entry.event {
            done.insert(member, (epochs, seconds));
        }
    }
    Ok(done)
}

fn student(config: &Config, data: &Dataset) -> Network {
    models::network(&config.model, data.shape.extent(), data.classes.len() as u32)
}

/// The imported teacher of each seed, checked before anything runs.
fn import(
    config: &Config,
    from: &str,
    student: &Network,
) -> Result<BTreeMap<u64, Teacher>, TrainError> {
    let teacher = |&seed: &u64| {
        let (network, weights) = model::teacher(Path::new(from), student, &config.model, seed)?;
        Ok((seed, Teacher { network, weights, epochs: 0.0, seconds: 0.0 }))
    };
    config.seeds.iter().map(teacher).collect()
}

/// Everything that a run will train, in order.
fn stage_plans(
    config: &Config,
    student: &Network,
    teacher: &Network,
    train_count: u64,
) -> Result<Vec<StagePlan>, TrainError> {
    let (s, b) = (student.shapes()?.total_macs(), teacher.shapes()?.total_macs());
    let mut plans = Vec::new();
    for name in member_names(config) {
        let method = config.methods.iter().copied().find(|m| name.starts_with(&format!("{m}-")));
        let stages = match method {
            Some(method) => algorithm::stages(config, method, train_count),
            None => algorithm::wide(config),
        };
        for stage in stages {
            let batch = stage.recipe.as_ref().map_or(0, |r| u64::from(r.batch));
            if batch > train_count {
                let problem = format!(
                    "{batch} of stage {} is more than the {train_count} training images",
                    stage.name
                );
                return Err(DataError::Setting { key: "batch", problem }.into());
            }
            let macs = match (method, stage.task) {
                (None, _) => 3 * b,
                (_, Task::Labels | Task::Tune { target: crate::config::Target::Labels }) => 3 * s,
                _ => 3 * s + b,
            };
            let steps = stage.steps(train_count);
            plans.push(StagePlan {
                member: name.clone(),
                stage: stage.name,
                steps,
                step_macs: macs * batch,
            });
        }
    }
    Ok(plans)
}

fn model_config(config: &Config, data: &Dataset, teacher: bool) -> ModelConfig {
    let widened = crate::formats::folder::Widened {
        factor: config.teacher.factor,
        widen: config.teacher.widen,
    };
    let preprocess = &data.preprocess;
    ModelConfig {
        architecture: config.model.arch().into(),
        model: config.model.clone(),
        widened: teacher.then_some(widened),
        channels: preprocess.channels() as u32,
        size: preprocess.size() as u32,
        mean: preprocess.mean().to_vec(),
        std: preprocess.std().to_vec(),
        interpolation: preprocess.interpolation(),
        crop: preprocess.crop(),
        labels: data.classes.clone(),
    }
}

/// The data in a line of the model card.
fn describe_data(config: &Config, data: &Dataset) -> String {
    let kind = serde_json::to_value(config.data.kind).ok();
    let kind = kind.as_ref().and_then(|k| k.as_str()).unwrap_or("images").to_owned();
    format!("{kind}, {} training and {} test images", data.train.len(), data.test.len())
}

/// The stages in lines of the model card; `micro_batches` are those of a step, by the stage's index, `ends` what it came to, by its name.
fn describe_stages(
    who: &Who<'_>,
    micro_batches: &BTreeMap<usize, u32>,
    ends: &BTreeMap<String, String>,
) -> Vec<String> {
    let line = |(k, stage): (usize, &Stage)| {
        let batch_norm = who.network.has_batch_norm(0);
        let parts = match micro_batches.get(&k) {
            None | Some(1) => String::new(),
            Some(parts) if batch_norm => format!(
                " (in {parts} micro-batches; batch norm's statistics are those of a micro-batch)"
            ),
            Some(parts) => format!(" (in {parts} micro-batches)"),
        };
        let end = ends.get(&stage.name).map_or(String::new(), |end| format!("; {end}"));
        describe(stage) + &parts + &end
    };
    who.stages.iter().enumerate().map(line).collect()
}

/// A stage in a line of the model card.
fn describe(stage: &Stage) -> String {
    match &stage.recipe {
        None => stage.name.clone(),
        Some(recipe) => {
            let length = match recipe.length {
                crate::config::Length::Epochs(epochs) => format!("{epochs} epochs"),
                crate::config::Length::Steps(steps) => format!("{steps} steps"),
            };
            let tries =
                if stage.tries > 1 { format!(", {} tries", stage.tries) } else { String::new() };
            format!(
                "{}: {length}, batch {}, learning rate {}{tries}",
                stage.name, recipe.batch, recipe.lr
            )
        }
    }
}
