//! What a configuration comes to, before anything is trained: in a process of its own, as it opens data and a device.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::config::{Config, Data, Method, Precision, presets};
use engine::data::{self, Account, DataError, Dataset, ImageShape};
use engine::event::StagePlan;
use engine::gpu::{Gpu, Live};
use engine::models;
use engine::nn::{self, BlockSize, Network, NetworkSize};
use engine::plan::{Limits, Target};
use engine::train::{self, Outline, Planned, Session, TrainError};
use engine::win::needs::needs;
use engine::win::program::{self, Objective, Training};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Steps before the clock starts, and how long is measured then.
const WARM_UP: u64 = 2;
const MEASURED: Duration = Duration::from_millis(700);
/// Bytes of logs that a run is given.
const LOGS: u64 = 32 << 20;

/// Why a configuration is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Problem {
    /// The key that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// One sentence.
    pub(crate) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl Problem {
    /// A problem with a key.
    pub(crate) fn new(field: &str, message: impl Into<String>) -> Problem {
        Problem { field: Some(field.into()), message: message.into(), hint: None }
    }
}

/// A linear pair that WIN inserts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Pair {
    /// Behind this block, from 1.
    pub(crate) after_block: u32,
    /// Width of the student's block.
    pub(crate) student: u32,
    /// Width of the teacher's.
    pub(crate) teacher: u32,
}

/// What a stage takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct StageNeeds {
    /// Who.
    pub(crate) member: String,
    /// Which stage.
    pub(crate) stage: String,
    /// Bytes of all buffers of its plan; 0 where nothing is trained.
    pub(crate) memory: u64,
    /// Micro-batches of a step.
    pub(crate) micro_batches: u32,
    /// Optimiser steps over all its tries.
    pub(crate) steps: u64,
}

/// What the data are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DataFacts {
    /// Training images.
    pub(crate) train_count: usize,
    /// Test images.
    pub(crate) test_count: usize,
    /// Classes.
    pub(crate) classes: usize,
}

/// How long training would take, one member after the other: steps of student and teacher, measured on the adapter while it was otherwise
/// as busy as it is now, times their numbers, and the tests after each epoch. Starts and checkpoints come on top.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Estimate {
    /// Seconds of all stages.
    pub(crate) seconds: f64,
    /// Milliseconds of a step of the student on the labels.
    pub(crate) step_ms: f64,
}

/// What a configuration comes to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Findings {
    pub(crate) problem: Option<Problem>,
    pub(crate) student: NetworkSize,
    pub(crate) teacher: Option<NetworkSize>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) stages: Vec<StageNeeds>,
    pub(crate) data: Option<DataFacts>,
    /// What was read of the data.
    pub(crate) account: Option<Account>,
    pub(crate) estimate: Option<Estimate>,
    pub(crate) deviations: Vec<String>,
    pub(crate) plans: Vec<StagePlan>,
    /// Bytes that checkpoints, models and logs take at most.
    pub(crate) disk: u64,
    /// What a teacher from elsewhere brings along, and what has to be assumed of it.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
    /// How pictures are framed, what a teacher from elsewhere says of it included: `data.size` and so on.
    #[serde(default)]
    pub(crate) framed: Option<Data>,
}

impl Findings {
    /// A configuration with what was found out about its pictures written down.
    pub(crate) fn settled(&self, config: &Config) -> Config {
        let mut config = config.clone();
        if let Some(Data { size, interpolation, crop, mean, std, .. }) = self.framed.clone() {
            config.data = Data { size, interpolation, crop, mean, std, ..config.data };
        }
        config
    }

    /// Widths of each block, of student and teacher.
    pub(crate) fn widths(&self) -> Vec<(u32, u32)> {
        self.pairs.iter().map(|pair| (pair.student, pair.teacher)).collect()
    }
}

