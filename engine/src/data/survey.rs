//! A look at a data set without training on it: how many pictures of each class, and some of them.

use super::examples::{Examples, Store};
use super::{Account, DataError, Image, read, split};
use crate::config::Data;

/// What a data set holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// Name of each class.
    pub classes: Vec<String>,
    /// What is there for training.
    pub train: SurveyedPart,
    /// What is there for testing; empty where training splits the other part.
    pub test: SurveyedPart,
    /// What was found, what was left out and why.
    pub account: Account,
}

/// What a part of a data set holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SurveyedPart {
    /// Pictures of each class.
    pub counts: Vec<u64>,
    /// Some of them, evenly over the part.
    pub samples: Vec<Sample>,
}

/// A picture with its class.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its place in the part.
    pub index: usize,
    /// Its class.
    pub label: u32,
    /// As it lies in the files.
    pub image: Image,
}

/// Counts what `config` names, and decodes at most `samples` pictures of each part.
///
/// # Errors
/// What [`super::open`] says of the files.
pub fn survey(config: &Data, samples: usize) -> Result<Survey, DataError> {
    let parts = read(config)?;
    let (classes, account) = (parts.classes, parts.account);
    let part = |examples: Option<Examples>| match examples {
        Some(examples) => surveyed(&examples, classes.len(), samples),
        None => Ok(SurveyedPart { counts: vec![0; classes.len()], samples: Vec::new() }),
    };
    let (train, test) = (part(parts.train)?, part(parts.test)?);
    Ok(Survey { classes, train, test, account })
}

fn surveyed(
    examples: &Examples,
    classes: usize,
    samples: usize,
) -> Result<SurveyedPart, DataError> {
    let counts = split::counts(&examples.labels, classes);
    let (there, samples) = (examples.len(), samples.min(examples.len()));
    let sample = |k: usize| {
        let index = k * there / samples;
        let image = match &examples.store {
            Store::Decoded(images) => images[index].clone(),
            Store::Encoded(sources) => sources[index].decode()?,
        };
        Ok(Sample { index, label: examples.labels[index], image })
    };
    let samples = (0..samples).map(sample).collect::<Result<_, DataError>>()?;
    Ok(SurveyedPart { counts, samples })
}
