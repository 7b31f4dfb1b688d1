//! `taper presets`: the built-in configurations.

use anyhow::Result;
use engine::config::{Draft, presets::PRESETS};
use serde_json::json;

use super::out::{print, print_json};

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print this one as TOML, a start for a file of your own.
    name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(name) = &arguments.name {
        let config = Draft::preset(name)?.finish()?;
        let text = PRESETS.iter().find(|preset| preset.name == name).map(|preset| preset.text);
        return match (arguments.json, text) {
            (true, _) => print_json(&config),
            (false, Some(text)) => print(text),
            (false, None) => print(&config.to_toml()),
        };
    }
    if arguments.json {
        let presets: Vec<_> = PRESETS
            .iter()
            .map(|preset| json!({ "name": preset.name, "summary": preset.summary() }))
            .collect();
        return print_json(&json!({ "presets": presets }));
    }
    let width = PRESETS.iter().map(|preset| preset.name.len()).max().unwrap_or(0);
    let lines: String = PRESETS
        .iter()
        .map(|preset| format!("{:<width$}  {}\n", preset.name, preset.summary()))
        .collect();
    print(&lines)
}
