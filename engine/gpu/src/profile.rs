//! Times of single dispatches, by timestamp queries: a compute pass for each dispatch, with a timestamp at both of its ends.
//!
//! Nothing waits for them: queries are resolved behind a program's last dispatch and mapped when it is done, so that the steps of a
//! profile overlap as those of a training do.

use std::{sync::Arc, time::Instant};

use super::device::Gpu;
use taper_core::{
    device::DeviceError,
    profile::{Pass, Span},
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
    pub(super) fn new(gpu: &Arc<Gpu>) -> Result<Self, DeviceError> {
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
    pub(super) fn finish(self) -> Result<(Vec<Pass>, f64), DeviceError> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let period = f64::from(self.gpu.queue.get_timestamp_period());
        let nanoseconds = |ticks: u64| (ticks as f64 * period).round() as u64;
        let pass = |recording: Recording| {
            let view = recording.buffers[1].get_mapped_range(..);
            let view = view.map_err(|e| DeviceError::Lost(e.to_string()))?;
            let span = |&[begin, end]: &[u64; 2]| {
                let begin = nanoseconds(begin);
                Span { begin, end: nanoseconds(end).max(begin) }
            };
            let stamps = &bytemuck::cast_slice::<u8, [u64; 2]>(&view)[..recording.count];
            let spans = stamps.iter().map(span).collect();
            Ok(Pass { program: recording.program.clone(), tag: recording.tag, spans })
        };
        let passes = self.passes.into_iter().map(pass).collect::<Result<_, DeviceError>>()?;
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
