//! What the store alone knows of a run, written beside its configuration as well: its name, what people write on it, where it stands, its place in the queue. A
//! store that is lost, or put back from an older copy, takes it up again.

use std::fs;
use std::path::Path;

use engine::formats::{FormatError, atomic};
use serde::{Deserialize, Serialize};

use crate::names;
use crate::run::State;
use crate::store::{Labels, Run};

/// The file, in the run directory.
const NAME: &str = "server.json";
/// Bytes of the file that are read at most.
const MOST: u64 = 64 << 10;
/// The greatest number of a log's row that is believed: what JSON can hold, and far from the last that SQLite gives.
const GREATEST: i64 = 1 << 53;

/// The content of `server.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    /// For people.
    pub(super) name: String,
    /// The preset it was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) preset: Option<String>,
    /// Where it stood; stopped, while a command trains it.
    pub(super) state: State,
    /// Rank in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<i64>,
    /// Why it failed, or is paused where nobody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// What people write on it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub(super) labels: Labels,
    /// How much of its log was taken in then; what it has beyond that happened later.
    pub(super) bytes: u64,
    /// Number of the newest row of the store's log then. A store that has not come so far is older than this.
    pub(super) seq: i64,
}

impl Note {
    /// Of a run, when the store's log had come to `seq`.
    pub(super) fn of(run: &Run, seq: i64) -> Note {
        let Run { name, preset, state, place, error, labels, bytes, .. } = run.clone();
        // What a command trains the server does not go on with by itself.
        let state = if run.is_elsewhere() { State::Stopped } else { state };
        Note { name, preset, state, place, error, labels, bytes, seq }
    }

    /// What was written last; none where there is nothing, or nothing that a server has written.
    pub(super) fn read(folder: &Path) -> Option<Note> {
        let path = folder.join(NAME);
        let data = path.symlink_metadata().ok()?;
        if !data.is_file() || data.len() > MOST {
            return None;
        }
        let note: Note = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        (0..=GREATEST).contains(&note.seq).then_some(note)
    }

    /// # Errors
    /// What the system refuses.
    pub(super) fn write(&self, folder: &Path) -> Result<(), FormatError> {
        let text = format!("{}\n", serde_json::json!(self));
        atomic::write_bytes(&folder.join(NAME), text)
    }

    /// What people call the run and write on it, as far as that is what they may.
    pub(super) fn label(&self, run: &mut Run) {
        if names::trouble_of_title(&self.name).is_none() {
            run.name.clone_from(&self.name);
        }
        let Labels { tags, notes } = &self.labels;
        if names::trouble_of_tags(tags).is_none() && names::trouble_of_notes(notes).is_none() {
            run.labels.clone_from(&self.labels);
        }
    }

    /// Whether both say the same of the run, whenever they did. Its log may have grown.
    pub(super) fn agrees(&self, other: &Note) -> bool {
        let Note { bytes, seq, .. } = other.clone();
        Note { bytes, seq, ..self.clone() } == *other
    }
}
