//! Helpers shared by the integration tests: adapters, how far results are off, golden files, small networks and models on text, the table of
//! ops that the goldens speak of, programs of others, and the mutation fuzz.

pub mod close;
pub mod fuzz;
pub mod golden;
pub mod nets;
pub mod table;
pub mod texts;
pub mod tools;

use std::sync::Arc;

use engine::{device::Device, train::Host};
use taper_gpu::{Options, adapters};

/// Set to 1 where a missing adapter must fail a test instead of skipping it, as in CI.
pub const REQUIRE: &str = "TAPER_REQUIRE_GPU";

/// What not every adapter has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Feature {
    /// 16-bit floats.
    F16,
    /// Times of dispatches.
    Timestamps,
}

impl Feature {
    /// Whether a device has it.
    pub fn is_of(self, gpu: &Arc<dyn Device>) -> bool {
        match self {
            Self::F16 => gpu.check_half().is_ok(),
            Self::Timestamps => gpu.check_timestamps().is_ok(),
        }
    }

    /// In words, and what is set to 1 where an adapter must have it.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::F16 => ["16-bit floats", "TAPER_REQUIRE_F16"],
            Self::Timestamps => ["timestamps", "TAPER_REQUIRE_TIMESTAMPS"],
        }
    }
}

fn required(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value == "1")
}

/// This machine, with the devices that wgpu opens.
pub fn host() -> Host {
    Host::native(Options::default())
}

/// Every adapter, opened. One that its driver does not open is named and passed over: GL is best effort.
///
/// # Panics
/// If there is none and [`REQUIRE`] is set.
pub fn gpus() -> Vec<Arc<dyn Device>> {
    let mut open = Vec::new();
    for adapter in adapters() {
        match taper_gpu::open(&adapter.index.to_string(), Options::default()) {
            Ok(gpu) => open.push(gpu),
            Err(error) => eprintln!("passed over {} ({}): {error}", adapter.name, adapter.backend),
        }
    }
    if open.is_empty() {
        assert!(!required(REQUIRE), "{REQUIRE}=1, and no adapter can be opened");
        eprintln!("skipped: no adapter can be opened");
    }
    open
}

/// The adapter that `auto` means, with these options; `None`, said on stderr, where there is none.
///
/// # Panics
/// As [`gpus`].
pub fn gpu_with(options: Options) -> Option<Arc<dyn Device>> {
    match taper_gpu::open("auto", options) {
        Ok(gpu) => Some(gpu),
        Err(error) => {
            assert!(!required(REQUIRE), "{REQUIRE}=1: {error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// [`gpu_with`] of the default options.
///
/// # Panics
/// As [`gpus`].
pub fn gpu() -> Option<Arc<dyn Device>> {
    gpu_with(Options::default())
}

/// Those of [`gpus`] that have a feature, best first.
///
/// # Panics
/// If none has it and the feature's variable is set, see [`Feature`].
pub fn gpus_with(feature: Feature) -> Vec<Arc<dyn Device>> {
    let mut found = gpus();
    found.retain(|gpu| feature.is_of(gpu));
    if found.is_empty() {
        let [what, variable] = feature.names();
        assert!(!required(variable), "{variable}=1, and no adapter has {what}");
        eprintln!("skipped: no adapter has {what}");
    }
    found
}

/// The best adapter that has a feature; `None`, said on stderr, where there is none.
///
/// # Panics
/// As [`gpus_with`].
pub fn gpu_that_has(feature: Feature) -> Option<Arc<dyn Device>> {
    gpus_with(feature).into_iter().next()
}
