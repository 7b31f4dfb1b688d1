//! Data sets that configurations may name: built in, registered at the start, or uploaded.
//!
//! A client never names a path. `dataset:NAME` in a configuration stands for what is registered under that name, or was uploaded as it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use engine::config::{Data, DataKind};
use engine::data;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::jobs::ask;

/// The set that is always there.
pub(crate) const BUILT_IN: &str = "procedural";
/// What a name of a data set begins with in a configuration.
pub(crate) const PREFIX: &str = "dataset:";
/// Pictures of each part that a survey keeps.
const SAMPLES: usize = 64;
/// Longer side of a thumbnail, in pixels.
const THUMBNAIL: u32 = 96;
/// How long a data set may be looked at.
const PATIENCE: Duration = Duration::from_secs(600);
/// Entries of an uploaded archive, and bytes after decompression: in all, and for each byte that was sent.
const ENTRIES: usize = 1_000_000;
const UNPACKED: u64 = 8 << 30;
const RATIO: u64 = 100;

/// Where a data set comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// Part of the program.
    Builtin,
    /// `--data NAME=PATH`.
    Registered,
    /// Sent by a client.
    Uploaded,
}

/// A data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Dataset {
    pub(crate) name: String,
    /// What `data.kind` must be.
    pub(crate) kind: DataKind,
    /// Of its files; 0 for the built-in set.
    pub(crate) bytes: u64,
    pub(crate) train_count: u64,
    /// 0: training splits the other part.
    pub(crate) test_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) classes: Option<Vec<ClassCount>>,
    pub(crate) source: Origin,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// Training images of a class; test images where there are no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ClassCount {
    pub(crate) label: String,
    pub(crate) count: u64,
}

/// What `taper survey` prints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Surveyed {
    pub(crate) classes: Vec<String>,
    pub(crate) train: SurveyedPart,
    pub(crate) test: SurveyedPart,
}

/// A part of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SurveyedPart {
    pub(crate) counts: Vec<u64>,
    /// Index and class of the pictures of which there are thumbnails.
    pub(crate) samples: Vec<(usize, u32)>,
}

/// The time of a data set's files, and what was seen of them then.
type Seen = (Option<SystemTime>, Result<Surveyed, String>);

/// The data sets of a server.
#[derive(Debug)]
pub(crate) struct Datasets {
    registered: BTreeMap<String, PathBuf>,
    /// `uploads/NAME/` and `thumbnails/NAME/` below it.
    folder: PathBuf,
    program: PathBuf,
    /// What was seen of each.
    seen: Mutex<BTreeMap<String, Seen>>,
}

/// A name that is safe as a folder, in an address and in a configuration.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=64).contains(&name.len())
        && name.chars().all(plain)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

impl Datasets {
    /// Those registered as `NAME=PATH`, and those uploaded to `folder`.
    ///
    /// # Errors
    /// A name that will not do or is there twice, a path that is not there, a folder that cannot be made.
    pub(crate) fn open(folder: PathBuf, given: &[String], program: PathBuf) -> Result<Datasets> {
        let mut registered = BTreeMap::new();
        for text in given {
            let (name, path) = text
                .split_once('=')
                .with_context(|| format!("`--data {text}` must be NAME=PATH"))?;
            if !is_name(name) || name == BUILT_IN {
                bail!(
                    "`--data {text}`: a name has letters, digits, -, _ and ., begins with one of the first two, and is not {BUILT_IN}"
                );
            }
            let path = std::fs::canonicalize(path)
                .with_context(|| format!("`--data {text}`: there is no such file or folder"))?;
            if registered.insert(name.to_owned(), path).is_some() {
                bail!("`--data {text}`: there are two of this name");
            }
        }
        std::fs::create_dir_all(folder.join("uploads"))?;
        Ok(Datasets { registered, folder, program, seen: Mutex::default() })
    }

    fn upload(&self, name: &str) -> PathBuf {
        self.folder.join("uploads").join(name)
    }

    /// Where uploads are received: on the same file system as they are kept.
    pub(crate) fn reception(&self) -> &Path {
        &self.folder
    }

