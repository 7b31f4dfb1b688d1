//! A model folder: `model.safetensors` and what one has to know to use it.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use super::files::parse_json;
pub use super::files::{
    CONFIG, TEXT_ONNX, WEIGHTS, read_json, read_json_on, write_json, write_json_on,
};
pub use super::image::{Architecture, ImageInput, ImageModel, Widened};
use super::safetensors::Stored;
use super::{
    FormatError, TextModel, for_pytorch, for_timm, onnx, safetensors, sums, transformers, vision,
};
use crate::disk::{Disk, SystemDisk};
use crate::event::MergeReport;
use crate::models::{self, Bert, BertHead};
use crate::nn::{Network, Weights};
use crate::step::{PlanDocument, ProgramError, Task};

/// File of the weights with their network in the folder of a model on images.
pub const ONNX: &str = "model.onnx";
/// File of the proof of the merge in a model folder.
pub const MERGE: &str = "merge.json";
/// File of the plan by which a browser runs the network, in a model folder that was exported with it.
pub const PLAN: &str = "plan.json";
/// File of the model card in a model folder.
pub const CARD: &str = "README.md";

/// What a model is, and what it reads: `config.json`, and the tokenizer's files beside that of a model on text.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ModelConfig {
    /// A model on images.
    Images(ImageModel),
    /// A model on text.
    Text(#[schemars(with = "transformers::Config")] TextModel),
}

impl ModelConfig {
    /// The model, which reads images.
    ///
    /// # Errors
    /// It reads text.
    pub fn images(&self) -> Result<&ImageModel, FormatError> {
        match self {
            Self::Images(model) => Ok(model),
            Self::Text(_) => Err(FormatError::Kind { reads: "text", wanted: "images" }),
        }
    }

    /// What the network is asked for.
    pub fn task(&self) -> Task {
        match self {
            Self::Images(_) => Task::Classify,
            Self::Text(TextModel { sizes, .. }) => {
                let Bert { vocabulary, places, head, .. } = *sizes;
                match head {
                    BertHead::MaskedWords => Task::MaskedWords { vocabulary, places },
                    BertHead::Pretrain => Task::Pretrain { vocabulary, places },
                    BertHead::Spans => Task::Spans,
                }
            }
        }
    }

    /// The network that the weights are of.
    pub fn network(&self) -> Network {
        match self {
            Self::Images(model) => model.network(),
            Self::Text(model) => models::bert(&model.sizes),
        }
    }

    /// The plan by which a browser runs the network, with its tensors by their names in the model's file.
    ///
    /// # Errors
    /// If a tensor of the network is too large for a browser; the error names it.
    pub fn plan(&self) -> Result<PlanDocument, ProgramError> {
        let mut plan = PlanDocument::inference(&self.network(), self.task())?;
        if let Self::Text(TextModel { sizes, .. }) = self {
            for tensor in &mut plan.owners.student {
                tensor.name = transformers::name_in_file(sizes, std::mem::take(&mut tensor.name));
            }
        }
        Ok(plan)
    }

    /// What the files beside the weights say: `config.json`, and the tokenizer's.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn read_on(disk: &dyn Disk, folder: &Path) -> Result<Self, FormatError> {
        match Said::read_on(disk, folder)? {
            Said::Images(model) => Ok(Self::Images(*model)),
            Said::Vision => Ok(Self::Images(vision::model_on(disk, folder)?)),
            Said::Timm => {
                let (weights, _) = safetensors::read_on(disk, &folder.join(WEIGHTS))?;
                Ok(Self::Images(for_timm::model_on(disk, folder, &weights)?))
            }
            Said::Text => Ok(Self::Text(transformers::model_on(disk, folder, None)?.0)),
        }
    }

    /// The file with the network in ONNX.
    fn onnx(&self) -> &'static str {
        match self {
            Self::Images(_) => ONNX,
            Self::Text(_) => TEXT_ONNX,
        }
    }
}

