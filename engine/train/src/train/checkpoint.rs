//! Where a member is, on disk: one safetensors file with the weights, the moments, the place in the stages as JSON, and the sum of it all.
//!
//! A resume trains on what a checkpoint says, so a checkpoint whose sum is wrong is not taken. The one before it is, with a warning.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    disk::Disk,
    formats::{FormatError, safetensors},
    nn::{FileLayout, Tensor, Weights},
    plan::Choices,
    ranks::shares::Share,
    train::session::LossScale,
};

/// Checkpoints of a member that are kept.
const KEPT: usize = 2;
/// Version of the state. The first had no sum; such checkpoints are still read.
const VERSION: u32 = 2;
const WITHOUT_SUM: u32 = 1;
/// Key of the state in the file's metadata.
const STATE: &str = "taper";

/// Where a member stands in its stages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Version of this form.
    pub(super) version: u32,
    /// Index of the stage.
    pub(super) stage: usize,
    /// Index of the restart.
    #[serde(rename = "attempt")]
    pub(super) restart: u32,
    /// Steps of the restart, which are also the batches that it has consumed.
    pub(super) step: u64,
    /// Steps of the member, over all stages and restarts.
    pub(super) member_step: u64,
    /// Passes over the training data of the restarts that are done.
    pub(super) epochs: f64,
    /// Seconds of training so far.
    pub(super) seconds: f64,
    /// Factor of the squared error of an imitation, as bits.
    pub(super) scale: Option<u32>,
    /// Score of the best restart so far; lower is better. As bits: a decimal may be read as the number beside it, and of two equal scores another
    /// restart would win after a resume.
    #[serde(default, with = "bits")]
    pub(super) best: Option<f64>,
    /// Fingerprint of the stage's plan. A resume with an equal plan trains the same bits.
    pub(super) plan: u64,
    /// Micro-batches of the stages that have begun, by the stage's index.
    #[serde(default)]
    pub(super) micro_batches: BTreeMap<usize, u32>,
    /// How ranks share the batches of the stage, if they do: frozen when it began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) shares: Vec<Share>,
    /// Tiles of the stage's products that are not the table's: frozen when the stage began.
    #[serde(default)]
    pub(super) kernel_choices: Choices,
    /// The state of loss scaling, in a restart whose steps run in mixed precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) loss_scale: Option<LossScale>,
    /// The mean loss of the last line of the log.
    pub(super) loss: Option<f64>,
}

