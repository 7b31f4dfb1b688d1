//! How long a run would take: some of its steps, timed on the adapter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::config::{Config, Method};
use engine::data::Dataset;
use engine::device::{Device, StepParameters};
use engine::nn::{self, Network};
use engine::step::{self, Objective, Training};
use engine::train::{Outline, Session, TrainError};
use engine::win::algorithm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Steps before the clock starts, and how long is measured then.
const WARM_UP: u64 = 2;
const MEASURED: Duration = Duration::from_millis(700);

/// How long training would take, one member after the other: steps of student and teacher, measured on the adapter while it was otherwise
/// as busy as it is now, times their numbers, and the tests after each epoch. Starts and checkpoints come on top.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Estimate {
    /// Seconds of all stages.
    pub(crate) seconds: f64,
    /// Milliseconds of a step of the student on the labels.
    pub(crate) step_ms: f64,
}

/// Seconds of a step of `network` on the labels by the recipe of the last stage of a method, or of a teacher, and how many inputs it has.
fn step(
    config: &Config,
    network: &Network,
    method: Option<Method>,
    data: &Dataset,
    gpu: &Arc<dyn Device>,
) -> Result<(f64, u32), TrainError> {
    let stages = algorithm::of(config, method, data.train.len() as u64);
    let recipe = stages.into_iter().rev().find_map(|stage| stage.recipe);
    let recipe = recipe.unwrap_or_else(|| config.wide.recipe());
    let of = Training {
        student: network,
        teacher: None,
        task: data.task(),
        objective: Objective::Labels,
        recipe: &recipe,
        precision: config.precision,
    };
    let program = step::fit(&of, &gpu.target(), config.recompute)?;
    let mut session = Session::new(gpu, program)?;
    session.load_student(&nn::fresh(network, 0)?)?;
    let picks: Vec<usize> = (0..recipe.batch as usize).map(|at| at % data.train.len()).collect();
    let batch = data.train.gather(&picks)?;
    let (mut begun, mut done) = (Instant::now(), 0);
    loop {
        let (step, t) = (done as u32, (done + 1) as f32);
        let live = StepParameters { step, lr: 1e-6, t, ..StepParameters::rows(batch.rows as u32) };
        session.step(&batch, &live, done)?;
        session.losses(true)?;
        done += 1;
        if done == WARM_UP {
            begun = Instant::now();
        }
        if done > WARM_UP && begun.elapsed() > MEASURED {
            return Ok((begun.elapsed().as_secs_f64() / (done - WARM_UP) as f64, recipe.batch));
        }
    }
}

/// A stage that the teacher looks at costs a step of the student and the teacher's forward pass, a third of its step.
///
/// # Errors
/// A device that refuses, or a step that cannot be planned.
pub(super) fn estimate(
    config: &Config,
    outline: &Outline,
    data: &Dataset,
    gpu: &Arc<dyn Device>,
) -> Result<Estimate, TrainError> {
    let (student, of_student) =
        step(config, &outline.student, config.methods.first().copied(), data, gpu)?;
    let teacher = match config.methods.iter().any(|method| method.needs_teacher()) {
        true => Some(step(config, &outline.teacher, None, data, gpu)?),
        false => None,
    };
    let per_input = student / f64::from(of_student);
    let teacher = teacher.map_or(0.0, |(teacher, batch)| teacher / f64::from(batch));
    // An input that is tested costs the forward pass, a third of a step.
    let tested = 1.0 + data.test.len() as f64 / data.train.len() as f64 / 3.0;
    let seconds = outline.stages.iter().map(|plan| {
        let facts = plan.facts.clone().unwrap_or_default();
        let input = match facts.method {
            None => teacher,
            Some(_) if facts.reads_teacher => per_input + teacher / 3.0,
            Some(_) => per_input,
        };
        plan.steps as f64 * facts.batch as f64 * input * tested
    });
    Ok(Estimate { seconds: seconds.sum(), step_ms: 1e3 * student })
}
