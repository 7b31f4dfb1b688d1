//! What a run will train, known before anything is.

use std::collections::BTreeMap;

pub use super::planned::{Planned, planned};
use super::{
    TrainError,
    measure::last_tap,
    teacher::{self, Imported},
};
use crate::{
    config::{BATCH, Bert, Config, Head, Method, Model, Start},
    data::{DataError, Dataset, Subject},
    event::{StageFacts, StagePlan},
    models,
    nn::{Network, NetworkError, Weights},
    plan::Target,
    step::Task,
    win::{
        algorithm::{self, Dependency, Stage},
        needs, start, surgery,
    },
};

/// What a run trains, known before anything is.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The thin network that is wanted.
    pub student: Network,
    /// The wide one: the student widened, or an imported network.
    pub teacher: Network,
    /// What networks are asked for.
    pub task: Task,
    /// Every stage, in order.
    pub stages: Vec<StagePlan>,
    /// What had to be assumed of a teacher from elsewhere, in words.
    pub warnings: Vec<String>,
}

/// The networks of a run.
#[derive(Debug, Clone)]
pub struct Networks {
    /// The thin network that is wanted.
    pub student: Network,
    /// The wide one: the student widened, or an imported network.
    pub teacher: Network,
    /// The teacher of each seed, where they were trained elsewhere.
    pub(super) imported: Option<BTreeMap<u64, Imported>>,
    /// What the configuration says that does not hold for such a student, in words.
    notes: Vec<String>,
}

impl Networks {
    /// What does not hold, and what had to be assumed of a teacher from elsewhere, in words.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.notes.clone();
        for warning in self.imported.iter().flat_map(|all| all.values()).flat_map(|of| &of.warnings)
        {
            if !warnings.contains(warning) {
                warnings.push(warning.clone());
            }
        }
        warnings
    }
}

/// [`Outline`] with what only training needs.
pub(super) struct Prepared {
    pub(super) outline: Outline,
    /// The teacher that is trained here.
    pub(super) wide: Network,
    /// The teacher of each seed, where they were trained elsewhere and teach as they are.
    pub(super) imported: Option<BTreeMap<u64, Imported>>,
    /// What the teacher of each seed begins with, where they were trained elsewhere and have a new head; none otherwise.
    pub(super) begun: BTreeMap<u64, Imported>,
    /// Trained weights that students begin with, if the configuration names some.
    pub(super) begins: Option<Weights>,
}

/// Networks and stages of a run on `data`.
///
/// # Errors
/// A setting that is not supported, a teacher that cannot be imported, a network whose pairs cannot be merged, a batch larger than the data.
pub fn outline(config: &Config, data: &Dataset) -> Result<Outline, TrainError> {
    prepare(config, data).map(|prepared| prepared.outline)
}

pub(super) fn prepare(config: &Config, data: &Dataset) -> Result<Prepared, TrainError> {
    let subject = data.subject();
    let numbers = u64::from(subject.input.width()) * subject.input.positions();
    for (key, recipe) in config.recipes() {
        if u64::from(recipe.batch).saturating_mul(numbers) > BATCH {
            let problem = format!(
                "is {}, and may be at most {}: a batch has at most {BATCH} numbers, and a sample here has {numbers}",
                recipe.batch,
                BATCH / numbers.max(1)
            );
            return Err(DataError::Setting { key, problem }.into());
        }
    }
    let networks = networks(config, &subject)?;
    let mut warnings = networks.warnings();
    let begins = match &config.model {
        Model::Bert(Bert { from: Some(from), .. }) => {
            let (weights, notes) = teacher::begin(from, &networks.student, &subject)?;
            warnings.extend(notes);
            Some(weights)
        }
        _ => None,
    };
    let Networks { student, teacher, imported, .. } = networks;
    let (imported, begun) = match config.teacher.head {
        Head::Same => (imported, BTreeMap::new()),
        Head::New => (None, imported.unwrap_or_default()),
    };
    let wide = match begun.is_empty() {
        true => surgery::widen(&student, config.teacher.factor, config.teacher.widen),
        false => teacher.clone(),
    };
    let stages = stage_plans(config, &student, &teacher, data.train.len() as u64)?;
    let outline = Outline { student, teacher, task: data.task(), stages, warnings };
    Ok(Prepared { outline, wide, imported, begun, begins })
}

/// The networks of a run on such data; the teachers are imported, if they come from elsewhere.
///
/// # Errors
/// A teacher that cannot be imported, or that a method of the run could not read: everything that does not depend on numbers is checked here.
pub fn networks(config: &Config, subject: &Subject) -> Result<Networks, TrainError> {
    let student = models::network(&config.model, subject.input, subject.output);
    student.shapes()?;
    let notes = notes(config, &student);
    let Some(from) = &config.teacher.from else {
        let teacher = surgery::widen(&student, config.teacher.factor, config.teacher.widen);
        fits(config, &student, &teacher)?;
        return Ok(Networks { student, teacher, imported: None, notes });
    };
    let mut imported = BTreeMap::new();
    for &seed in &config.seeds {
        let of = teacher::import(config, from, seed, &student, subject)?;
        fits(config, &student, &of.teacher.network).map_err(|error| TrainError::Teacher {
            from: from.clone(),
            message: error.to_string(),
            hint: None,
        })?;
        imported.insert(seed, of);
    }
    let first = imported.values().next().map(|of| of.teacher.network.clone());
    let none = || NetworkError::Mismatch("there is no seed".into());
    let teacher = first.ok_or_else(none)?;
    Ok(Networks { student, teacher, imported: Some(imported), notes })
}

