//! The order of pictures of which many are read together, as a row group of Parquet is, and which are too many to be held.
//!
//! An order that jumps from group to group would read a whole one for each picture. So an epoch shuffles the groups, cuts them into windows of at
//! most [`WINDOW`] bytes, and shuffles the pictures of each window: a picture's neighbours in a batch come of some dozens of groups, and each
//! group is read once. Like any other order it is a function of its key alone, so that a run goes on in it from any batch.

use super::super::stored::{Row, Stored};
use crate::random;

/// Bytes of the groups of a window; no group is larger.
pub(super) const WINDOW: u64 = 1 << 30;
/// Keeps the order of groups apart from that in a window.
const GROUPS: u64 = 0x6772_6f75_7073;

/// Which samples are read together.
#[derive(Debug)]
pub(super) struct Groups {
    /// Samples of each group.
    members: Vec<Vec<usize>>,
    /// Bytes of each group.
    weights: Vec<u64>,
}

impl Groups {
    /// The groups of files; none where each is read by itself.
    pub(super) fn of(files: &[Stored]) -> Option<Self> {
        let mut places = std::collections::HashMap::new();
        let mut groups = Self { members: Vec::new(), weights: Vec::new() };
        for (sample, file) in files.iter().enumerate() {
            let Stored::Row { of, at: Row { group, .. } } = file else { return None };
            let place = *places.entry(*group).or_insert_with(|| {
                groups.members.push(Vec::new());
                groups.weights.push(of.weight(*group));
                groups.weights.len() - 1
            });
            groups.members[place].push(sample);
        }
        (!groups.members.is_empty()).then_some(groups)
    }

    /// All samples in an order of windows of so many bytes, which is a function of `key` alone.
    pub(super) fn order(&self, window: u64, key: &[u64]) -> Vec<usize> {
        let with = |more: &[u64]| [key, &[GROUPS], more].concat();
        let groups = random::permutation(self.members.len(), &with(&[]));
        let mut order = Vec::with_capacity(self.members.iter().map(Vec::len).sum());
        let (mut inside, mut bytes, mut number) = (Vec::new(), 0, 0);
        let mut close = |inside: &mut Vec<usize>, number: &mut u64| {
            let picks = random::permutation(inside.len(), &with(&[*number]));
            order.extend(picks.into_iter().map(|pick| inside[pick]));
            inside.clear();
            *number += 1;
        };
        for group in groups {
            if bytes + self.weights[group] > window && !inside.is_empty() {
                close(&mut inside, &mut number);
                bytes = 0;
            }
            bytes += self.weights[group];
            inside.extend(&self.members[group]);
        }
        close(&mut inside, &mut number);
        order
    }
}
