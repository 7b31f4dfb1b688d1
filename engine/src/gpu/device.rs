//! Adapters and devices.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use super::GpuError;
use crate::{
    ops::AdapterKind,
    plan::{KernelSpec, Limits, Target, shaders},
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
    /// `discrete`, `integrated`, `virtual`, `cpu`, `other`.
    pub device_type: String,
    /// Which kernels run there.
    pub kind: AdapterKind,
    /// Its limits.
    pub limits: Limits,
    /// Whether `precision = "mixed"` can run there.
    pub f16: bool,
    /// Where it sits, empty if the driver does not say; two adapters of one bus are one device.
    pub pci_bus: String,
}

fn describe(index: usize, adapter: &wgpu::Adapter) -> AdapterDescription {
    let info = adapter.get_info();
    let device_type = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "cpu",
        wgpu::DeviceType::Other => "other",
    };
    // GL does not say what it runs on: known software rasterisers are told by name.
    let software = ["llvmpipe", "softpipe", "swiftshader", "lavapipe"];
    let name = info.name.to_lowercase();
    let cpu =
        info.device_type == wgpu::DeviceType::Cpu || software.iter().any(|s| name.contains(s));
    AdapterDescription {
        index,
        backend: info.backend.to_str().into(),
        driver: [info.driver.as_str(), info.driver_info.as_str()].join(" ").trim().to_owned(),
        device_type: if cpu { "cpu" } else { device_type }.into(),
        kind: if cpu { AdapterKind::Cpu } else { AdapterKind::Gpu },
        limits: limits_of(&adapter.limits()),
        f16: adapter.features().contains(wgpu::Features::SHADER_F16),
        pci_bus: info.device_pci_bus_id,
        name: info.name,
    }
}

fn limits_of(limits: &wgpu::Limits) -> Limits {
    Limits {
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        groups: limits.max_compute_workgroups_per_dimension,
        memory: None,
    }
}

/// Adapters in order of preference: real GPUs before software, GL last.
fn enumerate() -> Vec<(wgpu::Adapter, AdapterDescription)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let usable = |adapter: &wgpu::Adapter| {
        adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
            && adapter.limits().max_storage_buffers_per_shader_stage
                >= Limits::default().storage_buffers
    };
    let mut adapters: Vec<_> =
        found.into_iter().filter(usable).map(|adapter| (describe(0, &adapter), adapter)).collect();
    let rank = |d: &AdapterDescription| {
        let gl = d.backend == "gl";
        let device = ["discrete", "integrated", "virtual", "other", "cpu"]
            .iter()
            .position(|t| *t == d.device_type);
        (gl, device)
    };
    adapters.sort_by_key(|(description, _)| rank(description));
    adapters
        .into_iter()
        .enumerate()
        .map(|(index, (description, adapter))| {
            (adapter, AdapterDescription { index, ..description })
        })
        .collect()
}

/// All adapters that can run Taper, in order of preference; `auto` means the first.
pub fn adapters() -> Vec<AdapterDescription> {
    enumerate().into_iter().map(|(_, description)| description).collect()
}

/// How to open a device.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Ask for WebGPU's default limits only and no features, as a browser would.
    pub web_limits: bool,
    /// Keep wgpu's run-time checks of shader bounds (invariant 9).
    pub checks: bool,
    /// Most bytes that a plan for this device may take; `None`: what the device's limits allow.
    pub memory_budget: Option<u64>,
    /// Fault injection: destroy the device after so many submits, as a driver's reset would. For tests.
    pub lose_after: Option<u32>,
}

/// An open device with its compiled pipelines.
#[derive(Debug)]
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// What it is.
    pub adapter: AdapterDescription,
    options: Options,
    trouble: Arc<Mutex<Option<GpuError>>>,
    submits: AtomicU32,
    pipelines: Mutex<HashMap<String, Arc<Pipeline>>>,
}

