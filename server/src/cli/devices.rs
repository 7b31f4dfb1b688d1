//! `taper devices`: the adapters that can train.

use anyhow::Result;
use engine::gpu::{self, GpuError};
use serde_json::json;

use super::{bytes, print, print_json};

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let adapters = gpu::adapters();
    if arguments.json {
        return print_json(&json!({ "devices": adapters }));
    }
    if adapters.is_empty() {
        return Err(GpuError::NoAdapter.into());
    }
    let line = |adapter: &gpu::AdapterDescription| {
        format!(
            "{}  {} ({}, {}, {})\n   largest buffer {}{}{}\n",
            adapter.index,
            adapter.name,
            adapter.device_type,
            adapter.backend,
            adapter.driver,
            bytes(adapter.limits.buffer_bytes),
            if adapter.f16 { ", precision f32 or mixed" } else { ", precision f32" },
            if adapter.index == 0 { "; used by --device auto" } else { "" },
        )
    };
    print(&adapters.iter().map(line).collect::<String>())
}
