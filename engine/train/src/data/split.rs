//! One part of a data set, training or test: pictures, labels and what is done to them.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::DataError;
use super::batches::{Batch, Batches, Feed};
use super::examples::{Examples, Store, cores, decode_all, parallel};
use super::image::Image;
use super::transform::{self, Preprocess, Shift, Table};
use crate::config::Augment;
use crate::random::{self, Stream};

/// Pictures are held decoded up to so many bytes; above it they are decoded whenever they are read.
pub(super) const HELD_BYTES: u64 = 2 << 30;
/// Pictures on which mean and deviation are measured when they are not held.
const MEASURED: usize = 4096;
/// A key that keeps the random stream of subsets apart from all others.
const SUBSET: u64 = 0x7375_6273_6574;

/// One part of a data set, ready to be read in batches.
#[derive(Debug)]
pub struct Split {
    store: Store,
    labels: Vec<u32>,
    /// Whether the pictures are framed already: resized and cropped to the network's input.
    framed: bool,
    augment: Augment,
    preprocess: Preprocess,
    table: Table,
}

/// Samples of each of `classes`.
pub(super) fn counts(labels: &[u32], classes: usize) -> Vec<u64> {
    let mut counts = vec![0; classes];
    for &label in labels {
        if let Some(count) = counts.get_mut(label as usize) {
            *count += 1;
        }
    }
    counts
}

fn classes(labels: &[u32]) -> usize {
    labels.iter().max().map_or(0, |most| *most as usize + 1)
}

/// Classes that have two samples or more.
pub(super) fn several(labels: &[u32]) -> usize {
    counts(labels, classes(labels)).into_iter().filter(|count| *count > 1).count()
}

/// `train` samples from the front of `order` and `test` others from its back, each class by its share: within one of
/// it, and where the numbers allow that, one at least of each class that has two is on either side.
pub(super) fn by_class(
    labels: &[u32],
    order: &[usize],
    train: usize,
    test: usize,
) -> (Vec<usize>, Vec<usize>) {
    let there = counts(labels, classes(labels));
    let least: Vec<u64> = there.iter().map(|&count| u64::from(count > 1)).collect();
    let most: Vec<u64> = there.iter().map(|&count| count.saturating_sub(1)).collect();
    let mut tested = apportion(test as u64, &there, &least, &most);
    let left: Vec<u64> = there.iter().zip(&tested).map(|(all, test)| all - test).collect();
    let least: Vec<u64> = left.iter().map(|&count| count.min(1)).collect();
    let mut trained = apportion(train as u64, &left, &least, &left);
    let take = |quota: &mut [u64], pick: usize| {
        let left = &mut quota[labels[pick] as usize];
        let taken = *left > 0;
        *left = left.saturating_sub(1);
        taken
    };
    let front = order.iter().copied().filter(|&pick| take(&mut trained, pick)).collect();
    let mut back: Vec<usize> =
        order.iter().rev().copied().filter(|&pick| take(&mut tested, pick)).collect();
    back.reverse();
    (front, back)
}

/// `total` in whole numbers by the shares of `there`, none under `least` or over `most`: by the largest remainders.
/// Where the bounds leave no way, they are 0 and what is there. `total` is at most the sum of `there`.
fn apportion(total: u64, there: &[u64], least: &[u64], most: &[u64]) -> Vec<u64> {
    let sum = |numbers: &[u64]| numbers.iter().sum::<u64>();
    let all = sum(there);
    let low = if sum(least) > total { vec![0; there.len()] } else { least.to_vec() };
    let high = if sum(most) < total { there.to_vec() } else { most.to_vec() };
    if all == 0 {
        return low;
    }
    let share = |at: usize| u128::from(total) * u128::from(there[at]);
    let mut given: Vec<u64> = (0..there.len())
        .map(|at| ((share(at) / u128::from(all)) as u64).max(low[at]).min(high[at]))
        .collect();
    // How much a class lacks of its exact share, times `all`.
    let lacks = |at: usize, given: u64| share(at) as i128 - i128::from(given) * i128::from(all);
    let mut missing = total as i64 - sum(&given) as i64;
    let step = missing.signum();
    let room = |at: usize, given: u64| if step > 0 { given < high[at] } else { given > low[at] };
    let mut next: BinaryHeap<(i128, Reverse<usize>)> = (0..there.len())
        .filter(|&at| room(at, given[at]))
        .map(|at| (lacks(at, given[at]) * i128::from(step), Reverse(at)))
        .collect();
    while missing != 0
        && let Some((_, Reverse(at))) = next.pop()
    {
        given[at] = given[at].saturating_add_signed(step);
        missing -= step;
        if room(at, given[at]) {
            next.push((lacks(at, given[at]) * i128::from(step), Reverse(at)));
        }
    }
    given
}

