//! Folders of pictures, as torchvision's `ImageFolder`, and archives of them: `train/CLASS/…` with `test/`, `val/`,
//! `valid/` or `validation/`, or class folders alone. Classes are numbered in the order of their names.

use std::path::Path;

use super::DataError;
use super::account::Account;
use super::archive::Caps;
use super::examples::{Examples, Parts, Source, Store};
use super::layout::{self, Layout, Part};
use super::listing::{File, Place};
use super::unpack::Ledger;

/// Lists the pictures of a folder or an archive; nothing is decoded.
///
/// # Errors
/// What [`layout::layout`] and [`Place::list`] refuse.
pub(super) fn open(path: &Path) -> Result<Parts, DataError> {
    let place = Place::open(path, Caps::default())?;
    let mut account = Account::default();
    let listing = place.list(&mut account)?;
    let found = layout::layout(&listing, &mut account);
    let mut found = found.map_err(|problem| DataError::malformed(path, problem))?;
    if let Place::Folder(root) = &place
        && let Some(ledger) = Ledger::read(root)?
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
    let mut sources = place.sources(&files)?;
    let tested = sources.split_off(train.len());
    let examples = |labels: Vec<u32>, sources: Vec<Source>| {
        let place = path.display().to_string();
        let store = Store::Encoded(sources);
        (!labels.is_empty()).then_some(Examples { store, labels, place })
    };
    let (train, test) = (examples(train, sources), examples(test, tested));
    Ok(Parts { train, test, classes, account })
}

#[cfg(test)]
pub(super) mod tests;
