//! Plans in a browser: the page's executor in Chromium, on its software adapter, against ours.

mod support;

use std::{fs, path::Path, process::Command};

use engine::{
    batch::Batch,
    config::{Mlp, Model, Precision, Recipe, Resnet, Stem, Unit},
    data::text::{Tokenizer, answers::Choosing},
    device::StepParameters,
    formats::{ModelConfig, ModelFolder, TextModel, safetensors, sums},
    models::BertHead,
    nn::{Network, Weights},
    ops::AdapterKind,
    plan::Target,
    random::Stream,
    step::{Objective, PlanDocument, Program, Task, Training, program},
    train::{Session, model::Trained},
};
use image::{Rgb, RgbImage, codecs::jpeg::JpegEncoder};
use serde_json::{Value as Json, json};
use support::taper;
use taper_tests::{
    close::{largest, pairs},
    gpu, nets, texts, tools,
};

const STEPS: usize = 20;
const BATCH: u32 = 9;

/// A network that is trained twice.
struct Lesson {
    name: &'static str,
    network: Network,
    recipe: Recipe,
    weights: Weights,
    /// The network whose outputs it follows as well.
    teacher: Option<(Network, Weights)>,
    batches: Vec<Batch>,
}

impl Lesson {
    fn new(name: &'static str, network: Network, lr: f64) -> Self {
        let recipe = Recipe { lr, weight_decay: 1e-2, ..nets::recipe(BATCH) };
        let weights = nets::weights(&network, 3);
        let input: u32 = network.input.batch(BATCH).iter().product();
        let mut stream = Stream::new(&[4]);
        let mut batch = || {
            let labels: Vec<u32> =
                (0..BATCH).map(|_| stream.below(nets::CLASSES as usize) as u32).collect();
            let per_row = (input / BATCH) as usize;
            // A class has a mean of its own, so that there is something to learn.
            let images = (0..input as usize)
                .map(|k| (stream.normal() + f64::from(labels[k / per_row])) as f32)
                .collect();
            nets::pictures(images, labels)
        };
        let batches = (0..STEPS).map(|_| batch()).collect();
        Self { name, network, recipe, weights, teacher: None, batches }
    }

    fn taught_by(self, teacher: Network) -> Self {
        let weights = nets::weights(&teacher, 5);
        Self { teacher: Some((teacher, weights)), ..self }
    }

    fn program(&self) -> Program {
        let (student, recipe, precision) = (&self.network, &self.recipe, Precision::F32);
        let teacher = self.teacher.as_ref().map(|(network, _)| network);
        let objective = match teacher {
            Some(_) => Objective::Distill { alpha: 0.5, temperature: 3.0 },
            None => Objective::Labels,
        };
        let of = Training { student, teacher, task: Task::Classify, objective, recipe, precision };
        program(&of, &Target::web(AdapterKind::Gpu)).expect("a plan")
    }

    /// What the browser is given.
    fn write(&self, folder: &Path) {
        let file = |end: &str| folder.join(format!("{}.{end}", self.name));
        let program = self.program();
        let plan = PlanDocument::of(&program).expect("a document");
        fs::write(file("plan.json"), serde_json::to_string(&plan).expect("JSON")).expect("written");
        let write = |end: &str, weights: &Weights| {
            safetensors::write(&file(end), weights, &safetensors::pytorch()).expect("written");
        };
        write("safetensors", &self.network.to_file(&self.weights));
        if let (Some(folded), Some((_, weights))) = (&program.teacher, &self.teacher) {
            write("teacher.safetensors", &folded.to_file(weights).expect("weights"));
        }
        for (name, end) in [("images", "images.f32"), ("labels", "labels.u32")] {
            let fields = self.batches.iter().map(|batch| batch.field(name).expect("a field"));
            let bytes = fields.flat_map(|field| field.bytes().to_vec());
            fs::write(file(end), bytes.collect::<Vec<u8>>()).expect("written");
        }
    }

