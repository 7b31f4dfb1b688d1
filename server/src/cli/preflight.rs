//! `taper preflight`: what the server asks before it accepts a configuration.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use engine::config::{self, Config};
use engine::device::Device;
use engine::ops::AdapterKind;
use engine::plan::Target;

use super::out::print_json;
use crate::run::examine::{Problem, examine};

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
        config::read(&self.config).ok()
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let config = config::read(&arguments.config)?;
    let options = taper_gpu::Options { memory_budget: config.memory_budget, ..Default::default() };
    match taper_gpu::open_all(&config.device, options) {
        Ok(gpus) => {
            let look = |gpu: &Arc<dyn Device>, measured| {
                examine(&config, Some(gpu), &gpu.target(), measured)
            };
            let mut findings = look(&gpus[0], arguments.measure);
            // A member may come to any of them.
            for gpu in &gpus[1..] {
                findings.problem = findings.problem.or_else(|| look(gpu, false).problem);
            }
            print_json(&findings)
        }
        Err(error) => {
            let mut findings = examine(&config, None, &Target::web(AdapterKind::Gpu), false);
            if findings.problem.is_none() {
                findings.problem = Some(Problem::new("device", error.to_string()));
            }
            print_json(&findings)
        }
    }
}
