//! A stage as graphs, and the graphs as one plan.
//!
//! Programs of a plan: `step` (forward, loss, backward, optimiser), `evaluate` (loss and hits of the network as it would be used
//! now), `discrepancy` (of an imitation, in eval mode). Two networks, `student` and `teacher`, each with its own flat buffers.
//!
//! In mixed precision a step stores its activations and their gradients as f16, and works with a copy of the student's matrices in f16 that
//! its first dispatch makes. The loss is scaled. All other programs are f32, from `student.params`.
//!
//! Where a step does not fit the device, `accumulate` and `apply` stand in its place: see `micro_batches.rs`.

use thiserror::Error;

use super::algorithm::Task;
pub use super::micro_batches::{Saving, at_once, fit};
use crate::{
    config::{Discrepancy, Optimizer, Precision, Recipe, Target as TuneTarget, Win},
    graph::{Graph, ShapeError, Value},
    nn::{Bound, Folded, Layout, Mode, Network, NetworkError, Pair, build},
    ops::{
        Reads,
        accuracy::hits,
        adam::Adam,
        clip::clip,
        cross_entropy::cross_entropy,
        elementwise::{Add, Copy, Scale},
        kl::{Kl, kl},
        mse::mse,
        narrow, parts, scaler,
        sgd::{Sgd, Tensors, optimise},
    },
    plan::{Plan, PlanError, Target, compile},
};

/// Where the loss lies in the buffer `metrics`, in 64-float slots.
pub const LOSS: usize = 0;
/// Where the number of hits lies in the buffer `metrics`.
pub const HITS: usize = 1;
/// Where the scale of the next step's loss lies in the buffer `metrics`, if the loss is scaled.
pub const LOSS_SCALE: usize = 2;
/// Where the number of steps lies there that were skipped since the try began.
pub const SKIPPED: usize = 3;
/// Name of the buffer that holds what loss scaling knows, [`scaler::STATE`] words.
pub const SCALER: &str = "student.scaler";
/// Name of the program that trains.
pub const STEP: &str = "step";
/// Name of the program that adds the gradients of a micro-batch up.
pub const ACCUMULATE: &str = "accumulate";
/// Name of the program that ends a step of several micro-batches.
pub const APPLY: &str = "apply";
/// Name of the program that tests.
pub const EVALUATE: &str = "evaluate";
/// Name of the program that measures an imitation.
pub const DISCREPANCY: &str = "discrepancy";

/// What a network is trained for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// Cross entropy with the labels.
    Labels,
    /// (1 − α) CE + α T² KL(teacher ‖ student at T).
    Distill {
        /// α.
        alpha: f64,
        /// T.
        temperature: f64,
    },
    /// The teacher's output after its first blocks; the student is a prefix that ends in a lift.
    Imitate {
        /// How far the two are apart.
        discrepancy: Discrepancy,
        /// Factor of the squared error: 1 / variance of the target for `relative_mse`.
        scale: f32,
        /// Whether only the last block is trained.
        freeze: bool,
    },
}

impl Objective {
    /// Whether a teacher runs in each step.
    pub fn needs_teacher(self) -> bool {
        self != Objective::Labels
    }
}

/// Why a stage cannot be planned.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum ProgramError {
    /// The network is not one.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Its plan does not fit.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl From<ShapeError> for ProgramError {
    fn from(error: ShapeError) -> Self {
        PlanError::from(error).into()
    }
}

impl ProgramError {
    /// Whether the plan might fit with fewer rows.
    pub fn is_size(&self) -> bool {
        matches!(self, Self::Plan(error) if error.is_size())
    }
}

