//! What a run asks of the machine that it is on.

use std::sync::Arc;

use crate::device::Devices;

/// A machine: what is under a run and not of it.
#[derive(Debug, Clone)]
pub struct Host {
    /// What opens its devices.
    pub devices: Arc<dyn Devices>,
}

impl Host {
    /// This machine, with these devices.
    pub fn native(devices: impl Devices + 'static) -> Self {
        Self { devices: Arc::new(devices) }
    }
}
