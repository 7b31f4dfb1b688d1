//! Runs a plan: makes buffers, pipelines and bind groups once, then walks lists of dispatches. No arithmetic about shapes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use super::{
    device::{Gpu, Pipeline, mirror_format},
    profile::{Profiler, Recording},
};
use taper_core::{
    device::{self, DeviceError, Metrics, StepParameters},
    ops::Storage,
    plan::{BufferSpec, DIMS_SLOT, Dispatch, KernelSpec, Mirror, PITCH, Plan, TEXELS, cuts, texel},
    profile::Pass,
};

/// Name of the buffer that is read back asynchronously.
const METRICS: &str = "metrics";
/// Submits that may be under way before the host waits for the oldest.
const IN_FLIGHT: usize = 8;

const PENDING: u8 = 0;
const READY: u8 = 1;
const FAILED: u8 = 2;

#[derive(Debug)]
struct Slot {
    buffer: wgpu::Buffer,
    tag: u64,
    state: Arc<AtomicU8>,
    submission: wgpu::SubmissionIndex,
}

/// What a range of a plan is bound to.
#[derive(Debug)]
enum Memory {
    Buffer(wgpu::Buffer),
    Mirror(wgpu::Texture),
}

impl Memory {
    fn buffer(&self) -> Result<&wgpu::Buffer, DeviceError> {
        match self {
            Self::Buffer(buffer) => Ok(buffer),
            Self::Mirror(_) => Err(DeviceError::Missing("a buffer where a texture is".into())),
        }
    }
}

#[derive(Debug)]
struct Step {
    /// Copies to be made first.
    mirrors: Vec<Mirror>,
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    grid: [u32; 3],
    live: bool,
    /// Whether the submit ends after this dispatch.
    cut: bool,
}

/// A plan made ready on a device.
#[derive(Debug)]
pub(super) struct Executor {
    gpu: Arc<Gpu>,
    plan: Plan,
    memory: Vec<Memory>,
    programs: BTreeMap<String, Vec<Step>>,
    /// The uniform buffer that holds [`StepParameters`] and its bind group, if a kernel reads it.
    live: Option<(wgpu::Buffer, wgpu::BindGroup)>,
    /// Index of the buffer `metrics`, if the plan has one.
    metrics: Option<usize>,
    idle: Vec<wgpu::Buffer>,
    flying: VecDeque<Slot>,
    done: VecDeque<Metrics>,
    profiler: Option<Profiler>,
}

/// What a dispatch binds: its `Dims`, in a slot of the buffer of all of them, and the ranges of the plan's memory.
fn bind_group(
    gpu: &Gpu,
    spec: &KernelSpec,
    pipeline: &Pipeline,
    dispatch: &Dispatch,
    memory: &[Memory],
    (dims, slot): (&wgpu::Buffer, u64),
) -> Result<wgpu::BindGroup, DeviceError> {
    let range = |buffer, offset, size| {
        let size = wgpu::BufferSize::new(size);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size })
    };
    let uniform = spec.dims.then(|| wgpu::BindGroupEntry {
        binding: 0,
        resource: range(dims, slot * DIMS_SLOT, DIMS_SLOT),
    });
    let views: Vec<_> = dispatch
        .binds
        .iter()
        .map(|bind| match &memory[bind.buffer] {
            Memory::Mirror(texture) => Some(texture.create_view(&Default::default())),
            Memory::Buffer(_) => None,
        })
        .collect();
    let mut entries: Vec<_> = uniform.into_iter().collect();
    for ((binding, bind), view) in spec.bindings.iter().zip(&dispatch.binds).zip(&views) {
        let resource = match view {
            Some(view) => wgpu::BindingResource::TextureView(view),
            None => range(memory[bind.buffer].buffer()?, bind.offset, bind.bytes),
        };
        entries.push(wgpu::BindGroupEntry { binding: binding.number, resource });
    }
    Ok(gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(&dispatch.label),
        layout: &pipeline.group,
        entries: &entries,
    }))
}

