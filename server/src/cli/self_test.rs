//! Whether an adapter computes what it should, see [`engine::train::self_test`].

use std::time::Instant;

use anyhow::Result;
use engine::train::self_test::{self, Losses, TOLERANCE};

use crate::jobs::{SelfTest, Worst};

/// The losses on an adapter.
pub(super) fn losses(device: &str) -> Result<Vec<Losses>> {
    let gpu = taper_gpu::open(device, taper_gpu::Options::default())?;
    Ok(self_test::losses(&gpu)?)
}

/// Tries an adapter.
pub(super) fn test(device: &str) -> Result<SelfTest> {
    let begun = Instant::now();
    let gpu = taper_gpu::open(device, taper_gpu::Options::default())?;
    let tried = self_test::test(&gpu)?;
    let worst = Worst { op: tried.work.into(), error: tried.error, tolerance: TOLERANCE };
    let seconds = begun.elapsed().as_secs_f64();
    Ok(SelfTest { ok: tried.ok(), ops: tried.kernels, worst, seconds })
}