/// Looks at a configuration. With a device its limits hold, and steps are timed if they are to be `measured`; without one the limits of
/// `target` hold.
pub(crate) fn examine(
    config: &Config,
    gpu: Option<&Arc<Gpu>>,
    target: &Target,
    measured: bool,
) -> Findings {
    let mut findings = Findings { deviations: presets::deviations(config), ..Findings::default() };
    if let Err(problem) = fill(&mut findings, config, gpu, target, measured) {
        findings.problem = Some(problem);
    }
    findings
}

fn fill(
    findings: &mut Findings,
    config: &Config,
    gpu: Option<&Arc<Gpu>>,
    target: &Target,
    measured: bool,
) -> Result<(), Problem> {
    let (config, notes) = train::settled(config).map_err(|error| of_training(&error))?;
    (findings.notes, findings.framed) = (notes, Some(config.data.clone()));
    let config = &config;
    let opened = data::open(&config.data);
    if opened.is_err() {
        // The networks are shown all the same, for what such data usually are.
        let presumed = train::presumed(config);
        let networks =
            presumed.and_then(|(shape, classes)| train::networks(config, shape, &classes));
        if let Ok(networks) = networks {
            findings.student = size(&networks.student)?;
            findings.teacher = Some(size(&networks.teacher)?);
            findings.pairs = pairs(findings);
        }
    }
    let data = opened.map_err(|error| of_data(&error))?;
    findings.data = Some(DataFacts {
        train_count: data.train.len(),
        test_count: data.test.len(),
        classes: data.classes.len(),
    });
    findings.account = Some(data.account.clone());
    let student = network(config, data.shape, data.classes.len());
    findings.student = size(&student)?;
    let outline = train::outline(config, &data).map_err(|error| of_training(&error))?;
    findings.notes.extend(outline.warnings.iter().cloned());
    findings.teacher = Some(size(&outline.teacher)?);
    findings.pairs = pairs(findings);
    findings.plans = outline.stages.clone();
    let limits = Limits { memory: config.memory_budget, ..target.limits };
    let target = Target { limits, ..*target };
    let needs = needs(config, &outline.student, &outline.teacher, &target)
        .map_err(|error| of_training(&error.into()))?;
    findings.stages = findings
        .plans
        .iter()
        .map(|plan| {
            let method = plan.facts.as_ref().and_then(|facts| facts.method);
            let need = needs.iter().find(|need| need.method == method && need.stage == plan.stage);
            StageNeeds {
                member: plan.member.clone(),
                stage: plan.stage.clone(),
                memory: need.and_then(|need| need.memory).unwrap_or(0),
                micro_batches: need.map_or(1, |need| need.micro_batches),
                steps: plan.steps,
            }
        })
        .collect();
    findings.disk = disk(config, findings);
    if let Some(need) = needs.into_iter().find(|need| need.problem.is_some()) {
        let section = need.section;
        if let Some(problem) = need.problem {
            let who = need.method.map_or("the teacher", Method::name);
            let stage = format!("{} of {who}", need.stage);
            let error = TrainError::TooLarge { stage, problem };
            return Err(Problem::new(&format!("{section}.batch"), error.to_string()));
        }
    }
    if let (Some(gpu), Precision::Mixed) = (gpu, config.precision) {
        gpu.check_half().map_err(|error| Problem::new("precision", error.to_string()))?;
    }
    if let (Some(gpu), true) = (gpu, measured) {
        findings.estimate =
            Some(estimate(config, &outline, &data, gpu).map_err(|error| of_training(&error))?);
    }
    Ok(())
}

/// The student of a configuration, for images of this shape.
pub(crate) fn network(config: &Config, shape: ImageShape, classes: usize) -> Network {
    models::network(&config.model, shape.extent(), classes as u32)
}

fn size(network: &Network) -> Result<NetworkSize, Problem> {
    network.size().map_err(|error| of_training(&error.into()))
}