/// A compiled entry point.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) group: wgpu::BindGroupLayout,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens `auto` (the first adapter), an index, or the first adapter whose name or backend contains `wanted`.
    ///
    /// # Errors
    /// If there is no such adapter or its driver refuses.
    pub fn open(wanted: &str, options: Options) -> Result<Arc<Self>, GpuError> {
        let adapters = enumerate();
        if adapters.is_empty() {
            return Err(GpuError::NoAdapter);
        }
        let found =
            adapters.iter().map(|(_, d)| format!("{}: {} ({})", d.index, d.name, d.backend));
        let found = found.collect::<Vec<_>>().join(", ");
        let lower = wanted.to_lowercase();
        let chosen = adapters.into_iter().find(|(_, d)| match wanted.parse::<usize>() {
            Ok(index) => d.index == index,
            Err(_) => {
                matches!(lower.as_str(), "" | "auto")
                    || d.name.to_lowercase().contains(&lower)
                    || d.backend == lower
            }
        });
        let Some((adapter, description)) = chosen else {
            return Err(GpuError::NotFound { wanted: wanted.into(), found });
        };
        Self::request(&adapter, description, options)
    }

    fn request(
        adapter: &wgpu::Adapter,
        mut description: AdapterDescription,
        options: Options,
    ) -> Result<Arc<Self>, GpuError> {
        let (limits, features) = match options.web_limits {
            true => (wgpu::Limits::default(), wgpu::Features::empty()),
            false => (adapter.limits(), adapter.features() & wgpu::Features::TIMESTAMP_QUERY),
        };
        description.limits = limits_of(&limits);
        let request = wgpu::DeviceDescriptor {
            label: Some("taper"),
            required_limits: limits,
            required_features: features,
            ..Default::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&request)).map_err(|e| GpuError::Open {
                adapter: description.name.clone(),
                cause: e.to_string(),
            })?;

        let trouble: Arc<Mutex<Option<GpuError>>> = Arc::default();
        let seen = Arc::clone(&trouble);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let error = match error {
                wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory(error.to_string()),
                _ => GpuError::Rejected { what: "a command".into(), cause: error.to_string() },
            };
            lock(&seen).get_or_insert(error);
        }));
        let seen = Arc::clone(&trouble);
        device.set_device_lost_callback(move |_, message| {
            let message =
                if message.is_empty() { "the driver gave no reason".into() } else { message };
            *lock(&seen) = Some(GpuError::Lost(message))
        });
        Ok(Arc::new(Self {
            device,
            queue,
            adapter: description,
            options,
            trouble,
            submits: AtomicU32::new(0),
            pipelines: Mutex::default(),
        }))
    }

    /// Submits commands.
    ///
    /// # Errors
    /// What the driver reported since the last call.
    pub(super) fn submit(
        &self,
        commands: wgpu::CommandBuffer,
    ) -> Result<wgpu::SubmissionIndex, GpuError> {
        let submission = self.queue.submit([commands]);
        let before = self.submits.fetch_add(1, Ordering::Relaxed);
        if self.options.lose_after == Some(before) {
            self.device.destroy();
        }
        self.check()?;
        Ok(submission)
    }

    /// Waits for submits, or looks after those that are done.
    ///
    /// # Errors
    /// If the device is lost, or what the driver reported since the last call.
    pub(super) fn wait(&self, how: wgpu::PollType) -> Result<(), GpuError> {
        let polled = self.device.poll(how);
        self.check()?;
        polled.map(|_| ()).map_err(|e| GpuError::Lost(e.to_string()))
    }

    /// What plans for this device are compiled for.
    pub fn target(&self) -> Target {
        let limits = Limits { memory: self.options.memory_budget, ..self.adapter.limits };
        Target { kind: self.adapter.kind, limits }
    }

    /// The first error that the driver reported since the last call.
    ///
    /// # Errors
    /// That error.
    pub fn check(&self) -> Result<(), GpuError> {
        let mut trouble = lock(&self.trouble);
        match &*trouble {
            // A lost device stays lost.
            Some(GpuError::Lost(message)) => Err(GpuError::Lost(message.clone())),
            _ => trouble.take().map_or(Ok(()), Err),
        }
    }

    /// The pipeline of a kernel, compiled once a device.
    pub(super) fn pipeline(&self, spec: &KernelSpec) -> Result<Arc<Pipeline>, GpuError> {
        let key = format!("{spec:?}");
        if let Some(found) = lock(&self.pipelines).get(&key) {
            return Ok(Arc::clone(found));
        }
        let pipeline = Arc::new(self.compile(spec)?);
        lock(&self.pipelines).insert(key, Arc::clone(&pipeline));
        Ok(pipeline)
    }

    fn compile(&self, spec: &KernelSpec) -> Result<Pipeline, GpuError> {
        let kernel = &spec.kernel;
        let label = format!("{}.{}", kernel.variant.as_ref().unwrap_or(&kernel.file), kernel.entry);
        let rejected = |cause: String| GpuError::Rejected { what: label.clone(), cause };
        let text = shaders::link(kernel).map_err(rejected)?;
        let module = self.module(&label, &text);

        let buffer = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let dims = spec.dims.then(|| buffer(0, wgpu::BufferBindingType::Uniform));
        let mirror = |binding| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::StorageTexture {
                access: wgpu::StorageTextureAccess::ReadOnly,
                format: super::MIRROR,
                view_dimension: wgpu::TextureViewDimension::D2,
            },
            count: None,
        };
        let storage = spec.bindings.iter().map(|b| match b.texture {
            true => mirror(b.number),
            false => buffer(b.number, wgpu::BufferBindingType::Storage { read_only: !b.writes }),
        });
        let entries: Vec<_> = dims.into_iter().chain(storage).collect();
        let group = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(&label),
            entries: &entries,
        });
        let live = self.live_layout();
        let groups = [Some(&group), spec.live.then_some(&live)];
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: if spec.live { &groups } else { &groups[..1] },
            immediate_size: 0,
        });
        let constants: Vec<_> =
            kernel.constants.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&layout),
            module: &module,
            entry_point: Some(&kernel.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                // Every kernel writes its workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        self.check().map_err(|e| rejected(e.to_string()))?;
        Ok(Pipeline { pipeline, group })
    }

    /// The layout of group 1: the live numbers.
    pub(super) fn live_layout(&self) -> wgpu::BindGroupLayout {
        self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("live"),
            entries: &[wgpu::BindGroupLayoutEntry {
                binding: 0,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Uniform,
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            }],
        })
    }

    /// Compiles one of our own shaders, without run-time bounds checks unless asked for (invariant 9).
    #[expect(unsafe_code, reason = "the one place where wgpu's shader checks are switched off")]
    fn module(&self, label: &str, text: &str) -> wgpu::ShaderModule {
        let source = wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(text.into()),
        };
        if self.options.checks {
            return self.device.create_shader_module(source);
        }
        // SAFETY: the text is one of the files of `shaders/`, compiled into this program, never a user's. Each entry point
        // returns, or masks its loads and stores, where its invocation lies outside the extents in `dims`; `plan::compile`
        // binds ranges of exactly those extents; each loop is bounded by `dims` or a constant. The golden tests run every
        // kernel with and without checks and demand equal bits.
        unsafe {
            self.device.create_shader_module_trusted(source, wgpu::ShaderRuntimeChecks::unchecked())
        }
    }
}
