//! Where the time of a program goes, dispatch by dispatch: what an executor measured, and sums over it. Plain data.
//!
//! A [`Window`] holds some passes through one program of one plan; a [`Profile`] those of a run. Times are nanoseconds on the device's clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

use crate::{
    config::Method,
    plan::{Dispatch, Plan},
};

/// The most that an adapter was seen to do, by kernels that do nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Peaks {
    /// GFLOP/s of f32 multiply-adds without loads.
    pub gflops: f64,
    /// GB/s of a copy, bytes read and bytes written.
    pub gbytes: f64,
}

impl Peaks {
    /// The roofline bound of this work in seconds, which it takes at least unless its data lies in a cache: max(operations / peak, bytes / peak).
    pub fn roofline(&self, flops: u64, bytes: u64) -> f64 {
        (flops as f64 / self.gflops).max(bytes as f64 / self.gbytes) / 1e9
    }
}

/// A dispatch of a program, apart from its times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Job {
    /// `matmul.linear [r8x8]`: file, entry point and variant.
    pub kernel: String,
    /// `layers.0`, or `d layers.0` where its gradient is made.
    pub layer: String,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written, each tensor once.
    pub bytes: u64,
}

impl Job {
    /// The dispatches of a program, in order; none if there is no such program.
    pub fn of(plan: &Plan, program: &str) -> Vec<Self> {
        let job = |dispatch: &Dispatch| {
            let kernel = &plan.kernels[dispatch.kernel].kernel;
            let variant = kernel.variant.as_deref().and_then(|v| v.split_once('.'));
            let variant = variant.map_or(String::new(), |(_, name)| format!(" [{name}]"));
            let layer = dispatch.label.rsplit_once('/').map_or("", |(layer, _)| layer);
            Self {
                kernel: format!("{}.{}{variant}", kernel.file, kernel.entry),
                layer: layer.into(),
                flops: dispatch.flops,
                bytes: dispatch.bytes,
            }
        };
        plan.programs.get(program).map_or(Vec::new(), |list| list.iter().map(job).collect())
    }
}

/// When a dispatch began and ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Nanoseconds.
    pub begin: u64,
    /// Nanoseconds; never before `begin`.
    pub end: u64,
}

impl Span {
    /// How long it took.
    pub fn nanoseconds(self) -> u64 {
        self.end.saturating_sub(self.begin)
    }
}

/// One pass through a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pass {
    /// The program.
    pub program: String,
    /// What the caller named it: a training step's number in its stage.
    pub tag: u64,
    /// A span for each dispatch, in order.
    pub spans: Vec<Span>,
}

/// Some passes through one program, one behind the other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Window {
    /// Whose they are: a member, or the name of a work.
    pub owner: String,
    /// In which stage.
    pub stage: String,
    /// The program.
    pub program: String,
    /// Its dispatches.
    pub jobs: Vec<Job>,
    /// The passes; each has a span for each job.
    pub passes: Vec<Pass>,
    /// Seconds on the host's clock, from the first submit until the last pass was done.
    pub seconds: f64,
}

impl Window {
    fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.passes.iter().flat_map(|pass| pass.spans.iter().copied())
    }

    /// Nanoseconds in which some dispatch ran, and those from the first one's begin to the last one's end.
    fn busy(&self) -> (u64, u64) {
        let mut spans: Vec<Span> = self.spans().collect();
        spans.sort_unstable_by_key(|span| (span.begin, span.end));
        let Some(first) = spans.first().map(|span| span.begin) else { return (0, 0) };
        let (mut busy, mut until) = (0, first);
        for span in spans {
            busy += span.end.saturating_sub(span.begin.max(until));
            until = until.max(span.end);
        }
        (busy, until - first)
    }

    /// What the window comes to on an adapter with these peaks.
    pub fn total(&self, peaks: &Peaks) -> StageTotal {
        let steps = self.passes.len();
        let each = |seconds: f64| 1e3 * seconds / steps.max(1) as f64;
        let (busy, whole) = self.busy();
        StageTotal {
            owner: self.owner.clone(),
            stage: self.stage.clone(),
            program: self.program.clone(),
            steps,
            launches: self.jobs.len(),
            device_ms: each(busy as f64 / 1e9),
            wall_ms: each(self.seconds),
            busy: share(busy as f64, whole as f64),
            roofline_ms: 1e3
                * self.jobs.iter().map(|job| peaks.roofline(job.flops, job.bytes)).sum::<f64>(),
        }
    }
}