/// The widths behind each block, the head's left out.
fn pairs(findings: &Findings) -> Vec<Pair> {
    let blocks = findings.teacher.as_ref().map_or(&[][..], |teacher| &teacher.blocks);
    let teacher = blocks.split_last().map_or(&[][..], |(_, blocks)| blocks);
    let both = findings.student.blocks.iter().zip(teacher).zip(1..);
    let pair = |((student, teacher), after_block): ((&BlockSize, &BlockSize), u32)| Pair {
        after_block,
        student: student.width,
        teacher: teacher.width,
    };
    both.map(pair).take(findings.student.blocks.len().saturating_sub(1)).collect()
}

/// A member keeps two checkpoints and writes a third; each has weights and two moments, and where there are tries, the first and the best
/// weights. Students are at most as large as their teachers while they have pairs.
fn disk(config: &Config, findings: &Findings) -> u64 {
    let tries = config.win.restarts.max(config.win.tune_restarts) > 1;
    let copies = if tries { 5 } else { 3 };
    let teacher = findings.teacher.as_ref().map_or(0, |teacher| teacher.params);
    let student = findings.student.params;
    let pairs: u64 = findings
        .pairs
        .iter()
        .map(|pair| 2 * u64::from(pair.student) * u64::from(pair.teacher))
        .sum();
    let member = |planned: &Planned| match planned.method {
        None => 4 * teacher * (3 * 3 + 1),
        Some(_) => 4 * (student + pairs) * (3 * copies) + 4 * student * 3,
    };
    LOGS + train::planned(config).iter().map(member).sum::<u64>()
}

fn of_data(error: &DataError) -> Problem {
    let field = match error {
        DataError::Setting { key, .. } | DataError::Count { key, .. } => key,
        _ => "data.path",
    };
    Problem::new(field, error.to_string())
}

fn of_training(error: &TrainError) -> Problem {
    let field = match error {
        TrainError::Data(error) => return of_data(error),
        TrainError::Network(_) => "model",
        TrainError::Gpu(_) => "device",
        TrainError::Format(_) | TrainError::Teacher { .. } => "teacher.from",
        _ => return Problem { field: None, message: error.to_string(), hint: error.hint() },
    };
    Problem { hint: error.hint(), ..Problem::new(field, error.to_string()) }
}

/// Seconds of a step of `network` on the labels, of so many inputs.
fn step(
    config: &Config,
    network: &Network,
    of_teacher: bool,
    data: &Dataset,
    gpu: &Arc<Gpu>,
) -> Result<(f64, u32), TrainError> {
    let recipe = match config.methods.first() {
        _ if of_teacher => config.wide.recipe(),
        None | Some(Method::Vanilla) => config.vanilla.recipe(),
        Some(Method::Kd) => config.kd.recipe(),
        Some(Method::Fitnets) => config.fitnets.recipe(),
        Some(Method::StartOnly | Method::Win) => config.tune.recipe(),
    };
    let of = Training {
        student: network,
        teacher: None,
        objective: Objective::Labels,
        recipe: &recipe,
        precision: config.precision,
    };
    let program = program::fit(&of, &gpu.target(), config.recompute)?;
    let mut session = Session::new(gpu, program)?;
    session.load_student(&nn::fresh(network, 0)?)?;
    let picks: Vec<usize> = (0..recipe.batch as usize).map(|at| at % data.train.len()).collect();
    let batch = data.train.gather(&picks)?;
    let (mut begun, mut done) = (Instant::now(), 0);
    loop {
        let (step, t) = (done as u32, (done + 1) as f32);
        let live = Live { step, lr: 1e-6, t, ..Live::rows(batch.rows as u32) };
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
fn estimate(
    config: &Config,
    outline: &Outline,
    data: &Dataset,
    gpu: &Arc<Gpu>,
) -> Result<Estimate, TrainError> {
    let (student, of_student) = step(config, &outline.student, false, data, gpu)?;
    let teacher = match config.methods.iter().any(|method| method.needs_teacher()) {
        true => Some(step(config, &outline.teacher, true, data, gpu)?),
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
