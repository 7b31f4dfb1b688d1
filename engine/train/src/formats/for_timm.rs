//! A model on images as timm loads it: its `resnet18` or `resnet50` with other layers, channels and inner widths, as far as these are free there.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::files::{self, CONFIG, json_bytes};
use super::form::{self, Contents, Form};
use super::image::{Architecture, ImageInput, ImageModel};
use super::resnet::{self, Resnet, Unit};
use super::{FormatError, timm};
use crate::config::Activation;
use crate::disk::Disk;
use crate::models;
use crate::nn::{Extent, Weights};

/// Channels of timm's stem, which no setting changes.
const STEM: u32 = 64;
/// timm's residual networks that differ in their widths and depths alone, by name.
const PLAIN: [&str; 13] = [
    "resnet18",
    "resnet26",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet200",
    "tv_resnet34",
    "tv_resnet50",
    "tv_resnet101",
    "tv_resnet152",
    "wide_resnet50_2",
    "wide_resnet101_2",
];
/// Their settings that show in the tensors.
const SHOWN: [&str; 5] = ["num_classes", "in_chans", "layers", "channels", "base_width"];

/// `config.json` of timm, with ours under `taper`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Config {
    architecture: String,
    num_classes: u32,
    label_names: Vec<String>,
    model_args: Arguments,
    pretrained_cfg: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taper: Option<ImageModel>,
}

/// What differs from the architecture of that name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Arguments {
    layers: Vec<usize>,
    channels: Vec<u32>,
    /// Channels within a bottleneck, of 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_width: Option<u32>,
    num_classes: u32,
    in_chans: u32,
}

impl Config {
    /// Of a model.
    ///
    /// # Errors
    /// What timm cannot say of it, as a sentence that names the block.
    fn of(model: &ImageModel) -> Result<Self, String> {
        let resnet = Resnet::of(&model.network()).ok_or(resnet::NONE)?;
        resnet.has_large_stem("timm's")?;
        if resnet.stem != STEM {
            return Err(format!(
                "block 1: its stem has {} channels, and timm's always has {STEM}; `model.base = {STEM}` trains one",
                resnet.stem
            ));
        }
        if resnet.stages.len() != 4 {
            return Err(format!("it has {} blocks, and timm's have 4", resnet.stages.len()));
        }
        let bottleneck = resnet.bottleneck();
        let first = resnet.stages[0][0];
        // timm rounds down.
        let base_width =
            if bottleneck { (first.inner * STEM).div_ceil((first.out / 4).max(1)) } else { STEM };
        let inner = |unit: &Unit| match bottleneck {
            true => unit.out / 4 * base_width / STEM,
            false => unit.out,
        };
        let channels = resnet.outs("timm's", inner)?;
        let channels = if bottleneck {
            if let Some(place) = channels.iter().position(|out| out % 4 != 0) {
                let (block, out) = (place + 1, channels[place]);
                return Err(format!(
                    "block {block}: it puts out {out} channels, and timm's a multiple of 4"
                ));
            }
            channels.iter().map(|out| out / 4).collect()
        } else {
            channels
        };
        form::resizes(model)?;
        let ImageInput { channels: in_chans, size, mean, std, crop, .. } = &model.input;
        let (classes, pool) = (resnet.classes, size.div_ceil(32));
        Ok(Self {
            architecture: if bottleneck { "resnet50" } else { "resnet18" }.into(),
            num_classes: classes,
            label_names: model.labels.clone(),
            model_args: Arguments {
                layers: resnet.stages.iter().map(Vec::len).collect(),
                channels,
                base_width: (base_width != STEM).then_some(base_width),
                num_classes: classes,
                in_chans: *in_chans,
            },
            pretrained_cfg: json!({
                "custom_load": false, "input_size": [in_chans, size, size], "fixed_input_size": false,
                "interpolation": "bilinear", "crop_pct": share(*size, *crop), "crop_mode": "center",
                "mean": mean, "std": std, "num_classes": classes, "pool_size": [pool, pool],
                "first_conv": "conv1", "classifier": "fc",
            }),
            taper: None,
        })
    }
}

/// The share that the crop keeps, as timm is told it: it rounds the shorter side down, where we round to the nearest.
fn share(size: u32, crop: f64) -> f64 {
    let size = f64::from(size);
    let edge = (size / crop).round();
    if (size / crop).floor() == edge { crop } else { size / (edge + 0.25) }
}

/// `config.json` of a model.
///
/// # Errors
/// What timm cannot say of it, as a sentence.
pub(super) fn config(of: &ImageModel) -> Result<Config, String> {
    Ok(Config { taper: Some(of.clone()), ..Config::of(of)? })
}

