//! Activations of a network on a run's start inputs.

use std::{collections::HashMap, sync::Arc, thread};

use super::{TrainError, session};
use crate::{
    batch::Numbers,
    data::Split,
    device::{Device, StepParameters},
    graph::Graph,
    nn::{
        Bound, Extent, Input, Inputs, LENGTHS, Layout, Mode, Network, NetworkError, Tensor,
        Weights, build,
    },
    plan::{Plan, Target, compile},
    random,
    step::{ProgramError, at_once},
    threads::cores,
    win::{
        linalg::{Part, Workers},
        start::{Probe, Rows, Tap},
    },
};

/// Inputs that run at once, where the device holds them.
const BATCH: u32 = 100;

/// Runs networks on a device, on inputs drawn once.
#[derive(Debug)]
pub struct DeviceProbe {
    gpu: Arc<dyn Device>,
    split: Arc<Split>,
    picks: Vec<usize>,
    seed: u64,
    /// Tokens of each input, once they were asked for.
    lengths: Option<Vec<u32>>,
    /// By positions of an input and rows at most.
    subsets: HashMap<[usize; 2], Option<Vec<usize>>>,
}

impl DeviceProbe {
    /// A probe on `count` samples of a split (all, if fewer), un-augmented; they and the subset of rows are drawn by `seed`.
    pub fn new(gpu: &Arc<dyn Device>, split: &Arc<Split>, count: usize, seed: u64) -> Self {
        let picks = split.subset(seed, count);
        Self {
            gpu: Arc::clone(gpu),
            split: Arc::clone(split),
            picks,
            seed,
            lengths: None,
            subsets: HashMap::new(),
        }
    }

    /// Which (input, position) rows of a map of so many positions are looked at, at most `most` and in order; `None` for all.
    fn subset(&mut self, positions: usize, most: usize) -> Option<&[usize]> {
        let total = positions * self.picks.len();
        let (seed, lengths) = (self.seed, self.lengths.as_deref());
        let subset = self.subsets.entry([positions, most]).or_insert_with(|| {
            let is_padding = |row: usize| {
                lengths.is_some_and(|lengths| row % positions >= lengths[row / positions] as usize)
            };
            if total <= most && lengths.is_none() {
                return None;
            }
            let drawn = random::permutation(total, &[seed, positions as u64]).into_iter();
            let mut rows: Vec<usize> = drawn.filter(|&row| !is_padding(row)).take(most).collect();
            rows.sort_unstable();
            Some(rows)
        });
        subset.as_deref()
    }

    /// Finds out how many tokens each input has, where the network reads tokens.
    fn measure(&mut self, network: &Network) -> Result<(), TrainError> {
        if !matches!(network.input, Extent::Tokens(_)) || self.lengths.is_some() {
            return Ok(());
        }
        let mut lengths = Vec::with_capacity(self.picks.len());
        for batch in self.split.some(&self.picks, BATCH as usize) {
            let batch = batch?;
            let Some(Numbers::U32(of)) = batch.field(LENGTHS) else {
                let problem =
                    format!("the data do not say how many tokens a sample has ({LENGTHS})");
                return Err(NetworkError::Unsupported(problem).into());
            };
            lengths.extend_from_slice(&of[..batch.rows]);
        }
        self.lengths = Some(lengths);
        Ok(())
    }
}

/// Each part on a thread of its own.
fn on_threads(parts: Vec<Part<'_>>) {
    thread::scope(|scope| {
        for part in parts {
            scope.spawn(part);
        }
    });
}

impl Probe for DeviceProbe {
    type Error = TrainError;

    /// As many threads as there are cores; without any, whoever asks.
    fn workers(&self) -> Workers {
        match cores() {
            0 => Workers::ONE,
            count => Workers { count, run: on_threads },
        }
    }

