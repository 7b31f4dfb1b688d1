//! `taper preflight`: what the server asks before it accepts a configuration.

use std::path::PathBuf;

use anyhow::Result;
use engine::config::Config;
use engine::gpu::{self, Gpu};
use engine::ops::AdapterKind;
use engine::plan::Target;

use super::print_json;
use crate::preflight::{Problem, examine};

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A configuration file.
    config: PathBuf,
    /// Time some steps on the adapter.
    #[arg(long)]
    measure: bool,
}

impl Arguments {
    /// The configuration, if it can be read; else `run` says why not.
    pub(super) fn config(&self) -> Option<Config> {
        Config::open(&self.config.to_string_lossy()).ok()
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let config = Config::open(&arguments.config.to_string_lossy())?;
    match Gpu::open(
        &config.device,
        gpu::Options { memory_budget: config.memory_budget, ..Default::default() },
    ) {
        Ok(gpu) => print_json(&examine(&config, Some(&gpu), &gpu.target(), arguments.measure)),
        Err(error) => {
            let mut findings = examine(&config, None, &Target::web(AdapterKind::Gpu), false);
            if findings.problem.is_none() {
                findings.problem = Some(Problem::new("device", error.to_string()));
            }
            print_json(&findings)
        }
    }
}
