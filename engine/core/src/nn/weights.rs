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

    /// Our (O, KH, KW, I) as PyTorch's (O, I, KH, KW); any other rank as it is.
    pub fn to_pytorch(&self) -> Tensor {
        match self.shape[..] {
            [o, h, w, i] => self.swap_inner(o, h * w, i, [o, i, h, w]),
            _ => self.clone(),
        }
    }

    /// PyTorch's (O, I, KH, KW) as our (O, KH, KW, I); any other rank as it is.
    pub fn from_pytorch(&self) -> Tensor {
        match self.shape[..] {
            [o, i, h, w] => self.swap_inner(o, i, h * w, [o, h, w, i]),
            _ => self.clone(),
        }
    }

    /// (outer, rows, columns) → (outer, columns, rows), then called `shape`.
    fn swap_inner(&self, outer: usize, rows: usize, columns: usize, shape: [usize; 4]) -> Tensor {
        let mut data = vec![0.0; self.data.len()];
        for o in 0..outer {
            let base = o * rows * columns;
            for r in 0..rows {
                for c in 0..columns {
                    data[base + c * rows + r] = self.data[base + r * columns + c];
                }
            }
        }
        Tensor::new(shape, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolutions_change_order_at_the_boundary_and_back() {
        // O = 1, KH = 1, KW = 3, I = 2: channel fastest here, width fastest in PyTorch.
        let ours = Tensor::new([1, 1, 3, 2], vec![1., 10., 2., 20., 3., 30.]);
        let theirs = ours.to_pytorch();
        assert_eq!(theirs, Tensor::new([1, 2, 1, 3], vec![1., 2., 3., 10., 20., 30.]));
        assert_eq!(theirs.from_pytorch(), ours);
        let odd = Tensor::new([3, 5, 2, 7], (0..210).map(|n| n as f32).collect());
        assert_eq!(odd.to_pytorch().from_pytorch(), odd);
        assert_eq!(odd.to_pytorch().shape, [3, 7, 5, 2]);
    }

    #[test]
    fn other_ranks_stay() {
        let matrix = Tensor::new([2, 3], vec![0., 1., 2., 3., 4., 5.]);
        assert_eq!(matrix.to_pytorch(), matrix);
        assert_eq!(Tensor::zeros([]).len(), 1);
    }
}
