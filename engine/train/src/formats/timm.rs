//! `config.json` as timm writes it beside a model (`timm.models.save_for_hf`): what is done to its pictures, and what its classes are called.
//! The architecture is not read from it but off the tensors.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::config::{Framing, Interpolation};

/// What timm's file says of a network's pictures and classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// Channels of the pictures.
    pub channels: Option<u32>,
    /// What is done to a picture; what the file does not say is left open.
    pub framing: Framing,
    /// Names of the classes, in the order of the outputs.
    pub labels: Option<Vec<String>>,
    /// What the file says and Taper cannot do, as keys with their values.
    pub unknown: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    pretrained_cfg: Pretrained,
    #[serde(default)]
    label_names: Option<Labels>,
}

/// The keys that say what is done to a picture; `test_input_size` and `test_crop_pct`, for larger pictures at the end, are not taken.
#[derive(Deserialize)]
struct Pretrained {
    input_size: Option<[u32; 3]>,
    interpolation: Option<String>,
    crop_pct: Option<f64>,
    crop_mode: Option<String>,
    mean: Option<Vec<f64>>,
    std: Option<Vec<f64>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Labels {
    List(Vec<String>),
    /// By the index of the output.
    Map(BTreeMap<String, String>),
}

impl Labels {
    /// The names in order; none where an output has none.
    fn in_order(self) -> Option<Vec<String>> {
        match self {
            Labels::List(names) => Some(names),
            Labels::Map(mut names) => {
                (0..names.len()).map(|output| names.remove(&output.to_string())).collect()
            }
        }
    }
}

/// Reads the file's value; none if it is not timm's.
///
/// # Errors
/// A key of timm's with a value that timm does not write there.
pub fn described(value: &Value) -> Result<Option<Described>, serde_json::Error> {
    if !value["pretrained_cfg"].is_object() {
        return Ok(None);
    }
    let File { pretrained_cfg: of, label_names } = File::deserialize(value)?;
    let mut unknown = Vec::new();
    let (channels, size) = match of.input_size {
        Some([channels, height, width]) if height == width => (Some(channels), Some(height)),
        Some(size @ [channels, ..]) => {
            unknown.push(format!("input_size = {size:?}"));
            (Some(channels), None)
        }
        None => (None, None),
    };
    let interpolation = of.interpolation.and_then(|name| match name.as_str() {
        // Pillow's, which averages where a picture becomes smaller.
        "bilinear" => Some(Interpolation::Bilinear),
        _ => {
            unknown.push(format!("interpolation = {name:?}"));
            None
        }
    });
    let mut crop = of.crop_pct;
    if let Some(mode) = of.crop_mode.filter(|mode| mode != "center") {
        unknown.push(format!("crop_mode = {mode:?}"));
        crop = None;
    }
    let framing = Framing { size, interpolation, crop, mean: of.mean, std: of.std };
    let labels = label_names.and_then(Labels::in_order);
    Ok(Some(Described { channels, framing, labels, unknown }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As `save_for_hf` of timm 1.0.31 writes it for `create_model("resnet18", num_classes=3)`.
    fn file() -> Value {
        json!({
            "architecture": "resnet18", "num_classes": 3, "num_features": 512, "global_pool": "avg",
            "label_names": ["cat", "dog", "emu"],
            "model_args": { "num_classes": 3, "in_chans": 3, "global_pool": "avg" },
            "pretrained_cfg": {
                "tag": "a1_in1k", "custom_load": false, "input_size": [3, 224, 224],
                "test_input_size": [3, 288, 288], "fixed_input_size": false,
                "interpolation": "bicubic", "crop_pct": 0.95, "test_crop_pct": 1.0, "crop_mode": "center",
                "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "num_classes": 3,
                "pool_size": [7, 7], "first_conv": "conv1", "classifier": "fc"
            }
        })
    }

    #[test]
    fn what_timm_says_is_read_and_what_cannot_be_done_is_named() {
        let found = described(&file()).expect("read").expect("timm's");
        assert_eq!(found.channels, Some(3));
        assert_eq!(found.labels.as_deref(), Some(&["cat", "dog", "emu"].map(String::from)[..]));
        assert_eq!(found.unknown, ["interpolation = \"bicubic\""]);
        let framing = Framing {
            size: Some(224),
            interpolation: None,
            crop: Some(0.95),
            mean: Some(vec![0.485, 0.456, 0.406]),
            std: Some(vec![0.229, 0.224, 0.225]),
        };
        assert_eq!(found.framing, framing);

        let mut other = file();
        other["pretrained_cfg"]["interpolation"] = "bilinear".into();
        other["pretrained_cfg"]["crop_mode"] = "squash".into();
        other["pretrained_cfg"]["input_size"] = json!([1, 32, 64]);
        other["label_names"] = json!({ "1": "dog", "0": "cat", "2": "emu" });
        let found = described(&other).expect("read").expect("timm's");
        assert_eq!(found.unknown, ["input_size = [1, 32, 64]", "crop_mode = \"squash\""]);
        let Framing { size, interpolation, crop, .. } = found.framing;
        assert_eq!((size, interpolation, crop), (None, Some(Interpolation::Bilinear), None));
        assert_eq!(found.labels.as_deref(), Some(&["cat", "dog", "emu"].map(String::from)[..]));

        other["label_names"] = json!({ "0": "cat", "2": "emu" });
        assert_eq!(described(&other).expect("read").expect("timm's").labels, None);
        assert_eq!(described(&json!({ "model_type": "resnet" })).expect("read"), None);
        other["pretrained_cfg"]["mean"] = "grey".into();
        assert!(described(&other).is_err());
    }
}
