//! Open devices.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use super::adapters::{self, limits_of};
use taper_core::{
    device::{AdapterDescription, DeviceError},
    ops::Storage,
    plan::{KernelSpec, Limits, Target, shaders},
};

/// How to open a device.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Ask for WebGPU's default limits only and no features, as a browser would.
    pub web_limits: bool,
    /// Keep wgpu's run-time checks of shader bounds, which are off otherwise; the bits are the same.
    pub checks: bool,
    /// Most bytes that a plan for this device may take; `None`: what the device's limits allow.
    pub memory_budget: Option<u64>,
    /// Fault injection: destroy the device after so many submits, as a driver's reset would. For tests.
    pub lose_after: Option<u32>,
    /// Which process of how many on this machine this is, where several share its devices: each takes others, in the order of the PCI bus.
    pub turn: Option<(usize, usize)>,
}

/// An open device with its compiled pipelines. Threads may share it; see `turn` for one of OpenGL.
#[derive(Debug)]
pub(super) struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// What it is.
    pub(super) adapter: AdapterDescription,
    options: Options,
    trouble: Arc<Mutex<Option<DeviceError>>>,
    submits: AtomicU32,
    pipelines: Mutex<HashMap<String, Arc<Pipeline>>>,
    turns: Mutex<()>,
}

/// A compiled entry point.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) group: wgpu::BindGroupLayout,
}