impl Executor {
    /// Makes everything a plan needs. Buffers start as zeros.
    ///
    /// # Errors
    /// If the device cannot hold the plan or rejects a kernel.
    pub(super) fn new(gpu: &Arc<Gpu>, plan: Plan) -> Result<Self, DeviceError> {
        let _turn = gpu.turn();
        let has = &gpu.adapter.limits;
        let largest = plan.buffers.iter().map(|b| b.bytes).max().unwrap_or(0);
        if largest > has.buffer_bytes {
            let adapter = gpu.adapter.name.clone();
            let (needed, granted) = (largest, has.buffer_bytes);
            return Err(DeviceError::Limit { what: "a buffer", needed, granted, adapter });
        }

        if plan.kernels.iter().any(|spec| !spec.kernel.f16.is_empty()) {
            device::Device::check_half(&**gpu)?;
        }

        let make = |label: &str, bytes: u64, usage| {
            // Mirrors are copied by whole texels.
            let size = bytes.max(4).next_multiple_of(texel(Storage::F32));
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let storage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let memory: Vec<_> = plan
            .buffers
            .iter()
            .map(|b| match b.texture {
                true => Memory::Mirror(mirror(&gpu.device, b)),
                false => Memory::Buffer(make(&b.label, b.bytes, storage)),
            })
            .collect();
        let count = plan.programs.values().map(Vec::len).sum::<usize>().max(1) as u64;
        let dims = make("dims", count * DIMS_SLOT, uniform);
        let live = plan.kernels.iter().any(|spec| spec.live).then(|| {
            let buffer = make("live", size_of::<StepParameters>() as u64, uniform);
            let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("live"),
                layout: &gpu.live_layout(),
                entries: &[wgpu::BindGroupEntry {
                    binding: 0,
                    resource: buffer.as_entire_binding(),
                }],
            });
            (buffer, group)
        });
        gpu.check()?;

        let pipelines = plan
            .kernels
            .iter()
            .map(|spec| gpu.pipeline(spec))
            .collect::<Result<Vec<_>, DeviceError>>()?;
        let mut words = vec![0u32; (count * DIMS_SLOT / 4) as usize];
        let mut slot = 0u64;
        let mut programs = BTreeMap::new();
        for (name, list) in &plan.programs {
            let mut steps = Vec::with_capacity(list.len());
            for (dispatch, cut) in list.iter().zip(cuts(list, gpu.adapter.kind)) {
                let first = (slot * DIMS_SLOT / 4) as usize;
                words[first..first + dispatch.dims.len()].copy_from_slice(&dispatch.dims);
                let spec = &plan.kernels[dispatch.kernel];
                let pipeline = &pipelines[dispatch.kernel];
                let group = bind_group(gpu, spec, pipeline, dispatch, &memory, (&dims, slot))?;
                slot += 1;
                let (pipeline, grid, live) = (Arc::clone(pipeline), dispatch.grid, spec.live);
                let mirrors = dispatch.mirrors.clone();
                steps.push(Step { mirrors, pipeline, group, grid, live, cut });
            }
            programs.insert(name.clone(), steps);
        }
        gpu.queue.write_buffer(&dims, 0, bytemuck::cast_slice(&words));
        gpu.check()?;

