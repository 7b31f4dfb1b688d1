//! A network's forward pass on the host in f64, as plainly as it can be written: the probe of these tests.

use std::collections::BTreeMap;

use engine::{
    nn::{
        Extent, Layer, Network, NetworkError, Pair, Weights,
        layers::{Activation, BatchNorm, Conv, Linear, Unit},
    },
    ops::activation::Activation as Function,
    win::start::{Probe, Rows, Tap},
};

/// Activations of a batch, NHWC.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) rows: usize,
    pub(crate) extent: Extent,
    pub(crate) data: Vec<f64>,
}

/// The start inputs.
pub(crate) struct Host {
    pub(crate) inputs: Batch,
}

impl Host {
    pub(crate) fn new(extent: Extent, data: &[f32]) -> Self {
        let each = extent.positions() as usize * extent.width() as usize;
        let data: Vec<f64> = data.iter().map(|&x| f64::from(x)).collect();
        Self { inputs: Batch { rows: data.len() / each, extent, data } }
    }

    /// The logits, in eval mode.
    pub(crate) fn logits(&self, network: &Network, weights: &Weights) -> Vec<f64> {
        let mut run = Run::new(network, weights);
        let x = run.blocks(network, network.blocks.len(), self.inputs.clone());
        run.layers(&network.head, x).data
    }
}

impl Probe for Host {
    type Error = NetworkError;

    fn rows(
        &mut self,
        network: &Network,
        weights: &Weights,
        blocks: usize,
        taps: &[Tap],
        _most: usize,
    ) -> Result<Vec<Rows>, NetworkError> {
        network.shapes()?;
        let mut run = Run::new(network, weights);
        run.blocks(network, blocks, self.inputs.clone());
        let answer = |tap: &Tap| {
            let batch = run.taps.get(&tap.name).ok_or_else(|| {
                NetworkError::Unsupported(format!("there is no tap {}", tap.name))
            })?;
            Ok(thin(batch, tap.stride as usize))
        };
        taps.iter().map(answer).collect()
    }
}

fn thin(batch: &Batch, stride: usize) -> Rows {
    let (h, w, width) = size(batch.extent);
    let mut data = Vec::new();
    for n in 0..batch.rows {
        for y in (0..h).step_by(stride) {
            for x in (0..w).step_by(stride) {
                let at = ((n * h + y) * w + x) * width;
                data.extend(batch.data[at..at + width].iter().map(|&v| v as f32));
            }
        }
    }
    Rows { width, data }
}

fn size(extent: Extent) -> (usize, usize, usize) {
    match extent {
        Extent::Map(h, w, c) => (h as usize, w as usize, c as usize),
        Extent::Flat(c) => (1, 1, c as usize),
        other => panic!("these tests have no {other}"),
    }
}

struct Run {
    weights: BTreeMap<String, Vec<f64>>,
    taps: BTreeMap<String, Batch>,
}

impl Run {
    /// Tensors that are missing are zeros.
    fn new(network: &Network, weights: &Weights) -> Self {
        let shapes = network.shapes().expect("a network");
        let tensor = |name: &str, shape: &[usize]| match weights.get(name) {
            Some(tensor) => {
                assert_eq!(tensor.shape, shape, "{name}");
                tensor.data.iter().map(|&x| f64::from(x)).collect()
            }
            None => vec![0.0; shape.iter().product()],
        };
        let params = shapes.params.iter();
        let weights = params.map(|p| (p.name.clone(), tensor(&p.name, &p.shape))).collect();
        Self { weights, taps: BTreeMap::new() }
    }

    fn blocks(&mut self, network: &Network, count: usize, mut x: Batch) -> Batch {
        for block in &network.blocks[..count] {
            if let Some(pair) = &block.lower {
                x = self.pair(pair, &x);
            }
            x = self.layers(&block.layers, x);
            if let Some(pair) = &block.lift {
                x = self.pair(pair, &x);
            }
        }
        x
    }

    fn pair(&mut self, pair: &Pair, x: &Batch) -> Batch {
        let y = match x.extent {
            Extent::Map(..) => self.conv(&pair.name, pair.out, 1, 1, 0, x),
            _ => self.linear(&pair.name, pair.out, x),
        };
        self.taps.insert(pair.name.clone(), y.clone());
        y
    }

