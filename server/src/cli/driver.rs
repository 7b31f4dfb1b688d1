//! What Mesa's drivers read from the environment when they are loaded.
//!
//! lavapipe hands each dispatch to its threads and waits for them, about 0.1 ms a time: more than a small network's kernels take. With
//! `LP_NUM_THREADS=0` it runs dispatches where they are submitted. The bits are the same. A process cannot change its environment
//! safely once it has threads, so the program starts itself anew, under the same process number, before it has any.

use engine::config::Config;
use engine::nn::Extent;
use engine::ops::AdapterKind;
use engine::plan::{Limits, Target};
use engine::win::program::{Objective, STEP, Training, program};
use engine::{data, models};

/// Mean floating-point operations of a dispatch under which the hand-over to threads costs more than they gain: a thread of lavapipe does
/// about 2 to 3 GFLOP/s in our kernels.
const SMALL: u64 = 300_000;

/// Says that this process has been started anew, so that it is not done again.
const STARTED: &str = "TAPER_ENVIRONMENT";

/// Starts the program anew with an environment that suits it, if a variable is missing that the user has not set; returns if nothing is to be
/// done or it cannot be. `config` is what will be trained, for the verb that trains.
#[cfg(target_os = "linux")]
pub(super) fn settle(config: Option<&Config>) {
    use std::env::{args_os, current_exe, temp_dir, var_os};
    use std::os::unix::process::CommandExt as _;

    if var_os(STARTED).is_some() {
        return;
    }
    // A Vulkan layer of Mesa's complains on standard error where there is no session.
    let session = var_os("XDG_RUNTIME_DIR")
        .is_none()
        .then(|| ("XDG_RUNTIME_DIR", temp_dir().into_os_string()));
    let inline = var_os("LP_NUM_THREADS").is_none() && config.is_some_and(is_small);
    let threads = inline.then(|| ("LP_NUM_THREADS", "0".into()));
    let missing: Vec<_> = session.into_iter().chain(threads).collect();
    if let (false, Ok(program)) = (missing.is_empty(), current_exe()) {
        let mut command = std::process::Command::new(program);
        // It only returns if it fails, and then this process does as well, if more slowly.
        drop(command.args(args_os().skip(1)).env(STARTED, "1").envs(missing).exec());
    }
}

/// Other systems have no such driver.
#[cfg(not(target_os = "linux"))]
pub(super) fn settle(_config: Option<&Config>) {}

/// Whether a step of the student has small dispatches.
fn is_small(config: &Config) -> bool {
    let (shape, classes) = data::promised(&config.data);
    let input = Extent::Map(shape.height as u32, shape.width as u32, shape.channels as u32);
    let student = models::network(&config.model, input, classes as u32);
    let recipe = config.vanilla.recipe();
    let of = Training {
        student: &student,
        teacher: None,
        objective: Objective::Labels,
        recipe: &recipe,
    };
    let target = Target { limits: Limits::NONE, ..Target::web(AdapterKind::Cpu) };
    program(&of, &target).is_ok_and(|program| {
        program.plan.flops(STEP) < SMALL * program.plan.launches(STEP).max(1) as u64
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::config::presets;

    #[test]
    fn a_thin_mlp_is_small_and_a_resnet_is_not() {
        let small = |name| {
            let preset = presets::find(name).expect("a preset");
            is_small(&Config::from_toml(preset.text, name).expect("a configuration"))
        };
        assert!(small("demo"));
        assert!(small("mnist-mlp-thin"));
        assert!(!small("cifar10-resnet-thin"));
    }
}
