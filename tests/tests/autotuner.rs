//! Tiles that are chosen by timing them: what is kept of it, that it changes no result, and that a stage keeps what it began with.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use engine::{
    clock::{Clock, SystemClock},
    device::{Device, StepParameters},
    event::{Entry, Event},
    formats::safetensors,
    graph::Graph,
    ops::{AdapterKind, matmul::Linear},
    plan::{Choice, Choices, Plan, Target, compile},
    train::{Autotune, Autotuned, Autotuner, Cache, Options, Run, TimingsFolder, TrainError},
};
use serde_json::{Value, json};
use support::{checkpoints, config, folder, kinds, warnings};
use taper_tests::{gpu, host};

/// As long as any machine needs: nothing here depends on how fast it is.
const LONG: Duration = Duration::from_secs(600);

/// Two linear layers, of which the second has few and odd outputs.
fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

fn plan(gpu: &Arc<dyn Device>, kind: AdapterKind) -> Plan {
    let mut g = Graph::new();
    let [x, v, w] = [("x", [96, 40]), ("v", [64, 40]), ("w", [10, 64])]
        .map(|(label, shape)| g.input(label, &shape));
    let linear = Linear { bias: false, relu: false };
    let y = g.add(linear, &[x, v]).expect("a product");
    let z = g.add(linear, &[y, w]).expect("a product");
    g.place(z, "z", 0);
    compile(&[("run", &g)], &Target { kind, ..gpu.target() }).expect("a plan")
}

/// What a plan makes of whole numbers, whose sums are exact in any order.
fn run(gpu: &Arc<dyn Device>, plan: Plan) -> Vec<f32> {
    let mut executor = Arc::clone(gpu).prepare(plan).expect("an executor");
    for (label, count) in [("x", 96 * 40), ("v", 64 * 40), ("w", 640)] {
        let whole: Vec<f32> = (0..count).map(|k| ((k * 7 + k / 13) % 9) as f32 - 4.0).collect();
        executor.write(label, &whole).expect("room");
    }
    executor.run("run", &StepParameters::rows(0), 0).expect("it runs");
    executor.read("z").expect("a result")
}

/// Where timings are kept.
fn kept(folder: &Path) -> Option<Box<dyn Cache>> {
    Some(Box::new(TimingsFolder(folder.into())))
}

/// The only file of a folder.
fn file(folder: &Path) -> PathBuf {
    let mut files =
        fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    let file = files.next().expect("a file");
    assert_eq!(files.next(), None);
    file
}

/// Changes every timing in a cache so that another tile than the table's is the fastest.
fn other_tiles(cache: &Path) {
    let path = file(cache);
    let mut content: Value =
        serde_json::from_slice(&fs::read(&path).expect("read")).expect("it is JSON");
    for timing in content["timings"].as_array_mut().expect("a list") {
        let table = timing["table"].clone();
        let ns = timing["ns"].as_object().expect("times");
        let other = ns.keys().find(|tile| table != **tile).expect("there are several").clone();
        timing["ns"][&other] = json!(1);
        timing["tile"] = other.into();
    }
    fs::write(&path, content.to_string()).expect("written");
}

#[test]
fn any_tile_gives_the_same_product() {
    let Some(gpu) = gpu() else { return };
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let plan = plan(&gpu, kind);
        let wanted = run(&gpu, plan.clone());
        let classes = plan.classes();
        assert_eq!(classes.len(), 2);
        let mut seen = 0;
        for tile in engine::ops::variants::tiles(kind) {
            let choice = |(of, _, _): &(_, u64, String)| Choice {
                of: Clone::clone(of),
                tile: tile.variant.into(),
            };
            let chosen = plan.clone().choose(&Choices(classes.iter().map(choice).collect()));
            assert!(chosen.classes().iter().all(|(_, _, name)| name == tile.variant));
            assert_eq!(run(&gpu, chosen), wanted, "{}", tile.variant);
            seen += 1;
        }
        assert!(seen >= 4);
        // What is meant for another plan or another kind of adapter changes nothing.
        let (mut of, _, _) = classes[0].clone();
        let foreign =
            ["r8x8", "w64x64", "", "../x"].map(|tile| Choice { of: of.clone(), tile: tile.into() });
        let known = |c: &&Choice| engine::ops::variants::Tile::named(kind, &c.tile).is_none();
        let foreign: Vec<_> = foreign.iter().filter(known).cloned().collect();
        assert!(foreign.len() >= 3);
        assert_eq!(plan.clone().choose(&Choices(foreign)), plan);
        of.m += 1;
        let tile = classes[0].2.clone();
        assert_eq!(plan.clone().choose(&Choices(vec![Choice { of, tile }])), plan);
    }
}

