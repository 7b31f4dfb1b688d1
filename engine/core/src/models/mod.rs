//! The networks that a configuration can ask for, as values; and those that come with weights from elsewhere.

mod bert;
mod import;
mod mlp;
mod resnet;

pub use bert::{Bert, BertHead, bert};
pub use import::{check, infer, new_head, regroup};

use crate::{
    config::{Examples, Model, Text},
    nn::{Extent, Network},
};

/// What a network answers for one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A score for each class.
    Classes(u32),
    /// Scores of words for each place of a sample that is asked for.
    Words {
        /// Words that there are.
        vocabulary: u32,
        /// Places of a sample, at most.
        places: u32,
        /// Whether its second segment follows the first is asked for as well.
        next: bool,
    },
    /// For each token, that an answer begins and that it ends there.
    Spans {
        /// Words that are read.
        vocabulary: u32,
    },
}

impl From<u32> for Output {
    fn from(classes: u32) -> Self {
        Self::Classes(classes)
    }
}

impl Output {
    /// What is asked for of a text with so many words.
    pub fn of_text(text: &Text, how: &Examples, vocabulary: u32) -> Self {
        match text.kind.asks() {
            true => Self::Spans { vocabulary },
            false => Self::Words { vocabulary, places: how.max_predictions, next: how.nsp },
        }
    }

    /// Classes, or words.
    pub fn width(self) -> u32 {
        match self {
            Self::Classes(classes) => classes,
            Self::Words { vocabulary, .. } | Self::Spans { vocabulary } => vocabulary,
        }
    }
}

/// The network that `model` describes, for inputs of this extent and what is to be answered. One of another kind than the data has no shapes.
pub fn network(model: &Model, input: Extent, output: impl Into<Output>) -> Network {
    let output = output.into();
    match model {
        Model::Mlp(config) => mlp::network(config, input, output.width()),
        Model::Resnet(_) | Model::Resnet50(_) | Model::Resnet101(_) => {
            let config = model.resnet().expect("a residual network");
            resnet::network(&config, input, output.width())
        }
        Model::Bert(config) => bert::network(config, input, output),
    }
}
