//! Teachers, models and data that were not made for each other. What both sides know is compared, what only one knows is taken over, and what
//! does not fit is refused before anything is trained, by every command that reads it.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use engine::{
    config::{self, Config, Interpolation, Mlp, Model, Resnet, Stem, Unit},
    data,
    device::StepParameters,
    event::{Entry, Event},
    formats::{ImageInput, ImageModel, ModelConfig, ModelFolder, safetensors},
    models,
    nn::{self, Extent, Tensor, Weights},
    random::Stream,
    step::{self, Objective, Training},
    train::{Run, Session, TrainError},
};
use support::{config, folder, model, taper, toml, train, try_train, warnings};
use taper_tests::{host, nets};

/// Side of the pictures.
const SIDE: u32 = 4;

/// Writes flat pictures: `train` and `test` of each class, whose colours are near the one that is given.
fn pictures(root: &Path, classes: &[(&str, [u8; 3])]) {
    let mut stream = Stream::new(&[11]);
    for (part, count) in [("train", 12), ("test", 4)] {
        for (class, colour) in classes {
            let folder = root.join(part).join(class);
            fs::create_dir_all(&folder).expect("made");
            for n in 0..count {
                let near = colour.map(|level| level + stream.between(0.0, 12.0) as u8);
                let path = folder.join(format!("{n}.png"));
                image::RgbImage::from_pixel(SIDE, SIDE, image::Rgb(near))
                    .save(path)
                    .expect("written");
            }
        }
    }
}

const CAT: (&str, [u8; 3]) = ("cat", [200, 20, 20]);
const DOG: (&str, [u8; 3]) = ("dog", [20, 200, 20]);
const EMU: (&str, [u8; 3]) = ("emu", [20, 20, 200]);
const ANT: (&str, [u8; 3]) = ("ant", [20, 20, 200]);

/// A small run on pictures.
fn on(data: &Path, from: &Path, changes: &[&str]) -> Config {
    let (path, from) =
        (format!("data.path={}", data.display()), format!("teacher.from={}", from.display()));
    let own = [
        path.as_str(),
        from.as_str(),
        "data.kind=folder",
        r#"methods=["start_only"]"#,
        "model.hidden=[3,3]",
        "model.blocks=[1,1]",
        "tune.lr=0.0",
    ];
    let batches =
        ["wide", "vanilla", "kd", "fitnets", "narrow", "tune"].map(|s| format!("{s}.batch=8"));
    let batches: Vec<&str> = batches.iter().map(String::as_str).collect();
    // The counts are those of the built-in images.
    let text = toml(&[&own[..], &batches, changes].concat());
    let kept = text
        .lines()
        .filter(|line| !line.starts_with("train_count") && !line.starts_with("test_count"));
    let kept: Vec<&str> = kept.collect();
    Config::from_toml(&kept.join("\n"), "the small run").unwrap_or_else(|error| panic!("{error}"))
}

/// What a member came to.
struct End {
    accuracy: f64,
    epochs: Option<f64>,
    teacher_epochs: Option<f64>,
}

fn end(entries: &[Entry], name: &str) -> End {
    let of = |entry: &Entry| match &entry.event {
        Event::MemberFinished { member, accuracy, epochs, teacher_epochs, .. }
            if member == name =>
        {
            Some(End { accuracy: *accuracy, epochs: *epochs, teacher_epochs: *teacher_epochs })
        }
        _ => None,
    };
    entries.iter().find_map(of).unwrap_or_else(|| panic!("{name} has no end"))
}

/// A teacher by hand for flat pictures: its three units are the means of red, green and blue, and a class is its colour.
fn by_colour(labels: [&str; 3], mean: f64, std: f64) -> ModelFolder {
    let colour = |label: &str| match label {
        "cat" => 0,
        "dog" => 1,
        _ => 2,
    };
    let mlp = Mlp { hidden: vec![3, 3], blocks: vec![1, 1], ..Mlp::default() };
    let config = ModelConfig::Images(ImageModel {
        architecture: "mlp".into(),
        model: Model::Mlp(mlp),
        widened: None,
        input: ImageInput {
            channels: 3,
            size: SIDE,
            mean: vec![mean; 3],
            std: vec![std; 3],
            interpolation: Interpolation::Area,
            crop: 0.875,
        },
        labels: labels.map(String::from).to_vec(),
    });
    let inputs = (SIDE * SIDE * 3) as usize;
    // In our order, (H, W, C), as a model folder holds them in memory.
    let first = (0..3)
        .flat_map(|unit| (0..inputs).map(move |at| f32::from(u8::from(at % 3 == unit)) / 16.0));
    let identity = |bias: f32| {
        let eye = (0..9).map(|at| f32::from(u8::from(at % 4 == 0))).collect();
        (Tensor::new([3, 3], eye), Tensor::new([3], vec![bias; 3]))
    };
    let head = labels
        .iter()
        .flat_map(|label| (0..3).map(move |unit| 8.0 * f32::from(u8::from(colour(label) == unit))));
    let second = identity(0.0);
    // A bias that lifts all normalised colours above the ReLU's 0.
    let weights = Weights::from([
        ("layers.0.weight".into(), Tensor::new([3, inputs], first.collect())),
        ("layers.0.bias".into(), Tensor::new([3], vec![4.0; 3])),
        ("layers.1.weight".into(), second.0),
        ("layers.1.bias".into(), second.1),
        ("head.weight".into(), Tensor::new([3, 3], head.collect())),
        ("head.bias".into(), Tensor::new([3], vec![0.0; 3])),
    ]);
    ModelFolder { weights, config, merge: None, card: String::new() }
}

