//! What a run will train, known before anything is.

use std::{collections::BTreeMap, path::Path};

use super::{TrainError, model, run::Teacher};
use crate::{
    config::{Config, Method, Target},
    data::{DataError, Dataset},
    event::StagePlan,
    gpu::Gpu,
    models,
    nn::Network,
    win::{
        algorithm::{self, Task},
        needs, surgery,
    },
};

/// A member that a run trains, or a teacher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The name of its folder and in the log: `win-0`, `teacher-0`.
    pub name: String,
    /// Its method; none for a teacher.
    pub method: Option<Method>,
    /// Its seed.
    pub seed: u64,
}

/// A run's teachers and members, in their order: a teacher stands before those that need it.
pub fn planned(config: &Config) -> Vec<Planned> {
    let teaches = config.methods.iter().any(|method| method.needs_teacher());
    let teacher = (teaches && config.teacher.from.is_none()).then_some(None);
    let methods = || teacher.into_iter().chain(config.methods.iter().copied().map(Some));
    let named = |seed: u64, method: Option<Method>| {
        let name = format!("{}-{seed}", method.map_or("teacher", Method::name));
        Planned { name, method, seed }
    };
    let of_seed = |&seed: &u64| methods().map(move |method| named(seed, method));
    config.seeds.iter().flat_map(of_seed).collect()
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
pub(super) struct Prepared {
    pub(super) outline: Outline,
    /// The teacher that is trained here.
    pub(super) wide: Network,
    /// The teacher of each seed, where they were trained elsewhere.
    pub(super) imported: Option<BTreeMap<u64, Teacher>>,
}

/// Networks and stages of a run on `data`.
///
/// # Errors
/// A setting that is not supported, a teacher that cannot be imported, a network whose pairs cannot be merged, a batch larger than the data.
pub fn outline(config: &Config, data: &Dataset) -> Result<Outline, TrainError> {
    prepare(config, data).map(|prepared| prepared.outline)
}

pub(super) fn prepare(config: &Config, data: &Dataset) -> Result<Prepared, TrainError> {
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

/// Every stage is planned before the first one is trained.
pub(super) fn refuse_what_does_not_fit(
    config: &Config,
    outline: &Outline,
    gpu: &Gpu,
) -> Result<(), TrainError> {
    for needs in needs::needs(config, &outline.student, &outline.teacher, &gpu.target())? {
        if let Some(problem) = needs.problem {
            let stage =
                format!("{} of {}", needs.stage, needs.method.map_or("the teacher", Method::name));
            return Err(TrainError::TooLarge { stage, problem });
        }
    }
    Ok(())
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
    for Planned { name, method, .. } in planned(config) {
        let stages = match method {
            Some(method) => algorithm::stages(config, method, train_count),
            None => algorithm::wide(config, train_count),
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
                (_, Task::Labels | Task::Tune { target: Target::Labels }) => 3 * s,
                _ => 3 * s + b,
            };
            plans.push(StagePlan {
                member: name.clone(),
                stage: stage.name,
                steps: stage.steps,
                step_macs: macs * batch,
            });
        }
    }
    Ok(plans)
}
