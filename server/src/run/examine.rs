//! What a configuration comes to, before anything is trained. `taper inspect` prints it; the server asks it of a process of its own, as it
//! opens data and a device.

use std::path::Path;
use std::sync::Arc;

use engine::config::{Config, Data, Images, Length, Method, Model, Precision, Split, presets};
use engine::data::{self, Account, DataError, Dataset};
use engine::device::{Device, DeviceError};
use engine::event::StagePlan;
use engine::models;
use engine::nn::{BlockSize, Extent, Network, NetworkSize};
use engine::plan::{Limits, PlanError, Target};
use engine::train::{self, Outline, Planned, TrainError};
use engine::win::algorithm;
use engine::win::needs::{Needs, needs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::estimate::{Estimate, estimate};
use crate::folders;

/// What becomes of batches that are split.
const SPLIT: &str = "split = \"batch\": each batch is cut into equal parts, which all devices run; a stage times them when it begins, and a faster one gets more. Batch norm's statistics are those of a part";

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

/// What a stage of a member takes.
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
    /// Optimiser steps over all its restarts.
    pub(crate) steps: u64,
}

/// What a stage of a method takes, whatever the seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MethodNeeds {
    /// `teacher`, or the method.
    pub(crate) method: String,
    pub(crate) stage: String,
    pub(crate) batch: u32,
    /// Inputs that run at once: fewer than `batch` where a step is cut into micro-batches.
    pub(crate) micro_batch: u32,
    pub(crate) micro_batches: u32,
    /// Whether batch norm's statistics are those of a micro-batch.
    pub(crate) micro_batch_statistics: bool,
    /// Bytes of all buffers of the plan, also where the device's limits do not allow it; none where no device's would.
    pub(crate) memory: Option<u64>,
    /// Which limit of the device does not even allow the smallest micro-batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// How many optimiser steps a method takes, all restarts counted, whatever the seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MethodSteps {
    /// `teacher`, or the method.
    pub(crate) method: String,
    /// In all.
    pub(crate) steps: u64,
    /// Those of each section of the configuration, in the order in which they are taken.
    pub(crate) sections: Vec<(String, u64)>,
}

/// The steps of the teacher's training and of each method; of those alone whose length does not depend on the data, where these are not there.
fn steps(config: &Config, train_count: Option<u64>) -> Vec<MethodSteps> {
    let taught = config.teacher.is_trained() && config.methods.iter().any(|m| m.needs_teacher());
    let methods = config.methods.iter().copied().map(Some);
    let of = |method: Option<Method>| {
        let stages = algorithm::of(config, method, train_count.unwrap_or(1));
        let mut sections: Vec<(String, u64)> = Vec::new();
        for stage in &stages {
            let (Some(section), Some(recipe)) = (stage.section, &stage.recipe) else { continue };
            if train_count.is_none() && matches!(recipe.length, Length::Epochs(_)) {
                return None;
            }
            match sections.last_mut().filter(|(last, _)| last == section) {
                Some((_, steps)) => *steps += stage.steps,
                None => sections.push((section.into(), stage.steps)),
            }
        }
        let steps = sections.iter().map(|(_, steps)| steps).sum();
        Some(MethodSteps { method: who(method).into(), steps, sections })
    };
    taught.then_some(None).into_iter().chain(methods).filter_map(of).collect()
}

/// A method as stages name it.
fn who(method: Option<Method>) -> &'static str {
    method.map_or("teacher", Method::name)
}

impl From<&Needs> for MethodNeeds {
    fn from(needs: &Needs) -> Self {
        Self {
            method: who(needs.method).into(),
            stage: needs.stage.clone(),
            batch: needs.batch,
            micro_batch: needs.rows,
            micro_batches: needs.micro_batches,
            micro_batch_statistics: needs.micro_batches > 1 && needs.normalises_by_batch,
            memory: needs.memory,
            problem: needs.problem.as_ref().map(ToString::to_string),
        }
    }
}

