//! What the files of a data set of pictures hold, before anything is done to them.

use std::path::Path;
use std::sync::Arc;

use super::super::DataError;
use super::super::account::{self, Account, PartAccount};
use super::super::place::Place;
use super::division::counts;
use super::examples::{Examples, Parts, Store};
use super::{cifar, folder, idx, imagenet, procedural, webdataset};
use crate::config::{ImageKind, Images, OnError};
use crate::disk::Disk;

/// What the files hold, with the account of it: a picture that is not to be used is gone from the parts before they are
/// counted.
pub(super) fn read(config: &Images, disk: &Arc<dyn Disk>) -> Result<Parts, DataError> {
    let mut parts = parts(config, disk)?;
    if config.on_error == OnError::Skip {
        parts.leave_out_unreadable()?;
    }
    let part = |examples: &Option<Examples>, known: &PartAccount| {
        let labels = examples.as_ref().map_or(&[][..], |examples| &examples.labels);
        let counts = counts(labels, parts.classes.len());
        PartAccount { counts, ..known.clone() }
    };
    let train = part(&parts.train, &parts.account.train);
    let test = part(&parts.test, &parts.account.test);
    parts.account.found(&parts.classes, train, test);
    Ok(parts)
}

/// Checks that there are two classes or more, and that each class that is tested is trained on.
pub(super) fn trainable(parts: &Parts, config: &Images) -> Result<(), DataError> {
    if config.kind == ImageKind::Procedural {
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
    // Numbers may have gaps, and so may lists of names; a folder stands for a class.
    let listed = matches!(config.kind, ImageKind::Webdataset | ImageKind::Parquet);
    let folders = [&parts.train, &parts.test].into_iter().flatten();
    let folders =
        !listed && folders.into_iter().any(|part| matches!(part.store, Store::Encoded(_)));
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

fn parts(config: &Images, disk: &Arc<dyn Disk>) -> Result<Parts, DataError> {
    let place =
        config.path.as_ref().map(|path| Place { disk: Arc::clone(disk), path: path.into() });
    let needed = || {
        let problem = "is missing; this kind of data needs a folder or an archive";
        place.as_ref().ok_or_else(|| DataError::setting("data.path", problem))
    };
    match config.kind {
        ImageKind::Procedural => procedural_parts(config),
        ImageKind::Idx => idx::open(needed()?),
        ImageKind::Cifar10 => cifar_parts(needed()?, &cifar::CIFAR10),
        ImageKind::Cifar100 => cifar_parts(needed()?, &cifar::CIFAR100),
        ImageKind::Folder => folder::open(needed()?),
        ImageKind::Imagenet => imagenet::open(needed()?),
        ImageKind::Webdataset => webdataset::open(needed()?),
        #[cfg(not(target_family = "wasm"))]
        ImageKind::Parquet => super::parquet::open(needed()?),
        #[cfg(target_family = "wasm")]
        ImageKind::Parquet => Err(DataError::setting(
            "data.kind",
            "\"parquet\" is not read in a browser's tab, as the codecs of Parquet are not there; `taper run` reads it",
        )),
    }
}

/// CIFAR's binary files, or else a folder of pictures, as many copies of CIFAR are.
fn cifar_parts(place: &Place, version: &cifar::Version) -> Result<Parts, DataError> {
    match cifar::open(place, version)? {
        Some(parts) => Ok(parts),
        None => folder::open(place),
    }
}

fn procedural_parts(config: &Images) -> Result<Parts, DataError> {
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
