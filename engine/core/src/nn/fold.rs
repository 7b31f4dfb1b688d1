//! Batch norm in eval mode as part of the convolution before it: how a frozen network runs.
//!
//! y = γ (w ∗ x − μ) / √(σ² + ε) + β is a convolution by s w with bias β − s μ, where s = γ / √(σ² + ε) is a number a channel.

use super::{Layer, Layout, Network, NetworkError, Tensor, Weights, build::BN_EPS};

/// A batch norm's tensors.
const PARTS: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

/// A network as it runs while its statistics stand still, and how its weights become those of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded {
    /// The network: convolutions with a bias, and the batch norms that stand behind no convolution.
    pub network: Network,
    /// Where its tensors lie.
    pub layout: Layout,
    /// Each convolution that has taken in a batch norm, with that.
    norms: Vec<(String, String)>,
}

impl Folded {
    /// Folds each batch norm that stands behind a convolution.
    ///
    /// # Errors
    /// If a layer does not take what flows into it.
    pub fn of(network: &Network) -> Result<Self, NetworkError> {
        let (mut network, mut norms) = (network.clone(), Vec::new());
        for layers in network.blocks.iter_mut().map(|block| &mut block.layers) {
            fold(layers, &mut norms);
        }
        fold(&mut network.head, &mut norms);
        let layout = Layout::of(&network.shapes()?);
        Ok(Self { network, layout, norms })
    }

    /// The folded network's flat buffers `params` and `state`, from the weights of the network as it was.
    ///
    /// # Errors
    /// If a tensor is missing or of another shape.
    pub fn pack(&self, weights: &Weights) -> Result<(Vec<f32>, Vec<f32>), NetworkError> {
        self.layout.pack(&self.weights(weights)?)
    }

    /// The folded network's weights, from those of the network as it was; computed in f64.
    ///
    /// # Errors
    /// If a tensor of a folded layer is missing or of another shape.
    pub fn weights(&self, weights: &Weights) -> Result<Weights, NetworkError> {
        let get = |name: String| {
            let missing = || NetworkError::Weights(format!("parameter {name} is missing"));
            weights.get(&name).ok_or_else(missing)
        };
        let mut folded = weights.clone();
        for (conv, norm) in &self.norms {
            let kernel = get(format!("{conv}.weight"))?;
            let channels = kernel.shape.first().copied().filter(|&n| n > 0).ok_or_else(|| {
                NetworkError::Weights(format!("parameter {conv}.weight is empty"))
            })?;
            let mut columns = Vec::with_capacity(PARTS.len());
            for part in PARTS {
                let Tensor { shape, data } = get(format!("{norm}.{part}"))?;
                if *shape != [channels] {
                    return Err(NetworkError::Weights(format!(
                        "parameter {norm}.{part} has shape {shape:?}, {conv} puts out {channels} channels"
                    )));
                }
                columns.push(data.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
                folded.remove(&format!("{norm}.{part}"));
            }
            let mut scaled = kernel.clone();
            let mut shifts = Tensor::zeros([channels]);
            for (o, row) in scaled.data.chunks_mut(kernel.len() / channels).enumerate() {
                let [gamma, beta, mean, var] = [0, 1, 2, 3].map(|part: usize| columns[part][o]);
                let scale = gamma / (var + f64::from(BN_EPS)).sqrt();
                row.iter_mut().for_each(|w| *w = (scale * f64::from(*w)) as f32);
                shifts.data[o] = (beta - scale * mean) as f32;
            }
            folded.insert(format!("{conv}.weight"), scaled);
            folded.insert(format!("{conv}.bias"), shifts);
        }
        Ok(folded)
    }
}

fn fold(layers: &mut Vec<Layer>, norms: &mut Vec<(String, String)>) {
    let mut folded: Vec<Layer> = Vec::with_capacity(layers.len());
    for mut layer in layers.drain(..) {
        match (&mut layer, folded.last_mut()) {
            (Layer::Unit { body, shortcut, .. }, _) => {
                fold(body, norms);
                fold(shortcut, norms);
            }
            (Layer::BatchNorm { name: norm }, Some(Layer::Conv { name, bias, .. })) if !*bias => {
                *bias = true;
                norms.push((name.clone(), std::mem::take(norm)));
                continue;
            }
            _ => {}
        }
        folded.push(layer);
    }
    *layers = folded;
}

#[cfg(test)]
mod tests {
    use super::{Folded, Layer, Network, Tensor, Weights};
    use crate::nn::{Block, Extent};

    fn norm(name: &str) -> Layer {
        Layer::BatchNorm { name: name.into() }
    }

    fn conv(bias: bool) -> Layer {
        Layer::Conv { name: "conv".into(), out: 2, kernel: 1, stride: 1, pad: 0, bias }
    }

    fn network(layers: Vec<Layer>) -> Network {
        let blocks = vec![Block { layers, ..Block::default() }];
        Network { input: Extent::Map(1, 1, 1), blocks, head: Vec::new() }
    }

    #[test]
    fn a_norm_behind_a_convolution_is_taken_in_and_no_other() {
        let folded =
            Folded::of(&network(vec![norm("first"), conv(false), norm("bn"), norm("more")]));
        let folded = folded.expect("a network");
        assert_eq!(folded.network, network(vec![norm("first"), conv(true), norm("more")]));

        let column = |a: f32, b: f32| Tensor::new([2], vec![a, b]);
        let weights = Weights::from([
            ("conv.weight".into(), Tensor::new([2, 1, 1, 1], vec![3.0, 5.0])),
            ("bn.weight".into(), column(2.0, -1.0)),
            ("bn.bias".into(), column(0.5, 1.0)),
            ("bn.running_mean".into(), column(1.0, -2.0)),
            ("bn.running_var".into(), column(4.0 - 1e-5, 0.25 - 1e-5)),
        ]);
        let kept = folded.weights(&weights).expect("it has them all");
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["conv.bias", "conv.weight"]);
        let near = |name: &str, wanted: [f32; 2]| {
            kept[name]
                .data
                .iter()
                .zip(wanted)
                .for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} {b}"));
        };
        // Scales of 2/2 and −1/½.
        near("conv.weight", [3.0, -10.0]);
        near("conv.bias", [0.5 - 1.0, 1.0 - 4.0]);

        let mut torn = weights;
        torn.remove("bn.bias");
        let error = folded.weights(&torn).expect_err("a part is missing");
        assert_eq!(error.to_string(), "parameter bn.bias is missing");
    }
}