/// What `config.json` says by itself.
enum Said {
    /// A model on images.
    Images(Box<ImageModel>),
    /// It is as transformers writes it, of a model on images.
    Vision,
    /// It is as timm writes it.
    Timm,
    /// It is as transformers writes it, of a model on text.
    Text,
}

impl Said {
    fn read_on(disk: &dyn Disk, folder: &Path) -> Result<Self, FormatError> {
        let path = folder.join(CONFIG);
        let bytes = sums::read(disk, &path)?;
        let value: serde_json::Value = parse_json(&path, &bytes)?;
        match value["model_type"].as_str() {
            Some(vision::KIND) => return Ok(Self::Vision),
            Some(_) => return Ok(Self::Text),
            None => {}
        }
        if value["pretrained_cfg"].is_object() {
            return Ok(Self::Timm);
        }
        // Of the text, so that what is wrong is told with its line.
        let model: ImageModel = parse_json(&path, &bytes)?;
        if !for_pytorch::agrees(&model, &value) {
            let message = "what it says under `network` is another network than under `model`";
            return Err(FormatError::content(&path, message));
        }
        Ok(Self::Images(Box::new(model)))
    }
}

/// Everything in a model folder.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFolder {
    /// Parameters and state, with the ecosystem's names.
    pub weights: Weights,
    /// What it is and what it reads.
    pub config: ModelConfig,
    /// Proof of the merge, for a merged student.
    pub merge: Option<MergeReport>,
    /// The model card, Markdown.
    pub card: String,
}

impl ModelFolder {
    /// Writes the folder, making it if it is not there; the check sums last, so that a folder with right sums is whole.
    ///
    /// # Errors
    /// The weights are not those of the architecture, or what the system refuses.
    pub fn write(&self, folder: &Path) -> Result<(), FormatError> {
        self.write_on(&SystemDisk, folder)
    }