/// A stage's plan and where its tensors lie.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// The plan.
    pub plan: Plan,
    /// Inputs that run at once: of the whole batch, or of a micro-batch.
    pub rows: u32,
    /// Inputs that a test takes at once: half as many where activations are halved in steps, which tests do not do.
    pub test_rows: u32,
    /// Micro-batches of a step.
    pub micro_batches: u32,
    /// Layout of `student.*`.
    pub student: Layout,
    /// What lies in `teacher.*`, if a teacher runs: it is always in eval mode, so its batch norms are part of its convolutions.
    pub teacher: Option<Folded>,
    /// Weight-decay words of each piece of the trained range, in the buffers `student.decay0`, …
    pub decay_words: Vec<u64>,
}

/// What a plan is made of.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// The network that is trained.
    pub student: &'a Network,
    /// The teacher, whole.
    pub teacher: Option<&'a Network>,
    /// What for.
    pub objective: Objective,
    /// How.
    pub recipe: &'a Recipe,
    /// Of its steps; everything else is done in f32.
    pub precision: Precision,
}

/// The networks of a method, before they are trained.
#[derive(Debug, Clone, Copy)]
pub struct Networks<'a> {
    /// S.
    pub student: &'a Network,
    /// B, where the method has a teacher.
    pub teacher: Option<&'a Network>,
    /// S̄, while its pairs are inserted.
    pub bridged: Option<&'a Network>,
}

/// Name of FitNets' regressor, which is thrown away after the hint stage.
pub const REGRESSOR: &str = "regressor";

impl Networks<'_> {
    /// The network that a stage trains.
    ///
    /// # Errors
    /// If the stage needs a network that is not there.
    pub fn trained(&self, task: Task) -> Result<Network, NetworkError> {
        let missing = |what: &str| NetworkError::Mismatch(format!("this stage needs {what}"));
        Ok(match task {
            Task::Narrow { block } => {
                self.bridged.ok_or_else(|| missing("a bridged network"))?.prefix(block)
            }
            Task::Hint { blocks } => {
                let teacher = self.teacher.ok_or_else(|| missing("a teacher"))?;
                let mut network = self.student.prefix(blocks);
                let out = teacher.prefix(blocks).shapes()?.output.width();
                network.blocks[blocks - 1].lift = Some(Pair { name: REGRESSOR.into(), out });
                network
            }
            _ => self.bridged.unwrap_or(self.student).clone(),
        })
    }
}

