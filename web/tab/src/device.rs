//! The browser's WebGPU as a device. `web/src/train/device.ts` and the executor of `web/src/plan/` do the work.

use std::{collections::BTreeMap, sync::Arc};

use engine::{
    device::{AdapterDescription, Device, DeviceError, Devices, Executor, Metrics, StepParameters},
    ops::AdapterKind,
    plan::{DIMS_SLOT, Limits, PITCH, Plan, Shader, TEXELS, Target, cuts, shaders},
    profile::{Pass, Peaks},
};
use serde::{Deserialize, Serialize};

use crate::imports::{self, FAILED};

/// What the worker says of the adapter that it opened.
#[derive(Debug, Deserialize)]
struct Opened {
    name: String,
    driver: String,
    /// Whether the browser computes on the processor.
    software: bool,
    f16: bool,
}

/// What an executor without this program needs of a plan.
#[derive(Debug, Serialize)]
struct Ready<'p> {
    dims_slot: u64,
    /// Texels of a mirror's row that hold numbers, and from one row to the next.
    texels: u64,
    pitch: u64,
    shaders: Vec<Shader>,
    modules: Vec<usize>,
    /// The dispatches after which a submit ends, by program.
    cuts: BTreeMap<&'p str, Vec<usize>>,
    #[serde(flatten)]
    plan: &'p Plan,
}

/// What went wrong, as the worker says it: `{"kind": "lost", "message": …}`.
#[derive(Debug, Deserialize)]
struct Trouble {
    kind: String,
    message: String,
}

fn trouble() -> DeviceError {
    let text = imports::take_text(imports::reason());
    let Ok(Trouble { kind, message }) = serde_json::from_str(&text) else {
        return DeviceError::Rejected { what: "a command".into(), cause: text };
    };
    match kind.as_str() {
        "lost" => DeviceError::Lost(message),
        "memory" => DeviceError::OutOfMemory(message),
        "none" => DeviceError::NoAdapter,
        _ => DeviceError::Rejected { what: "a command".into(), cause: message },
    }
}

fn good(of: i32) -> Result<i32, DeviceError> {
    if of <= FAILED { Err(trouble()) } else { Ok(of) }
}

/// The numbers of the answer.
fn floats(length: i32) -> Vec<f32> {
    let bytes = imports::take(length);
    bytes
        .chunks_exact(4)
        .map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect()
}

/// The one adapter that the browser hands out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TabDevices;

impl Devices for TabDevices {
    fn open(
        &self,
        _wanted: &str,
        memory_budget: Option<u64>,
    ) -> Result<Vec<Arc<dyn Device>>, DeviceError> {
        Ok(vec![Gpu::open(memory_budget)?])
    }
}

#[derive(Debug)]
struct Gpu {
    adapter: AdapterDescription,
    memory_budget: Option<u64>,
}

impl Gpu {
    fn open(memory_budget: Option<u64>) -> Result<Arc<dyn Device>, DeviceError> {
        let text = imports::take_text(good(imports::device_open())?);
        let opened: Opened = serde_json::from_str(&text).map_err(|error| DeviceError::Open {
            adapter: text.clone(),
            cause: error.to_string(),
        })?;
        let (kind, of) = match opened.software {
            true => (AdapterKind::Cpu, "cpu"),
            // A browser does not say which.
            false => (AdapterKind::Gpu, "other"),
        };
        let adapter = AdapterDescription {
            index: 0,
            name: opened.name,
            backend: "webgpu".into(),
            driver: opened.driver,
            vendor_device: [0, 0],
            device_type: of.into(),
            kind,
            limits: Limits::default(),
            f16: opened.f16,
            pci_bus: String::new(),
            slot: "webgpu".into(),
        };
        Ok(Arc::new(Self { adapter, memory_budget }))
    }
}

impl Device for Gpu {
    fn adapter(&self) -> &AdapterDescription {
        &self.adapter
    }

    fn target(&self) -> Target {
        let limits = Limits { memory: self.memory_budget, ..self.adapter.limits };
        Target { kind: self.adapter.kind, limits }
    }