/// What the networks read and answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subject {
    /// Height and width in pixels.
    pub(crate) size: u32,
    pub(crate) channels: u32,
    /// Tokens of a text, in the place of pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tokens: Option<u32>,
    /// Classes; of text, words of the vocabulary.
    pub(crate) classes: u32,
    /// Whether the data is not there, so that the kind's usual numbers stand here.
    pub(crate) assumed: bool,
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

/// What a configuration comes to, as far as it could be found out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Findings {
    /// Why it would be refused.
    pub(crate) problem: Option<Problem>,
    pub(crate) input: Subject,
    pub(crate) student: NetworkSize,
    pub(crate) teacher: Option<NetworkSize>,
    pub(crate) pairs: Vec<Pair>,
    /// What the stages of each method need of the device.
    pub(crate) needs: Vec<MethodNeeds>,
    /// How long each method trains, where that is known.
    pub(crate) steps: Vec<MethodSteps>,
    pub(crate) data: Option<DataFacts>,
    /// What was read of the data.
    pub(crate) account: Option<Account>,
    pub(crate) estimate: Option<Estimate>,
    /// Where it departs from the paper.
    pub(crate) deviations: Vec<String>,
    /// What a run would train.
    pub(crate) plans: Vec<StagePlan>,
    /// Bytes that checkpoints, models and logs take at most.
    pub(crate) disk: u64,
    /// What a teacher from elsewhere brings along, and what has to be assumed of it.
    pub(crate) notes: Vec<String>,
    /// How pictures are framed, what a teacher from elsewhere says of it included: `data.size` and so on.
    pub(crate) framed: Option<Data>,
}

impl Findings {
    /// A configuration with what was found out about its pictures written down.
    pub(crate) fn settled(&self, config: &Config) -> Config {
        let mut config = config.clone();
        if let Some(Data::Images(framed)) = self.framed.clone() {
            let Images { size, interpolation, crop, mean, std, .. } = framed;
            if let Data::Images(data) = &mut config.data {
                *data = Images { size, interpolation, crop, mean, std, ..data.clone() };
            }
        }
        config
    }

    /// Widths of each block, of student and teacher.
    pub(crate) fn widths(&self) -> Vec<(u32, u32)> {
        self.pairs.iter().map(|pair| (pair.student, pair.teacher)).collect()
    }

    /// What each stage of a run takes.
    pub(crate) fn stages(&self) -> Vec<StageNeeds> {
        let stage = |plan: &StagePlan| {
            let method = who(plan.facts.as_ref().and_then(|facts| facts.method));
            let need =
                self.needs.iter().find(|need| need.method == method && need.stage == plan.stage);
            StageNeeds {
                member: plan.member.clone(),
                stage: plan.stage.clone(),
                memory: need.and_then(|need| need.memory).unwrap_or(0),
                micro_batches: need.map_or(1, |need| need.micro_batches),
                steps: plan.steps,
            }
        };
        self.plans.iter().map(stage).collect()
    }
}

/// What a configuration is examined for.
#[derive(Debug, Clone, Copy)]
enum Purpose<'a> {
    /// To be shown: without its data for what such data usually are, and what does not fit the device is a finding.
    Show,
    /// To be trained, on this device if there is one: what stands in the way is a refusal. Steps are timed if they are to be `measured`.
    Train { gpu: Option<&'a Arc<dyn Device>>, measured: bool },
}

/// What stands in the way of a run.
struct Refusal {
    error: Box<TrainError>,
    /// The key that is meant, where the error does not say it.
    field: Option<String>,
}

impl<E: Into<TrainError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Refusal { error: Box::new(error.into()), field: None }
    }
}

