//! Runs a plan: makes buffers, pipelines and bind groups once, then walks lists of dispatches. No arithmetic about shapes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use bytemuck::{Pod, Zeroable};

use super::{
    GpuError,
    device::{Gpu, Pipeline},
};
use crate::{
    ops::AdapterKind,
    plan::{DIMS_SLOT, Dispatch, Plan},
};

/// The numbers that change from step to step: `shaders/lib/step.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Live {
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
    /// Factor of the loss.
    pub loss_scale: f32,
    /// Unused.
    pub pad2: f32,
}

impl Live {
    /// Live numbers of an evaluation of `rows` rows.
    pub fn rows(rows: u32) -> Self {
        Self { seed: 0, step: 0, rows, part: 0, lr: 0.0, t: 1.0, loss_scale: 1.0, pad2: 0.0 }
    }
}

/// What a program left in the buffer `metrics`.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// What the caller named the submit.
    pub tag: u64,
    /// The first float of each 64-float slot.
    pub values: Vec<f32>,
}

/// Name of the buffer that is read back asynchronously.
const METRICS: &str = "metrics";
/// Submits that may be under way before the host waits for the oldest.
const IN_FLIGHT: usize = 8;
/// Seconds that one submit should stay under: drivers kill longer ones.
const SUBMIT_SECONDS: f64 = 0.4;

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

#[derive(Debug)]
struct Step {
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    grid: [u32; 3],
    live: bool,
    /// Whether the submit ends after this dispatch.
    cut: bool,
}

/// A plan made ready on a device.
#[derive(Debug)]
pub struct Executor {
    gpu: Arc<Gpu>,
    plan: Plan,
    buffers: Vec<wgpu::Buffer>,
    programs: BTreeMap<String, Vec<Step>>,
    live: wgpu::Buffer,
    live_group: wgpu::BindGroup,
    /// Index of the buffer `metrics`, if the plan has one.
    metrics: Option<usize>,
    idle: Vec<wgpu::Buffer>,
    flying: VecDeque<Slot>,
    done: VecDeque<Metrics>,
}

