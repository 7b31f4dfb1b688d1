//! The built-in configurations, and where one departs from the paper.

use std::collections::BTreeSet;

use super::draft;
use super::error::{self, ConfigError};
use super::{Bert, Config, Data, Draft, Model};

/// A built-in configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its TOML text.
    pub text: &'static str,
}

impl Preset {
    /// One line on what it is: the first comment of the text.
    pub fn summary(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
    }

    /// Whether it is meant for a GPU: a processor trains it for days or months.
    pub fn wants_gpu(&self) -> bool {
        ["cifar10-paper", "imagenet-", "bert-base"].iter().any(|begin| self.name.starts_with(begin))
    }
}

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        &[$(Preset { name: $name, text: include_str!(concat!("../../presets/", $name, ".toml")) }),*]
    };
}

/// All presets, in the order in which they are shown.
pub const PRESETS: &[Preset] = presets![
    "demo",
    "pictures",
    "mnist-mlp-thin",
    "cifar10-resnet-thin",
    "cifar10-paper",
    "imagenet-resnet50",
    "imagenet-resnet50-half",
    "imagenet-resnet50-quarter",
    "imagenet-resnet101",
    "imagenet-resnet101-half",
    "imagenet-resnet101-quarter",
    "bert-demo",
    "bert-tiny",
    "bert-base",
    "bert-base-half",
];

/// The preset of this name.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

impl Draft {
    /// A preset by name.
    ///
    /// # Errors
    /// [`ConfigError::UnknownPreset`].
    pub fn preset(name: &str) -> Result<Draft, ConfigError> {
        if let Some(preset) = find(name) {
            return Draft::from_toml(preset.text, &draft::origin(name));
        }
        let nearest = error::nearest(name, PRESETS.iter().map(|preset| preset.name));
        Err(ConfigError::UnknownPreset { name: name.into(), nearest: nearest.map(String::from) })
    }
}

impl Config {
    /// A preset by name, checked.
    ///
    /// # Errors
    /// As [`Draft::preset`] and [`Draft::finish`].
    pub fn preset(name: &str) -> Result<Config, ConfigError> {
        Draft::preset(name)?.finish()
    }
}

/// What the paper fixes; keys outside these are the user's, or ours.
const OF_THE_PAPER: [&str; 8] =
    ["data", "model", "teacher", "text", "wide", "vanilla", "narrow", "tune"];

/// Keys in those sections, and in `[win]`, that the paper says nothing about.
const SILENT: [&str; 13] = [
    "data.kind",
    "data.path",
    "data.mean",
    "data.std",
    "data.split_seed",
    "data.interpolation",
    "model.width",
    "model.arch",
    "text.vocab",
    "text.vocab_size",
    "text.lowercase",
    "text.dupe_factor",
    "win.start_inputs",
];

/// The preset that has the paper's settings for a configuration's network; none if that is none of the paper's, or is not trained from the beginning.
fn of_the_paper(config: &Config) -> Option<&'static Preset> {
    let sizes = |of: &Bert| (of.layers, of.hidden, of.heads, of.inner);
    match &config.model {
        Model::Resnet50(_) | Model::Resnet101(_) => find("imagenet-resnet50"),
        Model::Bert(own) if !matches!(&config.data, Data::Text(text) if text.kind.asks()) => {
            ["bert-base", "bert-base-half"].into_iter().filter_map(find).find(|preset| {
                let paper = Config::preset(preset.name).map(|config| config.model);
                matches!(paper, Ok(Model::Bert(paper)) if sizes(&paper) == sizes(own))
            })
        }
        _ => None,
    }
}

/// Where a configuration of one of the paper's networks departs from the paper: a sentence for each key.
///
/// Empty for networks that the paper does not have.
pub fn deviations(config: &Config) -> Vec<String> {
    let Some(preset) = of_the_paper(config) else { return Vec::new() };
    let paper = Draft::from_toml(preset.text, "preset")
        .and_then(|draft| draft.set("win.start=random")?.finish());
    let (Ok(paper), ours) = (paper.map(|paper| paper.flat()), config.flat()) else {
        return Vec::new();
    };
    let keys: BTreeSet<&String> = paper.keys().chain(ours.keys()).collect();
    let fixed = |key: &str| {
        let section = key.split('.').next().unwrap_or(key);
        (section == "win" || OF_THE_PAPER.contains(&section)) && !SILENT.contains(&key)
    };
    let of_keys = keys
        .into_iter()
        .filter(|key| fixed(key) && paper.get(*key) != ours.get(*key))
        .map(|key| match (key.as_str(), ours.get(key), paper.get(key)) {
            ("win.start", Some(ours), _) => format!(
                "win.start = {ours}; the paper starts a block with fresh weights and random pairs (--set win.start=random)"
            ),
            (key, Some(ours), Some(paper)) => format!("{key} = {ours}; the paper has {paper}"),
            (key, Some(ours), None) => format!("{key} = {ours}; the paper has none"),
            (key, None, paper) => {
                format!("{key} is absent; the paper has {}", paper.map_or("none", String::as_str))
            }
        });
    of_keys.chain(heads_as_well(config)).collect()
}

/// That a teacher of ours has more attention heads than a BERT that is widened as in the paper; no key says it.
fn heads_as_well(config: &Config) -> Option<String> {
    let factor = config.teacher.factor;
    let widened = config.teacher.from.is_none() && factor > 1;
    (matches!(config.model, Model::Bert(_)) && widened).then(|| {
        format!(
            "teacher.factor = {factor} widens the attention heads, too; the paper widens hidden size and FFN"
        )
    })
}
