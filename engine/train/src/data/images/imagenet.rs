//! ILSVRC 2012 as it is distributed, and as people have it after they unpacked some of it.
//!
//! The training part is a tar that holds a tar for each class, or the folder `train/` with these tars or with folders of their names. The
//! validation part is a tar of pictures, or the folder `val/`, flat or sorted into class folders. Which class a flat one is of, a list beside it
//! says. Nothing is unpacked: a picture is a range of the outermost tar's bytes, which one pass over the headers finds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::DataError;
use super::super::account::{Account, Reason};
use super::super::archive::{Archive, Caps};
use super::super::place::Place;
use super::super::root::Root;
use super::super::stored::Stored;
use super::examples::{Examples, Parts, Store};
use super::layout::is_picture;
use super::validation;
use crate::disk::Kind;
use crate::text::escape;

/// The files as they are distributed.
pub(in crate::data) const TRAIN: &str = "ILSVRC2012_img_train.tar";
pub(in crate::data) const VAL: &str = "ILSVRC2012_img_val.tar";
/// Where Kaggle's copy has its parts.
const INNER: &str = "ILSVRC/Data/CLS-LOC";
/// What is allowed.
const EXPECTED: &str = "expected is a folder with ILSVRC2012_img_train.tar or train/, and with ILSVRC2012_img_val.tar or val/ and the list of its classes (ILSVRC2012_devkit_t12.tar.gz, LOC_val_solution.csv, or val.txt with a line \"NAME WNID\" for each picture)";

/// Lists the pictures; nothing is decoded.
///
/// # Errors
/// No such folder, a tar that is damaged, a validation picture whose class nothing tells.
pub(in crate::data) fn open(place: &Place) -> Result<Parts, DataError> {
    let path = &*place.path;
    let malformed = |problem: String| DataError::malformed(path, problem);
    if place.kind()? != Kind::Folder {
        return Err(malformed(format!("is no folder; {EXPECTED}")));
    }
    let mut account = Account::default();
    let train = match part(place, TRAIN, "train", &mut account) {
        Some(train) => Some(Found::look(&train, &mut account)?),
        None => Found::class_tars(place, &mut account)?,
    };
    let val = part(place, VAL, "val", &mut account);
    let mut val = val.map(|val| Found::look(&val, &mut account)).transpose()?;
    if train.is_none() && val.is_none() {
        return Err(malformed(format!("has neither part of ILSVRC; {EXPECTED}")));
    }
    if let Some(train) = &train
        && let Some((name, _)) = train.pictures.iter().find(|(name, _)| !name.contains('/'))
    {
        let problem = format!(
            "\"{}\" of the training part is in no class's tar or folder; {EXPECTED}",
            escape(name)
        );
        return Err(malformed(problem));
    }
    if let Some(val) = &mut val {
        val.sort_into_classes(place, &mut account)?;
    }
    let parts = [&train, &val].map(|part| part.as_ref());
    let classes: BTreeSet<String> =
        parts.into_iter().flatten().flat_map(|part| part.classes.iter().cloned()).collect();
    let classes: Vec<String> = classes.into_iter().collect();
    let examples = |found: Option<Found>| found.map(|found| found.examples(&classes, path));
    (account.train.name, account.test.name) = ("train".into(), "val".into());
    let (train, test) = (examples(train), examples(val));
    Ok(Parts { train, test, classes, account })
}

/// Whether a name is that of a class's tar, as `n01440764.tar`.
pub(in crate::data) fn is_class_tar(name: &str) -> bool {
    let number = name.strip_prefix('n').and_then(|name| name.strip_suffix(".tar"));
    number.is_some_and(|number| number.len() == 8 && number.bytes().all(|c| c.is_ascii_digit()))
}

/// Where a part is: in its tar, else in its folder.
fn part(place: &Place, tar: &str, folder: &str, account: &mut Account) -> Option<Place> {
    let is = |place: &Place, kind| place.disk.kind(&place.path) == Some(kind);
    let folders = [folder.to_owned(), format!("{INNER}/{folder}")];
    let found = folders.iter().find(|folder| is(&place.join(folder), Kind::Folder));
    let tar_there = place.join(tar);
    if !is(&tar_there, Kind::File) {
        return found.map(|folder| place.join(folder));
    }
    if let Some(folder) = found {
        account.note(format!("{tar} was read, and the folder {folder} beside it was not"));
    }
    Some(tar_there)
}

/// The pictures of a part.
#[derive(Default)]
struct Found {
    /// Their names in the part, `CLASS/NAME` where they are sorted.
    pictures: Vec<(String, Stored)>,
    /// The classes, those without a picture among them.
    classes: BTreeSet<String>,
}

