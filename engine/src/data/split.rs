//! One part of a data set, training or test: pictures, labels and what is done to them.

use std::borrow::Cow;
use std::sync::Arc;

use super::DataError;
use super::examples::{Examples, Store, cores, decode_all, parallel};
use super::image::Image;
use super::loader::{Batches, Feed};
use super::transform::{self, Preprocess, Shift, Table};
use crate::config::Augment;
use crate::random::{self, Stream};

/// Pictures are held decoded up to so many bytes; above it they are decoded whenever they are read.
pub(super) const HELD_BYTES: u64 = 2 << 30;
/// Pictures on which mean and deviation are measured when they are not held.
const MEASURED: usize = 4096;
/// Streams of the subset draws are apart from all others.
const SUBSET: u64 = 0x7375_6273_6574;

/// One part of a data set, ready to be read in batches.
#[derive(Debug)]
pub struct Split {
    store: Store,
    labels: Vec<u32>,
    /// The pictures are framed already, resized and cropped to the network's input.
    framed: bool,
    augment: Augment,
    preprocess: Preprocess,
    table: Table,
}

/// Some samples: (`images`, `labels`) of which the first `rows` are real.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// (N, height, width, channels), normalised.
    pub images: Vec<f32>,
    /// Class of each image, (N).
    pub labels: Vec<u32>,
    /// Valid samples; those behind are zeros.
    pub rows: usize,
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

    /// As many threads as keep a device busy: one copies pixels faster than it reads them, decoding wants all cores.
    pub(super) fn threads(&self, asked: usize) -> usize {
        match (asked, &self.store) {
            (0, Store::Decoded(_)) if self.framed => 1,
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
