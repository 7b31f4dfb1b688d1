//! Profiles: every dispatch has its time, and taking one changes no bit of what is computed.

mod support;

use std::sync::atomic::AtomicBool;

use engine::{
    device::StepParameters,
    event::Event,
    graph::Graph,
    ops::{elementwise::Scale, peak::Peak},
    plan::{Plan, Target, compile},
    profile::{Job, Recorder},
    train::{Options, Run},
};
use support::{config, folder, models_in, on, train};
use taper_tests::{Feature, gpu_that_has, gpu_with, gpus_with, host};

/// Multiply-adds, and their sums halved.
fn plan(target: &Target) -> Plan {
    let mut graph = Graph::new();
    let y = graph.add(Peak { invocations: 300, rounds: 8 }, &[]).expect("multiply-adds");
    let z = graph.scoped("half", |graph| graph.add(Scale(0.5), &[y])).expect("scaled");
    graph.place(y, "y", 0);
    graph.place(z, "z", 0);
    compile(&[("run", &graph)], target).expect("a plan")
}

#[test]
fn each_dispatch_of_each_pass_is_timed_and_no_bit_changes() {
    for gpu in gpus_with(Feature::Timestamps) {
        let plan = plan(&gpu.target());
        let jobs = Job::of(&plan, "run");
        let mut executor = gpu.clone().prepare(plan).expect("an executor");
        executor.run("run", &StepParameters::rows(0), 0).expect("run");
        let plain = executor.read("z").expect("read");
        // v ← 0.75 v + 0.75 goes to 3; y is the sum of three.
        assert!(plain.iter().all(|z| (z - 4.5).abs() < 1e-5), "{plain:?}");
        executor.write("z", &vec![0.0f32; plain.len()]).expect("written");

        executor.start_profile().expect("begun");
        for tag in [7, 8, 9] {
            executor.run("run", &StepParameters::rows(0), tag).expect("run");
        }
        let (passes, seconds) = executor.stop_profile().expect("timed");
        assert_eq!(executor.read("z").expect("read"), plain);
        assert!(executor.stop_profile().expect("nothing").0.is_empty());

        assert_eq!(passes.iter().map(|pass| pass.tag).collect::<Vec<_>>(), [7, 8, 9]);
        let spans: Vec<_> = passes.iter().flat_map(|pass| &pass.spans).collect();
        assert_eq!((spans.len(), jobs.len()), (6, 2));
        assert!(spans.iter().all(|span| span.begin > 0 && span.end >= span.begin), "{spans:?}");
        assert!(spans.is_sorted_by_key(|span| span.begin), "{spans:?}");
        let whole = spans[5].end - spans[0].begin;
        assert!(whole > 0 && whole as f64 <= 1e9 * seconds, "{whole} ns in {seconds} s");
        assert_eq!((jobs[0].kernel.as_str(), jobs[0].flops), ("peak.multiply_add", 300 * 8 * 192));
        assert_eq!(
            (jobs[1].kernel.as_str(), jobs[1].layer.as_str()),
            ("elementwise.scale [vec4]", "half")
        );
    }
}

#[test]
fn a_plan_may_have_more_dispatches_than_a_query_set_has_room() {
    for gpu in gpus_with(Feature::Timestamps) {
        let mut graph = Graph::new();
        let first = graph.input("x", &[4]);
        let last = (0..2050).fold(first, |x, _| graph.add(Scale(1.0), &[x]).expect("scaled"));
        graph.place(last, "y", 0);
        let plan = compile(&[("run", &graph)], &gpu.target()).expect("a plan");
        let mut executor = gpu.clone().prepare(plan).expect("an executor");
        executor.start_profile().expect("begun");
        executor.run("run", &StepParameters::rows(0), 0).expect("run");
        let (passes, _) = executor.stop_profile().expect("timed");
        let spans = &passes[0].spans;
        assert_eq!(spans.len(), 2050);
        assert!(spans.is_sorted_by_key(|span| span.begin) && spans[0].begin > 0);
    }
}

#[test]
fn an_adapter_without_timestamps_is_named() {
    let web = taper_gpu::Options { web_limits: true, ..taper_gpu::Options::default() };
    let Some(gpu) = gpu_with(web) else { return };
    let mut executor = gpu.clone().prepare(plan(&gpu.target())).expect("an executor");
    let error = executor.start_profile().expect_err("no timestamps");
    let name = &gpu.adapter().name;
    let wanted =
        format!("adapter {name} has no timestamp queries, so nothing can be profiled on it");
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn peaks_are_rates() {
    let Some(gpu) = gpu_that_has(Feature::Timestamps) else { return };
    let found = gpu.clone().peaks().expect("measured");
    // No adapter is so slow, and none so fast: between a thousandth of lavapipe's rates and a thousand times a large GPU's.
    assert!((0.05..1e8).contains(&found.gflops), "{found:?}");
    assert!((0.005..1e7).contains(&found.gbytes), "{found:?}");
}

#[test]
fn a_run_is_profiled_once_a_stage_and_trains_the_same_weights() {
    let Some(gpu) = gpu_that_has(Feature::Timestamps) else { return };
    let config = config(&["seeds=[0,1]", &on(&gpu)]);
    let (plain, profiled) = (folder(), folder());
    train(&config, plain.path());

    let recorder = Recorder::default();
    let options = Options { profile: Some(recorder.clone()), ..Options::new(profiled.path()) };
    let run = Run::create(config, profiled.path(), &host()).expect("an empty folder");
    let mut waits = Vec::new();
    let done = run.execute(&options, &AtomicBool::new(false), &mut |entry| {
        if let Event::Step { loader_wait, .. } = entry.event {
            waits.push(loader_wait.expect("what was waited"));
        }
    });
    done.expect("trained");
    assert_eq!(models_in(plain.path()), models_in(profiled.path()));
    assert!(waits.iter().all(|wait| 0.0 <= wait.mean_ms && wait.mean_ms <= wait.max_ms + 1e-3));
    assert!(waits.iter().any(|wait| wait.max_ms > 0.0));

    let profile = recorder.profile().expect("recorded");
    let windows: Vec<_> = profile
        .windows
        .iter()
        .map(|window| (window.owner.as_str(), window.stage.as_str(), window.passes.len()))
        .collect();
    // An epoch has 8 steps, of which 3 warm the stage up; the teacher's first window ends with its first epoch.
    let wanted = [
        ("teacher-0", "wide", 5),
        ("win-0", "narrow 1", 5),
        ("win-0", "narrow 2", 5),
        ("win-0", "tune", 5),
    ];
    assert_eq!(windows, wanted);
    for window in &profile.windows {
        assert!(window.passes.iter().map(|pass| pass.tag).eq(3..8));
        assert!(window.passes.iter().all(|pass| pass.spans.len() == window.jobs.len()));
        let total = window.total(&profile.peaks);
        assert!(total.busy > 0.0 && total.busy <= 1.0, "{total:?}");
        assert!(total.device_ms <= total.wall_ms, "{total:?}");
    }
    let shares: f64 = profile.kernels().iter().map(|kernel| kernel.share).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
}
