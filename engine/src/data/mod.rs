//! Data sets: from files, or from nothing, to normalised batches.
//!
//! [`open`] reads what the configuration names into a [`Dataset`] of two [`Split`]s. A [`Loader`] gives shuffled,
//! augmented training batches for ever, [`Split::batches`] all samples once in order; both are made ahead by threads,
//! and neither order nor augmentation depends on which. [`Preprocess`] is what a trained model needs to read any
//! other picture.
//!
//! Files are not trusted: sizes are checked against what is really there before memory follows, archives are read as
//! they are. Only [`unpack`], for archives that others send, writes what is data in them to the disk.

mod archive;
mod cifar;
mod error;
mod examples;
mod folder;
mod idx;
mod image;
mod loader;
mod procedural;

mod split;
mod survey;
mod transform;
mod unpack;

use std::path::Path;
use std::sync::Arc;

pub use error::DataError;
pub use image::Image;
pub use loader::{Batches, Loader, LoaderOptions};
pub use split::{Batch, Split};
pub use survey::{Sample, Survey, SurveyedPart, survey};
pub use transform::Preprocess;
pub use unpack::unpack;

use crate::config::{Augment, Data, DataKind};
use crate::nn::Extent;
use crate::random;
use examples::Examples;
use folder::Parts;
use split::HELD_BYTES;

/// Side of the network's input for pictures of many sizes, unless `data.size` says another.
const FOLDER_SIDE: usize = 224;
/// Streams of the draws made here are apart from all others.
const SPLIT: u64 = 0x0073_706c_6974;

/// A data set, ready to be trained on.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// What is trained on.
    pub train: Arc<Split>,
    /// What is tested on; never augmented.
    pub test: Arc<Split>,
    /// Name of each class.
    pub classes: Vec<String>,
    /// What the network reads.
    pub shape: ImageShape,
    /// What is done to any picture before the network.
    pub preprocess: Preprocess,
}

/// Shape of one input of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels: 1 or 3.
    pub channels: usize,
}

impl ImageShape {
    /// Numbers of an image.
    pub fn numbers(self) -> usize {
        self.height * self.width * self.channels
    }

    /// The same for a network.
    pub fn extent(self) -> Extent {
        Extent::Map(self.height as u32, self.width as u32, self.channels as u32)
    }
}

/// Opens the data set that `config` names; subsets and splits are drawn by `split_seed`.
///
/// # Errors
/// Whatever is wrong with the files or the settings, as one sentence. A count larger than what is there names both.
pub fn open(config: &Data) -> Result<Dataset, DataError> {
    open_parts(config, None, HELD_BYTES)
}

/// Opens the data set that `config` names for a trained model: it is read as `preprocess` says, whatever `size`,
/// `interpolation`, `crop`, `mean` and `std` are, and not augmented.
///
/// # Errors
/// As [`open`].
pub fn open_for(config: &Data, preprocess: &Preprocess) -> Result<Dataset, DataError> {
    open_parts(config, Some(preprocess), HELD_BYTES)
}

/// Shape and classes that `config` promises before any file is read, for a look at a network without its data:
/// `size`, else the format's own numbers, where `idx` means MNIST's and `folder` ImageNet's.
pub fn promised(config: &Data) -> (ImageShape, usize) {
    let (side, channels, classes) = match config.kind {
        DataKind::Procedural => (procedural::SIDE, 1, procedural::CLASSES),
        DataKind::Idx => (28, 1, 10),
        DataKind::Cifar10 => (cifar::SIDE, 3, cifar::CIFAR10.classes),
        DataKind::Cifar100 => (cifar::SIDE, 3, cifar::CIFAR100.classes),
        DataKind::Folder => (FOLDER_SIDE, 3, 1000),
    };
    let side = config.size.map_or(side, |size| size as usize);
    (ImageShape { height: side, width: side, channels }, classes)
}

/// The kind of the data at `path`, told by the names of its files; pictures where no other format is recognised.
pub fn kind_of(path: &Path) -> DataKind {
    let holds =
        |name: &str| cifar::FOLDERS.iter().any(|inner| path.join(inner).join(name).is_file());
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name());
    if names.any(|name| idx::is_named_so(&name.to_string_lossy())) {
        DataKind::Idx
    } else if holds(cifar::CIFAR10.test) {
        DataKind::Cifar10
    } else if holds(cifar::CIFAR100.test) {
        DataKind::Cifar100
    } else {
        DataKind::Folder
    }
}

fn open_parts(
    config: &Data,
    given: Option<&Preprocess>,
    held_bytes: u64,
) -> Result<Dataset, DataError> {
    let parts = read(config)?;
    let classes = parts.classes.clone();
    let (train, test) = divide(parts, config)?;
    let plain = Augment::default();
    let (preprocess, train) = match given {
        Some(preprocess) => {
            (preprocess.clone(), Split::new(train, preprocess, &plain, held_bytes)?)
        }
        None => measured(train, config, held_bytes)?,
    };
    let test = Split::new(test, &preprocess, &plain, held_bytes)?;
    let side = preprocess.size();
    let shape = ImageShape { height: side, width: side, channels: preprocess.channels() };
    Ok(Dataset { train: Arc::new(train), test: Arc::new(test), classes, shape, preprocess })
}