    /// All names, with where they come from.
    pub(crate) fn names(&self) -> Vec<(String, Origin)> {
        let mut names = vec![(BUILT_IN.to_owned(), Origin::Builtin)];
        names.extend(self.registered.keys().map(|name| (name.clone(), Origin::Registered)));
        let uploads =
            std::fs::read_dir(self.folder.join("uploads")).into_iter().flatten().flatten();
        let mut uploads: Vec<String> = uploads
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_name(name) && !self.registered.contains_key(name))
            .collect();
        uploads.sort();
        names.extend(uploads.into_iter().map(|name| (name, Origin::Uploaded)));
        names
    }

    /// Where a data set lies, and how it is read; none for an unknown name. The built-in set has no path.
    pub(crate) fn find(&self, name: &str) -> Option<(Origin, DataKind, Option<PathBuf>)> {
        if name == BUILT_IN {
            return Some((Origin::Builtin, DataKind::Procedural, None));
        }
        if let Some(path) = self.registered.get(name) {
            return Some((Origin::Registered, data::kind_of(path), Some(path.clone())));
        }
        let folder = is_name(name).then(|| self.upload(name)).filter(|folder| folder.is_dir())?;
        let archive = folder.join("data.tar");
        let path = if archive.is_file() { archive } else { folder };
        Some((Origin::Uploaded, data::kind_of(&path), Some(path)))
    }

    /// What is known of a data set; a process looks at it where its files are new.
    pub(crate) fn describe(&self, name: &str) -> Option<Dataset> {
        let (source, kind, path) = self.find(name)?;
        let bytes = path.as_deref().map_or(0, size);
        let surveyed = self.survey(name)?;
        let mut dataset = Dataset {
            name: name.into(),
            kind,
            bytes,
            train_count: 0,
            test_count: 0,
            classes: None,
            source,
            error: None,
        };
        match surveyed {
            Ok(surveyed) => {
                dataset.train_count = surveyed.train.counts.iter().sum();
                dataset.test_count = surveyed.test.counts.iter().sum();
                let counts = if dataset.train_count > 0 {
                    surveyed.train.counts
                } else {
                    surveyed.test.counts
                };
                let count = |(label, count)| ClassCount { label, count };
                dataset.classes =
                    Some(surveyed.classes.into_iter().zip(counts).map(count).collect());
            }
            Err(error) => dataset.error = Some(error),
        }
        Some(dataset)
    }

    /// What a survey saw; none for an unknown name.
    pub(crate) fn survey(&self, name: &str) -> Option<Result<Surveyed, String>> {
        let (_, kind, path) = self.find(name)?;
        let time = path.as_deref().and_then(|path| path.metadata().ok()?.modified().ok());
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some((_, surveyed)) = seen.filter(|(at, _)| *at == time) {
            return Some(surveyed);
        }
        let surveyed = self.look(name, kind, path.as_deref());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(name.into(), (time, surveyed.clone()));
        Some(surveyed)
    }

    fn look(&self, name: &str, kind: DataKind, path: Option<&Path>) -> Result<Surveyed, String> {
        let thumbnails = self.folder.join("thumbnails").join(name);
        std::fs::create_dir_all(&thumbnails)
            .map_err(|error| format!("no thumbnails can be kept: {error}"))?;
        let kind =
            serde_json::to_value(kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
        let mut command = Command::new(&self.program);
        command
            .arg("survey")
            .args(["--kind", &kind.unwrap_or_default(), "--thumbnails"])
            .arg(&thumbnails);
        if let Some(path) = path {
            command.arg("--path").arg(path);
        }
        let surveyed = ask(&mut command, PATIENCE);
        // A client is told what is wrong, and not where things lie on the server.
        surveyed.map_err(|error| match path {
            Some(path) => error.replace(&path.display().to_string(), &format!("{PREFIX}{name}")),
            None => error,
        })
    }

    /// The file of a thumbnail, of those that a survey made.
    pub(crate) fn thumbnail(&self, name: &str, part: Part, index: usize) -> Option<PathBuf> {
        let surveyed = self.survey(name)?.ok()?;
        let samples = &surveyed.part(part).samples;
        samples.iter().find(|(of, _)| *of == index)?;
        Some(self.folder.join("thumbnails").join(name).join(part.file(index)))
    }

    /// Makes an upload a data set: an archive of pictures stays one, IDX files are taken out of it.
    ///
    /// # Errors
    /// A sentence on what is wrong with the archive; then nothing is kept.
    pub(crate) fn admit(
        &self,
        name: &str,
        archive: tempfile::NamedTempFile,
        is_zip: bool,
    ) -> Result<Dataset, String> {
        let failed = |error: io::Error| format!("the upload cannot be kept: {error}");
        let ready = tempfile::tempdir_in(&self.folder).map_err(failed)?;
        let tar = ready.path().join("data.tar");
        if is_zip {
            tar_of(archive.path(), &tar)?;
        } else {
            archive.persist(&tar).map_err(|error| failed(error.error))?;
        }
        let hide = |error: data::DataError| {
            error.to_string().replace(&tar.display().to_string(), "the upload")
        };
        if data::take_idx(&tar, ready.path()).map_err(hide)? > 0 {
            std::fs::remove_file(&tar).map_err(failed)?;
        }
        let place = self.upload(name);
        // Renaming onto a folder that holds something fails: of two uploads of a name the first stays.
        std::fs::rename(ready.path(), &place)
            .map_err(|_| format!("there is a data set `{name}` already"))?;
        drop(ready.keep());
        match self.describe(name) {
            Some(Dataset { error: Some(error), .. }) => {
                drop(self.remove(name));
                Err(error)
            }
            Some(dataset) => Ok(dataset),
            None => Err("the upload is gone".into()),
        }
    }

    /// Removes an uploaded data set.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_dir_all(self.upload(name))?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        match std::fs::remove_dir_all(self.folder.join("thumbnails").join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// For training.
    #[default]
    Train,
    /// For testing.
    Test,
}

