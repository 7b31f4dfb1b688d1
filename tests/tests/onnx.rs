//! `model.onnx`: its structure as text, and ONNX Runtime's logits against ours. And the Python of model cards, which runs it, and PyTorch.

mod support;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use engine::{
    config::{Activation, Images, Mlp, Model, Resnet, ResnetOfDepth, Stem, Unit, Widen},
    data::images::{Preprocess, open_for},
    formats::{
        ImageInput, ModelConfig, ModelFolder,
        card::{self, CardFacts, Footprint},
        folder::{ONNX, TEXT_ONNX, Widened},
        onnx::{
            self, About, Cpu, Ranges,
            proto::{INT8, INT32, INT64, ModelProto},
        },
    },
    models::BertHead,
    nn::Folded,
    random::Stream,
    step::Task,
    train::{model::Trained, numbers},
};
use prost::Message;
use support::{folder, gpu, logits};
use taper_tests::{
    close::largest,
    nets,
    texts::{self, Asked},
    tools,
};

/// Inputs whose logits are compared.
const ROWS: usize = 5;

fn mlp(activation: Activation) -> Model {
    Model::Mlp(Mlp { hidden: vec![9, 6, 5], blocks: vec![2, 1], activation })
}

fn resnet(unit: Unit, stem: Stem, blocks: &[u32]) -> Model {
    Model::Resnet(Resnet { width: 1.0, base: 3, unit, stem, blocks: blocks.to_vec() })
}

/// Every kind of layer; odd sizes, where a pool or a stride meets a border.
fn cases() -> Vec<(&'static str, ModelFolder)> {
    let widened = Some(Widened { factor: 2, widen: Widen::Mid });
    vec![
        ("relu", nets::model("mlp", mlp(Activation::Relu), 1, 5, None)),
        ("gelu", nets::model("mlp", mlp(Activation::Gelu), 3, 4, None)),
        ("gelu-tanh", nets::model("mlp", mlp(Activation::GeluTanh), 3, 4, None)),
        ("tanh", nets::model("mlp", mlp(Activation::Tanh), 1, 4, None)),
        ("sigmoid", nets::model("mlp", mlp(Activation::Sigmoid), 1, 4, None)),
        ("basic", nets::model("resnet", resnet(Unit::Basic, Stem::Cifar, &[2, 1]), 3, 9, None)),
        (
            "bottleneck",
            nets::model("resnet", resnet(Unit::Bottleneck, Stem::Imagenet, &[1, 2]), 3, 33, None),
        ),
        (
            "teacher",
            nets::model("resnet", resnet(Unit::Bottleneck, Stem::Cifar, &[1, 1]), 1, 8, widened),
        ),
    ]
}

/// Students on text for whatever they can be asked, and teachers of them; students of bottlenecks.
fn on_text() -> Vec<(&'static str, ModelFolder)> {
    use BertHead::{MaskedWords, Pretrain, Spans};
    let cases = [
        ("bert", None, MaskedWords),
        ("electra", Some(2), MaskedWords),
        ("pairs", None, Pretrain),
        ("electra-pairs", Some(2), Pretrain),
        ("spans", None, Spans),
        ("electra-spans", Some(2), Spans),
    ];
    let bottlenecks = [("mobilebert", MaskedWords), ("mobilebert-pairs", Pretrain)];
    let cases = cases.map(|(name, factor, head)| (name, texts::model_for(factor, head)));
    let bottlenecks = bottlenecks.map(|(name, head)| (name, texts::bottlenecks(head)));
    cases.into_iter().chain(bottlenecks).collect()
}

