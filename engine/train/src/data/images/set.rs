//! What is known of a data set of pictures, beside its samples.

use super::transform::Preprocess;
use crate::nn::Extent;

/// What is known of pictures with a class each.
#[derive(Debug, Clone)]
pub struct ImageSet {
    /// Name of each class.
    pub classes: Vec<String>,
    /// What the network reads.
    pub shape: ImageShape,
    /// What is done to any picture before the network.
    pub preprocess: Preprocess,
}

/// Shape of one input of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels: 1 or 3.
    pub channels: usize,
}

impl ImageShape {
    /// Numbers of an image.
    pub fn numbers(self) -> usize {
        self.height * self.width * self.channels
    }

    /// The same for a network.
    pub fn extent(self) -> Extent {
        Extent::Map(self.height as u32, self.width as u32, self.channels as u32)
    }
}