        let read_back = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let metrics = plan.buffers.iter().position(|b| b.label == METRICS);
        let idle = metrics.map_or(Vec::new(), |k| {
            let bytes = plan.buffers[k].bytes;
            (0..IN_FLIGHT).map(|n| make(&format!("metrics {n}"), bytes, read_back)).collect()
        });
        let (flying, done) = (VecDeque::new(), VecDeque::new());
        Ok(Self {
            gpu: Arc::clone(gpu),
            plan,
            memory,
            programs,
            live,
            metrics,
            idle,
            flying,
            done,
            profiler: None,
        })
    }

    fn find(&self, label: &str) -> Result<usize, DeviceError> {
        let missing = || DeviceError::Missing(format!("buffer {label}"));
        self.plan.buffers.iter().position(|b| b.label == label).ok_or_else(missing)
    }

    fn submit(
        &mut self,
        program: &str,
        live: &StepParameters,
        tag: Option<u64>,
    ) -> Result<(), DeviceError> {
        let gpu = Arc::clone(&self.gpu);
        let _turn = gpu.turn();
        let metrics = self.metrics.zip(tag);
        if metrics.is_some() && self.idle.is_empty() {
            self.wait_oldest()?;
        }
        let missing = || DeviceError::Missing(format!("program {program}"));
        let steps = self.programs.get(program).ok_or_else(missing)?;
        if let Some((buffer, _)) = &self.live {
            gpu.queue.write_buffer(buffer, 0, bytemuck::bytes_of(live));
        }

        let mut recording = self
            .profiler
            .as_ref()
            .map(|profiler| profiler.record(program, tag.unwrap_or(live.step.into()), steps.len()));
        let mut rest = steps.as_slice();
        let mut slot = None;
        let mut before = None;
        loop {
            let end = rest.iter().position(|s| s.cut).map_or(rest.len(), |k| k + 1);
            let (now, later) = rest.split_at(end);
            rest = later;
            let label = wgpu::CommandEncoderDescriptor { label: Some(program) };
            let mut encoder = gpu.device.create_command_encoder(&label);
            // A pass ends where copies are to be made; and timestamps stand at the ends of passes only.
            let timed = recording.is_some();
            for part in now.chunk_by(|_, next| next.mirrors.is_empty() && !timed) {
                for mirror in part.iter().flat_map(|step| &step.mirrors) {
                    self.copy(&mut encoder, mirror)?;
                }
                let timestamp_writes = recording.as_mut().map(Recording::stamps);
                let label = wgpu::ComputePassDescriptor { label: Some(program), timestamp_writes };
                let mut pass = encoder.begin_compute_pass(&label);
                for step in part {
                    pass.set_pipeline(&step.pipeline.pipeline);
                    pass.set_bind_group(0, &step.group, &[]);
                    if let (true, Some((_, group))) = (step.live, &self.live) {
                        pass.set_bind_group(1, group, &[]);
                    }
                    let [x, y, z] = step.grid;
                    pass.dispatch_workgroups(x, y, z);
                }
            }
            if let (true, Some((k, tag))) = (rest.is_empty(), metrics) {
                let from = self.memory[k].buffer()?;
                let to = self
                    .idle
                    .pop()
                    .ok_or_else(|| DeviceError::Missing("idle metrics slot".into()))?;
                encoder.copy_buffer_to_buffer(from, 0, &to, 0, from.size());
                slot = Some((to, tag));
            }
            if let (true, Some(recording)) = (rest.is_empty(), &recording) {
                recording.resolve(&mut encoder);
            }
            let submission = gpu.submit(encoder.finish())?;
            if rest.is_empty() {
                if let Some((buffer, tag)) = slot.take() {
                    let state = Arc::new(AtomicU8::new(PENDING));
                    let flag = Arc::clone(&state);
                    buffer.map_async(wgpu::MapMode::Read, .., move |result| {
                        flag.store(if result.is_ok() { READY } else { FAILED }, Ordering::Release);
                    });
                    self.flying.push_back(Slot { buffer, tag, state, submission });
                }
                break;
            }
            // Wait for the piece before this one: the device always has the next, and no queue of seconds builds up behind a watchdog.
            if let Some(before) = before.replace(submission) {
                gpu.wait(wgpu::PollType::Wait { submission_index: Some(before), timeout: None })?;
            }
        }
        if let (Some(profiler), Some(recording)) = (&mut self.profiler, recording) {
            profiler.take(recording);
        }
        gpu.check()
    }

    /// Fills a mirror: whole rows, then what is left.
    fn copy(&self, encoder: &mut wgpu::CommandEncoder, mirror: &Mirror) -> Result<(), DeviceError> {
        let Memory::Mirror(texture) = &self.memory[mirror.to] else {
            return Err(DeviceError::Missing("a texture where a buffer is".into()));
        };
        let texel = texel(self.plan.buffers[mirror.to].storage);
        let texels = mirror.from.bytes.div_ceil(texel);
        let (rows, rest) = (texels / TEXELS, texels % TEXELS);
        for (row, rows, width) in [(0, rows, TEXELS), (rows, u64::from(rest > 0), rest)] {
            if rows == 0 {
                continue;
            }
            let from = wgpu::TexelCopyBufferInfo {
                buffer: self.memory[mirror.from.buffer].buffer()?,
                layout: wgpu::TexelCopyBufferLayout {
                    offset: mirror.from.offset + row * TEXELS * texel,
                    bytes_per_row: Some((TEXELS * texel) as u32),
                    rows_per_image: None,
                },
            };
            let to = wgpu::TexelCopyTextureInfo {
                texture,
                mip_level: 0,
                origin: wgpu::Origin3d { x: 0, y: row as u32, z: 0 },
                aspect: wgpu::TextureAspect::All,
            };
            let size = wgpu::Extent3d {
                width: width as u32,
                height: rows as u32,
                depth_or_array_layers: 1,
            };
            encoder.copy_buffer_to_texture(from, to, size);
        }
        Ok(())
    }

    fn wait_oldest(&mut self) -> Result<(), DeviceError> {
        if let Some(slot) = self.flying.front() {
            let submission_index = Some(slot.submission.clone());
            self.gpu.wait(wgpu::PollType::Wait { submission_index, timeout: None })?;
        }
        self.settle(self.flying.len().saturating_sub(1))
    }

    /// Takes metrics that have been read back, until those of at most `left` submits are missing. The other submits must be done: it waits only until
    /// their buffers are mapped.
    fn settle(&mut self, left: usize) -> Result<(), DeviceError> {
        self.collect()?;
        // Another thread that polls the same device may have fetched an answer, and not have said so yet.
        while self.flying.len() > left {
            std::thread::yield_now();
            self.gpu.wait(wgpu::PollType::Poll)?;
            self.collect()?;
        }
        Ok(())
    }

    fn collect(&mut self) -> Result<(), DeviceError> {
        while let Some(slot) = self.flying.front() {
            match slot.state.load(Ordering::Acquire) {
                PENDING => break,
                READY => {}
                _ => return Err(DeviceError::Lost("metrics could not be read".into())),
            }
            let Some(slot) = self.flying.pop_front() else { break };
            let values = {
                let view = slot
                    .buffer
                    .get_mapped_range(..)
                    .map_err(|e| DeviceError::Lost(e.to_string()))?;
                bytemuck::cast_slice::<u8, f32>(&view).iter().step_by(64).copied().collect()
            };
            slot.buffer.unmap();
            self.idle.push(slot.buffer);
            self.done.push_back(Metrics { tag: slot.tag, values });
        }
        Ok(())
    }
}

