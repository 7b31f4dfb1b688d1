//! The page's clock, and what the page asks of a run meanwhile: whoever reads the clock between two steps hears of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use engine::clock::Clock;

use crate::imports;

/// `performance.now()` and `Date.now()`.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageClock {
    /// Set when the run shall end at a checkpoint.
    pub(crate) stop: Arc<AtomicBool>,
    /// Set when a checkpoint is wanted soon.
    pub(crate) soon: Arc<AtomicBool>,
}

fn milliseconds(of: f64) -> Duration {
    Duration::try_from_secs_f64(of / 1e3).unwrap_or_default()
}

/// The bits of `asked`: each is said once.
const STOP: i32 = 1;
const SOON: i32 = 2;

impl Clock for PageClock {
    fn now(&self) -> Duration {
        let asked = imports::asked();
        for (flag, bit) in [(&self.stop, STOP), (&self.soon, SOON)] {
            if asked & bit != 0 {
                flag.store(true, Ordering::Relaxed);
            }
        }
        milliseconds(imports::now())
    }

    fn unix(&self) -> Duration {
        milliseconds(imports::unix())
    }
}
