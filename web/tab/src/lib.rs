//! A run in a browser's tab: the engine as it is, synchronous and without threads, in a dedicated worker. The browser's WebGPU is its device, the
//! origin's private files are its disk. Calls that wait suspend the whole stack by JSPI, and the worker's events run meanwhile.

#![cfg(target_family = "wasm")]

mod clock;
mod device;
mod disk;
mod imports;

use std::{
    panic,
    path::{Path, PathBuf},
    sync::Arc,
};

use clock::PageClock;
use engine::{
    config::{Config, ConfigError, Data, Draft, TextKind, presets::PRESETS},
    data::{
        self,
        images::{Image, Sample},
    },
    device::Devices,
    disk::Disk,
    event::Entry,
    formats::{ModelFolder, verdicts},
    step::PlanDocument,
    train::{self, Host, Options, Run, TrainError, model::Trained, self_test},
    verdicts::{Review, Verdicts, Versus},
    win::needs,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// What the worker wants done.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Job {
    /// Says what adapter there is, and the presets.
    Open,
    /// Tries whether the adapter computes what it should.
    Test,
    /// Settles and outlines a configuration.
    Look { toml: String },
    /// Trains a new run.
    Start { run: String, toml: String },
    /// Goes on with a run.
    Resume { run: String },
    /// Makes `plan.json` of a model's folder, which is a path of the disk.
    Plan { model: PathBuf },
    /// Says what can be seen of the answers of a member or teacher, whose folder is a path of the disk, to the test pictures.
    Review { of: PathBuf },
    /// Says which test pictures one of two has right and the other wrong.
    Versus { first: PathBuf, second: PathBuf },
    /// Shows test pictures of a run by their places.
    Pictures { run: String, places: Vec<usize> },
}

/// What the page is told; `web/src/train/protocol.ts` says it in TypeScript.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Told<'a> {
    Ready {
        adapter: String,
        presets: Vec<Json>,
    },
    Unable {
        message: String,
    },
    Looked {
        toml: String,
        outline: Json,
    },
    Planned {
        model: &'a Path,
        plan: &'a PlanDocument,
    },
    /// `None` where it has no answers to pictures.
    Reviewed {
        review: Option<Review>,
    },
    Versus {
        versus: Versus,
    },
    Pictures {
        pictures: Vec<Picture>,
    },
    Refused {
        message: String,
    },
    Entry {
        entry: &'a Entry,
    },
    Ended {
        status: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// For the worker alone: what it says when the module is gone.
    Panic {
        message: String,
    },
}

/// A test picture as the page draws it.
#[derive(Debug, Serialize)]
struct Picture {
    /// Its place in the test part.
    index: usize,
    /// The number of its class.
    label: u32,
    /// The name of its class.
    name: String,
    height: usize,
    width: usize,
    channels: usize,
    /// height · width · channels bytes, channels fastest.
    pixels: Vec<u8>,
}

/// The most pixels in height and width of a picture that is shown: those of the page.
const SIDE: u32 = 96;

fn tell(told: &Told<'_>) {
    // Nothing of it can fail to be JSON.
    imports::tell(&serde_json::to_string(told).unwrap_or_default());
}

/// The tab as a machine.
fn host(clock: &PageClock) -> Host {
    Host {
        devices: Arc::new(device::TabDevices),
        clock: Arc::new(clock.clone()),
        disk: Arc::new(disk::OriginDisk),
        threads: false,
    }
}

fn perform() {
    panic::set_hook(Box::new(|of| tell(&Told::Panic { message: of.to_string() })));
    let text = imports::take_text(imports::job());
    let job: Job = match serde_json::from_str(&text) {
        Ok(job) => job,
        Err(error) => return tell(&Told::Refused { message: error.to_string() }),
    };
    let done = match job {
        Job::Open => open(),
        Job::Test => return test(),
        Job::Look { toml } => look(&toml),
        Job::Plan { model } => plan(&model),
        Job::Review { of } => review(&of),
        Job::Versus { first, second } => versus(&first, &second),
        Job::Pictures { run, places } => pictures(&run, &places),
        Job::Start { run, toml } => {
            train_run(&run, |out, host| Run::create(read(&toml)?, out, host))
        }
        Job::Resume { run } => train_run(&run, Run::resume),
    };
    if let Err(error) = done {
        tell(&Told::Refused { message: sentence(&error) });
    }
}

/// An error, with what can be done about it.
fn sentence(error: &TrainError) -> String {
    match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    }
}

fn open() -> Result<(), TrainError> {
    let gpus = device::TabDevices.open("", None)?;
    let adapter = gpus[0].adapter();
    let presets = PRESETS.iter().map(|of| json!({ "name": of.name, "toml": of.text }));
    tell(&Told::Ready { adapter: adapter.name.clone(), presets: presets.collect() });
    Ok(())
}

/// Tells nothing where all is well.
fn test() {
    let tried = device::TabDevices
        .open("", None)
        .map_err(TrainError::from)
        .and_then(|gpus| self_test::test(&gpus[0]));
    let message = match tried {
        Ok(tried) if tried.ok() => return,
        Ok(tried) => format!(
            "the graphics adapter computes wrong gradients here: losses of “{}” are off by {:.1e} of their value, where {:.0e} is allowed; another browser or a newer driver may do better",
            tried.work,
            tried.error,
            self_test::TOLERANCE
        ),
        Err(error) => format!("the graphics adapter cannot train: {error}"),
    };
    tell(&Told::Unable { message });
}

