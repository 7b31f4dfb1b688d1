//! The programs of a plan, and the plan.

use super::{
    error::ProgramError,
    graphs::{self, EVAL, Nets},
    task::{Counts, Task},
    training::{Saving, Training},
};
use crate::{
    config::Precision,
    graph::Graph,
    nn::{Folded, Input, Layout, Network, NetworkError},
    plan::{Plan, Target, compile},
};

/// Name of the program that trains.
pub const STEP: &str = "step";
/// Name of the program that adds the gradients of a micro-batch up.
pub const ACCUMULATE: &str = "accumulate";
/// Name of the program that applies the gradients that were added up.
pub const APPLY: &str = "apply";
/// Name of the program that tests.
pub const EVALUATE: &str = "evaluate";
/// Name of the program that measures an imitation.
pub const DISCREPANCY: &str = "discrepancy";

/// A stage's plan and where its tensors lie.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// The plan.
    pub plan: Plan,
    /// What the network is asked for.
    pub task: Task,
    /// What a training step reads of a batch: of `rows` samples. Empty where nothing is trained.
    pub inputs: Vec<Input>,
    /// What a test reads of a batch: of `test_rows` samples.
    pub test_inputs: Vec<Input>,
    /// Inputs that run at once: of the whole batch, or of a micro-batch.
    pub rows: u32,
    /// Inputs that a test takes at once: half as many in mixed precision, as tests store activations in f32.
    pub test_rows: u32,
    /// Micro-batches of a step.
    pub micro_batches: u32,
    /// Layout of `student.*`.
    pub student: Layout,
    /// What lies in `teacher.*`, if a teacher runs: it is always in eval mode, so its batch norms are part of its convolutions.
    pub teacher: Option<Folded>,
    /// Weight-decay words of each piece of the trained range, in the buffers `student.decay0`, …
    pub decay_words: Vec<Vec<u32>>,
    /// What the means of a step's loss are over, or of its first part.
    pub counts: Counts,
    /// What the means of the parts of an imitation's discrepancy are over; of a test's loss they are [`Task::parts`].
    pub imitated: Vec<Counts>,
}

impl Program {
    /// Whether a step is `accumulate`, once a micro-batch, and `apply`; else it is `step`.
    pub fn is_apart(&self) -> bool {
        self.plan.programs.contains_key(APPLY)
    }

    /// Floating-point operations of a training step, whose micro-batches it runs.
    pub fn flops(&self) -> u64 {
        let of = |name| self.plan.flops(name);
        match self.is_apart() {
            true => u64::from(self.micro_batches) * of(ACCUMULATE) + of(APPLY),
            false => of(STEP),
        }
    }
}

/// Plans a training stage whose batch runs at once.
///
/// # Errors
/// If the networks do not fit each other, a batch norm gets one value a channel, or the plan does not fit the target; the error names the
/// layer, the tensor, or the buffer.
pub fn program(of: &Training<'_>, target: &Target) -> Result<Program, ProgramError> {
    saving(of, target, Saving::default())
}