#[test]
fn what_was_timed_is_kept() {
    let Some(gpu) = gpu() else { return };
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let (plan, cache) = (plan(&gpu, kind), folder());
        let first = Autotuner::new(gpu.adapter(), kept(cache.path()), LONG, &clock())
            .tune(&gpu, &plan)
            .expect("tuned");
        println!("{kind:?}: {first:#?}");
        assert_eq!(first.warnings, Vec::<String>::new());
        assert_eq!((first.classes, first.timings.len()), (2, 2));
        for timing in &first.timings {
            let [before, after] = timing.before_and_after();
            assert!(after > 0 && after <= before, "{timing:?}");
            assert!(!timing.differs() || after as f64 <= 0.95 * before as f64, "{timing:?}");
            assert_eq!(timing.ns.len(), engine::ops::variants::tiles(kind).count());
        }
        assert_eq!(run(&gpu, plan.clone().choose(&first.choices())), run(&gpu, plan.clone()));

        // Who has no time for it times nothing.
        let none = Autotuner::new(gpu.adapter(), None, Duration::ZERO, &clock())
            .tune(&gpu, &plan)
            .expect("tuned");
        assert_eq!((none.timings.len(), none.choices()), (0, Choices::default()));

        // Another process would do so too.
        let again = |folder: &Path| -> Autotuned {
            Autotuner::new(gpu.adapter(), kept(folder), LONG, &clock())
                .tune(&gpu, &plan)
                .expect("tuned")
        };
        assert_eq!(again(cache.path()).timings, first.timings);
        other_tiles(cache.path());
        let changed = again(cache.path());
        assert_eq!(changed.changed().count(), 2);
        assert_eq!(changed.choices().0.len(), 2);
        assert_ne!(plan.clone().choose(&changed.choices()), plan);
    }
}

#[test]
fn a_cache_that_is_none_is_ignored_with_a_word() {
    let Some(gpu) = gpu() else { return };
    let (plan, cache) = (plan(&gpu, AdapterKind::Cpu), folder());
    let tune = || {
        Autotuner::new(gpu.adapter(), kept(cache.path()), LONG, &clock())
            .tune(&gpu, &plan)
            .expect("tuned")
    };
    assert_eq!(tune().timings.len(), 2);
    let path = file(cache.path());
    let good = fs::read_to_string(&path).expect("read");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut content: Value = serde_json::from_str(&good).expect("it is JSON");
        change(&mut content);
        content.to_string()
    };
    for (content, said) in [
        (String::new(), "no list of timings"),
        (good[..good.len() / 2].into(), "no list of timings"),
        (changed(&|c| c["version"] = json!(99)), "its version is 99"),
        (changed(&|c| c["driver"] = json!("another")), "another adapter's"),
        (changed(&|c| c["shaders"] = json!("others")), "another adapter's"),
        (changed(&|c| c["timings"][0]["ns"] = json!({})), "are no times"),
        (changed(&|c| c["timings"][0]["ns"]["r4x4"] = json!(0)), "are no times"),
        (changed(&|c| c["timings"][0]["tile"] = json!("r9x9")), "are no times"),
        (" ".repeat(5 << 20), "has more than"),
    ] {
        fs::write(&path, content).expect("written");
        let tuned = tune();
        assert!(tuned.warnings.len() == 1 && tuned.warnings[0].contains(said), "{tuned:?}: {said}");
        assert!(tuned.warnings[0].contains(&path.display().to_string()));
        assert_eq!(tuned.timings.len(), 2, "it is timed anew");
        assert_eq!(tune().warnings, Vec::<String>::new(), "and written anew");
    }
    // A folder that cannot be made is one sentence, and the choice is made all the same.
    let taken = cache.path().join("file");
    fs::write(&taken, "").expect("written");
    let tuned = Autotuner::new(gpu.adapter(), kept(&taken.join("below")), LONG, &clock())
        .tune(&gpu, &plan)
        .expect("tuned");
    assert_eq!(tuned.timings.len(), 2);
    assert!(!tuned.warnings.is_empty());
}

