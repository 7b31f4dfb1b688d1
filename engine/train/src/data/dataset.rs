//! A data set that can be trained on.

use std::sync::Arc;

use super::account::Account;
use super::images::ImageSet;
use super::source::Split;
use crate::nn::Extent;

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
}

impl Dataset {
    /// What a network reads of one sample.
    pub fn input(&self) -> Extent {
        let Contents::Images(images) = &self.contents;
        images.shape.extent()
    }

    /// Numbers that a network has to answer for one sample: one for each class.
    pub fn outputs(&self) -> usize {
        let Contents::Images(images) = &self.contents;
        images.classes.len()
    }
}
