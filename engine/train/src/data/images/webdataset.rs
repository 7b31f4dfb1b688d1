//! WebDataset: shards, each a tar in which the files of a sample have one key as their name and differ in their endings, as `0001.jpg` beside
//! `0001.cls`, a number or a name, or `0001.json` with a `label`.
//!
//! The shards stay packed: a picture is a range of its shard's bytes, and one pass over the headers finds them all. So every picture can be
//! read at any time and pictures are shuffled as all others are, where a stream of shards needs a buffer. The classes' names are in
//! `classnames.txt` or `classes.txt` beside the shards, a line each; without it classes are numbers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::super::DataError;
use super::super::account::{Account, Reason};
use super::super::archive::{Archive, Caps, Lying};
use super::super::listing::Listing;
use super::super::place::{Place, refused};
use super::super::root::Root;
use super::super::stored::Stored;
use super::examples::{Examples, Parts, Store};
use super::image::EXTENSIONS;
use super::layout::shows;
use super::shards::{self, Shard};
use crate::classes::numbers;
use crate::disk::Kind;
use crate::text::escape;

/// Where the names of classes may be.
pub(super) const NAMES: [&str; 2] = ["classnames.txt", "classes.txt"];
/// The most classes of labels that are numbers: each has a name and a count.
const MOST_CLASSES: u64 = 1_000_000;
/// Bytes of a label's file that are read.
const LONGEST_LABEL: u64 = 1 << 20;

/// Lists the pictures of all shards and reads their labels; nothing is decoded.
///
/// # Errors
/// No shards, or names of shards that tell no parts; a shard that is damaged; a sample of two pictures, or without a label.
pub(in crate::data) fn open(place: &Place) -> Result<Parts, DataError> {
    let mut account = Account::default();
    let shards = found(place, &mut account)?;
    let first = shards.first().map(|shard| shard.place.path.clone()).unwrap_or_default();
    let beside = Place { path: first.parent().unwrap_or(Path::new("")).into(), ..place.clone() };
    let names = match names(&beside)? {
        Some(names) => Some(names),
        None => names(place)?,
    };
    let parts = shards::parts(&place.path, shards, &mut account)?;
    let mut extra = BTreeSet::new();
    let mut samples = |shards: &[Shard], account: &mut Account| {
        let all = shards.iter().map(|shard| read(shard, &mut extra, account));
        Ok::<Vec<Sample>, DataError>(
            all.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect(),
        )
    };
    let train: Vec<Sample> = samples(&parts.train.shards, &mut account)?;
    let test: Vec<Sample> = samples(&parts.test.shards, &mut account)?;
    if !extra.is_empty() {
        let endings: Vec<&str> = extra.iter().map(String::as_str).collect();
        let endings = escape(&endings.join(", ")).into_owned();
        account.note(format!("of the samples the files {endings} are not used"));
    }
    let classes = Classes::of(&place.path, train.iter().chain(&test), names)?;
    let examples = |samples: Vec<Sample>| -> Result<Option<Examples>, DataError> {
        let labels =
            samples.iter().map(|sample| classes.label(sample)).collect::<Result<_, _>>()?;
        let store = Store::Encoded(samples.into_iter().map(|sample| sample.picture).collect());
        let place = place.path.display().to_string();
        let examples = Examples { store, labels, place };
        Ok((examples.len() > 0).then_some(examples))
    };
    (account.train.name, account.test.name) = (parts.train.name, parts.test.name);
    let (train, test) = (examples(train)?, examples(test)?);
    Ok(Parts { train, test, classes: classes.names, account })
}

/// Whether a name is that of a shard.
pub(in crate::data) fn is_shard(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(".tar")
}

/// Whether an archive is a shard, by the labels in it.
pub(in crate::data) fn has_labels(listing: &Listing) -> bool {
    listing.files.iter().any(|file| file.name.ends_with(".cls"))
}