    /// The losses of the same plan on our adapter.
    fn losses(&self) -> Option<Vec<f32>> {
        let mut session = Session::new(&gpu()?, self.program()).expect("the device holds it");
        session.load_student(&self.weights).expect("weights");
        if let Some((_, weights)) = &self.teacher {
            session.load_teacher(weights).expect("weights");
        }
        session.set_moments(None).expect("moments");
        for (step, batch) in (0..).zip(&self.batches) {
            let (lr, t) = (self.recipe.lr as f32, (step + 1) as f32);
            let live = StepParameters { step, lr, t, ..StepParameters::rows(BATCH) };
            session.step(batch, &live, step.into()).expect("a step");
        }
        Some(session.losses(true).expect("losses").into_iter().map(|(_, loss)| loss).collect())
    }
}

/// Runs a script of `tests/browser` on a folder; the JSON that it prints.
fn script(browser: &tools::Browser, name: &str, folder: &Path) -> Json {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser").join(name);
    let output = Command::new(&browser.node)
        .env("TAPER_CHROMIUM", &browser.chromium)
        .arg(script)
        .arg(folder)
        .output()
        .expect("node starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// SGD with momentum and weight decay; a network with batch norm, whose statistics move in place; one that follows a teacher, whose batch
/// norms are folded.
#[test]
fn twenty_steps_in_chromium_are_ours() {
    let Some(browser) = tools::browser() else { return };
    let lessons =
        [
            Lesson::new("mlp", nets::mlp(&[10, 8, 6], &[1, 1, 1]), 0.05),
            Lesson::new("resnet", nets::resnet(Unit::Basic, 4, &[1, 1]), 0.02),
            Lesson::new("taught", nets::resnet(Unit::Basic, 4, &[1, 1]), 0.02)
                .taught_by(nets::resnet(Unit::Basic, 6, &[1, 1])),
        ];
    let folder = tempfile::tempdir().expect("a folder");
    lessons.iter().for_each(|lesson| lesson.write(folder.path()));
    let cases: Vec<_> = lessons
        .iter()
        .map(|l| {
            let (lr, teacher) = (l.recipe.lr, l.teacher.is_some());
            json!({ "name": l.name, "steps": STEPS, "batch": BATCH, "lr": lr, "teacher": teacher })
        })
        .collect();
    fs::write(folder.path().join("cases.json"), json!(cases).to_string()).expect("written");
    let results = script(&browser, "train.mjs", folder.path());
    let results = results.as_array().expect("a list");
    assert_eq!(results.len(), lessons.len());
    for (lesson, result) in lessons.iter().zip(results) {
        let Some(ours) = lesson.losses() else { return };
        let theirs: Vec<f64> =
            result["losses"].as_array().expect("a list").iter().filter_map(Json::as_f64).collect();
        assert_eq!(theirs.len(), STEPS, "{result}");
        let off = largest(pairs(&ours, &theirs).map(|(a, b)| (a - b).abs()));
        println!(
            "{} on {}: loss {:.4} → {:.4}, off by {off:.1e}",
            lesson.name,
            result["adapter"],
            theirs[0],
            theirs[STEPS - 1]
        );
        assert!(off <= 1e-4, "{}: {theirs:?}, natively {ours:?}", lesson.name);
        assert!(theirs[STEPS - 1] < 0.9 * theirs[0], "{}: it does not learn", lesson.name);
    }
}

/// A picture of smooth colours with some noise.
fn picture(width: u32, height: u32) -> RgbImage {
    let mut stream = Stream::new(&[width.into(), height.into()]);
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |a: f64, b: f64| 127.0 + 100.0 * (a * f64::from(x) + b * f64::from(y)).sin();
        Rgb([wave(0.21, 0.05), wave(0.04, 0.17), wave(0.11, -0.13)]
            .map(|light| (light + stream.between(0.0, 25.0)) as u8))
    })
}

/// A JPEG with a camera's note that it lies on its side.
fn turned_jpeg(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 90)).expect("a JPEG");
    // One entry of TIFF: orientation (0x0112), a short, 6: the first row is the right side.
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    bytes.splice(2..2, exif.iter().copied());
    bytes
}

/// `taper predict --json`: (label, probability) of the five most probable classes.
fn predict(model: &Path, image: &Path) -> Vec<(String, f64)> {
    let output = Command::new(taper())
        .args(["predict", "--json"])
        .args([model, image])
        .env("NODEVICE_SELECT", "1")
        .output()
        .expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    top(&serde_json::from_slice::<Json>(&output.stdout).expect("JSON")["top"])
}