/// Trains and tests with the teacher as it is.
fn trained(config: &Config) -> (tempfile::TempDir, Vec<Entry>) {
    let out = folder();
    let entries = train(config, out.path());
    (out, entries)
}

fn refused(config: &Config) -> String {
    let out = folder();
    let error = try_train(config, out.path()).expect_err("a refusal").to_string();
    assert!(!out.path().join("members").exists(), "{error}");
    error
}

#[test]
fn classes_are_matched_by_name() {
    let (data, teacher) = (folder(), folder());
    pictures(data.path(), &[CAT, DOG, EMU]);
    // In another order than the data's, which is that of the alphabet.
    by_colour(["emu", "cat", "dog"], 0.5, 0.25).write(teacher.path()).expect("written");
    let (out, entries) = trained(&on(data.path(), teacher.path(), &[]));
    assert_eq!(end(&entries, "teacher-0").accuracy, 100.0);
    // Started from the teacher and not trained.
    assert_eq!(end(&entries, "start_only-0").accuracy, 100.0);
    let mut kept = model(&out.path().join("artifacts")).config;
    assert_eq!(nets::images(&mut kept).labels, ["cat", "dog", "emu"]);
    assert_eq!(warnings(&entries), Vec::<String>::new());

    // One class is another: what each side has and the other lacks.
    let other = folder();
    pictures(other.path(), &[ANT, CAT, DOG]);
    let told = refused(&on(other.path(), teacher.path(), &[]));
    for part in [
        "teacher.from",
        "does not know `ant`",
        "knows `emu`, which the data lack",
        "(`emu`, `cat`, `dog`)",
        "(`ant`, `cat`, `dog`)",
    ] {
        assert!(told.contains(part), "{part} is missing: {told}");
    }
    // Fewer classes are not the teacher's either.
    let fewer = folder();
    pictures(fewer.path(), &[CAT, DOG]);
    assert!(refused(&on(fewer.path(), teacher.path(), &[])).contains("knows `emu`"));
}

/// A teacher of other classes teaches once it has a head for those of the data: this is fitted alone at first, then all of it.
#[test]
fn a_teacher_of_other_classes_gets_a_new_head() {
    let (data, teacher) = (folder(), folder());
    pictures(data.path(), &[ANT, DOG]);
    by_colour(["emu", "cat", "dog"], 0.5, 0.25).write(teacher.path()).expect("written");
    let set = ["teacher.head=new", "wide.epochs=30", "wide.lr=0.05", "wide.warmup=4"];
    let config = on(data.path(), teacher.path(), &set);
    let (out, entries) = trained(&config);
    // It is trained here, tested once, and so is the student that begins with it.
    let ends = entries.iter().filter(|entry| {
        matches!(&entry.event, Event::MemberFinished { member, .. } if member == "teacher-0")
    });
    assert_eq!(ends.count(), 1);
    let end = |name| end(&entries, name);
    assert_eq!((end("teacher-0").accuracy, end("teacher-0").epochs), (100.0, Some(30.0)));
    assert_eq!(
        (end("start_only-0").accuracy, end("start_only-0").teacher_epochs),
        (100.0, Some(30.0))
    );
    let stages = entries.iter().filter_map(|entry| match &entry.event {
        Event::StageStarted { member, stage, steps, .. } if member == "teacher-0" => {
            Some((stage.clone(), *steps))
        }
        _ => None,
    });
    // Three steps an epoch.
    assert_eq!(stages.collect::<Vec<_>>(), [("head".into(), 12), ("wide".into(), 78)]);
    let told = warnings(&entries).join("\n");
    assert!(told.contains("its head for 3 classes gives way to a fresh one for the 2"), "{told}");
    // Its folder says what it is now.
    let kept = model(&out.path().join("teachers/0"));
    let mut of = kept.config.clone();
    let image = nets::images(&mut of);
    assert_eq!(
        (&image.labels[..], image.widened),
        (&["ant".to_owned(), "dog".to_owned()][..], None)
    );
    assert!(models::check(&kept.config.network(), &kept.weights).is_ok());
    // The same bits, if it is stopped in between and goes on: see `training.rs` for stages in general.
    let again = trained(&config).0;
    let weights = |out: &Path| fs::read(out.join("teachers/0/model.safetensors")).expect("weights");
    assert_eq!(weights(out.path()), weights(again.path()));

    // Without a new head it is refused, with what helps; and a new one is for a teacher from elsewhere.
    let refusal = try_train(&on(data.path(), teacher.path(), &[]), folder().path());
    let hint = refusal.expect_err("other classes").hint().expect("a hint");
    assert!(hint.contains("teacher.head = \"new\""), "{hint}");
    let alone = support::config(&[]).with_set("teacher.head=new").expect_err("refused").to_string();
    assert!(alone.contains("`teacher.from` names none"), "{alone}");
}

