//! Where a member is, on disk: one safetensors file with the weights, the moments, and the place in the stages as JSON.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    formats::{FormatError, safetensors},
    nn::{Tensor, Weights},
    plan::Choices,
    train::session::LossScale,
};

/// Checkpoints of a member that are kept.
const KEPT: usize = 2;
/// Version of the state.
const VERSION: u32 = 1;
/// Key of the state in the file's metadata.
const STATE: &str = "taper";

/// The place of a member in its stages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Version of this form.
    pub(super) version: u32,
    /// Index of the stage.
    pub(super) stage: usize,
    /// Index of the try.
    pub(super) attempt: u32,
    /// Steps of the try, which are also the batches that it has consumed.
    pub(super) step: u64,
    /// Steps of the member, over all stages and tries.
    pub(super) member_step: u64,
    /// Passes over the training data of the tries that are done.
    pub(super) epochs: f64,
    /// Seconds of training so far.
    pub(super) seconds: f64,
    /// Factor of the squared error of an imitation, as bits.
    pub(super) scale: Option<u32>,
    /// Score of the best try so far; lower is better. As bits: a decimal may be read as the number beside it, and of two equal scores another
    /// try would win after a resume.
    #[serde(default, with = "bits")]
    pub(super) best: Option<f64>,
    /// Number of the stage's plan: equal plans, equal bits.
    pub(super) plan: u64,
    /// Micro-batches of the stages that have begun, by the stage's index.
    #[serde(default)]
    pub(super) micro_batches: BTreeMap<usize, u32>,
    /// Tiles of the stage's products that are not the table's: frozen when the stage began.
    #[serde(default)]
    pub(super) kernel_choices: Choices,
    /// What loss scaling knows, in a try whose steps run in mixed precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) loss_scale: Option<LossScale>,
    /// Learning curve: the loss of the last step that was read.
    pub(super) loss: Option<f64>,
}

/// A number as its bits.
mod bits {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use serde_json::Number;

    pub(super) fn serialize<S: Serializer>(
        number: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        number.map(f64::to_bits).serialize(serializer)
    }

    /// Older checkpoints have decimals.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        let number = Option::<Number>::deserialize(deserializer)?;
        Ok(number.and_then(|n| n.as_u64().map(f64::from_bits).or(n.as_f64())))
    }
}

/// A member's place with what it has learnt.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Checkpoint {
    pub(super) place: Place,
    /// The weights now.
    pub(super) now: Weights,
    /// The weights to which a restart returns, while a stage has several tries.
    pub(super) base: Option<Weights>,
    /// The weights of the best try.
    pub(super) best: Option<Weights>,
    /// m and v.
    pub(super) moments: Option<[Vec<f32>; 2]>,
}

impl Checkpoint {
    /// Writes it into a member's folder `checkpoints`, whole or not at all, and removes all but the newest two.
    pub(super) fn write(&self, folder: &Path) -> Result<PathBuf, FormatError> {
        fs::create_dir_all(folder).map_err(|source| FormatError::write(folder, source))?;
        let mut tensors = Weights::new();
        let mut add = |prefix: &str, weights: &Weights| {
            for (name, tensor) in weights {
                tensors.insert(format!("{prefix}.{name}"), tensor.clone());
            }
        };
        add("now", &self.now);
        for (prefix, weights) in [("base", &self.base), ("best", &self.best)] {
            if let Some(weights) = weights {
                add(prefix, weights);
            }
        }
        if let Some(moments) = &self.moments {
            for (name, flat) in ["m", "v"].into_iter().zip(moments) {
                if !flat.is_empty() {
                    tensors.insert(
                        name.into(),
                        Tensor { shape: vec![flat.len()], data: flat.clone() },
                    );
                }
            }
        }
        let place = Place { version: VERSION, ..self.place.clone() };
        let mut metadata = safetensors::pytorch();
        let state =
            serde_json::to_string(&place).map_err(|error| FormatError::content(folder, error))?;
        metadata.insert(STATE.into(), state);
        // Names sort as places do.
        let Place { stage, attempt, step, .. } = place;
        let path = folder.join(format!("{stage:03}-{attempt:03}-{step:09}.safetensors"));
        safetensors::write(&path, &tensors, &metadata)?;
        Self::prune(folder)?;
        Ok(path)
    }

    /// Removes all but the newest two; a process may have been killed before it did.
    pub(super) fn prune(folder: &Path) -> Result<(), FormatError> {
        for old in list(folder)?.into_iter().rev().skip(KEPT) {
            fs::remove_file(&old).map_err(|source| FormatError::write(&old, source))?;
        }
        Ok(())
    }

    /// The newest readable checkpoint of a folder, if there is any.
    pub(super) fn newest(folder: &Path) -> Result<Option<Self>, FormatError> {
        let mut trouble = None;
        for path in list(folder)?.into_iter().rev() {
            match Self::read(&path) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                // The one before may do; if none does, the newest one's trouble is told.
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    fn read(path: &Path) -> Result<Self, FormatError> {
        let (tensors, metadata) = safetensors::read(path)?;
        let damaged = |message: String| FormatError::content(path, message);
        let state = metadata.get(STATE).ok_or_else(|| damaged("it is not a checkpoint".into()))?;
        let place: Place = serde_json::from_str(state).map_err(|e| damaged(e.to_string()))?;
        if place.version != VERSION {
            return Err(damaged(format!(
                "its version is {}, this program writes {VERSION}",
                place.version
            )));
        }
        let mut checkpoint = Self { place, ..Self::default() };
        let mut moments = [Vec::new(), Vec::new()];
        for (name, tensor) in tensors {
            match name.split_once('.') {
                Some(("now", rest)) => drop(checkpoint.now.insert(rest.into(), tensor)),
                Some(("base", rest)) => {
                    drop(checkpoint.base.get_or_insert_default().insert(rest.into(), tensor))
                }
                Some(("best", rest)) => {
                    drop(checkpoint.best.get_or_insert_default().insert(rest.into(), tensor))
                }
                _ if name == "m" => moments[0] = tensor.data,
                _ if name == "v" => moments[1] = tensor.data,
                _ => return Err(damaged(format!("it has an unknown tensor {name}"))),
            }
        }
        checkpoint.moments = (!moments[0].is_empty()).then_some(moments);
        Ok(checkpoint)
    }
}

/// The checkpoints of a folder, oldest first.
fn list(folder: &Path) -> Result<Vec<PathBuf>, FormatError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(FormatError::read(folder, source)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| FormatError::read(folder, source))?.path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn again(best: Option<f64>) -> Option<f64> {
        let place = serde_json::to_string(&Place { best, ..Place::default() }).expect("JSON");
        serde_json::from_str::<Place>(&place).expect("a place").best
    }

    #[test]
    fn a_score_is_read_back_to_the_bit() {
        let mut stream = Stream::new(&[1]);
        for _ in 0..10_000 {
            let score = 100.0 * stream.unit();
            assert_eq!(again(Some(score)).map(f64::to_bits), Some(score.to_bits()));
        }
        assert_eq!(again(None), None);
        let older: Place = serde_json::from_value(serde_json::json!({
            "version": 1, "stage": 0, "attempt": 1, "step": 0, "member_step": 8, "epochs": 1.0,
            "seconds": 1.0, "scale": null, "best": 12.5, "plan": 3, "loss": null
        }))
        .expect("a place of an older checkpoint");
        assert_eq!(older.best, Some(12.5));
    }
}
