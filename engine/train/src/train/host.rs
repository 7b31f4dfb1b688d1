//! What a run asks of the machine that it is on.

use std::sync::Arc;

use crate::{
    clock::{Clock, SystemClock},
    device::Devices,
    disk::{Disk, SystemDisk},
};

/// A machine: what is under a run and not of it.
#[derive(Debug, Clone)]
pub struct Host {
    /// What opens its devices.
    pub devices: Arc<dyn Devices>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Where its runs keep their files.
    pub disk: Arc<dyn Disk>,
    /// Whether it has threads; if not, a run trains on one device and one member after the other, to the same bits.
    pub threads: bool,
}

impl Host {
    /// This machine, with these devices.
    pub fn native(devices: impl Devices + 'static) -> Self {
        Self {
            devices: Arc::new(devices),
            clock: Arc::new(SystemClock::default()),
            disk: Arc::new(SystemDisk),
            threads: true,
        }
    }
}