impl Position {
    /// Name of its checkpoint's file; names sort as places do.
    fn file(&self) -> String {
        let Self { stage, restart, step, .. } = self;
        format!("{stage:03}-{restart:03}-{step:09}.safetensors")
    }
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
pub struct Checkpoint {
    pub(super) place: Position,
    /// The weights now.
    pub(super) now: Weights,
    /// The weights to which a restart returns, while a stage has several restarts.
    pub(super) base: Option<Weights>,
    /// The weights of the best restart.
    pub(super) best: Option<Weights>,
    /// m and v.
    pub(super) moments: Option<[Vec<f32>; 2]>,
}

impl Checkpoint {
    /// Writes it into a member's folder `checkpoints`, whole or not at all, and removes all but the newest two.
    pub(super) fn write(&self, disk: &dyn Disk, folder: &Path) -> Result<PathBuf, FormatError> {
        disk.make_folder(folder)?;
        let mut tensors = Weights::new();
        let mut add = |prefix: &str, weights: &Weights| {
            for (name, tensor) in weights {
                let layout = FileLayout::of_rank(tensor.shape.len());
                tensors.insert(format!("{prefix}.{name}"), layout.write(tensor.clone()));
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
        let place = Position { version: VERSION, ..self.place.clone() };
        let mut metadata = safetensors::pytorch();
        let state =
            serde_json::to_string(&place).map_err(|error| FormatError::content(folder, error))?;
        metadata.insert(STATE.into(), state);
        let path = folder.join(place.file());
        safetensors::write_with_sum(disk, &path, &tensors, &metadata)?;
        // Later checkpoints were damaged when the member was resumed from an earlier one; their steps have been taken again since.
        for later in list(disk, folder)?.into_iter().filter(|other| *other > path) {
            disk.remove(&later)?;
        }
        Self::prune(disk, folder)?;
        Ok(path)
    }

    /// Removes all but the newest two; a process may have been killed before it did.
    pub(super) fn prune(disk: &dyn Disk, folder: &Path) -> Result<(), FormatError> {
        list(disk, folder)?.iter().rev().skip(KEPT).try_for_each(|old| disk.remove(old))
    }

    /// The newest checkpoint of a folder that is whole, if the folder has any, and warnings about newer ones.
    ///
    /// # Errors
    /// There are checkpoints, and none of them is whole.
    pub fn newest(
        disk: &dyn Disk,
        folder: &Path,
    ) -> Result<(Option<Self>, Vec<String>), FormatError> {
        let mut warnings = Vec::new();
        let mut newest = None;
        for path in list(disk, folder)?.into_iter().rev() {
            match Self::read(disk, &path) {
                Ok(checkpoint) => {
                    let Position { version, member_step, .. } = checkpoint.place;
                    let shown = path.display();
                    if !warnings.is_empty() {
                        warnings
                            .push(format!("`{shown}`, of step {member_step}, is taken instead"));
                    }
                    if version == WITHOUT_SUM {
                        warnings.push(format!(
                            "`{shown}` is of an older Taper and has no check sum; it is taken as it is"
                        ));
                    }
                    return Ok((Some(checkpoint), warnings));
                }
                Err(error) => {
                    warnings.push(error.to_string());
                    newest.get_or_insert((path, error));
                }
            }
        }
        match newest {
            None => Ok((None, Vec::new())),
            // The file could not be read: that says nothing of its content.
            Some((_, error @ FormatError::Io { .. })) if warnings.len() == 1 => Err(error),
            Some((path, _)) => Err(FormatError::content(
                folder,
                format!(
                    "none of its checkpoints is whole ({} of them, the newest is {}); without this folder, the member is trained from its beginning",
                    warnings.len(),
                    path.file_name().unwrap_or_default().display()
                ),
            )),
        }
    }

    fn read(disk: &dyn Disk, path: &Path) -> Result<Self, FormatError> {
        let (tensors, metadata) = safetensors::read_on(disk, path)?;
        let damaged = |message: String| FormatError::content(path, message);
        let state = metadata.get(STATE).ok_or_else(|| damaged("it is not a checkpoint".into()))?;
        let place: Position = serde_json::from_str(state).map_err(|e| damaged(e.to_string()))?;
        // `safetensors::read_on` has compared the sum; here only its presence is checked.
        match (place.version, metadata.contains_key(safetensors::SUM)) {
            (VERSION, true) | (WITHOUT_SUM, false) => {}
            (VERSION, false) => return Err(damaged("its check sum is missing".into())),
            (version, _) => {
                let problem = format!("its version is {version}, this program writes {VERSION}");
                return Err(damaged(problem));
            }
        }
        if path.file_name().is_none_or(|name| name != place.file().as_str()) {
            return Err(damaged(format!("it is the checkpoint {}", place.file())));
        }
        let mut checkpoint = Self { place, ..Self::default() };
        let mut moments = [Vec::new(), Vec::new()];
        for (name, tensor) in tensors {
            let tensor = FileLayout::of_rank(tensor.shape.len()).read(tensor);
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
fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<PathBuf>, FormatError> {
    let items = match disk.list(folder) {
        Err(error) if error.is_missing() => return Ok(Vec::new()),
        items => items?,
    };
    let mut files: Vec<PathBuf> = items.into_iter().map(|(path, _)| path).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{disk::SystemDisk, random::Stream};

    /// A checkpoint of `step` whose weights all are that number.
    fn at(step: u64) -> Checkpoint {
        let tensor = || Tensor::new([2, 2], vec![step as f32; 4]);
        let weights = || Weights::from([("head.weight".into(), tensor())]);
        Checkpoint {
            place: Position { step, member_step: step, version: VERSION, ..Position::default() },
            now: weights(),
            base: Some(weights()),
            best: None,
            moments: Some([vec![1.0; 4], vec![2.0; 4]]),
        }
    }

    fn flip(path: &Path, byte: usize) {
        let mut bytes = fs::read(path).expect("read");
        bytes[byte] ^= 1;
        fs::write(path, bytes).expect("written");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(Checkpoint::newest(&SystemDisk, folder.path()).expect("none"), (None, vec![]));
        for step in 1..=3 {
            at(step).write(&SystemDisk, folder.path()).expect("written");
        }
        assert_eq!(list(&SystemDisk, folder.path()).expect("read").len(), KEPT);
        assert_eq!(
            Checkpoint::newest(&SystemDisk, folder.path()).expect("whole"),
            (Some(at(3)), vec![])
        );
    }

    #[test]
    fn no_changed_bit_of_a_checkpoint_is_taken() {
        let folder = tempfile::tempdir().expect("folder");
        let (one, two) = (at(1), at(2));
        one.write(&SystemDisk, folder.path()).expect("written");
        let newest = two.write(&SystemDisk, folder.path()).expect("written");
        let good = fs::read(&newest).expect("read");
        // Five has no factor with eight: every bit of a byte comes up.
        for bit in (0..8 * good.len()).step_by(5) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&newest, bad).expect("written");
            let (found, said) =
                Checkpoint::newest(&SystemDisk, folder.path()).expect("one is whole");
            assert_eq!(found.as_ref(), Some(&one), "bit {bit}: {said:?}");
            let [damaged, taken] = &said[..] else { panic!("{said:?}") };
            assert!(damaged.contains("000000002.safetensors"), "{damaged}");
            assert!(taken.contains("000000001.safetensors`, of step 1,"), "{taken}");
        }
        // Steps are taken anew, and what was damaged is not there to be kept instead of what is whole.
        flip(&newest, good.len() - 1);
        one.write(&SystemDisk, folder.path()).expect("written");
        assert!(!newest.exists());
        two.write(&SystemDisk, folder.path()).expect("written");
        assert_eq!(
            Checkpoint::newest(&SystemDisk, folder.path()).expect("whole"),
            (Some(two), vec![])
        );
    }

    #[test]
    fn where_none_is_whole_one_sentence_says_so() {
        let folder = tempfile::tempdir().expect("folder");
        for step in 1..=2 {
            let path = at(step).write(&SystemDisk, folder.path()).expect("written");
            flip(&path, 300);
        }
        let said =
            Checkpoint::newest(&SystemDisk, folder.path()).expect_err("none is whole").to_string();
        assert!(said.contains("none of its checkpoints is whole (2 of them"), "{said}");
        assert!(said.contains("000-000-000000002.safetensors"), "{said}");
    }

    #[test]
    fn one_of_an_older_taper_is_taken_and_that_is_said() {
        let folder = tempfile::tempdir().expect("folder");
        let path = at(7).write(&SystemDisk, folder.path()).expect("written");
        let (tensors, mut metadata) = safetensors::read(&path).expect("read");
        let state = metadata[STATE].replace("\"version\":2", "\"version\":1");
        metadata.insert(STATE.into(), state);
        metadata.remove(safetensors::SUM);
        safetensors::write(&path, &tensors, &metadata).expect("written");
        let (found, said) = Checkpoint::newest(&SystemDisk, folder.path()).expect("whole");
        assert_eq!(found.expect("it is there").now, at(7).now);
        assert!(said.len() == 1 && said[0].contains("has no check sum"), "{said:?}");
        // Under another name it would be taken for another place.
        let other = path.with_file_name("000-000-000000009.safetensors");
        fs::rename(&path, &other).expect("renamed");
        assert!(Checkpoint::newest(&SystemDisk, folder.path()).is_err());
        fs::rename(&other, &path).expect("renamed");
        // Of this version it would have one.
        metadata.insert(STATE.into(), metadata[STATE].replace("\"version\":1", "\"version\":2"));
        safetensors::write(&path, &tensors, &metadata).expect("written");
        assert!(Checkpoint::newest(&SystemDisk, folder.path()).is_err());
    }

    fn again(best: Option<f64>) -> Option<f64> {
        let place = serde_json::to_string(&Position { best, ..Position::default() }).expect("JSON");
        serde_json::from_str::<Position>(&place).expect("a place").best
    }

    #[test]
    fn a_score_is_read_back_to_the_bit() {
        let mut stream = Stream::new(&[1]);
        for _ in 0..10_000 {
            let score = 100.0 * stream.unit();
            assert_eq!(again(Some(score)).map(f64::to_bits), Some(score.to_bits()));
        }
        assert_eq!(again(None), None);
        let older: Position = serde_json::from_value(serde_json::json!({
            "version": 1, "stage": 0, "attempt": 1, "step": 0, "member_step": 8, "epochs": 1.0,
            "seconds": 1.0, "scale": null, "best": 12.5, "plan": 3, "loss": null
        }))
        .expect("a place of an older checkpoint");
        assert_eq!(older.best, Some(12.5));
    }
}