/// While a head is warmed up, no other weight changes by a bit, and neither do statistics.
#[test]
fn only_the_head_moves_at_first() {
    let config = config(&support::RESNET);
    let data = data::open(&config, None, None).expect("the built-in images");
    let subject = data.subject();
    let network = models::network(&config.model, subject.input, subject.output);
    let recipe = config.wide.recipe();
    let of = Training {
        student: &network,
        teacher: None,
        task: data.task(),
        objective: Objective::Head,
        recipe: &recipe,
        precision: config.precision,
    };
    let gpu = support::gpu();
    let program = step::fit(&of, &gpu.target(), config.recompute).expect("a program");
    let mut session = Session::new(&gpu, program).expect("a session");
    let before = nn::fresh(&network, 1).expect("weights");
    session.load_student(&before).expect("loaded");
    let picks: Vec<usize> = (0..recipe.batch as usize).collect();
    let batch = data.train.gather(&picks).expect("a batch");
    let mut losses = Vec::new();
    for step in 0..8u32 {
        let live = StepParameters {
            step,
            lr: 0.05,
            t: (step + 1) as f32,
            ..StepParameters::rows(recipe.batch)
        };
        session.step(&batch, &live, step.into()).expect("a step");
        losses.extend(session.losses(true).expect("losses").into_iter().map(|(_, loss)| loss));
    }
    assert!(losses[7] < losses[0], "{losses:?}");
    let after = session.student().expect("weights");
    for (name, tensor) in &before {
        let moved = after[name].data != tensor.data;
        assert_eq!(moved, name.starts_with("fc."), "{name}");
    }
}

#[test]
fn classes_without_names_are_matched_by_their_place_and_it_is_said() {
    let (data, teacher) = (folder(), folder());
    pictures(data.path(), &[CAT, DOG, EMU]);
    let mut numbered = by_colour(["cat", "dog", "emu"], 0.5, 0.25);
    nets::images(&mut numbered.config).labels = ["0", "1", "2"].map(String::from).to_vec();
    numbered.write(teacher.path()).expect("written");
    let (_out, entries) = trained(&on(data.path(), teacher.path(), &[]));
    assert_eq!(end(&entries, "teacher-0").accuracy, 100.0);
    let told = warnings(&entries).join("\n");
    assert!(
        told.contains("the teacher has no names for its classes")
            && told.contains("`cat`, `dog`, `emu`"),
        "{told}"
    );
}