    fn prepare(self: Arc<Self>, plan: Plan) -> Result<Box<dyn Executor>, DeviceError> {
        if plan.kernels.iter().any(|spec| !spec.kernel.f16.is_empty()) {
            self.check_half()?;
        }
        let rejected = |cause: String| DeviceError::Rejected { what: "a plan".into(), cause };
        let (shaders, modules) =
            shaders::of_plan(&plan).map_err(|error| rejected(error.to_string()))?;
        let cuts = plan.programs.iter().map(|(name, list)| {
            let ends = cuts(list, self.adapter.kind).enumerate().filter(|(_, cut)| *cut);
            (name.as_str(), ends.map(|(place, _)| place).collect())
        });
        let cuts = cuts.collect();
        let (dims_slot, texels, pitch) = (DIMS_SLOT, TEXELS, PITCH);
        let ready = Ready { dims_slot, texels, pitch, shaders, modules, cuts, plan: &plan };
        let text = serde_json::to_string(&ready).map_err(|error| rejected(error.to_string()))?;
        let number = good(imports::prepare(&text))?;
        let slots =
            plan.buffer("metrics").map_or(0, |k| plan.buffers[k].bytes.div_ceil(256) as usize);
        Ok(Box::new(Prepared { number, plan, slots }))
    }

    fn reopen(&self) -> Result<Arc<dyn Device>, DeviceError> {
        Self::open(self.memory_budget)
    }

    fn peaks(self: Arc<Self>) -> Result<Peaks, DeviceError> {
        Err(DeviceError::NoTimestamps(self.adapter.name.clone()))
    }

    fn check_timestamps(&self) -> Result<(), DeviceError> {
        Err(DeviceError::NoTimestamps(self.adapter.name.clone()))
    }
}

/// A plan that the worker holds; its buffers are freed when it is dropped.
#[derive(Debug)]
struct Prepared {
    number: i32,
    plan: Plan,
    /// 64-float slots of the buffer `metrics`.
    slots: usize,
}

impl Prepared {
    fn find(&self, label: &str) -> Result<u32, DeviceError> {
        let missing = || DeviceError::Missing(format!("buffer {label}"));
        self.plan.buffer(label).map(|k| k as u32).ok_or_else(missing)
    }

    fn submit(
        &mut self,
        program: &str,
        live: &StepParameters,
        tag: Option<u64>,
    ) -> Result<(), DeviceError> {
        if !self.plan.programs.contains_key(program) {
            return Err(DeviceError::Missing(format!("program {program}")));
        }
        let mut words = [0; 32];
        let integers = [live.seed, live.step, live.rows, live.part];
        let floats = [live.lr, live.t, live.counted, live.total].map(f32::to_bits);
        for (to, word) in words.chunks_exact_mut(4).zip(integers.into_iter().chain(floats)) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        good(imports::run(self.number, program, &words, tag)).map(drop)
    }

    /// The answer has for each metrics the tag in two words, then the first float of each slot.
    fn told(&self, length: i32) -> Vec<Metrics> {
        let words = floats(length);
        let one = |words: &[f32]| Metrics {
            tag: u64::from(words[0].to_bits()) | u64::from(words[1].to_bits()) << 32,
            values: words[2..].to_vec(),
        };
        words.chunks_exact(2 + self.slots).map(one).collect()
    }
}

impl Executor for Prepared {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn has(&self, label: &str) -> bool {
        self.find(label).is_ok()
    }

    fn write_bytes(&self, label: &str, bytes: &[u8]) -> Result<(), DeviceError> {
        let buffer = self.find(label)?;
        if bytes.len() as u64 > self.plan.buffers[buffer as usize].bytes {
            let room = format!("room for {} bytes in buffer {label}", bytes.len());
            return Err(DeviceError::Missing(room));
        }
        good(imports::write(self.number, buffer, bytes)).map(drop)
    }

    fn read(&self, label: &str) -> Result<Vec<f32>, DeviceError> {
        Ok(floats(good(imports::read(self.number, self.find(label)?))?))
    }

    fn run(&mut self, program: &str, live: &StepParameters, tag: u64) -> Result<(), DeviceError> {
        self.submit(program, live, Some(tag))
    }

    fn run_part(&mut self, program: &str, live: &StepParameters) -> Result<(), DeviceError> {
        self.submit(program, live, None)
    }

    fn metrics(&mut self) -> Result<Vec<Metrics>, DeviceError> {
        Ok(self.told(good(imports::metrics(self.number, 0))?))
    }

    fn finish(&mut self) -> Result<Vec<Metrics>, DeviceError> {
        Ok(self.told(good(imports::metrics(self.number, 1))?))
    }

    fn start_profile(&mut self) -> Result<(), DeviceError> {
        Err(DeviceError::NoTimestamps("of the browser".into()))
    }

    fn stop_profile(&mut self) -> Result<(Vec<Pass>, f64), DeviceError> {
        Ok((Vec::new(), 0.0))
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        imports::free(self.number);
    }
}
