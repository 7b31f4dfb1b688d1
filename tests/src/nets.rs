//! Small networks, and how to train them.

use engine::{
    batch::{Batch, Field},
    config::{Interpolation, Mlp, Model, Optimizer, Recipe, Resnet, Schedule, Stem, Unit},
    formats::{ImageInput, ImageModel, ModelConfig, ModelFolder, folder::Widened},
    models,
    nn::{Extent, Network, Weights, fresh},
    random::Stream,
};

/// Features of an MLP's input.
pub const FEATURES: u32 = 6;
/// Classes of every network here.
pub const CLASSES: u32 = 3;

/// An MLP on vectors: hidden widths, and layers of each block.
pub fn mlp(hidden: &[u32], blocks: &[u32]) -> Network {
    let config = Mlp { hidden: hidden.to_vec(), blocks: blocks.to_vec(), ..Mlp::default() };
    models::network(&Model::Mlp(config), Extent::Flat(FEATURES), CLASSES)
}

/// A ResNet on 8 × 8 colour images, CIFAR's stem: channels of the first stage, and units of each.
pub fn resnet(unit: Unit, base: u32, blocks: &[u32]) -> Network {
    let config = Resnet { width: 1.0, base, unit, stem: Stem::Cifar, blocks: blocks.to_vec() };
    models::network(&Model::Resnet(config), Extent::Map(8, 8, 3), CLASSES)
}

/// Plain SGD with momentum at a constant rate.
pub fn recipe(batch: u32) -> Recipe {
    Recipe {
        length: engine::config::Length::Steps(10),
        batch,
        optimizer: Optimizer::Sgd,
        lr: 0.01,
        momentum: 0.9,
        nesterov: false,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        schedule: Schedule::Constant,
        milestones: Vec::new(),
        gamma: 0.1,
        warmup: 0.0,
        clip_norm: None,
        label_smoothing: 0.0,
    }
}

/// Fresh weights; batch norms as after a training rather than as the identity.
///
/// # Panics
/// If the network is none.
pub fn weights(network: &Network, seed: u64) -> Weights {
    let mut weights = fresh(network, seed).expect("shapes fit");
    let mut stream = Stream::new(&[seed, 77]);
    for (name, tensor) in &mut weights {
        let (low, high) = match name.rsplit('.').next() {
            Some("running_mean") => (-0.3, 0.3),
            Some("running_var") => (0.5, 2.0),
            Some("bias") => (-0.2, 0.2),
            Some("weight") if tensor.shape.len() == 1 => (0.5, 1.5),
            _ => continue,
        };
        tensor.data.fill_with(|| stream.between(low, high) as f32);
    }
    weights
}

/// Images (N, H, W, C) with a label each, all of them valid.
pub fn pictures(images: Vec<f32>, labels: Vec<u32>) -> Batch {
    let (size, inputs) = (labels.len(), vec![Field::f32("images", images)]);
    Batch { inputs, targets: vec![Field::u32("labels", labels)], size, rows: size }
}

/// A model folder of seven classes for images of `channels` and `size`, its weights as [`weights`] draws them.
pub fn model(
    name: &str,
    model: Model,
    channels: u32,
    size: u32,
    widened: Option<Widened>,
) -> ModelFolder {
    let config = ModelConfig::Images(ImageModel {
        architecture: name.into(),
        model,
        widened,
        input: ImageInput {
            channels,
            size,
            mean: vec![0.5; channels as usize],
            std: vec![0.5; channels as usize],
            interpolation: Interpolation::Bilinear,
            crop: 1.0,
        },
        labels: (0..7).map(|k| format!("class {k}")).collect(),
    });
    let weights = weights(&config.network(), 5);
    ModelFolder { weights, config, merge: None, card: String::new() }
}

/// What `config.json` says of a model on images.
///
/// # Panics
/// If it reads something else.
pub fn images(config: &mut ModelConfig) -> &mut ImageModel {
    match config {
        ModelConfig::Images(model) => model,
        ModelConfig::Text(_) => panic!("it reads text"),
    }
}
