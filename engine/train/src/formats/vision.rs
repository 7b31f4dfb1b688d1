//! Residual networks as transformers has them: `ResNetForImageClassification`, which has free widths, a stem of ImageNet's, and units whose inner
//! widths follow from the outer ones.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::FormatError;
use super::files::{self, CONFIG};
use super::image::{ImageInput, ImageModel};
use super::resnet::{self, Resnet, Unit};
use super::timm::Described;
use crate::config::{self, Framing, Interpolation, Model, Stem};
use crate::disk::Disk;
use crate::nn::{Network, Tensor, Weights};

/// What is done to a picture, beside `config.json`.
pub const PREPROCESSOR: &str = "preprocessor_config.json";
/// `model_type` of such a network.
pub const KIND: &str = "resnet";
/// Its class.
const CLASS: &str = "ResNetForImageClassification";
/// Pillow's number of the bilinear filter, whose support widens as a picture shrinks.
const BILINEAR: u64 = 2;

/// `config.json` of transformers, with ours under `taper`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    architectures: Vec<String>,
    model_type: String,
    #[serde(default = "three")]
    pub(super) num_channels: u32,
    embedding_size: u32,
    hidden_sizes: Vec<u32>,
    depths: Vec<u32>,
    layer_type: Kind,
    #[serde(default = "relu")]
    hidden_act: String,
    #[serde(default)]
    downsample_in_first_stage: bool,
    #[serde(default)]
    downsample_in_bottleneck: bool,
    #[serde(default)]
    id2label: BTreeMap<String, String>,
    #[serde(default)]
    label2id: BTreeMap<String, u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) taper: Option<ImageModel>,
}

/// What its units are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Basic,
    Bottleneck,
}

fn three() -> u32 {
    3
}

fn relu() -> String {
    "relu".into()
}

impl Config {
    /// Of a network with these classes.
    ///
    /// # Errors
    /// What transformers cannot say of it, as a sentence that names the block.
    pub(super) fn of(network: &Network, labels: &[String]) -> Result<Self, String> {
        let resnet = Resnet::of(network).ok_or(resnet::NONE)?;
        resnet.has_large_stem("transformers'")?;
        let inner = |unit: &Unit| if unit.bottleneck { unit.out / 4 } else { unit.out };
        let hidden_sizes = resnet.outs("transformers'", inner)?;
        let numbered = || (0u32..).zip(labels);
        Ok(Self {
            architectures: vec![CLASS.into()],
            model_type: KIND.into(),
            num_channels: resnet.channels,
            embedding_size: resnet.stem,
            hidden_sizes,
            depths: resnet.stages.iter().map(|units| units.len() as u32).collect(),
            layer_type: if resnet.bottleneck() { Kind::Bottleneck } else { Kind::Basic },
            hidden_act: relu(),
            downsample_in_first_stage: false,
            downsample_in_bottleneck: false,
            id2label: numbered().map(|(id, label)| (id.to_string(), label.clone())).collect(),
            label2id: numbered().map(|(id, label)| (label.clone(), id)).collect(),
            taper: None,
        })
    }

    /// Names of the classes, in the order of the outputs; none where one has none.
    fn labels(&self) -> Option<Vec<String>> {
        let name = |id: usize| self.id2label.get(&id.to_string()).cloned();
        let all: Option<Vec<String>> = (0..self.id2label.len()).map(name).collect();
        all.filter(|labels| !labels.is_empty())
    }

    /// What it is in a configuration's `[model]`.
    ///
    /// # Errors
    /// Taper has no such network, as a sentence.
    fn model(&self) -> Result<Model, String> {
        for (key, value) in [
            ("downsample_in_first_stage", self.downsample_in_first_stage),
            ("downsample_in_bottleneck", self.downsample_in_bottleneck),
        ] {
            if value {
                return Err(format!("{key} = true, and Taper knows false"));
            }
        }
        if self.hidden_act != "relu" {
            return Err(format!("hidden_act = {:?}, and Taper knows \"relu\"", self.hidden_act));
        }
        let base = self.embedding_size;
        let (unit, expansion) = match self.layer_type {
            Kind::Basic => (config::Unit::Basic, 1),
            Kind::Bottleneck => (config::Unit::Bottleneck, 4),
        };
        let first = u64::from(base) * expansion;
        let widths = (0..self.hidden_sizes.len() as u32).map(|stage| first << stage.min(32));
        if !widths.eq(self.hidden_sizes.iter().map(|&width| u64::from(width)))
            || self.hidden_sizes.len() != self.depths.len()
        {
            return Err(format!(
                "hidden_sizes = {:?} with embedding_size = {base}: they do not double from stage to stage; as a teacher, by `teacher.from`, it may have any widths",
                self.hidden_sizes
            ));
        }
        let blocks = self.depths.clone();
        let resnet = config::Resnet { width: 1.0, base, unit, stem: Stem::Imagenet, blocks };
        Ok(Model::Resnet(resnet))
    }
}

