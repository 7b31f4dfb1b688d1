//! Pictures with a class each, as a source of samples.

use std::borrow::Cow;

use super::super::DataError;
use super::super::source::{Draw, Source};
use super::examples::{Examples, Store, decode, decode_all};
use super::image::Image;
use super::transform::{self, Preprocess, Shift, Table};
use super::windows::{Groups, WINDOW};
use crate::batch::{Batch, Field};
use crate::config::Augment;
use crate::nn::IMAGES;
use crate::random::{self, Stream};
use crate::step::LABELS;
use crate::threads::{cores, parallel};

/// Pictures are held decoded up to so many bytes; above it they are decoded whenever they are read.
pub(super) const HELD_BYTES: u64 = 2 << 30;
/// Pictures on which mean and deviation are measured when they are not held.
const MEASURED: usize = 4096;
/// Keeps the stream of a sample's augmentation apart from all others.
const AUGMENT: u64 = 0x0061_7567_6d65_6e74;

/// The pictures of one part, and what is done to them.
#[derive(Debug)]
pub(super) struct Pictures {
    store: Store,
    labels: Vec<u32>,
    /// Which of them are read together, where they are not held.
    groups: Option<Groups>,
    /// Whether the pictures are framed already: resized and cropped to the network's input.
    framed: bool,
    augment: Augment,
    preprocess: Preprocess,
    table: Table,
}

impl Source for Pictures {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn classes(&self) -> &[u32] {
        &self.labels
    }

    /// One is enough to copy pixels that are held, while decoding needs all cores.
    fn threads(&self) -> usize {
        match self.store {
            Store::Decoded(_) if self.framed => cores().min(1),
            _ => cores(),
        }
    }

    fn order(&self, key: &[u64]) -> Vec<usize> {
        match &self.groups {
            Some(groups) => groups.order(WINDOW, key),
            None => random::permutation(self.len(), key),
        }
    }

    /// `images` (N, height, width, channels), normalised, and `labels` (N).
    fn gather(&self, picks: &[usize], size: usize, draw: Option<Draw>) -> Result<Batch, DataError> {
        let numbers = self.preprocess.numbers();
        let mut images = vec![0.0; size * numbers];
        let mut labels = vec![0; size];
        for ((&pick, out), label) in
            picks.iter().zip(images.chunks_exact_mut(numbers)).zip(&mut labels)
        {
            let image = self.image(pick)?;
            let (image, shift) = match draw {
                Some(Draw { seed, epoch }) => transform::augment(
                    &image,
                    self.framed,
                    &self.preprocess,
                    &self.augment,
                    &mut Stream::new(&[seed, epoch, pick as u64, AUGMENT]),
                ),
                None if self.framed => (Cow::Borrowed(&*image), Shift::default()),
                None => (self.preprocess.frame(&image), Shift::default()),
            };
            self.table.write(&image, shift, out);
            *label = self.labels[pick];
        }
        let inputs = vec![Field::f32(IMAGES, images)];
        let targets = vec![Field::u32(LABELS, labels)];
        Ok(Batch { inputs, targets, size, rows: picks.len() })
    }
}

impl Pictures {
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
        let groups = match &examples.store {
            Store::Encoded(files) => Groups::of(files),
            Store::Decoded(_) => None,
        };
        Ok(Self {
            store: examples.store,
            labels: examples.labels,
            groups,
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

    fn image(&self, index: usize) -> Result<Cow<'_, Image>, DataError> {
        match &self.store {
            Store::Decoded(images) => Ok(Cow::Borrowed(&images[index])),
            Store::Encoded(sources) => {
                Ok(Cow::Owned(decode(&sources[index])?.with_channels(self.preprocess.channels())))
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
