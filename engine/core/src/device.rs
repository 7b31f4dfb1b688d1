//! A device that runs plans, as training sees it: `taper-gpu` is one on wgpu, a browser's WebGPU another.
//!
//! Calls are synchronous. Where a device can only be waited for, as in a browser, the call suspends whoever makes it.

use std::{fmt::Debug, sync::Arc};

use bytemuck::{NoUninit, Pod, Zeroable};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    ops::AdapterKind,
    plan::{Limits, Plan, Target},
    profile::{Pass, Peaks},
};

/// An adapter, as `taper devices` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterDescription {
    /// What `--device` takes.
    pub index: usize,
    /// The driver's name for it.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `gl`.
    pub backend: String,
    /// Driver and its version.
    pub driver: String,
    /// Numbers of its maker and of its model, as the bus knows them.
    pub vendor_device: [u32; 2],
    /// `discrete`, `integrated`, `virtual`, `cpu`, `other`.
    pub device_type: String,
    /// Which kernels run there.
    pub kind: AdapterKind,
    /// Its limits.
    pub limits: Limits,
    /// Whether `precision = "mixed"` can run there.
    pub f16: bool,
    /// Where it sits, empty if the driver does not say.
    pub pci_bus: String,
    /// Key of the physical device behind it. Several adapters, one for each backend, may share a device, which does one thing at a time.
    pub slot: String,
}

impl AdapterDescription {
    /// Whether it is reached by OpenGL, which is best effort.
    pub fn is_gl(&self) -> bool {
        self.backend == "gl"
    }

    /// A warning for every place where this adapter is used; `None` if there is nothing to warn of.
    pub fn caveat(&self) -> Option<String> {
        let Self { name, .. } = self;
        let words = format!(
            "{name} is reached by OpenGL, which is best effort: slower, in f32 only, and without profiles; with a Vulkan driver (`apt-get install mesa-vulkan-drivers`) it is not needed"
        );
        self.is_gl().then_some(words)
    }
}

/// What opens devices by name.
pub trait Devices: Debug + Send + Sync {
    /// Opens what a run is to be trained on: every device that `wanted` means together, else the best one that it means. A plan for them takes
    /// at most `memory_budget` bytes; `None`: what their limits allow.
    ///
    /// # Errors
    /// If there is no such adapter or a driver refuses.
    fn open(
        &self,
        wanted: &str,
        memory_budget: Option<u64>,
    ) -> Result<Vec<Arc<dyn Device>>, DeviceError>;
}

/// An open device. Threads may share it.
pub trait Device: Debug + Send + Sync {
    /// What it is.
    fn adapter(&self) -> &AdapterDescription;

    /// What plans for this device are compiled for.
    fn target(&self) -> Target;

    /// Makes a plan ready to run. Its buffers start as zeros.
    ///
    /// # Errors
    /// If the device cannot hold the plan or rejects a kernel.
    fn prepare(self: Arc<Self>, plan: Plan) -> Result<Box<dyn Executor>, DeviceError>;

    /// Opens the same adapter again, after its device was lost.
    ///
    /// # Errors
    /// If it is there no more, or its driver refuses.
    fn reopen(&self) -> Result<Arc<dyn Device>, DeviceError>;

    /// Measures what the adapter reaches at most.
    ///
    /// # Errors
    /// If it has no timestamps, or fails.
    fn peaks(self: Arc<Self>) -> Result<Peaks, DeviceError>;

    /// Checks that the device can say when a dispatch began and ended.
    ///
    /// # Errors
    /// If it cannot.
    fn check_timestamps(&self) -> Result<(), DeviceError>;

    /// Checks that the device has 16-bit floats.
    ///
    /// # Errors
    /// If it has none; [`DeviceError::NoHalf`] says what to do.
    fn check_half(&self) -> Result<(), DeviceError> {
        let AdapterDescription { f16, name, .. } = self.adapter();
        f16.then_some(()).ok_or_else(|| DeviceError::NoHalf(name.clone()))
    }
}