    fn rows(
        &mut self,
        network: &Network,
        weights: &Weights,
        blocks: usize,
        taps: &[Tap],
        most: usize,
    ) -> Result<Vec<Rows>, TrainError> {
        if taps.is_empty() {
            return Ok(Vec::new());
        }
        self.measure(network)?;
        let network =
            if blocks < network.blocks.len() { network.prefix(blocks) } else { network.clone() };
        let shapes = network.shapes()?;
        let layout = Layout::of(&shapes);
        // Layers behind the taps may have no weights yet. Nothing reads their nodes, so the plan leaves them out.
        let mut filled = Weights::new();
        for spec in &shapes.params {
            let set = weights.get(&spec.name).filter(|t| t.shape == spec.shape).cloned();
            let tensor = set.unwrap_or_else(|| Tensor::full(spec.shape.as_slice(), 0.0));
            filled.insert(spec.name.clone(), tensor);
        }

        let mut names: Vec<&str> = taps.iter().map(|tap| tap.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let Probing { plan, inputs, rows: at_once, extents } =
            at_once(BATCH, |rows| probing(&network, &layout, &names, rows, &self.gpu.target()))?;
        let mut executor = Arc::clone(&self.gpu).prepare(plan)?;
        let (params, state) = layout.pack(&filled)?;
        for (label, data) in [("student.params", &params), ("student.state", &state)] {
            if executor.has(label) {
                executor.write(label, data)?;
            }
        }

        let mut found: Vec<Rows> =
            taps.iter().map(|tap| Rows { width: extents[&tap.name].2, data: Vec::new() }).collect();
        let (split, picks) = (Arc::clone(&self.split), self.picks.clone());
        let mut first = 0;
        for batch in split.some(&picks, at_once as usize) {
            let batch = batch?;
            session::write(&*executor, &inputs, &batch)?;
            executor.run("probe", &StepParameters::rows(batch.rows as u32), 0)?;
            let mut flats = HashMap::new();
            for name in &names {
                flats.insert(*name, executor.read(&format!("tap {name}"))?);
            }
            for (tap, rows) in taps.iter().zip(&mut found) {
                let (height, width, channels) = extents[&tap.name];
                let stride = tap.stride.max(1) as usize;
                let (h, w) = (height.div_ceil(stride), width.div_ceil(stride));
                let positions = h * w;
                let flat = &flats[tap.name.as_str()];
                let mut push = |row: usize| {
                    let (input, position) = (row / positions - first, row % positions);
                    let at =
                        (input * height + position / w * stride) * width + position % w * stride;
                    rows.data.extend_from_slice(&flat[at * channels..(at + 1) * channels]);
                };
                let range = first * positions..(first + batch.rows) * positions;
                match self.subset(positions, most) {
                    None => range.for_each(&mut push),
                    Some(subset) => {
                        let from = subset.partition_point(|&row| row < range.start);
                        let to = subset.partition_point(|&row| row < range.end);
                        subset[from..to].iter().copied().for_each(&mut push);
                    }
                }
            }
            first += batch.rows;
        }
        Ok(found)
    }
}

/// A plan whose program `probe` leaves the taps in buffers of their own.
struct Probing {
    plan: Plan,
    /// What it reads.
    inputs: Vec<Input>,
    /// Inputs that run at once.
    rows: u32,
    /// Height, width and channels of each tap.
    extents: HashMap<String, (usize, usize, usize)>,
}

fn probing(
    network: &Network,
    layout: &Layout,
    names: &[&str],
    rows: u32,
    target: &Target,
) -> Result<Probing, ProgramError> {
    let mut graph = Graph::new();
    let inputs = network.inputs(rows);
    let values = Inputs::new(&mut graph, inputs.clone());
    let bound = Bound::new(&mut graph, "student", layout).reading(&values);
    let blocks = 0..network.blocks.len();
    let built = build(&mut graph, network, &bound, values.first(), blocks, |_| Mode::Eval)?;
    let mut extents = HashMap::new();
    for name in names {
        let missing =
            || NetworkError::Unsupported(format!("the network has no layer {name} to look at"));
        let value = *built.taps.get(*name).ok_or_else(missing)?;
        let shape = graph.shape(value);
        let (height, width) = match *shape {
            [_, h, w, _] => (h as usize, w as usize),
            [_, length, _] => (1, length as usize),
            _ => (1, 1),
        };
        let tokens = |length: u32| shape.len() == 2 || length as usize == width;
        if matches!(network.input, Extent::Tokens(length) if !tokens(length)) {
            let problem = format!("{name} has no row for each token or sample to look at");
            return Err(NetworkError::Unsupported(problem).into());
        }
        let channels = shape[shape.len() - 1] as usize;
        extents.insert((*name).to_owned(), (height, width, channels));
        graph.place(value, &format!("tap {name}"), 0);
    }
    let plan = compile(&[("probe", &graph)], target)?;
    Ok(Probing { plan, inputs, rows, extents })
}
