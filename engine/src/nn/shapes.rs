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
            .map(|p| p.shape.iter().product::<usize>() as u64)
            .sum()
    }

    /// Trained parameters of a block; `blocks.len()` means the head.
    pub fn block_params(&self, block: usize) -> u64 {
        let of_block = self.params.iter().filter(|p| p.role == Role::Param && p.block == block);
        of_block.map(|p| p.shape.iter().product::<usize>() as u64).sum()
    }

    /// Multiply-adds of one input.
    pub fn total_macs(&self) -> u64 {
        self.macs.iter().sum()
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
        Ok(Shapes { params: walk.params, blocks, macs, output, layers: walk.layers })
    }
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

    fn pair(&mut self, name: &str, out: u32, at: Extent) -> Extent {
        let (o, i) = (out as usize, at.width() as usize);
        let shape = match at {
            Extent::Map(..) => vec![o, 1, 1, i],
            Extent::Flat(_) => vec![o, i],
        };
        self.param(format!("{name}.weight"), shape, Role::Param, Fill::Uniform { fan: at.width() });
        self.macs += at.positions() * u64::from(at.width()) * u64::from(out);
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
                self.macs += u64::from(*out) * u64::from(width);
                Extent::Flat(*out)
            }
            (Layer::Conv { out, kernel, stride, pad, bias, .. }, Extent::Map(h, w, c)) => {
                let Some((h, w)) = windows(h, w, *kernel, *stride, *pad) else { return refuse() };
                let (o, k) = (*out as usize, *kernel as usize);
                let fill = Fill::He { fan: out * kernel * kernel };
                self.param(format!("{name}.weight"), vec![o, k, k, c as usize], Role::Param, fill);
                if *bias {
                    self.param(format!("{name}.bias"), vec![o], Role::Param, Fill::Constant(0.0));
                }
                let area = u64::from(*kernel) * u64::from(*kernel);
                self.macs += u64::from(h) * u64::from(w) * u64::from(*out) * area * u64::from(c);
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
            (Layer::Flatten, Extent::Map(h, w, c)) => Extent::Flat(h * w * c),
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
