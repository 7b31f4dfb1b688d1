//! What a start looks at of a network: activations. Whoever has a device finds them, by implementing [`Probe`].

use crate::{
    nn::{Network, NetworkError, Weights},
    win::linalg::Workers,
};

/// Rows that a start of vectors or images looks at, at most.
pub const MOST_ROWS: usize = 65_536;

/// Activations as rows of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// Channels or features: numbers in a row.
    pub width: usize,
    /// Row after row.
    pub data: Vec<f32>,
}

impl Rows {
    /// The columns `at`, in that order.
    #[must_use]
    pub fn columns(&self, at: &[usize]) -> Self {
        let rows = self.data.chunks_exact(self.width.max(1));
        let data = rows.flat_map(|row| at.iter().map(|&column| row[column])).collect();
        Self { width: at.len(), data }
    }

    /// These less others of the same extents.
    #[must_use]
    pub fn less(mut self, others: &Self) -> Self {
        self.data.iter_mut().zip(&others.data).for_each(|(own, other)| *own -= other);
        self
    }
}

/// Where activations are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tap {
    /// A layer's name or that of a part of a layer, as [`crate::nn::Built::taps`] has them; with a ReLU that runs in its layer's kernel, the ReLU's.
    pub name: String,
    /// Only every `stride`-th row and column of a map is taken; 1 for all of them.
    pub stride: u32,
}

/// Runs a network on the run's start inputs and answers activations.
pub trait Probe {
    /// What can go wrong.
    type Error: From<NetworkError>;

    /// The outputs of the named layers of the first `blocks` blocks, in eval mode, in the order of `taps`.
    ///
    /// All calls see the same inputs. A row is an (input, position) after the tap's stride, and of a sequence no padding; where there are more than
    /// `most`, one seeded subset of so many serves every tap of the same resolution, in every call with that number and of every network.
    /// `weights` may lack tensors that are not set yet, which stand for zeros, and may hold more than `network` has.
    ///
    /// # Errors
    /// If the network cannot be run.
    fn rows(
        &mut self,
        network: &Network,
        weights: &Weights,
        blocks: usize,
        taps: &[Tap],
        most: usize,
    ) -> Result<Vec<Rows>, Self::Error>;

    /// Who works on the products of the rows.
    fn workers(&self) -> Workers {
        Workers::ONE
    }
}
