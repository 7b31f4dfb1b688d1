//! `taper run`: trains a configuration, or goes on with one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use engine::config::{Config, presets};
use engine::event::{Entry, Event};
use engine::ops::AdapterKind;
use engine::profile::Recorder;
use engine::text;
use engine::train::{ARTIFACTS, Autotune, Host, Options, Run, TrainError};

use crate::folders;
use crate::hub;
use crate::jobs;
use crate::signals::{self, Signal};

use super::driver;
use super::out::json_line;
use super::progress::Progress;
use super::ranks::Ranks;
use super::source::{Source, Wanted};
use super::task::{Task, tasks};
use super::{compare, profile, teachers};
use crate::failure::failure;
use crate::run::compare::expand;
use crate::run::examine::examine;
use crate::voice::{say, tell};

/// Exit status of a run that Ctrl-C stopped: 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;
/// Exit status of a run that was told to stop at a checkpoint, and is to be started again: EX_TEMPFAIL, which schedulers can be told to requeue.
const STOPPED: u8 = 75;
/// Seconds for which a processor trains a preset that is meant for a GPU without being told twice.
const LONGEST: f64 = 12.0 * 3600.0;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Directory for everything the run writes; it must be new or empty.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on with the run in --out, with its own configuration; --device may name another adapter.
    #[arg(long, conflicts_with_all = ["config", "set", "grid"])]
    resume: bool,
    /// Train one task of N, a seed of a point of the grid, in OUT/task-K; K counts from 0. `auto` reads it from the variables of Slurm, Kubernetes,
    /// HyperQueue or PBS. Given again it goes on with the task.
    #[arg(long, value_name = "K/N|auto", conflicts_with = "resume")]
    task: Option<Task>,
    /// Time some steps of each stage kernel by kernel, and write them as DIR/profile.json for chrome://tracing or Perfetto.
    #[arg(long)]
    profile: bool,
    /// Time the tiles that products could take, at most 5 s in all, and keep what is faster than the built-in table's. The default on GPUs.
    #[arg(long, alias = "tune")]
    autotune: bool,
    /// Take the built-in table's tiles. The default on software adapters.
    #[arg(long, alias = "no-tune", conflicts_with = "autotune")]
    no_autotune: bool,
    /// Train a preset that is meant for a GPU on a processor as well, however long it takes.
    #[arg(long)]
    yes: bool,
    /// Obey `control.json` in --out, by which the server pauses, stops and cancels its runs.
    #[arg(long, requires = "resume")]
    controlled: bool,
    /// Print the events as JSON lines on standard output.
    #[arg(long)]
    json: bool,
}

/// This machine, with the devices that wgpu opens; among several ranks on it, those of this one.
fn host(ranks: Option<&Ranks>) -> Host {
    let turn = ranks.map(|ranks| ranks.turn);
    Host::native(taper_gpu::Options { turn, ..taper_gpu::Options::default() })
}

/// The trace in a run directory.
const PROFILE: &str = "profile.json";

impl Arguments {
    /// The adapter that goes on with a run, if it is not to be that of its configuration.
    fn resumed_on(&self) -> Option<String> {
        self.source.device.clone().filter(|_| self.resume)
    }

    fn autotunes(&self) -> Autotune {
        match (self.autotune, self.no_autotune) {
            (true, _) => Autotune::Always,
            (_, true) => Autotune::Never,
            _ => Autotune::OnGpus,
        }
    }

    /// How a run in `folder` is executed, by this process or as one of several ranks, which share the cores of their machine.
    fn options(&self, folder: &Path, ranks: Option<&Ranks>) -> Options {
        let on_host = ranks.map_or(1, |ranks| ranks.turn.1);
        Options {
            device: self.resumed_on(),
            autotune: self.autotunes(),
            cache: folders::cache(),
            side_by_side: (driver::side_by_side() / on_host).max(1),
            link: ranks.map(|ranks| Arc::clone(ranks.link())),
            ..Options::new(folder)
        }
    }

