//! A look at a data set without training on it: how many pictures of each class, and some of them.

use std::path::Path;

use super::archive::{self, Caps};
use super::examples::{Examples, Store};
use super::{DataError, Image, idx, read};
use crate::config::Data;
use crate::formats::atomic;

/// What a data set holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// Name of each class.
    pub classes: Vec<String>,
    /// What is there for training.
    pub train: SurveyedPart,
    /// What is there for testing; empty where training splits the other part.
    pub test: SurveyedPart,
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
    let classes = parts.classes;
    let part = |examples: Option<Examples>| match examples {
        Some(examples) => surveyed(&examples, classes.len(), samples),
        None => Ok(SurveyedPart { counts: vec![0; classes.len()], samples: Vec::new() }),
    };
    let (train, test) = (part(parts.train)?, part(parts.test)?);
    Ok(Survey { classes, train, test })
}

fn surveyed(
    examples: &Examples,
    classes: usize,
    samples: usize,
) -> Result<SurveyedPart, DataError> {
    let mut counts = vec![0; classes];
    for &label in &examples.labels {
        if let Some(count) = counts.get_mut(label as usize) {
            *count += 1;
        }
    }
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

/// Writes the IDX files of an archive into `folder`, by their own names; how many there are.
///
/// # Errors
/// What a hostile or damaged archive is refused for, and what the system refuses.
pub fn take_idx(archive: &Path, folder: &Path) -> Result<usize, DataError> {
    let wanted = |parts: &[&str]| parts.last().is_some_and(|name| idx::is_named_so(name));
    let files = archive::read(archive, Caps::default(), wanted)?;
    for (name, bytes) in &files {
        // The last part of its path, so that it stays in the folder.
        let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
        atomic::write_bytes(&folder.join(name), bytes).map_err(|error| {
            DataError::malformed(archive, format!("cannot be taken apart: {error}"))
        })?;
    }
    Ok(files.len())
}
