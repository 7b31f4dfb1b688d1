//! `--profile`: where the device's time went, as tables and as a trace that chrome://tracing and Perfetto load.
//!
//! The trace is Chrome's JSON object format. A process is a member, a thread a stage and its program; on it steps hold layers, and layers hold
//! kernels. Times are microseconds since the first dispatch.

use std::path::Path;

use anyhow::Result;
use engine::formats::atomic;
use engine::profile::{Job, KernelTotal, Peaks, Profile, Span, StageTotal, Window};
use serde::Serialize;
use serde_json::{Value, json};

use crate::figures::table;

/// Kernels that the table names.
const TOP: usize = 15;

/// What `--json` prints of a profile.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    /// Where the trace is.
    path: &'a Path,
    adapter: &'a str,
    peaks: Peaks,
    stages: Vec<StageTotal>,
    kernels: Vec<KernelTotal>,
}

impl<'a> Summary<'a> {
    pub(super) fn of(profile: &'a Profile, path: &'a Path) -> Self {
        let (stages, kernels) = (profile.stages(), profile.kernels());
        Self { path, adapter: &profile.adapter, peaks: profile.peaks, stages, kernels }
    }

    /// The same for people.
    pub(super) fn text(&self) -> String {
        let Self { path, adapter, peaks, stages, kernels } = self;
        let stage = |total: &StageTotal| {
            vec![
                [&*total.owner, &*total.stage, &*total.program].join(" ").replace("  ", " "),
                total.steps.to_string(),
                total.launches.to_string(),
                format!("{:.2}", total.device_ms),
                format!("{:.2}", total.wall_ms),
                format!("{:.1}", 100.0 * total.busy),
                format!("{:.2}", total.roofline_ms),
            ]
        };
        let kernel = |total: &KernelTotal| {
            vec![
                total.kernel.clone(),
                total.launches.to_string(),
                format!("{:.2}", total.ms),
                format!("{:.1}", 100.0 * total.share),
                format!("{:.2}", total.gflops),
                format!("{:.2}", total.gbytes),
                format!("{:.1}", 100.0 * total.roofline),
            ]
        };
        let head =
            ["program", "steps", "launches", "device ms", "wall ms", "busy %", "roofline ms"];
        let stages = table(&head, &stages.iter().map(stage).collect::<Vec<_>>());
        let (top, rest) = kernels.split_at(kernels.len().min(TOP));
        let head = ["kernel", "launches", "ms", "share %", "GFLOP/s", "GB/s", "roofline %"];
        let mut rows: Vec<_> = top.iter().map(kernel).collect();
        if !rest.is_empty() {
            let sum = |of: fn(&KernelTotal) -> f64| rest.iter().map(of).sum::<f64>();
            let launches: u64 = rest.iter().map(|total| total.launches).sum();
            rows.push(vec![
                format!("{} others", rest.len()),
                launches.to_string(),
                format!("{:.2}", sum(|total| total.ms)),
                format!("{:.1}", 100.0 * sum(|total| total.share)),
            ]);
        }
        format!(
            "\nDispatches on {adapter}, timed in passes of their own; device and wall milliseconds are of a step.\n{stages}\n\
             Roofline: the least time by the peaks measured here, {:.0} GFLOP/s and {:.1} GB/s; above 100 % the data came from a cache.\n{}\
             trace for chrome://tracing or ui.perfetto.dev: {}\n",
            peaks.gflops,
            peaks.gbytes,
            table(&head, &rows),
            path.display()
        )
    }
}

/// Writes the trace, whole or not at all.
pub(super) fn write(profile: &Profile, path: &Path) -> Result<()> {
    let trace = trace(profile);
    Ok(atomic::write(path, |file| Ok(serde_json::to_writer(file, &trace)?))?)
}

