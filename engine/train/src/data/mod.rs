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
mod batches;
mod cifar;
mod error;
mod examples;
mod folder;
mod idx;
mod image;
mod layout;
mod ledger;
mod listing;
mod loader;
mod procedural;
mod root;
mod split;
mod survey;
pub mod text;
mod transform;
mod unpack;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crate::account::{self, Account, Reason};
pub use batches::{Batch, Batches};
pub use error::DataError;
pub use image::Image;
pub use loader::{Loader, LoaderOptions};
pub use split::Split;
pub use survey::{Sample, Survey, SurveyedPart, survey};
pub use transform::Preprocess;
pub use unpack::unpack;

use crate::config::{Augment, Data, DataKind, OnError};
use crate::nn::Extent;
use crate::random;
use account::{PartAccount, Used};
use archive::Caps;
use examples::{Examples, Parts, Store};
use root::Root;
use split::HELD_BYTES;

/// Side of the network's input for pictures of many sizes, unless `data.size` says another.
const FOLDER_SIDE: usize = 224;
/// A key that keeps the random stream of splits apart from all others.
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
    /// What was found, what was left out and why.
    pub account: Account,
}

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

/// Opens every picture that `config` names a trained model can be scored on: its test part, or the only part that it
/// has. Nothing is split, and `train_count` and `test_count` do not count. Its classes may be fewer than the model's.
///
/// # Errors
/// Whatever is wrong with the files.
pub fn open_to_score(config: &Data, preprocess: &Preprocess) -> Result<Scored, DataError> {
    let Parts { train, test, classes, account } = read(config)?;
    let examples = test.or(train).ok_or_else(|| nothing(config))?;
    let split = Split::new(examples, preprocess, &Augment::default(), HELD_BYTES)?;
    Ok(Scored { split: Arc::new(split), classes, account })
}

fn nothing(config: &Data) -> DataError {
    let path = config.path.as_deref().unwrap_or_default();
    DataError::malformed(Path::new(path), "holds no pictures")
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

/// The kind of the data at `path`, told by the names of its files; pictures where no other format is recognised, and for
/// an archive, whose names it would take long to read.
pub fn kind_of(path: &Path) -> DataKind {
    let (path, names) = innermost(path);
    let holds =
        |name: &str| cifar::FOLDERS.iter().any(|inner| path.join(inner).join(name).is_file());
    told_by(names.iter().any(|name| idx::is_named_so(name)), holds)
}

/// The kind of data, by whether there are files that are named as IDX files are, and which others there are.
fn told_by(is_idx: bool, holds: impl Fn(&str) -> bool) -> DataKind {
    if is_idx {
        DataKind::Idx
    } else if holds(cifar::CIFAR10.test) {
        DataKind::Cifar10
    } else if holds(cifar::CIFAR100.test) {
        DataKind::Cifar100
    } else {
        DataKind::Folder
    }
}

/// [`kind_of`], for an archive by the names in it, which takes as long as reading it where it is compressed.
///
/// # Errors
/// The archive is none that is read.
pub fn kind_within(path: &Path) -> Result<DataKind, DataError> {
    if !path.is_file() {
        return Ok(kind_of(path));
    }
    let listing = Root::open(path, Caps::default())?.list(&mut Account::default())?;
    let holds = |name: &str| listing.files.iter().any(|file| file.split().1 == name);
    let is_idx = listing.files.iter().any(|file| idx::is_named_so(file.split().1));
    Ok(told_by(is_idx, holds))
}

/// The folder at `path`, or the one in it that is alone, and so on; and the names in that.
fn innermost(path: &Path) -> (PathBuf, Vec<String>) {
    let mut path = path.to_owned();
    loop {
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        let names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| listing::out_of_sight(name).is_none())
            .collect();
        match &names[..] {
            [only] if path.join(only).is_dir() && path.components().count() < 256 => {
                path.push(only);
            }
            _ => return (path, names),
        }
    }
}

fn open_parts(
    config: &Data,
    given: Option<&Preprocess>,
    held_bytes: u64,
) -> Result<Dataset, DataError> {
    let parts = read(config)?;
    trainable(&parts, config)?;
    let (classes, mut account) = (parts.classes.clone(), parts.account.clone());
    let (train, test) = divide(parts, config)?;
    let of = |examples: &Examples| split::counts(&examples.labels, classes.len());
    account.used = Some(Used { train: of(&train), test: of(&test) });
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
    let (train, test) = (Arc::new(train), Arc::new(test));
    Ok(Dataset { train, test, classes, shape, preprocess, account })
}

