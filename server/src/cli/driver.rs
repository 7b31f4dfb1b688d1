//! What Mesa's drivers read from the environment when they are loaded.
//!
//! lavapipe hands each dispatch to its threads and waits for them, about 0.1 ms a time: more than a small network's kernels take. With
//! `LP_NUM_THREADS=0` it runs dispatches where they are submitted. The bits are the same. A process cannot change its environment
//! safely once it has threads, so the program starts itself anew, under the same process number, before it has any.

use std::env::var_os;
use std::ffi::OsString;
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use engine::config::Config;
use engine::ops::AdapterKind;
use engine::plan::{Limits, Plan, Target};
use engine::step::{Objective, STEP, Training, program};
use engine::{data, models};

/// Mean floating-point operations of a dispatch under which the hand-over to threads costs more than they gain. On two idle cores an MLP of
/// 0.7 million a dispatch still gains: 4.4 to 5 ms a step with threads, 5.5 to 6 without. A network is on the same side of it as when it was
/// measured, though fusion leaves its work to fewer dispatches since.
const SMALL: u64 = 350_000;

/// Says that this process has been started anew, so that it is not done again.
const STARTED: &str = "TAPER_ENVIRONMENT";

/// Starts the program anew with an environment that suits it, if a variable is missing that the user has not set; returns if nothing is to be
/// done or it cannot be. `config` is what will be trained, for the verb that trains.
#[cfg(target_os = "linux")]
pub(super) fn settle(config: Option<&Config>) {
    use std::env::{args_os, current_exe, temp_dir};
    use std::os::unix::process::CommandExt as _;

    if var_os(STARTED).is_some() {
        return;
    }
    // A Vulkan layer of Mesa's complains on standard error where there is no session.
    let session = var_os("XDG_RUNTIME_DIR")
        .is_none()
        .then(|| ("XDG_RUNTIME_DIR", temp_dir().into_os_string()));
    let threads = config.and_then(plan).and_then(|plan| inline(&plan));
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

/// What a process is given that shall time the steps of `plan` as a user's first run of it would: the threads that [`settle`] would choose,
/// and `cache`, an empty folder, for the shaders that the driver compiles (Mesa's and NVIDIA's drivers; others have no such variable).
pub(super) fn alone(plan: &Plan, cache: &Path) -> Vec<(&'static str, OsString)> {
    let caches = ["MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH"];
    caches.into_iter().map(|name| (name, cache.into())).chain(inline(plan)).collect()
}

/// How many threads lavapipe hands a dispatch to.
const THREADS: &str = "LP_NUM_THREADS";

/// The variable that keeps lavapipe from its threads, if the dispatches of a step are small and the user has not set it.
fn inline(plan: &Plan) -> Option<(&'static str, OsString)> {
    (is_small(plan) && var_os(THREADS).is_none()).then(|| (THREADS, "0".into()))
}

/// Members that a software adapter trains at the same time: one a core where each of them keeps to one.
pub(super) fn side_by_side() -> usize {
    match var_os(THREADS) {
        Some(threads) if threads == "0" => available_parallelism().map_or(1, NonZero::get),
        _ => 1,
    }
}

/// Whether a step has small dispatches, in the mean.
fn is_small(plan: &Plan) -> bool {
    plan.flops(STEP) < SMALL * plan.launches(STEP).max(1) as u64
}

/// What plans are made for before there is a device: threads matter on a CPU alone.
pub(super) fn presumed() -> Target {
    Target { limits: Limits::NONE, ..Target::web(AdapterKind::Cpu) }
}

/// The student's plan.
fn plan(config: &Config) -> Option<Plan> {
    let subject = data::promised(config);
    let student = models::network(&config.model, subject.input, subject.output);
    let recipe = config.vanilla.recipe();
    let of = Training {
        student: &student,
        teacher: None,
        task: subject.task(),
        objective: Objective::Labels,
        recipe: &recipe,
        precision: config.precision,
    };
    program(&of, &presumed()).ok().map(|program| program.plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use benches::{growth, works};
    use engine::config::presets;

    #[test]
    fn a_thin_mlp_is_small_and_a_resnet_is_not() {
        let small = |name| {
            let preset = presets::find(name).expect("a preset");
            let config = Config::from_toml(preset.text, name).expect("a configuration");
            is_small(&plan(&config).expect("a plan"))
        };
        assert!(small("demo"));
        assert!(small("mnist-mlp-thin"));
        assert!(!small("cifar10-resnet-thin"));
    }

    #[test]
    fn a_timed_process_has_an_empty_cache_and_no_threads_for_small_dispatches() {
        let names = |name: &str| {
            let work = works().into_iter().chain(growth::works()).find(|work| work.name == name);
            let plan = work.expect("a work").plan(&presumed()).expect("a plan");
            let given = alone(&plan, Path::new("empty"));
            given.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let caches = ["MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH"];
        assert_eq!(names("resnet_bottleneck_b64_sgdm"), caches);
        let threads = var_os(THREADS).is_none().then_some(THREADS);
        let expected: Vec<_> = caches.into_iter().chain(threads).collect();
        assert_eq!(names("mlp_base"), expected);
    }
}
