//! The graphs of a step's programs, for a stage's networks.

use super::{
    error::ProgramError,
    metrics::{HITS, LOSS, LOSSES, place, reserve, slot, test},
    objective::{Objective, Taught, Trained},
    optimizer::{Flat, SCALER, pieces},
    task::Task,
    training::Training,
};
use crate::{
    config::Precision,
    graph::{Graph, ShapeError, Value},
    nn::{Bound, Built, Folded, Input, Inputs, Layout, Mode, Network, Slot, build},
    ops::{
        elementwise::{Accumulate, Copy},
        parts,
        positions::Behind,
    },
    plan::Target,
};

/// What a backward pass leaves: the loss, the hits where the network has a head, and the gradients in `student.grads`.
struct Pass {
    loss: Value,
    hits: Option<Value>,
    grads: Vec<Value>,
}

/// The networks of a stage while their graphs are built.
pub(super) struct Nets<'a> {
    pub(super) of: &'a Training<'a>,
    /// Inputs that run at once.
    pub(super) rows: u32,
    /// Whether activations are made anew in the backward pass.
    pub(super) recompute: bool,
    pub(super) layout: &'a Layout,
    pub(super) teacher: Option<&'a Folded>,
}

impl Nets<'_> {
    fn blocks(&self) -> usize {
        self.of.student.blocks.len()
    }

    /// Whether activations are stored as f16 and the loss is scaled.
    fn mixed(&self) -> bool {
        self.of.precision == Precision::Mixed
    }

    /// Inputs that a test takes at once: half as many in mixed precision, as tests store activations in f32.
    pub(super) fn test_rows(&self) -> u32 {
        if self.mixed() { self.rows.div_ceil(2) } else { self.rows }
    }

    /// The flat parameters, of which the objective says where the trained ones begin.
    fn flat(&self) -> Flat<'_> {
        let first = match self.of.objective.trained() {
            Trained::All => 0,
            Trained::Layers => self.layout.behind_embeddings,
            Trained::LastBlock => {
                self.layout.blocks[self.blocks() - 1].max(self.layout.behind_embeddings)
            }
            Trained::Head => self.layout.blocks[self.blocks()],
        };
        Flat { layout: self.layout, recipe: self.of.recipe, scaled: self.mixed(), first }
    }

    /// Forward, loss, backward and optimiser; and the words of [`super::Program::decay_words`].
    pub(super) fn step(&self, target: &Target) -> Result<(Graph, Vec<Vec<u32>>), ProgramError> {
        let mut graph = Graph::new();
        let g = &mut graph;
        let Pass { loss, hits, grads } = self.pass(g, target, None)?;
        place(g, loss, LOSS);
        if let Some(hits) = hits {
            place(g, hits, HITS);
        }
        let words = self.flat().optimise(g, "grads", &grads, target)?;
        Ok((graph, words))
    }

    /// Forward, loss and backward; `batch`: samples of the batch, if this is a micro-batch of it.
    fn pass(
        &self,
        g: &mut Graph,
        target: &Target,
        batch: Option<u32>,
    ) -> Result<Pass, ProgramError> {
        let inputs = Inputs::new(g, inputs("", &self.of.networks(), self.of.task, self.rows));
        let student = if self.mixed() { self.to_f16(g, target)? } else { self.bind(g) };
        let student = student.reading(&inputs);
        let last = self.blocks() - 1;
        let frozen = self.of.objective.frozen(self.blocks());
        let mode = |block| if block < frozen { Mode::Eval } else { Mode::Train };
        let built = build(g, self.of.student, &student, inputs.first(), 0..self.blocks(), mode)?;
        let outputs = &built.outputs[..];
        let teacher = self.teach(g, &inputs)?;
        let through = self.through(g, &inputs, &built)?;
        let smoothing = self.of.recipe.label_smoothing as f32;
        let objective = self.of.objective;
        let task = self.of.task;
        let both = [outputs, &through];
        let parts = objective.losses(g, task, both, teacher.as_ref(), &inputs, smoothing)?;
        let loss = g.scoped("loss", |g| task.total(g, parts, batch))?;

        // Gradients of the trained tensors into `student.grads`, where the parameters lie in `student.params`.
        let first = self.flat().first;
        let slots: Vec<_> = self.layout.params.iter().filter(|(_, s)| s.offset >= first).collect();
        let wrt: Vec<Value> = slots.iter().map(|(name, _)| student.get(name)).collect();
        let forward = g.nodes().len();
        let grads = match self.mixed() {
            false => g.backward(loss, &wrt)?,
            true => {
                let scale = g.named(SCALER, 0, &[1], "loss scale");
                g.backward_from(loss, scale, &wrt)?
            }
        };
        let held = |(grad, (name, slot)): (Value, &(&String, &Slot))| match slot.held {
            0 => Ok(grad),
            rows => g.scoped(name, |g| g.add(Behind { rows }, &[grad])),
        };
        let grads = grads.into_iter().zip(&slots).map(held).collect::<Result<Vec<_>, _>>()?;
        g.buffer("student.grads", self.layout.param_floats);
        let places: Vec<_> =
            grads.into_iter().zip(&slots).map(|(grad, (_, slot))| (grad, slot.offset)).collect();
        let most = target.limits.binding_bytes / 4;
        let written = parts::place(g, &places, ["student.grads", "student.parts"], most)?;
        if self.recompute {
            // The last block keeps its activations: the backward pass begins with it, so they would be made again at once and save nothing.
            g.recompute(&built.nodes[..last], forward);
        }
        let hits = match self.of.student.head.is_empty() {
            true => None,
            false => Some(task.hits(g, outputs, &inputs)?),
        };
        Ok(Pass { loss, hits, grads: written })
    }

    fn bind(&self, g: &mut Graph) -> Bound {
        Bound::new(g, "student", self.layout)
    }

    /// The student with its matrices in f16, copied from the flat parameters: by one dispatch, or one for each piece that a binding can hold.
    fn to_f16(&self, g: &mut Graph, target: &Target) -> Result<Bound, ShapeError> {
        g.store_f16();
        let bound = Bound::with_f16(g, "student", self.layout);
        let all = 0..self.layout.param_floats;
        for piece in pieces(self.layout, all, target) {
            let params = self.flat().piece(g, "params", &piece);
            let f16 = g.scoped("student", |g| g.add(Copy, &[params]))?;
            g.place_f16(f16, "student.halves", piece.start);
        }
        Ok(bound)
    }

    /// The teacher's outputs that the objective follows, in eval mode: those of its heads, or that of its last block that is imitated, or both.
    fn teach(&self, g: &mut Graph, inputs: &Inputs) -> Result<Option<Taught>, ProgramError> {
        let Some(Folded { network, layout, .. }) = self.teacher else { return Ok(None) };
        let bound = Bound::new(g, "teacher", layout).reading(inputs);
        let x = inputs.first();
        let whole = self.of.objective.follows_outputs();
        let end = if whole { network.blocks.len() } else { self.blocks() };
        let built =
            g.scoped("teacher", |g| build(g, network, &bound, x, 0..end, |_| Mode::Eval))?;
        let state = built.blocks.get(self.blocks() - 1).copied();
        Ok(Some(Taught { state, outputs: built.outputs }))
    }

    /// What the rest of the frozen teacher makes of a student that imitates its outputs; nothing for other objectives. Gradients pass through it.
    fn through(
        &self,
        g: &mut Graph,
        inputs: &Inputs,
        student: &Built,
    ) -> Result<Vec<Value>, ShapeError> {
        let imitates = matches!(self.of.objective, Objective::Imitate { .. });
        match self.teacher {
            Some(teacher) if imitates && self.of.objective.follows_outputs() => {
                self.beyond(g, inputs, teacher, student)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The outputs of the teacher in eval mode, its first blocks replaced by those of a student without a head.
    fn beyond(
        &self,
        g: &mut Graph,
        inputs: &Inputs,
        Folded { network, layout, .. }: &Folded,
        student: &Built,
    ) -> Result<Vec<Value>, ShapeError> {
        let bound = Bound::new(g, "teacher", layout).reading(inputs);
        let (from, to) = (self.blocks(), network.blocks.len());
        let x = student.blocks.last().copied().expect("a prefix has blocks");
        let built =
            g.scoped("teacher", |g| build(g, network, &bound, x, from..to, |_| Mode::Eval))?;
        Ok(built.outputs)
    }

    /// A micro-batch of a step without its optimiser: gradients and metrics are added to those of the earlier ones.
    pub(super) fn accumulate(&self, target: &Target) -> Result<Graph, ProgramError> {
        let mut graph = Graph::new();
        let g = &mut graph;
        let Pass { loss, hits, grads } = self.pass(g, target, Some(self.of.recipe.batch))?;
        let mean = self.of.accumulated();
        reserve(g, HITS);
        g.scoped("accumulate", |g| -> Result<(), ShapeError> {
            let flat = self.flat();
            for piece in flat.pieces(target) {
                let (from, to) = (flat.piece(g, "grads", &piece), flat.piece(g, "sums", &piece));
                g.add_after(mean, &[from, to], &grads)?;
            }
            let sum = slot(g, LOSS);
            g.add_all(mean, &[loss, sum])?;
            if let Some(hits) = hits {
                let sum = slot(g, HITS);
                g.add_all(Accumulate::Count, &[hits, sum])?;
            }
            Ok(())
        })?;
        Ok(graph)
    }

    /// The end of a step whose gradients were added up.
    pub(super) fn apply(&self, target: &Target) -> Result<(Graph, Vec<Vec<u32>>), ProgramError> {
        let mut graph = Graph::new();
        let words = self.flat().optimise(&mut graph, "sums", &[], target)?;
        Ok((graph, words))
    }

    /// The test of the network as it is now: by itself, or, while it has no head, in place of the teacher's first blocks.
    pub(super) fn evaluate(&self) -> Result<Option<Graph>, ProgramError> {
        let mut graph = Graph::new();
        let g = &mut graph;
        let (inputs, built) =
            in_eval(g, &self.of.networks(), self.of.task, self.layout, self.test_rows())?;
        let outputs = match (self.of.student.head.is_empty(), self.teacher) {
            (false, _) => built.outputs,
            (true, Some(teacher)) => self.beyond(g, &inputs, teacher, &built)?,
            (true, None) => return Ok(None),
        };
        test(g, self.of.task, &outputs, &inputs)?;
        Ok(Some(graph))
    }

    /// The discrepancy in eval mode, for scores.
    pub(super) fn discrepancy(&self) -> Result<Option<Graph>, ProgramError> {
        let objective = self.of.objective;
        if !matches!(objective, Objective::Imitate { .. }) {
            return Ok(None);
        }
        let mut graph = Graph::new();
        let g = &mut graph;
        let (inputs, built) =
            in_eval(g, &self.of.networks(), self.of.task, self.layout, self.test_rows())?;
        let Some(target) = self.teach(g, &inputs)? else { return Ok(None) };
        let through = self.through(g, &inputs, &built)?;
        let both = [&built.outputs[..], &through];
        let parts = objective.losses(g, self.of.task, both, Some(&target), &inputs, 0.0)?;
        for (loss, slot) in parts.into_iter().zip(LOSSES) {
            place(g, loss, slot);
        }
        Ok(Some(graph))
    }
}

/// What the names of a test's buffers begin with: a plan has those of a step as well.
pub(super) const EVAL: &str = "eval.";

/// What a program may read of the data: the inputs of its networks, each once, and the task's targets behind them.
pub(super) fn inputs(prefix: &str, networks: &[&Network], task: Task, rows: u32) -> Vec<Input> {
    let mut all: Vec<Input> = Vec::new();
    let of_networks = networks.iter().flat_map(|network| network.inputs(rows));
    for input in of_networks.chain(task.targets(rows)) {
        if all.iter().all(|known| known.name != input.name) {
            all.push(Input { buffer: format!("{prefix}{}", input.name), ..input });
        }
    }
    all
}

/// The forward pass of the first of these networks in eval mode, with what all of them read.
fn in_eval(
    g: &mut Graph,
    networks: &[&Network],
    task: Task,
    layout: &Layout,
    rows: u32,
) -> Result<(Inputs, Built), ShapeError> {
    let inputs = Inputs::new(g, inputs(EVAL, networks, task, rows));
    let bound = Bound::new(g, "student", layout).reading(&inputs);
    let network = networks[0];
    let all = 0..network.blocks.len();
    let built = build(g, network, &bound, inputs.first(), all, |_| Mode::Eval)?;
    Ok((inputs, built))
}

/// The buffer of an output in an evaluation: `logits`, and `logits.1` of the first further head.
pub fn logits(output: usize) -> String {
    if output == 0 { "logits".into() } else { format!("logits.{output}") }
}

/// The test of a network by itself, with its outputs in the buffers [`logits`].
pub(super) fn evaluation(
    network: &Network,
    task: Task,
    layout: &Layout,
    rows: u32,
) -> Result<Graph, ShapeError> {
    let mut graph = Graph::new();
    let (inputs, built) = in_eval(&mut graph, &[network], task, layout, rows)?;
    test(&mut graph, task, &built.outputs, &inputs)?;
    for (k, &output) in built.outputs.iter().enumerate() {
        graph.place(output, &logits(k), 0);
    }
    Ok(graph)
}
