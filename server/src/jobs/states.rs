//! Every start over every state of the data directory: no file goes that a create or a delete of the server has not marked, and runs are in
//! the state that their logs tell of.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use engine::config::{Config, presets};
use engine::event::{Event, EventLog, RunStatus, StagePlan};

use crate::datasets::Datasets;
use crate::jobs::{Jobs, Refusal};
use crate::run::{Facts, Input, State, View};
use crate::store::{Curve, New, Run, Window};

/// Steps of a run that is done.
const STEPS: u64 = 8;

fn config() -> Config {
    let preset = presets::find("demo").expect("a preset");
    Config::from_toml(preset.text, "demo").expect("a configuration")
}

/// A run directory as `taper run` leaves it: `ends` are how its processes ended, none for one that was killed.
fn run(data: &Path, id: &str, ends: &[Option<RunStatus>]) -> PathBuf {
    let folder = data.join("runs").join(id);
    fs::create_dir_all(folder.join("members/win-0/artifacts")).expect("made");
    fs::write(folder.join("config.toml"), config().to_toml()).expect("written");
    fs::write(folder.join("run.lock"), "").expect("written");
    fs::write(folder.join("members/win-0/artifacts/model.safetensors"), "weights").expect("made");
    for end in ends {
        let mut log = EventLog::open(&folder.join("events.jsonl")).expect("a log");
        let mut say = |event| drop(log.append(event).expect("written"));
        say(Event::RunStarted {
            version: "0.1.0".into(),
            adapter: "llvmpipe".into(),
            adapter_kind: "cpu".into(),
            config_hash: String::new(),
            stages: vec![StagePlan {
                member: "win-0".into(),
                stage: "tune".into(),
                steps: STEPS,
                step_macs: 1,
                facts: None,
            }],
        });
        say(Event::Resumed { member: Some("win-0".into()), step: 0 });
        for step in 1..=STEPS {
            say(Event::Step {
                member: "win-0".into(),
                stage: "tune".into(),
                step,
                stage_step: step,
                loss: 1.0,
                lr: 0.1,
                samples_per_s: 1.0,
                loader_wait: None,
                exchange: None,
                scaling: None,
            });
        }
        if let Some(status) = *end {
            let error = (status == RunStatus::Failed).then(|| "no device".into());
            say(Event::RunFinished { status, error, seconds: 1.0 });
        }
    }
    folder
}

/// Every file below a folder with its bytes, but for those of the store and what it notes elsewhere.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !["taper.sqlite", "server.json"]
            .iter()
            .any(|of| path.display().to_string().contains(of))
        {
            found.insert(path.clone(), fs::read(&path).expect("read"));
        }
    }
    found
}

/// A start as `taper serve` does it.
fn start(data: &Path) -> anyhow::Result<std::sync::Arc<Jobs>> {
    let (jobs, _) = Jobs::open(data)?;
    let datasets = Datasets::open(data.join("datasets"), &[], PathBuf::new())?;
    crate::scratch::sweep(data)?;
    jobs.take_up(&datasets)?;
    Ok(jobs)
}

fn states(jobs: &Jobs) -> Vec<(String, State)> {
    let runs = jobs.store.read(Run::all).expect("read");
    let mut states: Vec<_> = runs.into_iter().map(|run| (run.id, run.state)).collect();
    states.sort_by(|a, b| a.0.cmp(&b.0));
    states
}

fn new(id: &str) -> New {
    New {
        id: id.into(),
        name: format!("the run {id}"),
        config: config().to_toml(),
        config_hash: config().hash(),
        preset: None,
        facts: Facts::default(),
        view: View::default(),
    }
}

/// A server that has made `a` (a draft) and `b` (queued), and whose store was copied then.
fn used(data: &Path) {
    let (jobs, _) = Jobs::open(data).expect("opened");
    for id in ["a", "b"] {
        jobs.create(&new(id), &config().to_toml()).expect("made");
    }
    jobs.tell("b", Input::Start, "start").expect("queued");
    drop(jobs);
    fs::copy(store(data), data.join("copy")).expect("copied");
}

fn store(data: &Path) -> PathBuf {
    data.join("taper.sqlite")
}

fn write(path: &Path, bytes: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, bytes).expect("written");
}