/// `preprocessor_config.json`, for pictures resized by their shorter side and cut in the middle.
pub(super) fn preprocessor(input: &ImageInput) -> Value {
    let ImageInput { size, mean, std, crop, .. } = input;
    let edge = (f64::from(*size) / crop).round() as u32;
    json!({
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": true,
        "do_resize": true, "size": { "shortest_edge": edge }, "resample": BILINEAR,
        "do_center_crop": true, "crop_size": { "height": size, "width": size },
        "do_rescale": true, "rescale_factor": 1.0 / 255.0,
        "do_normalize": true, "image_mean": mean, "image_std": std,
    })
}

/// What a preprocessor does, as far as Taper can do it, and in `unknown` what it cannot.
fn framing(of: &Value, unknown: &mut Vec<String>) -> Framing {
    let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
    let numbers = |value: &Value| serde_json::from_value::<Vec<f64>>(value.clone()).ok();
    let side = |of: &Value| {
        let square = of["height"] == of["width"];
        number(of).or(number(&of["shortest_edge"])).or(number(&of["height"]).filter(|_| square))
    };
    let edge = side(&of["size"]);
    let (size, crop) = match (side(&of["crop_size"]), edge, of["crop_pct"].as_f64()) {
        (Some(size), Some(edge), _) if of["do_center_crop"] != false => {
            (Some(size), Some(f64::from(size) / f64::from(edge)))
        }
        // ConvNext's: from 384 pixels on, pictures are squeezed.
        (_, Some(size), Some(crop)) if size < 384 => (Some(size), Some(crop)),
        (_, Some(size), _) => {
            unknown.push(format!("size = {}", of["size"]));
            (Some(size), None)
        }
        (_, None, _) => (None, None),
    };
    let interpolation = match of["resample"].as_u64() {
        Some(BILINEAR) => Some(Interpolation::Bilinear),
        Some(other) => {
            unknown.push(format!("resample = {other}"));
            None
        }
        None => None,
    };
    Framing {
        size,
        interpolation,
        crop,
        mean: numbers(&of["image_mean"]),
        std: numbers(&of["image_std"]),
    }
}

/// What `config.json` and its neighbour say of a model that transformers describes.
///
/// # Errors
/// They are damaged, or say what Taper cannot do.
pub fn model_on(disk: &dyn Disk, folder: &Path) -> Result<ImageModel, FormatError> {
    let path = folder.join(CONFIG);
    let config: Config = files::read_json_on(disk, &path)?;
    let bad = |problem: String| FormatError::content(&path, problem);
    if let Some(ours) = &config.taper {
        let said = Config::of(&ours.network(), &ours.labels);
        if said != Ok(Config { taper: None, ..config.clone() }) {
            return Err(bad("what it says under `taper` is another network than the rest".into()));
        }
        return Ok(ours.clone());
    }
    let model = config.model().map_err(bad)?;
    let labels = config.labels().ok_or_else(|| bad("id2label does not name every class".into()))?;
    let path = folder.join(PREPROCESSOR);
    let mut unknown = Vec::new();
    let framing = framing(&files::read_json_on(disk, &path)?, &mut unknown);
    let missing = |key: &str| FormatError::content(&path, format!("it does not say `{key}`"));
    if let Some(what) = unknown.first() {
        let problem = format!("{what}, which Taper does not do to pictures");
        return Err(FormatError::content(&path, problem));
    }
    let input = ImageInput {
        channels: config.num_channels,
        size: framing.size.ok_or_else(|| missing("size"))?,
        mean: framing.mean.ok_or_else(|| missing("image_mean"))?,
        std: framing.std.ok_or_else(|| missing("image_std"))?,
        interpolation: framing.interpolation.unwrap_or_default(),
        crop: framing.crop.ok_or_else(|| missing("crop_size"))?,
    };
    Ok(ImageModel { architecture: KIND.into(), model, widened: None, input, labels })
}

