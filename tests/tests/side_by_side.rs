//! Members that several devices train at the same time: the same bits, wherever and in whatever order they are trained.

mod support;

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use engine::{
    config::Config,
    event::{self, Entry, Event, RunStatus},
    train::{Host, Options, Run, TrainError},
};
use support::{checkpoints, config, folder, models_in, train};
use taper_tests::host;

const DEVICES: usize = 3;

/// Trains what is left of a run on several devices; stops after so many lines of learning curve.
fn execute(run: &Run, out: &Path, lines: usize) -> (Vec<Entry>, Result<(), TrainError>) {
    let options = Options { side_by_side: DEVICES, ..Options::new(out) };
    let (stop, mut curve, mut heard) = (AtomicBool::new(false), 0, Vec::new());
    let done = run.execute(&options, &stop, &mut |entry| {
        curve += usize::from(matches!(entry.event, Event::Step { .. }));
        stop.store(curve >= lines, Ordering::Relaxed);
        heard.push(entry.clone());
    });
    (heard, done)
}

fn several() -> Config {
    config(&[r#"methods=["vanilla","kd","win"]"#, "seeds=[0,1]", "device=all"])
}

/// The most members that were under way at once.
fn at_once(heard: &[Entry]) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for entry in heard {
        match entry.event {
            Event::MemberStarted { .. } => now += 1,
            Event::MemberFinished { .. } => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    most
}

#[test]
fn members_come_to_the_same_bits_side_by_side() {
    let (one, many) = (folder(), folder());
    train(&several(), one.path());
    let run = Run::create(several(), many.path(), &host()).expect("an empty folder");
    let (heard, done) = execute(&run, many.path(), usize::MAX);
    done.expect("all is trained");
    assert_eq!(at_once(&heard), DEVICES);
    assert_eq!(models_in(many.path()), models_in(one.path()));
    // Each entry has its own number, in the order of the file, and each member knows its adapter.
    let log = event::read(&many.path().join("events.jsonl")).expect("a log");
    assert!(log.iter().map(|entry| entry.seq).eq(0..log.len() as u64));
    let on = |entry: &Entry| match &entry.event {
        Event::MemberStarted { adapter, .. } => Some(adapter.clone().expect("an adapter")),
        _ => None,
    };
    let adapters: Vec<String> = log.iter().filter_map(on).collect();
    assert_eq!(adapters.len(), 8);
    assert!(matches!(&log[0].event, Event::RunStarted { adapter, .. } if *adapter == adapters[0]));
    // A teacher is done before any that needs it begins.
    for seed in ["0", "1"] {
        let place = |of: &dyn Fn(&Event) -> bool| log.iter().position(|entry| of(&entry.event));
        let taught = place(
            &|event| matches!(event, Event::MemberFinished { member, .. } if *member == format!("teacher-{seed}")),
        );
        for method in ["kd", "win"] {
            let begun = place(
                &|event| matches!(event, Event::MemberStarted { member, .. } if *member == format!("{method}-{seed}")),
            );
            assert!(taught < begun, "{method}-{seed}");
        }
    }
}

#[test]
fn members_that_were_stopped_side_by_side_go_on_to_the_same_bits() {
    let (one, many) = (folder(), folder());
    train(&several(), one.path());
    let out = many.path();
    let mut run = Run::create(several(), out, &host()).expect("an empty folder");
    let mut stops = 0;
    loop {
        let (heard, done) = execute(&run, out, 17);
        match done {
            Ok(()) => break,
            Err(TrainError::Stopped(_)) => stops += 1,
            Err(error) => panic!("{error}"),
        }
        let last = heard.last().map(|entry| &entry.event);
        let stopped = |status: &RunStatus, error: &Option<String>| {
            *status == RunStatus::Stopped && error.is_none()
        };
        assert!(
            matches!(last, Some(Event::RunFinished { status, error, .. }) if stopped(status, error))
        );
        assert!(stops < 40, "it never ends");
        drop(run);
        run = Run::resume(out, &host()).expect("a run");
    }
    assert!(stops >= 3, "stopped {stops} times");
    assert_eq!(models_in(out), models_in(one.path()), "after {stops} stops");
}

#[test]
fn one_that_fails_stops_the_others_at_a_checkpoint() {
    let changes = [
        r#"methods=["vanilla","kd"]"#,
        "vanilla.lr=1e39",
        "vanilla.optimizer=sgd",
        "wide.epochs=400",
    ];
    let out = folder();
    let run = Run::create(config(&changes), out.path(), &host()).expect("an empty folder");
    let (heard, done) = execute(&run, out.path(), usize::MAX);
    let error = done.expect_err("the weights overflow");
    assert!(matches!(&error, TrainError::NonFinite { member, .. } if member == "vanilla-0"));
    let last = heard.last().map(|entry| &entry.event);
    let Some(Event::RunFinished { status: RunStatus::Failed, error: Some(told), .. }) = last else {
        panic!("{last:?}")
    };
    assert_eq!(*told, error.to_string());
    assert_eq!(checkpoints(&out.path().join("teachers/0")).len(), 1);
}

/// As in a browser: the run, its log's listener and its members take turns.
#[test]
fn without_threads_the_bits_are_the_same() {
    let out = folder();
    let host = Host { threads: false, ..host() };
    let run = Run::create(several(), out.path(), &host).expect("an empty folder");
    let options = Options { side_by_side: DEVICES, ..Options::new(out.path()) };
    let mut heard = Vec::new();
    let here = std::thread::current().id();
    let mut hear = |entry: &Entry| {
        assert_eq!(std::thread::current().id(), here);
        heard.push(entry.seq);
    };
    run.execute(&options, &AtomicBool::new(false), &mut hear).expect("trained");
    assert!(heard.iter().copied().eq(0..heard.len() as u64), "{heard:?}");
    let one = folder();
    train(&several(), one.path());
    assert_eq!(models_in(out.path()), models_in(one.path()));
}
