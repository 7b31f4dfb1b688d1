//! Times the tiles that a plan's products could take, and chooses those that are clearly faster than the table's.
//!
//! Each class of products runs by itself, on buffers of its shapes that hold noise, by each tile in turn, several times around. The classes
//! with the most operations come first; what the time does not suffice for keeps the table's tile.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::timings::{Cache, Timing, Timings};
use crate::{
    clock::Clock,
    device::{AdapterDescription, Device, DeviceError, Executor, StepParameters},
    plan::{Choice, Choices, Class, FILL, Plan},
    random::Stream,
};

/// What all timings of a run take together at most.
pub const BUDGET: Duration = Duration::from_secs(5);
/// A tile is taken instead of the table's if it needs at most this share of its time, twice in turn.
const MARGIN: f64 = 0.95;
/// Rounds of a timing, of which the median counts: fewest, and most while they are short.
const ROUNDS: [usize; 2] = [3, 15];
/// Seconds after which no more than the fewest rounds are run.
const SHORT: f64 = 0.03;
/// Floats of noise, which are repeated to fill a buffer.
const NOISE: usize = 1 << 16;

/// Chooses tiles on one adapter.
#[derive(Debug)]
pub struct Autotuner {
    clock: Arc<dyn Clock>,
    left: Duration,
    timings: Timings,
    problem: Option<String>,
    noise: Vec<f32>,
    /// The longest that a class has taken so far, pipelines compiled.
    longest: Duration,
}

/// What an autotuner says of a plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Autotuned {
    /// Classes of products in the plan.
    pub classes: usize,
    /// The times of those that were timed, now or earlier.
    pub timings: Vec<Timing>,
    /// Seconds that this took.
    pub seconds: f64,
    /// What went wrong without stopping it.
    pub warnings: Vec<String>,
}

impl Autotuned {
    /// The classes that do not take the table's tile.
    pub fn changed(&self) -> impl Iterator<Item = &Timing> {
        self.timings.iter().filter(|timing| timing.differs())
    }

    /// The tiles that differ from the table's.
    pub fn choices(&self) -> Choices {
        let choice = |timing: &Timing| Choice { of: timing.of.clone(), tile: timing.tile.clone() };
        Choices(self.changed().map(choice).collect())
    }
}

impl Autotuner {
    /// An autotuner whose timings take `left` at most, and which knows what earlier ones have kept in `cache`.
    pub fn new(
        adapter: &AdapterDescription,
        cache: Option<Box<dyn Cache>>,
        left: Duration,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let (timings, problem) = Timings::open(adapter, cache);
        let mut stream = Stream::new(&[NOISE as u64]);
        let noise = (0..NOISE).map(|_| stream.between(-1.0, 1.0) as f32).collect();
        Self { clock: Arc::clone(clock), left, timings, problem, noise, longest: Duration::ZERO }
    }