    /// The first configuration that will be trained; none where it cannot be read, which `run` then says.
    pub(super) fn first(&self) -> Option<Config> {
        if self.resume {
            let folder = expand(&self.out).ok()?.into_iter().next()?;
            let path = folder.join("config.toml");
            let text = std::fs::read_to_string(&path).ok()?;
            return Config::from_toml(&text, &path.display().to_string()).ok();
        }
        self.source.first()
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    // The server starts each of its runs as one process, whatever has started the server.
    let ranks = if arguments.controlled { None } else { Ranks::join()? };
    match ranks {
        None => Ok(ExitCode::from(lead(arguments, None)?)),
        Some(ranks) if ranks.leads() => {
            let done = lead(arguments, Some(&ranks));
            Ok(ranks.dismiss(done))
        }
        Some(ranks) => {
            let stop = on_stop()?;
            let (host, options) =
                (host(Some(&ranks)), arguments.options(Path::new(""), Some(&ranks)));
            Ok(ranks.follow(&host, &options, &stop))
        }
    }
}

/// Does what the command says, together with other ranks if there are some; the exit status.
fn lead(arguments: &Arguments, ranks: Option<&Ranks>) -> Result<u8> {
    let out = &arguments.out;
    if arguments.profile && ranks.is_some() {
        return Err(failure(
            "--profile times the kernels of one device, and several ranks train this run",
            "give it to a run of one process",
        ));
    }
    if !arguments.yes && !arguments.resume {
        affordable(&arguments.source)?;
    }
    let host = host(ranks);
    let (runs, fresh) = match arguments.task {
        Some(task) => match taken_up(task, &arguments.source, out, &host)? {
            Some((run, fresh)) => (vec![run], fresh),
            None => return Ok(0),
        },
        None if arguments.resume => (resumed(out, &host)?, false),
        None => (created(&arguments.source, out, &host)?, true),
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    let stop = on_interrupt(&interrupted)?;
    if arguments.controlled {
        jobs::obey(out, Arc::clone(&stop)).context("no thread can be started")?;
    }
    for (place, (folder, run)) in runs.iter().enumerate() {
        teachers::adopt(&runs[..place], folder, run.config(), arguments.autotunes())?;
        let recorder = arguments.profile.then(Recorder::default);
        let profile = recorder.clone();
        let options = Options { profile, ..arguments.options(folder, ranks) };
        let (begun, done) = train(run, &options, arguments.json, &stop);
        // The profile is written however the run ended. An error of the run takes precedence over an error of writing the profile.
        let shown = recorder.map_or(Ok(()), |of| show_profile(&of, folder, arguments.json));
        match done {
            Err(TrainError::Stopped(_)) => {
                shown?;
                say(&match arguments.controlled {
                    // Who reads this asks the server, and types no path of it.
                    true => "stopped at a checkpoint; the server goes on from it".into(),
                    false if arguments.task.is_some() => {
                        "stopped at a checkpoint; the same command goes on".into()
                    }
                    false => {
                        format!("stopped; `taper run --resume --out {}` goes on", out.display())
                    }
                });
                let by_hand = interrupted.load(Ordering::SeqCst);
                return Ok(if by_hand { INTERRUPTED } else { STOPPED });
            }
            Err(error) => {
                if !begun && place == 0 && fresh {
                    withdraw(runs, out);
                }
                return Err(error.into());
            }
            Ok(()) => shown?,
        }
    }
    if !arguments.json {
        let folders: Vec<PathBuf> = runs.into_iter().map(|(folder, _)| folder).collect();
        tell(&compare::text(&folders)?);
        for folder in folders {
            tell(&format!("trained student: {}\n", folder.join(ARTIFACTS).display()));
        }
    }
    Ok(0)
}

/// Refuses a preset that is meant for a GPU where a processor would train it for longer than [`LONGEST`], which some of its steps tell.
fn affordable(source: &Source) -> Result<()> {
    let preset = source.config.as_deref().and_then(presets::find);
    let Some(preset) = preset.filter(|preset| preset.wants_gpu()) else { return Ok(()) };
    let mut seconds = 0.0;
    let mut adapter = String::new();
    for Wanted { mut config, .. } in source.configurations()? {
        hub::resolve(&mut config)?;
        let options =
            taper_gpu::Options { memory_budget: config.memory_budget, ..Default::default() };
        // What cannot be opened or trained is told by the run itself.
        let Ok(gpus) = taper_gpu::open_all(&config.device, options) else { return Ok(()) };
        let Some(gpu) = gpus.first().filter(|gpu| gpu.target().kind == AdapterKind::Cpu) else {
            return Ok(());
        };
        adapter.clone_from(&gpu.adapter().name);
        let estimate = examine(&config, Some(gpu), &gpu.target(), true).estimate;
        seconds += estimate.map_or(0.0, |estimate| estimate.seconds);
    }
    if seconds <= LONGEST {
        return Ok(());
    }
    let (name, hours) = (preset.name, seconds / 3600.0);
    let long = if hours < 48.0 {
        format!("{hours:.0} hours")
    } else {
        format!("{:.0} days", hours / 24.0)
    };
    Err(failure(
        format!("`{name}` is meant for a GPU: {adapter} would train it for about {long}"),
        "--yes trains it all the same; --device names another adapter",
    ))
}

/// The directory of each configuration: `out` itself, or one a point of the grid in a folder with its label.
fn folders(source: &Source, out: &Path) -> Result<Vec<(PathBuf, Config)>> {
    let configs = source.configurations()?;
    for choice in configs.iter().flat_map(|wanted| &wanted.choices) {
        say(&choice.line());
    }
    if source.grid.is_empty() {
        return Ok(configs.into_iter().map(|wanted| (out.into(), wanted.config)).collect());
    }
    let mut taken = BTreeSet::new();
    let mut folder = |Wanted { label, config, .. }| {
        let mut name = file_name(&label);
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        (out.join(name), config)
    };
    Ok(configs.into_iter().map(&mut folder).collect())
}

/// A label as a file name on every system.
fn file_name(label: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._=,+-".contains(c);
    label.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

/// New runs, all of them before the first is trained, so that a resume knows every point of a grid.
fn created(source: &Source, out: &Path, host: &Host) -> Result<Vec<(PathBuf, Run)>> {
    let folders = folders(source, out)?;
    if std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(failure(
            format!("the directory `{}` is not empty", out.display()),
            "give a new one, or go on with the run in it by --resume",
        ));
    }
    let create = |(folder, mut config): (PathBuf, Config)| {
        hub::resolve(&mut config)?;
        let run = Run::create(config, &folder, host)?;
        Ok((folder, run))
    };
    folders.into_iter().map(create).collect()
}

/// The run of a task, as far as it is, and whether it is new; none where it is done.
fn taken_up(
    task: Task,
    source: &Source,
    out: &Path,
    host: &Host,
) -> Result<Option<((PathBuf, Run), bool)>> {
    let all = tasks(source)?;
    let count = all.len();
    let (number, mut config) = task.of(all)?;
    hub::resolve(&mut config)?;
    let folder = out.join(format!("task-{number}"));
    let fresh = !folder.join("config.toml").exists();
    let run = Run::create_or_resume(config, &folder, host)?;
    let done = run.is_done()?;
    let seed = run.config().seeds.first().copied().unwrap_or_default();
    say(&format!(
        "task {number} of {count}, seed {seed}, in `{}`{}",
        folder.display(),
        if done { ": done" } else { "" }
    ));
    Ok((!done).then_some(((folder, run), fresh)))
}

/// The runs of an earlier command.
fn resumed(out: &Path, host: &Host) -> Result<Vec<(PathBuf, Run)>> {
    let resume = |folder: PathBuf| {
        let run = Run::resume(&folder, host)?;
        Ok((folder, run))
    };
    expand(out)?.into_iter().map(resume).collect()
}

/// A flag that every signal sets, in a rank that another one leads: who has started them tells all.
fn on_stop() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    signals::at_each(move |_| flag.store(true, Ordering::SeqCst))
        .context("the system's signals cannot be heard")?;
    Ok(stop)
}

/// A flag that every signal sets. Ctrl-C sets `interrupted` too, and the second one ends the process at once; what a scheduler or a launcher sends
/// comes several times, and ends it at its checkpoint.
fn on_interrupt(interrupted: &Arc<AtomicBool>) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, interrupted) = (Arc::clone(&stop), Arc::clone(interrupted));
    signals::at_each(move |signal| match signal {
        Signal::Interrupt => {
            if interrupted.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(INTERRUPTED));
            }
            flag.store(true, Ordering::SeqCst);
            say("stopping at a checkpoint; Ctrl-C again stops at once");
        }
        Signal::Stop if flag.swap(true, Ordering::SeqCst) => {}
        Signal::Stop => say("stopping at a checkpoint"),
    })
    .context("the system's signals cannot be heard")?;
    Ok(stop)
}

