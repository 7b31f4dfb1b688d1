//! `taper bench`: times of kernels and whole training steps on synthetic data that stays on the device.
//!
//! Each work is timed in a process of its own, which begins with an empty cache of shaders and with the threads of lavapipe that
//! `taper run` would choose for such a step (see `driver`). So a first step is as slow as a user's first, and no work helps the next.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use benches::{Work, growth, large, mixed, time, works};
use engine::profile::Profile;
use engine::train::{Autotuned, Timing};

use super::out::{print, print_json};
use super::{driver, profile};
use crate::failure::failure;
use crate::figures::bytes;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to time; all, if nothing is named.
    #[arg(value_name = "WORK")]
    works: Vec<String>,
    /// Time an MLP and a ResNet at several depths, widths and batches instead.
    #[arg(long)]
    growth: bool,
    /// Time the training steps in mixed precision instead.
    #[arg(long, conflicts_with = "growth")]
    mixed: bool,
    /// Time a product of 4096 × 4096 matrices and ResNet-50 on 64 pictures of 224 × 224 instead; for GPUs.
    #[arg(long, conflicts_with_all = ["growth", "mixed"])]
    large: bool,
    /// Print the names of the works.
    #[arg(long)]
    list: bool,
    /// Adapter: a part of its name or its index in `taper devices`.
    #[arg(long, value_name = "NAME|INDEX", default_value = "auto")]
    device: String,
    /// Time the steps kernel by kernel instead, in this process, and write them for chrome://tracing or Perfetto.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "profile.json")]
    profile: Option<PathBuf>,
    /// Time the tiles that products could take first, at most 5 s a work, and step with the fastest.
    #[arg(long, alias = "tune", conflicts_with = "profile")]
    autotune: bool,
    /// Print JSON, a line for each work.
    #[arg(long)]
    json: bool,
    /// Time in this process, in the environment that it was given.
    #[arg(long, hide = true)]
    here: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let works = chosen(arguments)?;
    if arguments.list {
        let names: String = works.iter().map(|work| format!("{}\n", work.name)).collect();
        print(&names)?;
    } else if let Some(path) = &arguments.profile {
        profiled(&works, path, arguments)?;
    } else if arguments.here {
        let gpu = taper_gpu::open(&arguments.device, taper_gpu::Options::default())?;
        for work in &works {
            print_json(&time(work, &gpu, arguments.autotune)?)?;
        }
    } else {
        for (place, work) in works.iter().enumerate() {
            // It has said what went wrong.
            let Some(timing) = apart(work, arguments)? else { return Ok(ExitCode::FAILURE) };
            if arguments.json {
                print_json(&timing)?;
                continue;
            }
            if place == 0 {
                print(&format!("{}\n{}", timing.adapter, line(&HEAD)))?;
            }
            print(&row(&timing))?;
            if let Some(tuned) = &timing.tuned {
                print(&tuned_lines(tuned))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Times the dispatches of works.
fn profiled(works: &[Work], path: &Path, arguments: &Arguments) -> Result<()> {
    let gpu = taper_gpu::open(&arguments.device, taper_gpu::Options::default())?;
    let mut taken = Profile::new(&gpu.adapter().name, Arc::clone(&gpu).peaks()?);
    for work in works {
        taken.windows.push(benches::profile(work, &gpu)?);
    }
    profile::write(&taken, path)?;
    let summary = profile::Summary::of(&taken, path);
    if arguments.json { print_json(&summary) } else { print(&summary.text()) }
}

/// The works that are named, in the order of their list; all of it, if none is.
fn chosen(arguments: &Arguments) -> Result<Vec<Work>> {
    let mut works = match arguments {
        Arguments { growth: true, .. } => growth::works(),
        Arguments { mixed: true, .. } => mixed(),
        Arguments { large: true, .. } => large(),
        _ => works(),
    };
    let named = &arguments.works;
    if let Some(unknown) = named.iter().find(|name| works.iter().all(|w| w.name != **name)) {
        let names: Vec<&str> = works.iter().map(|work| work.name.as_str()).collect();
        return Err(failure(
            format!("unknown work `{unknown}`"),
            format!("there are {}", names.join(", ")),
        ));
    }
    works.retain(|work| named.is_empty() || named.contains(&work.name));
    Ok(works)
}

/// Times a work in a process of its own; none if that has failed.
fn apart(work: &Work, arguments: &Arguments) -> Result<Option<benches::Timing>> {
    let program = env::current_exe().context("cannot tell where this program lies")?;
    let plan = work.plan(&driver::presumed())?;
    let cache = tempfile::tempdir().context("cannot make a folder for the cache of shaders")?;
    let mut command = Command::new(program);
    command.args(["bench", &work.name, "--here", "--device", &arguments.device]);
    let lists = [
        (arguments.growth, "--growth"),
        (arguments.mixed, "--mixed"),
        (arguments.large, "--large"),
    ];
    for (set, flag) in lists {
        command.args(set.then_some(flag));
    }
    if arguments.autotune {
        command.arg("--autotune");
    }
    command.envs(driver::alone(&plan, cache.path())).stderr(Stdio::inherit());
    let output = command.output().context("cannot start this program anew")?;
    if output.status.code().is_none() {
        bail!("timing `{}` was ended by {}", work.name, output.status);
    }
    if !output.status.success() {
        return Ok(None);
    }
    let timing = serde_json::from_slice(&output.stdout);
    Ok(Some(timing.with_context(|| format!("cannot read the timing of `{}`", work.name))?))
}

const HEAD: [&str; 7] =
    ["work", "median ms", "min ms", "GFLOP/s", "launches", "first step ms", "memory"];

fn row(timing: &benches::Timing) -> String {
    line(&[
        &timing.work,
        &format!("{:.2}", timing.median_ms),
        &format!("{:.2}", timing.min_ms),
        &format!("{:.1}", timing.gflops),
        &timing.launches.to_string(),
        &format!("{:.0}", timing.first_step_ms),
        &bytes(timing.peak_bytes),
    ])
}

/// What was timed for a work, and what the autotuner made of it.
fn tuned_lines(tuned: &Autotuned) -> String {
    let Autotuned { classes, timings, seconds, warnings } = tuned;
    let mut lines =
        vec![format!("{} of {classes} kinds of products timed, {seconds:.1} s", timings.len())];
    lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    for timing in timings {
        let by = |(tile, &ns): (&String, &u64)| format!("{tile} {:.0}", ns as f64 / 1e3);
        let us = timing.ns.iter().map(by).collect::<Vec<_>>().join(", ");
        let Timing { of, table, tile, .. } = timing;
        let told = if timing.differs() { format!("{tile}, not {table}") } else { tile.clone() };
        lines.push(format!("{of}: {told} (µs: {us})"));
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// A line of the table, whose widths are fixed because each is printed when its work is done.
fn line([work, rest @ ..]: &[&str; 7]) -> String {
    let rest: String = rest.iter().map(|cell| format!("  {cell:>13}")).collect();
    format!("{work:<32}{rest}\n")
}