/// The folder of a model.
///
/// # Errors
/// What timm cannot say of it.
pub(super) fn contents(of: &ImageModel, weights: &Weights) -> Result<Contents, FormatError> {
    let config = config(of).map_err(form::refused(Form::Timm))?;
    Ok(Contents {
        weights: of.network().to_file(weights),
        files: vec![(CONFIG, json_bytes(Path::new(CONFIG), &config)?)],
        library: "timm",
        usage: "```python\nimport timm\nimport torch\nfrom PIL import Image\n\nmodel = timm.create_model(\"local-dir:.\", pretrained=True).eval()  # this folder\nprepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)\nwith torch.no_grad():\n    logits = model(prepare(Image.open(\"picture.jpg\").convert(\"RGB\"))[None])\nprint(model.pretrained_cfg[\"label_names\"][logits.argmax()])\n```\n".into(),
    })
}

/// What a folder of timm's holds, whose tensors are `weights`.
///
/// # Errors
/// It is damaged, or a network that `[model]` cannot say or pictures that Taper does not make.
pub(super) fn model_on(
    disk: &dyn Disk,
    folder: &Path,
    weights: &Weights,
) -> Result<ImageModel, FormatError> {
    let path = folder.join(CONFIG);
    let bad = |problem: String| FormatError::content(&path, problem);
    let value: Value = files::read_json_on(disk, &path)?;
    if value["taper"].is_object() {
        let config = Config::deserialize(&value).map_err(|error| bad(error.to_string()))?;
        if let Some(ours) = &config.taper {
            // As it is read: a number of a file may be off by its last bit.
            let said = Config::of(ours).ok().and_then(|said| {
                let text = serde_json::to_string(&said).ok()?;
                serde_json::from_str::<Config>(&text).ok()
            });
            if said != Some(Config { taper: None, ..config.clone() }) {
                return Err(bad(
                    "what it says under `taper` is another network than the rest".into()
                ));
            }
            return Ok(ours.clone());
        }
    }
    let architecture = value["architecture"].as_str().unwrap_or_default();
    if !PLAIN.contains(&architecture) {
        return Err(bad(format!(
            "its architecture is \"{architecture}\", and of timm's Taper opens resnet18 to resnet200; another residual network can be a teacher, by `teacher.from`"
        )));
    }
    let none = Map::new();
    for (key, said) in value["model_args"].as_object().unwrap_or(&none) {
        let known = SHOWN.contains(&key.as_str()) || (key == "global_pool" && said == "avg");
        if !known {
            return Err(bad(format!("model_args.{key} = {said}, which Taper has not")));
        }
    }
    let described = timm::described(&value).map_err(|error| bad(error.to_string()))?;
    let described = described.ok_or_else(|| bad("it does not say `pretrained_cfg`".into()))?;
    if let Some(what) = described.unknown.first() {
        return Err(bad(format!("{what}, which Taper does not do to pictures")));
    }
    let missing = |key: &str| bad(format!("it does not say `pretrained_cfg.{key}`"));
    let framing = described.framing;
    let channels = described.channels.ok_or_else(|| missing("input_size"))?;
    let size = framing.size.ok_or_else(|| missing("input_size"))?;
    let crop = framing.crop.ok_or_else(|| missing("crop_pct"))?;
    let input = ImageInput {
        channels,
        size,
        mean: framing.mean.ok_or_else(|| missing("mean"))?,
        std: framing.std.ok_or_else(|| missing("std"))?,
        interpolation: framing.interpolation.ok_or_else(|| missing("interpolation"))?,
        // timm rounds the shorter side down.
        crop: f64::from(size) / (f64::from(size) / crop).floor(),
    };
    let network = models::infer(weights, Extent::Map(size, size, channels), Activation::Relu)
        .map_err(|error| FormatError::content(&folder.join(files::WEIGHTS), error))?;
    let Architecture { model, widened } = Architecture::of(&network).ok_or_else(|| {
        bad("its widths do not double from block to block; as a teacher, by `teacher.from`, it may have any".into())
    })?;
    let classes = network.shapes().map(|shapes| shapes.output.width()).unwrap_or_default();
    let labels = described.labels.unwrap_or_else(|| crate::classes::numbers(classes as usize));
    if labels.len() != classes as usize {
        return Err(bad(format!("it names {} classes of {classes}", labels.len())));
    }
    Ok(ImageModel { architecture: architecture.into(), model, widened, input, labels })
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn timm_is_told_a_crop_that_gives_our_size() {
        for size in [32, 33, 64, 96, 160, 224, 225, 384] {
            for crop in [1.0, 0.875, 0.95, 0.9, 0.8, 2.0 / 3.0, 0.5] {
                let told = share(size, crop);
                let ours = (f64::from(size) / crop).round();
                assert_eq!((f64::from(size) / told).floor(), ours, "{size} of {crop}");
                assert_eq!((f64::from(size) / told).round(), ours, "{size} of {crop}");
            }
        }
    }
}
