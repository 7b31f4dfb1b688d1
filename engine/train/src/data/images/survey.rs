//! A look at a data set of pictures without training on it: how many pictures of each class, and some of them.

use std::sync::Arc;

use super::super::DataError;
use super::super::account::Account;
use super::super::source::{Draw, Source as _};
use super::division::{counts, divide, foreseen};
use super::examples::{Examples, Store, decode};
use super::image::Image;
use super::open::{measured, system};
use super::reading::{read, trainable};
use crate::batch::Numbers;
use crate::config::{ImageKind, Images};
use crate::disk::Disk;
use crate::suggest::Pictures;

/// What a data set holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// Name of each class.
    pub classes: Vec<String>,
    /// What is there for training.
    pub train: SurveyedPart,
    /// What is there for testing; empty where training splits the other part.
    pub test: SurveyedPart,
    /// What was found, what was left out and why; of a part that is alone, how a run would part it.
    pub account: Account,
}

impl Survey {
    /// What one has to know of the pictures to choose a configuration for them; none where none was looked at.
    pub fn pictures(&self, kind: ImageKind) -> Option<Pictures> {
        let samples = || self.train.samples.iter().chain(&self.test.samples);
        let mut sides: Vec<usize> =
            samples().map(|sample| sample.image.width.min(sample.image.height)).collect();
        sides.sort_unstable();
        let side = *sides.get(sides.len() / 2)?;
        let train = match &self.account.used {
            Some(used) => used.train.iter().sum(),
            None => self.account.train.total(),
        };
        let channels = samples().map(|sample| sample.image.channels).max()?;
        let [side, channels, classes] =
            [side, channels, self.classes.len()].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        Some(Pictures { kind, train, classes, side, channels })
    }
}

/// What a part of a data set holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SurveyedPart {
    /// Pictures of each class.
    pub counts: Vec<u64>,
    /// Some of them, evenly over the part.
    pub samples: Vec<Sample>,
}

/// A picture with its class.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its place in the part.
    pub index: usize,
    /// Its class.
    pub label: u32,
    /// As it lies in the files.
    pub image: Image,
}

/// Counts what `config` names, and decodes at most `samples` pictures of each part. The account notes those that cannot
/// be decoded.
///
/// # Errors
/// What [`super::open`] says of the files; a part of which no picture that was tried can be decoded.
pub fn survey(config: &Images, samples: usize) -> Result<Survey, DataError> {
    let parts = read(config, &system())?;
    let parted = foreseen(&parts, config);
    let (classes, mut account) = (parts.classes, parts.account);
    if let Some(used) = parted {
        let test: u64 = used.test.iter().sum();
        account.note(format!(
            "there is no test part: {test} of {} pictures are held out for testing, of each class its share (data.test_fraction = {})",
            test + used.train.iter().sum::<u64>(),
            config.test_fraction
        ));
        account.used = Some(used);
    }
    let mut part = |examples: Option<Examples>| match examples {
        Some(examples) => surveyed(&examples, classes.len(), samples, &mut account),
        None => Ok(SurveyedPart { counts: vec![0; classes.len()], samples: Vec::new() }),
    };
    let (train, test) = (part(parts.train)?, part(parts.test)?);
    Ok(Survey { classes, train, test, account })
}

/// The test pictures of a run on `config` at these places, as they lie in the files, and the name of each class.
///
/// # Errors
/// What [`super::open`] says of the files; a place beyond the last picture, or a picture that cannot be decoded.
pub fn tested(config: &Images, picks: &[usize]) -> Result<(Vec<Sample>, Vec<String>), DataError> {
    tested_on(&system(), config, picks)
}