    fn layers(&mut self, layers: &[Layer], mut x: Batch) -> Batch {
        for layer in layers {
            x = self.layer(layer, x);
            if let Some(name) = layer.name() {
                self.taps.insert(name.into(), x.clone());
            }
        }
        x
    }

    fn layer(&mut self, layer: &Layer, mut x: Batch) -> Batch {
        let (h, w, c) = size(x.extent);
        match layer {
            Layer::Linear(Linear { name, out, bias }) => {
                let mut y = self.linear(name, *out, &x);
                if *bias {
                    let b = &self.weights[&format!("{name}.bias")];
                    y.data.iter_mut().zip(b.iter().cycle()).for_each(|(y, b)| *y += b);
                }
                y
            }
            Layer::Conv(Conv { name, out, kernel, stride, pad, bias: false }) => {
                self.conv(name, *out, *kernel as usize, *stride as usize, *pad as usize, &x)
            }
            Layer::BatchNorm(BatchNorm { name }) => {
                let part = |part: &str| &self.weights[&format!("{name}.{part}")];
                let (mean, var) = (part("running_mean"), part("running_var"));
                let (gamma, beta) = (part("weight"), part("bias"));
                for (i, v) in x.data.iter_mut().enumerate() {
                    let k = i % c;
                    *v = (*v - mean[k]) / (var[k] + 1e-5).sqrt() * gamma[k] + beta[k];
                }
                x
            }
            Layer::Activation(Activation { function: Function::Relu, .. }) => {
                x.data.iter_mut().for_each(|v| *v = v.max(0.0));
                x
            }
            Layer::GlobalAvgPool => {
                let mut data = vec![0.0; x.rows * c];
                for (i, v) in x.data.iter().enumerate() {
                    data[i / (h * w * c) * c + i % c] += v / (h * w) as f64;
                }
                Batch { rows: x.rows, extent: Extent::Flat(c as u32), data }
            }
            Layer::Flatten => Batch { extent: Extent::Flat((h * w * c) as u32), ..x },
            Layer::Unit(Unit { body, shortcut, .. }) => {
                let short = self.layers(shortcut, x.clone());
                let mut long = self.layers(body, x);
                for (l, s) in long.data.iter_mut().zip(&short.data) {
                    *l = (*l + s).max(0.0);
                }
                long
            }
            other => panic!("these tests have no {other:?}"),
        }
    }

    fn linear(&self, name: &str, out: u32, x: &Batch) -> Batch {
        let weight = &self.weights[&format!("{name}.weight")];
        let width = x.extent.width() as usize;
        let dot = |row: &[f64], w: &[f64]| row.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
        let rows = x.data.chunks_exact(width);
        let data = rows.flat_map(|row| weight.chunks_exact(width).map(move |w| dot(row, w)));
        Batch { rows: x.rows, extent: Extent::Flat(out), data: data.collect() }
    }

    fn conv(&self, name: &str, out: u32, k: usize, stride: usize, pad: usize, x: &Batch) -> Batch {
        let weight = &self.weights[&format!("{name}.weight")];
        let (h, w, c) = size(x.extent);
        let places = |n: usize| (n + 2 * pad - k) / stride + 1;
        let (oh, ow, o) = (places(h), places(w), out as usize);
        let mut data = vec![0.0; x.rows * oh * ow * o];
        for (at, y) in data.chunks_exact_mut(o).enumerate() {
            let (n, oy, ox) = (at / (oh * ow), at / ow % oh, at % ow);
            for ky in 0..k {
                for kx in 0..k {
                    let (iy, ix) = (oy * stride + ky, ox * stride + kx);
                    if iy < pad || ix < pad || iy - pad >= h || ix - pad >= w {
                        continue;
                    }
                    let from = ((n * h + iy - pad) * w + ix - pad) * c;
                    let pixel = &x.data[from..from + c];
                    for (f, y) in y.iter_mut().enumerate() {
                        let filter = &weight[((f * k + ky) * k + kx) * c..][..c];
                        *y += pixel.iter().zip(filter).map(|(p, w)| p * w).sum::<f64>();
                    }
                }
            }
        }
        Batch { rows: x.rows, extent: Extent::Map(oh as u32, ow as u32, out), data }
    }
}
