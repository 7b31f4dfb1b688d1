//! What the end-to-end tests share: small configurations, runs of them, logits on the device.
#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use engine::{
    batch::Batch,
    config::{Config, Draft},
    device::Device,
    event::{Entry, Event},
    formats::{ModelFolder, safetensors},
    nn::{FileLayout, Network, Weights},
    step::Task,
    train::{Options, Run, Session, TrainError},
};
use taper_tests::host;

/// A run of seconds: 8 steps an epoch, an MLP of 4 layers in 2 blocks.
const TINY: &str = r#"
methods = ["win"]
seeds = [0]

[data]
kind = "procedural"
train_count = 256
test_count = 64

[model]
arch = "mlp"
hidden = [6, 6, 6, 6]
blocks = [2, 2]

[teacher]
factor = 3

[wide]
epochs = 2
batch = 32

[vanilla]
epochs = 2
batch = 32

[kd]
epochs = 1
batch = 32

[fitnets]
hint_epochs = 1
epochs = 1
batch = 32

[narrow]
epochs = 1
batch = 32

[tune]
epochs = 1
batch = 32

[win]
start_inputs = 128
"#;

/// A bottleneck network of two stages on the same images.
pub(crate) const RESNET: [&str; 6] = [
    "model.arch=resnet",
    "model.base=4",
    "model.stem=cifar",
    "model.blocks=[1,1]",
    "data.size=8",
    "teacher.factor=2",
];

/// A BERT of two layers on the built-in text.
pub(crate) const TEXT: [&str; 12] = [
    "data.kind=procedural_text",
    "data.train_count=256",
    "data.test_count=64",
    "text.length=12",
    "text.max_predictions=2",
    "model.arch=bert",
    "model.hidden=8",
    "model.layers=2",
    "model.heads=2",
    "model.inner=16",
    "model.init_std=0.2",
    "teacher.factor=2",
];

/// The small configuration with changes as `--set` takes them.
pub(crate) fn config(changes: &[&str]) -> Config {
    let draft = Draft::from_toml(TINY, "the small configuration").expect("it is TOML");
    let change = |draft: Draft, text: &&str| draft.set(text).expect(text);
    let config = changes.iter().fold(draft, change).finish();
    config.unwrap_or_else(|error| panic!("{error}"))
}

/// The small configuration as TOML.
pub(crate) fn toml(changes: &[&str]) -> String {
    config(changes).to_toml()
}

/// Trains a configuration into a folder; what the listener heard.
pub(crate) fn try_train(config: &Config, out: &Path) -> Result<Vec<Entry>, TrainError> {
    go_on(&Run::create(config.clone(), out, &host())?, out, Duration::from_secs(20))
}

/// [`try_train`], which must not fail.
#[track_caller]
pub(crate) fn train(config: &Config, out: &Path) -> Vec<Entry> {
    try_train(config, out).unwrap_or_else(|error| panic!("{error}"))
}

/// Executes what is left of a run.
pub(crate) fn go_on(run: &Run, out: &Path, every: Duration) -> Result<Vec<Entry>, TrainError> {
    let mut heard = Vec::new();
    let options = Options { checkpoint_every: every, ..Options::new(out) };
    run.execute(&options, &AtomicBool::new(false), &mut |entry| heard.push(entry.clone()))?;
    Ok(heard)
}

/// A folder that is removed with the test.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// One device for all tests of a program.
pub(crate) fn gpu() -> Arc<dyn Device> {
    static GPU: OnceLock<Arc<dyn Device>> = OnceLock::new();
    let open =
        || taper_gpu::open("auto", taper_gpu::Options::default()).unwrap_or_else(|e| panic!("{e}"));
    Arc::clone(GPU.get_or_init(open))
}

/// The change of a configuration that trains on this adapter.
pub(crate) fn on(gpu: &Arc<dyn Device>) -> String {
    format!("device=\"{}\"", gpu.adapter().index)
}

/// Logits of a network on a device, in eval mode.
pub(crate) fn logits(
    network: &Network,
    weights: &Weights,
    batches: impl Iterator<Item = Batch>,
    batch: u32,
) -> Vec<Vec<f32>> {
    let gpu = gpu();
    let logits = || -> Result<_, TrainError> {
        let mut session = Session::evaluating(&gpu, network, Task::Classify, weights, batch)?;
        session.logits(batches.map(Ok))
    };
    logits().unwrap_or_else(|error| panic!("{error}"))
}