/// What the folder says of the pictures and classes of a teacher, whose architecture is read off its tensors; none if the value is no such `config.json`.
///
/// # Errors
/// It is damaged.
pub fn described(
    disk: &dyn Disk,
    folder: &Path,
    value: &Value,
) -> Result<Option<Described>, FormatError> {
    if value["model_type"] != KIND {
        return Ok(None);
    }
    let config = Config::deserialize(value)
        .map_err(|error| FormatError::content(&folder.join(CONFIG), error))?;
    let mut unknown = Vec::new();
    let path = folder.join(PREPROCESSOR);
    let framing = match disk.kind(&path) {
        Some(_) => framing(&files::read_json_on(disk, &path)?, &mut unknown),
        None => Framing::default(),
    };
    let channels = Some(config.num_channels);
    Ok(Some(Described { channels, framing, labels: config.labels(), unknown }))
}

/// The weights of a file of transformers' by torchvision's names; others keep theirs, for whoever reads them to refuse.
pub fn by_our_names(weights: Weights) -> Weights {
    let rename = |(name, tensor): (String, Tensor)| (name_here(&name).unwrap_or(name), tensor);
    weights.into_iter().map(rename).collect()
}

/// The tensors of a file of transformers'. Its norms count their batches; where no count is found it warns of a model that is not trained.
pub(super) fn to_file(weights: Weights) -> Weights {
    let mut there = Weights::new();
    for (name, tensor) in weights {
        let name = name_there(&name);
        if let Some(norm) = name.strip_suffix("running_mean") {
            there.insert(format!("{norm}num_batches_tracked"), Tensor::new([], vec![0.0]));
        }
        there.insert(name, tensor);
    }
    there
}

/// Whether these are a file of transformers'.
pub fn is_there(weights: &Weights) -> bool {
    weights.contains_key("resnet.embedder.embedder.convolution.weight")
}

/// Parts of names: torchvision's, and transformers'.
const EMBEDDER: &str = "resnet.embedder.embedder";
const NAMES: [(&str, &str); 2] = [("conv1.", "convolution."), ("bn1.", "normalization.")];

/// transformers' name of a tensor that torchvision calls `name`.
fn name_there(name: &str) -> String {
    for (ours, theirs) in NAMES {
        if let Some(rest) = name.strip_prefix(ours) {
            return format!("{EMBEDDER}.{theirs}{rest}");
        }
    }
    if let Some(rest) = name.strip_prefix("fc.") {
        return format!("classifier.1.{rest}");
    }
    let unit = name.strip_prefix("layer").map(|rest| rest.splitn(3, '.').collect::<Vec<_>>());
    let Some([stage, unit, inner]) = unit.as_deref() else { return name.into() };
    let Ok(stage) = stage.parse::<usize>() else { return name.into() };
    let of = format!("resnet.encoder.stages.{}.layers.{unit}", stage.saturating_sub(1));
    let (part, tensor) = inner.rsplit_once('.').unwrap_or((inner, ""));
    let numbered = |kind: &str| part.strip_prefix(kind)?.parse::<usize>().ok();
    match (part, numbered("conv"), numbered("bn")) {
        ("downsample.0", ..) => format!("{of}.shortcut.convolution.{tensor}"),
        ("downsample.1", ..) => format!("{of}.shortcut.normalization.{tensor}"),
        (_, Some(k), _) => format!("{of}.layer.{}.convolution.{tensor}", k.saturating_sub(1)),
        (_, _, Some(k)) => format!("{of}.layer.{}.normalization.{tensor}", k.saturating_sub(1)),
        _ => name.into(),
    }
}

/// torchvision's name of a tensor that transformers calls `name`.
fn name_here(name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix("classifier.1.") {
        return Some(format!("fc.{rest}"));
    }
    if let Some(rest) = name.strip_prefix(EMBEDDER).and_then(|rest| rest.strip_prefix('.')) {
        let of =
            |(ours, theirs): (&str, &str)| Some(format!("{ours}{}", rest.strip_prefix(theirs)?));
        return NAMES.into_iter().find_map(of);
    }
    let rest = name.strip_prefix("resnet.encoder.stages.")?;
    let [stage, "layers", unit, rest @ ..] = &rest.split('.').collect::<Vec<_>>()[..] else {
        return None;
    };
    let inner = match rest {
        ["shortcut", "convolution", tensor] => format!("downsample.0.{tensor}"),
        ["shortcut", "normalization", tensor] => format!("downsample.1.{tensor}"),
        ["layer", k, "convolution", tensor] => {
            format!("conv{}.{tensor}", k.parse::<usize>().ok()? + 1)
        }
        ["layer", k, "normalization", tensor] => {
            format!("bn{}.{tensor}", k.parse::<usize>().ok()? + 1)
        }
        _ => return None,
    };
    Some(format!("layer{}.{unit}.{inner}", stage.parse::<usize>().ok()? + 1))
}
