//! Batches made ahead of time by threads.

use std::fmt;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::DataError;
use crate::batch::Batch;

/// Finished batches that each thread keeps waiting.
const AHEAD: usize = 2;

/// Which batches, and by how many threads; by none, they are made when they are asked for.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    pub(super) threads: usize,
    pub(super) numbers: Range<u64>,
}

/// A thread and the channel of its batches.
type Thread = (Receiver<Result<Batch, DataError>>, JoinHandle<()>);

/// What makes a batch by its number.
type Make = dyn FnMut(u64) -> Result<Batch, DataError> + Send;

/// Who makes batches.
enum Makers {
    /// Thread t makes every batch whose place is t modulo their number, so no two ever race for one.
    Threads(Vec<Thread>),
    /// Whoever asks for one.
    Asker(Box<Make>),
}

impl fmt::Debug for Makers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threads(threads) => write!(f, "{} threads", threads.len()),
            Self::Asker(_) => f.write_str("whoever asks"),
        }
    }
}

/// Batches in order, made ahead by threads. Dropping it ends and joins them; after an error it is at its end.
#[derive(Debug)]
pub struct Batches {
    makers: Makers,
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
        if feed.threads == 0 {
            return Self { makers: Makers::Asker(Box::new(make)), next: numbers.start, numbers };
        }
        let count = feed.threads.clamp(1, 64).min(most);
        let start = |thread: usize| {
            let (sender, receiver) = sync_channel(AHEAD);
            let (make, numbers) = (make.clone(), numbers.clone());
            (receiver, std::thread::spawn(move || work(&sender, numbers, thread, count, make)))
        };
        let makers = Makers::Threads((0..count).map(start).collect());
        Self { makers, next: numbers.start, numbers }
    }
}

/// Sends what `make` returns, until it has sent an error or the receiver is gone.
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
        let batch = match &mut self.makers {
            Makers::Threads(threads) => {
                let turn = (self.next - self.numbers.start) % threads.len() as u64;
                threads[turn as usize].0.recv().unwrap_or(Err(DataError::Stopped))
            }
            Makers::Asker(make) => make(self.next),
        };
        self.next = if batch.is_ok() { self.next + 1 } else { self.numbers.end };
        Some(batch)
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        let Makers::Threads(threads) = &mut self.makers else { return };
        // All receivers are dropped first, so that a thread that waits for room in its channel ends.
        let threads: Vec<_> = threads.drain(..).map(|(_, thread)| thread).collect();
        for thread in threads {
            // A thread that panicked has been reported already, as `DataError::Stopped`.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_threads_the_same_batches_come() {
        let make = |number: u64| match number {
            7 => Err(DataError::Stopped),
            _ => Ok(Batch {
                inputs: Vec::new(),
                targets: Vec::new(),
                size: 1,
                rows: number as usize,
            }),
        };
        let told = |threads: usize| {
            let batches = Batches::new(Feed { threads, numbers: 2..20 }, make);
            batches.map(|batch| batch.ok()).collect::<Vec<_>>()
        };
        let here = told(0);
        assert_eq!((here.len(), here.last()), (6, Some(&None)));
        assert_eq!((told(1), told(3)), (here.clone(), here));
    }
}
