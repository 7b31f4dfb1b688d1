//! A whole run in a worker of Chromium, on its software adapter and in its origin's private files.

mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use engine::{
    config::Data,
    data::images::{self, Image},
    disk::SystemDisk,
    event::{self, Entry, Event, RunStatus},
    formats::verdicts,
    train::{Options, Run},
    verdicts::{Review, Versus},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value as Json, json};
use support::{RESNET, config, files, folder, taper, train};
use taper_tests::{host, tools};

/// Pictures of 8×8; an epoch has one step, so that the log has the loss of each, and a stage 20.
const STEPS: [&str; 8] = [
    "data.size=8",
    "data.train_count=32",
    "data.test_count=32",
    "teacher.factor=2",
    "wide.epochs=20",
    "narrow.epochs=20",
    "tune.epochs=20",
    "win.start_inputs=32",
];

const LOSSES: usize = 20;

/// The engine for a browser, built by Cargo; none where the target is not installed, which is said.
fn engine() -> Option<PathBuf> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    let target = root.join("target");
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--profile", "tab", "-p", "taper-tab", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&root)
        .output()
        .expect("cargo starts");
    if !built.status.success() {
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(said.contains("target may not be installed"), "{said}");
        println!(
            "skipped: `rustup target add {TARGET}` brings what compiles the engine for a browser"
        );
        return None;
    }
    Some(target.join(TARGET).join("tab/taper_tab.wasm"))
}

/// What workers told in each step of a script of `tests/browser/tab.mjs`.
fn play(at: &Path, steps: &Json) -> Option<Vec<Vec<Json>>> {
    let browser = tools::browser()?;
    fs::copy(engine()?, at.join("taper_tab.wasm")).expect("copied");
    fs::write(at.join("script.json"), steps.to_string()).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/tab.mjs");
    let output = Command::new(&browser.node)
        .env("TAPER_CHROMIUM", &browser.chromium)
        .arg(script)
        .arg(at)
        .output()
        .expect("node starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let told: Vec<Vec<Json>> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    Some(told)
}

/// That the last a worker told is that its run is done.
#[track_caller]
fn done(told: &[Json]) {
    let last = told.last().expect("something");
    assert_eq!((&last["kind"], &last["status"]), (&json!("ended"), &json!("done")), "{last}");
}

/// A value as it comes back from JSON, whose numbers this reader of JSON takes to the last digit but one.
fn as_json<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).expect("JSON");
    serde_json::from_str(&text).expect("what it was")
}

fn log(of: &Path) -> Vec<Entry> {
    event::read(&of.join("events.jsonl")).expect("a log")
}

/// The losses of each stage of each member.
fn losses(of: &Path) -> Vec<(String, f64)> {
    let loss = |entry: Entry| match entry.event {
        Event::Step { member, stage, loss, .. } => Some((format!("{member} {stage}"), loss)),
        _ => None,
    };
    log(of).into_iter().filter_map(loss).collect()
}

/// The files of a run that its bits are in: its models.
fn models(of: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let model = |path: &PathBuf| path.ends_with("model.safetensors");
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("read");
        (path.strip_prefix(of).expect("below it").to_owned(), bytes)
    };
    files(of).into_iter().filter(model).map(read).collect()
}

/// A native run that ends at its first checkpoint inside a member.
fn begun(changes: &[&str], out: &Path) {
    let run = Run::create(config(changes), out, &host()).expect("a run");
    let stop = AtomicBool::new(false);
    let ended = run.execute(&Options::new(out), &stop, &mut |entry| {
        if matches!(entry.event, Event::Checkpoint { .. }) {
            stop.store(true, Ordering::Relaxed);
        }
    });
    assert!(ended.is_err(), "it stops");
}