#[test]
fn what_a_teacher_says_of_its_pictures_is_taken_over() {
    let (data, teacher) = (folder(), folder());
    // Classes that differ in brightness only.
    pictures(data.path(), &[("dark", [10; 3]), ("light", [200; 3]), ("middle", [100; 3])]);
    // logits: dark −x, light x − c, middle between; right for its own mean and deviation and for no others.
    let mut of = by_colour(["dark", "light", "middle"], 0.485, 0.229);
    nets::images(&mut of.config).labels = ["dark", "light", "middle"].map(String::from).to_vec();
    let limits = [(0.216 - 0.485) / 0.229, (0.6 - 0.485) / 0.229];
    let (low, high) = (limits[0] as f32 + 4.0, limits[1] as f32 + 4.0);
    of.weights.insert(
        "head.weight".into(),
        Tensor::new([3, 3], vec![-1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    );
    of.weights.insert("head.bias".into(), Tensor::new([3], vec![low, -high, 0.0]));
    of.write(teacher.path()).expect("written");
    let (out, entries) = trained(&on(data.path(), teacher.path(), &[]));
    assert_eq!(end(&entries, "teacher-0").accuracy, 100.0);
    assert_eq!(end(&entries, "start_only-0").accuracy, 100.0);
    // It is said, written into the run's configuration, and into the student's.
    let said = entries.iter().find_map(|entry| match &entry.event {
        Event::Log { message } => Some(message.clone()),
        _ => None,
    });
    let said = said.expect("a line");
    assert!(
        said.contains("data.mean = [0.485, 0.485, 0.485]") && said.contains("data.crop = 0.875"),
        "{said}"
    );
    let text = fs::read_to_string(out.path().join("config.toml")).expect("a configuration");
    for line in
        ["size = 4", "interpolation = \"area\"", "crop = 0.875", "mean = [0.485, 0.485, 0.485]"]
    {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    let resumed = Run::resume(out.path(), &host()).expect("a run");
    assert_eq!(resumed.config().to_toml(), text);
    let mut kept = model(&out.path().join("artifacts")).config;
    let student = nets::images(&mut kept).input.clone();
    assert_eq!((student.mean, student.std, student.crop), (vec![0.485; 3], vec![0.229; 3], 0.875));

    // What is written and says otherwise is refused by its key; a rounded value is the same.
    for (change, parts) in [
        ("data.size=8", ["data.size", "8 is not", "4"]),
        ("data.interpolation=bilinear", ["data.interpolation", "\"bilinear\"", "\"area\""]),
        ("data.crop=1.0", ["data.crop", "1", "0.875"]),
    ] {
        let told = refused(&on(data.path(), teacher.path(), &[change]));
        assert!(parts.iter().all(|part| told.contains(part)), "{parts:?}: {told}");
    }
    let mean = |mean: &str| {
        let mean = format!("data.mean=[{mean}]");
        on(data.path(), teacher.path(), &[mean.as_str(), "data.std=[0.229, 0.229, 0.229]"])
    };
    let told = refused(&mean("0.5, 0.5, 0.5"));
    assert!(
        told.contains("data.mean: [0.5, 0.5, 0.5]") && told.contains("[0.485, 0.485, 0.485]"),
        "{told}"
    );
    trained(&mean("0.4850004, 0.485, 0.485"));
}

/// An MLP in PyTorch reads (C, H, W). Its logits are computed here in f64, and a picture's class is what they say.
#[test]
fn weights_alone_of_an_mlp_on_colours_are_pytorchs() {
    let (data, teacher) = (folder(), folder());
    let mut stream = Stream::new(&[3]);
    let mut draw = |count: usize, scale: f64| -> Vec<f32> {
        (0..count).map(|_| stream.between(-scale, scale) as f32).collect()
    };
    let pixels = (SIDE * SIDE) as usize;
    let weights = Weights::from([
        ("layers.0.weight".into(), Tensor::new([6, 3 * pixels], draw(18 * pixels, 1.0))),
        ("layers.0.bias".into(), Tensor::new([6], draw(6, 0.1))),
        ("head.weight".into(), Tensor::new([2, 6], draw(12, 1.0))),
        ("head.bias".into(), Tensor::new([2], draw(2, 0.1))),
    ]);
    let dot =
        |row: &[f32], x: &[f64]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
    let layer = |name: &str, x: &[f64]| -> Vec<f64> {
        let (w, b) = (&weights[&format!("{name}.weight")], &weights[&format!("{name}.bias")]);
        w.data.chunks(x.len()).zip(&b.data).map(|(row, b)| dot(row, x) + f64::from(*b)).collect()
    };
    let mut counts = [0, 0];
    let mut pixel = Stream::new(&[4]);
    while counts.iter().any(|&count| count < 30) {
        let picture = image::RgbImage::from_fn(SIDE, SIDE, |_, _| {
            image::Rgb([0; 3].map(|_: u8| pixel.between(0.0, 256.0) as u8))
        });
        let plane = |channel: usize| {
            picture.pixels().map(move |p| (f64::from(p.0[channel]) / 255.0 - 0.5) / 0.25)
        };
        let x: Vec<f64> = (0..3).flat_map(plane).collect();
        let hidden: Vec<f64> = layer("layers.0", &x).into_iter().map(|h| h.max(0.0)).collect();
        let logits = layer("head", &hidden);
        let class = usize::from(logits[1] > logits[0]);
        // Far enough from the border that rounding does not decide.
        if (logits[0] - logits[1]).abs() < 0.01 || counts[class] == 30 {
            continue;
        }
        let part = if counts[class] < 10 { "test" } else { "train" };
        let place = data.path().join(part).join(["a", "b"][class]);
        fs::create_dir_all(&place).expect("made");
        picture.save(place.join(format!("{}.png", counts[class]))).expect("written");
        counts[class] += 1;
    }
    let file = teacher.path().join("mlp.safetensors");
    safetensors::write(&file, &weights, &safetensors::pytorch()).expect("written");
    let own = [r#"methods=["kd"]"#, "model.hidden=[3,3]", "kd.steps=2", "data.size=4"];
    let given = ["data.mean=[0.5, 0.5, 0.5]", "data.std=[0.25, 0.25, 0.25]"];
    let (_out, entries) = trained(&on(data.path(), &file, &[&own[..], &given].concat()));
    assert_eq!(end(&entries, "teacher-0").accuracy, 100.0);
    let told = warnings(&entries).join("\n");
    assert!(told.contains("no names") && !told.contains("data.mean"), "{told}");

    // Without them: what to set, and that classes go by their place.
    let (_out, entries) = trained(&on(data.path(), &file, &own));
    let told = warnings(&entries).join("\n");
    for part in [
        "data.mean=[0.485, 0.456, 0.406]",
        "data.std=[0.229, 0.224, 0.225]",
        "by their place",
        "`a`, `b`",
    ] {
        assert!(told.contains(part), "{part} is missing: {told}");
    }
    // An MLP's size can be told, and is not guessed.
    let out = folder();
    let error = try_train(&on(data.path(), &file, &own[..3]), out.path()).expect_err("refused");
    assert!(error.to_string().contains("[6, 48]"), "{error}");
    assert_eq!(
        error.hint().as_deref(),
        Some("its pictures seem to have 4×4 pixels: set data.size=4")
    );
    // Nobody knows what it cost.
    assert_eq!(end(&entries, "teacher-0").epochs, None);
    assert_eq!(end(&entries, "kd-0").teacher_epochs, None);
}

fn command(arguments: &[&str]) -> Output {
    Command::new(taper()).args(arguments).env("NODEVICE_SELECT", "1").output().expect("started")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// A residual teacher of seven classes in a folder of its own.
fn residual(unit: Unit, stem: Stem, blocks: &[u32], channels: u32) -> (tempfile::TempDir, PathBuf) {
    let config = Resnet { width: 1.0, base: 8, unit, stem, blocks: blocks.to_vec() };
    let out = folder();
    let mut of = nets::model("resnet", Model::Resnet(config), channels, 16, None);
    nets::images(&mut of.config).labels = (0..10).map(|class| class.to_string()).collect();
    of.weights = nets::weights(&of.config.network(), 5);
    of.write(out.path()).expect("written");
    let path = out.path().to_path_buf();
    (out, path)
}

/// `inspect`, the pre-flight and `run` refuse it alike, before anything is trained.
#[track_caller]
fn refused_everywhere(from: &Path, changes: &[&str], parts: &[&str]) {
    let from = format!("teacher.from={}", from.display());
    let own = [
        from.as_str(),
        "model.arch=resnet",
        "model.base=4",
        "model.stem=cifar",
        "model.blocks=[1,1]",
        "data.size=16",
    ];
    // As a user writes it: without what the teacher may say.
    let written = toml(&[&own[..], changes].concat());
    let place = folder();
    let (file, out) = (place.path().join("run.toml"), place.path().join("out"));
    fs::write(&file, written).expect("written");
    let says = |told: &str, who: &str| {
        for part in parts {
            assert!(told.contains(part), "{who}: {part} is missing: {told}");
        }
    };
    for arguments in [&["inspect", text(&file)][..], &["run", text(&file), "--out", text(&out)]] {
        let output = command(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{} ended otherwise: {told}", arguments[0]);
        assert!(told.lines().any(|line| line.starts_with("error: ")), "{told}");
        says(&told, arguments[0]);
    }
    assert!(!out.exists(), "the run has left something");
    let output = command(&["preflight", text(&file)]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let problem = &found["problem"];
    assert_eq!(problem["field"], "teacher.from", "{problem}");
    says(&problem.to_string().replace("\\\"", "\""), "preflight");
}

#[test]
fn a_teacher_that_does_not_fit_is_refused_by_its_block_everywhere() {
    let (_kept, basic) = residual(Unit::Basic, Stem::Cifar, &[1, 1], 1);
    for method in ["win", "start_only"] {
        let method = format!("methods=[\"{method}\"]");
        refused_everywhere(&basic, &[&method], &["block 1", "layer1.0", "3 convolutions", "has 2"]);
    }
    let (_kept, large) = residual(Unit::Bottleneck, Stem::Imagenet, &[1, 1], 1);
    for method in ["win", "start_only", "fitnets"] {
        let method = format!("methods=[\"{method}\"]");
        let parts = ["block 1", "16 × 16", "4 × 4", "resolutions"];
        refused_everywhere(&large, &[&method], &parts);
    }
    // Half of the student's blocks is more than the teacher has.
    let (_kept, short) = residual(Unit::Bottleneck, Stem::Cifar, &[1], 1);
    let deep = ["model.blocks=[1,1,1]", r#"methods=["fitnets"]"#];
    refused_everywhere(&short, &deep, &["block 2", "the student has 3 blocks, the teacher 1"]);
    refused_everywhere(
        &short,
        &[r#"methods=["win"]"#],
        &["the student has 2 blocks, the teacher 1"],
    );
    // Two layers over three blocks leave the second empty, from which a hint is taken.
    let place = folder();
    let mlp = Mlp { hidden: vec![4, 4], blocks: vec![1, 1], ..Mlp::default() };
    let mut shallow = nets::model("mlp", Model::Mlp(mlp), 1, 16, None);
    nets::images(&mut shallow.config).labels = (0..10).map(|class| class.to_string()).collect();
    shallow.weights = nets::weights(&shallow.config.network(), 5);
    shallow.write(&place.path().join("shallow")).expect("written");
    let deep = ["model.arch=mlp", "model.hidden=[8,8,8]", "model.blocks=[1,1,1]"];
    for method in ["fitnets", "win"] {
        let method = format!("methods=[\"{method}\"]");
        let set = [&deep[..], &[method.as_str()]].concat();
        refused_everywhere(&place.path().join("shallow"), &set, &["block 2"]);
    }
    // Other pictures: from its folder, and from its weights alone.
    let (_kept, colours) = residual(Unit::Bottleneck, Stem::Cifar, &[1, 1], 3);
    let set = ["methods=[\"kd\"]"];
    refused_everywhere(&colours, &set, &["pictures of 3 channels, and the data's have 1"]);
    let alone = place.path().join("alone.safetensors");
    fs::copy(colours.join("model.safetensors"), &alone).expect("copied");
    refused_everywhere(&alone, &set, &["block 1", "conv1.weight", "[8, 3, 3, 3]", "[8, 1, 3, 3]"]);
    // Another number of channels inside.
    let mut torn = model(&basic);
    let inner = torn.weights.get_mut("layer2.0.conv2.weight").expect("there");
    *inner = Tensor::new([15, 3, 3, 16], vec![0.0; 15 * 9 * 16]);
    let bad = place.path().join("bad.safetensors");
    let weights = torn.config.network().to_file(&torn.weights);
    safetensors::write(&bad, &weights, &safetensors::pytorch()).expect("written");
    refused_everywhere(&bad, &set, &["layer2.0 of block 2", "15 channels"]);
}

/// What is there is shown all the same.
#[test]
fn a_batch_larger_than_the_data_is_told_before_the_run() {
    let (data, place) = (folder(), folder());
    pictures(data.path(), &[CAT, DOG]);
    let file = place.path().join("run.toml");
    let set = ["data.kind=folder", "data.train_count=24", "data.test_count=8", "vanilla.batch=32"];
    let from = format!("data.path={}", data.path().display());
    let mut config = config(&[]);
    for set in set.iter().copied().chain([from.as_str(), r#"methods=["vanilla"]"#]) {
        config = config.with_set(set).expect("valid");
    }
    fs::write(&file, config.to_toml()).expect("written");
    let output = command(&["inspect", text(&file), "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["data"]["train"]["counts"], serde_json::json!([12, 12]));
    let notes = found["notes"].to_string();
    assert!(
        notes.contains("a run would be refused: vanilla.batch: 32 of stage vanilla"),
        "{notes}"
    );
}

#[test]
fn a_pickle_and_a_missing_file_are_refused_everywhere() {
    let place = folder();
    let file = place.path().join("resnet.pt");
    for head in [
        &b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl"[..],
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
    ] {
        fs::write(&file, head).expect("written");
        let parts = ["`resnet.pt` is a pickle", "save_file", "resnet.safetensors"];
        refused_everywhere(&file, &[], &parts);
    }
    let none = place.path().join("none.safetensors");
    refused_everywhere(&none, &[], &["none.safetensors", "holds no teacher", "not there"]);
    // A model folder whose description is damaged is not taken for bare weights.
    let (_kept, whole) = residual(Unit::Bottleneck, Stem::Cifar, &[1, 1], 1);
    fs::write(whole.join("config.json"), r#"{"model": {"arch": "resnet"}, "size": "large"}"#)
        .expect("written");
    refused_everywhere(&whole, &[], &["config.json", "damaged"]);
}

#[test]
fn a_teacher_is_shown_as_it_is_and_tested_once() {
    let (_kept, teacher) = residual(Unit::Bottleneck, Stem::Cifar, &[2, 1], 1);
    let place = folder();
    let file = place.path().join("run.toml");
    let from = format!("teacher.from={}", teacher.display());
    let own = [
        from.as_str(),
        r#"methods=["kd"]"#,
        "seeds=[0,1]",
        "model.arch=resnet",
        "model.base=4",
        "model.stem=cifar",
        "model.blocks=[1,1]",
        "kd.steps=1",
    ];
    fs::write(&file, toml(&own)).expect("written");
    let output = command(&["inspect", text(&file), "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let params = model(&teacher).config.network().shapes().expect("shapes").param_count();
    assert_eq!(found["teacher"]["params"], params);
    assert_eq!(found["input"]["size"], 16);
    assert!(found["notes"].to_string().contains("data.mean = [0.5]"), "{found}");
    let output = command(&["preflight", text(&file)]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&found["problem"], &found["teacher"]["params"]),
        (&serde_json::Value::Null, &params.into())
    );
    assert_eq!(found["framed"]["mean"], serde_json::json!([0.5]));

    // Two seeds, one teacher: it is one row, and the cost that nobody knows is none.
    let out = place.path().join("out");
    let output = command(&["run", text(&file), "--out", text(&out), "--no-autotune"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = command(&["compare", text(&out), "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = found["teachers"].as_array().expect("teachers");
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["seeds"], &rows[0]["params"]), (&1.into(), &params.into()));
    assert!(rows[0]["accuracy_mean"].is_number() && rows[0]["epochs"].is_null(), "{found}");
    assert!(found["rows"][0]["teacher_epochs"].is_null() && found["rows"][0]["epochs"].is_number());

    // Of a run it is known, for its teacher as for a student of it.
    let again = place.path().join("again");
    let student = out.join("members/kd-1/artifacts");
    let set = format!("teacher.from={}", student.display());
    let output =
        command(&["run", text(&file), "--set", &set, "--out", text(&again), "--no-autotune"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = command(&["compare", text(&again), "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(
        found["teachers"][0]["epochs"].is_null(),
        "its own teacher's cost is not known: {found}"
    );
}

/// A ResNet of `classes` classes as `timm.models.save_for_hf` writes it; it always answers the first.
fn of_timm(labels: &[&str], classes: u32) -> tempfile::TempDir {
    let of = Resnet {
        width: 1.0,
        base: 4,
        unit: Unit::Bottleneck,
        stem: Stem::Cifar,
        blocks: vec![1, 1],
    };
    let network = models::network(&Model::Resnet(of), Extent::Map(SIDE, SIDE, 3), classes);
    let out = folder();
    let file = out.path().join("model.safetensors");
    let mut weights = nets::weights(&network, 7);
    weights.get_mut("fc.bias").expect("a bias").data[0] = 1e4;
    safetensors::write(&file, &network.to_file(&weights), &safetensors::pytorch())
        .expect("written");
    let config = serde_json::json!({
        "architecture": "resnet", "num_classes": classes, "label_names": labels,
        "pretrained_cfg": {
            "input_size": [3, SIDE, SIDE], "interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center",
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "first_conv": "conv1", "classifier": "fc"
        }
    });
    fs::write(out.path().join("config.json"), config.to_string()).expect("written");
    out
}

#[test]
fn a_folder_of_timms_says_how_its_pictures_were_read_and_what_its_classes_are() {
    let data = folder();
    pictures(data.path(), &[CAT, DOG, EMU]);
    for surplus in ["dog/0", "dog/1", "emu/0", "emu/1", "emu/2"] {
        fs::remove_file(data.path().join(format!("test/{surplus}.png"))).expect("removed");
    }
    let thin = [
        "model.arch=resnet",
        "model.base=4",
        "model.stem=cifar",
        "model.blocks=[1,1]",
        "tune.steps=1",
    ];
    // Its head is in another order than the folder's classes.
    let teacher = of_timm(&["emu", "cat", "dog"], 3);
    let (out, entries) = trained(&on(data.path(), teacher.path(), &thin));
    let text = fs::read_to_string(out.path().join("config.toml")).expect("a configuration");
    for line in
        ["size = 4", "interpolation = \"bilinear\"", "crop = 0.875", "mean = [0.485, 0.456, 0.406]"]
    {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    let warned = warnings(&entries);
    let said = warned.iter().any(|line| line.contains("interpolation = \"bicubic\""));
    assert!(said && warned.iter().all(|line| !line.contains("by their place")), "{warned:?}");
    // It calls everything an emu, of which the test pictures are one in seven.
    assert!((end(&entries, "teacher-0").accuracy - 100.0 / 7.0).abs() < 1e-9);

    let other = [
        "model.arch=resnet",
        "model.base=4",
        "model.stem=cifar",
        "model.blocks=[1,1]",
        "data.crop=1.0",
    ];
    let told = refused(&on(data.path(), teacher.path(), &other));
    assert!(told.contains("data.crop") && told.contains("0.875"), "{told}");
    let told = refused(&on(data.path(), of_timm(&["cat", "dog", "emu"], 5).path(), &thin));
    assert!(told.contains("names 3 classes") && told.contains("5 outputs"), "{told}");
    let told = refused(&on(data.path(), of_timm(&["cat", "dog", "ant"], 3).path(), &thin));
    assert!(told.contains("ant") && told.contains("emu"), "{told}");
}

/// A run knows what its teachers cost, wherever they are taken from.
#[test]
fn the_cost_of_a_teacher_is_that_of_its_run() {
    let first = folder();
    let entries = train(&config(&[r#"methods=["vanilla","kd"]"#]), first.path());
    let cost = end(&entries, "teacher-0").epochs.expect("trained here");
    assert!(cost > 1.9, "{cost}");
    for (from, wanted) in [
        (first.path().to_path_buf(), cost),
        (first.path().join("teachers/0"), cost),
        (
            first.path().join("members/vanilla-0"),
            end(&entries, "vanilla-0").epochs.expect("trained"),
        ),
        // A student's cost is its own and its teacher's. Without WIN the first method is kept.
        (
            first.path().join("members/kd-0/artifacts"),
            end(&entries, "kd-0").epochs.expect("trained") + cost,
        ),
        (first.path().join("artifacts"), end(&entries, "vanilla-0").epochs.expect("trained")),
    ] {
        let from = format!("teacher.from={}", from.display());
        let out = folder();
        let entries = train(&config(&[&from, r#"methods=["kd"]"#, "kd.steps=1"]), out.path());
        assert_eq!(end(&entries, "teacher-0").epochs, Some(wanted), "{from}");
        assert_eq!(end(&entries, "kd-0").teacher_epochs, Some(wanted), "{from}");
    }
    // Another seed than the run has: its first teacher, and that is said.
    let from = format!("teacher.from={}", first.path().display());
    let out = folder();
    let entries =
        train(&config(&[&from, r#"methods=["kd"]"#, "kd.steps=1", "seeds=[7]"]), out.path());
    assert!(warnings(&entries).join("\n").contains("no teacher of seed 7"), "{entries:?}");
}

/// What stands between two blocks is compared with the run's own layers as well.
#[test]
fn a_map_of_layers_is_checked_before_anything_is_trained() {
    let out = folder();
    let error = try_train(&config(&["teacher.layer_map=[0,1]"]), out.path()).expect_err("refused");
    assert!(matches!(error, TrainError::Network(_)), "{error:?}");
    assert!(error.to_string().contains("teacher.layer_map has 2 entries"), "{error}");
    assert!(!out.path().join("teachers").exists());
}

/// `taper eval` of the model by colour on pictures: accuracy, loss, and how many of how many; or what it was refused with.
fn scored(model: &Path, data: Option<&Path>) -> Result<serde_json::Value, String> {
    let mut arguments = vec!["eval", text(model), "--json"];
    if let Some(data) = data {
        arguments.extend(["--data", text(data)]);
    }
    let output = command(&arguments);
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).expect("JSON")),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[track_caller]
fn assert_whole(found: &serde_json::Value, count: u64) {
    assert_eq!((&found["count"], &found["there"]), (&count.into(), &count.into()), "{found}");
    assert_eq!(found["accuracy"], 100.0, "{found}");
    assert!(found["skipped"].as_object().is_some_and(serde_json::Map::is_empty), "{found}");
}

#[test]
fn a_test_set_may_have_some_of_the_classes() {
    let (model, data) = (folder(), folder());
    by_colour(["cat", "dog", "emu"], 0.5, 0.25).write(model.path()).expect("written");
    pictures(data.path(), &[DOG, EMU]);
    let found = scored(model.path(), Some(data.path())).expect("scored");
    assert_whole(&found, 8);
    // The loss is that of the right classes: their logits are the largest by far.
    assert!(found["loss"].as_f64().is_some_and(|loss| loss < 0.1), "{found}");
    // All the model's classes are answers: what looks like a cat is no dog.
    let wrong = folder();
    pictures(wrong.path(), &[("dog", CAT.1), EMU]);
    assert_eq!(scored(model.path(), Some(wrong.path())).expect("scored")["accuracy"], 50.0);
    let other = folder();
    pictures(other.path(), &[ANT, DOG]);
    let told = scored(model.path(), Some(other.path())).expect_err("unknown");
    assert!(told.contains("does not know `ant`; it knows `cat`, `dog`, `emu`"), "{told}");
}

#[test]
fn all_of_foreign_data_are_scored() {
    // A run on fewer pictures than there are, whose rules for splitting are its own.
    let (data, teacher, out) = (folder(), folder(), folder());
    pictures(data.path(), &[CAT, DOG, EMU]);
    by_colour(["cat", "dog", "emu"], 0.5, 0.25).write(teacher.path()).expect("written");
    let counts = ["data.train_count=24", "data.test_count=6"];
    let mut config = on(data.path(), teacher.path(), &[]);
    config = counts.iter().fold(config, |config, set| config.with_set(set).expect("valid"));
    train(&config, out.path());
    let own = scored(out.path(), None).expect("scored");
    assert_eq!((&own["count"], &own["there"]), (&6.into(), &12.into()), "{own}");
    assert_eq!(own["accuracy"], 100.0);

    // The test part, where both are there.
    assert_whole(&scored(out.path(), Some(data.path())).expect("scored"), 12);
    // A lone part, whole; class folders alone, whole.
    let (lone, classes) = (folder(), folder());
    fs::rename(data.path().join("train"), lone.path().join("test")).expect("moved");
    assert_whole(&scored(out.path(), Some(lone.path())).expect("scored"), 36);
    for class in ["cat", "dog", "emu"] {
        fs::rename(lone.path().join("test").join(class), classes.path().join(class))
            .expect("moved");
    }
    assert_whole(&scored(out.path(), Some(classes.path())).expect("scored"), 36);
    // An archive of that.
    let file = lone.path().join("pictures.tar");
    let mut archive = tar::Builder::new(fs::File::create(&file).expect("made"));
    archive.append_dir_all("test", classes.path()).expect("packed");
    archive.finish().expect("packed");
    assert_whole(&scored(out.path(), Some(&file)).expect("scored"), 36);
    // What cannot be read is there as well, but not what cannot be read of another part.
    let parts = folder();
    pictures(parts.path(), &[CAT, DOG, EMU]);
    for name in ["train/cat/cut.png", "train/dog/cut.png", "test/cat/cut.png"] {
        fs::write(parts.path().join(name), b"\x89PNG\r\n\x1a\n").expect("written");
    }
    let file = out.path().join("config.toml");
    let lenient = config::read(&file).expect("valid").with_set("data.on_error=skip");
    fs::write(&file, lenient.expect("valid").to_toml()).expect("written");
    let found = scored(out.path(), Some(parts.path())).expect("scored");
    assert_eq!((&found["count"], &found["there"]), (&12.into(), &13.into()), "{found}");
    assert_eq!(found["skipped"]["unreadable"]["count"], 3);
    // A line tells people, with what was left out.
    fs::write(classes.path().join("cat/notes.txt"), "").expect("written");
    let output = command(&["eval", text(out.path()), "--data", text(classes.path())]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("accuracy 100.00 %") && told.contains("36 of 36 images"), "{told}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("notes.txt"), "{told}");
}

/// CIFAR's own archive is known by the names in it.
#[test]
fn an_archive_of_records_is_recognised() {
    let (model, place) = (folder(), folder());
    let mut of = by_colour(["cat", "dog", "emu"], 0.5, 0.25);
    nets::images(&mut of.config).labels = (0..10).map(|class| class.to_string()).collect();
    let wide = Tensor::new([10, 3], vec![0.0; 30]);
    of.weights.insert("head.weight".into(), wide);
    // Whatever it sees, it answers 7.
    let bias = (0..10).map(|class| f32::from(u8::from(class == 7))).collect();
    of.weights.insert("head.bias".into(), Tensor::new([10], bias));
    of.write(model.path()).expect("written");
    let file = place.path().join("cifar-10-binary.tar");
    let mut archive = tar::Builder::new(fs::File::create(&file).expect("made"));
    let mut add = |name: &str, labels: &[u8]| {
        let bytes: Vec<u8> =
            labels.iter().flat_map(|&label| [&[label][..], &[9; 3072]].concat()).collect();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive
            .append_data(&mut header, format!("cifar-10-batches-bin/{name}"), &bytes[..])
            .expect("packed");
    };
    for n in 1..=5 {
        add(&format!("data_batch_{n}.bin"), &[0, 1]);
    }
    add("test_batch.bin", &[7, 7, 3, 7]);
    archive.finish().expect("packed");
    let found = scored(model.path(), Some(&file)).expect("scored");
    assert_eq!((&found["count"], &found["accuracy"]), (&4.into(), &75.0.into()), "{found}");
}