fn trace(profile: &Profile) -> Value {
    let spans = |window: &Window| {
        let spans: Vec<Span> =
            window.passes.iter().flat_map(|pass| pass.spans.iter().copied()).collect();
        spans
    };
    let first = profile.windows.iter().flat_map(spans).map(|span| span.begin).min().unwrap_or(0);
    let mut owners: Vec<&str> = Vec::new();
    let mut events = Vec::new();
    for (place, window) in profile.windows.iter().enumerate() {
        let known = owners.iter().position(|owner| *owner == window.owner);
        let pid = 1 + known.unwrap_or_else(|| {
            owners.push(&window.owner);
            owners.len() - 1
        });
        let track = Track { pid, tid: place + 1, first, peaks: profile.peaks };
        if known.is_none() {
            events.push(track.name("process_name", &window.owner));
        }
        let thread = [&*window.stage, &*window.program].join(" ");
        events.push(track.name("thread_name", thread.trim()));
        track.add(window, &mut events);
    }
    json!({
        "displayTimeUnit": "ms",
        "otherData": { "adapter": profile.adapter, "peaks": profile.peaks },
        "traceEvents": events,
    })
}

/// Where a window's events go.
struct Track {
    pid: usize,
    tid: usize,
    /// Nanoseconds of the trace's zero.
    first: u64,
    peaks: Peaks,
}

impl Track {
    fn name(&self, what: &str, name: &str) -> Value {
        let Self { pid, tid, .. } = self;
        json!({ "ph": "M", "name": what, "pid": pid, "tid": tid, "args": { "name": name } })
    }

    /// A complete event.
    fn event(&self, category: &str, name: &str, span: Span, args: Value) -> Value {
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        json!({
            "ph": "X",
            "cat": category,
            "name": name,
            "ts": microseconds(span.begin - self.first),
            "dur": microseconds(span.nanoseconds()),
            "pid": self.pid,
            "tid": self.tid,
            "args": args,
        })
    }

    /// Steps, in them layers, in them kernels. Viewers nest events by their times, so what a device ran at once is put in a row.
    fn add(&self, window: &Window, events: &mut Vec<Value>) {
        let mut until = 0;
        for pass in &window.passes {
            let in_a_row = |span: &Span| {
                let begin = span.begin.max(until);
                until = span.end.max(begin);
                Span { begin, end: until }
            };
            let spans: Vec<Span> = pass.spans.iter().map(in_a_row).collect();
            let Some(all) = around(&spans) else { continue };
            events.push(self.event("step", &format!("step {}", pass.tag), all, json!({})));
            let mut at = 0;
            for jobs in window.jobs.chunk_by(|a, b| a.layer == b.layer) {
                let spans = &spans[at..at + jobs.len()];
                at += jobs.len();
                if let Some(all) = around(spans) {
                    events.push(self.event("layer", &jobs[0].layer, all, json!({})));
                }
                for (job, &span) in jobs.iter().zip(spans) {
                    events.push(self.event("kernel", &job.kernel, span, self.rates(job, span)));
                }
            }
        }
    }

    fn rates(&self, job: &Job, span: Span) -> Value {
        let ns = span.nanoseconds().max(1) as f64;
        let roofline = 1e9 * self.peaks.roofline(job.flops, job.bytes) / ns;
        json!({
            "layer": job.layer,
            "flops": job.flops,
            "bytes": job.bytes,
            "gflops": rounded(job.flops as f64 / ns),
            "gbytes": rounded(job.bytes as f64 / ns),
            "floor_percent": rounded(100.0 * roofline),
        })
    }
}

/// From the first one's begin to the last one's end.
fn around(spans: &[Span]) -> Option<Span> {
    Some(Span { begin: spans.first()?.begin, end: spans.last()?.end })
}