/// Trained from the same seed on both: each stage's losses, and what the merge leaves.
#[track_caller]
fn agree(name: &str, tab: &Path, native: &Path) {
    let (theirs, ours) = (losses(tab), losses(native));
    assert_eq!(theirs.len() % LOSSES, 0);
    assert!(theirs.len() >= 3 * LOSSES, "{} losses", theirs.len());
    let mut most: f64 = 0.0;
    assert_eq!(theirs.len(), ours.len());
    for ((stage, a), (same, b)) in theirs.iter().zip(&ours) {
        assert_eq!(stage, same);
        most = most.max((a - b).abs());
    }
    println!("{name}: {} losses, off by {most:.1e}", ours.len());
    assert!(most <= 1e-4, "{name}: {theirs:?}, natively {ours:?}");
    let merged = log(tab).into_iter().find_map(|entry| match entry.event {
        Event::Merge { report, .. } => Some(report.relative_error),
        _ => None,
    });
    assert!(merged.expect("a merge") <= 1e-5);
}

#[test]
fn a_run_in_a_tab_is_a_run() {
    let at = folder();
    let at = at.path();
    let mlp = STEPS;
    let resnet: Vec<&str> = STEPS.iter().chain(&RESNET).copied().collect();
    for (name, changes) in [("mlp", &mlp[..]), ("resnet", &resnet[..])] {
        train(&config(changes), &at.join(format!("{name}-native")));
    }
    begun(&mlp, &at.join("begun"));
    let (small, deep) = (config(&mlp).to_toml(), config(&resnet).to_toml());
    let until = json!(["ended", "refused"]);
    let start = |run: &str, toml: &str| json!({ "kind": "start", "run": run, "toml": toml });
    let resume = |run: &str| json!({ "kind": "resume", "run": run });
    let script = json!([
        { "ask": { "kind": "look", "toml": small }, "until": ["looked", "refused"] },
        { "ask": start("mlp", &small), "until": until },
        { "get": "/runs/mlp", "to": "mlp" },
        { "ask": start("resnet", &deep), "until": until },
        { "get": "/runs/resnet", "to": "resnet" },
        // The page is closed while it trains, and another goes on.
        { "ask": start("killed", &small), "until": until, "after": 2, "kill": true },
        { "get": "/runs/killed", "to": "killed" },
        { "ask": resume("killed"), "until": until },
        { "get": "/runs/killed", "to": "resumed" },
        { "ask": start("frozen", &small), "until": until, "freeze": 2000 },
        { "get": "/runs/frozen", "to": "frozen" },
        // A run of this machine, taken on.
        { "put": "/runs/begun", "from": "begun" },
        { "ask": resume("begun"), "until": until },
        { "get": "/runs/begun", "to": "taken" },
        { "ask": start("mlp", &small), "until": until },
        { "ask": start("stopped", &small), "until": until, "after": 1, "then": { "kind": "stop" } },
        { "ask": start("lost", &small), "until": until, "crash": true },
        { "get": "/runs/lost", "to": "lost" },
        { "ask": { "kind": "plan", "model": "/runs/mlp/artifacts" }, "until": ["planned", "refused"] },
        { "get": "/runs/stopped", "to": "stopped" },
        { "ask": resume("stopped"), "until": until },
        { "get": "/runs/stopped", "to": "continued" },
        // As a page does that is being hidden.
        { "ask": start("hidden", &small), "until": until, "after": 1, "then": { "kind": "checkpoint" } },
        { "get": "/runs/hidden", "to": "hidden" },
        { "ask": { "kind": "review", "of": "/runs/mlp/members/win-0" }, "until": ["reviewed", "refused"] },
        { "ask": { "kind": "versus", "first": "/runs/mlp/members/win-0", "second": "/runs/mlp/teachers/0" }, "until": ["versus", "refused"] },
        { "ask": { "kind": "pictures", "run": "mlp", "places": [3, 0] }, "until": ["pictures", "refused"] },
    ]);
    let Some(told) = play(at, &script) else { return };
    let run = |name: &str| at.join(name);

    assert_eq!(told[0][2]["kind"], "looked", "{:?}", told[0]);
    let needs = told[0][2]["outline"]["needs"].as_array().expect("a list");
    assert!(
        needs.len() == 4 && needs.iter().all(|of| of["memory"].as_u64() > Some(0)),
        "{needs:?}"
    );
    for place in [1, 3, 7, 9, 12, 16, 20, 22] {
        done(&told[place]);
    }
    agree("mlp", &run("mlp"), &run("mlp-native"));
    agree("resnet", &run("resnet"), &run("resnet-native"));

    // Killed and resumed, stopped and gone on with, frozen, hidden, on a device that was lost: the same bits.
    let whole = models(&run("mlp"));
    assert!(whole.len() >= 3, "{:?}", whole.iter().map(|(path, _)| path).collect::<Vec<_>>());
    for other in ["resumed", "continued", "frozen", "hidden", "lost"] {
        assert!(models(&run(other)) == whole, "{other} has other bits");
    }
    let resumed = |entry: &Entry| matches!(entry.event, Event::Resumed { .. });
    assert!(log(&run("resumed")).iter().any(resumed));

    // What a tab began goes on here, and what was begun here went on there.
    let output = Command::new(taper())
        .args(["run", "--resume", "--out"])
        .arg(run("killed"))
        .env("NODEVICE_SELECT", "1")
        .output()
        .expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for other in ["killed", "taken"] {
        let last = log(&run(other)).pop().expect("an entry");
        let is_done = matches!(last.event, Event::RunFinished { status: RunStatus::Done, .. });
        assert!(is_done, "{other}: {last:?}");
    }
    // A run that is there is not begun anew.
    let refused = told[14].last().expect("something");
    assert_eq!(refused["kind"], "refused");
    assert!(
        refused["message"].as_str().is_some_and(|said| said.contains("not empty")),
        "{refused}"
    );
    let stopped = told[15].last().expect("something");
    assert_eq!(stopped["status"], "stopped", "{stopped}");
    let saved = |run_: &str| {
        let is = |entry: &&Entry| matches!(entry.event, Event::Checkpoint { .. });
        log(&run(run_)).iter().filter(is).count()
    };
    assert!(saved("hidden") > saved("mlp"), "it was not saved when the page was hidden");
    let lost = |entry: &Entry| matches!(&entry.event, Event::Warning { message } if message.contains("lost"));
    assert!(log(&run("lost")).iter().any(lost), "the device was not lost");
    assert_eq!(told[18].last().expect("something")["plan"]["version"], 2);

    // Its answers are what we make of its files, and its pictures are those that a run here is tested on.
    let verdicts = |folder: &str| {
        let read = verdicts::read_on(&SystemDisk, &run("mlp").join(folder));
        read.expect("read").expect("of pictures")
    };
    let own = verdicts("members/win-0");
    let last = |place: usize| told[place].last().expect("something");
    let review = serde_json::from_value::<Review>(last(24)["review"].clone());
    assert_eq!(review.expect("a review"), as_json(&own.review()));
    let versus = serde_json::from_value::<Versus>(last(25)["versus"].clone());
    assert_eq!(versus.ok(), own.versus(&verdicts("teachers/0")).as_ref().map(as_json));
    let Data::Images(data) = config(&mlp).data else { panic!("no pictures") };
    let (samples, _) = images::tested(&data, &[3, 0]).expect("pictures");
    let shown = last(26)["pictures"].as_array().expect("pictures");
    assert_eq!(shown.len(), samples.len());
    for (shown, sample) in shown.iter().zip(samples) {
        let Image { height, width, channels, pixels } = sample.image;
        let wanted = json!({
            "index": sample.index, "label": sample.label, "name": shown["name"],
            "height": height, "width": width, "channels": channels, "pixels": pixels
        });
        assert_eq!(*shown, wanted);
    }
}
