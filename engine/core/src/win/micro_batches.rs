//! A step in micro-batches, where its batch does not fit the device.
//!
//! `accumulate` (forward, loss, backward) runs for each and adds the gradients up in `student.sums`, then `apply` is the optimiser.

use super::program::{HITS, LOSS, Nets, Objective, Pass, Program, ProgramError, Training, saving};
use crate::{
    graph::{Graph, ShapeError},
    nn::{NetworkError, Shapes},
    ops::elementwise::Accumulate,
    plan::Target,
};

/// What a step does to take less memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saving {
    /// Parts that the batch is cut into, one after the other on the device; 1: it is not cut.
    pub micro_batches: u32,
    /// Whether the activations inside a block are made anew in the backward pass, from what the block reads.
    pub recompute: bool,
}

impl Default for Saving {
    /// Nothing.
    fn default() -> Self {
        Self { micro_batches: 1, recompute: false }
    }
}

impl Training<'_> {
    /// Whether what a step computes depends on which inputs run together: batch norm in train mode normalises by them.
    pub fn normalises_by_batch(&self) -> bool {
        !self.batch_norms().is_empty()
    }

    /// The batch norms in train mode, by name.
    fn batch_norms(&self) -> Vec<&str> {
        let frozen = match self.objective {
            Objective::Imitate { freeze: true, .. } => self.student.blocks.len() - 1,
            _ => 0,
        };
        self.student.batch_norms(frozen)
    }

    /// The first batch norm that sees one position of each input, if there is one: a single input would give it one value a channel, whose
    /// variance is none. PyTorch refuses that with "Expected more than 1 value per channel when training".
    pub(super) fn of_one_position(&self, shapes: &Shapes) -> Option<&str> {
        let one = |name: &&str| shapes.layer(name).is_some_and(|extent| extent.positions() == 1);
        self.batch_norms().into_iter().find(one)
    }

    /// The numbers of micro-batches that a step may be cut into, fewest first: for batch norm into equal ones, else the last one may be
    /// shorter. None is so small that a batch norm would get one value a channel.
    fn cuts(&self) -> Result<Vec<u32>, NetworkError> {
        let batch = self.recipe.batch;
        let least = if self.of_one_position(&self.student.shapes()?).is_some() { 2 } else { 1 };
        let mut cuts: Vec<u32> = match self.normalises_by_batch() {
            true => (2..=batch)
                .filter(|parts| batch.is_multiple_of(*parts) && batch / parts >= least)
                .collect(),
            false => (1..batch).rev().map(|rows| batch.div_ceil(rows)).collect(),
        };
        cuts.dedup();
        Ok(cuts)
    }
}

/// Plans a training stage in the fewest micro-batches that fit the target.
///
/// # Errors
/// As [`saving`], of a step in the smallest micro-batches that there may be.
pub fn fit(of: &Training<'_>, target: &Target, recompute: bool) -> Result<Program, ProgramError> {
    let cut = |micro_batches| saving(of, target, Saving { micro_batches, recompute });
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

impl Nets<'_> {
    /// A step of one micro-batch without its optimiser: gradients and metrics are added to those of the earlier ones.
    pub(super) fn accumulate(&self, target: &Target) -> Result<Graph, ProgramError> {
        let mut graph = Graph::new();
        let g = &mut graph;
        let Pass { loss, hits, grads } = self.pass(g, target)?;
        let mean = Accumulate::Mean { batch: self.of.recipe.batch };
        g.buffer("metrics", 128);
        g.scoped("accumulate", |g| -> Result<(), ShapeError> {
            for piece in self.pieces(target) {
                let (from, to) = (self.flat(g, "grads", &piece), self.flat(g, "sums", &piece));
                g.add_after(mean, &[from, to], &grads)?;
            }
            let metric =
                |g: &mut Graph, slot| g.named("metrics", slot as u64 * 64, &[1], "metrics");
            let sum = metric(g, LOSS);
            g.add_all(mean, &[loss, sum])?;
            if let Some(hits) = hits {
                let sum = metric(g, HITS);
                g.add_all(Accumulate::Count, &[hits, sum])?;
            }
            Ok(())
        })?;
        Ok(graph)
    }

    /// The end of a step of several micro-batches.
    pub(super) fn apply(&self, target: &Target) -> Result<(Graph, Vec<u64>), ProgramError> {
        let mut graph = Graph::new();
        let words = self.optimise(&mut graph, "sums", &[], target)?;
        Ok((graph, words))
    }
}
