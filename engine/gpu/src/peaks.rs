//! What an adapter reaches at most: arithmetic, and copies of memory.

use std::sync::Arc;

use super::{device::Gpu, executor::Executor, profile::Profiler};
use taper_core::{
    device::{DeviceError, Executor as _, StepParameters},
    graph::Graph,
    ops::{AdapterKind, elementwise::Copy, peak::Peak},
    plan::{PlanError, compile},
    profile::{Pass, Peaks},
};

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
pub(super) fn peaks(gpu: &Arc<Gpu>) -> Result<Peaks, DeviceError> {
    let rejected = |cause: String| DeviceError::Rejected { what: "the peak kernels".into(), cause };
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
        executor.run(PEAK, &StepParameters::rows(0), tag)?;
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
fn driver_copy(gpu: &Arc<Gpu>) -> Result<f64, DeviceError> {
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
