//! Samples by number, whatever they are of.

use std::fmt::Debug;
use std::sync::Arc;

use super::DataError;
use super::batches::{Batches, Feed};
use crate::batch::Batch;
use crate::random;

/// A key that keeps the random stream of splits apart from all others.
pub(super) const SPLIT: u64 = 0x0073_706c_6974;
/// A key that keeps the random stream of validation parts apart from all others.
pub(super) const VALIDATION: u64 = 0x0076_616c_6964;
/// A key that keeps the random stream of subsets apart from all others.
const SUBSET: u64 = 0x7375_6273_6574;

/// What is held out of a data set: how much, by which key of the configuration, and what it is drawn by.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeldOut {
    pub(super) key: &'static str,
    pub(super) share: f64,
    pub(super) draw: [u64; 2],
}

impl HeldOut {
    /// The test part of data that have none.
    pub(super) fn test(fraction: f64, seed: u64) -> Self {
        Self { key: "data.test_fraction", share: fraction, draw: [seed, SPLIT] }
    }

    /// The part of the training data that takes the place of the test part.
    pub(super) fn validation(fraction: f64, seed: u64) -> Self {
        Self { key: "data.validation_fraction", share: fraction, draw: [seed, VALIDATION] }
    }

    /// The share of all.
    ///
    /// # Errors
    /// It is not between 0 and 1.
    pub(super) fn fraction(&self) -> Result<f64, DataError> {
        let Self { key, share: fraction, .. } = *self;
        match fraction > 0.0 && fraction < 1.0 {
            true => Ok(fraction),
            false => Err(DataError::setting(key, format!("{fraction} is not between 0 and 1"))),
        }
    }

    /// How many of `there` it is: one at least, and not all. `there` is at least two.
    ///
    /// # Errors
    /// As [`HeldOut::fraction`].
    pub(super) fn count(&self, there: u64) -> Result<u64, DataError> {
        Ok(((there as f64 * self.fraction()?).round() as u64).clamp(1, there - 1))
    }
}

/// That `count` of `all` training images, say, are tested in place of the test part.
pub(super) fn validation_note(count: u64, all: u64, of: &str) -> String {
    format!(
        "{count} of {all} {of} are held out for validation and take the place of the test part, which is not looked at (data.validation_fraction)"
    )
}

/// What the random changes to a training sample are drawn by, beside its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Of the order of all epochs.
    pub seed: u64,
    /// Passes over the samples so far.
    pub epoch: u64,
}

/// Samples by number, as the fields that programs read. A new kind of data is one of these.
pub trait Source: Debug + Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Class of each sample; empty where they have none.
    fn classes(&self) -> &[u32];

    /// Threads that keep a device busy.
    fn threads(&self) -> usize;

    /// All samples once, in an order that is a function of `key` alone. Of samples that are read together those stand near each other.
    fn order(&self, key: &[u64]) -> Vec<usize> {
        random::permutation(self.len(), key)
    }

    /// `count` different samples (all, if fewer), a function of `seed` alone.
    fn subset(&self, seed: u64, count: usize) -> Vec<usize> {
        let mut picks = self.order(&[seed, SUBSET]);
        picks.truncate(count);
        picks
    }

    /// The samples at `picks` in fields of `size` rows, zeros behind them. With a draw they are changed at random: the same draw changes the
    /// same sample in the same way, whatever stands beside it.
    ///
    /// # Errors
    /// A sample that cannot be read.
    ///
    /// # Panics
    /// A pick beyond the last sample, or more picks than `size`.
    fn gather(&self, picks: &[usize], size: usize, draw: Option<Draw>) -> Result<Batch, DataError>;
}

/// `count` different samples of `len` that are no source yet (all, if fewer), a function of `seed` alone.
pub(super) fn subset(len: usize, seed: u64, count: usize) -> Vec<usize> {
    let mut picks = random::permutation(len, &[seed, SUBSET]);
    picks.truncate(count);
    picks
}

/// One part of a data set, training or test, ready to be read in batches.
#[derive(Debug)]
pub struct Split {
    source: Box<dyn Source>,
}

impl Split {
    /// The samples of a source.
    pub fn new(source: impl Source + 'static) -> Self {
        Self { source: Box::new(source) }
    }

    /// Samples.
    pub fn len(&self) -> usize {
        self.source.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    /// Class of each sample; empty where they have none.
    pub fn classes(&self) -> &[u32] {
        self.source.classes()
    }

    /// `count` different samples (all, if fewer), a function of `seed` alone.
    pub fn subset(&self, seed: u64, count: usize) -> Vec<usize> {
        self.source.subset(seed, count)
    }

    /// All samples once, in an order that is a function of `key` alone.
    pub(super) fn order(&self, key: &[u64]) -> Vec<usize> {
        self.source.order(key)
    }

    /// The samples at `picks` as they are.
    ///
    /// # Errors
    /// A sample that cannot be read.
    ///
    /// # Panics
    /// A pick beyond the last sample.
    pub fn gather(&self, picks: &[usize]) -> Result<Batch, DataError> {
        self.batch(picks, picks.len(), None)
    }

    /// The samples at `picks` as they are, in batches of `batch`; the last one is padded with zeros.
    ///
    /// # Panics
    /// `batch` is 0, or a pick beyond the last sample when it is read.
    pub fn some<'a>(
        &'a self,
        picks: &'a [usize],
        batch: usize,
    ) -> impl Iterator<Item = Result<Batch, DataError>> + 'a {
        picks.chunks(batch).map(move |picks| self.batch(picks, batch, None))
    }

    /// All samples in order as they are, in batches of `batch`, made ahead by threads; the last one is padded with zeros.
    ///
    /// # Panics
    /// `batch` is 0.
    pub fn batches(self: &Arc<Self>, batch: usize) -> Batches {
        assert!(batch > 0, "a batch of no samples");
        let split = Arc::clone(self);
        let count = self.len().div_ceil(batch) as u64;
        let make = move |number: u64| {
            let first = number as usize * batch;
            let picks: Vec<usize> = (first..(first + batch).min(split.len())).collect();
            split.batch(&picks, batch, None)
        };
        Batches::new(Feed { threads: self.threads(0), numbers: 0..count }, make)
    }

    /// As many threads as are asked for; 0: as many as keep a device busy.
    pub(super) fn threads(&self, asked: usize) -> usize {
        if asked == 0 { self.source.threads() } else { asked }
    }

    /// The samples at `picks`, padded to `size`, changed by the draw if there is one.
    pub(super) fn batch(
        &self,
        picks: &[usize],
        size: usize,
        draw: Option<Draw>,
    ) -> Result<Batch, DataError> {
        self.source.gather(picks, size, draw)
    }
}
