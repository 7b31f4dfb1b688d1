//! Runs and models that an earlier Taper wrote, in `tests/earlier/`, are opened, gone on with and answer as they did.
//!
//! They were made by the commit 54008fe with `taper run`: `finished` and `half-way` train a small MLP by `kd` and `win`, the second of which was
//! stopped by Ctrl-C in both members; `resnet` is the model that a small ResNet left.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use engine::{
    event::{self, Event},
    train::Run,
};
use serde_json::Value;
use support::{files, folder, go_on, model, taper};
use taper_tests::host;

/// Where they lie.
fn earlier(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("earlier").join(name)
}

/// A copy that may be written to.
fn copy(name: &str) -> tempfile::TempDir {
    let (from, to) = (earlier(name), folder());
    for file in files(&from) {
        let target = to.path().join(file.strip_prefix(&from).expect("below it"));
        fs::create_dir_all(target.parent().expect("a folder")).expect("made");
        fs::copy(&file, target).expect("copied");
    }
    to
}

/// What `taper` prints as JSON, which must be a single value.
fn told(arguments: &[&str]) -> Value {
    let output = Command::new(taper()).args(arguments).arg("--json").output().expect("it ran");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_finished_run_is_compared_and_scored_as_it_was() {
    let run = copy("finished");
    let found = told(&["compare", text(run.path())]);
    let row = |at: usize| &found["rows"][at];
    for (at, method, seconds) in [(0, "kd", 0.036195071), (1, "win", 0.209444769)] {
        assert_eq!(
            (&row(at)["method"], &row(at)["accuracy_mean"]),
            (&method.into(), &9.375.into())
        );
        assert_eq!((&row(at)["params"], &row(at)["macs"]), (&218.into(), &200.into()));
        assert_eq!(row(at)["seconds"], seconds);
    }
    assert_eq!(found["teachers"][0]["params"], 458);
    let scored = told(&["eval", text(run.path())]);
    assert_eq!((&scored["accuracy"], &scored["count"]), (&9.375.into(), &32.into()));
    let loss = scored["loss"].as_f64().expect("a number");
    assert!((loss - 2.415519952774048).abs() < 1e-5, "{loss}");
    // There is nothing left to do, and nothing that was there becomes other.
    let before = support::models_in(run.path());
    let events =
        go_on(&Run::resume(run.path(), &host()).expect("a run"), run.path(), Duration::MAX);
    assert!(!events.expect("done").iter().any(|e| matches!(e.event, Event::Step { .. })));
    assert_eq!(support::models_in(run.path()), before);
}

#[test]
fn models_answer_as_they_did() {
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pictures/alpha.png");
    for (name, answers) in [
        ("finished", [("9", 0.324_206_273), ("3", 0.160_032_523_6)]),
        ("resnet", [("3", 0.135_627_400_3), ("0", 0.130_495_073_5)]),
    ] {
        let path = earlier(name);
        let found = told(&["predict", text(&path), text(&picture), "--top", "2"]);
        for (at, (label, probability)) in answers.into_iter().enumerate() {
            let top = &found["top"][at];
            assert_eq!(top["label"], label, "{name}: {found}");
            let close = (top["probability"].as_f64().expect("a number") - probability).abs();
            assert!(close < 1e-5, "{name}: {found}");
        }
    }
    // What is read is written as it was.
    for path in [earlier("resnet"), earlier("finished/artifacts")] {
        let again = folder();
        model(&path).write(again.path()).expect("written");
        for name in ["config.json", "model.safetensors", "merge.json"] {
            let bytes = |folder: &Path| fs::read(folder.join(name)).expect("there");
            assert_eq!(bytes(again.path()), bytes(&path), "{name} of {}", path.display());
        }
    }
}

#[test]
fn a_run_that_was_stopped_half_way_goes_on() {
    let run = copy("half-way");
    let log = run.path().join("events.jsonl");
    assert_eq!(event::read(&log).expect("a log").len(), 18);
    let events =
        go_on(&Run::resume(run.path(), &host()).expect("a run"), run.path(), Duration::MAX);
    let events: Vec<Event> = events.expect("done").into_iter().map(|entry| entry.event).collect();
    // Both members from their first step on, and not from the beginning.
    for name in ["kd-0", "win-0"] {
        let resumed = |event: &Event| matches!(event, Event::Resumed { member: Some(of), step: 1 } if of == name);
        assert!(events.iter().any(resumed), "{name}: {events:#?}");
        let ends = |event: &Event| match event {
            Event::MemberFinished { member, accuracy, loss, .. } if member == name => {
                Some((*accuracy, *loss))
            }
            _ => None,
        };
        let (accuracy, loss) = events.iter().find_map(ends).expect("an end");
        assert!((0.0..=100.0).contains(&accuracy) && (1.0..5.0).contains(&loss), "{name}: {loss}");
    }
    let merged = model(&run.path().join("artifacts")).merge.expect("a proof");
    assert!(merged.relative_error < 1e-5, "{merged:?}");
}
