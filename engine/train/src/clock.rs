//! What time it is, by whatever machine a run is on.

use std::{
    fmt::Debug,
    time::{Duration, Instant, SystemTime},
};

/// A clock.
pub trait Clock: Debug + Send + Sync {
    /// The time since some moment, which stays the same; it never goes back.
    fn now(&self) -> Duration;

    /// The time since 1970 in UTC; it may be set back.
    fn unix(&self) -> Duration;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    since: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { since: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.since.elapsed()
    }

    fn unix(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}
