//! Runs from their first stage to their last: every method and option, what they leave, and that killing them changes no bit.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use engine::{
    config::{Config, Method},
    event::{self, Entry, Event, RunStatus},
    models,
    nn::Weights,
    random::Stream,
    train::{Host, Options, Run, Session, TrainError},
    win::{needs::needs, surgery},
};
use support::{
    RESNET, TEXT, checkpoints, config, files, folder, go_on, kinds, leftovers, model, models_in,
    on, train, try_train, warnings, weights_in,
};
use taper_tests::{Feature, gpu_that_has, gpus, host};

/// The log as readers see it.
fn log(out: &Path) -> Vec<Entry> {
    event::read(&out.join("events.jsonl")).expect("events.jsonl")
}

/// The tests of a log: who, after which step, accuracy.
fn tests(entries: &[Entry]) -> Vec<(String, u64, Option<f64>)> {
    let of = |entry: &Entry| match &entry.event {
        Event::Epoch { member, step, accuracy, .. } => Some((member.clone(), *step, *accuracy)),
        _ => None,
    };
    entries.iter().filter_map(of).collect()
}

/// How each member and teacher ended: accuracy and epochs.
fn ends(entries: &[Entry]) -> BTreeMap<String, (f64, f64)> {
    let of = |entry: &Entry| match &entry.event {
        Event::MemberFinished { member, accuracy, epochs, .. } => {
            Some((member.clone(), (*accuracy, epochs.unwrap_or(f64::NAN))))
        }
        _ => None,
    };
    entries.iter().filter_map(of).collect()
}

