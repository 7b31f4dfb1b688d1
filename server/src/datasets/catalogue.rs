//! The data sets of a server: built in, registered at the start, or uploaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use engine::config::{DataKind, ImageKind};
use engine::data;
use engine::formats::atomic;
use serde::{Deserialize, Serialize};

use super::augmented::Changes;
use super::dataset::{BUILT_IN, ClassCount, Dataset, NAMES, Origin, PREFIX, is_name};
use super::freshness::Fingerprints;
use super::survey::{Part, Surveyed};
use crate::helper::{ask, ask_while};
use crate::scratch;

/// How long a data set may be looked at.
const PATIENCE: Duration = Duration::from_secs(600);
/// The data sets of a server.
#[derive(Debug)]
pub(crate) struct Datasets {
    registered: BTreeMap<String, PathBuf>,
    /// `uploads/NAME/` and `thumbnails/NAME/` below it.
    folder: PathBuf,
    program: PathBuf,
    seen: Mutex<BTreeMap<String, Seen>>,
    fingerprints: Fingerprints,
    /// Names of those that are looked at, or will be.
    looking: Mutex<BTreeSet<String>>,
}

/// That a data set is looked at; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Looking {
    datasets: Arc<Datasets>,
    name: String,
}

impl Drop for Looking {
    fn drop(&mut self) {
        lock(&self.datasets.looking).remove(&self.name);
    }
}

/// What was seen of a data set; also kept beside its thumbnails.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seen {
    /// Of its files, before the look; none where they could not be looked through.
    fingerprint: Option<u64>,
    /// Of the program that looked: [`FORM`].
    version: String,
    bytes: u64,
    surveyed: Result<Surveyed, String>,
}

impl Seen {
    fn new(
        fingerprint: Option<u64>,
        path: Option<&Path>,
        surveyed: Result<Surveyed, String>,
    ) -> Seen {
        let bytes = path.map_or(0, size);
        Seen { fingerprint, version: FORM.into(), bytes, surveyed }
    }

    /// Whether it is still so, by the fingerprint of now; where that is not known yet, it is until it is.
    fn holds(&self, now: Option<u64>) -> bool {
        (now.is_none() || self.fingerprint == now) && self.version == FORM
    }
}

/// What is said of a set that nobody has looked at to the end.
const UNSEEN: &str = "it is still being looked at; ask again in a while";

/// The program's version, and behind it a number that counts what surveys have told since: another one is looked at again.
const FORM: &str = concat!(env!("CARGO_PKG_VERSION"), "+2");

/// The file of a [`Seen`] beside the thumbnails.
const SEEN: &str = "survey.json";

/// A reason as the client gets it: without a path of the server, for which a word stands.
fn without(error: &str, path: Option<&Path>, word: &str) -> String {
    path.map_or_else(|| error.into(), |path| error.replace(&path.display().to_string(), word))
}