/// Plans a training stage that saves memory in the given way.
///
/// # Errors
/// As [`program`].
pub fn saving(
    of: &Training<'_>,
    target: &Target,
    Saving { micro_batches, recompute, apart }: Saving,
) -> Result<Program, ProgramError> {
    if of.task == Task::Spans && of.recipe.label_smoothing > 0.0 {
        let message = "label_smoothing spreads a label over all classes, and of a sample's tokens those behind its end are none: 0 is allowed for spans";
        return Err(NetworkError::Unsupported(message.into()).into());
    }
    let shapes = of.student.shapes()?;
    let layout = match of.precision {
        Precision::F32 => Layout::of(&shapes),
        Precision::Mixed => Layout::with_f16(&shapes),
    };
    let teacher = of.teacher.filter(|_| of.objective.needs_teacher());
    let teacher = teacher.map(Folded::of).transpose()?;
    let micro_batches = micro_batches.clamp(1, of.recipe.batch.max(1));
    let rows = of.recipe.batch.div_ceil(micro_batches);
    // Only as many as get a row: a batch of 9 in 4 parts is 3 parts of 3.
    let micro_batches = of.recipe.batch.div_ceil(rows.max(1)).max(1);
    if rows <= 1
        && let Some(layer) = of.of_one_position(&shapes)
    {
        return Err(NetworkError::OneValue { layer: layer.into() }.into());
    }
    let nets = Nets { of, rows, recompute, layout: &layout, teacher: teacher.as_ref() };
    let (mut programs, decay_words) = match micro_batches {
        1 if !apart => {
            let (step, words) = nets.step(target)?;
            (vec![(STEP, step)], words)
        }
        _ => {
            let (apply, words) = nets.apply(target)?;
            (vec![(ACCUMULATE, nets.accumulate(target)?), (APPLY, apply)], words)
        }
    };
    if let Some(evaluate) = nets.evaluate()? {
        programs.push((EVALUATE, evaluate));
    }
    if let Some(discrepancy) = nets.discrepancy()? {
        programs.push((DISCREPANCY, discrepancy));
    }
    let graphs: Vec<(&str, &Graph)> = programs.iter().map(|(name, graph)| (*name, graph)).collect();
    let plan = compile(&graphs, target)?;
    let test_rows = nets.test_rows();
    let inputs = read(&plan, graphs::inputs("", &of.networks(), of.task, rows));
    let test_inputs = read(&plan, graphs::inputs(EVAL, &of.networks(), of.task, test_rows));
    Ok(Program {
        plan,
        task: of.task,
        inputs,
        test_inputs,
        rows,
        test_rows,
        micro_batches,
        student: layout,
        teacher,
        decay_words,
        counts: of.counts(),
        imitated: of.objective.parts(of.task),
    })
}

/// The inputs that a plan reads: an imitation has no use for labels.
fn read(plan: &Plan, mut inputs: Vec<Input>) -> Vec<Input> {
    inputs.retain(|input| plan.buffer(&input.buffer).is_some());
    inputs
}

/// Plans a training stage in the fewest micro-batches that fit the target.
///
/// # Errors
/// As [`saving`], of a step in the smallest micro-batches that there may be.
pub fn fit(of: &Training<'_>, target: &Target, recompute: bool) -> Result<Program, ProgramError> {
    let cut = |micro_batches| saving(of, target, Saving { micro_batches, recompute, apart: false });
    let mut best = match cut(1) {
        Err(error) if error.is_size() => Err(error),
        other => return other,
    };
    // Fewer rows never need more, so the fewest parts that fit are found by halving.
    let cuts = of.cuts()?;
    let (mut low, mut high) = (0, cuts.len());
    while low < high {
        let middle = low.midpoint(high);
        match cut(cuts[middle]) {
            Err(error) if !error.is_size() => return Err(error),
            Err(error) if best.is_err() => (best, low) = (Err(error), middle + 1),
            Err(_) => low = middle + 1,
            fits => (best, high) = (fits, middle),
        }
    }
    best
}

/// Plans by `plan` for as many rows as fit: for `most`, else for half of them, and so on.
///
/// # Errors
/// Of one row, if not even that fits.
pub fn at_once<T>(
    most: u32,
    plan: impl Fn(u32) -> Result<T, ProgramError>,
) -> Result<T, ProgramError> {
    let mut rows = most;
    loop {
        match plan(rows) {
            Err(error) if error.is_size() && rows > 1 => rows = rows.div_ceil(2),
            other => return other,
        }
    }
}

/// Plans the evaluation of a network by itself: `evaluate` with loss and hits, of at most `batch` inputs at once.
///
/// # Errors
/// As [`program`], of one input at a time.
pub fn evaluation(
    network: &Network,
    task: Task,
    batch: u32,
    target: &Target,
) -> Result<Program, ProgramError> {
    at_once(batch, |rows| evaluation_of(network, task, rows, target))
}

fn evaluation_of(
    network: &Network,
    task: Task,
    rows: u32,
    target: &Target,
) -> Result<Program, ProgramError> {
    let layout = Layout::of(&network.shapes()?);
    let graph = graphs::evaluation(network, task, &layout, rows)?;
    let plan = compile(&[(EVALUATE, &graph)], target)?;
    let test_inputs = read(&plan, graphs::inputs(EVAL, &[network], task, rows));
    Ok(Program {
        plan,
        task,
        inputs: Vec::new(),
        test_inputs,
        rows,
        test_rows: rows,
        micro_batches: 1,
        student: layout,
        teacher: None,
        decay_words: Vec::new(),
        counts: task.counts(),
        imitated: Vec::new(),
    })
}