impl Found {
    /// All pictures of a tar or a folder.
    fn look(place: &Place, account: &mut Account) -> Result<Self, DataError> {
        let mut found = Self::default();
        if place.kind()? == Kind::File {
            found.tar(&Archive::open(place, Caps::lying())?, "", account)?;
            return Ok(found);
        }
        let mut tars = Vec::new();
        for file in Root::open(place, Caps::lying())?.list(account)?.files {
            if is_class_tar(&file.name) {
                tars.push(file.name);
            } else if is_picture(&file.name) {
                let at = Stored::File(place.join(&file.name));
                found.take(file.name, at);
            } else {
                account.skip(Reason::NoPicture, &file.name);
            }
        }
        found.add(place, &tars, account)?;
        Ok(found)
    }

    /// The tars of classes that lie in a folder, as they do once their own tar is unpacked; none where there are none.
    fn class_tars(place: &Place, account: &mut Account) -> Result<Option<Self>, DataError> {
        let name = |(path, _): (PathBuf, Kind)| {
            let name = path.file_name()?.to_str()?;
            is_class_tar(name).then(|| name.to_owned())
        };
        let tars: Vec<String> = place.list()?.into_iter().filter_map(name).collect();
        let mut found = Self::default();
        found.add(place, &tars, account)?;
        Ok((!tars.is_empty()).then_some(found))
    }

    /// The pictures of the tars of some classes.
    fn add(
        &mut self,
        place: &Place,
        tars: &[String],
        account: &mut Account,
    ) -> Result<(), DataError> {
        for tar in tars {
            let class = tar.trim_end_matches(".tar");
            if self.classes.contains(class) {
                let problem =
                    format!("has the class {class} as a folder and as a tar; leave one of them");
                return Err(DataError::malformed(&place.path, problem));
            }
            let archive = Archive::open(&place.join(tar), Caps::lying())?;
            self.tar(&archive, &format!("{class}/"), account)?;
        }
        Ok(())
    }

    /// The pictures of a tar, and of those in it; `around` is the class that they are of, if it is one class's.
    fn tar(
        &mut self,
        archive: &Archive,
        around: &str,
        account: &mut Account,
    ) -> Result<(), DataError> {
        let whole = Arc::new(archive.place().clone());
        self.classes.extend(around.strip_suffix('/').map(str::to_owned));
        for lying in archive.lying(account)? {
            let name = format!("{around}{}", lying.name);
            if around.is_empty() && is_class_tar(&lying.name) {
                let class = lying.name.trim_end_matches(".tar");
                self.tar(&archive.inside(&lying), &format!("{class}/"), account)?;
            } else if is_picture(&name) {
                self.take(name, Stored::lying(&whole, around, lying));
            } else {
                account.skip(Reason::NoPicture, &name);
            }
        }
        Ok(())
    }

    fn take(&mut self, name: String, picture: Stored) {
        if let Some((class, _)) = name.split_once('/') {
            self.classes.insert(class.into());
        }
        self.pictures.push((name, picture));
    }

    /// Gives the pictures that lie in no class's folder the class that the list beside the part has of each.
    fn sort_into_classes(&mut self, place: &Place, account: &mut Account) -> Result<(), DataError> {
        if self.pictures.iter().all(|(name, _)| name.contains('/')) {
            return Ok(());
        }
        let Some(list) = validation::find(place)? else {
            let problem =
                format!("nothing tells the classes of its validation pictures; {EXPECTED}");
            return Err(DataError::malformed(&place.path, problem));
        };
        account.note(format!("the classes of the validation pictures are those of {}", list.name));
        let mut listed = 0;
        for (name, _) in &mut self.pictures {
            if !name.contains('/') {
                let class = list.class_of(name)?;
                self.classes.insert(class.into());
                *name = format!("{class}/{name}");
                listed += 1;
            }
        }
        if listed < list.len() {
            let left = list.len() - listed;
            account.note(format!("{} has {left} more pictures than are there", list.name));
        }
        Ok(())
    }

    /// The pictures class by class, each class's by their names.
    fn examples(mut self, classes: &[String], path: &Path) -> Examples {
        self.pictures.sort_by(|(a, _), (b, _)| a.split('/').cmp(b.split('/')));
        let label = |name: &str| {
            let class = name.split('/').next().unwrap_or_default();
            classes.binary_search_by(|known| (**known).cmp(class)).unwrap_or_default() as u32
        };
        let (labels, pictures) =
            self.pictures.into_iter().map(|(name, picture)| (label(&name), picture)).unzip();
        Examples { store: Store::Encoded(pictures), labels, place: path.display().to_string() }
    }
}

#[cfg(test)]
pub(in crate::data) mod tests;