/// Removes what requests have marked and not finished, and names what is none of ours.
fn sweep(folder: &Path) -> io::Result<()> {
    for other in scratch::sweep(folder)? {
        if !["uploads", "thumbnails"].iter().any(|ours| other.ends_with(ours)) {
            tracing::warn!(path = %other.display(), "left alone, as no server keeps such a thing");
        }
    }
    Ok(())
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
                bail!("`--data {text}`: {NAMES}; and it is not {BUILT_IN}");
            }
            let path = std::fs::canonicalize(path)
                .with_context(|| format!("`--data {text}`: there is no such file or folder"))?;
            if path.to_str().is_none() {
                bail!("`--data {text}`: the name of where it lies is no UTF-8");
            }
            if registered.insert(name.to_owned(), path).is_some() {
                bail!("`--data {text}`: there are two of this name");
            }
        }
        let uploads = folder.join("uploads");
        std::fs::create_dir_all(&uploads)
            .with_context(|| format!("cannot make `{}`", uploads.display()))?;
        sweep(&folder).with_context(|| format!("cannot tidy up `{}`", folder.display()))?;
        let (seen, looking) = (Mutex::default(), Mutex::default());
        let fingerprints = Fingerprints::default();
        Ok(Datasets { registered, folder, program, seen, fingerprints, looking })
    }

    /// Names and places of what was registered.
    pub(crate) fn registered(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.registered.iter().map(|(name, path)| (name.as_str(), path.as_path()))
    }

    fn upload(&self, name: &str) -> PathBuf {
        self.folder.join("uploads").join(name)
    }

    /// Where uploads are received: on the same file system as they are kept.
    pub(crate) fn reception(&self) -> &Path {
        &self.folder
    }

    /// The name of what lies at a path; where nothing is known of it, the path's last part.
    pub(crate) fn name_of(&self, path: &str) -> String {
        let path = Path::new(path);
        let known = self.registered.iter().find(|(_, known)| *known == path);
        let last = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        known.map_or_else(last, |(name, _)| name.clone())
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
            return Some((Origin::Builtin, DataKind::Images(ImageKind::Procedural), None));
        }
        if let Some(path) = self.registered.get(name) {
            return Some((Origin::Registered, data::kind_of(path), Some(path.clone())));
        }
        let folder = is_name(name).then(|| self.upload(name)).filter(|folder| folder.is_dir())?;
        Some((Origin::Uploaded, data::kind_of(&folder), Some(folder)))
    }

    /// What is known of a data set; a process looks at it where its files are new.
    pub(crate) fn describe(&self, name: &str) -> Option<Dataset> {
        self.described(name, self.seen(name)?)
    }

    /// What is known of a data set without a look at its files; none where nothing is.
    pub(crate) fn known(&self, name: &str) -> Option<Dataset> {
        let (_, _, path) = self.find(name)?;
        self.described(name, self.remembered(name, path.as_deref())?)
    }

    /// Begins to look at a data set; none where somebody does already.
    pub(crate) fn begin(self: &Arc<Self>, name: &str) -> Option<Looking> {
        let begun = lock(&self.looking).insert(name.into());
        begun.then(|| Looking { datasets: Arc::clone(self), name: name.into() })
    }

    /// A data set that nobody has looked at to the end.
    pub(crate) fn unseen(&self, name: &str) -> Option<Dataset> {
        let (fingerprint, version, bytes) = (None, String::new(), 0);
        self.described(name, Seen { fingerprint, version, bytes, surveyed: Err(UNSEEN.into()) })
    }

    fn described(&self, name: &str, seen: Seen) -> Option<Dataset> {
        let (source, kind, _) = self.find(name)?;
        let Seen { bytes, surveyed, .. } = seen;
        let mut dataset = Dataset {
            name: name.into(),
            kind,
            bytes,
            train_count: 0,
            test_count: 0,
            classes: None,
            source,
            account: None,
            read: Vec::new(),
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
                if let Some(text) = &surveyed.account.text {
                    (dataset.train_count, dataset.test_count) =
                        (text.train.sentences, text.test.sentences);
                }
                dataset.read = surveyed.account.lines();
                dataset.account = Some(surveyed.account);
                let count = |(label, count)| ClassCount { label, count };
                let classes = surveyed.classes.into_iter().zip(counts).map(count).collect();
                let is_text = dataset.account.as_ref().is_some_and(|of| of.text.is_some());
                dataset.classes = (!is_text).then_some(classes);
            }
            Err(error) => dataset.error = Some(error),
        }
        Some(dataset)
    }

    /// What a survey saw; none for an unknown name.
    pub(crate) fn survey(&self, name: &str) -> Option<Result<Surveyed, String>> {
        let (_, _, path) = self.find(name)?;
        let seen = self.remembered(name, path.as_deref());
        Some(seen.map_or_else(|| Err(UNSEEN.into()), |seen| seen.surveyed))
    }

    fn seen(&self, name: &str) -> Option<Seen> {
        let (_, _, path) = self.find(name)?;
        let path = path.as_deref();
        if let Some(seen) = self.remembered(name, path) {
            return Some(seen);
        }
        let thumbnails = self.thumbnails(name);
        // Before the look: what changes meanwhile is seen by the next one.
        let fingerprint = self.fingerprints.awaited(path);
        let seen = Seen::new(fingerprint, path, self.look(name, None, path, &thumbnails));
        // An error may be mended without a trace in the files: it is looked at again after a restart.
        if seen.surveyed.is_ok() {
            keep(&seen, &thumbnails);
        }
        lock(&self.seen).insert(name.into(), seen.clone());
        Some(seen)
    }

    /// What was seen of a set, if it is still so.
    fn remembered(&self, name: &str, path: Option<&Path>) -> Option<Seen> {
        let now = self.fingerprints.now(path);
        let known = lock(&self.seen).get(name).filter(|seen| seen.holds(now)).cloned();
        if known.is_some() {
            return known;
        }
        let kept = std::fs::read(self.thumbnails(name).join(SEEN)).ok()?;
        let kept = serde_json::from_slice::<Seen>(&kept).ok().filter(|seen| seen.holds(now))?;
        lock(&self.seen).insert(name.into(), kept.clone());
        Some(kept)
    }

    fn thumbnails(&self, name: &str) -> PathBuf {
        self.folder.join("thumbnails").join(name)
    }

    /// A process counts what lies at `path`, after it has taken `archive` apart into it.
    fn look(
        &self,
        name: &str,
        archive: Option<&Path>,
        path: Option<&Path>,
        thumbnails: &Path,
    ) -> Result<Surveyed, String> {
        std::fs::create_dir_all(thumbnails)
            .map_err(|error| format!("no thumbnails can be kept: {error}"))?;
        let mut command = Command::new(&self.program);
        command.arg("survey").arg("--thumbnails").arg(thumbnails);
        for (flag, path) in [("--archive", archive), ("--path", path)] {
            if let Some(path) = path {
                command.arg(flag).arg(path);
            }
        }
        ask(&mut command, PATIENCE).map_err(|error| {
            without(&without(&error, archive, "the upload"), path, &format!("{PREFIX}{name}"))
        })
    }

    /// A drawing of training pictures as training changes them, as PNG: a process makes it. None where there is no such data set.
    pub(crate) fn augmented(
        &self,
        name: &str,
        changes: &Changes,
        awaited: &dyn Fn() -> bool,
    ) -> Option<Result<Vec<u8>, String>> {
        let (_, _, path) = self.find(name)?;
        let path = path.as_deref();
        let draw = || -> Result<Vec<u8>, String> {
            let failed = |error: io::Error| format!("the drawing cannot be kept: {error}");
            // Removed when it is dropped, with what is in it.
            let place = scratch::folder(&self.folder).map_err(failed)?;
            let out = place.path().join("batch.png");
            let mut command = Command::new(&self.program);
            command.arg("augmented").args(changes.arguments()).arg("--out").arg(&out);
            if let Some(path) = path {
                command.arg("--path").arg(path);
            }
            let asked = ask_while::<Vec<String>>(&mut command, PATIENCE, awaited);
            asked.map_err(|error| without(&error, path, &format!("{PREFIX}{name}")))?;
            std::fs::read(&out).map_err(failed)
        };
        Some(draw())
    }

    /// The file of a thumbnail, of those that a survey made.
    pub(crate) fn thumbnail(&self, name: &str, part: Part, index: usize) -> Option<PathBuf> {
        let surveyed = self.survey(name)?.ok()?;
        let samples = &surveyed.part(part).samples;
        samples.iter().find(|(of, _)| *of == index)?;
        Some(self.thumbnails(name).join(part.file(index)))
    }

    /// Makes an upload a data set, once a process has taken it apart and read it. It is there whole or not at all.
    ///
    /// # Errors
    /// A sentence on what is wrong with the archive; then nothing is kept.
    pub(crate) fn admit(&self, name: &str, archive: &Path) -> Result<Dataset, String> {
        let failed = |error: io::Error| format!("the upload cannot be kept: {error}");
        // Removed when it is dropped, with what is still in it.
        let ready = scratch::folder(&self.folder).map_err(failed)?;
        let (set, thumbnails) = (ready.path().join("set"), ready.path().join("thumbnails"));
        std::fs::create_dir(&set).map_err(failed)?;
        let surveyed = self.look(name, Some(archive), Some(&set), &thumbnails)?;
        let place = self.upload(name);
        // Renaming onto a folder that holds something fails: of two uploads of a name the first stays.
        std::fs::rename(&set, &place)
            .map_err(|_| format!("there is a data set `{name}` already"))?;
        if cfg!(unix) {
            File::open(self.folder.join("uploads"))
                .and_then(|uploads| uploads.sync_all())
                .map_err(failed)?;
        }
        self.fingerprints.forget(&place);
        let seen = Seen::new(self.fingerprints.awaited(Some(&place)), Some(&place), Ok(surveyed));
        keep(&seen, &thumbnails);
        // Thumbnails are made anew where this fails, as it does if a folder of this name holds anything.
        let theirs = self.thumbnails(name);
        drop(std::fs::create_dir_all(self.folder.join("thumbnails")));
        if std::fs::rename(&thumbnails, &theirs).is_ok() {
            lock(&self.seen).insert(name.into(), seen);
        }
        self.describe(name).ok_or_else(|| "the upload is gone".into())
    }

    /// Removes an uploaded data set.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        // Out of sight at once; the next start removes what cannot be removed now.
        let gone = scratch::bin(&self.folder)?;
        std::fs::rename(self.upload(name), gone.path().join("set"))?;
        lock(&self.seen).remove(name);
        self.fingerprints.forget(&self.upload(name));
        drop(std::fs::rename(self.thumbnails(name), gone.path().join("thumbnails")));
        gone.close()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes what was seen beside the thumbnails, so that it need not be looked at again.
fn keep(seen: &Seen, thumbnails: &Path) {
    let kept = serde_json::to_vec(seen).map_err(|error| error.to_string()).and_then(|bytes| {
        atomic::write_bytes(&thumbnails.join(SEEN), bytes).map_err(|error| error.to_string())
    });
    if let Err(error) = kept {
        tracing::warn!(error, "what was seen of a data set cannot be kept");
    }
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
