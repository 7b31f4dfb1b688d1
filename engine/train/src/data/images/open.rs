//! Opens data sets of pictures.

use std::sync::Arc;

use super::super::DataError;
use super::super::account::{Account, Used};
use super::super::dataset::{Contents, Dataset};
use super::super::source::{Split, validation_note};
use super::division::{counts, divide, nothing};
use super::examples::{Examples, Parts};
use super::pictures::{HELD_BYTES, Pictures};
use super::reading::{read, trainable};
use super::set::{ImageSet, ImageShape};
use super::transform::Preprocess;
use super::{cifar, procedural};
use crate::config::{Augment, ImageKind, Images};
use crate::disk::{Disk, SystemDisk};

/// Side of the network's input for pictures of many sizes, unless `data.size` says another.
const FOLDER_SIDE: usize = 224;

/// A data set to score a trained model on: every picture that is there.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The test part, or the only part that there is; never augmented.
    pub split: Arc<Split>,
    /// Name of each class that `split`'s labels count.
    pub classes: Vec<String>,
    /// What was found, what was left out and why.
    pub account: Account,
}

/// Opens the data set that `config` names; subsets and splits are drawn by `split_seed`.
///
/// # Errors
/// Whatever is wrong with the files or the settings, as one sentence. A count larger than what is there names both.
pub fn open(config: &Images) -> Result<Dataset, DataError> {
    open_on(&system(), config)
}

/// [`open`] on a disk.
///
/// # Errors
/// As [`open`].
pub fn open_on(disk: &Arc<dyn Disk>, config: &Images) -> Result<Dataset, DataError> {
    open_parts(disk, config, None, HELD_BYTES)
}

/// The operating system's disk.
pub(super) fn system() -> Arc<dyn Disk> {
    Arc::new(SystemDisk)
}

/// Opens the data set that `config` names for a trained model: it is read as `preprocess` says, whatever `size`,
/// `interpolation`, `crop`, `mean` and `std` are, and not augmented.
///
/// # Errors
/// As [`open`].
pub fn open_for(config: &Images, preprocess: &Preprocess) -> Result<Dataset, DataError> {
    open_parts(&system(), config, Some(preprocess), HELD_BYTES)
}

/// Opens every picture that `config` names a trained model can be scored on: its test part, or the only part that it
/// has. Nothing is split, and `train_count` and `test_count` do not count. Its classes may be fewer than the model's.
///
/// # Errors
/// Whatever is wrong with the files.
pub fn open_to_score(config: &Images, preprocess: &Preprocess) -> Result<Scored, DataError> {
    let Parts { train, test, classes, account } = read(config, &system())?;
    let examples = test.or(train).ok_or_else(|| nothing(config))?;
    let split = Pictures::new(examples, preprocess, &Augment::default(), HELD_BYTES)?;
    Ok(Scored { split: Arc::new(Split::new(split)), classes, account })
}

/// Shape and classes that `config` promises before any file is read, for a look at a network without its data:
/// `size`, else the format's own numbers, where `idx` means MNIST's and pictures in files mean ImageNet's.
pub fn promised(config: &Images) -> (ImageShape, usize) {
    let (side, channels, classes) = match config.kind {
        ImageKind::Procedural => (procedural::SIDE, 1, procedural::CLASSES),
        ImageKind::Idx => (28, 1, 10),
        ImageKind::Cifar10 => (cifar::SIDE, 3, cifar::CIFAR10.classes),
        ImageKind::Cifar100 => (cifar::SIDE, 3, cifar::CIFAR100.classes),
        ImageKind::Folder | ImageKind::Imagenet | ImageKind::Webdataset | ImageKind::Parquet => {
            (FOLDER_SIDE, 3, 1000)
        }
    };
    let side = config.size.map_or(side, |size| size as usize);
    (ImageShape { height: side, width: side, channels }, classes)
}

pub(super) fn open_parts(
    disk: &Arc<dyn Disk>,
    config: &Images,
    given: Option<&Preprocess>,
    held_bytes: u64,
) -> Result<Dataset, DataError> {
    let parts = read(config, disk)?;
    trainable(&parts, config)?;
    let (classes, mut account) = (parts.classes.clone(), parts.account.clone());
    let (train, test) = divide(parts, config)?;
    let of = |examples: &Examples| counts(&examples.labels, classes.len());
    account.used = Some(Used { train: of(&train), test: of(&test) });
    if config.validation_fraction.is_some() {
        let [train, test] = [&train, &test].map(|part| part.len() as u64);
        account.note(validation_note(test, train + test, "training images"));
    }
    let plain = Augment::default();
    let (preprocess, train) = match given {
        Some(preprocess) => {
            (preprocess.clone(), Pictures::new(train, preprocess, &plain, held_bytes)?)
        }
        None => measured(train, config, held_bytes)?,
    };
    let test = Pictures::new(test, &preprocess, &plain, held_bytes)?;
    let side = preprocess.size();
    let shape = ImageShape { height: side, width: side, channels: preprocess.channels() };
    let [train, test] = [train, test].map(|part| Arc::new(Split::new(part)));
    let contents = Contents::Images(ImageSet { classes, shape, preprocess });
    Ok(Dataset { train, test, contents, account })
}

/// The training split, and what is done to pictures: mean and deviation are measured where they are not given.
pub(super) fn measured(
    train: Examples,
    config: &Images,
    held_bytes: u64,
) -> Result<(Preprocess, Pictures), DataError> {
    let (height, width, channels) = train.shape().unwrap_or((FOLDER_SIDE, FOLDER_SIDE, 3));
    let size = match config.size {
        Some(size) => size as usize,
        None if height == width => height,
        None => {
            let problem = format!(
                "is missing; networks read squares and the images have {height}×{width} pixels"
            );
            return Err(DataError::setting("data.size", problem));
        }
    };
    let one_a_channel = |key, given: &Option<Vec<f64>>, default: f64| match given {
        None => Ok(vec![default; channels]),
        Some(given) if given.len() == channels => Ok(given.clone()),
        Some(given) => {
            let problem = format!(
                "{given:?} has {} numbers where the images have {channels} channels",
                given.len()
            );
            Err(DataError::setting(key, problem))
        }
    };
    let mean = one_a_channel("data.mean", &config.mean, 0.0)?;
    let std = one_a_channel("data.std", &config.std, 1.0)?;
    let preprocess = Preprocess::new(size, mean, std, config.resizing(), config.kept())?;
    let split = Pictures::new(train, &preprocess, &config.augment, held_bytes)?;
    if config.mean.is_some() && config.std.is_some() {
        return Ok((preprocess, split));
    }
    let (mean, std) = split.measure(config.split_seed)?;
    let mean = config.mean.clone().unwrap_or(mean);
    let std = config.std.clone().unwrap_or(std);
    let preprocess = Preprocess::new(size, mean, std, config.resizing(), config.kept())?;
    Ok((preprocess.clone(), split.with_preprocess(preprocess)))
}
