//! Activations of a network on a run's start inputs.

use std::{collections::HashMap, sync::Arc, thread};

use super::{TrainError, session};
use crate::{
    data::Split,
    device::{Device, StepParameters},
    graph::Graph,
    nn::{Bound, Input, Inputs, Layout, Mode, Network, NetworkError, Tensor, Weights, build},
    plan::{Plan, Target, compile},
    random,
    step::{ProgramError, at_once},
    threads::cores,
    win::{
        linalg::{Part, Workers},
        start::{Probe, Rows, Tap},
    },
};

/// Rows of activations that a start looks at, at most.
const MOST_ROWS: usize = 65_536;
/// Inputs that run at once, where the device holds them.
const BATCH: u32 = 100;

/// Runs networks on a device, on inputs drawn once.
#[derive(Debug)]
pub struct DeviceProbe {
    gpu: Arc<dyn Device>,
    split: Arc<Split>,
    picks: Vec<usize>,
    seed: u64,
    subsets: HashMap<usize, Option<Vec<usize>>>,
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
            subsets: HashMap::new(),
        }
    }

    /// Which (input, position) rows of a map of so many positions are looked at, in order; `None` for all.
    fn subset(&mut self, positions: usize) -> Option<&[usize]> {
        let total = positions * self.picks.len();
        let seed = self.seed;
        let subset = self.subsets.entry(positions).or_insert_with(|| {
            (total > MOST_ROWS).then(|| {
                let mut rows = random::permutation(total, &[seed, positions as u64]);
                rows.truncate(MOST_ROWS);
                rows.sort_unstable();
                rows
            })
        });
        subset.as_deref()
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
    ) -> Result<Vec<Rows>, TrainError> {
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
                match self.subset(positions) {
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
    let bound = Bound::new(&mut graph, "student", layout);
    let blocks = 0..network.blocks.len();
    let built = build(&mut graph, network, &bound, values.first(), blocks, |_| Mode::Eval)?;
    let mut extents = HashMap::new();
    for name in names {
        let missing =
            || NetworkError::Unsupported(format!("the network has no layer {name} to look at"));
        let value = *built.taps.get(*name).ok_or_else(missing)?;
        let shape = graph.shape(value);
        let (height, width) =
            if let [_, h, w, _] = *shape { (h as usize, w as usize) } else { (1, 1) };
        let channels = shape[shape.len() - 1] as usize;
        extents.insert((*name).to_owned(), (height, width, channels));
        graph.place(value, &format!("tap {name}"), 0);
    }
    let plan = compile(&[("probe", &graph)], target)?;
    Ok(Probing { plan, inputs, rows, extents })
}