/// The shards: those of a folder, one alone, or those that a name with braces means.
fn found(place: &Place, account: &mut Account) -> Result<Vec<Shard>, DataError> {
    let path = &*place.path;
    let text = path.to_string_lossy();
    if place.disk.kind(path).is_none() && text.contains('{') {
        let expanded =
            shards::expand(&text).map_err(|problem| DataError::malformed(path, problem))?;
        // Folders around the braces tell no part.
        let around =
            text.find('{').and_then(|brace| text[..brace].rfind('/')).map_or(0, |at| at + 1);
        let shard = |name: String| {
            let place = Place { path: name.clone().into(), ..place.clone() };
            match place.kind()? {
                Kind::File => Ok(Shard { name: name[around..].to_owned(), place }),
                _ => Err(DataError::malformed(&place.path, "is no file, and shards are tars")),
            }
        };
        return expanded.into_iter().map(shard).collect();
    }
    if place.kind()? == Kind::File {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![Shard { name, place: place.clone() }]);
    }
    let mut found = Vec::new();
    for file in Root::open(place, Caps::lying())?.list(account)?.files {
        let name = file.split().1.to_ascii_lowercase();
        if is_shard(&name) {
            found.push(Shard { place: place.join(&file.name), name: file.name });
        } else if name.contains(".tar.") || name.ends_with(".tgz") {
            let problem = format!(
                "\"{}\" is a packed shard, whose pictures cannot be read where they lie; unpack it to a plain tar",
                escape(&file.name)
            );
            return Err(DataError::malformed(path, problem));
        } else if !NAMES.contains(&&*name) {
            account.skip(Reason::NoPicture, &file.name);
        }
    }
    if found.is_empty() {
        let problem = "holds no shards; expected are train-000000.tar and so on, and val-000000.tar or test-000000.tar";
        return Err(DataError::malformed(path, problem));
    }
    Ok(found)
}

/// The names of the classes that stand in a folder; none where there are none.
fn names(folder: &Place) -> Result<Option<(Vec<String>, &'static str)>, DataError> {
    for name in NAMES {
        let Place { disk, path } = folder.join(name);
        if disk.kind(&path) == Some(Kind::File) {
            let text = disk.read_text(&path).map_err(refused(&path))?;
            let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
            let mut seen = BTreeSet::new();
            if let Some(twice) = lines.iter().find(|line| !seen.insert(*line)) {
                let problem = format!("has the class \"{}\" twice", escape(twice));
                return Err(DataError::malformed(&path, problem));
            }
            return Ok(Some((lines, name)));
        }
    }
    Ok(None)
}

/// A picture with its label.
struct Sample {
    picture: Stored,
    label: Label,
}

/// A class, as a sample tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Label {
    Number(u64),
    Name(String),
}

/// The files of a sample that count.
#[derive(Default)]
struct Files {
    picture: Option<Lying>,
    cls: Option<Lying>,
    json: Option<Lying>,
    /// Another file of it, of a picture that is not read before all others.
    other: Option<String>,
}

/// The samples of a shard, in their order. The endings of files that have no say go into `extra`.
fn read(
    shard: &Shard,
    extra: &mut BTreeSet<String>,
    account: &mut Account,
) -> Result<Vec<Sample>, DataError> {
    let archive = Archive::open(&shard.place, Caps::lying())?;
    let refused = |key: &str, problem: String| {
        let (archive, entry) = (shard.place.path.clone(), escape(key).into_owned());
        DataError::Entry { archive, entry, problem }
    };
    let (mut places, mut samples): (HashMap<String, usize>, Vec<(String, Files)>) =
        Default::default();
    for lying in archive.lying(account)? {
        // The key ends at the first dot of the name, and the folder is a part of it.
        let name = lying.name.clone();
        let folder = name.rfind('/').map_or(0, |at| at + 1);
        let Some(dot) = name[folder..].find('.').map(|at| folder + at) else {
            account.skip(Reason::NoPicture, &name);
            continue;
        };
        let (key, ending) =
            (&name[..dot], name[dot..].trim_start_matches('.').to_ascii_lowercase());
        let at = *places.entry(key.to_owned()).or_insert_with(|| {
            samples.push((key.to_owned(), Files::default()));
            samples.len() - 1
        });
        let files = &mut samples[at].1;
        match &*ending {
            "cls" => files.cls = Some(lying),
            "json" => files.json = Some(lying),
            ending if EXTENSIONS.contains(&ending) => {
                if let Some(other) = files.picture.replace(lying) {
                    let problem = format!(
                        "has two pictures, \"{}\" and \"{}\"; a sample has one",
                        escape(&other.name),
                        escape(&name)
                    );
                    return Err(refused(key, problem));
                }
            }
            _ if shows(&name) && !ending.contains('.') => files.other = Some(name),
            ending => {
                extra.insert(format!(".{ending}"));
                files.other.get_or_insert(name);
            }
        }
    }
    let whole = Arc::new(shard.place.clone());
    let mut file = shard.place.open()?;
    let mut text = |lying: &Lying| -> Result<String, DataError> {
        let length = lying.bytes.end - lying.bytes.start;
        if length > LONGEST_LABEL {
            let problem = format!("has {length} bytes, more than the {LONGEST_LABEL} of a label");
            return Err(refused(&lying.name, problem));
        }
        let mut bytes = Vec::new();
        let read = file
            .seek(SeekFrom::Start(lying.bytes.start))
            .and_then(|_| (&mut file).take(length).read_to_end(&mut bytes));
        read.map_err(DataError::read(&shard.place.path))?;
        String::from_utf8(bytes).map_err(|_| refused(&lying.name, "is no UTF-8".into()))
    };
    let mut read = Vec::with_capacity(samples.len());
    for (key, Files { picture, cls, json, other }) in samples {
        let Some(picture) = picture else {
            let name = [cls, json].into_iter().flatten().map(|lying| lying.name).next();
            if let Some(name) = other.or(name) {
                let unread = shows(&name);
                account.skip(if unread { Reason::UnreadKind } else { Reason::NoPicture }, &name);
            }
            continue;
        };
        let number =
            cls.as_ref().map(|cls| of_text(&text(cls)?).map_err(|p| refused(&cls.name, p)));
        let object =
            json.as_ref().map(|json| of_json(&text(json)?).map_err(|p| refused(&json.name, p)));
        let label = match (number.transpose()?, object.transpose()?.flatten()) {
            (Some(one), Some(other)) if one != other && one.is_number() == other.is_number() => {
                let problem = format!("has the label {one} in its .cls and {other} in its .json");
                return Err(refused(&key, problem));
            }
            (Some(label), _) | (None, Some(label)) => label,
            (None, None) => {
                let problem =
                    "has a picture and no label; expected is KEY.cls, or KEY.json with \"label\"";
                return Err(refused(&key, problem.into()));
            }
        };
        read.push(Sample { picture: Stored::lying(&whole, "", picture), label });
    }
    Ok(read)
}