    /// [`Self::write`] on a disk.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_on(&self, disk: &dyn Disk, folder: &Path) -> Result<(), FormatError> {
        self.write_as(disk, folder, Stored::Single)
    }

    /// [`Self::write_on`] with weights that are kept so.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn write_as(
        &self,
        disk: &dyn Disk,
        folder: &Path,
        stored: Stored,
    ) -> Result<(), FormatError> {
        disk.make_folder(folder)?;
        let network = self.config.network();
        let mut weights = network.to_file(&self.weights);
        if onnx::fits(&network) {
            let path = folder.join(self.config.onnx());
            let metadata = match &self.config {
                ModelConfig::Images(model) => model.facts(),
                ModelConfig::Text(_) => Vec::new(),
            };
            let about = onnx::About {
                task: self.config.task(),
                pictures: onnx::INPUT,
                metadata,
                half: stored == Stored::Half,
            };
            let bytes = onnx::encode(&network, &weights, &about)
                .map_err(|error| FormatError::content(&path, error))?;
            disk.make_folder(path.parent().unwrap_or(folder))?;
            disk.write_bytes(&path, &bytes)?;
        }
        if let ModelConfig::Text(TextModel { sizes, tokenizer, .. }) = &self.config {
            let [own, beside] = transformers::to_files(sizes, weights)
                .map_err(|problem| FormatError::content(&folder.join(CONFIG), problem))?;
            weights = own;
            if !beside.is_empty() {
                let path = folder.join(transformers::BESIDE);
                safetensors::write_as(disk, &path, &beside, &safetensors::pytorch(), stored)?;
            }
            for (name, content) in tokenizer.files(sizes.positions) {
                disk.write_bytes(&folder.join(name), content.as_bytes())?;
            }
        }
        let path = folder.join(WEIGHTS);
        safetensors::write_as(disk, &path, &weights, &safetensors::pytorch(), stored)?;
        write_json_on(disk, &folder.join(CONFIG), &self.config)?;
        if let Some(merge) = &self.merge {
            write_json_on(disk, &folder.join(MERGE), merge)?;
        }
        disk.write_bytes(&folder.join(CARD), self.card.as_bytes())?;
        sums::write_on(disk, folder)
    }

    /// Reads a folder with at least `model.safetensors` and `config.json`. Where it has a `SHA256SUMS`, every file that is read has its sum.
    ///
    /// # Errors
    /// One of the two is missing or damaged. Whether the weights fit the architecture is for the architecture to say.
    pub fn read(folder: &Path) -> Result<ModelFolder, FormatError> {
        Self::read_on(&SystemDisk, folder)
    }

    /// [`Self::read`] on a disk.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_on(disk: &dyn Disk, folder: &Path) -> Result<ModelFolder, FormatError> {
        let (config, weights) = match Said::read_on(disk, folder)? {
            Said::Images(model) => {
                let (weights, _) = safetensors::read_on(disk, &folder.join(WEIGHTS))?;
                let weights = model.network().from_file(weights);
                (ModelConfig::Images(*model), weights)
            }
            Said::Vision => {
                let model = vision::model_on(disk, folder)?;
                let (weights, _) = safetensors::read_on(disk, &folder.join(WEIGHTS))?;
                let weights = model.network().from_file(vision::by_our_names(weights));
                (ModelConfig::Images(model), weights)
            }
            Said::Timm => {
                let (weights, _) = safetensors::read_on(disk, &folder.join(WEIGHTS))?;
                let model = for_timm::model_on(disk, folder, &weights)?;
                let weights = model.network().from_file(weights);
                (ModelConfig::Images(model), weights)
            }
            Said::Text => {
                let found = transformers::read_on(disk, folder, None)?;
                if let Some(name) = found.missing.first() {
                    let part = transformers::part_of(name);
                    let message = format!("it has no {part}: {name} is missing");
                    return Err(FormatError::content(&folder.join(WEIGHTS), message));
                }
                (ModelConfig::Text(found.model), found.weights)
            }
        };
        let path = folder.join(MERGE);
        let merge =
            sums::read_if_there(disk, &path)?.map(|bytes| parse_json(&path, &bytes)).transpose()?;
        let card = sums::read_if_there(disk, &folder.join(CARD))?.unwrap_or_default();
        let card = String::from_utf8_lossy(&card).into_owned();
        Ok(ModelFolder { weights, config, merge, card })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Interpolation, Mlp, Model, Widen},
        nn::Tensor,
    };

    const FIRST: &str = "layers.0.weight";

    /// A model of `size` × `size` pixels, each tensor counting 0, 1, 2, …
    fn sample(channels: u32, size: u32) -> ModelFolder {
        let mlp = Mlp { hidden: vec![2], blocks: vec![1], ..Mlp::default() };
        let mut folder = ModelFolder {
            weights: Weights::new(),
            config: ModelConfig::Images(ImageModel {
                architecture: "mlp".into(),
                model: Model::Mlp(mlp),
                widened: None,
                input: ImageInput {
                    channels,
                    size,
                    mean: vec![0.1307],
                    std: vec![0.3081],
                    interpolation: Interpolation::Area,
                    crop: 1.0,
                },
                labels: vec!["0".into(), "1".into()],
            }),
            merge: Some(MergeReport {
                max_abs_error: 1e-6,
                relative_error: 3e-7,
                inputs: 500,
                params_before: 30,
                params_after: 10,
            }),
            card: "# A model\n".into(),
        };
        for spec in folder.config.network().shapes().expect("shapes").params {
            let count = spec.shape.iter().product::<usize>();
            let tensor = Tensor::new(spec.shape, (0..count).map(|n| n as f32).collect());
            folder.weights.insert(spec.name, tensor);
        }
        folder
    }

    #[test]
    fn a_folder_is_read_back_and_its_sums_hold() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("new/artifacts");
        sample(1, 3).write(&path).expect("written");
        assert_eq!(ModelFolder::read(&path).expect("read"), sample(1, 3));
        sums::check(&path).expect("sums hold");
        let mut names: Vec<String> = std::fs::read_dir(&path)
            .expect("folder")
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "README.md",
                "SHA256SUMS",
                "config.json",
                "merge.json",
                "model.onnx",
                "model.safetensors"
            ]
        );
    }

    #[test]
    fn a_widened_teacher_is_a_network_again() {
        let params = |model: &ImageModel| model.network().shapes().expect("shapes").param_count();
        let student = sample(1, 28).config.images().expect("of images").clone();
        assert_eq!(params(&student), 785 * 2 + 2 * 2 + 2);
        let widened = Some(Widened { factor: 4, widen: Widen::Mid });
        assert_eq!(params(&ImageModel { widened, ..student }), 785 * 8 + 8 * 2 + 2);
    }

    #[test]
    fn an_mlp_on_colour_images_reads_pytorchs_order() {
        let folder = tempfile::tempdir().expect("folder");
        let mut model = sample(3, 2);
        // Column (h, w, c) holds 100·(2h + w) + c.
        let row: Vec<f32> = (0..12).map(|n| (100 * (n / 3) + n % 3) as f32).collect();
        model.weights.insert(FIRST.into(), Tensor::new([2, 12], [row.clone(), row].concat()));
        model.write(folder.path()).expect("written");
        let (file, _) = safetensors::read(&folder.path().join(WEIGHTS)).expect("read");
        assert_eq!(file[FIRST].data[..6], [0., 100., 200., 300., 1., 101.]);
        assert_eq!(ModelFolder::read(folder.path()).expect("read"), model);
    }

    #[test]
    fn a_changed_bit_is_refused_by_the_files_name() {
        let folder = tempfile::tempdir().expect("folder");
        let whole = sample(1, 3);
        whole.write(folder.path()).expect("written");
        for name in [WEIGHTS, CONFIG, MERGE, CARD] {
            let path = folder.path().join(name);
            let good = std::fs::read(&path).expect("read");
            let mut bad = good.clone();
            // The last one of a number, a bracket's, a word's.
            *bad.last_mut().expect("not empty") ^= 1;
            std::fs::write(&path, &bad).expect("written");
            let said = ModelFolder::read(folder.path()).expect_err("changed").to_string();
            assert!(said.contains(name) && said.contains("SHA-256"), "{said}");
            std::fs::remove_file(&path).expect("removed");
            let said = ModelFolder::read(folder.path()).expect_err("missing").to_string();
            assert!(said.contains(name), "{said}");
            std::fs::write(&path, &good).expect("written");
        }
        assert_eq!(ModelFolder::read(folder.path()).expect("as it was"), whole);
        // What is read from elsewhere has none.
        std::fs::remove_file(folder.path().join(sums::NAME)).expect("removed");
        assert_eq!(ModelFolder::read(folder.path()).expect("no sums"), whole);
        // A file that is not read is nobody's business.
        whole.write(folder.path()).expect("written");
        std::fs::remove_file(folder.path().join(ONNX)).expect("removed");
        std::fs::write(folder.path().join("notes"), "mine").expect("written");
        assert_eq!(ModelFolder::read(folder.path()).expect("read"), whole);
    }

    #[test]
    fn a_missing_or_damaged_part_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let said = ModelFolder::read(folder.path()).expect_err("empty").to_string();
        assert!(said.starts_with("cannot read") && said.contains("config.json"), "{said}");
        sample(1, 3).write(folder.path()).expect("written");
        std::fs::write(folder.path().join(CONFIG), "{}").expect("written");
        sums::write(folder.path()).expect("written");
        let said = ModelFolder::read(folder.path()).expect_err("damaged").to_string();
        assert!(said.contains("missing field `architecture`"), "{said}");
        std::fs::write(folder.path().join(CONFIG), r#"{"pretrained_cfg":{}}"#).expect("written");
        sums::write(folder.path()).expect("written");
        let said = ModelFolder::read(folder.path()).expect_err("timm's").to_string();
        assert!(said.contains("can be a teacher, by `teacher.from`"), "{said}");
        let mut torn = sample(1, 3);
        torn.weights.remove("head.bias");
        let said = torn.write(folder.path()).expect_err("torn").to_string();
        assert!(said.ends_with("parameter head.bias is missing"), "{said}");
    }
}
