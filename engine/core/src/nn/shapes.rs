//! Inferred widths: which parameters a network has, of what shape, and how many multiply-adds an input costs.

use super::{
    Extent, Layout, Network, NetworkError, Pair, ParamSpec, Role,
    inventory::Inventory,
    layers,
    layout::{HALF_PAD, PAD},
};

/// What [`Network::shapes`] infers.
#[derive(Debug, Clone, PartialEq)]
pub struct Shapes {
    /// Parameters and statistics, blocks in order, then the head.
    pub params: Vec<ParamSpec>,
    /// The output of each block, after its lift.
    pub blocks: Vec<Extent>,
    /// Multiply-adds of one input, by block, the head's last.
    pub macs: Vec<u64>,
    /// The output of the whole network.
    pub output: Extent,
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

impl Network {
    /// Infers every width.
    ///
    /// # Errors
    /// If a layer does not take what flows into it.
    pub fn shapes(&self) -> Result<Shapes, NetworkError> {
        let mut to = Inventory::default();
        let (mut at, mut blocks, mut macs) = (self.input, Vec::new(), Vec::new());
        for (k, block) in self.blocks.iter().enumerate() {
            to.block = k;
            if let Some(lower) = &block.lower {
                at = pair(lower, at, &mut to)?;
            }
            at = layers::shape(&block.layers, at, &mut to)?;
            if let Some(lift) = &block.lift {
                at = pair(lift, at, &mut to)?;
            }
            blocks.push(at);
            macs.push(std::mem::take(&mut to.macs));
        }
        (to.block, to.uniform) = (self.blocks.len(), true);
        let output = layers::shape(&self.head, at, &mut to)?;
        let Inventory { params, layers, .. } = to;
        macs.push(to.macs);
        let shapes = Shapes { params, blocks, macs, output, layers };
        for (what, count, most) in [
            ("parameters", shapes.param_count(), PARAMS),
            ("multiply-adds of one input", shapes.total_macs(), MACS),
        ] {
            if count > most {
                return Err(NetworkError::TooLarge { what, count, most });
            }
        }
        Ok(shapes)
    }
}

/// Most parameters of a network: 16 GiB of them.
const PARAMS: u64 = 1 << 32;
/// Most multiply-adds of one input: a hundred times those of a large network on ImageNet. Sums over batches stay whole numbers of 64 bits.
const MACS: u64 = 1_000_000_000_000;

/// The extent behind a pair.
fn pair(pair: &Pair, at: Extent, to: &mut Inventory) -> Result<Extent, NetworkError> {
    to.uniform = true;
    let out = layers::shape(&[pair.layer(at.is_map())], at, to);
    to.uniform = false;
    out
}

impl Layout {
    /// Blocks in order, tensors padded to 64 floats.
    pub fn of(shapes: &Shapes) -> Self {
        Self::padded(&shapes.params, shapes.blocks.len(), PAD)
    }

    /// The same with parameters padded to 128, so that the ranges of a copy in 16 bits start at 256 bytes too.
    pub fn of_halves(shapes: &Shapes) -> Self {
        Self::padded(&shapes.params, shapes.blocks.len(), HALF_PAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{
        Block, Layer,
        layers::{Conv, Linear},
    };

    #[test]
    fn what_is_too_large_is_refused_and_no_product_overflows() {
        let wide = |out: u32, depth: usize| {
            let layer = |k: usize| Layer::Linear(Linear { name: format!("l{k}"), out, bias: true });
            let blocks =
                vec![Block { layers: (0..depth).map(layer).collect(), ..Block::default() }];
            Network { input: Extent::Flat(16), blocks, head: Vec::new() }.shapes()
        };
        wide(1000, 1000).expect("a thousand layers");
        for (out, depth) in [(u32::MAX, 1), (u32::MAX, 3), (1 << 22, 1000), (70_000, 2)] {
            let error = wide(out, depth).expect_err("too large");
            assert!(matches!(error, NetworkError::TooLarge { .. }), "{out}, {depth}: {error}");
        }
        let conv = Layer::Conv(Conv {
            name: "c".into(),
            out: 1 << 22,
            kernel: 7,
            stride: 1,
            pad: 3,
            bias: false,
        });
        let input = Extent::Map(16384, 16384, 3);
        let blocks = vec![Block { layers: vec![conv], ..Block::default() }];
        let error = Network { input, blocks, head: Vec::new() }.shapes().expect_err("too large");
        assert!(error.to_string().contains("at most 1000000000000 are allowed"), "{error}");
        let flat = vec![Block { layers: vec![Layer::Flatten], ..Block::default() }];
        let input = Extent::Map(65536, 65536, 3);
        assert!(Network { input, blocks: flat, head: Vec::new() }.shapes().is_err());
    }
}
