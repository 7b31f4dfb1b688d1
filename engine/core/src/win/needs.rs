//! What each stage of a run needs of a device, known before anything is allocated.

use super::{
    algorithm::{self, Stage, StageKind},
    networks::{self, Networks},
    surgery,
};
use crate::{
    config::{Config, Method, Start},
    nn::{Network, NetworkError},
    plan::{Limits, PlanError, Target},
    step::{self, ProgramError, Task, Training},
};

/// What a stage needs of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The method; none for a teacher.
    pub method: Option<Method>,
    /// Name of the stage.
    pub stage: String,
    /// The section of the configuration in which its recipe stands.
    pub section: &'static str,
    /// Inputs of a step.
    pub batch: u32,
    /// Inputs that run at once: fewer than `batch` where the whole of it does not fit.
    pub rows: u32,
    /// Micro-batches of a step.
    pub micro_batches: u32,
    /// Whether batch norm's statistics are those of the inputs that run at once.
    pub normalises_by_batch: bool,
    /// Bytes of all buffers of the plan, also where the device's limits do not allow it; none if no plan can be made under any limits.
    pub memory: Option<u64>,
    /// The limit of the device that even the smallest micro-batches exceed.
    pub problem: Option<PlanError>,
}

/// Needs of every stage that trains, in order, the teacher's first; seeds need the same.
///
/// # Errors
/// If the networks do not fit each other, or a batch norm would get one value a channel.
pub fn needs(
    config: &Config,
    student: &Network,
    teacher: &Network,
    task: Task,
    target: &Target,
) -> Result<Vec<Needs>, ProgramError> {
    let bridged = match config.methods.iter().any(|method| method.bridges()) {
        true => Some(surgery::bridge(student, teacher, config.win.start == Start::Random)?),
        false => None,
    };
    let mut needs = Vec::new();
    if config.teacher.is_trained() && config.methods.iter().any(|method| method.needs_teacher()) {
        let alone = Networks { student: teacher, teacher: None, bridged: None };
        for stage in algorithm::wide(config, 1) {
            needs.extend(of_stage(config, &stage, alone, task, target)?);
        }
    }
    for &method in &config.methods {
        // Memory does not depend on the number of images, so any number will do; only lengths depend on it.
        let stages = algorithm::stages(config, method, 1);
        for (place, stage) in stages.iter().enumerate() {
            let merged = stages[..place].iter().any(|stage| stage.kind == StageKind::Merge);
            let bridged = bridged.as_ref().filter(|_| method.bridges() && !merged);
            let networks = Networks { student, teacher: Some(teacher), bridged };
            needs.extend(of_stage(config, stage, networks, task, target)?);
        }
    }
    Ok(needs)
}

fn of_stage(
    config: &Config,
    stage: &Stage,
    networks: Networks<'_>,
    task: Task,
    target: &Target,
) -> Result<Option<Needs>, ProgramError> {
    let (Some(recipe), Some(section)) = (&stage.recipe, stage.section) else { return Ok(None) };
    let student = networks.trained(stage.kind)?;
    let objective = networks::objective(stage.kind, &config.win, 1.0);
    let of = Training {
        student: &student,
        teacher: networks.teacher,
        task,
        objective,
        recipe,
        precision: config.precision,
    };
    let mut needs = Needs {
        method: stage.method,
        stage: stage.name.clone(),
        section,
        batch: recipe.batch,
        rows: recipe.batch,
        micro_batches: 1,
        normalises_by_batch: of.normalises_by_batch(),
        memory: None,
        problem: None,
    };
    match step::fit(&of, target, config.recompute) {
        Ok(program) => {
            (needs.rows, needs.micro_batches) = (program.rows, program.micro_batches);
            needs.memory = Some(program.plan.memory());
        }
        Err(ProgramError::Plan(problem)) => {
            let boundless = Target { limits: Limits::NONE, ..*target };
            needs.memory = step::program(&of, &boundless).ok().map(|p| p.plan.memory());
            needs.problem = Some(problem);
        }
        Err(ProgramError::Network(error @ NetworkError::OneValue { .. })) => {
            let of = stage.method.map_or("the teacher", Method::name);
            let message = format!("stage {} of {of}: {error}", stage.name);
            return Err(NetworkError::Unsupported(message).into());
        }
        Err(error) => return Err(error),
    }
    Ok(Some(needs))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        config::{Mlp, Model, Resnet},
        models,
        nn::Extent,
        ops::AdapterKind,
    };

    /// Processor time of this thread in seconds, if Linux tells: wall-clock time would count other processes as well.
    fn worked() -> Option<f64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
    }

    /// Seconds of planning all of a run of these methods.
    fn seconds(model: Model, input: Extent, methods: &[Method], recompute: bool) -> f64 {
        let config = Config { model, methods: methods.into(), recompute, ..Config::default() };
        let student = models::network(&config.model, input, 10);
        let teacher = surgery::widen(&student, 2, config.teacher.widen);
        let target = Target { limits: Limits::NONE, ..Target::web(AdapterKind::Cpu) };
        let (begun, worked) = (Instant::now(), worked());
        let needs = needs(&config, &student, &teacher, Task::Classify, &target).expect("plans");
        let seconds = match (worked, self::worked()) {
            (Some(before), Some(after)) => after - before,
            _ => begun.elapsed().as_secs_f64(),
        };
        assert!(needs.iter().all(|needs| needs.memory > Some(0) && needs.problem.is_none()));
        seconds
    }

    fn mlp(layers: u32, blocks: u32) -> Model {
        Model::Mlp(Mlp {
            hidden: vec![8; layers as usize],
            blocks: vec![layers / blocks; blocks as usize],
            ..Mlp::default()
        })
    }

    fn resnet(units: u32) -> Model {
        Model::Resnet(Resnet { base: 8, blocks: vec![units / 4; 4], ..Resnet::default() })
    }

    /// Eight times the depth takes eight times the work; its square would be 64. The least of three times is what the work takes.
    #[test]
    fn planning_is_linear_in_depth() {
        let map = Extent::Map(32, 32, 3);
        type Case = (&'static str, fn(u32) -> Model, Extent, bool);
        let cases: [Case; 3] = [
            ("mlp", |depth| mlp(depth, 1), Extent::Flat(16), false),
            ("resnet", resnet, map, false),
            ("resnet, recomputed", resnet, map, true),
        ];
        for (name, model, input, recompute) in cases {
            let best = |depth| {
                let take = |_| seconds(model(depth), input, &[Method::Kd, Method::Win], recompute);
                (0..3).map(take).fold(f64::INFINITY, f64::min)
            };
            let (shallow, deep) = (best(48), best(384));
            assert!(
                deep < 24.0 * shallow,
                "{name}: {shallow} s, and {deep} s at eight times the depth"
            );
        }
    }

    #[test]
    #[ignore = "a measurement: cargo test -p taper-core --lib needs -- --ignored --nocapture"]
    fn seconds_of_planning() {
        for blocks in [100, 300, 1000] {
            let methods = [Method::Win];
            let taken = seconds(mlp(blocks, blocks), Extent::Flat(16), &methods, false);
            println!("{blocks} blocks of one layer: {taken:.2} s");
        }
        for units in [100, 300, 1000] {
            let taken = seconds(resnet(units), Extent::Map(32, 32, 3), &[Method::Kd], false);
            println!("{units} units: {taken:.2} s");
        }
    }
}
