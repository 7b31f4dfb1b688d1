//! The arguments that say which configuration is meant.

use std::path::Path;

use anyhow::Result;
use engine::config::{self, Config, DataKind, Draft, Images};
use engine::data;
use engine::suggest::{self, Choice};

use crate::failure::failure;

/// Pictures of each part that are decoded to know their size.
const LOOKED_AT: usize = 64;

/// Where a configuration comes from.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// A preset (see `taper presets`) or a configuration file.
    #[arg(value_name = "PRESET|FILE.toml")]
    pub(super) config: Option<String>,
    /// Set a key, as `tune.lr=0.01`; the value is TOML, what does not parse is a string.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Train once for each value, as `teacher.factor=2,4`; several axes make a grid.
    #[arg(long, value_name = "KEY=V1,V2,…")]
    pub(super) grid: Vec<String>,
    /// Adapter: a part of its name or its index in `taper devices`.
    #[arg(long, value_name = "NAME|INDEX")]
    pub(super) device: Option<String>,
}

/// A configuration that is asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Which point of the grid it is; empty without one.
    pub(super) label: String,
    pub(super) config: Config,
    /// What was chosen by the pictures, where the preset leaves that to them.
    pub(super) choices: Vec<Choice>,
}

impl Source {
    /// The configurations that the arguments ask for. Who opens what they name fetches models of the Hub's by [`hub::resolve`](crate::hub::resolve).
    pub(super) fn configurations(&self) -> Result<Vec<Wanted>> {
        let finish = |(label, draft): (String, Draft)| {
            let (draft, choices) = suggested(draft)?;
            Ok(Wanted { label, config: draft.finish()?, choices })
        };
        self.drafts()?.into_iter().map(finish).collect()
    }

    /// The first of them, without a look at any data: what is chosen by these has the preset's values.
    pub(super) fn first(&self) -> Option<Config> {
        self.drafts().ok()?.into_iter().next()?.1.finish().ok()
    }

    /// What the arguments say, each with its label.
    fn drafts(&self) -> Result<Vec<(String, Draft)>> {
        let Some(config) = &self.config else {
            return Err(failure(
                "no configuration is given",
                "name a preset (see `taper presets`) or a file that ends in .toml",
            ));
        };
        let mut draft = config::open(config)?;
        for set in &self.set {
            draft = draft.set(set)?;
        }
        if let Some(device) = &self.device {
            draft = draft.put_device(device);
        }
        let mut drafts = vec![(String::new(), draft)];
        for axis in &self.grid {
            let mut finer = Vec::new();
            for (label, draft) in drafts {
                let values = draft.grid(axis)?.into_iter();
                let join = |value: String| {
                    if label.is_empty() { value } else { format!("{label},{value}") }
                };
                finer.extend(values.map(|(value, draft)| (join(value), draft)));
            }
            drafts = finer;
        }
        Ok(drafts)
    }

    /// A configuration without any option.
    #[cfg(test)]
    pub(super) fn of(config: &str) -> Source {
        Source { config: Some(config.into()), set: Vec::new(), grid: Vec::new(), device: None }
    }
}

/// A draft with what suits its pictures filled in, if its preset leaves that to them and says where they are.
fn suggested(draft: Draft) -> Result<(Draft, Vec<Choice>)> {
    let path = draft.given("data.path").and_then(toml::Value::as_str).map(str::to_owned);
    let (true, Some(path)) = (draft.is_of(suggest::PRESET), path) else {
        return Ok((draft, Vec::new()));
    };
    let kind = match draft.given("data.kind") {
        Some(kind) => kind.clone().try_into().ok(),
        None => match data::kind_of(Path::new(&path)) {
            DataKind::Images(_) => Some(data::images::kind_within(Path::new(&path))?),
            DataKind::Text(_) => {
                return Err(failure(
                    format!(
                        "`{path}` holds text, and the preset {} reads pictures",
                        suggest::PRESET
                    ),
                    "the preset bert-tiny reads text",
                ));
            }
        },
    };
    // What is no kind of pictures is refused with the other keys.
    let Some(kind) = kind else { return Ok((draft, Vec::new())) };
    let given = |key: &str| draft.given(key).and_then(toml::Value::as_float);
    let mut config = Images { kind, path: Some(path.clone()), ..Images::default() };
    config.test_fraction = given("data.test_fraction").unwrap_or(config.test_fraction);
    let survey = data::images::survey(&config, LOOKED_AT)?;
    let Some(pictures) = survey.pictures(kind) else {
        let hint = "expected are CLASS/NAME.jpg, or train/CLASS/NAME.jpg with test/";
        return Err(failure(format!("`{path}` holds no pictures"), hint));
    };
    let device = match draft.given("device") {
        Some(toml::Value::String(name)) => name.clone(),
        Some(index) => index.to_string(),
        None => "auto".into(),
    };
    let adapters = taper_gpu::adapters();
    let meant = taper_gpu::select(&adapters, &device);
    let on = meant.first().map(|&place| adapters[place].kind);
    Ok(suggest::suggest(draft, &pictures, on)?)
}
