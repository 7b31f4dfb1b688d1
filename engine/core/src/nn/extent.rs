//! The shape of what flows between layers.

use serde::{Deserialize, Serialize};

/// The shape of one input, or of what flows between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// An image or a feature map: height, width, channels.
    Map(u32, u32, u32),
    /// A vector of features.
    Flat(u32),
    /// Ids of so many tokens.
    Tokens(u32),
    /// So many positions with features each.
    Sequence(u32, u32),
}

impl Extent {
    /// Channels of a map, features of a vector or of a position: the axis that a linear pair acts on.
    pub fn width(self) -> u32 {
        match self {
            Extent::Map(_, _, c) | Extent::Flat(c) | Extent::Sequence(_, c) => c,
            Extent::Tokens(_) => 1,
        }
    }

    /// Positions of a map or a sequence; 1 for a vector.
    pub fn positions(self) -> u64 {
        match self {
            Extent::Map(h, w, _) => u64::from(h) * u64::from(w),
            Extent::Tokens(length) | Extent::Sequence(length, _) => length.into(),
            Extent::Flat(_) => 1,
        }
    }

    /// Whether it is a map.
    pub fn is_map(self) -> bool {
        matches!(self, Extent::Map(..))
    }

    /// The extents of a batch of `rows`.
    pub fn batch(self, rows: u32) -> Vec<u32> {
        match self {
            Extent::Map(h, w, c) => vec![rows, h, w, c],
            Extent::Flat(c) | Extent::Tokens(c) => vec![rows, c],
            Extent::Sequence(length, c) => vec![rows, length, c],
        }
    }

    /// The map with one position for each place of a square window on this one, and as many channels; `None` for a vector, or where no window fits.
    pub(super) fn windows(self, kernel: u32, stride: u32, pad: u32) -> Option<Extent> {
        let Extent::Map(h, w, c) = self else { return None };
        let places = |n: u32| (n + 2 * pad).checked_sub(kernel).map(|rest| rest / stride + 1);
        (kernel > 0 && stride > 0).then_some(())?;
        Some(Extent::Map(places(h)?, places(w)?, c))
    }

    /// The same positions with another width.
    pub(super) fn with_width(self, width: u32) -> Extent {
        match self {
            Extent::Map(h, w, _) => Extent::Map(h, w, width),
            Extent::Flat(_) => Extent::Flat(width),
            Extent::Sequence(length, _) => Extent::Sequence(length, width),
            Extent::Tokens(_) => self,
        }
    }
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Extent::Map(h, w, c) => write!(f, "{h} × {w} positions of {c} channels"),
            Extent::Flat(c) => write!(f, "{c} features"),
            Extent::Tokens(length) => write!(f, "{length} tokens"),
            Extent::Sequence(length, c) => write!(f, "{length} positions of {c} features"),
        }
    }
}
