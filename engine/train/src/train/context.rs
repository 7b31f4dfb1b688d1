//! What is needed wherever members of a run are trained: options, data, log and device.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    TimingsFolder, TrainError,
    autotuner::{Autotuner, BUDGET},
    journal::Journal,
    timings::Cache,
};
use crate::{
    clock::Clock,
    config::Config,
    data::Dataset,
    device::{AdapterDescription, Device},
    disk::Disk,
    event::Event,
    nn::{Network, Weights},
    ops::AdapterKind,
    profile::Recorder,
};

/// When the tiles of products are chosen by timing them, instead of by the built-in table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Autotune {
    /// Never.
    #[default]
    Never,
    /// On GPUs, which differ. On software adapters the table is good, and whatever else runs there disturbs a timing.
    OnGpus,
    /// Everywhere.
    Always,
}

/// How a run is executed; nothing here changes its bits but [`Self::autotune`], whose choices a stage that has begun keeps.
#[derive(Debug, Clone)]
pub struct Options {
    /// The run directory.
    pub out: PathBuf,
    /// Adapter, instead of the configuration's.
    pub device: Option<String>,
    /// How long a stage goes without a checkpoint.
    pub checkpoint_every: Duration,
    /// Set by whoever wants a checkpoint soon, and cleared once there is one.
    pub checkpoint_soon: Arc<AtomicBool>,
    /// Where some steps of each stage are recorded, timed dispatch by dispatch.
    pub profile: Option<Recorder>,
    /// Whether tiles are timed.
    pub autotune: Autotune,
    /// A folder for what was timed, so that the next run need not; none: it is forgotten.
    pub cache: Option<PathBuf>,
    /// Members that are trained at the same time on a software adapter. More than one pays where each keeps a single core busy.
    pub side_by_side: usize,
}

impl Options {
    /// The usual options for a run directory.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        let checkpoint_every = Duration::from_secs(20);
        let (autotune, cache, side_by_side) = (Autotune::Never, None, 1);
        let (out, device, profile) = (out.into(), None, None);
        let checkpoint_soon = Arc::default();
        Self {
            out,
            device,
            checkpoint_every,
            checkpoint_soon,
            profile,
            autotune,
            cache,
            side_by_side,
        }
    }
}

/// A trained teacher.
#[derive(Debug, Clone)]
pub struct Teacher {
    /// Its architecture.
    pub network: Network,
    /// Its weights.
    pub weights: Weights,
    /// Passes over the training data; none if nobody knows.
    pub epochs: Option<f64>,
    /// Seconds of training; none if nobody knows.
    pub seconds: Option<f64>,
}

/// All that training members on one device needs.
pub(super) struct Context<'r> {
    pub(super) config: &'r Config,
    pub(super) options: &'r Options,
    pub(super) data: &'r Dataset,
    pub(super) journal: &'r Journal<'r>,
    pub(super) clock: &'r Arc<dyn Clock>,
    pub(super) disk: &'r dyn Disk,
    pub(super) gpu: Arc<dyn Device>,
    /// Present if tiles are timed on this device.
    pub(super) autotuner: Option<Autotuner>,
    pub(super) stops: &'r Stops<'r>,
}

impl Context<'_> {
    /// Writes an event to the log, then tells the listener.
    pub(super) fn emit(&self, event: Event) -> Result<(), TrainError> {
        Ok(self.journal.append(event)?)
    }

    /// Whether the run shall stop at a checkpoint.
    pub(super) fn stopped(&self) -> bool {
        self.stops.any()
    }

    /// Opens the device anew after it was lost.
    pub(super) fn reopen(&mut self) -> Result<(), TrainError> {
        self.gpu = self.gpu.reopen()?;
        self.autotuner = autotuner(self.gpu.adapter(), self.options, self.clock);
        Ok(())
    }
}

/// What can stop a run.
pub(super) struct Stops<'r> {
    pub(super) user: &'r AtomicBool,
    /// Set when a member has failed on any of the devices.
    pub(super) failure: AtomicBool,
}

impl Stops<'_> {
    pub(super) fn any(&self) -> bool {
        self.user.load(Ordering::Relaxed) || self.failure.load(Ordering::Relaxed)
    }
}

/// The autotuner, if tiles are timed on this device.
pub(super) fn autotuner(
    adapter: &AdapterDescription,
    options: &Options,
    clock: &Arc<dyn Clock>,
) -> Option<Autotuner> {
    let wanted = match options.autotune {
        Autotune::Never => false,
        Autotune::OnGpus => adapter.kind == AdapterKind::Gpu,
        Autotune::Always => true,
    };
    let cache = || Some(Box::new(TimingsFolder(options.cache.clone()?)) as Box<dyn Cache>);
    wanted.then(|| Autotuner::new(adapter, cache(), BUDGET, clock))
}
