//! `taper-peer WORK`: the time of one work of `taper bench` in Burn's wgpu backend, as the same line of JSON. `taper-peer --list` names them.
//!
//! One work a process, so that what another work tuned or compiled cannot help it.

mod bert;
mod resnet;
mod works;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use burn::{
    cubecl::logging::{LaunchObservation, LaunchObserver},
    tensor::Device,
};
use serde::Serialize;
use works::{WORKS, Work};

/// As in `benches/src/lib.rs`: untimed steps, fewest timed ones, when there are enough, and when no step is started any more.
const WARM_UP: usize = 3;
const RUNS: usize = 10;
const ENOUGH: Duration = Duration::from_secs(3);
const LONGEST: Duration = Duration::from_secs(40);

/// What `taper bench --json` prints.
#[derive(Debug, Serialize)]
struct Timing {
    work: &'static str,
    median_ms: f64,
    min_ms: f64,
    runs: usize,
    gflops: f64,
    /// Kernels of a step, counted by cubecl in a step after the timed ones.
    launches: usize,
    first_step_ms: f64,
    /// What cubecl's allocator holds after the last step, unless it does not say.
    peak_bytes: Option<u64>,
    adapter: String,
}

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    match run(&names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(names: &[String]) -> Result<()> {
    let known: Vec<&str> = WORKS.iter().map(|work| work.name).collect();
    match names {
        [flag] if flag == "--list" => println!("{}", known.join("\n")),
        [name] => {
            let work = WORKS.iter().find(|work| work.name == *name);
            let unknown = || format!("unknown work `{name}`; there are {}", known.join(", "));
            println!("{}", serde_json::to_string(&time(work.with_context(unknown)?)?)?);
        }
        _ => bail!("name one work; there are {}", known.join(", ")),
    }
    Ok(())
}

fn time(work: &Work) -> Result<Timing> {
    let begun = Instant::now();
    let device = Device::wgpu(Default::default());
    let mut step = (work.make)(&device.clone().autodiff());
    let mut timed_step = || -> Result<f64> {
        let begun = Instant::now();
        step();
        // A loss that has been read does not say that the optimiser has run.
        device.sync()?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    timed_step()?;
    let first_step_ms = begun.elapsed().as_secs_f64() * 1e3;
    for _ in 0..WARM_UP {
        timed_step()?;
    }
    let (timed, mut times) = (Instant::now(), Vec::new());
    while timed.elapsed() < LONGEST && (times.len() < RUNS || timed.elapsed() < ENOUGH) {
        times.push(timed_step()?);
    }
    times.sort_by(f64::total_cmp);
    let median_ms = times[times.len() / 2];

    let launches = Arc::new(Launches::default());
    let observation = LaunchObservation::new(launches.clone());
    timed_step()?;
    drop(observation);

    Ok(Timing {
        work: work.name,
        median_ms,
        min_ms: times[0],
        runs: times.len(),
        gflops: work.gflop / (median_ms / 1e3),
        launches: launches.0.load(Ordering::Relaxed),
        first_step_ms,
        peak_bytes: device.memory_pool_usage().map(|usage| usage.bytes_reserved),
        adapter: device.identity().map_or_else(|| "wgpu".into(), |identity| identity.name),
    })
}

/// A count of launched kernels.
#[derive(Debug, Default)]
struct Launches(AtomicUsize);

impl LaunchObserver for Launches {
    fn launched(&self, _kernel: &'static str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
