//! Times of single dispatches, by timestamp queries: a compute pass for each dispatch, with a timestamp at both of its ends.
//!
//! Nothing waits for them: queries are resolved behind a program's last dispatch and mapped when it is done, so that the steps of a
//! profile overlap as those of a training do.

use std::{sync::Arc, time::Instant};

use super::{Executor, GpuError, Live, device::Gpu};
use taper_core::{
    graph::Graph,
    ops::{AdapterKind, elementwise::Copy, peak::Peak},
    plan::{PlanError, compile},
    profile::{Pass, Peaks, Span},
};

/// Dispatches of a query set: two queries each, and WebGPU allows 4096.
const SET: usize = 2048;
/// Bytes of a dispatch's two timestamps.
const STAMPS: u64 = 16;

/// The profile of an executor while it is taken.
#[derive(Debug)]
pub(super) struct Profiler {
    gpu: Arc<Gpu>,
    begun: Instant,
    passes: Vec<Recording>,
}

/// The timestamps of one pass through a program.
#[derive(Debug)]
pub(super) struct Recording {
    program: String,
    tag: u64,
    sets: Vec<wgpu::QuerySet>,
    /// Where queries are resolved to, and what the host maps.
    buffers: [wgpu::Buffer; 2],
    /// Dispatches, and those that have begun.
    count: usize,
    next: usize,
}

impl Profiler {
    /// # Errors
    /// If the device has no timestamps.
    pub(super) fn new(gpu: &Arc<Gpu>) -> Result<Self, GpuError> {
        gpu.check_timestamps()?;
        Ok(Self { gpu: Arc::clone(gpu), begun: Instant::now(), passes: Vec::new() })
    }

    /// Makes ready for `count` dispatches.
    pub(super) fn record(&self, program: &str, tag: u64, count: usize) -> Recording {
        let device = &self.gpu.device;
        let set = |first: usize| {
            device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * (count - first).min(SET) as u32,
            })
        };
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: STAMPS * count.max(1) as u64,
                usage: usage | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let resolved = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        Recording {
            program: program.into(),
            tag,
            sets: (0..count).step_by(SET).map(set).collect(),
            buffers: [buffer(resolved), buffer(wgpu::BufferUsages::MAP_READ)],
            count,
            next: 0,
        }
    }

    /// Takes a pass that has been submitted.
    pub(super) fn take(&mut self, recording: Recording) {
        recording.buffers[1].map_async(wgpu::MapMode::Read, .., |_| {});
        self.passes.push(recording);
    }

    /// The passes, and the seconds since the profile began; every submit must have been waited for.
    pub(super) fn finish(self) -> Result<(Vec<Pass>, f64), GpuError> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let period = f64::from(self.gpu.queue.get_timestamp_period());
        let nanoseconds = |ticks: u64| (ticks as f64 * period).round() as u64;
        let pass = |recording: Recording| {
            let view = recording.buffers[1].get_mapped_range(..);
            let view = view.map_err(|e| GpuError::Lost(e.to_string()))?;
            let span = |&[begin, end]: &[u64; 2]| {
                let begin = nanoseconds(begin);
                Span { begin, end: nanoseconds(end).max(begin) }
            };
            let stamps = &bytemuck::cast_slice::<u8, [u64; 2]>(&view)[..recording.count];
            let spans = stamps.iter().map(span).collect();
            Ok(Pass { program: recording.program.clone(), tag: recording.tag, spans })
        };
        let passes = self.passes.into_iter().map(pass).collect::<Result<_, GpuError>>()?;
        Ok((passes, seconds))
    }
}

