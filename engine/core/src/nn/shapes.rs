//! Inferred widths: which parameters a network has, of what shape, and how many multiply-adds an input costs.

use super::network::{Extent, Layer, Network, NetworkError};

/// What a tensor of a network is to training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Trained.
    Param,
    /// A running statistic.
    State,
}

/// How a fresh tensor is filled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// N(0, 2 / fan): He et al. 2015.
    He {
        /// Inputs (linear) or outputs × kernel area (convolution, as torchvision) of a unit.
        fan: u32,
    },
    /// U(±1/√fan): PyTorch's default for the last linear layer, weight and bias.
    Uniform {
        /// Inputs of a unit.
        fan: u32,
    },
    /// A constant.
    Constant(f32),
}

/// A parameter or running statistic.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamSpec {
    /// Path, `layer1.0.conv1.weight`.
    pub name: String,
    /// Extents; convolutions are (O, KH, KW, I).
    pub shape: Vec<usize>,
    /// Trained or a statistic.
    pub role: Role,
    /// Index of the block it belongs to; `blocks.len()` for the head.
    pub block: usize,
    /// How it begins.
    pub fill: Fill,
}

impl ParamSpec {
    /// Its numbers.
    fn count(&self) -> u64 {
        self.shape.iter().fold(1, |product: u64, &extent| product.saturating_mul(extent as u64))
    }
}

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
    /// Every named layer with what it puts out.
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
        let mut walk =
            Walk { params: Vec::new(), macs: 0, block: 0, head: false, layers: Vec::new() };
        let (mut at, mut blocks, mut macs) = (self.input, Vec::new(), Vec::new());
        for (k, block) in self.blocks.iter().enumerate() {
            walk.block = k;
            for pair in block.lower.iter() {
                at = walk.pair(&pair.name, pair.out, at);
            }
            at = walk.layers(&block.layers, at)?;
            for pair in block.lift.iter() {
                at = walk.pair(&pair.name, pair.out, at);
            }
            blocks.push(at);
            macs.push(std::mem::take(&mut walk.macs));
        }
        (walk.block, walk.head) = (self.blocks.len(), true);
        let output = walk.layers(&self.head, at)?;
        macs.push(walk.macs);
        let shapes = Shapes { params: walk.params, blocks, macs, output, layers: walk.layers };
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

/// The product of what may be large; the greatest number where it is larger than that.
fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product, &factor| product.saturating_mul(factor))
}

struct Walk {
    params: Vec<ParamSpec>,
    macs: u64,
    block: usize,
    head: bool,
    layers: Vec<(String, Extent)>,
}

impl Walk {
    fn param(&mut self, name: String, shape: Vec<usize>, role: Role, fill: Fill) {
        self.params.push(ParamSpec { name, shape, role, block: self.block, fill });
    }

    /// Counts multiply-adds.
    fn work(&mut self, factors: &[u64]) {
        self.macs = self.macs.saturating_add(product(factors));
    }

    fn pair(&mut self, name: &str, out: u32, at: Extent) -> Extent {
        let (o, i) = (out as usize, at.width() as usize);
        let shape = match at {
            Extent::Map(..) => vec![o, 1, 1, i],
            Extent::Flat(_) => vec![o, i],
        };
        self.param(format!("{name}.weight"), shape, Role::Param, Fill::Uniform { fan: at.width() });
        self.work(&[at.positions(), at.width().into(), out.into()]);
        match at {
            Extent::Map(h, w, _) => Extent::Map(h, w, out),
            Extent::Flat(_) => Extent::Flat(out),
        }
    }

    fn layers(&mut self, layers: &[Layer], mut at: Extent) -> Result<Extent, NetworkError> {
        for layer in layers {
            at = self.layer(layer, at)?;
            if let Some(name) = layer.name() {
                self.layers.push((name.into(), at));
            }
        }
        Ok(at)
    }