impl Executor {
    /// Makes everything a plan needs. Buffers start as zeros.
    ///
    /// # Errors
    /// If the device cannot hold the plan or rejects a kernel.
    pub fn new(gpu: &Arc<Gpu>, plan: Plan) -> Result<Self, GpuError> {
        let has = &gpu.adapter.limits;
        let largest = plan.buffers.iter().map(|b| b.bytes).max().unwrap_or(0);
        if largest > has.buffer_bytes {
            let adapter = gpu.adapter.name.clone();
            let (needed, granted) = (largest, has.buffer_bytes);
            return Err(GpuError::Limit { what: "a buffer", needed, granted, adapter });
        }

        let make = |label: &str, bytes: u64, usage| {
            let size = bytes.max(4).next_multiple_of(4);
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
        let buffers: Vec<_> =
            plan.buffers.iter().map(|b| make(&b.label, b.bytes, storage)).collect();
        let count = plan.programs.values().map(Vec::len).sum::<usize>().max(1) as u64;
        let dims = make("dims", count * DIMS_SLOT, uniform);
        let live = make("live", size_of::<Live>() as u64, uniform);
        let live_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("live"),
            layout: &gpu.live_layout(),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: live.as_entire_binding() }],
        });
        gpu.check()?;

        let pipelines = plan
            .kernels
            .iter()
            .map(|spec| gpu.pipeline(spec))
            .collect::<Result<Vec<_>, GpuError>>()?;
        let mut words = vec![0u32; (count * DIMS_SLOT / 4) as usize];
        let mut slot = 0u64;
        let mut programs = BTreeMap::new();
        for (name, list) in &plan.programs {
            let mut steps = Vec::with_capacity(list.len());
            let mut seconds = 0.0;
            for dispatch in list {
                let first = (slot * DIMS_SLOT / 4) as usize;
                words[first..first + dispatch.dims.len()].copy_from_slice(&dispatch.dims);
                let spec = &plan.kernels[dispatch.kernel];
                let pipeline = &pipelines[dispatch.kernel];
                let range = |buffer, offset, size| {
                    let size = wgpu::BufferSize::new(size);
                    wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size })
                };
                let uniform = spec.dims.then(|| wgpu::BindGroupEntry {
                    binding: 0,
                    resource: range(&dims, slot * DIMS_SLOT, DIMS_SLOT),
                });
                let storage = spec.bindings.iter().zip(&dispatch.binds).map(|(binding, bind)| {
                    wgpu::BindGroupEntry {
                        binding: binding.number,
                        resource: range(&buffers[bind.buffer], bind.offset, bind.bytes),
                    }
                });
                let entries: Vec<_> = uniform.into_iter().chain(storage).collect();
                let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(&dispatch.label),
                    layout: &pipeline.group,
                    entries: &entries,
                });
                slot += 1;
                seconds += estimate(dispatch, gpu.adapter.kind);
                let cut = seconds > SUBMIT_SECONDS;
                if cut {
                    seconds = 0.0;
                }
                let (pipeline, grid, live) = (Arc::clone(pipeline), dispatch.grid, spec.live);
                steps.push(Step { pipeline, group, grid, live, cut });
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
            buffers,
            programs,
            live,
            live_group,
            metrics,
            idle,
            flying,
            done,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn find(&self, label: &str) -> Result<usize, GpuError> {
        let missing = || GpuError::Missing(format!("buffer {label}"));
        self.plan.buffers.iter().position(|b| b.label == label).ok_or_else(missing)
    }

    /// Writes 4-byte numbers into a named buffer from its first float on; ordered with the submits around it.
    ///
    /// # Errors
    /// If the plan has no such buffer or the data is longer than it.
    pub fn write<T: Pod>(&self, label: &str, data: &[T]) -> Result<(), GpuError> {
        let k = self.find(label)?;
        let bytes: &[u8] = bytemuck::cast_slice(data);
        if bytes.len() as u64 > self.plan.buffers[k].bytes {
            return Err(GpuError::Missing(format!(
                "room for {} bytes in buffer {label}",
                bytes.len()
            )));
        }
        self.gpu.queue.write_buffer(&self.buffers[k], 0, bytes);
        Ok(())
    }

    /// Whether the plan has a buffer of this name.
    pub fn has(&self, label: &str) -> bool {
        self.find(label).is_ok()
    }

    /// Runs a program and lets its metrics, if the plan has any, be read when they are there: [`Self::metrics`].
    ///
    /// # Errors
    /// If the plan has no such program or the device reports an error.
    pub fn run(&mut self, program: &str, live: &Live, tag: u64) -> Result<(), GpuError> {
        self.submit(program, live, Some(tag))
    }

    /// Runs a program that is not the last of its step: what it leaves in `metrics` stays there.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_part(&mut self, program: &str, live: &Live) -> Result<(), GpuError> {
        self.submit(program, live, None)
    }

    fn submit(&mut self, program: &str, live: &Live, tag: Option<u64>) -> Result<(), GpuError> {
        let metrics = self.metrics.zip(tag);
        if metrics.is_some() && self.idle.is_empty() {
            self.wait_oldest()?;
        }
        let missing = || GpuError::Missing(format!("program {program}"));
        let steps = self.programs.get(program).ok_or_else(missing)?;
        self.gpu.queue.write_buffer(&self.live, 0, bytemuck::bytes_of(live));

        let mut rest = steps.as_slice();
        let mut slot = None;
        loop {
            let end = rest.iter().position(|s| s.cut).map_or(rest.len(), |k| k + 1);
            let (now, later) = rest.split_at(end);
            rest = later;
            let label = wgpu::CommandEncoderDescriptor { label: Some(program) };
            let mut encoder = self.gpu.device.create_command_encoder(&label);
            {
                let label =
                    wgpu::ComputePassDescriptor { label: Some(program), timestamp_writes: None };
                let mut pass = encoder.begin_compute_pass(&label);
                for step in now {
                    pass.set_pipeline(&step.pipeline.pipeline);
                    pass.set_bind_group(0, &step.group, &[]);
                    if step.live {
                        pass.set_bind_group(1, &self.live_group, &[]);
                    }
                    let [x, y, z] = step.grid;
                    pass.dispatch_workgroups(x, y, z);
                }
            }
            if let (true, Some((k, tag))) = (rest.is_empty(), metrics) {
                let from = &self.buffers[k];
                let to =
                    self.idle.pop().ok_or_else(|| GpuError::Missing("idle metrics slot".into()))?;
                encoder.copy_buffer_to_buffer(from, 0, &to, 0, from.size());
                slot = Some((to, tag));
            }
            let submission = self.gpu.submit(encoder.finish())?;
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
            // Between the pieces of one step: wait, so that no queue of seconds builds up behind a watchdog.
            self.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None })?;
        }
        self.gpu.check()
    }

    fn poll(&self, how: wgpu::PollType) -> Result<(), GpuError> {
        let polled = self.gpu.device.poll(how);
        self.gpu.check()?;
        polled.map(|_| ()).map_err(|e| GpuError::Lost(e.to_string()))
    }

    fn wait_oldest(&mut self) -> Result<(), GpuError> {
        if let Some(slot) = self.flying.front() {
            let submission_index = Some(slot.submission.clone());
            self.poll(wgpu::PollType::Wait { submission_index, timeout: None })?;
        }
        self.collect()
    }

    fn collect(&mut self) -> Result<(), GpuError> {
        while let Some(slot) = self.flying.front() {
            match slot.state.load(Ordering::Acquire) {
                PENDING => break,
                READY => {}
                _ => return Err(GpuError::Lost("metrics could not be read".into())),
            }
            let Some(slot) = self.flying.pop_front() else { break };
            let values = {
                let view =
                    slot.buffer.get_mapped_range(..).map_err(|e| GpuError::Lost(e.to_string()))?;
                bytemuck::cast_slice::<u8, f32>(&view).iter().step_by(64).copied().collect()
            };
            slot.buffer.unmap();
            self.idle.push(slot.buffer);
            self.done.push_back(Metrics { tag: slot.tag, values });
        }
        Ok(())
    }

    /// The metrics that have arrived, oldest first, without waiting.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn metrics(&mut self) -> Result<Vec<Metrics>, GpuError> {
        self.poll(wgpu::PollType::Poll)?;
        self.collect()?;
        Ok(self.done.drain(..).collect())
    }

    /// Waits for every submit and returns the metrics that were still to come.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn finish(&mut self) -> Result<Vec<Metrics>, GpuError> {
        self.poll(wgpu::PollType::wait_indefinitely())?;
        self.collect()?;
        Ok(self.done.drain(..).collect())
    }

    /// Reads a whole named buffer, after everything submitted before.
    ///
    /// # Errors
    /// If the plan has no such buffer or the device is lost.
    pub fn read(&self, label: &str) -> Result<Vec<f32>, GpuError> {
        let from = &self.buffers[self.find(label)?];
        let size = from.size();
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
        self.poll(wgpu::PollType::wait_indefinitely())?;
        let view = to.get_mapped_range(..).map_err(|e| GpuError::Lost(e.to_string()))?;
        Ok(bytemuck::cast_slice(&view).to_vec())
    }
}

/// Seconds that a dispatch may take on a slow device of the kind: only decides where a step is cut into submits.
fn estimate(dispatch: &Dispatch, kind: AdapterKind) -> f64 {
    let (flops, bytes) = match kind {
        AdapterKind::Cpu => (10e9, 4e9),
        AdapterKind::Gpu => (200e9, 20e9),
    };
    (dispatch.flops as f64 / flops).max(dispatch.bytes as f64 / bytes)
}
