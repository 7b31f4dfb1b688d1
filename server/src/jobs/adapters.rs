//! The adapters of this machine, as short-lived processes list them: the server itself never opens a device.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::device::AdapterDescription;
#[cfg(test)]
use engine::ops::AdapterKind;
use engine::plan::Limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::helper::ask;

/// How long a list of adapters is good for.
const FRESH: Duration = Duration::from_secs(60);
/// How long a process may take to list them.
const LIST: Duration = Duration::from_secs(30);
/// How long a self-test may take.
const TEST: Duration = Duration::from_secs(300);

/// An adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Adapter {
    /// What `device` takes.
    pub(crate) index: usize,
    /// The driver's name for it.
    pub(crate) name: String,
    /// `discrete`, `integrated`, `virtual`, `cpu`, `other`.
    pub(crate) kind: String,
    /// `vulkan`, `metal`, `dx12`, `gl`.
    pub(crate) backend: String,
    /// Driver and its version.
    pub(crate) driver: String,
    /// What a plan for it may ask for.
    pub(crate) limits: AdapterLimits,
    /// What it can do beyond the least: `f16`.
    pub(crate) features: Vec<String>,
    /// Adapters of one slot are one device: it trains one run at a time.
    pub(crate) slot: String,
    /// Whether `device = "auto"` may mean it.
    pub(crate) is_default: bool,
    /// The run that its slot trains.
    pub(crate) busy: Option<String>,
    /// The last test of its kernels.
    pub(crate) self_test: Option<SelfTest>,
}

/// Limits of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AdapterLimits {
    /// Largest part of a buffer that a kernel sees, in bytes.
    pub(crate) binding_bytes: u64,
    /// Largest buffer, in bytes.
    pub(crate) buffer_bytes: u64,
    /// Storage buffers of a kernel.
    pub(crate) storage_buffers: u32,
    /// Workgroups of a dispatch in one dimension.
    pub(crate) groups: u32,
}

impl From<Limits> for AdapterLimits {
    fn from(limits: Limits) -> Self {
        let Limits { binding_bytes, buffer_bytes, storage_buffers, groups, .. } = limits;
        Self { binding_bytes, buffer_bytes, storage_buffers, groups }
    }
}

/// How kernels did on an adapter, against values computed on the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SelfTest {
    /// Whether every op was within its tolerance.
    pub(crate) ok: bool,
    /// Ops that were tried.
    pub(crate) ops: usize,
    /// The one with the greatest share of its tolerance.
    pub(crate) worst: Worst,
    /// How long it took.
    pub(crate) seconds: f64,
}

/// The op that came out worst.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Worst {
    /// Its name.
    pub(crate) op: String,
    /// Greatest difference, relative to the greatest value.
    pub(crate) error: f64,
    /// What is allowed.
    pub(crate) tolerance: f64,
}

/// Adapters as the store and the API see them.
fn adapters(found: &[AdapterDescription]) -> Vec<Adapter> {
    let usual = taper_gpu::select(found, "auto");
    let of = |(place, adapter): (usize, &AdapterDescription)| Adapter {
        index: adapter.index,
        name: adapter.name.clone(),
        kind: adapter.device_type.clone(),
        backend: adapter.backend.clone(),
        driver: adapter.driver.clone(),
        limits: adapter.limits.into(),
        features: if adapter.f16 { vec!["f16".into()] } else { Vec::new() },
        slot: adapter.slot.clone(),
        is_default: usual.contains(&place),
        busy: None,
        self_test: None,
    };
    found.iter().enumerate().map(of).collect()
}

/// What `taper devices --json` prints.
#[derive(Debug, Deserialize)]
struct Listed {
    devices: Vec<AdapterDescription>,
}

/// The list of adapters, and tests of them.
#[derive(Debug)]
pub(crate) struct Adapters {
    program: PathBuf,
    known: Mutex<Option<(Instant, Vec<AdapterDescription>)>>,
    tests: Mutex<Vec<(String, SelfTest)>>,
}

impl Adapters {
    /// Asks the program at `program`.
    pub(crate) fn new(program: PathBuf) -> Adapters {
        Adapters { program, known: Mutex::default(), tests: Mutex::default() }
    }

    /// These adapters, which no process is asked about.
    #[cfg(test)]
    pub(crate) fn fixed(found: Vec<AdapterDescription>) -> Adapters {
        let forever = Instant::now() + Duration::from_secs(1 << 20);
        let known = Mutex::new(Some((forever, found)));
        Adapters { program: PathBuf::new(), known, tests: Mutex::default() }
    }

    fn found(&self) -> Result<Vec<AdapterDescription>, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = known.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(found.clone());
        }
        let mut command = Command::new(&self.program);
        command.args(["devices", "--json"]);
        let Listed { devices } = ask(&mut command, LIST)?;
        *known = Some((Instant::now(), devices.clone()));
        Ok(devices)
    }

    /// The adapters; asks a process where the last answer is old.
    ///
    /// # Errors
    /// A sentence on why the process did not answer.
    pub(crate) fn list(&self) -> Result<Vec<Adapter>, String> {
        Ok(self.tested(adapters(&self.found()?)))
    }

    /// Those that `device` of a configuration means, best first.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub(crate) fn meant(&self, device: &str) -> Result<Vec<Adapter>, String> {
        let found = self.found()?;
        let list = adapters(&found);
        Ok(taper_gpu::select(&found, device).into_iter().map(|place| list[place].clone()).collect())
    }

    fn tested(&self, mut list: Vec<Adapter>) -> Vec<Adapter> {
        let tests = self.tests.lock().unwrap_or_else(PoisonError::into_inner);
        for adapter in &mut list {
            let key = adapter.key();
            adapter.self_test =
                tests.iter().find(|(of, _)| *of == key).map(|(_, test)| test.clone());
        }
        list
    }

    /// Runs the self-test of an adapter in a process of its own.
    ///
    /// # Errors
    /// A sentence on why it did not come to an end.
    pub(crate) fn test(&self, adapter: &Adapter) -> Result<SelfTest, String> {
        let mut command = Command::new(&self.program);
        command.args(["devices", "--json", "--self-test", &adapter.index.to_string()]);
        let test: SelfTest = ask(&mut command, TEST)?;
        let mut tests = self.tests.lock().unwrap_or_else(PoisonError::into_inner);
        tests.retain(|(of, _)| *of != adapter.key());
        tests.push((adapter.key(), test.clone()));
        Ok(test)
    }
}

impl Adapter {
    /// What tells it from others, whatever its index is.
    fn key(&self) -> String {
        format!("{} {} {} {}", self.slot, self.backend, self.name, self.driver)
    }
}

/// One way to a device, for tests.
#[cfg(test)]
pub(crate) fn described(index: usize, name: &str, device_type: &str) -> AdapterDescription {
    AdapterDescription {
        index,
        name: name.into(),
        backend: "vulkan".into(),
        driver: String::new(),
        vendor_device: [0; 2],
        device_type: device_type.into(),
        kind: if device_type == "cpu" { AdapterKind::Cpu } else { AdapterKind::Gpu },
        limits: Limits::default(),
        f16: false,
        pci_bus: String::new(),
        slot: if device_type == "cpu" { "cpu".into() } else { format!("bus {index}") },
    }
}