fn rounded(number: f64) -> f64 {
    (1e3 * number).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::profile::Pass;

    fn profile() -> Profile {
        let job = |kernel: &str, layer: &str| Job {
            kernel: kernel.into(),
            layer: layer.into(),
            flops: 4000,
            bytes: 100,
        };
        let span = |begin, end| Span { begin, end };
        let window = |owner: &str, at: u64| Window {
            owner: owner.into(),
            stage: "tune".into(),
            program: "step".into(),
            jobs: vec![
                job("matmul.linear [r32x16]", "layers.0"),
                job("activation.relu [vec4]", "layers.0"),
                job("mse.grad", "d loss"),
            ],
            passes: vec![Pass {
                program: "step".into(),
                tag: 3,
                // The second begins before the first has ended.
                spans: vec![span(at, at + 400), span(at + 300, at + 500), span(at + 600, at + 900)],
            }],
            seconds: 1e-3,
        };
        let mut profile = Profile::new("test", Peaks { gflops: 100.0, gbytes: 10.0 });
        profile.windows = vec![window("win-0", 5000), window("win-1", 7000)];
        profile
    }

    fn number(event: &Value, key: &str) -> f64 {
        event[key].as_f64().unwrap_or_else(|| panic!("{key} of {event}"))
    }

    #[test]
    fn a_trace_has_the_fields_that_viewers_read() {
        let trace = trace(&profile());
        assert_eq!(trace["displayTimeUnit"], "ms");
        let events = trace["traceEvents"].as_array().expect("a list");
        let names = |what: &str| -> Vec<(u64, &str)> {
            let of = events.iter().filter(|event| event["ph"] == "M" && event["name"] == what);
            of.map(|event| {
                let pid = event["pid"].as_u64().expect("a process");
                (pid, event["args"]["name"].as_str().expect("a name"))
            })
            .collect()
        };
        assert_eq!(names("process_name"), [(1, "win-0"), (2, "win-1")]);
        assert_eq!(names("thread_name"), [(1, "tune step"), (2, "tune step")]);
        let complete: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
        // A step, two layers, three kernels; twice.
        assert_eq!(complete.len(), 12);
        for event in &complete {
            assert!(event["name"].is_string() && event["cat"].is_string(), "{event}");
            assert!(event["pid"].is_u64() && event["tid"].is_u64(), "{event}");
            assert!(number(event, "ts") >= 0.0 && number(event, "dur") >= 0.0, "{event}");
        }
        let linear = complete[2];
        assert_eq!(
            (linear["cat"].as_str(), number(linear, "ts"), number(linear, "dur")),
            (Some("kernel"), 0.0, 0.4)
        );
        assert_eq!(
            (number(&linear["args"], "gflops"), number(&linear["args"], "floor_percent")),
            (10.0, 10.0)
        );
    }

    #[test]
    fn events_of_a_track_nest() {
        let trace = trace(&profile());
        let events = trace["traceEvents"].as_array().expect("a list");
        for pid in [1, 2] {
            let mut open: Vec<f64> = Vec::new();
            let mut depths = Vec::new();
            for event in events.iter().filter(|event| event["ph"] == "X" && event["pid"] == pid) {
                let (begin, end) =
                    (number(event, "ts"), number(event, "ts") + number(event, "dur"));
                while open.last().is_some_and(|&end| end <= begin + 1e-9) {
                    open.pop();
                }
                assert!(open.last().is_none_or(|&outer| end <= outer + 1e-9), "{event}");
                open.push(end);
                depths.push((event["cat"].as_str().expect("a category"), open.len()));
            }
            let wanted = [
                ("step", 1),
                ("layer", 2),
                ("kernel", 3),
                ("kernel", 3),
                ("layer", 2),
                ("kernel", 3),
            ];
            assert_eq!(depths, wanted);
        }
    }

    #[test]
    fn tables_are_for_people_and_json_for_programs() {
        let profile = profile();
        let summary = Summary::of(&profile, Path::new("runs/a/profile.json"));
        let text = summary.text();
        for line in [
            "program          steps  launches  device ms  wall ms  busy %",
            "win-0 tune step      1         3       0.00     1.00    88.9",
            "kernel                  launches    ms  share %  GFLOP/s  GB/s  roofline %",
            "matmul.linear [r32x16]         2  0.00     44.4    10.00  0.25        10.0",
        ] {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
        let json = serde_json::to_value(&summary).expect("JSON");
        assert_eq!(json["stages"][1]["owner"], "win-1");
        assert_eq!(json["kernels"][0]["kernel"], "matmul.linear [r32x16]");
        assert_eq!(json["path"], "runs/a/profile.json");
    }

    #[test]
    fn kernels_beyond_the_table_are_one_line() {
        let mut profile = profile();
        profile.windows.truncate(1);
        let jobs = &mut profile.windows[0].jobs;
        *jobs = (0..20).map(|k| Job { kernel: format!("k.{k}"), ..jobs[0].clone() }).collect();
        profile.windows[0].passes[0].spans =
            (0..20).map(|k| Span { begin: 1000 * k, end: 1000 * k + 500 }).collect();
        let text = Summary::of(&profile, Path::new("p")).text();
        assert!(text.contains("5 others         5  0.00     25.0\n"), "{text}");
    }
}
