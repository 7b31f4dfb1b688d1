//! A network's numbers on the host: tensors by name.

use std::collections::BTreeMap;

use super::NetworkError;

/// Parameters and state of a network by path, as `layer1.0.conv1.weight`; convolutions are stored (O, KH, KW, I).
pub type Weights = BTreeMap<String, Tensor>;

/// A tensor of the weights.
///
/// # Errors
/// [`NetworkError::Weights`] that it is missing.
pub fn parameter<'w>(weights: &'w Weights, name: &str) -> Result<&'w Tensor, NetworkError> {
    weights.get(name).ok_or_else(|| NetworkError::missing(name))
}

/// Numbers with a shape, the last axis fastest.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensor {
    /// Length of each axis; empty for a scalar.
    pub shape: Vec<usize>,
    /// The numbers; as many as the product of `shape`.
    pub data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape` holding `data`.
    ///
    /// # Panics
    /// When `data` has not as many numbers as `shape` says: the caller computed one of them.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?}");
        Tensor { shape, data }
    }

    /// A tensor of zeros.
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        Self::full(shape, 0.0)
    }

    /// A tensor whose every number is `value`.
    pub fn full(shape: impl Into<Vec<usize>>, value: f32) -> Self {
        let shape = shape.into();
        let count = shape.iter().product();
        Tensor { shape, data: vec![value; count] }
    }

    /// How many numbers it has.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether it has no numbers.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}