/// The kernel choices of the newest checkpoint of a member.
fn frozen(member: &Path) -> Value {
    let newest = checkpoints(member).into_iter().max().expect("a checkpoint");
    let (_, metadata) = safetensors::read(&newest).expect("a checkpoint");
    let state: Value = serde_json::from_str(&metadata["taper"]).expect("it is JSON");
    state["kernel_choices"].clone()
}

#[test]
fn a_stage_keeps_the_tiles_that_it_began_with() {
    let Some(gpu) = gpu() else { return };
    if gpu.adapter().is_gl() {
        eprintln!(
            "skipped: OpenGL may take longer to compile the tiles than a run may take to time them"
        );
        return;
    }
    let cache = folder();
    let config = config(&[r#"methods=["vanilla"]"#]);
    let (autotune, at) = (Autotune::Always, Some(cache.path().to_owned()));
    let train = |out: &Path, run: &Run, options: Options, until: Option<&str>| {
        let (stop, mut heard) = (AtomicBool::new(false), Vec::<Entry>::new());
        let done = run.execute(&options, &stop, &mut |entry| {
            heard.push(entry.clone());
            if until.is_some_and(|kind| kinds(&heard).last().is_some_and(|last| last == kind)) {
                stop.store(true, Ordering::Relaxed);
            }
        });
        assert!(out.join("config.toml").is_file());
        (done, heard)
    };
    let first = folder();
    let run = Run::create(config.clone(), first.path(), &host()).expect("an empty folder");
    let options = Options { autotune, cache: at.clone(), ..Options::new(first.path()) };
    let (done, heard) = train(first.path(), &run, options, None);
    done.expect("trained");
    let tuned = heard.iter().find_map(|entry| match &entry.event {
        Event::Autotuned { classes, timed, .. } => Some((*classes, *timed)),
        _ => None,
    });
    let (classes, timed) = tuned.expect("it says what it timed");
    assert!(timed > 0 && timed <= classes);
    other_tiles(cache.path());

    // Stopped after its first step, without the cache and without an autotuner it goes on with what the checkpoint says.
    let second = folder();
    let out = second.path();
    let run = Run::create(config, out, &host()).expect("an empty folder");
    let options = Options { autotune, cache: at, ..Options::new(out) };
    let (done, heard) = train(out, &run, options, Some("stage_started"));
    assert!(matches!(done, Err(TrainError::Stopped(_))));
    let mut tuned = heard.iter().enumerate().filter_map(|(k, entry)| match &entry.event {
        Event::Autotuned { changed, .. } => Some((k, changed.clone())),
        _ => None,
    });
    let (place, changed) = tuned.next().expect("it says what it changed");
    assert!(changed.len() as u64 >= timed, "{changed:?}");
    assert!(changed.iter().all(|of| of.tile != of.table && of.tile_us < of.table_us));
    // Frozen before the first step.
    let after: Vec<_> = kinds(&heard)[place + 1..].iter().take(2).cloned().collect();
    assert_eq!(after, ["checkpoint", "stage_started"]);
    let member = out.join("members/vanilla-0");
    let choices = frozen(&member);
    assert_eq!(choices.as_array().map(Vec::len), Some(changed.len()));

    let (done, heard) = train(out, &run, Options::new(out), Some("step"));
    assert!(matches!(done, Err(TrainError::Stopped(_))));
    assert_eq!(frozen(&member), choices);
    let counts = kinds(&heard).into_iter().fold(BTreeMap::new(), |mut counts, kind| {
        *counts.entry(kind).or_insert(0) += 1;
        counts
    });
    // Another plan than the one that it began with would be warned of.
    assert_eq!((warnings(&heard), counts.get("autotuned")), (Vec::new(), None));
    let (done, heard) = train(out, &run, Options::new(out), None);
    done.expect("trained");
    assert_eq!(warnings(&heard), Vec::<String>::new());
}
