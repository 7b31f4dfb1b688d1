//! Some samples as numbers with names: what a program reads of the data.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Numbers of a field, row after row.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Reals.
    F32(Vec<f32>),
    /// Whole numbers: classes, tokens.
    U32(Vec<u32>),
}

/// Which numbers a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NumberKind {
    /// Reals.
    F32,
    /// Whole numbers.
    U32,
}

/// Numbers of each sample under one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The name by which programs ask for it.
    pub name: &'static str,
    /// (`size`, …) of the batch, the last axis fastest.
    pub numbers: Numbers,
}

/// Some samples: what a network reads of them, and what its answer is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// What networks read: images (N, height, width, channels).
    pub inputs: Vec<Field>,
    /// What their outputs are compared with: labels (N).
    pub targets: Vec<Field>,
    /// N: rows of each field.
    pub size: usize,
    /// Valid rows, the first ones; those behind are zeros.
    pub rows: usize,
}

impl Numbers {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(numbers) => numbers.len(),
            Self::U32(numbers) => numbers.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which they are.
    pub fn kind(&self) -> NumberKind {
        match self {
            Self::F32(_) => NumberKind::F32,
            Self::U32(_) => NumberKind::U32,
        }
    }

    /// As a device reads them.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(numbers) => bytemuck::cast_slice(numbers),
            Self::U32(numbers) => bytemuck::cast_slice(numbers),
        }
    }

    /// Those in `range`, and zeros behind them up to `len`.
    fn part(&self, range: Range<usize>, len: usize) -> Self {
        fn part<T: Copy + Default>(all: &[T], range: Range<usize>, len: usize) -> Vec<T> {
            let mut part = Vec::with_capacity(len);
            part.extend_from_slice(&all[range]);
            part.resize(len, T::default());
            part
        }
        match self {
            Self::F32(numbers) => Self::F32(part(numbers, range, len)),
            Self::U32(numbers) => Self::U32(part(numbers, range, len)),
        }
    }
}

impl Field {
    /// A field of reals.
    pub fn f32(name: &'static str, numbers: Vec<f32>) -> Self {
        Self { name, numbers: Numbers::F32(numbers) }
    }

    /// A field of whole numbers.
    pub fn u32(name: &'static str, numbers: Vec<u32>) -> Self {
        Self { name, numbers: Numbers::U32(numbers) }
    }
}

impl Batch {
    /// The field of a name.
    pub fn field(&self, name: &str) -> Option<&Numbers> {
        let all = self.inputs.iter().chain(&self.targets);
        all.into_iter().find(|field| field.name == name).map(|field| &field.numbers)
    }

    /// `size` rows from row `first` on, of which those are valid that are valid here; the others are zeros.
    #[must_use]
    pub fn part(&self, first: usize, size: usize) -> Self {
        let rows = self.rows.saturating_sub(first).min(size);
        let part = |fields: &[Field]| {
            let each = |field: &Field| {
                let of_row = field.numbers.len() / self.size.max(1);
                let range = match rows {
                    0 => 0..0,
                    _ => first * of_row..(first + rows) * of_row,
                };
                Field { name: field.name, numbers: field.numbers.part(range, size * of_row) }
            };
            fields.iter().map(each).collect()
        };
        Self { inputs: part(&self.inputs), targets: part(&self.targets), size, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_the_rows_that_are_valid_and_zeros_behind() {
        let images = vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 0.0, 0.0];
        let batch = Batch {
            inputs: vec![Field::f32("images", images)],
            targets: vec![Field::u32("labels", vec![3, 4, 5, 6, 0])],
            size: 5,
            rows: 4,
        };
        let part = batch.part(3, 3);
        assert_eq!((part.size, part.rows), (3, 1));
        let images = Numbers::F32(vec![6.0, 7.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(part.field("images"), Some(&images));
        assert_eq!(part.field("labels"), Some(&Numbers::U32(vec![6, 0, 0])));
        assert_eq!(batch.part(0, 5), batch);
        let none = batch.part(6, 2);
        assert_eq!((none.rows, none.field("labels")), (0, Some(&Numbers::U32(vec![0, 0]))));
        assert_eq!(batch.field("tokens"), None);
    }
}