impl Split {
    /// `examples` behind `preprocess`; decodes them all now if they fit in memory.
    pub(super) fn new(
        mut examples: Examples,
        preprocess: &Preprocess,
        augment: &Augment,
        held_bytes: u64,
    ) -> Result<Self, DataError> {
        // A random crop needs the whole picture, everything else only what the network sees; that may be more than the picture.
        let frames = (examples.len() as u64).saturating_mul(preprocess.numbers() as u64);
        let is_held = matches!(examples.store, Store::Encoded(_)) || frames <= held_bytes;
        let framed = !augment.random_resized_crop && is_held;
        let channels = preprocess.channels();
        let hold = |image: Image| {
            let image = image.with_channels(channels);
            if framed { preprocess.frame(&image).into_owned() } else { image }
        };
        if let Store::Encoded(sources) = &examples.store {
            let frame = preprocess.numbers() as u64;
            if let Some(images) = decode_all(sources, framed.then_some(frame), held_bytes, hold)? {
                examples.store = Store::Decoded(images);
            }
        } else if let Store::Decoded(images) = &mut examples.store {
            images.iter_mut().for_each(|image| *image = hold(std::mem::replace(image, EMPTY)));
        }
        let framed = framed && matches!(examples.store, Store::Decoded(_));
        Ok(Self {
            store: examples.store,
            labels: examples.labels,
            framed,
            augment: augment.clone(),
            preprocess: preprocess.clone(),
            table: Table::new(preprocess),
        })
    }

    /// The same pictures with another mean and deviation.
    pub(super) fn with_preprocess(self, preprocess: Preprocess) -> Self {
        Self { table: Table::new(&preprocess), preprocess, ..self }
    }

    /// Samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Class of each sample.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// What is done to each picture.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// `count` different samples (all, if fewer), a function of `seed` alone.
    pub fn subset(&self, seed: u64, count: usize) -> Vec<usize> {
        let mut picks = random::permutation(self.len(), &[seed, SUBSET]);
        picks.truncate(count);
        picks
    }

    /// The samples at `picks`, not augmented.
    ///
    /// # Errors
    /// A picture that cannot be read or decoded.
    ///
    /// # Panics
    /// A pick beyond the last sample.
    pub fn gather(&self, picks: &[usize]) -> Result<Batch, DataError> {
        self.batch(picks, picks.len(), |_| None)
    }

