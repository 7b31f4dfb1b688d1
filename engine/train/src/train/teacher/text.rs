//! Teachers on text: folders of transformers', and of ours, which are the same.

use std::path::{Path, PathBuf};

use super::{cost, locate, refused};
use crate::{
    data::text::Tokenizer,
    disk::SystemDisk,
    formats::{
        FormatError, TextModel, folder,
        transformers::{self, Found, Sequences},
    },
    nn::{self, Network, Weights},
    text::escape,
    train::TrainError,
};

/// A teacher on text from elsewhere, of any sizes.
#[derive(Debug, Clone)]
pub struct TextTeacher {
    /// Its sizes and its tokenizer, which has to be the student's.
    pub model: TextModel,
    /// Its network.
    pub network: Network,
    /// All of the network's weights.
    pub weights: Weights,
    /// The layers of the head that its folder lacks; their weights are drawn anew.
    pub fresh: Vec<String>,
    /// What of the folder was left out or had to be assumed, a sentence each.
    pub notes: Vec<String>,
    /// The file of its weights, or of the names of several: one file is one teacher, whatever the seed.
    pub file: PathBuf,
    /// Epochs that it cost, where they are known.
    pub epochs: Option<f64>,
    /// Seconds that it cost, where they are known.
    pub seconds: Option<f64>,
}

/// What a folder of transformers' has where its weights are a pickle.
const PICKLE: &str = "pytorch_model.bin";

/// The teacher of `seed` in `from`, on sequences as the student reads them: a folder with transformers' `config.json`, or a run whose teachers
/// are such folders. What it lacks is drawn by `seed`.
///
/// # Errors
/// There is none, it cannot be read, or it is none of the models that can be taken.
pub fn text_teacher(
    from: &str,
    seed: u64,
    sequences: Sequences,
) -> Result<TextTeacher, TrainError> {
    let folder = Path::new(from);
    let has = |name: &str| folder.join(name).is_file();
    if has(PICKLE) && !has(folder::WEIGHTS) && !has(transformers::INDEX) {
        let message = format!("`{PICKLE}` is a pickle of PyTorch's; safetensors are read");
        let hint = format!(
            "convert it once: python -c \"from transformers import AutoModelForMaskedLM as M; M.from_pretrained('{from}').save_pretrained('{from}')\""
        );
        return Err(TrainError::Teacher { from: from.into(), message, hint: Some(hint) });
    }
    let (file, warning) = locate(from, seed)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    if !folder.join(folder::CONFIG).is_file() {
        let message =
            format!("there is no {} beside its weights, which says its sizes", folder::CONFIG);
        return Err(refused(from, message));
    }
    let found = transformers::read_on(&SystemDisk, folder, Some(sequences));
    let Found { model, network, mut weights, missing, mut notes } = found.map_err(|error| {
        // Of the folder that `from` names.
        match error {
            FormatError::Content { path, message } => {
                let name = path.strip_prefix(folder).unwrap_or(&path).display();
                refused(from, format!("{name}: {message}"))
            }
            error => error.into(),
        }
    })?;
    notes.splice(0..0, warning);
    let mut fresh = Vec::new();
    for spec in network.shapes()?.params {
        if missing.contains(&spec.name) {
            let layer = spec.name.rsplit_once('.').map_or(&*spec.name, |(layer, _)| layer);
            if fresh.last().is_none_or(|last| last != layer) {
                fresh.push(layer.to_owned());
            }
            weights.insert(spec.name.clone(), nn::fresh_tensor(&spec, seed));
        }
    }
    let (epochs, seconds) = cost(&file).unzip();
    Ok(TextTeacher { model, network, weights, fresh, notes, file, epochs, seconds })
}

impl TextTeacher {
    /// Refuses a student whose texts become other ids than the teacher's.
    ///
    /// # Errors
    /// How the two differ.
    pub fn check_tokenizer(&self, from: &str, student: &Tokenizer) -> Result<(), TrainError> {
        let own = &self.model.tokenizer;
        if own == student {
            return Ok(());
        }
        let (theirs, ours) = (own.pieces(), student.pieces());
        let apart = theirs.iter().zip(ours).position(|(a, b)| a != b);
        let message = match apart {
            Some(id) => format!(
                "its tokenizer has \"{}\" as the piece {id}, the student's \"{}\"",
                escape(&theirs[id]),
                escape(&ours[id])
            ),
            None if theirs.len() != ours.len() => format!(
                "its tokenizer has {} pieces, the student's {}",
                theirs.len(),
                ours.len()
            ),
            None => "its tokenizer makes other words of a text than the student's: lower case, accents, Chinese characters or marks".into(),
        };
        let hint = Some("the student has to have the teacher's tokenizer".into());
        Err(TrainError::Teacher { from: from.into(), message, hint })
    }
}
