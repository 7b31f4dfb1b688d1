//! Training batches, in an order that is a function of the seed alone.

use std::ops::Range;
use std::sync::Arc;

use super::DataError;
use super::batches::{Batches, Feed};
use super::source::{Draw, Split};
use crate::batch::Batch;

/// Keeps the stream of an epoch's order apart from those of its samples.
const ORDER: u64 = 0x006f_7264_6572;

/// How training batches are drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Samples of a batch.
    pub batch: usize,
    /// Orders the samples of every epoch and seeds their augmentations.
    pub order_seed: u64,
    /// Whether samples are augmented as the data's configuration says.
    pub augment: bool,
    /// Number of the first batch, counted over all epochs: what a resumed run has consumed.
    pub start_batch: u64,
    /// Threads that make batches ahead; 0: as many as the data needs.
    pub threads: usize,
    /// Leaves out an epoch's last samples if they do not fill a batch; else that batch is padded with zeros.
    pub drop_last: bool,
    /// Rows of each batch that are made, as the whole batch has them; none: all.
    pub slice: Option<Range<usize>>,
}

impl LoaderOptions {
    /// Batches that an epoch of so many samples has.
    pub fn batches_per_epoch(&self, samples: usize) -> u64 {
        let batches = match (self.batch, self.drop_last) {
            (0, _) => 0,
            (batch, true) => samples / batch,
            (batch, false) => samples.div_ceil(batch),
        };
        batches as u64
    }
}

/// Training batches without end, epoch after epoch.
///
/// The order of an epoch is a function of (order seed, epoch), a sample's augmentation of (order seed, epoch, sample);
/// neither depends on threads nor on where the loader started.
#[derive(Debug)]
pub struct Loader {
    batches: Batches,
}

impl Loader {
    /// Starts the threads.
    ///
    /// # Errors
    /// A batch of no samples, or with `drop_last` one larger than the split; a slice that is not of a batch.
    pub fn new(split: Arc<Split>, options: LoaderOptions) -> Result<Self, DataError> {
        let per_epoch = options.batches_per_epoch(split.len());
        if per_epoch == 0 {
            let problem = format!(
                "{} is not within 1 and the {} training samples",
                options.batch,
                split.len()
            );
            return Err(DataError::setting("batch", problem));
        }
        if let Some(rows) = &options.slice
            && (rows.is_empty() || rows.end > options.batch)
        {
            let problem = format!("{} has no rows {} to {}", options.batch, rows.start, rows.end);
            return Err(DataError::setting("batch", problem));
        }
        let feed = Feed {
            threads: split.threads(options.threads),
            numbers: options.start_batch..u64::MAX,
        };
        let mut shuffled = Shuffled { split, options, per_epoch, epoch: None, order: Vec::new() };
        let batches = Batches::new(feed, move |number| shuffled.batch(number));
        Ok(Self { batches })
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.next()
    }
}

/// One thread's view of the shuffled samples; it keeps the order of the epoch it is in.
#[derive(Debug, Clone)]
struct Shuffled {
    split: Arc<Split>,
    options: LoaderOptions,
    per_epoch: u64,
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl Shuffled {
    fn batch(&mut self, number: u64) -> Result<Batch, DataError> {
        let LoaderOptions { batch, order_seed, augment, .. } = self.options;
        let epoch = number / self.per_epoch;
        if self.epoch != Some(epoch) {
            self.order = self.split.order(&[order_seed, epoch, ORDER]);
            self.epoch = Some(epoch);
        }
        let first = (number % self.per_epoch) as usize * batch;
        let rows = self.options.slice.clone().unwrap_or(0..batch);
        let end = |row: usize| (first + row).min(self.order.len());
        let picks = &self.order[end(rows.start)..end(rows.end)];
        let draw = augment.then_some(Draw { seed: order_seed, epoch });
        self.split.batch(picks, rows.len(), draw)
    }
}