impl Label {
    fn is_number(&self) -> bool {
        matches!(self, Self::Number(_))
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => write!(f, "\"{}\"", escape(name)),
        }
    }
}

/// The label of a `.cls` file.
fn of_text(text: &str) -> Result<Label, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty, and a label is a number or a name".into());
    }
    match text.parse::<i128>() {
        Err(_) => Ok(Label::Name(text.into())),
        Ok(number) => numbered(number),
    }
}

/// The label of a `.json` file, if it has one.
fn of_json(text: &str) -> Result<Option<Label>, String> {
    let json: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| format!("is no JSON: {}", escape(&error.to_string())))?;
    match json.get("label") {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(name)) if !name.is_empty() => {
            Ok(Some(Label::Name(name.clone())))
        }
        Some(serde_json::Value::Number(number)) if number.is_i64() || number.is_u64() => {
            let number = number.as_i64().map_or(i128::MAX, i128::from);
            numbered(number).map(Some)
        }
        Some(_) => Err("has a \"label\" that is neither a whole number nor a name".into()),
    }
}

fn numbered(number: i128) -> Result<Label, String> {
    match u64::try_from(number) {
        Ok(number) if number < MOST_CLASSES => Ok(Label::Number(number)),
        _ => Err(format!("has the label {number}, where 0 to {} are allowed", MOST_CLASSES - 1)),
    }
}

/// The classes, and how labels name them.
struct Classes {
    names: Vec<String>,
    /// The number of each name.
    places: BTreeMap<String, u32>,
    /// Where the names are, if a file has them.
    file: Option<&'static str>,
}

impl Classes {
    fn of<'a>(
        path: &Path,
        samples: impl Iterator<Item = &'a Sample> + Clone,
        given: Option<(Vec<String>, &'static str)>,
    ) -> Result<Self, DataError> {
        let named = samples.clone().find(|sample| !sample.label.is_number());
        let number = samples.clone().find(|sample| sample.label.is_number());
        if let (Some(one), Some(other), None) = (named, number, &given) {
            let problem = format!(
                "has the label {} at {} and {} at {}; all are names, or all numbers",
                one.label,
                escape(&one.picture.name()),
                other.label,
                escape(&other.picture.name())
            );
            return Err(DataError::malformed(path, problem));
        }
        let (names, file) = match given {
            Some((names, file)) => (names, Some(file)),
            None => {
                let mut most = 0;
                let mut names = BTreeSet::new();
                for sample in samples {
                    match &sample.label {
                        Label::Number(number) => most = most.max(number + 1),
                        Label::Name(name) => drop(names.insert(name.clone())),
                    }
                }
                if names.is_empty() {
                    (numbers(most as usize), None)
                } else {
                    (names.into_iter().collect(), None)
                }
            }
        };
        let places = names.iter().cloned().zip(0..).collect();
        Ok(Self { names, places, file })
    }

    /// The number of a sample's class.
    fn label(&self, sample: &Sample) -> Result<u32, DataError> {
        let found = match &sample.label {
            Label::Number(number) if (*number as usize) < self.names.len() => Some(*number as u32),
            Label::Number(_) => None,
            Label::Name(name) => self.places.get(name).copied(),
        };
        found.ok_or_else(|| {
            let file = self.file.unwrap_or_default();
            let problem = format!(
                "has the label {}, which is none of the {} classes of {file}",
                sample.label,
                self.names.len()
            );
            DataError::Image { name: sample.picture.name().into_owned(), problem }
        })
    }
}

#[cfg(test)]
pub(in crate::data) mod tests;
