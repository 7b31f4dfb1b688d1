//! Which format files have, told by their names.

use std::path::{Path, PathBuf};

use super::super::DataError;
use super::super::account::Account;
use super::super::archive::Caps;
use super::super::listing;
use super::super::root::Root;
use super::{cifar, idx, imagenet, layout, shards, validation, webdataset};
use crate::config::ImageKind;

/// The kind of the data at `path`, told by the names of its files; pictures where no other format is recognised, and for
/// an archive, whose names it would take long to read.
pub fn kind_of(path: &Path) -> ImageKind {
    if !path.exists() && webdataset::is_shard(&path.to_string_lossy()) {
        return ImageKind::Webdataset;
    }
    if path.is_file() && shards::is_parquet(&path.to_string_lossy()) {
        return ImageKind::Parquet;
    }
    let (path, names) = innermost(path);
    let holds =
        |name: &str| cifar::FOLDERS.iter().any(|inner| path.join(inner).join(name).is_file());
    match told_by(names.iter().any(|name| idx::is_named_so(name)), holds) {
        ImageKind::Folder => of_many(&path, &names),
        told => told,
    }
}

/// The kind of a folder of pictures, by what holds them: ILSVRC's files, shards, or files of their own.
fn of_many(path: &Path, names: &[String]) -> ImageKind {
    let is_folder = |name: &&String| path.join(name).is_dir();
    let parts: Vec<&String> =
        names.iter().filter(is_folder).filter(|name| may_be_part(name)).collect();
    let inside: Vec<String> = parts.iter().flat_map(|part| names_in(&path.join(part))).collect();
    let all = || names.iter().chain(&inside);
    let of_ilsvrc = |name: &&String| {
        [imagenet::TRAIN, imagenet::VAL].contains(&&***name) || imagenet::is_class_tar(name)
    };
    if all().any(|name| of_ilsvrc(&name))
        || validation::FILES.iter().any(|file| path.join(file).exists())
    {
        return ImageKind::Imagenet;
    }
    // Beside folders of classes a tar is not what holds the pictures.
    let classes = names.iter().filter(is_folder).any(|name| !may_be_part(name));
    if !classes && all().any(|name| webdataset::is_shard(name)) {
        return ImageKind::Webdataset;
    }
    if !classes && all().any(|name| shards::is_parquet(name)) {
        return ImageKind::Parquet;
    }
    ImageKind::Folder
}

/// Whether a folder of this name may be a part of a data set, or hold its files.
fn may_be_part(name: &str) -> bool {
    let parts = layout::TEST.iter().chain([&layout::TRAIN, &"data"]);
    parts.into_iter().any(|part| name.eq_ignore_ascii_case(part))
}

/// Whether a file says of which classes the pictures of files beside it are.
pub(in crate::data) fn tells_classes(name: &str) -> bool {
    validation::FILES.contains(&name) || webdataset::NAMES.contains(&name)
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
    if !path.is_file() || kind_of(path) != ImageKind::Folder {
        return Ok(kind_of(path));
    }
    let listing = Root::open(&path.into(), Caps::default())?.list(&mut Account::default())?;
    let holds = |name: &str| listing.files.iter().any(|file| file.split().1 == name);
    let is_idx = listing.files.iter().any(|file| idx::is_named_so(file.split().1));
    Ok(match told_by(is_idx, holds) {
        ImageKind::Folder if webdataset::has_labels(&listing) => ImageKind::Webdataset,
        told => told,
    })
}

/// The folder at `path`, or the one in it that is alone, and so on; and the names in that.
pub(crate) fn innermost(path: &Path) -> (PathBuf, Vec<String>) {
    let mut path = path.to_owned();
    loop {
        let names = names_in(&path);
        match &names[..] {
            [only] if path.join(only).is_dir() && path.components().count() < 256 => {
                path.push(only);
            }
            _ => return (path, names),
        }
    }
}

/// The names in a folder that count.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| listing::out_of_sight(name).is_none()).collect()
}
