//! `taper bench`: times of kernels and whole training steps on synthetic data that stays on the device.

use std::path::PathBuf;

use anyhow::Result;
use benches::{WORKS, time};
use engine::gpu::{self, Gpu};
use engine::profile::Profile;

use super::{bytes, failure, print, print_json, profile};

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to time; all, if nothing is named.
    #[arg(value_name = "WORK")]
    works: Vec<String>,
    /// Adapter: a part of its name or its index in `taper devices`.
    #[arg(long, value_name = "NAME|INDEX", default_value = "auto")]
    device: String,
    /// Time the steps kernel by kernel instead, and write them for chrome://tracing or Perfetto.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "profile.json")]
    profile: Option<PathBuf>,
    /// Print JSON, a line for each work.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let known = |name: &String| WORKS.iter().find(|work| work.name == name);
    if let Some(unknown) = arguments.works.iter().find(|name| known(name).is_none()) {
        let names: Vec<&str> = WORKS.iter().map(|work| work.name).collect();
        return Err(failure(
            format!("unknown work `{unknown}`"),
            format!("there are {}", names.join(", ")),
        ));
    }
    let gpu = Gpu::open(&arguments.device, gpu::Options::default())?;
    let wanted = WORKS.iter().filter(|work| {
        arguments.works.is_empty() || arguments.works.iter().any(|name| name == work.name)
    });
    if let Some(path) = &arguments.profile {
        let mut taken = Profile::new(&gpu.adapter.name, gpu::peaks(&gpu)?);
        for work in wanted {
            taken.windows.push(benches::profile(work, &gpu)?);
        }
        profile::write(&taken, path)?;
        let summary = profile::Summary::of(&taken, path);
        return if arguments.json { print_json(&summary) } else { print(&summary.text()) };
    }
    if !arguments.json {
        let head =
            ["work", "median ms", "min ms", "GFLOP/s", "launches", "first step ms", "memory"];
        print(&format!("{}\n{}", gpu.adapter.name, line(&head.map(String::from))))?;
    }
    for work in wanted {
        let timing = time(work, &gpu)?;
        if arguments.json {
            print_json(&timing)?;
            continue;
        }
        print(&line(&[
            timing.work.to_string(),
            format!("{:.2}", timing.median_ms),
            format!("{:.2}", timing.min_ms),
            format!("{:.1}", timing.gflops),
            timing.launches.to_string(),
            format!("{:.0}", timing.first_step_ms),
            bytes(timing.peak_bytes),
        ]))?;
    }
    Ok(())
}

/// A line of the table, whose widths are fixed because each is printed when its work is done.
fn line([work, rest @ ..]: &[String; 7]) -> String {
    let rest: String = rest.iter().map(|cell| format!("  {cell:>13}")).collect();
    format!("{work:<26}{rest}\n")
}
