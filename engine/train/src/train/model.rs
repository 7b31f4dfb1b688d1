//! Trained models: what eval and predict begin with.

mod text;

use std::sync::Arc;

use super::{
    Session, TrainError,
    measure::{self, Tested},
};
use crate::{
    data::{
        Batch, Dataset, Field, Split,
        images::{Image, Preprocess},
        text::answers::Answered,
    },
    device::Device,
    formats::ModelFolder,
    models,
    nn::{IMAGES, Network, Weights},
    step::Test,
    verdicts::Verdicts,
};

pub use text::Unanswered;

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

    fn session(&self, gpu: &Arc<dyn Device>, batch: u32) -> Result<Session, TrainError> {
        Session::evaluating(gpu, &self.network, self.folder.config.task(), &self.weights, batch)
    }

    /// Loss and accuracy on a split of pictures, over all the outputs of the network, and what is said of each of them: class k of the split is the
    /// output `outputs[k]`.
    ///
    /// # Errors
    /// If the model reads no pictures, a picture cannot be read or the device fails.
    pub fn test(
        &self,
        gpu: &Arc<dyn Device>,
        split: &Arc<Split>,
        outputs: &[u32],
    ) -> Result<(Test, Verdicts), TrainError> {
        let labels = &self.folder.config.images()?.labels;
        let mut session = self.session(gpu, EVAL_BATCH.min(split.len().max(1) as u32))?;
        session.test_as(split, outputs, labels)
    }

    /// Loss and accuracy on the test part of texts, and where it has questions, the answers to them.
    ///
    /// # Errors
    /// If the text cannot be read or the device fails.
    pub fn test_on_text(
        &self,
        gpu: &Arc<dyn Device>,
        data: &Dataset,
    ) -> Result<(Test, Vec<Answered>), TrainError> {
        let mut session = self.session(gpu, EVAL_BATCH.min(data.test.len().max(1) as u32))?;
        let Tested { test, answers, .. } = measure::tested(&mut session, data)?;
        Ok((test, answers))
    }

    /// Logits of the first `count` samples of a split.
    ///
    /// # Errors
    /// As [`Self::test`].
    pub fn logits(
        &self,
        gpu: &Arc<dyn Device>,
        split: &Arc<Split>,
        count: usize,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let picks: Vec<usize> = (0..split.len().min(count)).collect();
        let mut session = self.session(gpu, EVAL_BATCH)?;
        let rows = session.rows();
        session.logits(split.some(&picks, rows))
    }

    /// The network ready to take one input at a time, as often as asked.
    ///
    /// # Errors
    /// If the device fails.
    pub fn one(&self, gpu: &Arc<dyn Device>) -> Result<One, TrainError> {
        let session = self.session(gpu, 1)?;
        Ok(One { input: session.blank(), session })
    }

    /// Probabilities of each class for each image, in the order of `labels`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn predict(
        &self,
        gpu: &Arc<dyn Device>,
        images: &[Image],
    ) -> Result<Vec<Vec<f64>>, TrainError> {
        let preprocess = Preprocess::try_from(&self.folder.config.images()?.input)?;
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
            let inputs = vec![Field::f32(IMAGES, numbers)];
            Ok(Batch { inputs, targets: Vec::new(), size: batch, rows: part.len() })
        });
        let logits = session.logits(batches)?;
        let task = self.folder.config.task();
        Ok(logits.iter().map(|row| task.answer(row)).collect())
    }
}

/// A network that takes one input at a time.
#[derive(Debug)]
pub struct One {
    session: Session,
    /// Nothing but zeros: what an input holds takes no other time.
    input: Batch,
}

impl One {
    /// Writes the input, runs the network and reads its outputs.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run(&mut self) -> Result<(), TrainError> {
        self.session.logits(std::iter::once(Ok(self.input.clone()))).map(drop)
    }
}

/// Inputs that are tested at once, where the device holds them.
const EVAL_BATCH: u32 = 100;