fn read(toml: &str) -> Result<Config, TrainError> {
    let origin = "the configuration";
    let config = Draft::from_toml(toml, origin)?.finish()?;
    match &config.data {
        // Its files are read by the system's calls, of which a browser has none.
        Data::Text(text) if matches!(text.kind, TextKind::Text | TextKind::Squad) => {
            Err(ConfigError::Value {
                key: "data.kind".into(),
                value: format!("{:?}", text.kind).to_lowercase(),
                allowed: "must be a built-in text in a tab: files of text are read by `taper run`"
                    .into(),
                origin: origin.into(),
            }
            .into())
        }
        _ => Ok(config),
    }
}

/// What a configuration comes to on this adapter.
fn look(toml: &str) -> Result<(), TrainError> {
    let (config, _) = train::settled(&read(toml)?)?;
    let files: Arc<dyn Disk> = Arc::new(disk::OriginDisk);
    let data = data::open_on(&files, &config, None, None)?;
    let outline = train::outline(&config, &data)?;
    let gpus = device::TabDevices.open("", config.memory_budget)?;
    let (student, teacher) = (&outline.student, &outline.teacher);
    let needs = needs::needs(&config, student, teacher, outline.task, &gpus[0].target())?;
    let needs: Vec<Json> = needs
        .iter()
        .map(|of| {
            json!({
                "method": of.method.map_or("teacher", |method| method.name()),
                "stage": of.stage,
                "batch": of.batch,
                "micro_batch": of.rows,
                "micro_batches": of.micro_batches,
                "memory": of.memory,
                "problem": of.problem.as_ref().map(ToString::to_string),
            })
        })
        .collect();
    let outline = json!({
        "student": student.size()?,
        "teacher": teacher.size()?,
        "stages": outline.stages,
        "needs": needs,
        "warnings": outline.warnings,
    });
    tell(&Told::Looked { toml: config.to_toml(), outline });
    Ok(())
}

/// What the page runs to try a model.
fn plan(model: &Path) -> Result<(), TrainError> {
    let folder = ModelFolder::read_on(&disk::OriginDisk, model)?;
    let task = folder.config.task();
    let plan = PlanDocument::inference(&Trained::of(folder)?.network, task)?;
    tell(&Told::Planned { model, plan: &plan });
    Ok(())
}

fn verdicts_of(folder: &Path) -> Result<Option<Verdicts>, TrainError> {
    Ok(verdicts::read_on(&disk::OriginDisk, folder)?)
}

/// What the page shows of a member's answers.
fn review(of: &Path) -> Result<(), TrainError> {
    let review = verdicts_of(of)?.map(|verdicts| verdicts.review());
    tell(&Told::Reviewed { review });
    Ok(())
}

fn versus(first: &Path, second: &Path) -> Result<(), TrainError> {
    let [one, other] = [verdicts_of(first)?, verdicts_of(second)?];
    let versus = one.zip(other).and_then(|(one, other)| one.versus(&other));
    match versus {
        Some(versus) => tell(&Told::Versus { versus }),
        None => {
            tell(&Told::Refused { message: "the two were not tested on the same pictures".into() })
        }
    }
    Ok(())
}

/// The test pictures of a run, as they lie in its data.
fn pictures(run: &str, places: &[usize]) -> Result<(), TrainError> {
    let path = folder(run)?.join("config.toml");
    let files: Arc<dyn Disk> = Arc::new(disk::OriginDisk);
    let bytes = files.read(&path)?;
    let config = Config::from_toml(&String::from_utf8_lossy(&bytes), &path.to_string_lossy())?;
    let Data::Images(data) = &config.data else {
        tell(&Told::Refused { message: "the run is on text, so there are no pictures".into() });
        return Ok(());
    };
    let (samples, classes) = data::images::tested_on(&files, data, places)?;
    let shown = |sample: Sample| {
        let Image { height, width, channels, pixels } = sample.image.within(SIDE);
        let name = classes.get(sample.label as usize).cloned().unwrap_or_default();
        Picture { index: sample.index, label: sample.label, name, height, width, channels, pixels }
    };
    tell(&Told::Pictures { pictures: samples.into_iter().map(shown).collect() });
    Ok(())
}

/// The directory of a run.
fn folder(run: &str) -> Result<PathBuf, TrainError> {
    if run.is_empty() || run.starts_with('.') || run.contains(['/', '\\']) {
        let message = format!(
            "`{run}` is no name of a run; take one without slashes that does not begin with a dot"
        );
        return Err(TrainError::Folder(message));
    }
    Ok(Path::new("/runs").join(run))
}

/// Takes up a run by `take`, trains what is left of it, and tells how it ended.
fn train_run(
    run: &str,
    take: impl FnOnce(&Path, &Host) -> Result<Run, TrainError>,
) -> Result<(), TrainError> {
    let (out, clock) = (folder(run)?, PageClock::default());
    let run = take(&out, &host(&clock))?;
    let options = Options { checkpoint_soon: Arc::clone(&clock.soon), ..Options::new(out) };
    let ended = run.execute(&options, &clock.stop, &mut |entry| tell(&Told::Entry { entry }));
    let (status, message) = match ended {
        Ok(()) => ("done", None),
        Err(TrainError::Stopped(_)) => ("stopped", None),
        Err(TrainError::Format(error)) if error.is_full() => {
            ("stopped", Some(sentence(&error.into())))
        }
        Err(error) => ("failed", Some(sentence(&error))),
    };
    // Who is told that it has ended may take it up at once.
    drop(run);
    tell(&Told::Ended { status, message });
    Ok(())
}
