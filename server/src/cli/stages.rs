//! What each stage of a run needs of a device, known before anything is allocated.

use anyhow::Result;
use engine::config::{Config, Method, Start, Target as Follow};
use engine::nn::{Network, NetworkError, Pair};
use engine::plan::{Limits, Target};
use engine::win::algorithm::{self, Stage, Task};
use engine::win::program::{Objective, ProgramError, Stagecraft, program};
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

/// Limits that allow every plan.
const BOUNDLESS: Limits = Limits {
    binding_bytes: u64::MAX,
    buffer_bytes: u64::MAX,
    storage_buffers: u32::MAX,
    groups: u32::MAX,
};

/// The networks that stages are made of.
struct Networks<'a> {
    config: &'a Config,
    student: &'a Network,
    teacher: &'a Network,
    bridged: Network,
}

/// Needs of every stage that trains, in order, the teacher's first; seeds need the same.
pub(super) fn needs(
    config: &Config,
    student: &Network,
    teacher: &Network,
    target: &Target,
) -> Result<Vec<Needs>> {
    let bridged = surgery::bridge(student, teacher, config.win.start == Start::Random)?;
    let networks = Networks { config, student, teacher, bridged };
    let mut needs = Vec::new();
    if config.teacher.from.is_none() && config.methods.iter().any(|method| method.needs_teacher()) {
        for stage in algorithm::wide(config) {
            needs.extend(networks.of_stage("teacher", &stage, teacher.clone(), target)?);
        }
    }
    for &method in &config.methods {
        // Memory does not depend on how many images there are, lengths do.
        let stages = algorithm::stages(config, method, 1);
        for (place, stage) in stages.iter().enumerate() {
            let merged = stages[..place].iter().any(|stage| stage.task == Task::Merge);
            let network = networks.trained(method, stage, merged)?;
            needs.extend(networks.of_stage(method.name(), stage, network, target)?);
        }
    }
    Ok(needs)
}

impl Networks<'_> {
    /// The network that a stage trains.
    fn trained(
        &self,
        method: Method,
        stage: &Stage,
        merged: bool,
    ) -> Result<Network, NetworkError> {
        let bridges = matches!(method, Method::Win | Method::StartOnly);
        Ok(match stage.task {
            Task::Narrow { block } => self.bridged.prefix(block),
            Task::Hint { blocks } => {
                let mut network = self.student.prefix(blocks);
                let out = self.teacher.prefix(blocks).shapes()?.output.width();
                network.blocks[blocks - 1].lift = Some(Pair { name: "regressor".into(), out });
                network
            }
            _ if bridges && !merged => self.bridged.clone(),
            _ => self.student.clone(),
        })
    }

    fn of_stage(
        &self,
        method: &str,
        stage: &Stage,
        student: Network,
        target: &Target,
    ) -> Result<Option<Needs>> {
        let Some(recipe) = &stage.recipe else { return Ok(None) };
        let win = &self.config.win;
        let imitate =
            |freeze| Objective::Imitate { discrepancy: win.discrepancy, scale: 1.0, freeze };
        let objective = match stage.task {
            Task::Distill { alpha, temperature } => Objective::Distill { alpha, temperature },
            Task::Tune { target: Follow::Teacher } => {
                Objective::Distill { alpha: 1.0, temperature: 1.0 }
            }
            Task::Narrow { .. } => imitate(win.freeze),
            Task::Hint { .. } => imitate(false),
            _ => Objective::Labels,
        };
        let classes = self.student.shapes()?.output.width();
        let of = Stagecraft {
            student: &student,
            teacher: Some(self.teacher),
            objective,
            recipe,
            classes,
        };
        let (memory, problem) = match program(&of, target) {
            Ok(program) => (Some(program.plan.memory()), None),
            Err(ProgramError::Plan(problem)) => {
                let boundless = program(&of, &Target { limits: BOUNDLESS, ..*target });
                (boundless.ok().map(|program| program.plan.memory()), Some(problem.to_string()))
            }
            Err(error) => return Err(error.into()),
        };
        let (method, stage) = (method.into(), stage.name.clone());
        Ok(Some(Needs { method, stage, batch: recipe.batch, memory, problem }))
    }
}
