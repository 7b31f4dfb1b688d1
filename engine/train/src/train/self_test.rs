//! Whether an adapter computes what it should: some training steps of small networks, whose losses are known.
//!
//! The losses in `self_test.json` are those of the software adapter on which the golden tests hold every kernel against PyTorch. A loss after
//! four steps is a sum over every kernel of the step, forward, backward and the optimiser's.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Session, TrainError};
use crate::{
    config::{Config, Draft, Method},
    data,
    device::{Device, StepParameters},
    models,
    nn::{self, NetworkError},
    step::{self, Training},
    win::{
        algorithm,
        networks::{self, Networks},
        surgery,
    },
};

/// Steps of each work.
const STEPS: u64 = 4;
/// How far a loss may be off, as a share of it: sums of 32-bit floats in another order are off by less than a hundredth of it.
pub const TOLERANCE: f64 = 1e-3;

const MLP: &str = r#"
data.kind = "procedural"
data.train_count = 64
data.test_count = 16
model = { arch = "mlp", hidden = [12, 12, 12, 12], blocks = [2, 2], activation = "gelu" }
teacher.factor = 3
vanilla = { batch = 30, optimizer = "adam", lr = 3e-3 }
kd = { batch = 30, optimizer = "adamw", weight_decay = 0.01, clip_norm = 1.0 }
narrow = { batch = 30, optimizer = "sgd", lr = 0.05 }
tune = { batch = 30, optimizer = "adam", target = "teacher" }
"#;

const RESNET: &str = r#"
data.kind = "procedural"
data.train_count = 64
data.test_count = 16
data.size = 16
model = { arch = "resnet", base = 4, stem = "STEM", unit = "UNIT", blocks = [1, 2] }
teacher.factor = 2
vanilla = { batch = 15, optimizer = "sgd", lr = 0.05 }
narrow = { batch = 15, optimizer = "adam", lr = 3e-3 }
"#;

/// A stage that is tried.
struct Work {
    name: &'static str,
    config: Config,
    method: Method,
    stage: &'static str,
}

/// A work and its losses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    work: String,
    losses: Vec<f64>,
}

fn works() -> Result<Vec<Work>, TrainError> {
    let read = |text: &str| Draft::from_toml(text, "self-test")?.finish();
    let mlp = read(MLP)?;
    let cifar = read(&RESNET.replace("STEM", "cifar").replace("UNIT", "bottleneck"))?;
    let imagenet = read(&RESNET.replace("STEM", "imagenet").replace("UNIT", "basic"))?;
    let work =
        |name, config: &Config, method, stage| Work { name, config: config.clone(), method, stage };
    Ok(vec![
        work("mlp on labels, adam", &mlp, Method::Vanilla, "vanilla"),
        work("mlp distilled, adamw", &mlp, Method::Kd, "kd"),
        work("mlp narrow 2, sgd", &mlp, Method::Win, "narrow 2"),
        work("mlp tuned on logits, adam", &mlp, Method::Win, "tune"),
        work("bottleneck resnet on labels, sgd", &cifar, Method::Vanilla, "vanilla"),
        work("bottleneck resnet narrow 2, adam", &cifar, Method::Win, "narrow 2"),
        work("basic resnet with pooling on labels, sgd", &imagenet, Method::Vanilla, "vanilla"),
    ])
}