/// A window's line of the summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageTotal {
    /// A member, or the name of a work.
    pub owner: String,
    /// The stage.
    pub stage: String,
    /// The program.
    pub program: String,
    /// Passes.
    pub steps: usize,
    /// Dispatches of a pass.
    pub launches: usize,
    /// Milliseconds a pass in which some dispatch ran.
    pub device_ms: f64,
    /// Milliseconds a pass on the host's clock.
    pub wall_ms: f64,
    /// Share of the device's time in which some dispatch ran, from 0 to 1; the rest are gaps between dispatches and between passes.
    pub busy: f64,
    /// The roofline bound of a pass in milliseconds: the sum over its dispatches of their times at the adapter's peaks.
    #[serde(rename = "floor_ms")]
    pub roofline_ms: f64,
}

/// A kernel's line of the summary, over all windows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelTotal {
    /// File, entry point and variant.
    pub kernel: String,
    /// Its dispatches.
    pub launches: u64,
    /// Their milliseconds.
    pub ms: f64,
    /// Share of the time of all kernels, from 0 to 1.
    pub share: f64,
    /// GFLOP/s.
    pub gflops: f64,
    /// GB/s, each tensor counted once a dispatch.
    pub gbytes: f64,
    /// The time that it would take at the adapter's peaks (the roofline bound), divided by the time that it took: from 0 to 1. It is above 1
    /// where the data came from a cache.
    #[serde(rename = "floor")]
    pub roofline: f64,
}

/// What was profiled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Name of the adapter.
    pub adapter: String,
    /// The most it was seen to do.
    pub peaks: Peaks,
    /// In the order in which they were measured.
    pub windows: Vec<Window>,
}

impl Profile {
    /// A profile of nothing yet.
    pub fn new(adapter: impl Into<String>, peaks: Peaks) -> Self {
        Self { adapter: adapter.into(), peaks, windows: Vec::new() }
    }

    /// Every kernel, the dearest first.
    pub fn kernels(&self) -> Vec<KernelTotal> {
        #[derive(Default)]
        struct Sum {
            launches: u64,
            ns: u64,
            flops: u64,
            bytes: u64,
            roofline: f64,
        }
        let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
        for window in &self.windows {
            for pass in &window.passes {
                for (job, span) in window.jobs.iter().zip(&pass.spans) {
                    let sum = sums.entry(&job.kernel).or_default();
                    sum.launches += 1;
                    sum.ns += span.nanoseconds();
                    sum.flops += job.flops;
                    sum.bytes += job.bytes;
                    sum.roofline += self.peaks.roofline(job.flops, job.bytes);
                }
            }
        }
        let all: u64 = sums.values().map(|sum| sum.ns).sum();
        let total = |(kernel, sum): (&str, Sum)| {
            let ns = sum.ns as f64;
            KernelTotal {
                kernel: kernel.into(),
                launches: sum.launches,
                ms: ns / 1e6,
                share: share(ns, all as f64),
                gflops: share(sum.flops as f64, ns),
                gbytes: share(sum.bytes as f64, ns),
                roofline: share(1e9 * sum.roofline, ns),
            }
        };
        let mut totals: Vec<KernelTotal> = sums.into_iter().map(total).collect();
        totals.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        totals
    }

    /// Every window.
    pub fn stages(&self) -> Vec<StageTotal> {
        self.windows.iter().map(|window| window.total(&self.peaks)).collect()
    }
}

/// a / b, and 0 of nothing.
fn share(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// Gathers the profile of a run while it goes on; clones share it, so that it can be had however the run ends.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    shared: Arc<Mutex<Recorded>>,
}

#[derive(Debug, Default)]
struct Recorded {
    profile: Option<Profile>,
    /// Method and stage of what has been asked for.
    stages: BTreeSet<(Option<Method>, String)>,
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says on which adapter a run trains. A later run of the same command adds to it.
    pub fn begin(&self, adapter: &str, peaks: Peaks) {
        self.lock().profile.get_or_insert_with(|| Profile::new(adapter, peaks));
    }

    /// Whether a stage of a method, or of a teacher, is still to be profiled; true once: other seeds and restarts run the same kernels.
    pub fn wants(&self, method: Option<Method>, stage: &str) -> bool {
        let mut recorded = self.lock();
        recorded.profile.is_some() && recorded.stages.insert((method, stage.into()))
    }