fn top(list: &Json) -> Vec<(String, f64)> {
    let class = |class: &Json| {
        let label = class["label"].as_str().expect("a label").to_owned();
        (label, class["probability"].as_f64().expect("a number"))
    };
    list.as_array().expect("a list").iter().map(class).collect()
}

#[test]
fn try_it_answers_as_taper_predict() {
    let Some(browser) = tools::browser() else { return };
    if gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let blocks = vec![1, 1];
    let resnet = Resnet { width: 1.0, base: 4, unit: Unit::Basic, stem: Stem::Cifar, blocks };
    let mlp = Mlp { hidden: vec![12, 8], blocks: vec![1, 1], ..Mlp::default() };
    // An MLP, which a turned picture would not leave alone.
    let mut cropped = nets::model("mlp", Model::Mlp(mlp.clone()), 3, 24, None);
    nets::images(&mut cropped.config).input.crop = 0.875;
    for (name, model) in [
        ("colour", nets::model("resnet", Model::Resnet(resnet), 3, 24, None)),
        ("grey", nets::model("mlp", Model::Mlp(mlp.clone()), 1, 16, None)),
        ("flat", nets::model("mlp", Model::Mlp(mlp), 3, 16, None)),
        ("cropped", cropped),
    ] {
        model.write(&at("made")).expect("written");
        let mut export = Command::new(taper());
        export.arg("export").arg(at("made")).arg("--plan").arg("--to").arg(at(name));
        assert!(export.output().expect("started").status.success(), "{name}");
        sums::check(&at(name)).expect("plan.json is in the sums");
    }

    picture(24, 24).save(at("own.png")).expect("written");
    picture(16, 16).save(at("small.png")).expect("written");
    // Colours under any alpha are the file's, as `taper predict` takes them.
    let mut clear = image::DynamicImage::from(picture(24, 24)).into_rgba8();
    clear.pixels_mut().enumerate().for_each(|(k, pixel)| pixel.0[3] = (k * 7 % 256) as u8);
    clear.save(at("clear.png")).expect("written");
    fs::write(at("photo.jpg"), turned_jpeg(&picture(90, 61))).expect("written");
    fs::write(at("cut.png"), &fs::read(at("own.png")).expect("read")[..60]).expect("written");
    let cases = [
        ("colour", "own.png", 1e-3),
        ("colour", "clear.png", 1e-3),
        ("grey", "small.png", 1e-3),
        ("flat", "small.png", 1e-3),
        ("cropped", "cut.png", 0.0),
        ("cropped", "photo.jpg", 2e-2),
    ];
    let list = cases.map(|(model, image, _)| json!({ "model": model, "image": image }));
    fs::write(at("cases.json"), json!(list).to_string()).expect("written");
    let said = script(&browser, "predict.mjs", folder.path());

    let answers = said["answers"].as_array().expect("a list");
    assert_eq!(answers.len(), cases.len());
    for ((model, image, gate), answer) in cases.into_iter().zip(answers) {
        if gate == 0.0 {
            let notice = answer["notice"].as_str().expect("a sentence");
            assert_eq!(notice, format!("{image}: The browser cannot decode this picture."));
            continue;
        }
        let (ours, theirs) = (predict(&at(model), &at(image)), top(&answer["top"]));
        assert_eq!(theirs.len(), 5, "{answer}");
        let off = ours.iter().map(|(label, p)| {
            theirs.iter().find(|(l, _)| l == label).map_or(f64::INFINITY, |(_, q)| (p - q).abs())
        });
        let off = largest(off);
        println!("{model}, {image}: {:?}, off by {off:.1e}", ours[0]);
        assert!(off <= gate, "{ours:?}, in the browser {theirs:?}");
        let labels =
            |list: &[(String, f64)]| list.iter().map(|(l, _)| l.clone()).collect::<Vec<_>>();
        let same = if gate < 1e-2 { 5 } else { 1 };
        assert_eq!(labels(&ours)[..same], labels(&theirs)[..same]);
        let lines = answer["lines"].as_array().expect("lines");
        assert_eq!(lines.len(), theirs.len(), "{answer}");
        for (line, (label, p)) in lines.iter().zip(&theirs) {
            let line = line.as_str().expect("text");
            assert!(
                line.contains(label) && line.contains(&format!("{:.1} %", 100.0 * p)),
                "{line}"
            );
        }
    }
    let without = |what: &str| said["without"][what].as_str().expect("a sentence").to_owned();
    assert!(without("adapter").contains("finds no graphics adapter"), "{}", without("adapter"));
    assert!(without("api").contains("has no WebGPU"), "{}", without("api"));
}