impl device::Executor for Executor {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn has(&self, label: &str) -> bool {
        self.find(label).is_ok()
    }

    fn write_bytes(&self, label: &str, bytes: &[u8]) -> Result<(), DeviceError> {
        let _turn = self.gpu.turn();
        let k = self.find(label)?;
        if bytes.len() as u64 > self.plan.buffers[k].bytes {
            return Err(DeviceError::Missing(format!(
                "room for {} bytes in buffer {label}",
                bytes.len()
            )));
        }
        self.gpu.queue.write_buffer(self.memory[k].buffer()?, 0, bytes);
        Ok(())
    }

    fn read(&self, label: &str) -> Result<Vec<f32>, DeviceError> {
        let _turn = self.gpu.turn();
        let k = self.find(label)?;
        let (from, size) = (self.memory[k].buffer()?, self.plan.buffers[k].bytes);
        let to = self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(from, 0, &to, 0, size);
        self.gpu.submit(encoder.finish())?;
        to.map_async(wgpu::MapMode::Read, .., |_| {});
        self.gpu.wait(wgpu::PollType::wait_indefinitely())?;
        let view = to.get_mapped_range(..).map_err(|e| DeviceError::Lost(e.to_string()))?;
        Ok(bytemuck::cast_slice(&view).to_vec())
    }

    fn run(&mut self, program: &str, live: &StepParameters, tag: u64) -> Result<(), DeviceError> {
        self.submit(program, live, Some(tag))
    }

    fn run_part(&mut self, program: &str, live: &StepParameters) -> Result<(), DeviceError> {
        self.submit(program, live, None)
    }

    fn metrics(&mut self) -> Result<Vec<Metrics>, DeviceError> {
        let gpu = Arc::clone(&self.gpu);
        let _turn = gpu.turn();
        gpu.wait(wgpu::PollType::Poll)?;
        self.collect()?;
        Ok(self.done.drain(..).collect())
    }

    fn finish(&mut self) -> Result<Vec<Metrics>, DeviceError> {
        let gpu = Arc::clone(&self.gpu);
        let _turn = gpu.turn();
        gpu.wait(wgpu::PollType::wait_indefinitely())?;
        self.settle(0)?;
        Ok(self.done.drain(..).collect())
    }

    fn start_profile(&mut self) -> Result<(), DeviceError> {
        let _turn = self.gpu.turn();
        self.profiler = Some(Profiler::new(&self.gpu)?);
        Ok(())
    }

    fn stop_profile(&mut self) -> Result<(Vec<Pass>, f64), DeviceError> {
        let gpu = Arc::clone(&self.gpu);
        let _turn = gpu.turn();
        gpu.wait(wgpu::PollType::wait_indefinitely())?;
        self.settle(0)?;
        self.profiler.take().map_or(Ok((Vec::new(), 0.0)), Profiler::finish)
    }
}

impl Drop for Executor {
    /// Frees everything on the device while this thread has the turn (`Gpu::turn`). Every field that holds such a thing must be dropped here.
    fn drop(&mut self) {
        let Self {
            gpu,
            plan: _,
            memory,
            programs,
            live,
            metrics: _,
            idle,
            flying,
            done: _,
            profiler,
        } = self;
        let _turn = gpu.turn();
        programs.clear();
        memory.clear();
        idle.clear();
        flying.clear();
        (*live, *profiler) = (None, None);
    }
}

/// A texture for mirrors.
fn mirror(device: &wgpu::Device, spec: &BufferSpec) -> wgpu::Texture {
    device.create_texture(&wgpu::TextureDescriptor {
        label: Some(&spec.label),
        size: wgpu::Extent3d {
            width: PITCH as u32,
            height: (spec.bytes / (PITCH * texel(spec.storage))) as u32,
            depth_or_array_layers: 1,
        },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: mirror_format(spec.storage),
        usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    })
}