    /// Adds a window.
    pub fn add(&self, window: Window) {
        if let Some(profile) = &mut self.lock().profile {
            profile.windows.push(window);
        }
    }

    /// What has been recorded; none before the run had a device.
    pub fn profile(&self) -> Option<Profile> {
        self.lock().profile.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEAKS: Peaks = Peaks { gflops: 100.0, gbytes: 10.0 };

    fn job(kernel: &str, flops: u64, bytes: u64) -> Job {
        Job { kernel: kernel.into(), layer: "layers.0".into(), flops, bytes }
    }

    fn window(jobs: Vec<Job>, passes: &[&[(u64, u64)]]) -> Window {
        let span = |&(begin, end): &(u64, u64)| Span { begin, end };
        let pass = |(tag, spans): (u64, &&[(u64, u64)])| Pass {
            program: "step".into(),
            tag,
            spans: spans.iter().map(span).collect(),
        };
        Window {
            owner: "win-0".into(),
            stage: "tune".into(),
            program: "step".into(),
            jobs,
            passes: (0..).zip(passes).map(pass).collect(),
            seconds: 1e-6,
        }
    }

    #[test]
    fn the_floor_is_the_dearer_of_operations_and_bytes() {
        assert_eq!(PEAKS.roofline(100_000_000_000, 0), 1.0);
        assert_eq!(PEAKS.roofline(1, 20_000_000_000), 2.0);
    }

    #[test]
    fn kernels_are_summed_over_windows_and_passes() {
        let mut profile = Profile::new("test", PEAKS);
        let jobs = vec![job("matmul.linear", 1000, 100), job("mse.grad", 10, 500)];
        profile.windows.push(window(jobs, &[&[(0, 20), (20, 120)], &[(130, 150), (150, 250)]]));
        profile.windows.push(window(vec![job("matmul.linear", 1000, 100)], &[&[(0, 60)]]));
        let [mse, matmul] = &profile.kernels()[..] else { panic!("two kernels") };
        assert_eq!((mse.kernel.as_str(), mse.launches, mse.ms), ("mse.grad", 2, 200e-6));
        assert_eq!((mse.gflops, mse.gbytes), (0.1, 5.0));
        assert_eq!(mse.roofline, 0.5);
        assert_eq!((matmul.kernel.as_str(), matmul.launches), ("matmul.linear", 3));
        // Each dispatch needs 10 ns for its operations and for its bytes.
        assert!((matmul.roofline - 0.3).abs() < 1e-12, "{}", matmul.roofline);
        assert!((mse.share + matmul.share - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_device_is_busy_between_its_first_and_last_dispatch_but_for_the_gaps() {
        let jobs = vec![job("a.a", 1, 1), job("b.b", 1, 1)];
        // The second dispatch overlaps the first; 20 ns of 100 are idle.
        let total = window(jobs, &[&[(1000, 1030), (1020, 1050)], &[(1070, 1100), (1100, 1100)]])
            .total(&PEAKS);
        assert_eq!((total.steps, total.launches), (2, 2));
        assert_eq!((total.busy, total.device_ms), (0.8, 40e-6));
        assert_eq!(total.wall_ms, 0.5e-3);
        assert_eq!(total.roofline_ms, 1e3 * 2.0 * PEAKS.roofline(1, 1));
        assert_eq!(window(Vec::new(), &[]).total(&PEAKS).busy, 0.0);
    }

    #[test]
    fn a_recorder_takes_each_stage_of_a_method_once_and_only_with_a_device() {
        let (recorder, win) = (Recorder::default(), Some(Method::Win));
        assert!(!recorder.wants(win, "tune"));
        assert_eq!(recorder.profile(), None);
        let run = recorder.clone();
        run.begin("first", PEAKS);
        run.begin("second", Peaks { gflops: 1.0, gbytes: 1.0 });
        assert!(run.wants(win, "tune") && !run.wants(win, "tune"));
        assert!(run.wants(win, "narrow 1") && run.wants(None, "tune"));
        run.add(window(Vec::new(), &[]));
        let profile = recorder.profile().expect("begun");
        assert_eq!((profile.adapter.as_str(), profile.windows.len()), ("first", 1));
    }
}