/// A model on text with weights as [`nets::weights`] draws them, as a folder with its plan; small enough for windows of its own.
fn text_model(folder: &Path, name: &str, change: impl FnOnce(&mut TextModel)) -> Tokenizer {
    let mut model = texts::model(None);
    let ModelConfig::Text(of) = &mut model.config else { panic!("it reads text") };
    change(of);
    let tokenizer = of.tokenizer.clone();
    model.weights = nets::weights(&model.config.network(), 5);
    let made = folder.join(format!("{name}-made"));
    model.write(&made).expect("written");
    let mut export = Command::new(taper());
    export.arg("export").arg(&made).arg("--plan").arg("--to").arg(folder.join(name));
    let output = export.output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    tokenizer
}

/// `taper predict --json` of a case.
fn predict_text(folder: &Path, case: &Json) -> Json {
    let text = |key: &str| case[key].as_str();
    let mut predict = Command::new(taper());
    predict.args(["predict", "--json"]).arg(folder.join(text("model").expect("a name")));
    match (text("text"), text("context"), text("question")) {
        (Some(text), ..) => predict.arg(text),
        (_, Some(context), Some(question)) => predict.args(["--context", context, question]),
        _ => panic!("{case} asks for nothing"),
    };
    let output = predict.env("NODEVICE_SELECT", "1").output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Two letters in which the model in a folder finds no answer to `question`.
fn unanswerable(folder: &Path, question: &str) -> String {
    let model = Trained::of(ModelFolder::read(folder).expect("a folder")).expect("a model");
    let gpu = gpu().expect("a device");
    let choosing = Choosing { n_best: 20, max_answer_length: 30, null_threshold: 0.0 };
    let has_none = |context: &String| {
        let answers = model.ask(&gpu, context, &[question.to_owned()], choosing, 8);
        let answer = &answers.expect("an answer")[0];
        answer.found && answer.text.is_empty()
    };
    ('a'..='z').map(|c| format!("{c} {c}")).find(has_none).expect("letters without an answer")
}

/// That two lists have the same words, and probabilities that differ by rounding alone; the first of them are what the page shows.
fn same_words(ours: &Json, theirs: &Json, shown: &Json, word: [&str; 2], none: &str) {
    let list = |list: &Json, word: &str| -> Vec<(String, f64)> {
        let of = |of: &Json| {
            let word = of[word].as_str().expect("a word").to_owned();
            (word, of["probability"].as_f64().expect("a number"))
        };
        list.as_array().expect("a list").iter().map(of).collect()
    };
    let (ours, theirs) = (list(ours, word[0]), list(theirs, word[1]));
    let lines: Vec<&str> =
        shown.as_array().expect("lines").iter().filter_map(Json::as_str).collect();
    assert!(ours.len() == lines.len() && ours.len() >= 2, "{ours:?} {lines:?}");
    for (((word, p), (other, q)), line) in ours.iter().zip(&theirs).zip(lines) {
        assert!(word == other && (p - q).abs() <= 1e-4, "{ours:?}, in the browser {theirs:?}");
        let word = if word.is_empty() { none } else { word };
        let percent = format!("{:.1} %", 100.0 * q);
        assert!(line.contains(word) && line.contains(&percent), "{line}: {word} {percent}");
    }
}

/// Heads of all kinds, tables narrower than the hidden state, contexts of several windows, questions without an answer; and ids and offsets of
/// all code points.
#[test]
fn try_it_fills_blanks_and_answers_as_taper_predict() {
    let Some(browser) = tools::browser() else { return };
    if gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let tokenizer = text_model(folder, "words", |_| {});
    text_model(folder, "pairs", |of| of.sizes.head = BertHead::Pretrain);
    text_model(folder, "wide", |of| of.sizes = of.sizes.widened(2));
    let spans = |of: &mut TextModel| {
        (of.sizes.head, of.sizes.length, of.sizes.positions) = (BertHead::Spans, 32, 32);
    };
    text_model(folder, "spans", spans);
    text_model(folder, "none", |of| {
        spans(of);
        of.unanswerable = true;
    });
    let context = "  On the caf\u{e9}\u{2019}s door: \u{1f600} and a \u{4e2d}\u{6587} sign, which nobody there could read; so the owner sang.";
    let question = "\u{a0}who sang?";
    let cases = [
        json!({ "model": "words", "text": "the [MASK] of" }),
        json!({ "model": "words", "text": "th\u{e9} [MASK]\u{4e2d} [MASK]!" }),
        json!({ "model": "words", "text": "the of" }),
        json!({ "model": "words", "text": "the [MASK] of a long letter" }),
        json!({ "model": "pairs", "text": "[MASK]ing" }),
        json!({ "model": "wide", "text": "on [MASK] [mask" }),
        json!({ "model": "spans", "context": context, "question": question }),
        json!({ "model": "none", "context": context, "question": question }),
        json!({ "model": "none", "context": unanswerable(&folder.join("none"), question), "question": question }),
        json!({ "model": "none", "context": "on", "question": "the of the of the of the of the of the of the of the of?" }),
    ];
    // All code points, some thousands at a time.
    let every: Vec<char> = ('\0'..=char::MAX).collect();
    let every = every
        .chunks(1 << 14)
        .map(|some| -> String { some.iter().flat_map(|c| ['a', *c, 'b', ' ']).collect() });
    let marks = "[MASK][CLS] [mask] [MASK ##ing # a\u{315}\u{300}\u{5ae}b \u{130}I\u{307} \u{39f}\u{394}\u{39f}\u{3a3} \u{df} \u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947} ";
    let long = format!("{} {}", "x".repeat(100), "x".repeat(101));
    let asked: Vec<String> = every.chain([marks.repeat(3), long]).collect();
    fs::write(folder.join("cases.json"), json!(cases).to_string()).expect("written");
    fs::write(folder.join("ids.json"), json!(asked).to_string()).expect("written");
    let said = script(&browser, "text.mjs", folder);

    for (text, theirs) in asked.iter().zip(said["hashes"].as_array().expect("a list")) {
        let encoding = tokenizer.encode_marked(text);
        // As the script does.
        let hash = |numbers: &mut dyn Iterator<Item = u32>| {
            numbers.fold(0x811c_9dc5_u32, |hash, n| (hash ^ n).wrapping_mul(0x0100_0193))
        };
        let ids = hash(&mut encoding.ids.iter().copied());
        let offsets = hash(&mut encoding.offsets.iter().flat_map(|(from, until)| [*from, *until]));
        assert_eq!(theirs, &json!([ids, offsets]), "of {} code points", text.chars().count());
    }
    let answers = said["answers"].as_array().expect("a list");
    assert_eq!(answers.len(), cases.len());
    for (case, answer) in cases.iter().zip(answers) {
        let shown = |k: usize| &answer["lists"][k];
        if let Some(notice) = answer["notice"].as_str() {
            let wanted = match case["text"].as_str() {
                Some("the of") => "no blank",
                _ => "tokens with its marks, and the model reads 9",
            };
            assert!(notice.contains(wanted), "{notice}");
            continue;
        }
        let ours = predict_text(folder, case);
        println!("{}: {}", case["model"], ours.to_string().chars().take(200).collect::<String>());
        if case["text"].is_string() {
            let masks = ours["masks"].as_array().expect("a list");
            assert_eq!(masks.len(), answer["answer"].as_array().expect("a list").len());
            for (k, mask) in masks.iter().enumerate() {
                same_words(mask, &answer["answer"][k], shown(k), ["label", "label"], "");
                assert_eq!(mask[0]["label"], answer["marked"][k]);
            }
            continue;
        }
        let theirs = &answer["answer"]["candidates"];
        same_words(&ours["top"], theirs, shown(0), ["text", "text"], "(no answer)");
        let best = ours["top"][0]["text"].as_str().expect("a text");
        let wanted = if best.is_empty() { "The text has no answer to this." } else { best };
        assert_eq!(answer["best"], wanted);
        let marked = answer["marked"].as_array().expect("a list");
        assert_eq!(marked.iter().filter_map(Json::as_str).collect::<String>(), best);
    }
    assert_eq!(answers.iter().filter(|answer| answer["notice"].is_string()).count(), 2);
}