/// Trains a run; whether it came so far as to begin, and how it ended.
fn train(
    run: &Run,
    options: &Options,
    json: bool,
    stop: &AtomicBool,
) -> (bool, Result<(), TrainError>) {
    let mut progress = Progress::new(&options.out.join("events.jsonl"));
    let mut begun = false;
    let mut take = |entry: &Entry| {
        begun |= matches!(entry.event, Event::RunStarted { .. });
        progress.take(entry);
        if json && let Ok(line) = entry.to_line() {
            tell(&text::printable_json(&line));
        }
    };
    let done = run.execute(options, stop, &mut take);
    progress.finish();
    (begun, done)
}

/// Writes the trace of a run and prints where the time went; the profile of an earlier command stays if this one has none.
fn show_profile(recorder: &Recorder, folder: &Path, json: bool) -> Result<()> {
    let Some(recorded) = recorder.profile() else { return Ok(()) };
    if recorded.windows.is_empty() {
        say("nothing was profiled: no stage took more steps than those that warm it up");
        return Ok(());
    }
    let path = folder.join(PROFILE);
    profile::write(&recorded, &path)?;
    let summary = profile::Summary::of(&recorded, &path);
    tell(&match json {
        true => json_line(&Line { kind: "profile", summary })?,
        false => summary.text(),
    });
    Ok(())
}

