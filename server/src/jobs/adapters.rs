//! The adapters of this machine, as short-lived processes tell of them: the server itself never opens a device.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::gpu::AdapterDescription;
use engine::plan::Limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

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
    /// Whether `device = "auto"` means it.
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

impl Adapter {
    /// Whether a configuration's `device` means it; the first that does is taken.
    pub(crate) fn answers_to(&self, device: &str) -> bool {
        let wanted = device.to_lowercase();
        match wanted.parse::<usize>() {
            Ok(index) => self.index == index,
            Err(_) => {
                matches!(wanted.as_str(), "" | "auto")
                    || self.name.to_lowercase().contains(&wanted)
                    || self.backend == wanted
            }
        }
    }
}

/// The key of the device that an adapter is one way to.
fn slot(adapter: &AdapterDescription, all: &[AdapterDescription]) -> String {
    if adapter.device_type == "cpu" {
        // Software drivers, whatever their names, share the processor.
        return "cpu".into();
    }
    let plain = |name: &str| name.split('/').next().unwrap_or(name).trim().to_lowercase();
    let name = plain(&adapter.name);
    // GL does not say where its device sits: it is that of the other adapter of this name.
    let twin = all.iter().find(|other| {
        other.backend != "gl" && {
            let other = plain(&other.name);
            other.contains(&name) || name.contains(&other)
        }
    });
    let known = |adapter: &AdapterDescription| match adapter.pci_bus.as_str() {
        "" => plain(&adapter.name),
        bus => bus.to_owned(),
    };
    match twin {
        Some(twin) if adapter.backend == "gl" && adapter.pci_bus.is_empty() => known(twin),
        _ => known(adapter),
    }
}

/// Adapters as the store and the API see them.
fn adapters(found: &[AdapterDescription]) -> Vec<Adapter> {
    let of = |adapter: &AdapterDescription| Adapter {
        index: adapter.index,
        name: adapter.name.clone(),
        kind: adapter.device_type.clone(),
        backend: adapter.backend.clone(),
        driver: adapter.driver.clone(),
        limits: adapter.limits.into(),
        features: if adapter.f16 { vec!["f16".into()] } else { Vec::new() },
        slot: slot(adapter, found),
        is_default: adapter.index == 0,
        busy: None,
        self_test: None,
    };
    found.iter().map(of).collect()
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
    known: Mutex<Option<(Instant, Vec<Adapter>)>>,
    tests: Mutex<Vec<(String, SelfTest)>>,
}

impl Adapters {
    /// Asks the program at `program`.
    pub(crate) fn new(program: PathBuf) -> Adapters {
        Adapters { program, known: Mutex::default(), tests: Mutex::default() }
    }

    /// One software adapter, which no process is asked about.
    #[cfg(test)]
    pub(crate) fn fixed() -> Adapters {
        let adapter = Adapter {
            index: 0,
            name: "llvmpipe".into(),
            kind: "cpu".into(),
            backend: "vulkan".into(),
            driver: String::new(),
            limits: Limits::default().into(),
            features: Vec::new(),
            slot: "cpu".into(),
            is_default: true,
            busy: None,
            self_test: None,
        };
        let known =
            Mutex::new(Some((Instant::now() + Duration::from_secs(1 << 20), vec![adapter])));
        Adapters { program: PathBuf::new(), known, tests: Mutex::default() }
    }

    /// The adapters; asks a process where the last answer is old.
    ///
    /// # Errors
    /// A sentence on why the process did not answer.
    pub(crate) fn list(&self) -> Result<Vec<Adapter>, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, list)) = known.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(self.tested(list.clone()));
        }
        let mut command = Command::new(&self.program);
        command.args(["devices", "--json"]);
        let listed: Listed = ask(&mut command, LIST)?;
        let list = adapters(&listed.devices);
        *known = Some((Instant::now(), list.clone()));
        Ok(self.tested(list))
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

/// Runs a program for its one JSON answer; ends it when `patience` is over.
///
/// # Errors
/// A sentence: it cannot be run, took too long, failed (with its own last words), or answered something else.
pub(crate) fn ask<T: DeserializeOwned>(
    command: &mut Command,
    patience: Duration,
) -> Result<T, String> {
    let begun = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("a helper process cannot be started: {error}"))?;
    // Both are drained meanwhile, or a talkative driver would wait for us as we for it.
    let drain = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(pipe) = pipe {
                drop(pipe.take(64 << 20).read_to_end(&mut bytes));
            }
            bytes
        })
    };
    let stdout = drain(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let stderr = drain(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => {
                drop(child.kill());
                drop(child.wait());
                return Err(format!("a helper process took longer than {} s", patience.as_secs()));
            }
            Err(error) => return Err(format!("a helper process cannot be waited for: {error}")),
        }
    };
    let stdout = stdout.join().unwrap_or_default();
    if let Ok(answer) = serde_json::from_slice(&stdout) {
        return Ok(answer);
    }
    let stderr = stderr.join().unwrap_or_default();
    let text = String::from_utf8_lossy(&stderr).into_owned();
    let said = text.lines().find_map(|line| line.strip_prefix("error: "));
    Err(said.map_or_else(|| format!("a helper process ended with {status}"), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ops::AdapterKind;

    fn adapter(
        index: usize,
        name: &str,
        backend: &str,
        kind: &str,
        bus: &str,
    ) -> AdapterDescription {
        AdapterDescription {
            index,
            name: name.into(),
            backend: backend.into(),
            driver: String::new(),
            vendor_device: [0; 2],
            device_type: kind.into(),
            kind: AdapterKind::Gpu,
            limits: Limits::default(),
            f16: false,
            pci_bus: bus.into(),
        }
    }

    #[test]
    fn adapters_of_one_device_share_a_slot() {
        let found = [
            adapter(0, "NVIDIA GeForce RTX 4090", "vulkan", "discrete", "0000:01:00.0"),
            adapter(1, "NVIDIA GeForce RTX 4090", "vulkan", "discrete", "0000:02:00.0"),
            adapter(2, "AMD Radeon 780M", "vulkan", "integrated", ""),
            adapter(3, "llvmpipe (LLVM 15)", "vulkan", "cpu", ""),
            adapter(4, "NVIDIA GeForce RTX 4090/PCIe/SSE2", "gl", "other", ""),
            adapter(5, "AMD Radeon 780M", "gl", "other", ""),
            adapter(6, "softpipe", "gl", "cpu", ""),
        ];
        let slots: Vec<String> = adapters(&found).into_iter().map(|adapter| adapter.slot).collect();
        let radeon = "amd radeon 780m";
        let nvidia = "0000:01:00.0";
        assert_eq!(slots, [nvidia, "0000:02:00.0", radeon, "cpu", nvidia, radeon, "cpu"]);
    }
}