    /// All samples in order, not augmented, in batches of `batch`; the last one is padded with zeros.
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
            split.batch(&picks, batch, |_| None)
        };
        Batches::new(Feed { threads: self.threads(0), numbers: 0..count }, make)
    }

    /// As many threads as keep a device busy: one is enough to copy pixels that are held, while decoding needs all cores.
    pub(super) fn threads(&self, asked: usize) -> usize {
        match (asked, &self.store) {
            (0, Store::Decoded(_)) if self.framed => cores().min(1),
            (0, _) => cores(),
            (asked, _) => asked,
        }
    }

    /// The samples at `picks`, padded to `size`; those with a stream are augmented by it.
    pub(super) fn batch(
        &self,
        picks: &[usize],
        size: usize,
        stream: impl Fn(usize) -> Option<Stream>,
    ) -> Result<Batch, DataError> {
        let numbers = self.preprocess.numbers();
        let mut images = vec![0.0; size * numbers];
        let mut labels = vec![0; size];
        for ((&pick, out), label) in
            picks.iter().zip(images.chunks_exact_mut(numbers)).zip(&mut labels)
        {
            let image = self.image(pick)?;
            let (image, shift) = match stream(pick) {
                Some(mut stream) => transform::augment(
                    &image,
                    self.framed,
                    &self.preprocess,
                    &self.augment,
                    &mut stream,
                ),
                None if self.framed => (Cow::Borrowed(&*image), Shift::default()),
                None => (self.preprocess.frame(&image), Shift::default()),
            };
            self.table.write(&image, shift, out);
            *label = self.labels[pick];
        }
        Ok(Batch { images, labels, rows: picks.len() })
    }

    fn image(&self, index: usize) -> Result<Cow<'_, Image>, DataError> {
        match &self.store {
            Store::Decoded(images) => Ok(Cow::Borrowed(&images[index])),
            Store::Encoded(sources) => {
                Ok(Cow::Owned(sources[index].decode()?.with_channels(self.preprocess.channels())))
            }
        }
    }

    /// Mean and standard deviation of each channel, of pixels in 0..1, as the network sees them without augmentation.
    /// Sums are whole numbers, so the result does not depend on threads. A channel of one value has deviation 1.
    pub(super) fn measure(&self, seed: u64) -> Result<(Vec<f64>, Vec<f64>), DataError> {
        let channels = self.preprocess.channels();
        let frame = self.preprocess.numbers() as u64;
        let held = self.framed || (self.len() as u64).saturating_mul(frame) <= HELD_BYTES;
        let picks = match self.store {
            Store::Decoded(_) if held => (0..self.len()).collect(),
            Store::Decoded(_) => self.subset(seed, (HELD_BYTES / frame).max(1) as usize),
            Store::Encoded(_) => self.subset(seed, MEASURED),
        };
        let sums = parallel(picks.len(), |at| {
            let image = self.image(picks[at])?;
            let image = if self.framed {
                image
            } else {
                Cow::Owned(self.preprocess.frame(&image).into_owned())
            };
            let mut sums = [(0u64, 0u64); 3];
            for pixel in image.pixels.chunks_exact(channels) {
                for (sum, &byte) in sums.iter_mut().zip(pixel) {
                    sum.0 += u64::from(byte);
                    sum.1 += u64::from(byte) * u64::from(byte);
                }
            }
            Ok(Some(sums))
        })?;
        let count = (picks.len() * self.preprocess.size() * self.preprocess.size()) as f64;
        let of = |channel: usize| {
            let part =
                |sums: &[(u64, u64); 3]| (u128::from(sums[channel].0), u128::from(sums[channel].1));
            let (sum, squares) = sums
                .iter()
                .flatten()
                .map(part)
                .fold((0, 0), |(a, b), (sum, squares)| (a + sum, b + squares));
            let mean = sum as f64 / count;
            let variance = (squares as f64 / count - mean * mean).max(0.0);
            let std = if variance < 1e-6 { 1.0 } else { variance.sqrt() / 255.0 };
            (mean / 255.0, std)
        };
        Ok((0..channels).map(of).unzip())
    }
}

const EMPTY: Image = Image { height: 0, width: 0, channels: 1, pixels: Vec::new() };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_by_class() {
        // 60, 30, 8 and 2 samples, and a class of one.
        let sizes = [60usize, 30, 8, 2, 1];
        let labels: Vec<u32> =
            sizes.iter().zip(0..).flat_map(|(&size, class)| vec![class; size]).collect();
        let order = random::permutation(labels.len(), &[3]);
        let of = |picks: &[usize]| {
            let labels: Vec<u32> = picks.iter().map(|&pick| labels[pick]).collect();
            counts(&labels, sizes.len())
        };
        let (train, test) = by_class(&labels, &order, 81, 20);
        assert_eq!((of(&test), of(&train)), (vec![12, 6, 1, 1, 0], vec![48, 24, 7, 1, 1]));
        // Whatever the counts, they are exact, nothing is in both, and the test part does not depend on the other.
        for (train, test) in
            [(81, 20), (10, 20), (1, 1), (1, 100), (100, 1), (50, 4), (3, 97), (5, 4)]
        {
            let (a, b) = by_class(&labels, &order, train, test);
            let mut all = [&a[..], &b[..]].concat();
            all.sort_unstable();
            all.dedup();
            assert_eq!((a.len(), b.len(), all.len()), (train, test, train + test));
            assert_eq!(b, by_class(&labels, &order, 1, test).1);
            if test >= 4 && train >= 5 {
                assert!(of(&b)[..4].iter().all(|count| *count > 0), "{train} {test}");
                assert!(of(&a).iter().all(|count| *count > 0), "{train} {test}");
            }
        }
        assert_eq!(several(&labels), 4);
        assert_eq!(by_class(&[], &[], 0, 0), (vec![], vec![]));
    }
}