    /// Chooses the tiles of a plan for this device, and keeps what was measured.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn tune(&mut self, gpu: &Arc<dyn Device>, plan: &Plan) -> Result<Autotuned, DeviceError> {
        let begun = self.clock.now();
        let classes = plan.classes();
        let mut tuned = Autotuned {
            classes: classes.len(),
            warnings: self.problem.take().into_iter().collect(),
            ..Autotuned::default()
        };
        let mut news = false;
        for (class, _, table) in classes {
            if self.timings.of(&class).is_none() {
                let from = self.clock.now();
                match self.time(gpu, plan, &class, table) {
                    Ok(Some(timing)) => {
                        self.timings.add(timing);
                        news = true;
                    }
                    Ok(None) => {}
                    Err(error @ DeviceError::Lost(_)) => return Err(error),
                    Err(error) => tuned.warnings.push(format!("{class} is not timed: {error}")),
                }
                let took = self.clock.now() - from;
                self.left = self.left.saturating_sub(took);
                self.longest = self.longest.max(took);
            }
            tuned.timings.extend(self.timings.of(&class).cloned());
        }
        if news {
            tuned.warnings.extend(self.timings.save());
        }
        tuned.seconds = (self.clock.now() - begun).as_secs_f64();
        Ok(tuned)
    }

    /// The times of a class; `None` if there is not the time for it.
    fn time(
        &self,
        gpu: &Arc<dyn Device>,
        plan: &Plan,
        class: &Class,
        table: String,
    ) -> Result<Option<Timing>, DeviceError> {
        let clock = &*self.clock;
        let begun = clock.now();
        let left = || self.left.saturating_sub(clock.now() - begun);
        let Some(trial) = plan.trial(class) else { return Ok(None) };
        let tiles: Vec<String> =
            trial.programs.keys().filter(|name| *name != FILL).cloned().collect();
        // Two rounds of warming up and the fewest that count, as long as a slow device would take.
        let dispatches = trial.programs.values().flatten();
        let guess: f64 = dispatches.map(|d| d.estimate(gpu.adapter().kind)).sum();
        let guess = Duration::from_secs_f64(guess * (2 + ROUNDS[0]) as f64);
        if left() < guess.max(self.longest) || tiles.len() < 2 || !tiles.contains(&table) {
            return Ok(None);
        }

        let labels: Vec<_> = trial.buffers.iter().filter(|b| !b.texture).cloned().collect();
        let mut executor = Arc::clone(gpu).prepare(trial)?;
        for buffer in labels {
            let floats = (buffer.bytes / 4) as usize;
            let noise: Vec<f32> = self.noise.iter().copied().cycle().take(floats).collect();
            executor.write(&buffer.label, &noise)?;
        }
        executor.run(FILL, &StepParameters::rows(0), 0)?;
        executor.finish()?;
        let mut warm = || -> Result<f64, DeviceError> {
            let begun = clock.now();
            for tile in &tiles {
                executor.run(tile, &StepParameters::rows(0), 0)?;
            }
            executor.finish()?;
            Ok((clock.now() - begun).as_secs_f64())
        };
        // The first time around a driver may still compile.
        warm()?;
        let round = warm()?;
        let rounds = ((SHORT / round) as usize).clamp(ROUNDS[0], ROUNDS[1]);
        // Two timings may follow: that of all tiles, and a second one of two of them.
        if left().as_secs_f64() < 2.0 * rounds as f64 * round {
            return Ok(None);
        }

        let mut ns = medians(&mut *executor, clock, &tiles, rounds)?;
        let fastest = ns.iter().min_by_key(|&(_, ns)| ns).map(|(tile, _)| tile.clone());
        let Some(fastest) = fastest else { return Ok(None) };
        let clearly =
            |ns: &BTreeMap<String, u64>| ns[&fastest] as f64 <= MARGIN * ns[&table] as f64;
        let mut wins = clearly(&ns);
        if wins {
            // A neighbour may have slowed the table's tile down: the other one must win again.
            ns.extend(medians(&mut *executor, clock, &[table.clone(), fastest.clone()], rounds)?);
            wins = clearly(&ns);
        }
        let tile = if wins { fastest } else { table.clone() };
        Ok(Some(Timing { of: class.clone(), table, tile, ns }))
    }
}

/// The median nanoseconds of each of some programs of one dispatch, run in turn: by timestamp queries, or else by the host's clock.
fn medians(
    executor: &mut dyn Executor,
    clock: &dyn Clock,
    programs: &[String],
    rounds: usize,
) -> Result<BTreeMap<String, u64>, DeviceError> {
    let mut times: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    // 0 means that it took less than a tick of the clock.
    let mut add = |program: &str, ns: u64| {
        times.entry(program.into()).or_default().push(ns.max(1));
    };
    let timestamps = match executor.start_profile() {
        Err(DeviceError::NoTimestamps(_)) => false,
        started => started.map(|()| true)?,
    };
    for _ in 0..rounds {
        for program in programs {
            let begun = clock.now();
            executor.run(program, &StepParameters::rows(0), 0)?;
            executor.finish()?;
            if !timestamps {
                add(program, (clock.now() - begun).as_nanos() as u64);
            }
        }
    }
    let (passes, _) = executor.stop_profile()?;
    for pass in passes {
        add(&pass.program, pass.spans.iter().map(|span| span.nanoseconds()).sum());
    }
    let median = |(program, mut times): (String, Vec<u64>)| {
        times.sort_unstable();
        (program, times[times.len() / 2])
    };
    Ok(times.into_iter().map(median).collect())
}