/// [`tested`] of data on a disk.
///
/// # Errors
/// As [`tested`].
pub fn tested_on(
    disk: &Arc<dyn Disk>,
    config: &Images,
    picks: &[usize],
) -> Result<(Vec<Sample>, Vec<String>), DataError> {
    let parts = read(config, disk)?;
    trainable(&parts, config)?;
    let classes = parts.classes.clone();
    let (_, test) = divide(parts, config)?;
    let there = test.len();
    let one = |&index: &usize| match index < there {
        true => sample(&test, index),
        false => {
            let problem = format!("there is no test picture {index}; they are 0 to {}", there - 1);
            Err(DataError::setting("data", problem))
        }
    };
    Ok((picks.iter().map(one).collect::<Result<_, _>>()?, classes))
}

/// A training picture as epochs see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Augmented {
    /// Its place in the training part.
    pub index: usize,
    /// Its class.
    pub label: u32,
    /// First as a test would see it, then as each epoch does; all of the network's height, width and channels.
    pub seen: Vec<Image>,
}

/// At most `count` training pictures of a run on `config`, evenly over the part, as `epochs` see them whose changes are drawn by `seed`; and the name of
/// each class. Mean and deviation are left out: what is black stays black.
///
/// # Errors
/// What [`super::open`] says of the files and the settings; a picture that cannot be decoded.
pub fn augmented(
    config: &Images,
    count: usize,
    epochs: u64,
    seed: u64,
) -> Result<(Vec<Augmented>, Vec<String>), DataError> {
    let parts = read(config, &system())?;
    trainable(&parts, config)?;
    let classes = parts.classes.clone();
    let (train, _) = divide(parts, config)?;
    let channels = train.shape().map_or(3, |(_, _, channels)| channels);
    let (mean, std) = (Some(vec![0.0; channels]), Some(vec![1.0; channels]));
    // Held in memory are the pictures that are so already; others are decoded when they are asked for.
    let (preprocess, split) = measured(train, &Images { mean, std, ..config.clone() }, 0)?;
    let (there, count) = (split.len(), count.min(split.len()));
    // One further each time, as data often have their classes in turn.
    let picks: Vec<usize> = (0..count).map(|k| (k * there / count + k) % there).collect();
    let label =
        |&index: &usize| Augmented { index, label: split.classes()[index], seen: Vec::new() };
    let mut pictures: Vec<Augmented> = picks.iter().map(label).collect();
    let side = preprocess.size();
    let draws = (0..epochs).map(|epoch| Some(Draw { seed, epoch }));
    for draw in std::iter::once(None).chain(draws) {
        let batch = split.gather(&picks, count, draw)?;
        let Some(Numbers::F32(numbers)) = batch.inputs.first().map(|field| &field.numbers) else {
            continue;
        };
        let images = numbers.chunks_exact(side * side * channels);
        for (picture, numbers) in pictures.iter_mut().zip(images) {
            let pixels = numbers.iter().map(|x| (x * 255.0).round() as u8).collect();
            picture.seen.push(Image { height: side, width: side, channels, pixels });
        }
    }
    Ok((pictures, classes))
}

fn sample(examples: &Examples, index: usize) -> Result<Sample, DataError> {
    let image = match &examples.store {
        Store::Decoded(images) => Ok(images[index].clone()),
        Store::Encoded(sources) => decode(&sources[index]),
    };
    image.map(|image| Sample { index, label: examples.labels[index], image })
}

fn surveyed(
    examples: &Examples,
    classes: usize,
    samples: usize,
    account: &mut Account,
) -> Result<SurveyedPart, DataError> {
    let counts = counts(&examples.labels, classes);
    let (there, samples) = (examples.len(), samples.min(examples.len()));
    let (mut shown, mut bad) = (Vec::new(), Vec::new());
    for sample in (0..samples).map(|k| sample(examples, k * there / samples)) {
        match sample {
            Ok(sample) => shown.push(sample),
            Err(error) => bad.push(error),
        }
    }
    // Whether a run may leave some pictures out is the configuration's to say, so a survey only notes them; if none can be decoded it fails.
    if shown.is_empty()
        && let Some(error) = bad.pop()
    {
        return Err(error);
    }
    bad.iter().for_each(|error| account.note(error.to_string()));
    Ok(SurveyedPart { counts, samples: shown })
}
