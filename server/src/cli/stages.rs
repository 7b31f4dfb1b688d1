//! What each stage of a run needs of a device, known before anything is allocated.

use anyhow::Result;
use engine::config::{Config, Method, Start};
use engine::nn::Network;
use engine::plan::{Limits, Target};
use engine::win::algorithm::{self, Stage, Task};
use engine::win::program::{self, Networks, ProgramError, Training};
use engine::win::surgery;
use serde::Serialize;

/// What a stage needs of the device.
#[derive(Debug, Serialize)]
pub(super) struct Needs {
    /// `teacher`, or the method.
    pub(super) method: String,
    pub(super) stage: String,
    pub(super) batch: u32,
    /// Bytes of all buffers of the plan, also where the device's limits do not allow it; none where no device's would.
    pub(super) memory: Option<u64>,
    /// Which limit of the device does not allow the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
}

/// Needs of every stage that trains, in order, the teacher's first; seeds need the same.
pub(super) fn needs(
    config: &Config,
    student: &Network,
    teacher: &Network,
    target: &Target,
) -> Result<Vec<Needs>> {
    let bridged = surgery::bridge(student, teacher, config.win.start == Start::Random)?;
    let mut needs = Vec::new();
    if config.teacher.from.is_none() && config.methods.iter().any(|method| method.needs_teacher()) {
        let alone = Networks { student: teacher, teacher: None, bridged: None };
        for stage in algorithm::wide(config) {
            needs.extend(of_stage(config, "teacher", &stage, alone, target)?);
        }
    }
    for &method in &config.methods {
        let bridges = matches!(method, Method::Win | Method::StartOnly);
        // Memory does not depend on how many images there are, lengths do.
        let stages = algorithm::stages(config, method, 1);
        for (place, stage) in stages.iter().enumerate() {
            let merged = stages[..place].iter().any(|stage| stage.task == Task::Merge);
            let bridged = (bridges && !merged).then_some(&bridged);
            let networks = Networks { student, teacher: Some(teacher), bridged };
            needs.extend(of_stage(config, method.name(), stage, networks, target)?);
        }
    }
    Ok(needs)
}

fn of_stage(
    config: &Config,
    method: &str,
    stage: &Stage,
    networks: Networks<'_>,
    target: &Target,
) -> Result<Option<Needs>> {
    let Some(recipe) = &stage.recipe else { return Ok(None) };
    let student = networks.trained(stage.task)?;
    let objective = program::objective(stage.task, &config.win, 1.0);
    let of = Training { student: &student, teacher: networks.teacher, objective, recipe };
    let (memory, problem) = match program::program(&of, target) {
        Ok(program) => (Some(program.plan.memory()), None),
        Err(ProgramError::Plan(problem)) => {
            let boundless = program::program(&of, &Target { limits: Limits::NONE, ..*target });
            (boundless.ok().map(|program| program.plan.memory()), Some(problem.to_string()))
        }
        Err(error) => return Err(error.into()),
    };
    let (method, stage) = (method.into(), stage.name.clone());
    Ok(Some(Needs { method, stage, batch: recipe.batch, memory, problem }))
}
