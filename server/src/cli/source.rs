//! The arguments that say which configuration is meant.

use anyhow::Result;
use engine::config::{self, Config, Draft};

use crate::failure::failure;

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

impl Source {
    /// The configurations that the arguments ask for, each with its label. Who opens what they name fetches models of the Hub's by [`hub::resolve`](crate::hub::resolve).
    pub(super) fn configurations(&self) -> Result<Vec<(String, Config)>> {
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
        let finish = |(label, draft): (String, Draft)| Ok((label, draft.finish()?));
        drafts.into_iter().map(finish).collect()
    }

    /// A configuration without any option.
    #[cfg(test)]
    pub(super) fn of(config: &str) -> Source {
        Source { config: Some(config.into()), set: Vec::new(), grid: Vec::new(), device: None }
    }
}
