//! What a step is planned from.

use crate::{
    config::{Precision, Recipe},
    nn::{Network, NetworkError, Shapes},
    ops::elementwise::Accumulate,
};

use super::{
    objective::Objective,
    task::{Counts, Task},
};

/// What a plan is made of.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// The network that is trained.
    pub student: &'a Network,
    /// The teacher, whole.
    pub teacher: Option<&'a Network>,
    /// What the networks are asked for.
    pub task: Task,
    /// What the student is trained for.
    pub objective: Objective,
    /// How.
    pub recipe: &'a Recipe,
    /// Of its steps; everything else is done in f32.
    pub precision: Precision,
}

/// What a step does to take less memory, and whether others take part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saving {
    /// Parts that the batch is cut into, one after the other on the device; 1: it is not cut.
    pub micro_batches: u32,
    /// Whether the activations inside a block are made anew in the backward pass, from what the block reads.
    pub recompute: bool,
    /// Whether gradients are summed and applied by programs of their own also where the batch is not cut, so that the host may change the sums
    /// in between.
    pub apart: bool,
}

impl Default for Saving {
    /// Nothing.
    fn default() -> Self {
        Self { micro_batches: 1, recompute: false, apart: false }
    }
}

impl Training<'_> {
    /// The student, and the teacher where there is one.
    pub(super) fn networks(&self) -> Vec<&Network> {
        [self.student].into_iter().chain(self.teacher).collect()
    }

    /// What the means of the loss are over, or of its first part.
    pub fn counts(&self) -> Counts {
        self.objective.parts(self.task)[0]
    }

    /// How the losses of micro-batches add up to that of the batch. Where a loss has parts that are means over different things, each of them is
    /// already its share of the batch's.
    pub(super) fn accumulated(&self) -> Accumulate {
        match self.counts() {
            _ if self.objective.parts(self.task).len() > 1 => Accumulate::Count,
            Counts::Rows => Accumulate::Mean { batch: self.recipe.batch },
            Counts::Words(_) | Counts::Tokens | Counts::Spans => Accumulate::Share,
        }
    }

    /// Whether what a step computes depends on which inputs run together: batch norm in train mode normalises by them.
    pub fn normalises_by_batch(&self) -> bool {
        !self.batch_norms().is_empty()
    }

    /// The batch norms in train mode, by name.
    fn batch_norms(&self) -> Vec<&str> {
        self.student.batch_norms(self.objective.frozen(self.student.blocks.len()))
    }

    /// The first batch norm that sees one position of each input, if there is one: a single input would give it one value a channel, whose
    /// variance is none. PyTorch refuses that with "Expected more than 1 value per channel when training".
    pub(super) fn of_one_position(&self, shapes: &Shapes) -> Option<&str> {
        let one = |name: &&str| shapes.layer(name).is_some_and(|extent| extent.positions() == 1);
        self.batch_norms().into_iter().find(one)
    }

    /// The numbers of equal parts that the batch may be cut into, fewest first. None is so small that a batch norm would get one value a channel.
    ///
    /// # Errors
    /// If the student is no network.
    pub fn equal_parts(&self) -> Result<Vec<u32>, NetworkError> {
        let batch = self.recipe.batch;
        let least = if self.of_one_position(&self.student.shapes()?).is_some() { 2 } else { 1 };
        let fits = |parts: &u32| batch.is_multiple_of(*parts) && batch / parts >= least;
        Ok((1..=batch).filter(fits).collect())
    }

    /// The numbers of micro-batches that a step may be cut into, fewest first: for batch norm into equal ones, else the last one may be
    /// shorter. None is so small that a batch norm would get one value a channel.
    pub(super) fn cuts(&self) -> Result<Vec<u32>, NetworkError> {
        let batch = self.recipe.batch;
        let mut cuts: Vec<u32> = match self.normalises_by_batch() {
            true => self.equal_parts()?.into_iter().filter(|parts| *parts > 1).collect(),
            false => (1..batch).rev().map(|rows| batch.div_ceil(rows)).collect(),
        };
        cuts.dedup();
        Ok(cuts)
    }
}