/// A plan made ready on a device. Calls take effect in their order.
pub trait Executor: Debug + Send {
    /// The plan.
    fn plan(&self) -> &Plan;

    /// Whether the plan has a buffer of this name.
    fn has(&self, label: &str) -> bool;

    /// Writes into a named buffer from its first byte on; see [`write`](#method.write) for numbers.
    ///
    /// # Errors
    /// If the plan has no such buffer or the data is longer than it.
    fn write_bytes(&self, label: &str, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Reads a whole named buffer, after everything submitted before.
    ///
    /// # Errors
    /// If the plan has no such buffer or the device is lost.
    fn read(&self, label: &str) -> Result<Vec<f32>, DeviceError>;

    /// Runs a program and lets its metrics, if the plan has any, be read when they are there: [`Self::metrics`].
    ///
    /// # Errors
    /// If the plan has no such program or the device reports an error.
    fn run(&mut self, program: &str, live: &StepParameters, tag: u64) -> Result<(), DeviceError>;

    /// Runs a program that is not the last of its step: its metrics stay on the device, and are not read back.
    ///
    /// # Errors
    /// As [`Self::run`].
    fn run_part(&mut self, program: &str, live: &StepParameters) -> Result<(), DeviceError>;

    /// The metrics that have arrived, oldest first, without waiting.
    ///
    /// # Errors
    /// If the device is lost.
    fn metrics(&mut self) -> Result<Vec<Metrics>, DeviceError>;

    /// Waits for every submit and returns the metrics that were still to come.
    ///
    /// # Errors
    /// If the device is lost.
    fn finish(&mut self) -> Result<Vec<Metrics>, DeviceError>;

    /// From now on every dispatch is timed: [`Self::stop_profile`] has the times.
    ///
    /// # Errors
    /// If the device has no timestamps.
    fn start_profile(&mut self) -> Result<(), DeviceError>;

    /// Waits for every submit; returns the programs that ran since [`Self::start_profile`], in order, and the seconds that this took.
    ///
    /// # Errors
    /// If the device is lost.
    fn stop_profile(&mut self) -> Result<(Vec<Pass>, f64), DeviceError>;
}

impl dyn Executor {
    /// Writes 4-byte numbers into a named buffer from its first float on.
    ///
    /// # Errors
    /// As [`Executor::write_bytes`].
    pub fn write<T: NoUninit>(&self, label: &str, data: &[T]) -> Result<(), DeviceError> {
        self.write_bytes(label, bytemuck::cast_slice(data))
    }
}

/// The numbers that change from step to step: `shaders/lib/step.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct StepParameters {
    /// Of the random draws.
    pub seed: u32,
    /// Steps done since the start of the stage.
    pub step: u32,
    /// Valid rows of the batch.
    pub rows: u32,
    /// Which micro-batch of the step, from 0.
    pub part: u32,
    /// Learning rate.
    pub lr: f32,
    /// The optimiser's step, from 1.
    pub t: f32,
    /// Labels (or tokens) of the micro-batch that its means are over, where that is not its rows.
    pub counted: f32,
    /// Those of the whole batch.
    pub total: f32,
}

impl StepParameters {
    /// The numbers of an evaluation of `rows` rows, each of which counts; it has no optimiser and draws nothing.
    pub fn rows(rows: u32) -> Self {
        let counted = rows as f32;
        Self { seed: 0, step: 0, rows, part: 0, lr: 0.0, t: 1.0, counted, total: counted }
    }
}

/// What a program left in the buffer `metrics`.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// The tag that the caller gave to [`Executor::run`].
    pub tag: u64,
    /// The first float of each 64-float slot.
    pub values: Vec<f32>,
}

/// What can go wrong with a device.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum DeviceError {
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
    /// What we did was rejected: a bug of ours.
    #[error("the device rejected {what}: {cause}")]
    Rejected {
        /// A dispatch, a pipeline, a buffer.
        what: String,
        /// What was said to it.
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
