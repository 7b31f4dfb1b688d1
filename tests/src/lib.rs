//! Helpers shared by the integration tests: adapters, how far results are off, golden files, small networks, the table of ops that the
//! goldens speak of, and programs of others.

pub mod close;
pub mod golden;
pub mod nets;
pub mod table;
pub mod tools;

use std::sync::Arc;

use engine::gpu::{Gpu, Options, adapters};

/// Set to 1 where a missing adapter must fail a test instead of skipping it, as in CI.
pub const REQUIRE: &str = "TAPER_REQUIRE_GPU";

/// Every adapter, opened. One that its driver does not open is named and passed over: GL is best effort.
///
/// # Panics
/// If there is none and [`REQUIRE`] is set.
pub fn gpus() -> Vec<Arc<Gpu>> {
    let mut open = Vec::new();
    for adapter in adapters() {
        match Gpu::open(&adapter.index.to_string(), Options::default()) {
            Ok(gpu) => open.push(gpu),
            Err(error) => eprintln!("passed over {} ({}): {error}", adapter.name, adapter.backend),
        }
    }
    if open.is_empty() {
        let required = std::env::var(REQUIRE).is_ok_and(|value| value == "1");
        assert!(!required, "{REQUIRE}=1, and no adapter can be opened");
        eprintln!("skipped: no adapter can be opened");
    }
    open
}

/// The adapter that `auto` means, with these options; `None`, said on stderr, where there is none.
///
/// # Panics
/// As [`gpus`].
pub fn gpu_with(options: Options) -> Option<Arc<Gpu>> {
    match Gpu::open("auto", options) {
        Ok(gpu) => Some(gpu),
        Err(error) => {
            let required = std::env::var(REQUIRE).is_ok_and(|value| value == "1");
            assert!(!required, "{REQUIRE}=1: {error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// [`gpu_with`] of the default options.
///
/// # Panics
/// As [`gpus`].
pub fn gpu() -> Option<Arc<Gpu>> {
    gpu_with(Options::default())
}
