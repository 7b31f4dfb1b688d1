//! `taper devices`: the adapters that can train.

use anyhow::Result;
use engine::device::{AdapterDescription, DeviceError};
use serde_json::json;

use super::out::{print, print_json, print_json_pretty};
use super::self_test;
use crate::figures::bytes;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Train small networks on this adapter and compare their losses with those that are known.
    #[arg(long, value_name = "NAME|INDEX")]
    self_test: Option<String>,
    /// Print the losses instead, for `self_test.json`.
    #[arg(long, hide = true, requires = "self_test")]
    losses: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(device) = &arguments.self_test {
        return tested(device, arguments);
    }
    let adapters = taper_gpu::adapters();
    if arguments.json {
        return print_json(&json!({ "devices": adapters }));
    }
    if adapters.is_empty() {
        return Err(DeviceError::NoAdapter.into());
    }
    let line = |adapter: &AdapterDescription| {
        format!(
            "{}  {} ({}, {}, {})\n   largest buffer {}{}{}{}\n",
            adapter.index,
            adapter.name,
            adapter.device_type,
            adapter.backend,
            adapter.driver,
            bytes(adapter.limits.buffer_bytes),
            if adapter.f16 { ", precision f32 or mixed" } else { ", precision f32" },
            if adapter.is_gl() { "; by OpenGL, best effort" } else { "" },
            if adapter.index == 0 { "; used by --device auto" } else { "" },
        )
    };
    print(&adapters.iter().map(line).collect::<String>())
}

fn tested(device: &str, arguments: &Arguments) -> Result<()> {
    if arguments.losses {
        return print_json_pretty(&self_test::losses(device)?);
    }
    let test = self_test::test(device)?;
    if arguments.json {
        return print_json(&test);
    }
    let words = if test.ok { "computes what it should" } else { "does NOT compute what it should" };
    print(&format!(
        "the adapter {words}: {} kernels, worst in {} (off by {:.1e} of the loss; {:.0e} is allowed), {:.1} s\n",
        test.ops, test.worst.op, test.worst.error, test.worst.tolerance, test.seconds
    ))
}
