//! Batch norm in eval mode as part of the convolution before it: how a frozen network runs.
//!
//! y = γ (w ∗ x − μ) / √(σ² + ε) + β is a convolution by s w with bias β − s μ, where s = γ / √(σ² + ε) is a number a channel.

use super::{
    Layout, Network, NetworkError, Tensor, Weights,
    layers::{self, Fold},
    parameter,
};

/// A network in eval mode with its batch norms folded into its convolutions, and how the network's weights become the folded ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded {
    /// The network: convolutions with a bias, and the batch norms that stand behind no convolution.
    pub network: Network,
    /// Where its tensors lie.
    pub layout: Layout,
    /// Each convolution that has taken in a batch norm, with the norm.
    folds: Vec<Fold>,
}

impl Folded {
    /// Folds each batch norm that stands behind a convolution.
    ///
    /// # Errors
    /// If a layer does not take what flows into it.
    pub fn of(network: &Network) -> Result<Self, NetworkError> {
        let (mut network, mut folds) = (network.clone(), Vec::new());
        for block in &mut network.blocks {
            block.layers = layers::folded(&block.layers, &mut folds);
        }
        for head in [&mut network.head].into_iter().chain(&mut network.further) {
            *head = layers::folded(head, &mut folds);
        }
        let layout = Layout::of(&network.shapes()?);
        Ok(Self { network, layout, folds })
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
        let mut folded = weights.clone();
        for Fold { into, norm } in &self.folds {
            let name = format!("{into}.weight");
            let mut kernel = parameter(weights, &name)?.clone();
            let channels = kernel
                .shape
                .first()
                .copied()
                .filter(|&n| n > 0)
                .ok_or_else(|| NetworkError::Weights(format!("parameter {name} is empty")))?;
            let affine = layers::take_affine(&mut folded, norm, into, channels)?;
            let row = kernel.len() / channels;
            for (row, (scale, _)) in kernel.data.chunks_mut(row).zip(&affine) {
                row.iter_mut().for_each(|w| *w = (scale * f64::from(*w)) as f32);
            }
            let shifts = affine.iter().map(|(_, shift)| *shift as f32).collect();
            folded.insert(name, kernel);
            folded.insert(format!("{into}.bias"), Tensor::new([channels], shifts));
        }
        Ok(folded)
    }

    /// The folded network's weights as a file has them, from those of the network as it was.
    ///
    /// # Errors
    /// As [`Self::weights`].
    pub fn to_file(&self, weights: &Weights) -> Result<Weights, NetworkError> {
        Ok(self.network.to_file(&self.weights(weights)?))
    }
}

#[cfg(test)]
mod tests {
    use super::{Folded, Network, Tensor, Weights};
    use crate::nn::{
        Block, Extent, Layer,
        layers::{BatchNorm, Conv},
    };

    fn norm(name: &str) -> Layer {
        Layer::BatchNorm(BatchNorm { name: name.into() })
    }

    fn conv(bias: bool) -> Layer {
        Layer::Conv(Conv { name: "conv".into(), out: 2, kernel: 1, stride: 1, pad: 0, bias })
    }

    fn network(layers: Vec<Layer>) -> Network {
        let blocks = vec![Block { layers, ..Block::default() }];
        Network { input: Extent::Map(1, 1, 1), blocks, head: Vec::new(), further: Vec::new() }
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