impl From<Refusal> for Problem {
    fn from(Refusal { error, field }: Refusal) -> Self {
        let (message, hint) = (error.to_string(), error.hint());
        let field = match &*error {
            _ if field.is_some() => return Problem { field, message, hint: None },
            TrainError::Data(DataError::Setting { key, .. } | DataError::Count { key, .. }) => {
                Some(*key)
            }
            TrainError::Data(_) => Some("data.path"),
            TrainError::Network(_) => Some("model"),
            TrainError::Device(_) => Some("device"),
            TrainError::Format(_) | TrainError::Teacher { .. } => Some("teacher.from"),
            TrainError::Begin { .. } => Some("model.from"),
            _ => None,
        };
        Problem { field: field.map(str::to_owned), message, hint }
    }
}

/// Looks at a configuration that is to be trained. With a device its limits hold, and steps are timed if they are to be `measured`; without
/// one the limits of `target` hold.
pub(crate) fn examine(
    config: &Config,
    gpu: Option<&Arc<dyn Device>>,
    target: &Target,
    measured: bool,
) -> Findings {
    let mut findings = Findings::default();
    let filled = fill(&mut findings, config, target, Purpose::Train { gpu, measured });
    findings.problem = filled.err().map(Problem::from);
    findings
}

/// Looks at a configuration for who wants to know it.
///
/// # Errors
/// It has no networks, or its data are there and cannot be read.
pub(crate) fn show(config: &Config, target: &Target) -> Result<Findings, TrainError> {
    let mut findings = Findings::default();
    fill(&mut findings, config, target, Purpose::Show).map_err(|refusal| *refusal.error)?;
    Ok(findings)
}

fn fill(
    findings: &mut Findings,
    config: &Config,
    target: &Target,
    purpose: Purpose<'_>,
) -> Result<(), Refusal> {
    findings.deviations = presets::deviations(config);
    let (config, notes) = train::settled(config)?;
    (findings.notes, findings.framed) = (notes, Some(config.data.clone()));
    let config = &config;
    let data = open(findings, config, purpose)?;
    let subject = match &data {
        Some(data) => data.subject(),
        None => train::presumed(config)?,
    };
    let assumed = data.is_none() && !config.data.is_built_in();
    findings.input = input(&subject, assumed);
    findings.student = models::network(&config.model, subject.input, subject.output).size()?;
    let outline = data.as_ref().map(|data| train::outline(config, data)).transpose();
    let (student, teacher, warnings) = match &outline {
        Ok(Some(Outline { student, teacher, warnings, .. })) => {
            (student.clone(), teacher.clone(), warnings.clone())
        }
        _ => {
            let networks = train::networks(config, &subject)?;
            let warnings = networks.warnings();
            (networks.student, networks.teacher, warnings)
        }
    };
    findings.notes.extend(warnings);
    if config.split == Split::Batch {
        findings.notes.push(SPLIT.into());
    }
    sizes(findings, &student, &teacher)?;
    let outline = match (outline, purpose) {
        (Err(error), Purpose::Show) => {
            findings.notes.push(format!("a run would be refused: {error}"));
            None
        }
        (outline, _) => outline?,
    };
    findings.steps = steps(config, data.as_ref().map(|data| data.train.len() as u64));
    findings.plans = outline.as_ref().map_or_else(Vec::new, |outline| outline.stages.clone());
    let limits = Limits { memory: config.memory_budget, ..target.limits };
    let needs = needs(config, &student, &teacher, subject.task(), &Target { limits, ..*target })?;
    findings.needs = needs.iter().map(MethodNeeds::from).collect();
    findings.disk = disk(config, findings);
    if let (Purpose::Train { gpu, measured }, Some(outline), Some(data)) = (purpose, outline, data)
    {
        fits(needs, config, target)?;
        if let (Some(gpu), Precision::Mixed) = (gpu, config.precision) {
            let field = Some("precision".into());
            let refused = |error: DeviceError| Refusal { error: Box::new(error.into()), field };
            gpu.check_half().map_err(refused)?;
        }
        if let (Some(gpu), true) = (gpu, measured) {
            findings.estimate = Some(estimate(config, &outline, &data, gpu)?);
        }
    }
    Ok(())
}