/// ‖a − b‖₂ / ‖a‖₂, in f64.
pub(crate) fn relative(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    assert_eq!(a.len(), b.len());
    let (mut square, mut norm) = (0.0f64, 0.0f64);
    for (&a, &b) in a.iter().flatten().zip(b.iter().flatten()) {
        let (a, b) = (f64::from(a), f64::from(b));
        square += (a - b).powi(2);
        norm += a * a;
    }
    assert!(norm > 0.0, "all logits are zero");
    (square / norm).sqrt()
}

/// The checkpoints of a member, oldest first.
pub(crate) fn checkpoints(member: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(member.join("checkpoints")).expect("checkpoints");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    files
}

/// The weights in a checkpoint.
pub(crate) fn weights_in(checkpoint: &Path) -> Weights {
    let (tensors, _) = safetensors::read(checkpoint).expect("a checkpoint");
    let now = tensors.into_iter().filter_map(|(name, tensor)| {
        let tensor = FileLayout::of_rank(tensor.shape.len()).read(tensor);
        Some((name.strip_prefix("now.")?.to_owned(), tensor))
    });
    now.collect()
}

/// A model folder that must be there.
#[track_caller]
pub(crate) fn model(folder: &Path) -> ModelFolder {
    ModelFolder::read(folder).unwrap_or_else(|error| panic!("{error}"))
}

/// Bytes of every trained model below a run directory, by path.
pub(crate) fn models_in(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(out)
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name == "model.safetensors"))
        .map(|path| {
            let bytes = fs::read(&path).expect("a model");
            (path.strip_prefix(out).expect("below").to_path_buf(), bytes)
        })
        .collect()
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Files below a folder that were given up half-way.
pub(crate) fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let half = |path: &PathBuf| path.extension().is_some_and(|end| end == "tmp");
    files(folder).into_iter().filter(half).collect()
}

/// The kind of each event, as the log has it.
pub(crate) fn kinds(entries: &[Entry]) -> Vec<String> {
    let kind = |entry: &Entry| {
        let value = serde_json::to_value(entry).expect("an event is JSON");
        value["type"].as_str().expect("a type").to_owned()
    };
    entries.iter().map(kind).collect()
}

/// What was warned of, but for what is said of every run on such an adapter.
pub(crate) fn warnings(entries: &[Entry]) -> Vec<String> {
    let caveats: Vec<String> = taper_gpu::adapters().iter().filter_map(|a| a.caveat()).collect();
    let of = |entry: &Entry| match &entry.event {
        Event::Warning { message } => Some(message.clone()),
        _ => None,
    };
    entries.iter().filter_map(of).filter(|message| !caveats.contains(message)).collect()
}

/// (member, step, loss) of the learning curves.
pub(crate) fn curve(entries: &[Entry]) -> Vec<(String, u64, f64)> {
    let of = |entry: &Entry| match &entry.event {
        Event::Step { member, step, loss, .. } => Some((member.clone(), *step, *loss)),
        _ => None,
    };
    entries.iter().filter_map(of).collect()
}

/// The program of the same build; where only this test was asked for, cargo makes it, or makes it anew.
pub(crate) fn taper() -> &'static Path {
    static TAPER: OnceLock<PathBuf> = OnceLock::new();
    TAPER.get_or_init(|| {
        let test = env::current_exe().expect("this program");
        let folder = test.ancestors().nth(2).expect("target/debug/deps/TEST");
        let program = folder.join("taper").with_extension(env::consts::EXE_EXTENSION);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
        let sources = ["engine", "server/src", "shaders"];
        let time = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
        let newest = sources.iter().flat_map(|name| files(&root.join(name)));
        if time(&program) < newest.filter_map(|path| time(&path)).max() {
            let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            build.args(["build", "--quiet", "--workspace", "--bin", "taper"]).current_dir(root);
            if folder.file_name().is_some_and(|profile| profile == "release") {
                build.arg("--release");
            }
            build.arg("--target-dir").arg(folder.parent().expect("target"));
            let status = build.status().expect("cargo starts");
            assert!(status.success(), "cargo did not make {}", program.display());
        }
        program
    })
}