/// What a task trains for. `scale` is the factor of an imitation's squared error.
pub fn objective(task: Task, win: &Win, scale: f32) -> Objective {
    match task {
        Task::Distill { alpha, temperature } => Objective::Distill { alpha, temperature },
        Task::Tune { target: TuneTarget::Teacher } => {
            Objective::Distill { alpha: 1.0, temperature: 1.0 }
        }
        Task::Narrow { .. } => {
            Objective::Imitate { discrepancy: win.discrepancy, scale, freeze: win.freeze }
        }
        Task::Hint { .. } => {
            Objective::Imitate { discrepancy: Discrepancy::RelativeMse, scale, freeze: false }
        }
        _ => Objective::Labels,
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
    Saving { micro_batches, recompute }: Saving,
) -> Result<Program, ProgramError> {
    let shapes = of.student.shapes()?;
    let layout = match of.precision {
        Precision::F32 => Layout::of(&shapes),
        Precision::Mixed => Layout::of_halves(&shapes),
    };
    let teacher = of.teacher.filter(|_| of.objective.needs_teacher());
    let teacher = teacher.map(Folded::of).transpose()?;
    let micro_batches = micro_batches.clamp(1, of.recipe.batch.max(1));
    let rows = of.recipe.batch.div_ceil(micro_batches);
    // As many as have a row: 4 of a batch of 9 are 3 of 3.
    let micro_batches = of.recipe.batch.div_ceil(rows.max(1)).max(1);
    if rows <= 1
        && let Some(layer) = of.of_one_position(&shapes)
    {
        return Err(NetworkError::OneValue { layer: layer.into() }.into());
    }
    let nets = Nets { of, rows, recompute, layout: &layout, teacher: teacher.as_ref() };
    let (mut programs, decay_words) = match micro_batches {
        1 => {
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
    Ok(Program { plan, rows, test_rows, micro_batches, student: layout, teacher, decay_words })
}

/// Plans the evaluation of a network by itself: `evaluate` with loss and hits, of at most `batch` inputs at once.
///
/// # Errors
/// As [`program`], of one input at a time.
pub fn evaluation(network: &Network, batch: u32, target: &Target) -> Result<Program, ProgramError> {
    at_once(batch, |rows| evaluation_of(network, rows, target))
}

fn evaluation_of(network: &Network, rows: u32, target: &Target) -> Result<Program, ProgramError> {
    let layout = Layout::of(&network.shapes()?);
    let mut graph = Graph::new();
    let inputs = Inputs::new(&mut graph, "eval.", network, rows);
    let bound = Bound::new(&mut graph, "student", &layout);
    let range = 0..network.blocks.len();
    let built = build(&mut graph, network, &bound, inputs.images, range, |_| Mode::Eval)?;
    test(&mut graph, built.output, &inputs)?;
    if let Some(logits) = built.output {
        graph.place(logits, "logits", 0);
    }
    let plan = compile(&[(EVALUATE, &graph)], target)?;
    let (teacher, decay_words) = (None, Vec::new());
    let (test_rows, micro_batches) = (rows, 1);
    Ok(Program { plan, rows, test_rows, micro_batches, student: layout, teacher, decay_words })
}

struct Inputs {
    images: Value,
    labels: Value,
}

impl Inputs {
    fn new(graph: &mut Graph, prefix: &str, network: &Network, batch: u32) -> Self {
        Self {
            images: graph.input(&format!("{prefix}images"), &network.input.batch(batch)),
            labels: graph.input(&format!("{prefix}labels"), &[batch]),
        }
    }
}

/// Loss and hits of logits, into the metrics.
fn test(graph: &mut Graph, logits: Option<Value>, inputs: &Inputs) -> Result<(), ShapeError> {
    let Some(logits) = logits else { return Ok(()) };
    let loss = graph.scoped("loss", |g| cross_entropy(g, logits, inputs.labels, 0.0))?;
    let hits = graph.scoped("accuracy", |g| hits(g, logits, inputs.labels))?;
    place(graph, loss, LOSS);
    place(graph, hits, HITS);
    Ok(())
}

fn place(graph: &mut Graph, value: Value, slot: usize) {
    graph.buffer("metrics", 64 * (slot.max(HITS) as u64 + 1));
    graph.place(value, "metrics", slot as u64 * 64);
}

/// What a backward pass leaves: the loss, the hits where the network has a head, and the gradients in `student.grads`.
pub(super) struct Pass {
    pub(super) loss: Value,
    pub(super) hits: Option<Value>,
    pub(super) grads: Vec<Value>,
}

/// The networks of a stage while their graphs are built.
pub(super) struct Nets<'a> {
    pub(super) of: &'a Training<'a>,
    /// Inputs that run at once.
    rows: u32,
    /// Whether activations are made anew.
    recompute: bool,
    layout: &'a Layout,
    teacher: Option<&'a Folded>,
}

impl Nets<'_> {
    fn blocks(&self) -> usize {
        self.of.student.blocks.len()
    }

    /// Whether activations are stored as f16 and the loss is scaled.
    fn mixed(&self) -> bool {
        self.of.precision == Precision::Mixed
    }

    fn test_rows(&self) -> u32 {
        if self.mixed() { self.rows.div_ceil(2) } else { self.rows }
    }

    /// Whether only the last block is trained.
    fn frozen(&self) -> bool {
        matches!(self.of.objective, Objective::Imitate { freeze: true, .. })
    }

    /// Range of the flat parameters that is trained.
    fn trained(&self) -> std::ops::Range<u64> {
        let first = if self.frozen() { self.layout.blocks[self.blocks() - 1] } else { 0 };
        first..self.layout.param_floats
    }

    fn step(&self, target: &Target) -> Result<(Graph, Vec<u64>), ProgramError> {
        let mut graph = Graph::new();
        let g = &mut graph;
        let Pass { loss, hits, grads } = self.pass(g, target)?;
        place(g, loss, LOSS);
        if let Some(hits) = hits {
            place(g, hits, HITS);
        }
        let words = self.optimise(g, "grads", &grads, target)?;
        Ok((graph, words))
    }

    /// Forward, loss and backward.
    pub(super) fn pass(&self, g: &mut Graph, target: &Target) -> Result<Pass, ProgramError> {
        let inputs = Inputs::new(g, "", self.of.student, self.rows);
        let student = if self.mixed() { self.halve(g, target)? } else { self.bind(g) };
        let last = self.blocks() - 1;
        let frozen = self.frozen();
        let mode = |block| if frozen && block < last { Mode::Eval } else { Mode::Train };
        let built = build(g, self.of.student, &student, inputs.images, 0..self.blocks(), mode)?;
        let output = built.output.expect("a network has an output");
        let teacher = self.teach(g, inputs.images)?;
        let loss = self.loss(g, output, teacher, inputs.labels)?;

        // Gradients of the trained tensors into `student.grads`, where the parameters lie in `student.params`.
        let trained = self.trained();
        let slots: Vec<_> =
            self.layout.params.iter().filter(|(_, s)| s.offset >= trained.start).collect();
        let wrt: Vec<Value> = slots.iter().map(|(name, _)| student.get(name)).collect();
        let forward = g.nodes().len();
        let grads = match self.mixed() {
            false => g.backward(loss, &wrt)?,
            true => {
                let scale = g.named(SCALER, 0, &[1], "loss scale");
                g.backward_from(loss, scale, &wrt)?
            }
        };
        g.buffer("student.grads", self.layout.param_floats);
        let places: Vec<_> =
            grads.iter().zip(&slots).map(|(&grad, (_, slot))| (grad, slot.offset)).collect();
        let most = target.limits.binding_bytes / 4;
        let written = parts::place(g, &places, ["student.grads", "student.parts"], most)?;
        if self.recompute {
            // The last block's gradients come at once: what it would give back is wanted again before anything else is.
            g.recompute(&built.nodes[..last], forward);
        }
        let hits = match self.of.student.head.is_empty() {
            true => None,
            false => Some(g.scoped("accuracy", |g| hits(g, output, inputs.labels))?),
        };
        Ok(Pass { loss, hits, grads: written })
    }

    fn bind(&self, g: &mut Graph) -> Bound {
        Bound::new(g, "student", self.layout)
    }

    /// The student with its matrices in f16, copied from the flat parameters: by one dispatch, or one for each piece that a binding can hold.
    fn halve(&self, g: &mut Graph, target: &Target) -> Result<Bound, ShapeError> {
        g.halve();
        let bound = Bound::halved(g, "student", self.layout);
        let all = 0..self.layout.param_floats;
        for piece in pieces(self.layout, all, target.limits.binding_bytes / 4) {
            let params = self.flat(g, "params", &piece);
            let halves = g.scoped("student", |g| g.add(Copy, &[params]))?;
            g.place_half(halves, "student.halves", piece.start);
        }
        Ok(bound)
    }

    /// The teacher's output that the objective follows, in eval mode.
    fn teach(&self, g: &mut Graph, images: Value) -> Result<Option<Value>, ProgramError> {
        let Some(Folded { network, layout, .. }) = self.teacher else { return Ok(None) };
        let bound = Bound::new(g, "teacher", layout);
        let imitates = matches!(self.of.objective, Objective::Imitate { .. });
        let end = if imitates { self.blocks() } else { network.blocks.len() };
        let built =
            g.scoped("teacher", |g| build(g, network, &bound, images, 0..end, |_| Mode::Eval))?;
        Ok(if imitates { built.blocks.last().copied() } else { built.output })
    }

    fn loss(
        &self,
        g: &mut Graph,
        output: Value,
        teacher: Option<Value>,
        labels: Value,
    ) -> Result<Value, ProgramError> {
        let missing = || NetworkError::Mismatch("this stage needs a teacher".into());
        let smoothing = self.of.recipe.label_smoothing as f32;
        g.scoped("loss", |g| match self.of.objective {
            Objective::Labels => Ok(cross_entropy(g, output, labels, smoothing)?),
            Objective::Distill { alpha, temperature } => {
                let teacher = teacher.ok_or_else(missing)?;
                let factor = (alpha * temperature * temperature) as f32;
                let soft = kl(g, output, teacher, Kl { temperature: temperature as f32, factor })?;
                if alpha >= 1.0 {
                    return Ok(soft);
                }
                let hard = cross_entropy(g, output, labels, smoothing)?;
                let hard = g.add(Scale((1.0 - alpha) as f32), &[hard])?;
                Ok(if alpha <= 0.0 { hard } else { g.add(Add, &[hard, soft])? })
            }
            Objective::Imitate { discrepancy, scale, .. } => {
                let teacher = teacher.ok_or_else(missing)?;
                Ok(apart(g, output, teacher, discrepancy, scale)?)
            }
        })
    }

    /// The trained range in pieces that a binding can hold.
    pub(super) fn pieces(&self, target: &Target) -> Vec<std::ops::Range<u64>> {
        pieces(self.layout, self.trained(), target.limits.binding_bytes / 4)
    }

    /// A piece of one of the student's flat buffers.
    pub(super) fn flat(&self, g: &mut Graph, part: &str, piece: &std::ops::Range<u64>) -> Value {
        let len = narrow(piece.end - piece.start);
        let buffer = format!("student.{part}");
        g.buffer(&buffer, self.layout.param_floats);
        g.named(&buffer, piece.start, &[len], &buffer)
    }

    /// The optimiser over the trained range, by the gradients in the flat buffer `part` once `grads` are written: one dispatch, or one
    /// for each piece that a binding can hold.
    pub(super) fn optimise(
        &self,
        g: &mut Graph,
        part: &str,
        grads: &[Value],
        target: &Target,
    ) -> Result<Vec<u64>, ProgramError> {
        let recipe = self.of.recipe;
        let pieces = self.pieces(target);
        let flat = |g: &mut Graph, part: &str, piece: &_| self.flat(g, part, piece);
        let ranges: Vec<Value> = match self.mixed() || recipe.clip_norm.is_some() {
            true => pieces.iter().map(|piece| flat(g, part, piece)).collect(),
            false => Vec::new(),
        };
        let norm = recipe.clip_norm.map(|norm| norm as f32);
        let factor = match (self.mixed(), norm) {
            (true, _) => {
                let state = g.named(SCALER, 0, &[scaler::STATE], SCALER);
                let verdict =
                    g.scoped("scaler", |g| scaler::decide(g, &ranges, grads, state, norm))?;
                place(g, verdict.scale, LOSS_SCALE);
                place(g, verdict.skipped, SKIPPED);
                Some(verdict.step)
            }
            (false, Some(norm)) => Some(g.scoped("clip", |g| clip(g, &ranges, grads, norm))?.0),
            (false, None) => None,
        };
        let mut words = Vec::with_capacity(pieces.len());
        for (k, piece) in pieces.iter().enumerate() {
            let [params, dparams, m] = ["params", part, "m"].map(|part| flat(g, part, piece));
            let rows = (piece.end - piece.start) / 64;
            let label = format!("student.decay{k}");
            let decays = g.input(&label, &[narrow(rows)]);
            words.push(rows);
            let mut moments = vec![m];
            if recipe.optimizer != Optimizer::Sgd {
                moments.push(flat(g, "v", piece));
            }
            let tensors = Tensors { params, grads: dparams, moments: &moments, decays, factor };
            let reads = Reads::on(target.kind);
            g.scoped("optimizer", |g| match recipe.optimizer {
                Optimizer::Sgd => {
                    let op = Sgd {
                        momentum: recipe.momentum as f32,
                        nesterov: recipe.nesterov,
                        weight_decay: recipe.weight_decay as f32,
                    };
                    optimise(g, op, tensors, grads, reads)
                }
                Optimizer::Adam | Optimizer::AdamW => {
                    let op = Adam {
                        beta1: recipe.beta1,
                        beta2: recipe.beta2,
                        eps: recipe.eps as f32,
                        weight_decay: recipe.weight_decay as f32,
                        decoupled: recipe.optimizer == Optimizer::AdamW,
                    };
                    optimise(g, op, tensors, grads, reads)
                }
            })?;
        }
        Ok(words)
    }

    /// The test of the network as it is now: by itself, or as the teacher's first blocks while it has no head of its own.
    fn evaluate(&self) -> Result<Option<Graph>, ProgramError> {
        let mut graph = Graph::new();
        let g = &mut graph;
        let inputs = Inputs::new(g, "eval.", self.of.student, self.test_rows());
        let student = self.bind(g);
        let built =
            build(g, self.of.student, &student, inputs.images, 0..self.blocks(), |_| Mode::Eval)?;
        let logits = match (self.of.student.head.is_empty(), self.teacher) {
            (false, _) => built.output,
            (true, Some(Folded { network: teacher, layout, .. })) => {
                let bound = Bound::new(g, "teacher", layout);
                let (from, to) = (self.blocks(), teacher.blocks.len());
                let x = built.blocks.last().copied().expect("a prefix has blocks");
                g.scoped("teacher", |g| build(g, teacher, &bound, x, from..to, |_| Mode::Eval))?
                    .output
            }
            (true, None) => return Ok(None),
        };
        test(g, logits, &inputs)?;
        Ok(Some(graph))
    }

    /// The discrepancy in eval mode, for scores.
    fn discrepancy(&self) -> Result<Option<Graph>, ProgramError> {
        let Objective::Imitate { discrepancy, scale, .. } = self.of.objective else {
            return Ok(None);
        };
        let mut graph = Graph::new();
        let g = &mut graph;
        let inputs = Inputs::new(g, "eval.", self.of.student, self.test_rows());
        let student = self.bind(g);
        let built =
            build(g, self.of.student, &student, inputs.images, 0..self.blocks(), |_| Mode::Eval)?;
        let (Some(y), Some(target)) = (built.output, self.teach(g, inputs.images)?) else {
            return Ok(None);
        };
        let loss = g.scoped("loss", |g| apart(g, y, target, discrepancy, scale))?;
        place(g, loss, LOSS);
        Ok(Some(graph))
    }
}

fn apart(
    g: &mut Graph,
    y: Value,
    target: Value,
    how: Discrepancy,
    scale: f32,
) -> Result<Value, ShapeError> {
    match how {
        Discrepancy::RelativeMse | Discrepancy::Mse => mse(g, y, target, scale),
        Discrepancy::Kl => kl(g, y, target, Kl { temperature: 1.0, factor: 1.0 }),
    }
}

/// Cuts a range of the flat parameters at tensor boundaries into pieces of at most `most` floats.
fn pieces(layout: &Layout, range: std::ops::Range<u64>, most: u64) -> Vec<std::ops::Range<u64>> {
    let mut cuts: Vec<u64> =
        layout.params.values().map(|s| s.offset).filter(|o| *o > range.start).collect();
    cuts.sort_unstable();
    cuts.push(range.end);
    let (mut pieces, mut start, mut end) = (Vec::new(), range.start, range.start);
    for cut in cuts {
        if cut - start > most && end > start {
            pieces.push(start..end);
            start = end;
        }
        end = cut;
    }
    pieces.push(start..end);
    pieces
}