/// The losses of a work, and the kernels of its plan.
fn run(work: &Work, gpu: &Arc<dyn Device>) -> Result<(Vec<f64>, BTreeSet<String>), TrainError> {
    let config = &work.config;
    let data = data::open(config, None, None)?;
    let student = models::network(&config.model, data.input(), data.output());
    let teacher = surgery::widen(&student, config.teacher.factor, config.teacher.widen);
    let bridged = surgery::bridge(&student, &teacher, false)?;
    let stages = algorithm::stages(config, work.method, data.train.len() as u64);
    let stage = stages
        .iter()
        .find(|stage| stage.name == work.stage)
        .ok_or_else(|| missing(work, "stage"))?;
    let recipe = stage.recipe.as_ref().ok_or_else(|| missing(work, "recipe"))?;
    let bridged = (work.method == Method::Win).then_some(&bridged);
    let trained =
        Networks { student: &student, teacher: Some(&teacher), bridged }.trained(stage.kind)?;
    let objective = networks::objective(stage.kind, &config.win, 1.0);
    let of = Training {
        student: &trained,
        teacher: Some(&teacher),
        task: data.task(),
        objective,
        recipe,
        precision: config.precision,
    };
    let program = step::fit(&of, &gpu.target(), false)?;
    let kernels = program.plan.kernels.iter().map(|spec| format!("{:?}", spec.kernel)).collect();
    let mut session = Session::new(gpu, program)?;
    session.load_student(&nn::fresh(&trained, 1)?)?;
    if objective.needs_teacher() {
        session.load_teacher(&nn::fresh(&teacher, 2)?)?;
    }
    let batch = data.train.gather(&(0..recipe.batch as usize).collect::<Vec<_>>())?;
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let (lr, t) = (recipe.lr as f32, (step + 1) as f32);
        let live = StepParameters {
            seed: 3,
            step: step as u32,
            lr,
            t,
            ..StepParameters::rows(batch.rows as u32)
        };
        session.step(&batch, &live, step)?;
        losses.extend(session.losses(true)?.into_iter().map(|(_, loss)| f64::from(loss)));
    }
    Ok((losses, kernels))
}

fn missing(work: &Work, what: &str) -> TrainError {
    NetworkError::Mismatch(format!("the self-test {:?} has no {what}", work.name)).into()
}

/// What the losses should be.
fn known() -> Vec<Losses> {
    // A test holds that it is read.
    serde_json::from_str(include_str!("self_test.json")).unwrap_or_default()
}

/// The losses on a device: what `self_test.json` has of the software adapter.
///
/// # Errors
/// If the device fails.
pub fn losses(gpu: &Arc<dyn Device>) -> Result<Vec<Losses>, TrainError> {
    let of = |work: &Work| Ok(Losses { work: work.name.into(), losses: run(work, gpu)?.0 });
    works()?.iter().map(of).collect()
}

/// How a device did.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// Kernels that ran.
    pub kernels: usize,
    /// The work that came out worst.
    pub work: &'static str,
    /// The greatest share by which one of its losses is off.
    pub error: f64,
}

impl Tried {
    /// Whether it computes what it should.
    pub fn ok(&self) -> bool {
        self.error <= TOLERANCE
    }
}

/// Tries a device.
///
/// # Errors
/// If the device fails.
pub fn test(gpu: &Arc<dyn Device>) -> Result<Tried, TrainError> {
    let known = known();
    let mut kernels = BTreeSet::new();
    let mut worst = ("", 0.0);
    for work in works()? {
        let (losses, used) = run(&work, gpu)?;
        kernels.extend(used);
        let expected = known.iter().find(|known| known.work == work.name);
        let expected = expected.ok_or_else(|| missing(&work, "known losses"))?;
        let error = error(&losses, &expected.losses);
        if error > worst.1 || worst.0.is_empty() {
            worst = (work.name, error);
        }
    }
    Ok(Tried { kernels: kernels.len(), work: worst.0, error: worst.1 })
}

/// The greatest share by which a loss is off; the greatest number where one is missing or none at all.
fn error(losses: &[f64], expected: &[f64]) -> f64 {
    if losses.len() != expected.len() || losses.iter().any(|loss| !loss.is_finite()) {
        return f64::MAX;
    }
    let off = |(loss, expected): (&f64, &f64)| (loss - expected).abs() / expected.abs().max(1e-6);
    losses.iter().zip(expected).map(off).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_losses_of_every_work_are_known() {
        let names: Vec<String> = known().into_iter().map(|losses| losses.work).collect();
        let works = works().expect("valid");
        assert_eq!(names, works.iter().map(|work| work.name).collect::<Vec<_>>());
        assert!(known().iter().all(|of| of.losses.len() as u64 == STEPS));
    }

    #[test]
    fn what_is_off_is_found() {
        assert_eq!(error(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert!(error(&[1.0, 2.01], &[1.0, 2.0]) > TOLERANCE);
        assert_eq!(error(&[1.0, f64::NAN], &[1.0, 2.0]), f64::MAX);
        assert_eq!(error(&[1.0], &[1.0, 2.0]), f64::MAX);
    }
}
