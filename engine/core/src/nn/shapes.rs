//! Inferred widths: which parameters a network has, of what shape, and how many multiply-adds an input costs.

use super::{Extent, FileLayout, Fill, ParamSpec, Role};

/// What [`super::Network::shapes`] infers.
#[derive(Debug, Clone, PartialEq)]
pub struct Shapes {
    /// Parameters and statistics, blocks in order, then the head.
    pub params: Vec<ParamSpec>,
    /// The output of each block, after its lift.
    pub blocks: Vec<Extent>,
    /// Multiply-adds of one input, by block, the head's last.
    pub macs: Vec<u64>,
    /// The output of the whole network, that of its first head.
    pub output: Extent,
    /// The outputs of its further heads.
    pub further: Vec<Extent>,
    /// Every named layer and pair with what it puts out.
    pub layers: Vec<(String, Extent)>,
}

impl Shapes {
    /// Number of trained parameters.
    pub fn param_count(&self) -> u64 {
        self.params
            .iter()
            .filter(|p| p.role == Role::Param)
            .fold(0, |sum: u64, spec| sum.saturating_add(spec.count()))
    }

    /// Trained parameters of each block, and of the head.
    pub fn block_params(&self) -> Vec<u64> {
        let mut counts = vec![0u64; self.blocks.len() + 1];
        for spec in self.params.iter().filter(|spec| spec.role == Role::Param) {
            counts[spec.block] = counts[spec.block].saturating_add(spec.count());
        }
        counts
    }

    /// Multiply-adds of one input.
    pub fn total_macs(&self) -> u64 {
        self.macs.iter().fold(0, |sum: u64, &macs| sum.saturating_add(macs))
    }

    /// What a named layer puts out.
    pub fn layer(&self, name: &str) -> Option<Extent> {
        self.layers.iter().find(|(n, _)| n == name).map(|(_, extent)| *extent)
    }
}

/// Where each layer notes its parameters and its multiply-adds.
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
    /// Standard deviation with which matrices and tables begin, in a network that begins as BERT does; its vectors have no weight decay.
    pub normal: Option<f64>,
    /// Height, width and channels of the image that was flattened, until a matrix reads it.
    pub image: Option<[u32; 3]>,
    /// Every named layer and pair so far with what it puts out.
    pub layers: Vec<(String, Extent)>,
}

impl Inventory {
    /// Writes down the matrix or the kernel `layer.weight`.
    pub(super) fn weight(&mut self, layer: &str, shape: Vec<usize>, file: FileLayout, fill: Fill) {
        let (name, role, block) = (format!("{layer}.weight"), Role::Param, self.block);
        self.params.push(ParamSpec { name, shape, role, block, fill, file, decays: true });
    }

    /// Writes down the matrix `layer.weight` of a linear map, and its bias if it has one.
    pub(super) fn linear(&mut self, layer: &str, out: u32, fan: u32, bias: bool) {
        let file = self.image.take().map_or(FileLayout::Same, FileLayout::Image);
        self.weight(layer, vec![out as usize, fan as usize], file, self.filled(fan));
        if bias {
            self.vector(layer, "bias", out, Role::Param, self.shifted(fan));
        }
    }

    /// How a matrix with so many inputs begins.
    pub(super) fn filled(&self, fan: u32) -> Fill {
        match (self.normal, self.uniform) {
            (Some(std), _) => Fill::Normal { std },
            (None, true) => Fill::Uniform { fan },
            (None, false) => Fill::He { fan },
        }
    }

    /// How its bias begins.
    fn shifted(&self, fan: u32) -> Fill {
        match self.uniform && self.normal.is_none() {
            true => Fill::Uniform { fan },
            false => Fill::Constant(0.0),
        }
    }

    /// Writes down the bias of several linear maps in one, which files have apart.
    pub(super) fn stacked_bias(&mut self, layer: &str, width: u32, file: FileLayout) {
        self.vector(layer, "bias", width, Role::Param, Fill::Constant(0.0));
        if let Some(bias) = self.params.last_mut() {
            bias.file = file;
        }
    }

    /// Writes down the vector `layer.part`.
    pub(super) fn vector(&mut self, layer: &str, part: &str, width: u32, role: Role, fill: Fill) {
        let (name, shape) = (format!("{layer}.{part}"), vec![width as usize]);
        let (block, file, decays) = (self.block, FileLayout::Same, self.normal.is_none());
        self.params.push(ParamSpec { name, shape, role, block, fill, file, decays });
    }

    /// Adds the product of these to the multiply-adds, which stop at the largest `u64`.
    pub(super) fn work(&mut self, factors: &[u64]) {
        self.macs = self.macs.saturating_add(product(factors));
    }
}

/// The product of these, at most the largest `u64`.
pub(super) fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product, &factor| product.saturating_mul(factor))
}
