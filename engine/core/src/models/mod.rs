//! The networks that a configuration can ask for, as values; and those that come with weights from elsewhere.

mod import;
mod mlp;
mod resnet;

pub use import::{check, infer, regroup};

use crate::{
    config::Model,
    nn::{Extent, Network},
};

/// The network that `model` describes, for inputs of this extent and so many classes.
pub fn network(model: &Model, input: Extent, classes: u32) -> Network {
    match (model, model.resnet()) {
        (_, Some(config)) => resnet::network(&config, input, classes),
        (Model::Mlp(config), None) => mlp::network(config, input, classes),
        (_, None) => unreachable!("what is not an MLP is a ResNet"),
    }
}
