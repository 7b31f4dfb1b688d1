//! Plans in a browser: the page's executor in Chromium, on its software adapter, against ours.

use std::{fs, path::Path, process::Command};

use engine::{
    config::{Recipe, Unit},
    data::Batch,
    formats::{PortablePlan, safetensors},
    gpu::Live,
    nn::{Network, Weights},
    ops::AdapterKind,
    plan::Target,
    random::Stream,
    train::Session,
    win::program::{Objective, Program, Training, program},
};
use serde_json::{Value as Json, json};
use taper_tests::{gpu, nets, tools};

const STEPS: usize = 20;
const BATCH: u32 = 9;

/// A network that is trained twice.
struct Lesson {
    name: &'static str,
    network: Network,
    recipe: Recipe,
    weights: Weights,
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
            Batch { images, labels, rows: BATCH as usize }
        };
        let batches = (0..STEPS).map(|_| batch()).collect();
        Self { name, network, recipe, weights, batches }
    }

    fn program(&self) -> Program {
        let (student, recipe, objective) = (&self.network, &self.recipe, Objective::Labels);
        let of = Training { student, teacher: None, objective, recipe };
        program(&of, &Target::web(AdapterKind::Gpu)).expect("a plan")
    }

    /// What the browser is given.
    fn write(&self, folder: &Path) {
        let file = |end: &str| folder.join(format!("{}.{end}", self.name));
        let plan = PortablePlan::of(&self.program(), &self.network).expect("a plan");
        fs::write(file("plan.json"), serde_json::to_string(&plan).expect("JSON")).expect("written");
        safetensors::write(&file("safetensors"), &self.weights, &safetensors::pytorch())
            .expect("written");
        let images = self.batches.iter().flat_map(|batch| &batch.images);
        let labels = self.batches.iter().flat_map(|batch| &batch.labels);
        let bytes: Vec<u8> = images.flat_map(|x| x.to_le_bytes()).collect();
        fs::write(file("images.f32"), bytes).expect("written");
        let bytes: Vec<u8> = labels.flat_map(|x| x.to_le_bytes()).collect();
        fs::write(file("labels.u32"), bytes).expect("written");
    }

    /// The losses of the same plan on our adapter.
    fn losses(&self) -> Option<Vec<f32>> {
        let mut session = Session::new(&gpu()?, self.program()).expect("the device holds it");
        session.load_student(&self.weights).expect("weights");
        session.set_moments(None).expect("moments");
        for (step, batch) in (0..).zip(&self.batches) {
            let (lr, t) = (self.recipe.lr as f32, (step + 1) as f32);
            let live = Live { step, lr, t, ..Live::rows(BATCH) };
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

/// SGD with momentum and weight decay; a network with batch norm, whose statistics move in place.
#[test]
fn twenty_steps_in_chromium_are_ours() {
    let Some(browser) = tools::browser() else { return };
    let lessons = [
        Lesson::new("mlp", nets::mlp(&[10, 8, 6], &[1, 1, 1]), 0.05),
        Lesson::new("resnet", nets::resnet(Unit::Basic, 4, &[1, 1]), 0.02),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    lessons.iter().for_each(|lesson| lesson.write(folder.path()));
    let cases: Vec<_> = lessons
        .iter()
        .map(|l| json!({ "name": l.name, "steps": STEPS, "batch": BATCH, "lr": l.recipe.lr }))
        .collect();
    fs::write(folder.path().join("cases.json"), json!(cases).to_string()).expect("written");
    let results = script(&browser, "train.mjs", folder.path());
    for (lesson, result) in lessons.iter().zip(results.as_array().expect("a list")) {
        let Some(ours) = lesson.losses() else { return };
        let theirs: Vec<f64> =
            result["losses"].as_array().expect("a list").iter().filter_map(Json::as_f64).collect();
        assert_eq!(theirs.len(), STEPS, "{result}");
        let off = ours.iter().zip(&theirs).map(|(&a, b)| (f64::from(a) - b).abs());
        let off = off.fold(0.0, f64::max);
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