/// What the files hold, with the account of it: a picture that is not to be used is gone from the parts before they are
/// counted.
fn read(config: &Data) -> Result<Parts, DataError> {
    let mut parts = parts(config)?;
    if config.on_error == OnError::Skip {
        parts.leave_out_unreadable()?;
    }
    let part = |examples: &Option<Examples>, known: &PartAccount| {
        let labels = examples.as_ref().map_or(&[][..], |examples| &examples.labels);
        let counts = split::counts(labels, parts.classes.len());
        PartAccount { counts, ..known.clone() }
    };
    let train = part(&parts.train, &parts.account.train);
    let test = part(&parts.test, &parts.account.test);
    parts.account.found(&parts.classes, train, test);
    Ok(parts)
}

/// Checks that there are two classes or more, and that each class that is tested is trained on.
fn trainable(parts: &Parts, config: &Data) -> Result<(), DataError> {
    if config.kind == DataKind::Procedural {
        return Ok(());
    }
    let Account { classes, train, test, .. } = &parts.account;
    let path = Path::new(config.path.as_deref().unwrap_or_default());
    let both = |at: usize| train.counts[at] + test.counts[at];
    let there: Vec<&str> =
        (0..classes.len()).filter(|at| both(*at) > 0).map(|at| classes[at].as_str()).collect();
    if let [only] = there[..] {
        let problem = format!("has pictures of one class only, \"{only}\"; training needs two");
        return Err(DataError::malformed(path, problem));
    }
    let of = |wanted: &dyn Fn(usize) -> bool| -> Vec<&str> {
        (0..classes.len()).filter(|at| wanted(*at)).map(|at| classes[at].as_str()).collect()
    };
    let (seen, tested) = (|at: usize| train.counts[at] > 0, |at: usize| test.counts[at] > 0);
    let unseen = of(&|at| !seen(at) && tested(at));
    if train.total() > 0 && !unseen.is_empty() {
        let mut problem = format!("{} of the test part without training pictures", named(&unseen));
        if let Some(line) = parts.account.skipped_line() {
            problem += &format!(" ({line})");
        }
        return Err(DataError::malformed(path, problem));
    }
    // Numbers may have gaps; a folder stands for a class.
    let folders = [&parts.train, &parts.test].into_iter().flatten();
    let folders = folders.into_iter().any(|part| matches!(part.store, Store::Encoded(_)));
    let empty = of(&|at| !seen(at) && !tested(at));
    if folders && !empty.is_empty() {
        let mut problem = format!("{} without a picture that can be read", named(&empty));
        if let Some(line) = parts.account.skipped_line() {
            problem += &format!(" ({line})");
        }
        return Err(DataError::malformed(path, problem));
    }
    Ok(())
}

/// `has a class "a"`, or more of them.
fn named(classes: &[&str]) -> String {
    let word = if classes.len() == 1 { "a class" } else { "classes" };
    format!("has {word} {}", account::list(classes))
}

fn parts(config: &Data) -> Result<Parts, DataError> {
    let path = config.path.as_deref().map(Path::new);
    let needed = || {
        let problem = "is missing; this kind of data needs a folder or an archive";
        path.ok_or_else(|| DataError::setting("data.path", problem))
    };
    match config.kind {
        DataKind::Procedural => procedural_parts(config),
        DataKind::Idx => idx::open(needed()?),
        DataKind::Cifar10 => cifar_parts(needed()?, &cifar::CIFAR10),
        DataKind::Cifar100 => cifar_parts(needed()?, &cifar::CIFAR100),
        DataKind::Folder => folder::open(needed()?),
    }
}

/// CIFAR's binary files, or else a folder of pictures, as many copies of CIFAR are.
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
        account: Account::default(),
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
        (None, None) => return Err(nothing(config)),
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

/// One part as two, by class: training examples from the front of a seeded permutation, test examples from its back, so
/// that another `train_count` tests on the same images.
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
    // Of each class that has two pictures, one is tested on.
    let shared = split::several(&only.labels);
    let held_out = ((there as f64 * fraction).round() as usize).max(1).max(shared);
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
    let (train, test) = split::by_class(&only.labels, &order, train_count, test_count);
    let both: Vec<usize> = train.iter().chain(&test).copied().collect();
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
    let preprocess = Preprocess::new(size, mean, std, config.resizing(), config.kept())?;
    let split = Split::new(train, &preprocess, &config.augment, held_bytes)?;
    if config.mean.is_some() && config.std.is_some() {
        return Ok((preprocess, split));
    }
    let (mean, std) = split.measure(config.split_seed)?;
    let mean = config.mean.clone().unwrap_or(mean);
    let std = config.std.clone().unwrap_or(std);
    let preprocess = Preprocess::new(size, mean, std, config.resizing(), config.kept())?;
    Ok((preprocess.clone(), split.with_preprocess(preprocess)))
}

#[cfg(test)]
mod tests;
