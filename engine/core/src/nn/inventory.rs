//! What the layers of a network add up to, written down as a walk passes them.

use super::{Extent, Fill, ParamSpec, Role};

/// Where each layer writes its parameters and its work.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// Parameters and statistics so far.
    pub params: Vec<ParamSpec>,
    /// Multiply-adds of one input, of this block so far.
    pub macs: u64,
    /// Index of the block; that of the head is the number of blocks.
    pub block: usize,
    /// Whether linear maps begin as PyTorch's do, uniform by their inputs, instead of by He: those of the head and the pairs.
    pub uniform: bool,
    /// Every named layer and pair so far with what it puts out.
    pub layers: Vec<(String, Extent)>,
}

impl Inventory {
    /// Writes down the tensor `layer.part`.
    pub(super) fn tensor(
        &mut self,
        layer: &str,
        part: &str,
        shape: Vec<usize>,
        role: Role,
        fill: Fill,
    ) {
        let name = format!("{layer}.{part}");
        self.params.push(ParamSpec { name, shape, role, block: self.block, fill });
    }

    /// Counts the product of these as multiply-adds; as many as there are numbers for where that is larger.
    pub(super) fn work(&mut self, factors: &[u64]) {
        self.macs = self.macs.saturating_add(product(factors));
    }
}

/// The product of what may be large; the greatest number where it is larger than that.
pub(super) fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product, &factor| product.saturating_mul(factor))
}
