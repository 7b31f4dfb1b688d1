//! Which format files have, told by their names.

use std::path::{Path, PathBuf};

use super::super::DataError;
use super::super::account::Account;
use super::super::archive::Caps;
use super::super::listing;
use super::super::root::Root;
use super::{cifar, idx};
use crate::config::ImageKind;

/// The kind of the data at `path`, told by the names of its files; pictures where no other format is recognised, and for
/// an archive, whose names it would take long to read.
pub fn kind_of(path: &Path) -> ImageKind {
    let (path, names) = innermost(path);
    let holds =
        |name: &str| cifar::FOLDERS.iter().any(|inner| path.join(inner).join(name).is_file());
    told_by(names.iter().any(|name| idx::is_named_so(name)), holds)
}

/// The kind of data, by whether there are files that are named as IDX files are, and which others there are.
fn told_by(is_idx: bool, holds: impl Fn(&str) -> bool) -> ImageKind {
    if is_idx {
        ImageKind::Idx
    } else if holds(cifar::CIFAR10.test) {
        ImageKind::Cifar10
    } else if holds(cifar::CIFAR100.test) {
        ImageKind::Cifar100
    } else {
        ImageKind::Folder
    }
}

/// [`kind_of`], for an archive by the names in it, which takes as long as reading it where it is compressed.
///
/// # Errors
/// The archive is none that is read.
pub fn kind_within(path: &Path) -> Result<ImageKind, DataError> {
    if !path.is_file() {
        return Ok(kind_of(path));
    }
    let listing = Root::open(&path.into(), Caps::default())?.list(&mut Account::default())?;
    let holds = |name: &str| listing.files.iter().any(|file| file.split().1 == name);
    let is_idx = listing.files.iter().any(|file| idx::is_named_so(file.split().1));
    Ok(told_by(is_idx, holds))
}

/// The folder at `path`, or the one in it that is alone, and so on; and the names in that.
pub(crate) fn innermost(path: &Path) -> (PathBuf, Vec<String>) {
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
