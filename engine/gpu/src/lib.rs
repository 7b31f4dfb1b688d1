//! The only crate that names wgpu: finds adapters, opens devices, runs plans.

mod adapters;
mod autotuner;
mod device;
mod executor;
mod peaks;
mod profile;
mod timings;

use thiserror::Error;

use taper_core::ops::Storage;

/// Format of the textures that mirror tensors stored so: four numbers a texel.
fn mirror_format(storage: Storage) -> wgpu::TextureFormat {
    match storage {
        Storage::F32 => wgpu::TextureFormat::Rgba32Float,
        Storage::F16 => wgpu::TextureFormat::Rgba16Float,
    }
}

pub use adapters::{ALL, AdapterDescription, adapters, select};
pub use autotuner::{Autotuned, Autotuner, BUDGET};
pub use device::{Gpu, Options};
pub use executor::{Executor, Metrics, StepParameters};
pub use peaks::peaks;
pub use timings::{Cache, Timing};

/// What can go wrong with a device.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum GpuError {
    /// There is no adapter at all.
    #[error(
        "no GPU adapter was found; install a Vulkan, Metal or DX12 driver, or Mesa's software one (`apt-get install mesa-vulkan-drivers`)"
    )]
    NoAdapter,
    /// None of the adapters was meant.
    #[error("no adapter is called {wanted:?}; there are {found}")]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The driver refused to open the adapter.
    #[error("adapter {adapter} cannot be opened: {cause}")]
    Open {
        /// Name of the adapter.
        adapter: String,
        /// What the driver said.
        cause: String,
    },
    /// The plan was compiled for more than the device grants.
    #[error("the plan needs {what} of {needed}, adapter {adapter} grants {granted}")]
    Limit {
        /// Which limit.
        what: &'static str,
        /// What the plan needs.
        needed: u64,
        /// What there is.
        granted: u64,
        /// Name of the adapter.
        adapter: String,
    },
    /// The device is gone: driver reset, unplugged, killed by a watchdog.
    #[error("the device was lost: {0}")]
    Lost(String),
    /// Device memory ran out.
    #[error("device memory ran out: {0}; use a smaller batch or network")]
    OutOfMemory(String),
    /// wgpu rejected what we did: a bug of ours.
    #[error("the device rejected {what}: {cause}")]
    Rejected {
        /// A dispatch, a pipeline, a buffer.
        what: String,
        /// What wgpu said.
        cause: String,
    },
    /// The device has no 16-bit floats.
    #[error(
        "adapter {0} has no shader-f16, which precision = \"mixed\" needs; use \"f32\", or an adapter that `taper devices` lists with \"mixed\""
    )]
    NoHalf(String),
    /// The device cannot say when a dispatch began and ended.
    #[error("adapter {0} has no timestamp queries, so nothing can be profiled on it")]
    NoTimestamps(String),
    /// The plan has no such buffer or program: a bug of ours.
    #[error("the plan has no {0}")]
    Missing(String),
}
