//! Teachers that clients have sent: model folders, or weights alone. Each has a folder of its name, with what is known of it beside the model.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use engine::data;
use engine::formats::{atomic, folder, safetensors};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::datasets::{is_name, room};
use crate::helper::ask;
use crate::scratch;

/// What a name of one begins with in a configuration.
pub(crate) const TEACHER: &str = "teacher:";
/// How long one may be taken apart and read.
const PATIENCE: Duration = Duration::from_secs(600);
/// The model, and what is known of it.
const MODEL: &str = "model";
const ABOUT: &str = "about.json";

/// What is known of a teacher's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Received {
    /// Bytes of its weights.
    pub(crate) bytes: u64,
    /// Numbers in its tensors.
    pub(crate) params: u64,
    /// Whether a `config.json` says what it is: its classes, and how its pictures are framed.
    pub(crate) described: bool,
}

/// A teacher that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct SentTeacher {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) is: Received,
}

/// Those of a server.
#[derive(Debug)]
pub(crate) struct Teachers {
    folder: PathBuf,
    program: PathBuf,
}

impl Teachers {
    /// Those in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn open(folder: PathBuf, program: PathBuf) -> Result<Teachers> {
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make `{}`", folder.display()))?;
        scratch::sweep(&folder)
            .with_context(|| format!("cannot tidy up `{}`", folder.display()))?;
        Ok(Teachers { folder, program })
    }

    /// Where they are received: on the same file system as they are kept.
    pub(crate) fn reception(&self) -> &Path {
        &self.folder
    }

    /// The folder of a teacher's model; none for an unknown name.
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        let model = is_name(name).then(|| self.folder.join(name).join(MODEL))?;
        model.is_dir().then_some(model)
    }

    /// All of them, by name.
    pub(crate) fn list(&self) -> Vec<SentTeacher> {
        let entries = scratch::entries(&self.folder).unwrap_or_default();
        let known = |path: PathBuf| {
            let name = path.file_name()?.to_str().filter(|name| is_name(name))?.to_owned();
            let about = fs::read(path.join(ABOUT)).ok()?;
            Some(SentTeacher { name, is: serde_json::from_slice(&about).ok()? })
        };
        entries.into_iter().filter_map(known).collect()
    }

    /// Makes what was sent a teacher, once a process has taken it apart and read it. It is there whole or not at all.
    ///
    /// # Errors
    /// A sentence on what is wrong with it; then nothing is kept.
    pub(crate) fn admit(&self, name: &str, sent: &Path) -> Result<SentTeacher, String> {
        let failed = |error: io::Error| format!("the upload cannot be kept: {error}");
        // Removed when it is dropped, with what is still in it.
        let ready = scratch::folder(&self.folder).map_err(failed)?;
        let made = ready.path().join("teacher");
        let model = made.join(MODEL);
        fs::create_dir_all(&model).map_err(failed)?;
        let mut command = Command::new(&self.program);
        command.arg("receive").arg("--sent").arg(sent).arg("--to").arg(&model);
        // The client gets the reason, without paths of the server.
        let is: Received = ask(&mut command, PATIENCE).map_err(|error| {
            let error = error.replace(&model.display().to_string(), "the upload");
            error.replace(&sent.display().to_string(), "the upload")
        })?;
        let about = serde_json::to_vec(&is).map_err(|error| error.to_string())?;
        atomic::write_bytes(&made.join(ABOUT), about).map_err(|error| error.to_string())?;
        // Renaming onto a folder that holds something fails: of two uploads of a name the first stays.
        fs::rename(&made, self.folder.join(name))
            .map_err(|_| format!("there is a teacher `{name}` already"))?;
        if cfg!(unix) {
            fs::File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(SentTeacher { name: name.into(), is })
    }

    /// Removes one.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        // Out of sight at once; the next start removes what cannot be removed now.
        let gone = scratch::bin(&self.folder)?;
        fs::rename(self.folder.join(name), gone.path().join("teacher"))?;
        gone.close()
    }
}

/// Takes what was sent apart into the empty folder `to`, and reads its weights: the work of `taper receive`.
///
/// # Errors
/// What is wrong with it, and what the system refuses.
pub(crate) fn receive(sent: &Path, to: &Path) -> Result<Received> {
    data::unpack_model(sent, to, room(sent, to)?)?;
    let weights = to.join(folder::WEIGHTS);
    let bytes = weights.metadata().context("the weights cannot be read")?.len();
    let (tensors, _) = safetensors::read(&weights)?;
    let params = tensors.values().map(|tensor| tensor.data.len() as u64).sum();
    Ok(Received { bytes, params, described: to.join(folder::CONFIG).is_file() })
}
