//! Teachers on text: folders of transformers', and of ours, which are the same.

use std::path::{Path, PathBuf};

use super::{Imported, cost, locate, refused};
use crate::{
    config::{Bert, Config, Model},
    data::{Subject, text::Tokenizer},
    disk::SystemDisk,
    formats::{
        FormatError, TextModel, folder,
        transformers::{self, Found, Sequences},
    },
    models::{self, BertHead, Output},
    nn::{self, Extent, Network, Weights},
    text::escape,
    train::{Teacher, TrainError},
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

/// Sequences as networks read them that are made for this.
fn sequences(subject: &Subject) -> Sequences {
    let length = match subject.input {
        Extent::Tokens(length) => length,
        other => other.width(),
    };
    let (places, head) = match subject.output {
        Output::Words { places, next: false, .. } => (places, BertHead::MaskedWords),
        Output::Words { places, next: true, .. } => (places, BertHead::Pretrain),
        Output::Spans { .. } => (0, BertHead::Spans),
        Output::Classes(_) => (1, BertHead::MaskedWords),
    };
    Sequences { length, places, head: Some(head), unanswerable: false }
}

/// The teacher of `seed` for students on such text, checked before anything runs.
pub(super) fn import(
    from: &str,
    seed: u64,
    student: &Network,
    subject: &Subject,
) -> Result<Imported, TrainError> {
    let of = text_teacher(from, seed, sequences(subject))?;
    if let Some(tokenizer) = &subject.tokenizer {
        of.check_tokenizer(from, tokenizer)?;
    }
    let TextTeacher { network, weights, fresh, notes, file, epochs, seconds, .. } = of;
    let network = models::regroup(network, student);
    let mut warnings = notes;
    warnings.extend(untrained(from, &fresh));
    let teacher = Teacher { network, weights, epochs, seconds };
    Ok(Imported { teacher, file, warnings, form: None })
}

/// That parts of a model are fresh.
fn untrained(from: &str, fresh: &[String]) -> Option<String> {
    let parts = fresh.join(", ");
    (!fresh.is_empty()).then(|| format!("`{from}` has no {parts}, which begin with fresh weights"))
}

/// Where the configuration names no vocabulary, that of the teacher or of the weights to begin with is taken over; what was, in a line.
pub(super) fn take_tokenizer(config: &mut Config) -> Result<Option<String>, TrainError> {
    if config.data.is_built_in() {
        // They have a vocabulary of their own, and a configuration that names another is refused.
        return Ok(None);
    }
    let from = match (&config.teacher.from, &config.model) {
        (Some(from), _) => from.clone(),
        (None, Model::Bert(Bert { from: Some(from), .. })) => from.clone(),
        (None, _) => return Ok(None),
    };
    let seed = config.seeds.first().copied().unwrap_or_default();
    let (file, _) = locate(&from, seed)?;
    let examples = config.text.get_or_insert_default();
    if examples.vocab.is_some() {
        return Ok(None);
    }
    let folder = file.parent().unwrap_or(Path::new("")).display().to_string();
    let line = format!("taken over from `{from}`: its tokenizer");
    examples.vocab = Some(folder);
    Ok(Some(line))
}

/// The weights of `model.from` for a student, and what one should know of them. Its sizes must be the student's.
///
/// # Errors
/// It is none that can be read, or it has other sizes or another tokenizer; the sentence says what to set.
pub(crate) fn begin(
    from: &str,
    student: &Network,
    subject: &Subject,
) -> Result<(Weights, Vec<String>), TrainError> {
    taken(from, student, subject).map_err(|error| match error {
        TrainError::Teacher { from, message, hint } => TrainError::Begin { from, message, hint },
        error => error,
    })
}

fn taken(
    from: &str,
    student: &Network,
    subject: &Subject,
) -> Result<(Weights, Vec<String>), TrainError> {
    let of = text_teacher(from, 0, sequences(subject))?;
    if let Some(tokenizer) = &subject.tokenizer {
        of.check_tokenizer(from, tokenizer)?;
    }
    let bottleneck = of.model.sizes.bottleneck;
    if bottleneck.is_some() != student.has_bottlenecks() {
        let message = match bottleneck {
            Some(width) => format!("its layers are bottlenecks; set model.bottleneck={width}"),
            None => "its layers are no bottlenecks; leave model.bottleneck out".into(),
        };
        return Err(refused(from, message));
    }
    let (mut weights, mut notes) = (Weights::new(), of.notes);
    let mut fresh = Vec::new();
    for spec in student.shapes()?.params {
        match of
            .weights
            .get(&spec.name)
            .filter(|_| !of.fresh.iter().any(|layer| spec.name.starts_with(layer)))
        {
            Some(tensor) if tensor.shape == spec.shape => {
                weights.insert(spec.name, tensor.clone());
            }
            Some(_) => {
                let sizes = &of.model.sizes;
                let outside =
                    bottleneck.map_or(String::new(), |width| format!("model.bottleneck={width}, "));
                let message = format!(
                    "its {} has another shape than the student's; set {outside}model.hidden={}, model.layers={}, model.heads={}, model.inner={} and model.positions={}",
                    spec.name,
                    sizes.hidden,
                    sizes.layers,
                    sizes.heads,
                    sizes.inner,
                    sizes.positions
                );
                return Err(refused(from, message));
            }
            // The head of another task.
            None if spec.block == student.blocks.len() => fresh.push(spec.name),
            None => {
                let message =
                    format!("it has no {}; set model.layers={}", spec.name, of.model.sizes.layers);
                return Err(refused(from, message));
            }
        }
    }
    let layers = student.blocks.len();
    if of.network.blocks.len() != layers {
        let message = format!(
            "it has {} layers, the student {layers}; set model.layers={0}",
            of.network.blocks.len()
        );
        return Err(refused(from, message));
    }
    notes.extend(untrained(from, &fresh));
    Ok((weights, notes))
}
