//! A multi-layer perceptron: linear layers with an activation between them, in blocks of layers.

use crate::{
    config::Mlp,
    nn::{
        Block, Extent, Layer, Network,
        layers::{Activation, Linear},
    },
};

/// Hidden layers are `layers.0`, `layers.1`, …; the classifier is `head`.
pub(super) fn network(config: &Mlp, input: Extent, classes: u32) -> Network {
    let mut hidden = config.hidden.iter().enumerate();
    let mut blocks = Vec::with_capacity(config.blocks.len());
    for (k, &count) in config.blocks.iter().enumerate() {
        // Images come as maps; the first layer reads them as vectors.
        let flatten = (k == 0 && matches!(input, Extent::Map(..))).then_some(Layer::Flatten);
        let layers = hidden.by_ref().take(count as usize).flat_map(|(n, &out)| {
            let name = format!("layers.{n}");
            let act = Activation { name: format!("{name}.act"), function: config.activation };
            [Layer::Linear(Linear { name, out, bias: true }), Layer::Activation(act)]
        });
        blocks.push(Block {
            layers: flatten.into_iter().chain(layers).collect(),
            ..Block::default()
        });
    }
    Network {
        input,
        blocks,
        head: vec![Layer::Linear(Linear { name: "head".into(), out: classes, bias: true })],
        further: Vec::new(),
    }
}
