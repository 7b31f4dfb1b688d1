//! A data set that can be trained on.

use std::sync::Arc;

use super::account::Account;
use super::images::ImageSet;
use super::source::Split;
use super::text::asked::QuestionSet;
use super::text::{TextSet, Tokenizer};
use crate::models::Output;
use crate::nn::Extent;
use crate::step::Task;

/// A data set, ready to be trained on.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// What is trained on.
    pub train: Arc<Split>,
    /// What is tested on; never augmented.
    pub test: Arc<Split>,
    /// What the samples are.
    pub contents: Contents,
    /// What was found, what was left out and why.
    pub account: Account,
}

/// What the samples of a data set are, and what is known of them.
#[derive(Debug, Clone)]
pub enum Contents {
    /// Pictures with a class each.
    Images(ImageSet),
    /// Text of which words are masked.
    Text(TextSet),
    /// Questions about texts.
    Questions(QuestionSet),
}

/// What the networks of a run are made for.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What they read of one sample.
    pub input: Extent,
    /// What they answer for it.
    pub output: Output,
    /// Names of the classes; of text none.
    pub classes: Vec<String>,
    /// Makes tokens of text, where that is known.
    pub tokenizer: Option<Arc<Tokenizer>>,
}

impl Subject {
    /// What networks are asked for.
    pub fn task(&self) -> Task {
        Task::of(self.output)
    }
}

impl Dataset {
    /// What networks are made for that are trained on it.
    pub fn subject(&self) -> Subject {
        let (input, output) = (self.input(), self.output());
        let (classes, tokenizer) = match &self.contents {
            Contents::Images(images) => (images.classes.clone(), None),
            Contents::Text(text) => (Vec::new(), Some(text.tokenizer.clone())),
            Contents::Questions(of) => (Vec::new(), Some(of.tokenizer.clone())),
        };
        Subject { input, output, classes, tokenizer }
    }

    /// What a network reads of one sample.
    pub fn input(&self) -> Extent {
        match &self.contents {
            Contents::Images(images) => images.shape.extent(),
            Contents::Text(TextSet { length, .. })
            | Contents::Questions(QuestionSet { length, .. }) => Extent::Tokens(*length),
        }
    }

    /// What a network has to answer for one sample.
    pub fn output(&self) -> Output {
        match &self.contents {
            Contents::Images(images) => Output::Classes(images.classes.len() as u32),
            Contents::Text(text) => {
                let vocabulary = text.tokenizer.size() as u32;
                Output::Words { vocabulary, places: text.places, next: text.next }
            }
            Contents::Questions(of) => Output::Spans { vocabulary: of.tokenizer.size() as u32 },
        }
    }

    /// What a network is asked for.
    pub fn task(&self) -> Task {
        Task::of(self.output())
    }
}