/// D\[S, B\] of each student is that of the two models that are kept, computed here; a teacher has none.
fn outputs_are_as_far_apart_as_the_log_says(config: &Config, out: &Path, entries: &[Entry]) {
    let Some(gpu) = gpus().into_iter().next() else { return };
    let data = engine::data::open(config, None, None).expect("the images");
    let picks: Vec<usize> = (0..data.test.len()).collect();
    let logits = |folder: &Path| -> Vec<f64> {
        let kept = model(folder);
        let mut session =
            Session::evaluating(&gpu, &kept.config.network(), data.task(), &kept.weights, 7)
                .expect("a session");
        let logits = session.logits(data.test.some(&picks, 7)).expect("logits");
        logits.concat().into_iter().map(f64::from).collect()
    };
    let mut count = 0;
    for entry in entries {
        let Event::MemberFinished { member, method, seed, discrepancy, .. } = &entry.event else {
            continue;
        };
        let found = match (method, discrepancy) {
            (None, None) => continue,
            (Some(_), Some(found)) => *found,
            other => panic!("{member}: {other:?}"),
        };
        let teacher = logits(&out.join(format!("teachers/{seed}")));
        let student = logits(&out.join(format!("members/{member}/artifacts")));
        assert_eq!(student.len(), teacher.len());
        let square: f64 = student.iter().zip(&teacher).map(|(a, b)| (a - b).powi(2)).sum();
        let wanted = (square / student.len() as f64).sqrt();
        assert!(wanted > 0.0 && (found / wanted - 1.0).abs() < 1e-4, "{member}: {found}, {wanted}");
        count += 1;
    }
    assert_eq!(count, config.methods.len());
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

const MODEL: [&str; 5] =
    ["README.md", "SHA256SUMS", "config.json", "model.onnx", "model.safetensors"];
const MERGED: [&str; 6] =
    ["README.md", "SHA256SUMS", "config.json", "merge.json", "model.onnx", "model.safetensors"];

#[test]
fn every_method_trains_and_leaves_its_folder() {
    let config = config(&[
        r#"methods=["vanilla","kd","fitnets","start_only","win"]"#,
        "seeds=[3]",
        "win.restarts=2",
        "win.tune_restarts=2",
    ]);
    let out = folder();
    let out = out.path();
    let heard = train(&config, out);

    assert_eq!(
        names(out),
        ["artifacts", "config.toml", "events.jsonl", "members", "run.lock", "teachers"]
    );
    assert_eq!(names(&out.join("teachers")), ["3"]);
    assert_eq!(
        names(&out.join("members")),
        ["fitnets-3", "kd-3", "start_only-3", "vanilla-3", "win-3"]
    );
    assert_eq!(names(&out.join("artifacts")), MERGED);
    let teacher = names(&out.join("teachers/3"));
    assert!(MODEL.iter().all(|name| teacher.iter().any(|n| n == name)), "{teacher:?}");
    for method in Method::OF_IMAGES {
        let member = out.join(format!("members/{method}-3"));
        let bridges = matches!(method, Method::Win | Method::StartOnly);
        let wanted: &[&str] = if bridges { &MERGED } else { &MODEL };
        assert_eq!(names(&member.join("artifacts")), wanted, "{method}");
        let kept = checkpoints(&member).len();
        assert!((1..=2).contains(&kept), "{method} keeps {kept} checkpoints");
        let kept = model(&member.join("artifacts"));
        let student = kept.config.network().shapes().expect("shapes");
        assert_eq!(
            kept.weights.keys().collect::<BTreeSet<_>>(),
            student.params.iter().map(|spec| &spec.name).collect(),
            "{method}"
        );
    }
    assert_eq!(model(&out.join("artifacts")), model(&out.join("members/win-3/artifacts")));
    let card = model(&out.join("artifacts")).card;
    for part in ["- narrow 2: 1 epochs", "; discrepancy 0.", "; training loss ", "`model.onnx`"] {
        assert!(card.contains(part), "{part} is not in\n{card}");
    }
    assert_eq!(leftovers(out), Vec::<std::path::PathBuf>::new());

    // What was heard is what was written, and it says how much was trained.
    let entries = log(out);
    outputs_are_as_far_apart_as_the_log_says(&config, out, &entries);
    assert_eq!(kinds(&heard), kinds(&entries));
    assert!(entries.iter().map(|entry| entry.seq).eq(0..entries.len() as u64));
    assert_eq!(kinds(&entries).first().map(String::as_str), Some("run_started"));
    let last = &entries.last().expect("an end").event;
    assert!(matches!(last, Event::RunFinished { status: RunStatus::Done, error: None, .. }));
    let ends = ends(&entries);
    let epochs: Vec<_> =
        ends.iter().map(|(name, &(_, epochs))| (name.as_str(), epochs.round())).collect();
    // 2 blocks and tune of one epoch each, and each of them twice: start_only has what win has.
    let wanted = [
        ("fitnets-3", 2.0),
        ("kd-3", 1.0),
        ("start_only-3", 6.0),
        ("teacher-3", 2.0),
        ("vanilla-3", 2.0),
        ("win-3", 6.0),
    ];
    assert_eq!(epochs, wanted);
    assert!(ends.values().all(|&(accuracy, _)| (0.0..=100.0).contains(&accuracy)));
    let restarts = entries.iter().filter_map(|entry| match &entry.event {
        Event::StageStarted { member, stage, restart, .. } if member == "win-3" => {
            Some((stage.as_str(), *restart))
        }
        _ => None,
    });
    assert_eq!(
        restarts.collect::<Vec<_>>(),
        [
            ("narrow 1", 1),
            ("narrow 1", 2),
            ("narrow 2", 1),
            ("narrow 2", 2),
            ("tune", 1),
            ("tune", 2)
        ]
    );

    // A run that is done has nothing left to do, and stays the same.
    let before = models_in(out);
    let again = go_on(&Run::resume(out, &host()).expect("a run"), out, Duration::from_secs(20));
    let again = again.expect("done");
    assert_eq!(warnings(&again), Vec::<String>::new());
    let mut said = kinds(&again);
    said.retain(|kind| kind != "warning");
    assert_eq!(said, ["run_started", "data_read", "run_finished"]);
    assert_eq!(models_in(out), before);
}

/// Trains with a listener that keeps the weights of each checkpoint, by place in the stages.
fn snapshots(config: &Config) -> (BTreeMap<String, Weights>, Vec<Entry>) {
    let out = folder();
    let out = out.path();
    let run = Run::create(config.clone(), out, &host()).expect("an empty folder");
    let mut kept = BTreeMap::new();
    let mut entries = Vec::new();
    run.execute(&Options::new(out), &AtomicBool::new(false), &mut |entry| {
        entries.push(entry.clone());
        if let Event::Checkpoint { member, path, .. } = &entry.event
            && member == "win-0"
        {
            let name = path.rsplit('/').next().expect("a name")[..3].to_owned();
            kept.insert(name, weights_in(&out.join(path)));
        }
    })
    .unwrap_or_else(|error| panic!("{error}"));
    (kept, entries)
}

#[test]
fn the_options_of_win_do_what_they_say() {
    // One teacher for all of them.
    let source = folder();
    train(&config(&[r#"methods=["kd"]"#]), source.path());
    let from = format!("teacher.from={}", source.path().display());
    let with = |changes: &[&str]| snapshots(&config(&[&[from.as_str()], changes].concat()));

    let (at, _) =
        with(&["win.freeze=true", "win.merge=map", "win.start=sample", "win.discrepancy=mse"]);
    // After narrow 1 (001) block 1 stays until tuning; under MAP the pairs are gone before it.
    for name in ["layers.0.weight", "layers.1.bias", "lift.1.weight"] {
        assert_eq!(at["001"][name], at["002"][name], "{name} is frozen");
    }
    assert!(at["002"].contains_key("lift.2.weight") && !at["003"].contains_key("lift.2.weight"));
    assert_ne!(at["003"]["layers.0.weight"], at["004"]["layers.0.weight"], "tuning trains all");

    let (at, entries) = with(&[
        "win.start=random",
        "win.discrepancy=kl",
        "tune.target=labels",
        "narrow.optimizer=sgd",
        "narrow.nesterov=true",
        "narrow.lr=0.05",
        "narrow.clip_norm=1.0",
        "narrow.schedule=step",
        "narrow.milestones=[0.5]",
        "tune.label_smoothing=0.1",
    ]);
    assert_ne!(at["001"]["layers.0.weight"], at["002"]["layers.0.weight"], "nothing is frozen");
    assert!(at["002"].contains_key("lower.1.weight"), "{:?}", at["002"].keys());
    assert!(at["003"].contains_key("lift.2.weight") && !at["004"].contains_key("lift.2.weight"));
    let rates: Vec<f64> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Step { stage, lr, .. } if stage == "narrow 1" => Some(*lr),
            _ => None,
        })
        .collect();
    assert_eq!((rates.first(), rates.last()), (Some(&0.05), Some(&(0.05 * 0.1))));

    let (_, entries) = with(&[
        "tune.optimizer=adamw",
        "tune.weight_decay=0.01",
        "tune.schedule=linear",
        "tune.warmup=0.5",
        "narrow.optimizer=adam",
        "narrow.steps=5",
    ]);
    assert_eq!(ends(&entries)["win-0"].1, 2.0 * 5.0 / 8.0 + 1.0);
}

#[test]
fn a_residual_network_goes_through_every_kind_of_stage() {
    let changes = [
        r#"methods=["fitnets","start_only","win"]"#,
        "data.augment.flip=true",
        "data.augment.pad_crop=1",
    ];
    let steps = [
        "wide.steps=4",
        "narrow.steps=3",
        "tune.steps=3",
        "fitnets.hint_epochs=0.5",
        "fitnets.steps=3",
    ];
    let out = folder();
    let entries = train(&config(&[&RESNET[..], &changes, &steps].concat()), out.path());
    assert_eq!(ends(&entries).len(), 4);
    let narrowed: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::BlockNarrowed { block, accuracy, discrepancy, dead, .. } => {
                assert!(discrepancy.is_finite() && (0.0..=1.0).contains(dead), "{entry:?}");
                assert!(
                    accuracy.is_some(),
                    "the teacher with its first blocks replaced was tested"
                );
                Some(*block)
            }
            _ => None,
        })
        .collect();
    assert_eq!(narrowed, [1, 2]);
}