/// A line a node and a line a tensor.
fn listing(model: &ModelProto) -> String {
    let graph = model.graph.as_ref().expect("a graph");
    let mut text = String::new();
    let ops = model.opset_import[0].version.expect("a version");
    writeln!(text, "IR {}, opset {ops}", model.ir_version.expect("a version")).expect("memory");
    for (what, values) in [("input", &graph.input), ("output", &graph.output)] {
        for value in values {
            let tensor =
                value.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).expect("a tensor");
            let dims = tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| {
                dim.dim_param.clone().or(dim.dim_value.map(|n| n.to_string())).expect("an extent")
            });
            let dims = dims.collect::<Vec<_>>().join(" × ");
            writeln!(text, "{what} {}: {dims}", value.name()).expect("memory");
        }
    }
    for node in &graph.node {
        let attributes: Vec<_> = node
            .attribute
            .iter()
            .map(|a| match (a.f, a.i) {
                (Some(f), _) => format!("{}={f:e}", a.name()),
                (_, Some(i)) => format!("{}={i}", a.name()),
                _ => format!("{}={:?}", a.name(), a.ints),
            })
            .collect();
        let (inputs, outputs) = (node.input.join(", "), node.output.join(", "));
        let line = format!("{outputs} = {}({inputs}) {}", node.op_type(), attributes.join(" "));
        writeln!(text, "{}", line.trim_end()).expect("memory");
    }
    for tensor in &graph.initializer {
        let count = tensor.dims.iter().product::<i64>() as usize;
        let (each, whole) = match tensor.data_type {
            Some(INT64) => (8, " of whole numbers"),
            _ => (4, ""),
        };
        assert_eq!(tensor.raw_data().len(), each * count, "{}", tensor.name());
        writeln!(text, "tensor {} {:?}{whole}", tensor.name(), tensor.dims).expect("memory");
    }
    for value in &graph.value_info {
        let shape = value.r#type.as_ref().and_then(|of| of.tensor_type.as_ref()?.shape.as_ref());
        let dims =
            shape.expect("a shape").dim.iter().skip(1).map(|dim| dim.dim_value().to_string());
        writeln!(text, "between {}: {}", value.name(), dims.collect::<Vec<_>>().join(" × "))
            .expect("memory");
    }
    for entry in &model.metadata_props {
        writeln!(text, "{}: {}", entry.key(), entry.value()).expect("memory");
    }
    text
}

fn read(folder: &Path) -> ModelProto {
    let there = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    let path = there(ONNX).or(there(TEXT_ONNX)).expect("model.onnx");
    let bytes = fs::read(path).expect("read");
    ModelProto::decode(&bytes[..]).expect("a message")
}

#[test]
fn the_graph_is_the_network() {
    let folder = folder();
    for (name, model) in cases().into_iter().chain(on_text()) {
        let path = folder.path().join(name);
        model.write(&path).expect("written");
        let written = read(&path);
        if ["gelu", "basic", "bert"].contains(&name) {
            insta::assert_snapshot!(name, listing(&written));
        }
        // Each node reads what is there before it, and no name is given twice.
        let graph = written.graph.expect("a graph");
        let mut there: Vec<String> = graph.initializer.iter().map(|t| t.name().into()).collect();
        there.extend(graph.input.iter().map(|input| input.name().into()));
        for node in &graph.node {
            assert!(
                node.input.iter().all(|input| there.contains(input)),
                "{name}: {}",
                node.name()
            );
            assert!(!there.contains(&node.output[0]), "{name}: {} is made twice", node.output[0]);
            there.extend(node.output.clone());
        }
        // Of what flows between nodes of a network on images, each shape is said.
        let said: Vec<&str> = graph.value_info.iter().map(|value| value.name()).collect();
        let of_images = matches!(model.config, ModelConfig::Images(_));
        let between = graph.node.iter().map(|node| node.output[0].as_str());
        let between: BTreeSet<&str> =
            between.filter(|name| of_images && *name != onnx::LOGITS).collect();
        assert_eq!(said.into_iter().collect::<BTreeSet<_>>(), between, "{name}");
        let answers: Vec<&str> = graph.output.iter().map(|output| output.name()).collect();
        let wanted: &[&str] = match model.config.task() {
            Task::Classify | Task::MaskedWords { .. } => &[onnx::LOGITS],
            Task::Pretrain { .. } => &[onnx::LOGITS, "seq_relationship_logits"],
            Task::Spans => &["start_logits", "end_logits"],
        };
        assert_eq!(answers, wanted, "{name}");
        let made = |answer: &&str| there.iter().any(|value| value == answer);
        assert!(answers.iter().all(made), "{name}");
    }
}

/// Images in (H, W, C) order, and the same in (C, H, W).
fn images(input: &ImageInput) -> (Vec<f32>, Vec<f32>) {
    let (area, channels) = ((input.size * input.size) as usize, input.channels as usize);
    let mut stream = Stream::new(&[3]);
    let ours: Vec<f32> = (0..ROWS * area * channels).map(|_| stream.normal() as f32).collect();
    let theirs = ours.chunks_exact(area * channels).flat_map(|image| {
        (0..channels).flat_map(move |c| image.iter().skip(c).step_by(channels).copied())
    });
    let theirs = theirs.collect();
    (ours, theirs)
}

fn write_floats(path: PathBuf, numbers: impl IntoIterator<Item = f32>) {
    let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
    fs::write(path, bytes).expect("written");
}

