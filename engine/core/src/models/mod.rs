//! The networks that a configuration can ask for, as values; and those that come with weights from elsewhere.

mod bert;
mod import;
mod mlp;
mod resnet;

pub use bert::{Bert, BertHead, bert};
pub use import::{check, infer, regroup};

use crate::{
    config::Model,
    nn::{Extent, Network},
};

/// The network that `model` describes, for inputs of this extent and so many classes.
pub fn network(model: &Model, input: Extent, classes: u32) -> Network {
    match model {
        Model::Mlp(config) => mlp::network(config, input, classes),
        Model::Resnet(_) | Model::Resnet50(_) | Model::Resnet101(_) => {
            let config = model.resnet().expect("a residual network");
            resnet::network(&config, input, classes)
        }
    }
}