    fn layer(&mut self, layer: &Layer, at: Extent) -> Result<Extent, NetworkError> {
        let name = layer.name().unwrap_or("pool");
        let refuse = || Err(NetworkError::Layer { layer: name.into(), got: at.to_string() });
        Ok(match (layer, at) {
            (Layer::Linear { out, bias, .. }, Extent::Flat(width)) => {
                let (o, i) = (*out as usize, width as usize);
                let fan = width;
                let weight = if self.head { Fill::Uniform { fan } } else { Fill::He { fan } };
                self.param(format!("{name}.weight"), vec![o, i], Role::Param, weight);
                if *bias {
                    let fill = if self.head { Fill::Uniform { fan } } else { Fill::Constant(0.0) };
                    self.param(format!("{name}.bias"), vec![o], Role::Param, fill);
                }
                self.work(&[(*out).into(), width.into()]);
                Extent::Flat(*out)
            }
            (Layer::Conv { out, kernel, stride, pad, bias, .. }, Extent::Map(h, w, c)) => {
                let Some((h, w)) = windows(h, w, *kernel, *stride, *pad) else { return refuse() };
                let (o, k) = (*out as usize, *kernel as usize);
                let area = kernel.saturating_mul(*kernel);
                let fill = Fill::He { fan: out.saturating_mul(area) };
                self.param(format!("{name}.weight"), vec![o, k, k, c as usize], Role::Param, fill);
                if *bias {
                    self.param(format!("{name}.bias"), vec![o], Role::Param, Fill::Constant(0.0));
                }
                self.work(&[h.into(), w.into(), (*out).into(), area.into(), c.into()]);
                Extent::Map(h, w, *out)
            }
            (Layer::BatchNorm { .. }, _) => {
                let shape = vec![at.width() as usize];
                let tensors = [
                    ("weight", Role::Param, 1.0),
                    ("bias", Role::Param, 0.0),
                    ("running_mean", Role::State, 0.0),
                    ("running_var", Role::State, 1.0),
                ];
                for (part, role, value) in tensors {
                    self.param(
                        format!("{name}.{part}"),
                        shape.clone(),
                        role,
                        Fill::Constant(value),
                    );
                }
                at
            }
            (Layer::Activation { .. }, _) => at,
            (Layer::MaxPool { kernel, stride, pad, .. }, Extent::Map(h, w, c)) => {
                let Some((h, w)) = windows(h, w, *kernel, *stride, *pad) else { return refuse() };
                Extent::Map(h, w, c)
            }
            (Layer::GlobalAvgPool, Extent::Map(_, _, c)) => Extent::Flat(c),
            (Layer::Flatten, Extent::Map(h, w, c)) => {
                let count = product(&[h.into(), w.into(), c.into()]);
                match u32::try_from(count) {
                    Ok(features) => Extent::Flat(features),
                    Err(_) => {
                        let (what, most) = ("features in one layer", u32::MAX.into());
                        return Err(NetworkError::TooLarge { what, count, most });
                    }
                }
            }
            (Layer::Flatten, Extent::Flat(_)) => at,
            (Layer::Unit { body, shortcut, .. }, Extent::Map(..)) => {
                let long = self.layers(body, at)?;
                let short = self.layers(shortcut, at)?;
                if long != short {
                    let got = format!("{at}: its body ends in {long}, its shortcut in {short}");
                    return Err(NetworkError::Layer { layer: name.into(), got });
                }
                long
            }
            _ => return refuse(),
        })
    }
}

/// Places of a window along height and width; `None` if there is none.
fn windows(h: u32, w: u32, kernel: u32, stride: u32, pad: u32) -> Option<(u32, u32)> {
    let places = |n: u32| (n + 2 * pad).checked_sub(kernel).map(|rest| rest / stride + 1);
    (kernel > 0 && stride > 0).then_some(())?;
    Some((places(h)?, places(w)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Block;

    #[test]
    fn what_is_too_large_is_refused_and_no_product_overflows() {
        let wide = |out: u32, depth: usize| {
            let layer = |k: usize| Layer::Linear { name: format!("l{k}"), out, bias: true };
            let blocks =
                vec![Block { layers: (0..depth).map(layer).collect(), ..Block::default() }];
            Network { input: Extent::Flat(16), blocks, head: Vec::new() }.shapes()
        };
        wide(1000, 1000).expect("a thousand layers");
        for (out, depth) in [(u32::MAX, 1), (u32::MAX, 3), (1 << 22, 1000), (70_000, 2)] {
            let error = wide(out, depth).expect_err("too large");
            assert!(matches!(error, NetworkError::TooLarge { .. }), "{out}, {depth}: {error}");
        }
        let conv = Layer::Conv {
            name: "c".into(),
            out: 1 << 22,
            kernel: 7,
            stride: 1,
            pad: 3,
            bias: false,
        };
        let input = Extent::Map(16384, 16384, 3);
        let blocks = vec![Block { layers: vec![conv], ..Block::default() }];
        let error = Network { input, blocks, head: Vec::new() }.shapes().expect_err("too large");
        assert!(error.to_string().contains("at most 1000000000000 are allowed"), "{error}");
        let flat = vec![Block { layers: vec![Layer::Flatten], ..Block::default() }];
        let input = Extent::Map(65536, 65536, 3);
        assert!(Network { input, blocks: flat, head: Vec::new() }.shapes().is_err());
    }
}