/// Writes models, some images and our logits of them; a script of `golden/` compares these with what others make of the models.
fn compare(python: &Path, script: &str, models: Vec<(&str, ModelFolder)>) {
    let folder = folder();
    let mut paths = Vec::new();
    for (name, model) in &models {
        let path = folder.path().join(name);
        model.write(&path).expect("written");
        let network = model.config.network();
        match &model.config {
            ModelConfig::Images(of) => {
                let (ours, theirs) = images(&of.input);
                let batch = nets::pictures(ours, vec![0; ROWS]);
                let rows = logits(&network, &model.weights, [batch].into_iter(), ROWS as u32);
                write_floats(path.join("images.f32"), theirs);
                write_floats(path.join("logits.f32"), rows.into_iter().flatten());
            }
            ModelConfig::Text(of) => {
                let asked = Asked::of(of.sizes.vocabulary, of.sizes.length, ROWS as u32);
                let task = model.config.task();
                asked.write(&path, &asked.answers(&gpu(), &network, task, &model.weights));
            }
        }
        paths.push(path);
    }
    asked(python, script, &paths);
}

/// Has a script of `golden/` compare what lies in folders; it says a line of each.
fn asked(python: &Path, script: &str, paths: &[PathBuf]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(script);
    let output = Command::new(python).arg(script).args(paths).output().expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().count(), paths.len(), "{said}");
}

#[test]
fn onnx_runtime_answers_our_logits() {
    let Some(python) = tools::python() else { return };
    compare(&python, "onnx.py", cases().into_iter().chain(on_text()).collect());
}

/// What a card says of the model is what runs it: torchvision's networks with other stems, and those that torchvision has not.
#[test]
fn the_snippets_of_a_card_run_and_answer_our_logits() {
    let Some(python) = tools::torch() else { return };
    let of_depth = |width, stem| Model::Resnet50(ResnetOfDepth { width, stem });
    let of_width = |unit, stem, base, blocks: &[u32]| {
        Model::Resnet(Resnet { width: 1.0, base, unit, stem, blocks: blocks.to_vec() })
    };
    let widened = |widen| Some(Widened { factor: 2, widen });
    let mut models = cases();
    models.extend([
        ("half", nets::model("resnet50", of_depth(0.5, Stem::Imagenet), 3, 40, None)),
        ("cifar50", nets::model("resnet50", of_depth(1.0, Stem::Cifar), 1, 8, None)),
        (
            "wide",
            nets::model(
                "resnet",
                of_width(Unit::Bottleneck, Stem::Imagenet, 64, &[1, 1, 2, 1]),
                3,
                36,
                widened(Widen::Mid),
            ),
        ),
        (
            "basic-wide",
            nets::model(
                "resnet",
                of_width(Unit::Basic, Stem::Cifar, 4, &[2, 1, 1]),
                3,
                9,
                widened(Widen::Mid),
            ),
        ),
        (
            "resnet18",
            nets::model(
                "resnet",
                of_width(Unit::Basic, Stem::Imagenet, 64, &[2, 2, 2, 2]),
                1,
                33,
                None,
            ),
        ),
    ]);
    for (_, model) in &mut models {
        let facts = CardFacts {
            method: None,
            seed: 0,
            data: "noise".into(),
            stages: Vec::new(),
            accuracy: 0.0,
            loss: 0.0,
            answers: None,
            epochs: 0.0,
            size: Footprint { params: 0, macs: 0, bytes: 0 },
            teacher: None,
            adapter: "none".into(),
        };
        model.card = card::render(&facts, &model.config, None);
    }
    compare(&python, "card.py", models);
}

/// The pictures of [`images`] as (C, H, W), one by one.
fn one_by_one(input: &ImageInput) -> Vec<Vec<f32>> {
    let (_, theirs) = images(input);
    theirs.chunks(theirs.len() / ROWS).map(<[f32]>::to_vec).collect()
}

#[test]
fn the_graph_on_the_cpu_answers_the_devices_logits() {
    for (name, model) in cases() {
        let of = model.config.images().expect("of images");
        let folded = Folded::of(&model.config.network()).expect("folds");
        let (network, file) = (model.config.network(), folded.to_file(&model.weights));
        let batch = nets::pictures(images(&of.input).0, vec![0; ROWS]);
        let rows = logits(&network, &model.weights, [batch].into_iter(), ROWS as u32);
        let file = file.expect("its weights");
        let graph = onnx::message(&folded.network, &file, &about(&model, false));
        let cpu = Cpu::new(&graph.expect("a graph")).expect("a graph");
        for (picture, ours) in one_by_one(&of.input).into_iter().zip(&rows) {
            let found = cpu.scores(picture, &mut |_, _| {}).expect("scores");
            let off = largest(found.iter().zip(ours).map(|(a, b)| f64::from((a - b).abs())));
            assert!(off < 1e-5, "{name}: {off:e}");
        }
    }
}