/// The last line of `--json --profile`, told from the events by its type.
#[derive(serde::Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    summary: profile::Summary<'a>,
}

/// Takes back the directories of a command that was refused before anything was trained, so that it can be given again.
fn withdraw(runs: Vec<(PathBuf, Run)>, out: &Path) {
    for (folder, run) in runs {
        // Windows does not remove a file that is held.
        drop(run);
        for name in ["config.toml", "events.jsonl", "run.lock"] {
            drop(std::fs::remove_file(folder.join(name)));
        }
        // Folders are removed only if nothing else is in them; what stays is seen by the next command.
        drop(std::fs::remove_dir(folder));
    }
    drop(std::fs::remove_dir(out));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("taper-run-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        folder
    }

    #[test]
    fn a_grid_is_a_folder_a_point() {
        let mut source = Source::of("demo");
        source.set = vec!["seeds=[4]".into()];
        source.grid = vec!["teacher.factor=2,4".into(), "win.merge=\"maf\",\"map\"".into()];
        source.device = Some("llvmpipe".into());
        let jobs = folders(&source, Path::new("out")).expect("valid");
        let folders: Vec<String> =
            jobs.iter().map(|(folder, _)| folder.display().to_string()).collect();
        assert_eq!(
            folders,
            [
                "out/teacher.factor=2,win.merge=maf",
                "out/teacher.factor=2,win.merge=map",
                "out/teacher.factor=4,win.merge=maf",
                "out/teacher.factor=4,win.merge=map"
            ]
        );
        assert!(jobs.iter().all(|(_, config)| config.seeds == [4] && config.device == "llvmpipe"));
        assert_eq!(file_name("data.path=/a b"), "data.path=_a_b");
    }

    #[test]
    fn nothing_is_written_before_all_of_a_grid_is_valid() {
        let mut source = Source::of("demo");
        source.grid = vec!["win.merge=maf,mop".into()];
        let error = folders(&source, Path::new("out")).expect_err("refused").to_string();
        assert!(error.starts_with("--grid win.merge=maf,mop: `win.merge` is \"mop\""), "{error}");
    }

    #[test]
    fn a_full_directory_is_refused_and_a_grid_resumed() {
        let out = temporary("claim");
        let mut source = Source::of("demo");
        source.grid = vec!["teacher.factor=2,4".into()];
        let factors = |runs: Vec<(PathBuf, Run)>| -> Vec<u32> {
            runs.iter().map(|(_, run)| run.config().teacher.factor).collect()
        };
        assert_eq!(factors(created(&source, &out, &host(None)).expect("new")), [2, 4]);
        assert_eq!(factors(resumed(&out, &host(None)).expect("there")), [2, 4]);
        let error = created(&source, &out, &host(None)).expect_err("not empty").to_string();
        assert!(error.ends_with("is not empty"), "{error}");
        let runs = resumed(&out, &host(None)).expect("there");
        withdraw(runs, &out);
        assert!(!out.exists());
        assert!(resumed(&out, &host(None)).is_err());
    }
}