/// What one should know of a configuration that asks for the default start of blocks that have none.
fn notes(config: &Config, student: &Network) -> Vec<String> {
    let greedy = config.methods.contains(&Method::Win) && config.win.start == Start::Greedy;
    let note = "blocks with model.bottleneck take no neurons of the teacher's: whatever win.start says, they begin with fresh weights, and embeddings and heads with the teacher's";
    (greedy && student.has_bottlenecks()).then(|| note.into()).into_iter().collect()
}

/// Refuses a teacher that one of the methods could not read; what says so names the block.
fn fits(config: &Config, student: &Network, teacher: &Network) -> Result<(), NetworkError> {
    teacher.shapes()?;
    for method in &config.methods {
        match method {
            // These read logits at most, and both networks have one for each class.
            Method::Vanilla | Method::Kd => {}
            Method::EmbeddingsOnly => start::takes_embeddings(student, teacher)?,
            Method::Fitnets => {
                let (thin, wide) = (student.shapes()?, teacher.shapes()?);
                let hinted = algorithm::hinted(thin.blocks.len());
                surgery::same_resolution(&thin, &wide, hinted)?;
                last_tap(student, hinted)?;
                last_tap(teacher, hinted)?;
            }
            Method::StartOnly | Method::Win => {
                let random = config.win.start == Start::Random;
                surgery::bridge(student, teacher, random)?;
                match (student.has_bottlenecks(), random) {
                    (true, _) => {
                        start::takes_embeddings(student, teacher)?;
                        (1..=teacher.blocks.len())
                            .try_for_each(|block| last_tap(teacher, block).map(drop))?;
                    }
                    (false, true) => start::fits_embeddings(student, teacher)?,
                    (false, false) => start::fits(student, teacher, &config.teacher.layer_map)?,
                }
            }
        }
    }
    Ok(())
}

/// Plans every stage before the first one is trained, and refuses a run with a stage that does not fit the device.
pub(super) fn refuse_what_does_not_fit(
    config: &Config,
    outline: &Outline,
    target: &Target,
) -> Result<(), TrainError> {
    let Outline { student, teacher, task, .. } = outline;
    for needs in needs::needs(config, student, teacher, *task, target)? {
        if let Some(problem) = needs.problem {
            let stage =
                format!("{} of {}", needs.stage, needs.method.map_or("the teacher", Method::name));
            return Err(TrainError::TooLarge { stage, problem });
        }
    }
    Ok(())
}

/// Everything that a run will train, in order.
fn stage_plans(
    config: &Config,
    student: &Network,
    teacher: &Network,
    train_count: u64,
) -> Result<Vec<StagePlan>, TrainError> {
    let (s, b) = (student.shapes()?.total_macs(), teacher.shapes()?.total_macs());
    let mut plans: Vec<StagePlan> = Vec::new();
    // The last stage of the teacher of the seed, where it is trained here.
    let mut teacher = None;
    for Planned { name, method, .. } in planned(config) {
        let first = plans.len();
        for stage in algorithm::of(config, method, train_count) {
            let batch = stage.batch();
            if batch > train_count {
                return Err(small(config, &stage, train_count).into());
            }
            let macs = match method {
                None => 3 * b,
                Some(_) if stage.kind.reads_teacher() => 3 * s + b,
                Some(_) => 3 * s,
            };
            let before = |of: &Dependency| match of {
                Dependency::Teacher => teacher,
                Dependency::Stage(place) => Some(first + place),
            };
            plans.push(StagePlan {
                member: name.clone(),
                stage: stage.name,
                steps: stage.steps,
                step_macs: macs * batch,
                facts: Some(StageFacts {
                    method,
                    section: stage.section.map(Into::into),
                    batch,
                    reads_teacher: stage.kind.reads_teacher(),
                    depends_on: stage.depends_on.iter().filter_map(before).collect(),
                }),
            });
        }
        if method.is_none() {
            teacher = plans.len().checked_sub(1);
        }
    }
    Ok(plans)
}

/// The error that the data have fewer images than a stage's batch.
fn small(config: &Config, stage: &Stage, train_count: u64) -> DataError {
    let section = stage.section.unwrap_or_default();
    let of_section = |key: &&str| key.strip_suffix(".batch") == Some(section);
    let key = config.recipes().into_iter().map(|(key, _)| key).find(of_section);
    let problem = format!(
        "{} of stage {} is more than the {train_count} training samples",
        stage.batch(),
        stage.name
    );
    DataError::Setting { key: key.unwrap_or("batch"), problem }
}
