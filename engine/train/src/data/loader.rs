//! Batches made ahead of time by threads, in an order that is a function of the seed alone.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::DataError;
use super::split::{Batch, Split};
use crate::random::{self, Stream};

/// Finished batches that each thread keeps waiting.
const AHEAD: usize = 2;
/// Keeps the stream of an epoch's order apart from those of its augmentations.
const ORDER: u64 = 0x006f_7264_6572;
const AUGMENT: u64 = 0x0061_7567_6d65_6e74;

/// Which batches, and by how many threads.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    pub(super) threads: usize,
    pub(super) numbers: Range<u64>,
}

/// Where a thread's batches come out, and the thread.
type Thread = (Receiver<Result<Batch, DataError>>, JoinHandle<()>);

/// Batches in order, made ahead by threads. Dropping it ends and joins them; after an error it is at its end.
#[derive(Debug)]
pub struct Batches {
    /// Thread t makes every batch whose place is t modulo their number, so no two ever race for one.
    threads: Vec<Thread>,
    next: u64,
    numbers: Range<u64>,
}

impl Batches {
    /// `make` is cloned for each thread and called with the numbers that fall to it, ascending.
    pub(super) fn new<F>(feed: Feed, make: F) -> Self
    where
        F: FnMut(u64) -> Result<Batch, DataError> + Clone + Send + 'static,
    {
        let numbers = feed.numbers;
        let most = usize::try_from(numbers.end.saturating_sub(numbers.start)).unwrap_or(usize::MAX);
        let count = feed.threads.clamp(1, 64).min(most);
        let start = |thread: usize| {
            let (sender, receiver) = sync_channel(AHEAD);
            let (make, numbers) = (make.clone(), numbers.clone());
            (receiver, std::thread::spawn(move || work(&sender, numbers, thread, count, make)))
        };
        Self { threads: (0..count).map(start).collect(), next: numbers.start, numbers }
    }
}

/// Sends what `make` answers until an error was sent or nobody listens.
fn work(
    sender: &SyncSender<Result<Batch, DataError>>,
    numbers: Range<u64>,
    thread: usize,
    threads: usize,
    mut make: impl FnMut(u64) -> Result<Batch, DataError>,
) {
    for number in numbers.skip(thread).step_by(threads) {
        let batch = make(number);
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return;
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.numbers.end {
            return None;
        }
        let turn = (self.next - self.numbers.start) % self.threads.len() as u64;
        let batch = self.threads[turn as usize].0.recv().unwrap_or(Err(DataError::Stopped));
        self.next = if batch.is_ok() { self.next + 1 } else { self.numbers.end };
        Some(batch)
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // Every receiver goes first: a thread that waits for room then ends.
        let threads: Vec<_> = self.threads.drain(..).map(|(_, thread)| thread).collect();
        for thread in threads {
            // One that panicked has been answered for by `DataError::Stopped`.
            let _ = thread.join();
        }
    }
}

/// How training batches are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// Training batches without end, epoch after epoch.
///
/// The order of an epoch is a function of (order seed, epoch), a sample's augmentation of (order seed, epoch, sample);
/// neither depends on threads nor on where the loader started.
#[derive(Debug)]
pub struct Loader {
    batches: Batches,
    per_epoch: u64,
}

impl Loader {
    /// Starts the threads.
    ///
    /// # Errors
    /// A batch of no samples, or with `drop_last` one larger than the split.
    pub fn new(split: Arc<Split>, options: LoaderOptions) -> Result<Self, DataError> {
        let per_epoch = match (options.batch, options.drop_last) {
            (0, _) => 0,
            (batch, true) => split.len() / batch,
            (batch, false) => split.len().div_ceil(batch),
        } as u64;
        if per_epoch == 0 {
            let problem = format!(
                "{} is not within 1 and the {} training images",
                options.batch,
                split.len()
            );
            return Err(DataError::setting("batch", problem));
        }
        let feed = Feed {
            threads: split.threads(options.threads),
            numbers: options.start_batch..u64::MAX,
        };
        let mut shuffled = Shuffled { split, options, per_epoch, epoch: None, order: Vec::new() };
        let batches = Batches::new(feed, move |number| shuffled.batch(number));
        Ok(Self { batches, per_epoch })
    }

    /// Batches of an epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        self.per_epoch
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
            self.order = random::permutation(self.split.len(), &[order_seed, epoch, ORDER]);
            self.epoch = Some(epoch);
        }
        let first = (number % self.per_epoch) as usize * batch;
        let picks = &self.order[first..(first + batch).min(self.order.len())];
        let stream = |sample: usize| {
            augment.then(|| Stream::new(&[order_seed, epoch, sample as u64, AUGMENT]))
        };
        self.split.batch(picks, batch, stream)
    }
}