fn about(model: &ModelFolder, half: bool) -> About<'_> {
    About { task: model.config.task(), pictures: onnx::INPUT, metadata: Vec::new(), half }
}

/// Writes a graph with some pictures and what it makes of them here.
fn write_graph(path: &Path, graph: ModelProto, model: &ModelFolder) {
    let of = model.config.images().expect("of images");
    let cpu = Cpu::new(&graph).expect("a graph");
    let pictures = one_by_one(&of.input);
    let scores =
        pictures.iter().map(|picture| cpu.scores(picture.clone(), &mut |_, _| {}).expect("scores"));
    let scores: Vec<f32> = scores.flatten().collect();
    fs::create_dir_all(path).expect("made");
    write_floats(path.join("logits.f32"), scores);
    write_floats(path.join("images.f32"), pictures.into_iter().flatten());
    fs::write(path.join(ONNX), onnx::file(graph, model.config.network().input)).expect("written");
}

#[test]
fn other_numbers_answer_in_onnx_runtime_as_here() {
    let (folder, mut paths) = (folder(), Vec::new());
    for (name, model) in cases() {
        let of = model.config.images().expect("of images");
        let folded = Folded::of(&model.config.network()).expect("folds");
        let weights = folded.to_file(&model.weights).expect("weights");
        let network = model.config.network();
        let unfolded = network.to_file(&model.weights);
        let half = onnx::message(&network, &unfolded, &about(&model, true)).expect("half");
        let full = onnx::message(&folded.network, &weights, &about(&model, false)).expect("full");
        let whole = onnx::flowing(full.graph.as_ref().expect("a graph"));
        let (cpu, mut ranges) = (Cpu::new(&full).expect("a graph"), Ranges::new());
        for picture in one_by_one(&of.input) {
            let mut see = |name: &str, values: &[f32]| {
                if whole.contains(name) {
                    let [least, most] = ranges.entry(name.into()).or_insert([0.0; 2]);
                    values.iter().for_each(|&x| (*least, *most) = (least.min(x), most.max(x)));
                }
            };
            cpu.scores(picture, &mut see).expect("scores");
        }
        let quantized = onnx::quantized(&full, &ranges).expect("quantised");
        let typed = |kind| {
            let graph = quantized.graph.as_ref().expect("a graph");
            graph.initializer.iter().filter(|tensor| tensor.data_type == Some(kind)).count()
        };
        assert!(typed(INT8) > 0 && typed(INT32) > 0, "{name}");
        for (kind, graph) in [("half", half), ("whole", quantized)] {
            let path = folder.path().join(format!("{name}-{kind}"));
            write_graph(&path, graph, &model);
            paths.push(path);
        }
    }
    if let Some(python) = tools::python() {
        asked(&python, "onnx.py", &paths);
    }
}

#[test]
fn other_numbers_are_measured_on_the_pictures_of_the_run() {
    let model = nets::model("mlp", mlp(Activation::Relu), 1, 28, None);
    let data = Images { train_count: Some(300), test_count: Some(200), ..Images::default() };
    let of = model.config.images().expect("of images").clone();
    let preprocess = Preprocess::try_from(&of.input).expect("preprocess");
    let data = open_for(&data, &preprocess).expect("built in");
    let outputs: Vec<u32> = (0..10).map(|class| class % 7).collect();
    let trained = Trained::of(model.clone()).expect("its weights");
    let (device, _) = trained.test(&gpu(), &data.test, &outputs).expect("tested");
    let (file, whole) =
        numbers::int8(&trained, &about(&model, false), &data, &outputs).expect("int8");
    let half = numbers::half(&trained, &about(&model, false), &data, &outputs).expect("half");
    for (worth, calibrated, most) in [(whole, 200, 10.0), (half, 0, 1.0)] {
        assert_eq!((worth.calibrated, worth.tested), (calibrated, 200));
        assert!((worth.before - device.accuracy).abs() < 0.6, "{worth:?}, {}", device.accuracy);
        assert!((worth.before - worth.after).abs() <= most, "{worth:?}");
    }
    ModelProto::decode(&file[..]).expect("a message");
}
