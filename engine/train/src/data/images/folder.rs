//! Folders of pictures, as torchvision's `ImageFolder`, and archives of them: `train/CLASS/…` with `test/`, `val/`,
//! `valid/` or `validation/`, or class folders alone. Classes are numbered in the order of their names.

use super::super::DataError;
use super::super::account::Account;
use super::super::archive::Caps;
use super::super::ledger::Ledger;
use super::super::listing::{File, Listing};
use super::super::place::Place;
use super::super::root::Root;
use super::super::stored::Stored;
use super::examples::{Examples, Parts, Store};
use super::layout::{self, Layout, Part};
use super::{cifar, idx, imagenet, shards, webdataset};

/// Lists the pictures of a folder or an archive; nothing is decoded.
///
/// # Errors
/// What [`layout::layout`] and [`Root::list`] refuse.
pub(in crate::data) fn open(place: &Place) -> Result<Parts, DataError> {
    let path = &*place.path;
    let root = Root::open(place, Caps::default())?;
    let mut account = Account::default();
    let listing = root.list(&mut account)?;
    let found = layout::layout(&listing, &mut account);
    let mut found = found.map_err(|problem| {
        DataError::malformed(path, format!("{problem}{}", other_kind(&listing)))
    })?;
    if let Root::Folder(folder) = &root
        && let Some(ledger) = Ledger::read(folder)?
    {
        ledger.restore(&mut found, &mut account);
    }
    let Layout { train, test, .. } = found;
    (account.train.name, account.test.name) = (train.name.clone(), test.name.clone());
    let mut classes: Vec<String> =
        train.classes.keys().chain(test.classes.keys()).cloned().collect();
    classes.sort();
    classes.dedup();
    let mut files: Vec<&File> = Vec::new();
    let mut labels = |part: &Part| {
        let mut labels = Vec::new();
        for (label, class) in classes.iter().enumerate() {
            for (_, at) in part.classes.get(class).into_iter().flatten() {
                labels.push(label as u32);
                files.push(&listing.files[*at]);
            }
        }
        labels
    };
    let (train, test) = (labels(&train), labels(&test));
    let mut sources = root.sources(&files)?;
    let tested = sources.split_off(train.len());
    let examples = |labels: Vec<u32>, sources: Vec<Stored>| {
        let place = path.display().to_string();
        let store = Store::Encoded(sources);
        (!labels.is_empty()).then_some(Examples { store, labels, place })
    };
    let (train, test) = (examples(train, sources), examples(test, tested));
    Ok(Parts { train, test, classes, account })
}

/// A hint that the files are of another format, for a user who expects pictures.
fn other_kind(listing: &Listing) -> &'static str {
    let holds =
        |wanted: &dyn Fn(&str) -> bool| listing.files.iter().any(|file| wanted(file.split().1));
    if holds(&idx::is_named_so) {
        "; the files are IDX: data.kind = \"idx\""
    } else if holds(&|name| name == cifar::CIFAR10.test) {
        "; the files are CIFAR-10's: data.kind = \"cifar10\""
    } else if holds(&|name| name == cifar::CIFAR100.test) {
        "; the files are CIFAR-100's: data.kind = \"cifar100\""
    } else if holds(&imagenet::is_class_tar) || holds(&|name| name == imagenet::TRAIN) {
        "; the files are ILSVRC's: data.kind = \"imagenet\""
    } else if holds(&webdataset::is_shard) {
        "; the files may be shards: data.kind = \"webdataset\""
    } else if holds(&shards::is_parquet) {
        "; the files are Parquet: data.kind = \"parquet\""
    } else {
        ""
    }
}

#[cfg(test)]
pub(in crate::data) mod tests;
