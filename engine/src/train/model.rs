//! Trained models: what eval, predict and an imported teacher begin with.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Session, Test, TrainError, session::some};
use crate::{
    config::{Activation, Model},
    data::{Batch, Image, Preprocess, Split},
    formats::{FormatError, ModelFolder, folder, safetensors},
    gpu::Gpu,
    models,
    nn::{Network, NetworkError, Weights},
    win::program,
};

/// A model folder's network, its weights checked against it.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The architecture.
    pub network: Network,
    /// Its weights.
    pub weights: Weights,
    /// The folder.
    pub folder: ModelFolder,
}

impl Trained {
    /// The network of a model folder.
    ///
    /// # Errors
    /// If the weights are not those of the architecture in its `config.json`.
    pub fn of(folder: ModelFolder) -> Result<Self, TrainError> {
        let network = folder.config.network();
        models::check(&network, &folder.weights)?;
        Ok(Self { network, weights: folder.weights.clone(), folder })
    }

    fn session(&self, gpu: &Arc<Gpu>, batch: u32) -> Result<Session, TrainError> {
        let program = program::evaluation(&self.network, batch, &gpu.target())?;
        let session = Session::new(gpu, program)?;
        session.load_student(&self.weights)?;
        Ok(session)
    }

    /// Loss and accuracy on a split.
    ///
    /// # Errors
    /// If a picture cannot be read or the device fails.
    pub fn test(&self, gpu: &Arc<Gpu>, split: &Arc<Split>) -> Result<Test, TrainError> {
        self.session(gpu, EVAL_BATCH.min(split.len().max(1) as u32))?.test(split)
    }

    /// Logits of the first `count` samples of a split.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn logits(
        &self,
        gpu: &Arc<Gpu>,
        split: &Arc<Split>,
        count: usize,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let picks: Vec<usize> = (0..split.len().min(count)).collect();
        let mut session = self.session(gpu, EVAL_BATCH)?;
        let rows = session.rows();
        session.logits(some(split, &picks, rows))
    }

    /// Probabilities of each class for each image, in the order of `labels`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn predict(&self, gpu: &Arc<Gpu>, images: &[Image]) -> Result<Vec<Vec<f64>>, TrainError> {
        let preprocess = Preprocess::try_from(&self.folder.config)?;
        let channels = preprocess.channels();
        let mut session = self.session(gpu, images.len().clamp(1, EVAL_BATCH as usize) as u32)?;
        let batch = session.rows();
        let batches = images.chunks(batch).map(|part| {
            let mut numbers = Vec::new();
            for image in part {
                numbers.extend(preprocess.apply(&image.clone().with_channels(channels)));
            }
            let one = numbers.len() / part.len();
            numbers.resize(one * batch, 0.0);
            Ok(Batch { images: numbers, labels: vec![0; batch], rows: part.len() })
        });
        let logits = session.logits(batches)?;
        Ok(logits.iter().map(|row| softmax(row)).collect())
    }
}

/// Inputs that are tested at once, where the device holds them.
const EVAL_BATCH: u32 = 100;

fn softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|&x| f64::from(x - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|p| p / sum).collect()
}

/// A teacher from elsewhere: a model folder, a safetensors file with torchvision's or timm's names, or an earlier run, whose
/// teacher of `seed` it is (else its first).
///
/// # Errors
/// If there is none, or it does not fit the student: other classes, other resolutions, other blocks; nothing has run then.
pub fn teacher(
    from: &Path,
    student: &Network,
    model: &Model,
    seed: u64,
) -> Result<(Network, Weights), TrainError> {
    let path = locate(from, seed)?;
    let described =
        path.parent().map(|dir| dir.join(folder::CONFIG)).filter(|config| config.is_file());
    let described = described.and_then(|_| path.parent()).map(ModelFolder::read);
    let activation = match model {
        Model::Mlp(mlp) => mlp.activation,
        _ => Activation::Relu,
    };
    let (network, weights) = match described {
        Some(Ok(folder)) => {
            // Widths do not depend on the image's extent; the student's data decides that.
            let network = Network { input: student.input, ..folder.config.network() };
            (network, folder.weights)
        }
        // A damaged one is no reason to guess.
        Some(Err(error @ FormatError::Sum { .. })) => return Err(error.into()),
        // Without our own config.json (timm and transformers have others) the architecture is read off the tensors.
        _ => {
            let (weights, _) = safetensors::read(&path)?;
            let network = models::infer(&weights, student.input, activation);
            (network.map_err(|error| in_file(&path, error))?, weights)
        }
    };
    models::check(&network, &weights).map_err(|error| in_file(&path, error))?;
    let network = models::regroup(network, student);
    let (ours, theirs) = (student.shapes()?.output.width(), network.shapes()?.output.width());
    if ours != theirs {
        let message =
            format!("`{}` tells {theirs} classes apart, the data has {ours}", from.display());
        return Err(NetworkError::Mismatch(message).into());
    }
    let weights =
        weights.into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked")).collect();
    Ok((network, weights))
}

/// What is wrong with the weights of a file, with its name.
fn in_file(path: &Path, error: NetworkError) -> NetworkError {
    NetworkError::Weights(format!("`{}`: {error}", path.display()))
}

fn locate(from: &Path, seed: u64) -> Result<PathBuf, TrainError> {
    let teachers = from.join("teachers");
    let first = std::fs::read_dir(&teachers).ok().and_then(|entries| {
        let mut folders: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        folders.sort();
        folders.into_iter().find(|folder| folder.join(folder::WEIGHTS).is_file())
    });
    let candidates = [
        Some(from.to_path_buf()),
        Some(teachers.join(seed.to_string()).join(folder::WEIGHTS)),
        first.map(|folder| folder.join(folder::WEIGHTS)),
        Some(from.join(folder::WEIGHTS)),
        Some(from.join("artifacts").join(folder::WEIGHTS)),
    ];
    candidates.into_iter().flatten().find(|path| path.is_file()).ok_or_else(|| {
        TrainError::Folder(format!(
            "teacher.from = \"{}\" holds no teacher; give a safetensors file, a folder with {}, or a finished run",
            from.display(),
            folder::WEIGHTS
        ))
    })
}