/// The data, which have to be there if they are to be trained on; where they cannot be opened then, the networks are those for what such data
/// usually are.
fn open(
    findings: &mut Findings,
    config: &Config,
    purpose: Purpose<'_>,
) -> Result<Option<Dataset>, Refusal> {
    let there = || config.data.path().is_some_and(|path| Path::new(path).exists());
    if matches!(purpose, Purpose::Show) && !there() {
        return Ok(None);
    }
    let opened = data::open(config, folders::cache().as_deref(), None);
    if opened.is_err()
        && let Ok(subject) = train::presumed(config)
        && let Ok(networks) = train::networks(config, &subject)
    {
        sizes(findings, &networks.student, &networks.teacher)?;
    }
    let data = opened?;
    findings.data = Some(DataFacts {
        train_count: data.train.len(),
        test_count: data.test.len(),
        classes: data.output().width() as usize,
    });
    findings.account = Some(data.account.clone());
    Ok(Some(data))
}

/// Refuses a stage that no micro-batch makes small enough.
fn fits(needs: Vec<Needs>, config: &Config, target: &Target) -> Result<(), Refusal> {
    let Some(need) = needs.into_iter().find(|need| need.problem.is_some()) else { return Ok(()) };
    let Some(problem) = need.problem else { return Ok(()) };
    let stage = format!("{} of {}", need.stage, need.method.map_or("the teacher", Method::name));
    let field = match problem {
        PlanError::Budget { .. } => "memory_budget",
        _ => helps(config, target),
    };
    let field = Some(field.to_owned());
    Err(Refusal { error: Box::new(TrainError::TooLarge { stage, problem }), field })
}

/// The key by which all stages would fit, where a single input does not: a batch is made small enough without anybody.
fn helps(config: &Config, target: &Target) -> &'static str {
    let fits = |config: &Config| {
        let subject = train::presumed(config).ok()?;
        let networks = train::networks(config, &subject).ok()?;
        let needs = needs(config, &networks.student, &networks.teacher, subject.task(), target);
        Some(needs.ok()?.iter().all(|need| need.problem.is_none()))
    };
    let tried = |change: fn(&mut Config)| {
        let mut changed = config.clone();
        change(&mut changed);
        fits(&changed) == Some(true)
    };
    if tried(|config| config.teacher.factor = 1) {
        return "teacher.factor";
    }
    let small = |config: &mut Config| {
        if let Data::Images(images) = &mut config.data {
            images.size = images.size.map(|size| size.min(32));
        }
    };
    if tried(small) {
        return "data.size";
    }
    match config.model {
        Model::Mlp(_) | Model::Bert(_) => "model.hidden",
        Model::Resnet(_) => "model.base",
        Model::Resnet50(_) | Model::Resnet101(_) => "model.width",
    }
}

fn input(of: &data::Subject, assumed: bool) -> Subject {
    let (size, channels, tokens) = match of.input {
        Extent::Map(height, _, channels) => (height, channels, None),
        Extent::Flat(numbers) => (1, numbers, None),
        Extent::Tokens(length) | Extent::Sequence(length, _) => (length, 1, Some(length)),
    };
    Subject { size, channels, tokens, classes: of.output.width(), assumed }
}

fn sizes(findings: &mut Findings, student: &Network, teacher: &Network) -> Result<(), Refusal> {
    findings.student = student.size()?;
    findings.teacher = Some(teacher.size()?);
    // The maps of bottlenecks are the student's own.
    findings.pairs = if student.has_bottlenecks() { Vec::new() } else { pairs(findings) };
    Ok(())
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

/// A member keeps two checkpoints and writes a third; each has weights and two moments, and where there are restarts, the first and the best
/// weights. Students are at most as large as their teachers while they have pairs.
fn disk(config: &Config, findings: &Findings) -> u64 {
    let restarts = config.win.restarts.max(config.win.tune_restarts) > 1;
    let copies = if restarts { 5 } else { 3 };
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
