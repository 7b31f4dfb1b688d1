//! The only crate that names wgpu: finds adapters, opens devices, runs plans.

mod adapters;
mod device;
mod executor;
mod peaks;
mod profile;

use std::sync::Arc;

use taper_core::{
    device::{self as core, AdapterDescription, Device, DeviceError, Devices},
    plan::{Plan, Target},
    profile::Peaks,
};

pub use adapters::{ALL, adapters, select};
pub use device::Options;

use device::Gpu;
use executor::Executor;

/// Opens the best adapter that `wanted` means, see [`select`].
///
/// # Errors
/// If there is no such adapter or its driver refuses.
pub fn open(wanted: &str, options: Options) -> Result<Arc<dyn Device>, DeviceError> {
    let mut meant = adapters::meant(wanted)?;
    let (adapter, description) = meant.swap_remove(0);
    Ok(Gpu::request(&adapter, description, options)?)
}

/// Opens what a run is to be trained on: each device for [`ALL`], else the best adapter that `wanted` means; of these what is this process's
/// [turn](Options::turn).
///
/// # Errors
/// If there is no such adapter or a driver refuses.
pub fn open_all(wanted: &str, options: Options) -> Result<Vec<Arc<dyn Device>>, DeviceError> {
    let mut meant = adapters::meant(wanted)?;
    let all = wanted.eq_ignore_ascii_case(ALL);
    if let Some(turn) = options.turn {
        let descriptions: Vec<_> = meant.iter().map(|(_, of)| of.clone()).collect();
        let mine = adapters::share(&descriptions, all, turn);
        meant = mine.into_iter().map(|place| meant[place].clone()).collect();
    } else if !all {
        meant.truncate(1);
    }
    let meant = meant.into_iter();
    meant.map(|(adapter, of)| Ok(Gpu::request(&adapter, of, options)? as _)).collect()
}

impl Devices for Options {
    fn open(
        &self,
        wanted: &str,
        memory_budget: Option<u64>,
    ) -> Result<Vec<Arc<dyn Device>>, DeviceError> {
        open_all(wanted, Options { memory_budget, ..*self })
    }
}

impl Device for Gpu {
    fn adapter(&self) -> &AdapterDescription {
        &self.adapter
    }

    fn target(&self) -> Target {
        Self::target(self)
    }

    fn prepare(self: Arc<Self>, plan: Plan) -> Result<Box<dyn core::Executor>, DeviceError> {
        Ok(Box::new(Executor::new(&self, plan)?))
    }

    fn reopen(&self) -> Result<Arc<dyn Device>, DeviceError> {
        Ok(self.again()?)
    }

    fn peaks(self: Arc<Self>) -> Result<Peaks, DeviceError> {
        peaks::peaks(&self)
    }

    fn check_timestamps(&self) -> Result<(), DeviceError> {
        Self::check_timestamps(self)
    }
}