/// Format of the textures that mirror tensors stored so: four numbers a texel.
pub(super) fn mirror_format(storage: Storage) -> wgpu::TextureFormat {
    match storage {
        Storage::F32 => wgpu::TextureFormat::Rgba32Float,
        Storage::F16 => wgpu::TextureFormat::Rgba16Float,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens the same adapter again, after its device was lost; no fault is injected this time.
    ///
    /// # Errors
    /// If it is there no more, or its driver refuses.
    pub(super) fn again(&self) -> Result<Arc<Self>, DeviceError> {
        let AdapterDescription { name, backend, slot, .. } = &self.adapter;
        let same = |of: &AdapterDescription| {
            of.name == *name && of.backend == *backend && of.slot == *slot
        };
        let mut meant = adapters::meant(backend)?.into_iter();
        let Some((adapter, description)) = meant.find(|(_, of)| same(of)) else {
            return Err(DeviceError::Open { adapter: name.clone(), cause: "it is gone".into() });
        };
        Self::request(&adapter, description, Options { lose_after: None, ..self.options })
    }

    /// Opens an adapter.
    ///
    /// # Errors
    /// If its driver refuses.
    pub(super) fn request(
        adapter: &wgpu::Adapter,
        mut description: AdapterDescription,
        options: Options,
    ) -> Result<Arc<Self>, DeviceError> {
        let (limits, features) = match options.web_limits {
            true => (wgpu::Limits::default(), wgpu::Features::empty()),
            false => {
                let wanted = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SHADER_F16;
                (adapter.limits(), adapter.features() & wanted)
            }
        };
        description.limits = limits_of(&limits);
        description.f16 = features.contains(wgpu::Features::SHADER_F16);
        let request = wgpu::DeviceDescriptor {
            label: Some("taper"),
            required_limits: limits,
            required_features: features,
            ..Default::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&request)).map_err(|e| {
                DeviceError::Open { adapter: description.name.clone(), cause: e.to_string() }
            })?;

        let trouble: Arc<Mutex<Option<DeviceError>>> = Arc::default();
        let seen = Arc::clone(&trouble);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let error = match error {
                wgpu::Error::OutOfMemory { .. } => DeviceError::OutOfMemory(error.to_string()),
                _ => DeviceError::Rejected { what: "a command".into(), cause: error.to_string() },
            };
            lock(&seen).get_or_insert(error);
        }));
        let seen = Arc::clone(&trouble);
        device.set_device_lost_callback(move |_, message| {
            let message =
                if message.is_empty() { "the driver gave no reason".into() } else { message };
            *lock(&seen) = Some(DeviceError::Lost(message))
        });
        Ok(Arc::new(Self {
            device,
            queue,
            adapter: description,
            options,
            trouble,
            submits: AtomicU32::new(0),
            pipelines: Mutex::default(),
            turns: Mutex::default(),
        }))
    }

    /// The turn to talk to a GL device, which one thread has at a time; other devices need none.
    ///
    /// wgpu locks a GL context for each call: to submit, to poll, to map, to make a resource and to free it. Software computes within the
    /// submit, for seconds, and a thread that waits for the lock longer than six panics. So every public function that reaches the device
    /// takes the turn before anything else, for as long as there is work, and gives it back after all that it made is gone. A thread that
    /// has the turn must not ask for it again.
    pub(super) fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.adapter.is_gl().then(|| lock(&self.turns))
    }

    /// Submits commands.
    ///
    /// # Errors
    /// What the driver reported since the last call.
    pub(super) fn submit(
        &self,
        commands: wgpu::CommandBuffer,
    ) -> Result<wgpu::SubmissionIndex, DeviceError> {
        let submission = self.queue.submit([commands]);
        let before = self.submits.fetch_add(1, Ordering::Relaxed);
        if self.options.lose_after == Some(before) {
            self.device.destroy();
        }
        self.check()?;
        Ok(submission)
    }

    /// Waits for submits, or only handles those that are done.
    ///
    /// # Errors
    /// If the device is lost, or what the driver reported since the last call.
    pub(super) fn wait(&self, how: wgpu::PollType) -> Result<(), DeviceError> {
        let polled = loop {
            match self.device.poll(how.clone()) {
                // GL waits for two seconds at most, a busy device takes longer.
                Err(wgpu::PollError::Timeout) => self.check()?,
                polled => break polled,
            }
        };
        self.check()?;
        polled.map(|_| ()).map_err(|e| DeviceError::Lost(e.to_string()))
    }

    /// What plans for this device are compiled for.
    pub(super) fn target(&self) -> Target {
        let limits = Limits { memory: self.options.memory_budget, ..self.adapter.limits };
        Target { kind: self.adapter.kind, limits }
    }

    /// Checks that the device can say when a dispatch began and ended.
    ///
    /// # Errors
    /// If it cannot.
    pub(super) fn check_timestamps(&self) -> Result<(), DeviceError> {
        let there = self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        there.then_some(()).ok_or_else(|| DeviceError::NoTimestamps(self.adapter.name.clone()))
    }

    /// The first error that the driver reported since the last call.
    ///
    /// # Errors
    /// That error.
    pub(super) fn check(&self) -> Result<(), DeviceError> {
        let mut trouble = lock(&self.trouble);
        match &*trouble {
            // A lost device stays lost.
            Some(DeviceError::Lost(message)) => Err(DeviceError::Lost(message.clone())),
            _ => trouble.take().map_or(Ok(()), Err),
        }
    }

    /// The pipeline of a kernel, compiled once for each device.
    pub(super) fn pipeline(&self, spec: &KernelSpec) -> Result<Arc<Pipeline>, DeviceError> {
        let key = format!("{spec:?}");
        if let Some(found) = lock(&self.pipelines).get(&key) {
            return Ok(Arc::clone(found));
        }
        let pipeline = Arc::new(self.compile(spec)?);
        lock(&self.pipelines).insert(key, Arc::clone(&pipeline));
        Ok(pipeline)
    }

    fn compile(&self, spec: &KernelSpec) -> Result<Pipeline, DeviceError> {
        let kernel = &spec.kernel;
        let label = format!("{}.{}", kernel.variant.as_ref().unwrap_or(&kernel.file), kernel.entry);
        let rejected = |cause: String| DeviceError::Rejected { what: label.clone(), cause };
        let text = shaders::link(kernel).map_err(rejected)?;
        let module = self.module(&label, &text);

        let buffer = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let dims = spec.dims.then(|| buffer(0, wgpu::BufferBindingType::Uniform));
        let mirror = |binding, storage| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::StorageTexture {
                access: wgpu::StorageTextureAccess::ReadOnly,
                format: mirror_format(storage),
                view_dimension: wgpu::TextureViewDimension::D2,
            },
            count: None,
        };
        let storage = spec.bindings.iter().map(|b| match b.texture {
            true => mirror(b.number, b.storage),
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

    /// The layout of bind group 1: the uniform of `shaders/lib/step.wgsl`, [`StepParameters`](taper_core::device::StepParameters).
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

    /// Compiles one of our own shaders, without run-time bounds checks unless [`Options::checks`] asks for them.
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
