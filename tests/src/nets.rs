//! Small networks, and how to train them.

use engine::{
    config::{Mlp, Model, Optimizer, Recipe, Resnet, Schedule, Stem, Unit},
    models,
    nn::{Extent, Network},
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