impl Recording {
    /// Where the next dispatch's pass writes its timestamps.
    pub(super) fn stamps(&mut self) -> wgpu::ComputePassTimestampWrites<'_> {
        let (set, query) = (self.next / SET, 2 * (self.next % SET) as u32);
        self.next += 1;
        wgpu::ComputePassTimestampWrites {
            query_set: &self.sets[set],
            beginning_of_pass_write_index: Some(query),
            end_of_pass_write_index: Some(query + 1),
        }
    }

    /// Reads the timestamps back, behind the last dispatch.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        let [resolved, mapped] = &self.buffers;
        for (k, set) in self.sets.iter().enumerate() {
            let queries = 2 * (self.count - k * SET).min(SET) as u32;
            encoder.resolve_query_set(set, 0..queries, resolved, (k * SET) as u64 * STAMPS);
        }
        encoder.copy_buffer_to_buffer(resolved, 0, mapped, 0, resolved.size());
    }
}

/// Floats that are copied to measure the memory's rate: 64 MiB, more than most caches hold.
const COPIED: u32 = 1 << 24;
/// Rounds of the multiply-adds of an invocation.
const ROUNDS: u32 = 1024;
/// Passes of which the fastest counts; a device that slept needs some to wake.
const PASSES: u64 = 5;

/// The program that holds both kernels.
const PEAK: &str = "peak";

/// Measures what an adapter reaches at most.
///
/// # Errors
/// If it has no timestamps, or fails.
pub fn peaks(gpu: &Arc<Gpu>) -> Result<Peaks, GpuError> {
    let rejected = |cause: String| GpuError::Rejected { what: "the peak kernels".into(), cause };
    let invocations = match gpu.adapter.kind {
        AdapterKind::Cpu => 1 << 14,
        AdapterKind::Gpu => 1 << 18,
    };
    let mut graph = Graph::new();
    let build = |graph: &mut Graph| {
        let y = graph.add(Peak { invocations, rounds: ROUNDS }, &[])?;
        graph.place(y, "y", 0);
        let a = graph.input("a", &[COPIED]);
        let b = graph.add(Copy, &[a])?;
        graph.place(b, "b", 0);
        compile(&[(PEAK, graph)], &gpu.target())
    };
    let plan = build(&mut graph).map_err(|e: PlanError| rejected(e.to_string()))?;
    let jobs: Vec<_> = plan.programs[PEAK].iter().map(|d| (d.flops, d.bytes)).collect();
    let mut executor = Executor::new(gpu, plan)?;
    executor.start_profile()?;
    for tag in 0..PASSES {
        executor.run(PEAK, &Live::rows(0), tag)?;
    }
    let (passes, _) = executor.stop_profile()?;
    let fastest = |job: usize| {
        let times = passes.iter().map(|pass| pass.spans[job].nanoseconds());
        times.min().unwrap_or(0).max(1) as f64
    };
    // The driver's own copy may be faster than a kernel: a software adapter's kernels load number by number.
    let copied = jobs[1].1 as f64;
    let copy = fastest(1).min(driver_copy(gpu)?);
    Ok(Peaks { gflops: jobs[0].0 as f64 / fastest(0), gbytes: copied / copy })
}

/// Nanoseconds in which the driver copies [`COPIED`] floats by itself, between two empty passes.
fn driver_copy(gpu: &Arc<Gpu>) -> Result<f64, GpuError> {
    let _turn = gpu.turn();
    let size = 4 * u64::from(COPIED);
    let buffer = |label| {
        gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    };
    let (from, to) = (buffer("copied from"), buffer("copied to"));
    let mut profiler = Profiler::new(gpu)?;
    for tag in 0..PASSES {
        let mut recording = profiler.record("copy", tag, 2);
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut stamp = |encoder: &mut wgpu::CommandEncoder| {
            let timestamp_writes = Some(recording.stamps());
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            drop(encoder.begin_compute_pass(&descriptor));
        };
        stamp(&mut encoder);
        encoder.copy_buffer_to_buffer(&from, 0, &to, 0, size);
        stamp(&mut encoder);
        recording.resolve(&mut encoder);
        gpu.submit(encoder.finish())?;
        profiler.take(recording);
    }
    gpu.wait(wgpu::PollType::wait_indefinitely())?;
    let (passes, _) = profiler.finish()?;
    let between = |pass: &Pass| pass.spans[1].begin.saturating_sub(pass.spans[0].end);
    Ok(passes.iter().map(between).min().unwrap_or(0).max(1) as f64)
}