/// What the data directory is like before the start, how it comes to be so, and the runs after it.
type Before = (&'static str, fn(&Path), &'static [(&'static str, State)]);

const STATES: &[Before] = &[
    ("fresh", |_| {}, &[]),
    (
        "runs that commands have trained",
        |data| {
            run(data, "done", &[None, Some(RunStatus::Done)]);
            run(data, "stopped", &[Some(RunStatus::Stopped)]);
            run(data, "failed", &[Some(RunStatus::Failed)]);
            run(data, "killed", &[Some(RunStatus::Stopped), None]);
            run(data, "waiting", &[]);
        },
        &[
            ("done", State::Done),
            ("failed", State::Failed),
            ("killed", State::Failed),
            ("stopped", State::Stopped),
            ("waiting", State::Draft),
        ],
    ),
    (
        "things that are no runs",
        |data| {
            write(&data.join("runs/notes/today.txt"), "hello");
            write(&data.join("runs/picture.jpg"), "pixels");
            write(&data.join("runs/.hidden/file"), "x");
            write(&data.join("runs/other/config.toml"), "title = \"another program's\"\n");
            write(&data.join("notes.txt"), "mine");
            run(data, "a run with a name", &[Some(RunStatus::Done)]);
            run(data, "grid/teacher.factor=2", &[Some(RunStatus::Done)]);
        },
        &[],
    ),
    (
        "a run that a server cancelled",
        |data| {
            let folder = run(data, "c", &[None]);
            fs::write(folder.join("control.json"), "{\"want\":\"cancel\"}\n").expect("written");
        },
        &[("c", State::Cancelled)],
    ),
    (
        "data sets of others",
        |data| {
            write(&data.join("datasets/mnist/train-images-idx3-ubyte"), "pixels");
            write(&data.join("datasets/readme.txt"), "mine");
            write(&data.join("datasets/uploads/flowers/train/a/1.png"), "pixels");
            write(&data.join("datasets/thumbnails/flowers/train-0.png"), "pixels");
            write(&data.join("datasets/.tmpA1b2/set/1.png"), "pixels");
        },
        &[],
    ),
    ("a store that is in use", used, &[("a", State::Draft), ("b", State::Queued)]),
    (
        "a store without its file",
        |data| {
            used(data);
            run(data, "b", &[Some(RunStatus::Done)]);
            fs::remove_file(store(data)).expect("removed");
        },
        &[("a", State::Draft), ("b", State::Done)],
    ),
    (
        "a store that was emptied",
        |data| {
            used(data);
            run(data, "b", &[Some(RunStatus::Stopped)]);
            File::create(store(data)).expect("emptied");
        },
        &[("a", State::Draft), ("b", State::Stopped)],
    ),
    (
        "a store that was put back from an older copy",
        |data| {
            used(data);
            let (jobs, _) = Jobs::open(data).expect("opened");
            jobs.create(&new("later"), &config().to_toml()).expect("made");
            drop(jobs);
            run(data, "a", &[Some(RunStatus::Done)]);
            run(data, "later", &[Some(RunStatus::Failed)]);
            fs::copy(data.join("copy"), store(data)).expect("put back");
        },
        &[("a", State::Done), ("b", State::Queued), ("later", State::Failed)],
    ),
    (
        "a store whose directories are gone",
        |data| {
            used(data);
            fs::remove_dir_all(data.join("runs")).expect("removed");
        },
        &[("a", State::Failed), ("b", State::Failed)],
    ),
    (
        "a create that was cut off before its configuration",
        |data| fs::create_dir_all(data.join("runs/.taper-new-x")).expect("made"),
        &[],
    ),
    (
        "a create that was cut off before its row",
        |data| write(&data.join("runs/.taper-new-x/config.toml"), &config().to_toml()),
        &[],
    ),
    (
        "a create that was cut off behind its row",
        |data| {
            used(data);
            fs::rename(data.join("runs/a"), data.join("runs/.taper-new-a")).expect("as before");
        },
        &[("a", State::Draft), ("b", State::Queued)],
    ),
    (
        "a delete that was cut off before its row was gone",
        |data| {
            used(data);
            fs::rename(data.join("runs/a"), data.join("runs/.taper-gone-a")).expect("marked");
        },
        &[("b", State::Queued)],
    ),
    (
        "a delete that was cut off behind it",
        |data| write(&data.join("runs/.taper-gone-z/events.jsonl"), ""),
        &[],
    ),
    (
        "uploads, deletes and pre-flights that were cut off",
        |data| {
            write(&data.join("datasets/.taper-new-Ab1"), "half an upload");
            write(&data.join("datasets/.taper-new-Cd2/set/train/a/1.png"), "pixels");
            write(&data.join("datasets/.taper-gone-Ef3/set/train/a/1.png"), "pixels");
            write(&data.join(".taper-new-Gh4.toml"), "seeds = [0]");
        },
        &[],
    ),
];

/// Whether a part of a path has a mark.
fn is_marked(path: &Path) -> bool {
    path.ancestors().any(|part| crate::scratch::marked(part).is_some())
}

#[test]
fn every_start_over_every_state_keeps_what_is_not_marked() {
    for (name, prepare, expected) in STATES {
        let folder = tempfile::tempdir().expect("folder");
        let data = folder.path();
        prepare(data);
        let before = files(data);
        let expected: Vec<_> = expected.iter().map(|(id, state)| ((*id).into(), *state)).collect();
        // The second start finds what the first one has made of it.
        for round in 1..=2 {
            let jobs = start(data).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            assert_eq!(states(&jobs), expected, "{name}, start {round}");
            let after = files(data);
            for (path, bytes) in &before {
                if !is_marked(path) {
                    assert_eq!(after.get(path), Some(bytes), "{name}: {}", path.display());
                }
            }
            let marked = after.keys().find(|path| is_marked(path));
            assert_eq!(marked, None, "{name}");
        }
    }
}

#[test]
fn a_run_that_is_taken_up_has_its_name_its_curve_and_what_it_failed_of() {
    let folder = tempfile::tempdir().expect("folder");
    run(folder.path(), "mine", &[None, Some(RunStatus::Failed)]);
    let jobs = start(folder.path()).expect("started");
    let run = jobs.store.read(|db| Run::find(db, "mine")).expect("read").expect("there");
    assert_eq!((run.name.as_str(), run.facts.dataset.as_str()), ("mine", "procedural"));
    assert_eq!(run.error.as_deref(), Some("no device"));
    assert_eq!((run.config_hash, run.view.steps()), (config().hash(), (STEPS, STEPS)));
    assert!(run.facts.student.params > 0 && run.created > 1e9 && run.started.is_some());
    assert!(run.finished.is_some() && run.created <= run.finished.unwrap_or_default());
    assert!(run.view.blocks.iter().all(|block| block.student_width > 0), "{:?}", run.view.blocks);
    let all = Window { from: 0, to: u64::MAX, points: usize::MAX };
    let curve = jobs.store.read(|db| Curve::read(db, "mine", "win-0", "loss", all));
    assert_eq!(curve.expect("read").x, (1..=STEPS).collect::<Vec<_>>());
}

#[test]
fn a_run_that_a_command_trains_is_watched_and_left_alone() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path();
    for (id, control) in [("mine", None), ("served", Some("{\"want\":\"run\"}\n"))] {
        let place = run(data, id, &[None]);
        if let Some(control) = control {
            fs::write(place.join("control.json"), control).expect("written");
        }
        let lock = File::open(place.join("run.lock")).expect("a lock");
        lock.lock().expect("held");
        let jobs = start(data).expect("started");
        let found = jobs.store.read(|db| Run::find(db, id)).expect("read").expect("there");
        assert_eq!((found.state, found.slots.len()), (State::Running, 1));
        match (control, jobs.delete(id)) {
            (None, Err(Refusal::Elsewhere(_))) | (Some(_), Err(Refusal::Alive)) => {}
            (_, told) => panic!("{told:?}"),
        }
        let told = jobs.tell(id, Input::Stop, "be stopped");
        match control {
            // Nothing that a server says would reach it.
            None => assert!(matches!(told, Err(Refusal::Elsewhere(_))), "{told:?}"),
            Some(_) => assert_eq!(told.expect("obeys").state, State::Stopping),
        }
        assert!(place.join("events.jsonl").is_file());
        lock.unlock().expect("let go");
    }
}

#[test]
fn a_store_that_cannot_be_used_is_named_and_nothing_is_touched() {
    type Spoil = fn(&Path);
    let spoil: [(&str, Spoil); 7] = [
        ("damaged", |path| fs::write(path, [7; 5000]).expect("garbage")),
        ("damaged", |path| fs::write(path, b"hello").expect("garbage")),
        ("damaged", |path| {
            let bytes = fs::read(path).expect("read");
            fs::write(path, &bytes[..bytes.len() / 2]).expect("truncated");
        }),
        ("damaged", |path| {
            let mut bytes = fs::read(path).expect("read");
            let half = bytes.len() / 2;
            bytes[half..].fill(0x5a);
            fs::write(path, bytes).expect("half garbage");
        }),
        ("newer program", |path| set(path, "PRAGMA user_version = 999")),
        ("another program", |path| set(path, "PRAGMA user_version = 0")),
        ("damaged", |path| set(path, "UPDATE runs SET state = 'dreaming'")),
    ];
    for (k, (words, spoil)) in spoil.into_iter().enumerate() {
        let folder = tempfile::tempdir().expect("folder");
        let data = folder.path();
        used(data);
        run(data, "a", &[Some(RunStatus::Done)]);
        run(data, "mine", &[Some(RunStatus::Done)]);
        spoil(&store(data));
        let (before, bytes) = (files(data), fs::read(store(data)).expect("read"));
        for _ in 0..2 {
            let error = start(data).err().unwrap_or_else(|| panic!("{words}, {k}: it starts"));
            let error = format!("{error:#}");
            assert!(error.contains(&store(data).display().to_string()), "{k}: {error}");
            assert!(error.contains(words) && error.contains("move it away"), "{k}: {error}");
            assert!(!error.contains('\n'), "{k}: {error}");
            assert_eq!(files(data), before, "{words}, {k}");
            assert_eq!(fs::read(store(data)).expect("read"), bytes, "{words}, {k}");
        }
        // And that is what one does about it.
        fs::rename(store(data), data.join("old")).expect("moved away");
        let jobs = start(data).expect("started");
        let all = [("a", State::Done), ("b", State::Queued), ("mine", State::Done)];
        assert_eq!(states(&jobs), all.map(|(id, state)| (id.to_owned(), state)), "{words}, {k}");
    }
}

#[test]
fn a_store_of_an_earlier_program_is_taken_on() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path();
    used(data);
    let before = states(&start(data).expect("started"));
    set(&store(data), "ALTER TABLE runs DROP COLUMN labels; PRAGMA user_version = 2");
    let jobs = start(data).expect("started");
    assert_eq!(states(&jobs), before);
    let label = |run: &mut Run| run.labels.tags = vec!["kept".into()];
    let id = before[0].0.clone();
    jobs.label(&id, label).expect("labelled");
    // And what is written on a run outlives the store.
    drop(jobs);
    fs::remove_file(store(data)).expect("removed");
    let jobs = start(data).expect("started");
    let found = jobs.store.read(|db| Run::find(db, &id)).expect("read").expect("there");
    assert_eq!(found.labels.tags, ["kept"]);
}

/// What became of a store, and how.
type Lost = (&'static str, fn(&Path));

/// Deleted, emptied, put back from a copy of when there was nothing yet, or of when there was the first run.
const LOST: [Lost; 4] = [
    ("deleted", |data| fs::remove_file(store(data)).expect("removed")),
    ("emptied", |data| drop(File::create(store(data)).expect("emptied"))),
    ("put back, empty", |data| put_back(data, "first")),
    ("put back", |data| put_back(data, "second")),
];

fn put_back(data: &Path, copy: &str) {
    fs::copy(data.join(copy), store(data)).expect("copied");
}

#[test]
fn a_store_that_is_lost_loses_no_name_no_queue_and_no_pause() {
    for (lost, lose) in LOST {
        let folder = tempfile::tempdir().expect("folder");
        let data = folder.path();
        let copy = |name: &str| {
            fs::copy(store(data), data.join(name)).expect("copied");
        };
        drop(start(data).expect("started"));
        copy("first");
        let jobs = start(data).expect("started");
        let make = |id: &str| drop(jobs.create(&new(id), &config().to_toml()).expect("made"));
        let tell = |id: &str, input| drop(jobs.tell(id, input, "obey").expect("told"));
        make("a");
        copy("second");
        ["b", "c", "d", "e", "f"].into_iter().for_each(make);
        for id in ["a", "b", "c", "e"] {
            tell(id, Input::Start);
        }
        tell("e", Input::Pause);
        let before = |id: &str, other| jobs.store.write(|db| Run::reorder(db, id, other));
        assert!(before("c", Some("a")).expect("moved"));
        jobs.note_queue();
        // It failed of something that a user has mended, and waits again.
        run(data, "f", &[Some(RunStatus::Failed)]);
        drop(jobs);
        drop(start(data).expect("started"));
        let jobs = start(data).expect("started");
        drop(jobs.tell("f", Input::Resume, "be resumed").expect("told"));
        drop(jobs);
        lose(data);
        // A second loss finds the same.
        for round in 1..=2 {
            let jobs = start(data).unwrap_or_else(|error| panic!("{lost}: {error:#}"));
            let queue = jobs.store.read(Run::queued_ids).expect("read");
            assert_eq!(queue, ["f", "c", "a", "b"], "{lost}, {round}");
            let of = |id: &str| jobs.store.read(|db| Run::find(db, id)).expect("read").expect(id);
            assert_eq!((of("d").state, of("e").state), (State::Draft, State::Paused), "{lost}");
            for id in ["a", "b", "c", "d", "e", "f"] {
                assert_eq!(of(id).name, format!("the run {id}"), "{lost}");
            }
            drop(jobs);
            fs::remove_file(store(data)).expect("removed");
        }
    }
}

#[test]
fn a_store_that_is_lost_beside_a_process_is_as_if_the_server_had_only_been_restarted() {
    for (noted, end, after) in [
        ("running", None, State::Queued),
        ("running", Some(RunStatus::Stopped), State::Queued),
        ("running", Some(RunStatus::Done), State::Done),
        ("running", Some(RunStatus::Failed), State::Failed),
        ("pausing", Some(RunStatus::Stopped), State::Paused),
        ("stopping", None, State::Stopped),
        ("cancelled", Some(RunStatus::Done), State::Cancelled),
    ] {
        let folder = tempfile::tempdir().expect("folder");
        let data = folder.path();
        let place = run(data, "a", &[end]);
        let note = format!("{{\"name\":\"mine\",\"state\":\"{noted}\",\"bytes\":0,\"seq\":9}}");
        fs::write(place.join("server.json"), note).expect("written");
        let jobs = start(data).expect("started");
        let found = jobs.store.read(|db| Run::find(db, "a")).expect("read").expect("there");
        assert_eq!((found.state, found.name.as_str()), (after, "mine"), "{noted} {end:?}");
        // What comes now is newer than all that was noted.
        assert!(jobs.store.read(crate::store::Line::last).expect("read") > 9);
    }
    for (note, name) in [
        ("{\"name\":\"a\\u202eb\",\"state\":\"draft\",\"bytes\":0,\"seq\":1}", "a"),
        ("{\"name\":\"x\",\"state\":\"draft\",\"bytes\":0,\"seq\":9223372036854775807}", "a"),
        ("{\"name\":\"x\",\"state\":\"dreaming\",\"bytes\":0,\"seq\":1}", "a"),
        ("nonsense", "a"),
    ] {
        let folder = tempfile::tempdir().expect("folder");
        let place = run(folder.path(), "a", &[]);
        fs::write(place.join("server.json"), note).expect("written");
        let jobs = start(folder.path()).expect("started");
        let found = jobs.store.read(|db| Run::find(db, "a")).expect("read").expect("there");
        assert_eq!((found.state, found.name.as_str()), (State::Draft, name), "{note}");
    }
}

#[test]
fn a_run_of_a_command_is_not_gone_on_with_where_the_store_is_lost() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path();
    let lock = File::open(run(data, "mine", &[None]).join("run.lock")).expect("a lock");
    lock.lock().expect("held");
    assert_eq!(states(&start(data).expect("started")), [("mine".to_owned(), State::Running)]);
    fs::remove_file(store(data)).expect("removed");
    assert_eq!(states(&start(data).expect("started")), [("mine".to_owned(), State::Running)]);
    lock.unlock().expect("let go");
    fs::remove_file(store(data)).expect("removed");
    assert_eq!(states(&start(data).expect("started")), [("mine".to_owned(), State::Stopped)]);
}

fn set(path: &Path, sql: &str) {
    let db = rusqlite::Connection::open(path).expect("opened");
    db.execute_batch(sql).expect("done");
}

#[test]
fn a_create_and_a_delete_may_be_killed_between_any_two_writes() {
    for fuse in 0..6 {
        let folder = tempfile::tempdir().expect("folder");
        let data = folder.path();
        run(data, "mine", &[Some(RunStatus::Done)]);
        let jobs = start(data).expect("started");
        jobs.store.fuse.set(fuse);
        let made = jobs.create(&new("x"), &config().to_toml()).is_ok();
        let deleted = made && jobs.delete("x").is_ok();
        drop(jobs);
        let jobs = start(data).expect("started");
        let found = states(&jobs).into_iter().any(|(id, _)| id == "x");
        // What a client was told stands; of the rest all or nothing is there.
        assert!(!deleted || !found, "fuse {fuse}");
        assert_eq!(data.join("runs/x").is_dir(), found, "fuse {fuse}");
        assert!(data.join("runs/mine/events.jsonl").is_file(), "fuse {fuse}");
    }
}