/// What the files hold.
fn read(config: &Data) -> Result<Parts, DataError> {
    let path = config.path.as_deref().map(Path::new);
    let needed = || {
        let problem = "is missing; this kind of data needs a folder or an archive";
        path.ok_or_else(|| DataError::setting("data.path", problem))
    };
    match config.kind {
        DataKind::Procedural => procedural_parts(config),
        DataKind::Idx => {
            let idx::Pairs { train, test } = idx::open(needed()?)?;
            let labels = train.iter().chain(&test).flat_map(|part| &part.labels);
            let most = labels.max().copied().unwrap_or(0);
            Ok(Parts { train, test, classes: (0..=most).map(|class| class.to_string()).collect() })
        }
        DataKind::Cifar10 => cifar_parts(needed()?, &cifar::CIFAR10),
        DataKind::Cifar100 => cifar_parts(needed()?, &cifar::CIFAR100),
        DataKind::Folder => folder::open(needed()?),
    }
}

/// CIFAR's binary files, or else a folder of pictures: many copies of it are.
fn cifar_parts(path: &Path, version: &cifar::Version) -> Result<Parts, DataError> {
    match cifar::open(path, version)? {
        Some(parts) => Ok(parts),
        None => folder::open(path),
    }
}

fn procedural_parts(config: &Data) -> Result<Parts, DataError> {
    let count = |asked: Option<u64>, default: usize, key: &'static str| {
        let asked = asked.map_or(default, |asked| usize::try_from(asked).unwrap_or(usize::MAX));
        let place = "the built-in set".to_owned();
        if asked > procedural::MOST {
            return Err(DataError::Count { key, asked, there: procedural::MOST, place });
        }
        Ok(asked)
    };
    let (train, test) = procedural::DEFAULT_COUNTS;
    let train = count(config.train_count, train, "data.train_count")?;
    let test = count(config.test_count, test, "data.test_count")?;
    Ok(Parts {
        train: Some(procedural::examples(0, train)),
        test: Some(procedural::examples(procedural::MOST as u64, test)),
        classes: (0..procedural::CLASSES).map(|digit| digit.to_string()).collect(),
    })
}

/// The training and the test examples: a missing part is split from the other one.
fn divide(parts: Parts, config: &Data) -> Result<(Examples, Examples), DataError> {
    let count =
        |asked: Option<u64>| asked.map(|asked| usize::try_from(asked).unwrap_or(usize::MAX));
    let (train_count, test_count) = (count(config.train_count), count(config.test_count));
    let (train, test) = match (parts.train, parts.test) {
        (Some(train), Some(test)) => (
            subset(train, train_count, "data.train_count", config.split_seed)?,
            subset(test, test_count, "data.test_count", config.split_seed)?,
        ),
        (Some(only), None) | (None, Some(only)) => {
            cut_in_two(only, train_count, test_count, config)?
        }
        (None, None) => return Err(DataError::setting("data.path", "holds no images")),
    };
    for (part, key) in [(&train, "data.train_count"), (&test, "data.test_count")] {
        if part.len() == 0 {
            return Err(DataError::setting(
                key,
                format!("no images are left of those in {}", part.place),
            ));
        }
    }
    Ok((train, test))
}

/// `count` of the examples, in the order of a seeded permutation; all of them as they are without a count.
fn subset(
    examples: Examples,
    count: Option<usize>,
    key: &'static str,
    seed: u64,
) -> Result<Examples, DataError> {
    let there = examples.len();
    match count {
        None => Ok(examples),
        Some(count) if count == there => Ok(examples),
        Some(asked) if asked > there => {
            Err(DataError::Count { key, asked, there, place: examples.place })
        }
        Some(count) => {
            let order = random::permutation(there, &[seed, SPLIT]);
            Ok(examples.pick(&order[..count]))
        }
    }
}

/// One part as two: training examples from the front of a seeded permutation, test examples from its back, so that
/// another `train_count` tests on the same images.
fn cut_in_two(
    only: Examples,
    train: Option<usize>,
    test: Option<usize>,
    config: &Data,
) -> Result<(Examples, Examples), DataError> {
    let there = only.len();
    let fraction = config.test_fraction;
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(DataError::setting(
            "data.test_fraction",
            format!("{fraction} is not between 0 and 1"),
        ));
    }
    let place = only.place.clone();
    let too_many = |key, asked| DataError::Count { key, asked, there, place: place.clone() };
    let held_out = ((there as f64 * fraction).round() as usize).max(1);
    let test_count = test.unwrap_or_else(|| {
        train.map_or(held_out, |train| held_out.min(there.saturating_sub(train)))
    });
    if test_count > there {
        return Err(too_many("data.test_count", test_count));
    }
    let train_count = train.unwrap_or(there - test_count);
    if train_count > there {
        return Err(too_many("data.train_count", train_count));
    }
    if train_count + test_count > there {
        return Err(too_many("data.train_count + data.test_count", train_count + test_count));
    }
    let order = random::permutation(there, &[config.split_seed, SPLIT]);
    let (train, test) = (&order[..train_count], &order[there - test_count..]);
    let both: Vec<usize> = train.iter().chain(test).copied().collect();
    let (train_part, test_part) = only.pick(&both).halves(train_count);
    Ok((train_part, test_part))
}

/// The training split, and what is done to pictures: mean and deviation are measured where they are not given.
fn measured(
    train: Examples,
    config: &Data,
    held_bytes: u64,
) -> Result<(Preprocess, Split), DataError> {
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
    let preprocess = Preprocess::new(size, mean, std, config.interpolation, config.crop)?;
    let split = Split::new(train, &preprocess, &config.augment, held_bytes)?;
    if config.mean.is_some() && config.std.is_some() {
        return Ok((preprocess, split));
    }
    let (mean, std) = split.measure(config.split_seed)?;
    let mean = config.mean.clone().unwrap_or(mean);
    let std = config.std.clone().unwrap_or(std);
    let preprocess = Preprocess::new(size, mean, std, config.interpolation, config.crop)?;
    Ok((preprocess.clone(), split.with_preprocess(preprocess)))
}

#[cfg(test)]
mod tests;