/// From the first narrow step to the merge, with batch norms in the rest of the teacher and without.
#[test]
fn a_block_may_imitate_what_the_rest_of_its_teacher_says() {
    for network in [&[][..], &RESNET[..]] {
        for discrepancy in ["output", "relative_mse+output"] {
            let discrepancy = format!("win.discrepancy={discrepancy}");
            let changes = [r#"methods=["win"]"#, &discrepancy, "tune.alpha=0.5"];
            let out = folder();
            let entries = train(&config(&[network, &changes].concat()), out.path());
            let narrowed = entries.iter().filter_map(|entry| match &entry.event {
                Event::BlockNarrowed { discrepancy, accuracy, .. } => {
                    assert!(*discrepancy > 0.0 && discrepancy.is_finite(), "{entry:?}");
                    assert!(accuracy.is_some(), "{entry:?}");
                    Some(())
                }
                _ => None,
            });
            assert_eq!(narrowed.count(), 2);
            assert!(kinds(&entries).contains(&"merge".to_owned()));
        }
    }
}

#[test]
fn a_teacher_may_come_from_anywhere() {
    let first = folder();
    let own = config(&[r#"methods=["win"]"#]);
    train(&own, first.path());
    let student = |from: &Path, changes: &[&str]| {
        let from = format!("teacher.from={}", from.display());
        let out = folder();
        let entries = train(&config(&[&[from.as_str()], changes].concat()), out.path());
        // What it says of the test pictures is there, and no model of it.
        let kept = out.path().join("teachers/0");
        assert!(!kept.join("model.safetensors").exists(), "it is not trained again");
        assert!(!kept.join("checkpoints").exists(), "it is not trained again");
        let ends: Vec<String> = ends(&entries).into_keys().collect();
        assert_eq!(ends, ["teacher-0", "win-0"], "it is tested, and its student trained");
        fs::read(out.path().join("artifacts/model.safetensors")).expect("a student")
    };
    // A run, the folder of its teacher, the weights alone: the same teacher, so the same student.
    let wanted = fs::read(first.path().join("artifacts/model.safetensors")).expect("a student");
    let teacher = first.path().join("teachers/0");
    assert_eq!(student(first.path(), &[]), wanted);
    assert_eq!(student(&teacher, &[]), wanted);
    let elsewhere = folder();
    let alone = elsewhere.path().join("weights.safetensors");
    fs::copy(teacher.join("model.safetensors"), &alone).expect("copied");
    assert_eq!(student(&alone, &[]), wanted);
    // A student of another depth than the teacher, deeper or not.
    assert_ne!(student(&teacher, &["model.hidden=[6,6,6,6,6]", "model.blocks=[3,2]"]), wanted);
    assert_ne!(student(&alone, &["model.hidden=[7,5]", "model.blocks=[1,1]"]), wanted);

    // What does not fit is refused before anything is trained, in one sentence.
    let refused = |changes: &[&str]| {
        let from = format!("teacher.from={}", alone.display());
        let out = folder();
        let error = try_train(&config(&[&[from.as_str()], changes].concat()), out.path());
        let error = error.expect_err("a refusal").to_string();
        assert_eq!(kinds(&log(out.path())), ["run_finished"], "{error}");
        error
    };
    let error = refused(&RESNET[..4]);
    assert!(error.contains("the student has 2 blocks, the teacher 1"), "{error}");
    let error = refused(&["data.size=9"]);
    assert!(
        error.contains("layers.0.weight has shape [18, 256]") && error.contains("81"),
        "{error}"
    );
}

/// On disk an MLP's first layer reads colours plane by plane, as PyTorch's does; read back, it must be what was trained.
#[test]
fn a_teacher_of_colour_images_is_read_back_as_it_was_trained() {
    let data = folder();
    let mut stream = Stream::new(&[5]);
    for part in ["train", "test"] {
        for (class, name) in ["red", "blue"].iter().enumerate() {
            let folder = data.path().join(part).join(name);
            fs::create_dir_all(&folder).expect("made");
            for n in 0..40 {
                let pixel = |_, _| {
                    let mut noise = || stream.between(0.0, 120.0) as u8;
                    let mut pixel = image::Rgb([noise(), noise(), noise()]);
                    pixel.0[2 * class] += 100;
                    pixel
                };
                let path = folder.join(format!("{n}.png"));
                image::RgbImage::from_fn(4, 4, pixel).save(path).expect("written");
            }
        }
    }
    let path = format!("data.path={}", data.path().display());
    // A student as wide as its teacher that is started and not trained is its teacher.
    let out = folder();
    let entries = train(
        &config(&[
            r#"methods=["start_only"]"#,
            path.as_str(),
            "data.kind=folder",
            "data.size=4",
            "data.train_count=80",
            "model.hidden=[8,8]",
            "model.blocks=[1,1]",
            "teacher.factor=1",
            "wide.epochs=20",
            "wide.lr=0.01",
            "wide.batch=16",
            "tune.lr=0.0",
        ]),
        out.path(),
    );
    let ends = ends(&entries);
    let (teacher, student) = (ends["teacher-0"].0, ends["start_only-0"].0);
    assert!(teacher > 90.0 && (teacher - student).abs() < 5.0, "{teacher} % and {student} %");

    // One picture more is another data set.
    let more = data.path().join("train/red/more.png");
    fs::copy(data.path().join("train/red/0.png"), &more).expect("copied");
    let resume = || go_on(&Run::resume(out.path(), &host())?, out.path(), Duration::from_secs(20));
    let said = resume().expect_err("another data set").to_string();
    assert!(
        said.starts_with("data.path: these are other data")
            && said.contains("there are 81 (40 … 41 a class) training pictures and were 80"),
        "{said}"
    );
    fs::remove_file(more).expect("removed");
    resume().expect("as it was");
}

#[test]
fn a_loss_that_is_not_finite_stops_the_stage_and_keeps_what_was_good() {
    let out = folder();
    let error = try_train(&config(&["tune.lr=1e30", "tune.schedule=constant"]), out.path());
    let error = error.expect_err("it diverges");
    assert!(
        matches!(&error, TrainError::NonFinite { stage, kept: Some(16), .. } if stage == "tune"),
        "{error:?}"
    );
    let sentence = error.to_string();
    assert!(
        sentence.contains("win-0") && sentence.contains("lower the learning rate"),
        "{sentence}"
    );
    // Two epochs of narrow steps are kept, and they are numbers.
    let kept = checkpoints(&out.path().join("members/win-0"));
    let newest = kept.last().expect("a checkpoint");
    assert!(newest.ends_with("002-000-000000000.safetensors"), "{kept:?}");
    let weights = weights_in(newest);
    assert!(weights.values().all(|tensor| tensor.data.iter().all(|x| x.is_finite())));
    match &log(out.path()).last().expect("an end").event {
        Event::RunFinished { status: RunStatus::Failed, error: Some(told), .. } => {
            assert_eq!(*told, sentence);
        }
        other => panic!("{other:?}"),
    }
    assert!(!out.path().join("members/win-0/artifacts").exists());
    assert!(leftovers(out.path()).is_empty());

    // The only step of a stage can spoil the weights after a loss that was fine: that is no checkpoint either.
    let out = folder();
    let vanilla =
        [r#"methods=["vanilla"]"#, "vanilla.steps=1", "vanilla.lr=1e39", "vanilla.optimizer=sgd"];
    let error = try_train(&config(&vanilla), out.path()).expect_err("the weights overflow");
    assert!(matches!(error, TrainError::NonFinite { kept: None, .. }), "{error:?}");
    assert!(error.to_string().contains("no checkpoint yet"), "{error}");
    assert!(!out.path().join("members/vanilla-0/checkpoints").exists());
}

#[test]
fn what_cannot_be_trained_is_refused_before_anything_is() {
    let refused = |changes: &[&str]| {
        let out = folder();
        let error = try_train(&config(changes), out.path()).expect_err("a refusal").to_string();
        assert!(!kinds(&log(out.path())).contains(&"step".to_owned()), "{error}");
        assert!(models_in(out.path()).is_empty());
        error
    };
    let error = refused(&["memory_budget=1000"]);
    assert!(error.contains("memory_budget allows 1000") && error.contains("wide"), "{error}");
    let error = refused(&["tune.batch=257"]);
    assert_eq!(error, "tune.batch: 257 of stage tune is more than the 256 training samples");
    // As PyTorch: "Expected more than 1 value per channel when training". The first stage that would is named.
    let lone = [&RESNET[..], &["data.size=2", "narrow.batch=1"]].concat();
    let error = refused(&lone);
    assert_eq!(
        error,
        "stage narrow 2 of win: batch norm layer2.0.bn2 gets one value a channel: its input has one position and a step's batch one input; a variance wants more than one, so make the batch 2 or more, or the images larger"
    );
    let error = refused(&["device=no such adapter"]);
    assert!(error.contains("no adapter is called \"no such adapter\"; there are 0: "), "{error}");

    // A folder with something in it is not written into.
    let out = folder();
    fs::write(out.path().join("mine"), "").expect("written");
    let error = Run::create(config(&[]), out.path(), &host()).expect_err("not empty").to_string();
    assert!(error.contains("is not empty"), "{error}");
    assert_eq!(names(out.path()), ["mine"]);
    let error = Run::resume(out.path(), &host()).expect_err("no run").to_string();
    assert!(error.contains("it has no config.toml"), "{error}");
    assert_eq!(names(out.path()), ["mine"]);
}

/// The starts are work that a student costs, whichever method does it.
#[test]
fn the_seconds_of_win_count_its_starts() {
    let config = config(&[
        r#"methods=["win","start_only"]"#,
        "wide.steps=1",
        "narrow.steps=1",
        "tune.steps=1",
    ]);
    let out = folder();
    let seconds: BTreeMap<String, f64> = train(&config, out.path())
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::MemberFinished { member, seconds, .. } => Some((member, seconds?)),
            _ => None,
        })
        .collect();
    // Three steps take next to nothing; WIN, which is the first, has its kernels compiled besides.
    let (win, start_only) = (seconds["win-0"], seconds["start_only-0"]);
    assert!(win > 0.5 * start_only, "{win} s with starts of {start_only} s");
}

/// Stops a run after so many lines of learning curve; whether it was still under way.
fn stop_after(run: &Run, out: &Path, lines: usize) -> bool {
    let (stop, mut heard) = (AtomicBool::new(false), 0);
    let done = run.execute(&Options::new(out), &stop, &mut |entry| {
        heard += usize::from(matches!(entry.event, Event::Step { .. }));
        stop.store(heard >= lines, Ordering::Relaxed);
    });
    match done {
        Err(TrainError::Stopped(_)) => true,
        Ok(()) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let changes = [r#"methods=["fitnets","win"]"#, "win.restarts=2", "win.tune_restarts=2"];
    let config = config(&changes);
    let (whole, parts) = (folder(), folder());
    train(&config, whole.path());
    let out = parts.path();
    let mut stops = 0;
    let mut run = Run::create(config, out, &host()).expect("an empty folder");
    while stop_after(&run, out, 7) {
        stops += 1;
        let last = log(out).pop().expect("an end");
        assert!(matches!(last.event, Event::RunFinished { status: RunStatus::Stopped, .. }));
        assert!(stops < 40, "it never ends");
        drop(run);
        run = Run::resume(out, &host()).expect("a run");
    }
    assert!(stops >= 5, "stopped {stops} times");
    assert_eq!(models_in(out), models_in(whole.path()), "after {stops} stops");
    assert_eq!(tests(&log(out)), tests(&log(whole.path())));
}

/// A flipped bit of the newest checkpoint is said, and costs some steps; of both, one sentence.
#[test]
fn a_damaged_checkpoint_is_passed_over_and_changes_no_bit() {
    let config = config(&[r#"methods=["vanilla"]"#]);
    let (whole, parts) = (folder(), folder());
    train(&config, whole.path());
    let out = parts.path();
    let options = Options { checkpoint_every: Duration::ZERO, ..Options::new(out) };
    let (stop, mut kept) = (AtomicBool::new(false), 0);
    let run = Run::create(config, out, &host()).expect("an empty folder");
    let stopped = run.execute(&options, &stop, &mut |entry| {
        kept += usize::from(matches!(entry.event, Event::Checkpoint { .. }));
        stop.store(kept >= 3, Ordering::Relaxed);
    });
    assert!(matches!(stopped, Err(TrainError::Stopped(_))), "{stopped:?}");
    drop(run);
    let both = checkpoints(&out.join("members/vanilla-0"));
    let good: Vec<Vec<u8>> = both.iter().map(|path| fs::read(path).expect("read")).collect();
    let flip = |of: usize| {
        let mut bytes = good[of].clone();
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(&both[of], bytes).expect("written");
    };
    (0..both.len()).for_each(flip);
    let error = try_go_on(out).expect_err("none is whole").to_string();
    assert!(error.contains("none of its checkpoints is whole"), "{error}");
    fs::write(&both[0], &good[0]).expect("written");
    let heard = try_go_on(out).expect("one is whole");
    let warnings: Vec<&str> = heard
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Warning { message } => Some(message.as_str()),
            _ => None,
        })
        .collect();
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(warnings.iter().any(|said| said.contains(&name(&both[1]))), "{warnings:?}");
    assert!(warnings.iter().any(|said| said.contains(&name(&both[0]))), "{warnings:?}");
    assert_eq!(models_in(out), models_in(whole.path()));
}

fn try_go_on(out: &Path) -> Result<Vec<Entry>, TrainError> {
    go_on(&Run::resume(out, &host())?, out, Duration::from_secs(20))
}

/// What loss scaling knows is part of a checkpoint, and of the log.
#[test]
fn a_checkpoint_holds_the_loss_scale() {
    let Some(gpu) = gpu_that_has(Feature::F16) else { return };
    let config = config(&[r#"methods=["vanilla"]"#, "precision=mixed", &on(&gpu)]);
    let out = folder();
    let run = Run::create(config, out.path(), &host()).expect("an empty folder");
    assert!(stop_after(&run, out.path(), 5), "the run was over");
    let newest = checkpoints(&out.path().join("members/vanilla-0")).pop().expect("a checkpoint");
    let (_, metadata) = engine::formats::safetensors::read(&newest).expect("a checkpoint");
    let place: serde_json::Value = serde_json::from_str(&metadata["taper"]).expect("JSON");
    let scale = &place["loss_scale"];
    assert_eq!(scale["skipped"], 0, "{place}");
    assert_eq!((&scale["taken"], scale["scale"].as_f64()), (&place["step"], Some(65536.0)));
    let told = log(out.path()).into_iter().filter_map(|entry| match entry.event {
        Event::Step { scaling, .. } => Some(scaling.map(|s| (s.scale, s.skipped))),
        _ => None,
    });
    assert!(told.into_iter().all(|scaling| scaling == Some((65536.0, 0))));
}

/// The variable that makes [`child`] train.
const CHILD: &str = "TAPER_TEST_CHILD";

/// Goes on with the run that the environment names; a test that passes where it names none.
#[test]
fn child() {
    if let Some(out) = env::var_os(CHILD) {
        let out = Path::new(&out);
        let run = Run::resume(out, &host()).unwrap_or_else(|error| panic!("{error}"));
        go_on(&run, out, Duration::from_millis(15)).unwrap_or_else(|error| panic!("{error}"));
    }
}

fn spawn(out: &Path) -> Child {
    Command::new(env::current_exe().expect("this program"))
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, out)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("this program again")
}

fn lines(out: &Path) -> usize {
    let bytes = fs::read(out.join("events.jsonl")).unwrap_or_default();
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

/// Waits until a child has written so many lines more, then a moment; whether it is still running.
fn wait(child: &mut Child, out: &Path, more: usize, moment: Duration) -> bool {
    let (target, begun) = (lines(out) + more, Instant::now());
    while lines(out) < target {
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        assert!(begun.elapsed() < Duration::from_secs(240), "the child does not train");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(moment);
    child.try_wait().expect("a child").is_none()
}

/// Kills a run `kills` times at random moments (kill -9), lets it end, and compares with one that nobody disturbed.
fn check_kills(changes: &[&str], kills: u32) {
    let config = config(changes);
    let (whole, parts) = (folder(), folder());
    train(&config, whole.path());
    let out = parts.path();
    drop(Run::create(config, out, &host()).expect("an empty folder"));

    let seed =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_nanos();
    let mut stream = Stream::new(&[seed as u64]);
    let most = lines(whole.path()) as f64 / f64::from(kills);
    let mut done = 0;
    for _ in 0..kills {
        let mut child = spawn(out);
        // A line of a resumed run is worth less than one of a run that was never killed: there are more checkpoints.
        let more = stream.between(4.0, 1.5 * most) as usize;
        let moment = Duration::from_micros(stream.between(0.0, 20_000.0) as u64);
        if wait(&mut child, out, more, moment) {
            let error = Run::resume(out, &host()).expect_err("the child holds it").to_string();
            assert!(error.contains("another process works on"), "{error}");
            done += 1;
        }
        child.kill().expect("killed");
        child.wait().expect("waited");
    }
    let run = Run::resume(out, &host()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    go_on(&run, out, Duration::from_secs(20)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    assert!(done > 0, "the run was over before it was killed");
    let same = models_in(out) == models_in(whole.path());
    assert!(same, "other bits after {done} kills; seed {seed}, {changes:?}");
    assert_eq!(tests(&log(out)), tests(&log(whole.path())), "seed {seed}");
    assert!(leftovers(out).is_empty(), "{:?}", leftovers(out));
    for member in names(&out.join("members")) {
        assert!(checkpoints(&out.join("members").join(member)).len() <= 2);
    }
    let entries = log(out);
    assert!(entries.windows(2).all(|pair| pair[0].seq < pair[1].seq), "seq grows for ever");
}

#[test]
fn killing_a_run_changes_no_bit() {
    check_kills(&[r#"methods=["vanilla","win"]"#, "win.restarts=2"], 5);
}

#[test]
fn killing_a_run_with_batch_norms_changes_no_bit() {
    let steps = ["wide.steps=10", "vanilla.steps=10", "vanilla.optimizer=sgd", "vanilla.lr=0.05"];
    let methods = [r#"methods=["vanilla","kd"]"#, "kd.steps=6", "data.augment.flip=true"];
    check_kills(&[&RESNET[..], &methods, &steps].concat(), 3);
}

/// Also in the middle of a narrow step, and of an epoch whose masks are drawn anew.
#[test]
fn killing_a_run_on_text_changes_no_bit() {
    let steps =
        ["narrow.unit=6", "tune.epochs=2", "model.dropout=0.1", "model.attention_dropout=0.1"];
    let methods = [r#"methods=["vanilla","win"]"#, "text.nsp=true"];
    check_kills(&[&TEXT[..], &methods, &steps].concat(), 4);
}

/// In narrow steps that nothing merges, and in the tuning behind them.
#[test]
fn killing_a_run_of_bottlenecks_changes_no_bit() {
    let steps = ["narrow.unit=6", "tune.epochs=2", "model.dropout=0.1", "model.bottleneck=16"];
    let methods = [r#"methods=["embeddings_only","win"]"#, "win.restarts=2"];
    check_kills(&[&TEXT[..], &methods, &steps].concat(), 4);
}

#[test]
fn killing_a_run_in_mixed_precision_changes_no_bit() {
    let Some(gpu) = gpu_that_has(Feature::F16) else { return };
    let on = on(&gpu);
    let steps = ["precision=mixed", &on, "wide.steps=10", "vanilla.steps=10", "vanilla.lr=0.05"];
    let methods = [r#"methods=["vanilla","kd"]"#, "kd.steps=6", "vanilla.optimizer=sgd"];
    check_kills(&[&RESNET[..], &methods, &steps].concat(), 3);
}

/// A budget of so many percent of what the greediest stage takes.
fn budget(changes: &[&str], percent: u64) -> String {
    let config = config(changes);
    let subject = engine::data::promised(&config);
    let student = models::network(&config.model, subject.input, subject.output);
    let teacher = surgery::widen(&student, config.teacher.factor, config.teacher.widen);
    let gpu = taper_gpu::open("auto", taper_gpu::Options::default()).expect("an adapter");
    let needs = needs(&config, &student, &teacher, subject.task(), &gpu.target()).expect("plans");
    assert!(needs.iter().all(|needs| needs.micro_batches == 1));
    let most = needs.iter().filter_map(|needs| needs.memory).max().expect("a stage");
    format!("memory_budget={}", most * percent / 100)
}

const SHORT_RESNET: [&str; 5] = [
    r#"methods=["vanilla","kd"]"#,
    "wide.steps=10",
    "vanilla.steps=10",
    "kd.steps=6",
    "data.augment.flip=true",
];

#[test]
fn a_step_that_does_not_fit_runs_in_micro_batches() {
    let changes = [&RESNET[..], &SHORT_RESNET[..]].concat();
    let budget = budget(&changes, 50);
    let out = folder();
    let entries = train(&config(&[&changes[..], &[budget.as_str()]].concat()), out.path());
    let parts: BTreeMap<String, u32> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::StageStarted { member, micro_batches, memory, .. } => {
                let most = budget.strip_prefix("memory_budget=").expect("a budget");
                assert!(*memory <= most.parse().expect("bytes"), "{member}: {memory} of {most}");
                Some((member.clone(), *micro_batches))
            }
            _ => None,
        })
        .collect();
    assert!(parts["teacher-0"] > 1 && 32 % parts["teacher-0"] == 0, "{parts:?}");
    // The log and the model card say it, and say what batch norm does.
    let said = entries.iter().any(|entry| {
        matches!(&entry.event, Event::Warning { message }
            if message.contains("teacher-0 wide") && message.contains("batch norm's statistics"))
    });
    assert!(said, "{entries:?}");
    let card = fs::read_to_string(out.path().join("teachers/0/README.md")).expect("a card");
    let line = format!("(in {} micro-batches; batch norm's statistics", parts["teacher-0"]);
    assert!(card.contains(&line), "{card}");
}

#[test]
fn killing_a_run_in_micro_batches_changes_no_bit() {
    let changes = [&RESNET[..], &SHORT_RESNET[..]].concat();
    let budget = budget(&changes, 50);
    check_kills(&[&changes[..], &[budget.as_str()]].concat(), 3);
}

/// Nothing of the sort that opening a device needs is left open by a run: two may go on side by side.
#[test]
fn two_runs_side_by_side_do_not_disturb_each_other() {
    assert!(taper_gpu::open("auto", taper_gpu::Options::default()).is_ok());
    let config = config(&[r#"methods=["kd"]"#]);
    let (one, two) = (folder(), folder());
    std::thread::scope(|scope| {
        scope.spawn(|| train(&config, one.path()));
        scope.spawn(|| train(&config, two.path()));
    });
    assert_eq!(models_in(one.path()), models_in(two.path()));
    assert!(!files(one.path()).is_empty());
}

/// A run on OpenGL warns of it, once each time that it starts.
#[test]
fn a_run_by_opengl_says_so() {
    let Some(gl) = gpus().into_iter().find(|gpu| gpu.adapter().is_gl()) else {
        eprintln!("skipped: there is no OpenGL driver");
        return;
    };
    let out = folder();
    let heard = train(&config(&[r#"methods=["vanilla"]"#, &on(&gl)]), out.path());
    let told = heard.iter().filter_map(|entry| match &entry.event {
        Event::Warning { message } => Some(message.clone()),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), Vec::from_iter(gl.adapter().caveat()));
    assert!(gl.adapter().caveat().is_some_and(|words| words.contains("best effort")));
}

/// The device is destroyed in the middle of a stage, as by a driver's reset.
#[test]
fn a_lost_device_is_opened_anew_and_changes_no_bit() {
    let config = config(&[r#"methods=["vanilla"]"#, "seeds=[1]", "vanilla.epochs=4"]);
    let (whole, broken) = (folder(), folder());
    train(&config, whole.path());

    let loses = taper_gpu::Options { lose_after: Some(40), ..Default::default() };
    let run = Run::create(config, broken.path(), &Host::native(loses)).expect("a run directory");
    let mut options = Options::new(broken.path());
    options.checkpoint_every = Duration::ZERO;
    let mut heard = Vec::new();
    let mut hear = |entry: &Entry| heard.push(entry.clone());
    run.execute(&options, &AtomicBool::new(false), &mut hear).expect("the run goes on");
    let warnings = warnings(&heard);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("the device was lost"), "{}", warnings[0]);
    assert_eq!(models_in(broken.path()), models_in(whole.path()));
}
