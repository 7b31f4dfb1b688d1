//! Which class each validation picture of ILSVRC is of: the lists that people have of it.
//!
//! The development kit has a number for each picture, in the order of the pictures' own numbers, and in `meta.mat` which class a number means.
//! Other lists have a line for each picture: `NAME WNID`, or the WNID alone in the same order.

use std::collections::HashMap;

use super::super::DataError;
use super::super::account::Account;
use super::super::archive::Caps;
use super::super::place::{Place, refused};
use super::super::root::Root;
use super::synsets;
use crate::text::escape;

/// Lists of lines, and after them the development kit: the first that is there is read.
const LINES: [&str; 3] =
    ["LOC_val_solution.csv", "val.txt", "imagenet_2012_validation_synset_labels.txt"];
const KITS: [&str; 2] = ["ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_devkit_t12"];
/// Names that nothing but ILSVRC has.
pub(super) const FILES: [&str; 4] = [LINES[0], LINES[2], KITS[0], KITS[1]];
/// Files of the development kit.
const TRUTH: &str = "data/ILSVRC2012_validation_ground_truth.txt";
const META: &str = "data/meta.mat";
/// Bytes of a list that are read.
const MOST: u64 = 64 << 20;

/// A list of classes.
pub(super) struct List {
    /// Its file.
    pub(super) name: &'static str,
    place: Place,
    by: By,
}

/// How a list is looked up.
enum By {
    /// By a picture's name without its ending.
    Name(HashMap<String, String>),
    /// By the number at the end of it, from 1.
    Number(Vec<String>),
}

/// The list in a folder; none where there is none.
///
/// # Errors
/// It cannot be read, or has a line that says no class.
pub(super) fn find(folder: &Place) -> Result<Option<List>, DataError> {
    let is_there = |name: &&&str| folder.disk.kind(&folder.path.join(name)).is_some();
    if let Some(&name) = LINES.iter().find(is_there) {
        let place = folder.join(name);
        let text = place.disk.read_text(&place.path).map_err(refused(&place.path))?;
        let by = lines(&text).map_err(|problem| DataError::malformed(&place.path, problem))?;
        return Ok(Some(List { name, place, by }));
    }
    let Some(&name) = KITS.iter().find(is_there) else { return Ok(None) };
    let place = folder.join(name);
    let by = kit(&place)?;
    Ok(Some(List { name, place, by }))
}

impl List {
    /// How many pictures it has.
    pub(super) fn len(&self) -> usize {
        match &self.by {
            By::Name(classes) => classes.len(),
            By::Number(classes) => classes.len(),
        }
    }

    /// The class of a picture.
    ///
    /// # Errors
    /// It is not on the list.
    pub(super) fn class_of(&self, picture: &str) -> Result<&str, DataError> {
        let stem = stem(picture);
        let found = match &self.by {
            By::Name(classes) => classes.get(stem),
            By::Number(classes) => {
                let digits = stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
                let number: Option<usize> = stem[digits..].parse().ok();
                number.and_then(|number| classes.get(number.checked_sub(1)?))
            }
        };
        found.map(String::as_str).ok_or_else(|| {
            let name = escape(picture);
            let problem = match &self.by {
                By::Name(_) => format!("has no line for the validation picture \"{name}\""),
                By::Number(classes) => format!(
                    "has {} lines, and none for the validation picture \"{name}\"; its name must end in its number, as ILSVRC2012_val_00000001.JPEG",
                    classes.len()
                ),
            };
            DataError::malformed(&self.place.path, problem)
        })
    }
}

/// A file's name without folders and ending.
fn stem(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// A list with a line for each picture.
fn lines(text: &str) -> Result<By, String> {
    const ALLOWED: &str = "a line is \"NAME WNID\", or the WNID alone, as n01440764";
    let (mut names, mut numbered) = (HashMap::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let mut words = line.split([' ', ',', '\t', '\r']).filter(|word| !word.is_empty());
        let (first, second) = (words.next(), words.next());
        let class = match (first, second) {
            (None, _) => continue,
            // The first line of Kaggle's table.
            (Some("ImageId"), _) if at == 0 => continue,
            (Some(class), None) => class,
            (Some(_), Some(class)) => class,
        };
        if class.bytes().all(|c| c.is_ascii_digit()) {
            return Err(format!(
                "line {} has the number {} for a class, and nothing says which class that is; {ALLOWED}",
                at + 1,
                escape(class)
            ));
        }
        match (first, second) {
            (Some(name), Some(_)) => {
                let stem = stem(name).to_owned();
                if let Some(other) = names.insert(stem, class.to_owned())
                    && other != class
                {
                    let (name, other, class) = (escape(name), escape(&other), escape(class));
                    return Err(format!("has {name} as {other} and as {class}"));
                }
            }
            _ => numbered.push(class.to_owned()),
        }
    }
    match (names.is_empty(), numbered.is_empty()) {
        (false, true) => Ok(By::Name(names)),
        (true, false) => Ok(By::Number(numbered)),
        (true, true) => Err(format!("is empty; {ALLOWED}")),
        (false, false) => Err(format!("has lines of both sorts; {ALLOWED}")),
    }
}

/// The development kit, as a folder or as it is packed.
fn kit(place: &Place) -> Result<By, DataError> {
    let root = Root::open(place, Caps::default())?;
    let listing = root.list(&mut Account::default())?;
    let file = |name: &str| -> Result<Vec<u8>, DataError> {
        let is_it = |file: &&super::super::listing::File| {
            file.name == name
                || file.name.strip_suffix(name).is_some_and(|rest| rest.ends_with('/'))
        };
        let found = listing.files.iter().find(is_it);
        let found =
            found.ok_or_else(|| DataError::malformed(&place.path, format!("has no {name}")))?;
        let sources = root.sources(&[found])?;
        match sources.first() {
            Some(source) => Ok(source.bytes(MOST)?.into_owned()),
            None => Ok(Vec::new()),
        }
    };
    let malformed = |name: &str, problem: String| {
        DataError::malformed(&place.path, format!("{name} in it {problem}"))
    };
    let classes = synsets::read(&file(META)?).map_err(|problem| malformed(META, problem))?;
    let truth = String::from_utf8_lossy(&file(TRUTH)?).into_owned();
    let class = |(at, line): (usize, &str)| {
        let number: Option<u32> = line.trim().parse().ok();
        number.and_then(|number| classes.get(&number).cloned()).ok_or_else(|| {
            let (line, most) = (escape(line.trim()), classes.len());
            let problem = format!(
                "has \"{line}\" in line {}, where the numbers of {most} classes are allowed",
                at + 1
            );
            malformed(TRUTH, problem)
        })
    };
    let classes: Vec<String> = truth.lines().enumerate().map(class).collect::<Result<_, _>>()?;
    if classes.is_empty() {
        return Err(malformed(TRUTH, "is empty".into()));
    }
    Ok(By::Number(classes))
}