impl Part {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Test => "test",
        }
    }

    fn file(self, index: usize) -> String {
        format!("{}-{index}.png", self.name())
    }
}

impl Surveyed {
    pub(crate) fn part(&self, part: Part) -> &SurveyedPart {
        match part {
            Part::Train => &self.train,
            Part::Test => &self.test,
        }
    }
}

/// Counts a data set and writes thumbnails: the work of `taper survey`.
///
/// # Errors
/// What is wrong with the data, and what the system refuses.
pub(crate) fn survey(config: &Data, thumbnails: &Path) -> Result<Surveyed> {
    let data::Survey { classes, train, test } = data::survey(config, SAMPLES)?;
    let part = |part: Part, surveyed: data::SurveyedPart| -> Result<SurveyedPart> {
        let mut samples = Vec::new();
        for data::Sample { index, label, image } in surveyed.samples {
            let (width, height) = (image.width as u32, image.height as u32);
            let image = match image.channels {
                1 => image::GrayImage::from_raw(width, height, image.pixels)
                    .map(image::DynamicImage::from),
                _ => image::RgbImage::from_raw(width, height, image.pixels)
                    .map(image::DynamicImage::from),
            };
            let image = image.context("a picture has not the pixels that it says")?;
            let large = width.max(height) > THUMBNAIL;
            let image = if large { image.thumbnail(THUMBNAIL, THUMBNAIL) } else { image };
            image.save(thumbnails.join(part.file(index)))?;
            samples.push((index, label));
        }
        Ok(SurveyedPart { counts: surveyed.counts, samples })
    };
    Ok(Surveyed { classes, train: part(Part::Train, train)?, test: part(Part::Test, test)? })
}

/// Bytes of a file, or of all files below a folder.
fn size(path: &Path) -> u64 {
    let Ok(data) = path.symlink_metadata() else { return 0 };
    if !data.is_dir() {
        return data.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}

/// Copies the files of a zip into a tar, by the rules that the reader of tars has, before anything is read of them.
fn tar_of(zip: &Path, tar: &Path) -> Result<(), String> {
    let bad = |error: zip::result::ZipError| format!("the upload is no whole zip archive: {error}");
    let failed = |error: io::Error| format!("the upload cannot be unpacked: {error}");
    let file = File::open(zip).map_err(failed)?;
    let sent = file.metadata().map_err(failed)?.len();
    let most = UNPACKED.min(sent.saturating_mul(RATIO).saturating_add(1 << 20));
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(bad)?;
    if archive.len() > ENTRIES {
        return Err(format!("the upload has {} entries; {ENTRIES} are allowed", archive.len()));
    }
    let mut builder = tar::Builder::new(io::BufWriter::new(File::create(tar).map_err(failed)?));
    let mut left = most;
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(bad)?;
        let name = entry.name().map_err(bad)?.into_owned();
        let shown = name.escape_debug().to_string();
        let path = name.replace('\\', "/");
        let drive = path.as_bytes().get(1) == Some(&b':');
        if path.starts_with('/') || drive || path.split('/').any(|part| part == "..") {
            return Err(format!(
                "entry \"{shown}\" of the upload leaves the archive; names must be relative"
            ));
        }
        if entry.is_symlink() {
            return Err(format!(
                "entry \"{shown}\" of the upload is a symbolic link; only files and folders are read"
            ));
        }
        if entry.is_dir() {
            continue;
        }
        // What the entry says of its size is checked against what comes out of it.
        let size = entry.size();
        left = left
            .checked_sub(size)
            .ok_or_else(|| format!("the upload unpacks to more than {} MiB", most >> 20))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        let mut exact = Exact { source: &mut entry, left: size };
        builder.append_data(&mut header, &path, &mut exact).map_err(failed)?;
        if exact.left > 0 {
            return Err(format!("entry \"{shown}\" of the upload is shorter than it says"));
        }
    }
    builder.into_inner().and_then(|mut file| io::Write::flush(&mut file)).map_err(failed)
}

/// Reads no more than `left` bytes, so that an entry that is longer than it says does no harm.
struct Exact<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.source.read(&mut buffer[..most])?;
        self.left -= read as u64;
        Ok(read)
    }
}
