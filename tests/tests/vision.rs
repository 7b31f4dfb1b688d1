//! Networks on images in folders of transformers' and timm's: those that they wrote, read by us; and ours, opened by them and by PyTorch.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use engine::{
    config::{
        Activation, Config, Data, ImageKind, Interpolation, Mlp, Model, Resnet, Stem, Unit, Widen,
    },
    data::images::Image,
    formats::{
        ImageModel, ModelConfig, ModelFolder, export,
        folder::Widened,
        form::{Form, Numbers},
        sums,
    },
    train::{model::Trained, presumed, settled},
};
use serde_json::{Value, json};
use support::{folder, gpu};
use taper_tests::{
    close::largest,
    golden::{self, Golden},
    nets, tools,
};

const KINDS: [(&str, Unit); 2] = [("basic", Unit::Basic), ("bottleneck", Unit::Bottleneck)];

fn thin(unit: Unit, stem: Stem, channels: u32, widened: Option<Widened>) -> ModelFolder {
    let blocks = vec![2, 1];
    let model = Model::Resnet(Resnet { width: 1.0, base: 6, unit, stem, blocks });
    nets::model("resnet", model, channels, 33, widened)
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|x| f64::from(x - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[test]
fn what_transformers_wrote_is_read_and_answers_as_there() {
    for (name, unit) in KINDS {
        let model = ModelFolder::read(&golden::path(&format!("hub/resnet-{name}"))).expect(name);
        let ImageModel { labels, model: said, .. } = model.config.images().expect("of images");
        assert_eq!(labels, &["apple", "pear", "fig"]);
        assert!(matches!(said, Model::Resnet(of) if of.unit == unit && of.base == 4), "{said:?}");
        answers_as(model, &golden::path(&format!("hub/resnet-{name}.expected.safetensors")), name);
    }
}

/// That a model answers as the logits beside some pictures say.
fn answers_as(model: ModelFolder, expected: &Path, name: &str) {
    let golden = Golden::at(expected);
    let pixels = &golden.tensors["pixels"];
    let [count, height, width, channels] = pixels.shape[..] else { panic!("no pictures") };
    let bytes: Vec<u8> = pixels.words.iter().map(|&word| word as u8).collect();
    let picture = |pixels: &[u8]| Image {
        height: height as usize,
        width: width as usize,
        channels: channels as usize,
        pixels: pixels.to_vec(),
    };
    let pictures: Vec<Image> = bytes.chunks(bytes.len() / count as usize).map(picture).collect();
    let ours = Trained::of(model).expect("its weights").predict(&gpu(), &pictures);
    let theirs = golden.floats("logits");
    let theirs: Vec<f64> = theirs.chunks(3).flat_map(softmax).collect();
    let ours: Vec<f64> = ours.expect("answers").concat();
    assert_eq!(ours.len(), theirs.len());
    let off = largest(ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()));
    assert!(off < 1e-5, "{name}: {off:e}");
}

#[test]
fn a_folder_of_transformers_can_be_a_teacher_with_its_framing_and_classes() {
    let from = golden::path("hub/resnet-bottleneck");
    let mut config = Config::preset("cifar10-resnet-thin").expect("a preset");
    config.teacher.from = Some(from.to_string_lossy().into_owned());
    let Data::Images(data) = &mut config.data else { panic!("no images") };
    data.kind = ImageKind::Folder;
    (data.size, data.mean, data.std) = (None, None, None);
    (data.interpolation, data.crop) = (None, None);
    let subject = presumed(&config).expect("read");
    assert_eq!(subject.classes, ["apple", "pear", "fig"]);
    let (config, lines) = settled(&config).expect("they agree");
    let Data::Images(data) = config.data else { panic!("no images") };
    assert_eq!((data.size, data.crop), (Some(32), Some(0.8)));
    assert_eq!(data.mean, Some(vec![0.5, 0.4, 0.3]));
    assert!(lines[0].contains("taken over from the teacher"), "{lines:?}");
}

#[test]
fn what_is_written_is_read_back_and_opens_in_transformers() {
    let (out, mut written) = (folder(), Vec::new());
    for (name, unit) in KINDS {
        let model = thin(unit, Stem::Imagenet, 3, None);
        let path = out.path().join(name);
        export::write(&model, Form::Transformers, &Numbers::default(), &path).expect("written");
        let again = ModelFolder::read(&path).expect("read");
        assert_eq!((&again.config, &again.weights), (&model.config, &model.weights));
        ask(&model, &path, [33, 50]);
        written.push(path);
    }
    if let Some(python) = tools::transformers() {
        check(&python, &written);
    }
    if let Some(tools::TransformersJs { node, modules }) = tools::transformers_js() {
        // Its own way to resize is not Pillow's: these pictures have the size already.
        for (path, unit) in written.iter().zip([Unit::Basic, Unit::Bottleneck]) {
            ask(&thin(unit, Stem::Imagenet, 3, None), path, [33, 33]);
        }
        let mut script = Command::new(node);
        script.arg(golden::path("vision.mjs")).arg(modules).args(&written);
        assert!(script.status().expect("Node starts").success());
    }
}

/// Has Python compare what it makes of folders with what was asked of them.
fn check(python: &Path, folders: &[PathBuf]) {
    let done =
        Command::new(python).arg(golden::path("vision.py")).arg("check").args(folders).status();
    assert!(done.expect("Python runs").success());
}

/// Pictures of this height and width beside a folder, and what the network makes of them. Pillow rounds between the two passes of a resize, so who resizes
/// by it is given pictures that have the size already.
fn ask(model: &ModelFolder, folder: &Path, [height, width]: [usize; 2]) {
    let path = folder.with_extension("json");
    let ImageModel { labels, .. } = model.config.images().expect("of images");
    let name = folder.file_name().expect("a name").to_string_lossy();
    let names: Vec<String> = (0..3).map(|k| format!("{name}{k}.png")).collect();
    let pictures: Vec<Image> = (0..3usize)
        .map(|k| {
            let pixels = (0..height * width * 3).map(|n| (n * (7 + k) % 251) as u8);
            Image { height, width, channels: 3, pixels: pixels.collect() }
        })
        .collect();
    for (name, picture) in names.iter().zip(&pictures) {
        let file = path.with_file_name(name);
        let pixels = picture.pixels.clone();
        let picture = image::RgbImage::from_raw(width as u32, height as u32, pixels);
        picture.expect("whole").save(file).expect("saved");
    }
    let answers = Trained::of(model.clone()).expect("weights").predict(&gpu(), &pictures);
    let of = |row: Vec<f64>| row.into_iter().map(f64::ln).collect::<Vec<_>>();
    let logs: Vec<Vec<f64>> = answers.expect("answers").into_iter().map(of).collect();
    let asked = json!({ "pictures": names, "logs": logs, "labels": labels });
    fs::write(path, asked.to_string()).expect("written");
}

#[test]
fn what_transformers_cannot_say_is_refused_by_its_block() {
    let out = folder();
    let path = out.path().join("new");
    let refused = |model: ModelFolder| {
        export::write(&model, Form::Transformers, &Numbers::default(), &path)
            .expect_err("refused")
            .to_string()
    };
    let said = refused(thin(Unit::Basic, Stem::Cifar, 3, None));
    assert!(said.contains("block 1: its stem is CIFAR's"), "{said}");
    let middle = Some(Widened { factor: 2, widen: Widen::Mid });
    let said = refused(thin(Unit::Basic, Stem::Imagenet, 3, middle));
    assert!(said.contains("block 1, unit 1: it has 12 channels inside and 6 outside"), "{said}");
    let said = refused(thin(Unit::Basic, Stem::Imagenet, 1, None));
    assert!(said.contains("its pictures have 1 channel"), "{said}");
    assert!(!path.exists(), "nothing is written");
}

#[test]
fn what_disagrees_within_a_folder_is_refused() {
    let out = folder();
    let path = out.path().join("model");
    let model = thin(Unit::Basic, Stem::Imagenet, 3, None);
    export::write(&model, Form::Transformers, &Numbers::default(), &path).expect("written");
    let file = path.join("config.json");
    let whole: Value = serde_json::from_slice(&fs::read(&file).expect("read")).expect("JSON");
    let said = |key: &str, value: Value| {
        let mut other = whole.clone();
        other[key] = value;
        fs::write(&file, other.to_string()).expect("written");
        sums::write(&path).expect("sums");
        ModelFolder::read(&path).expect_err(key).to_string()
    };
    for (key, value) in [("hidden_sizes", json!([6, 24])), ("depths", json!([2, 2]))] {
        let said = said(key, value);
        assert!(said.contains("another network than the rest"), "{said}");
    }
    let without = |mut of: Value| {
        of.as_object_mut().expect("an object").remove("taper");
        of
    };
    let mut foreign = without(whole.clone());
    foreign["hidden_sizes"] = json!([6, 20]);
    fs::write(&file, foreign.to_string()).expect("written");
    sums::write(&path).expect("sums");
    let said = ModelFolder::read(&path).expect_err("widths").to_string();
    assert!(said.contains("hidden_sizes = [6, 20]") && said.contains("teacher.from"), "{said}");
    // Its own description left out, it is read as anybody's.
    fs::write(&file, without(whole).to_string()).expect("written");
    sums::write(&path).expect("sums");
    let ModelConfig::Images(of) = ModelFolder::read(&path).expect("read").config else { panic!() };
    assert!(matches!(of.model, Model::Resnet(Resnet { base: 6, stem: Stem::Imagenet, .. })));
}

fn mlp(activation: Activation) -> Model {
    Model::Mlp(Mlp { hidden: vec![9, 6, 5], blocks: vec![2, 1], activation })
}

/// A network of timm's stem: of its widths, or a teacher of one.
fn as_timms(unit: Unit, channels: u32, widened: Option<Widened>) -> ModelFolder {
    let blocks = vec![1, 1, 1, 1];
    let stem = Stem::Imagenet;
    let model = Model::Resnet(Resnet { width: 1.0, base: 64, unit, stem, blocks });
    nets::model("resnet", model, channels, 33, widened)
}

#[test]
fn any_network_on_images_is_written_with_the_python_that_builds_it() {
    let middle = Some(Widened { factor: 2, widen: Widen::Mid });
    let mut cases = vec![
        ("basic", thin(Unit::Basic, Stem::Cifar, 3, None)),
        ("grey", thin(Unit::Bottleneck, Stem::Imagenet, 1, None)),
        ("teacher", thin(Unit::Bottleneck, Stem::Cifar, 3, middle)),
        ("gelu", nets::model("mlp", mlp(Activation::Gelu), 3, 5, None)),
        ("gelu-tanh", nets::model("mlp", mlp(Activation::GeluTanh), 1, 5, None)),
        ("sigmoid", nets::model("mlp", mlp(Activation::Sigmoid), 3, 6, middle)),
    ];
    for (k, (_, model)) in cases.iter_mut().enumerate() {
        let input = &mut nets::images(&mut model.config).input;
        (input.crop, input.interpolation) =
            [(0.8, Interpolation::Bilinear), (0.9, Interpolation::Area)][k % 2];
    }
    let (out, mut written) = (folder(), Vec::new());
    for (name, model) in cases {
        let path = out.path().join(name);
        export::write(&model, Form::Pytorch, &Numbers::default(), &path).expect(name);
        let again = ModelFolder::read(&path).expect(name);
        assert_eq!((&again.config, &again.weights), (&model.config, &model.weights));
        ask(&model, &path, [57, 43]);
        written.push(path);
    }
    // What says one thing twice is compared.
    let file = written[0].join("config.json");
    let text = fs::read_to_string(&file).expect("read");
    let torn = text.replace("\"classes\": 7", "\"classes\": 8");
    assert_ne!(text, torn);
    fs::write(&file, torn).expect("written");
    sums::write(&written[0]).expect("sums");
    let said = ModelFolder::read(&written[0]).expect_err("torn").to_string();
    assert!(said.contains("under `network` is another network"), "{said}");
    fs::write(&file, text).expect("written");
    if let Some(python) = tools::torch() {
        check(&python, &written);
    }
}

#[test]
fn what_is_written_for_timm_is_read_back_and_opens_there() {
    let middle = Some(Widened { factor: 2, widen: Widen::Mid });
    let cases = [
        ("timm-basic", as_timms(Unit::Basic, 3, None)),
        ("timm-grey", as_timms(Unit::Basic, 1, None)),
        ("timm-teacher", as_timms(Unit::Bottleneck, 3, middle)),
    ];
    let (out, mut written) = (folder(), Vec::new());
    for (name, model) in cases {
        let path = out.path().join(name);
        export::write(&model, Form::Timm, &Numbers::default(), &path).expect(name);
        let again = ModelFolder::read(&path).expect(name);
        assert_eq!((&again.config, &again.weights), (&model.config, &model.weights));
        // Without our own description it is read as anybody's.
        let file = path.join("config.json");
        let mut config: Value =
            serde_json::from_slice(&fs::read(&file).expect("read")).expect("JSON");
        let whole = config.clone();
        config.as_object_mut().expect("an object").remove("taper");
        fs::write(&file, config.to_string()).expect("written");
        sums::write(&path).expect("sums");
        let foreign = ModelFolder::read(&path).expect(name).config;
        assert_eq!(foreign.network(), model.config.network(), "{name}");
        config = whole;
        config["model_args"]["layers"] = json!([2, 1, 1, 1]);
        let good = fs::read(&file).expect("read");
        fs::write(&file, config.to_string()).expect("written");
        sums::write(&path).expect("sums");
        let said = ModelFolder::read(&path).expect_err("torn").to_string();
        assert!(said.contains("another network than the rest"), "{said}");
        fs::write(&file, good).expect("written");
        sums::write(&path).expect("sums");
        ask(&model, &path, [33, 50]);
        if name != "timm-grey" {
            written.push(path);
        }
    }
    if let Some(python) = tools::torch_with("timm") {
        check(&python, &written);
    }
}

#[test]
fn what_timm_wrote_is_read_and_answers_as_there() {
    let Some(python) = tools::torch_with("timm") else { return };
    let out = folder();
    let path = out.path().join("wide");
    let script = golden::path("vision.py");
    let done = Command::new(python).arg(script).arg("timm").arg(&path).status();
    assert!(done.expect("Python runs").success());
    let model = ModelFolder::read(&path).expect("read");
    let ImageModel { labels, widened, input, .. } = model.config.images().expect("of images");
    assert_eq!(labels, &["apple", "pear", "fig"]);
    assert_eq!(*widened, Some(Widened { factor: 2, widen: Widen::Mid }));
    assert_eq!((f64::from(input.size) / input.crop).round(), 33.0, "timm rounds 33.7 down");
    answers_as(model, &path.join("expected.safetensors"), "wide");
}

#[test]
fn what_timm_cannot_say_is_refused_by_its_block_and_its_settings_by_name() {
    let out = folder();
    let path = out.path().join("new");
    let refused = |model: ModelFolder| {
        let error =
            export::write(&model, Form::Timm, &Numbers::default(), &path).expect_err("refused");
        assert_eq!(error.hint().as_deref(), Some("`--format pytorch` writes it"));
        error.to_string()
    };
    let said = refused(thin(Unit::Basic, Stem::Cifar, 3, None));
    assert!(said.contains("block 1: its stem is CIFAR's"), "{said}");
    let said = refused(thin(Unit::Basic, Stem::Imagenet, 3, None));
    assert!(said.contains("block 1: its stem has 6 channels, and timm's always has 64"), "{said}");
    let middle = Some(Widened { factor: 2, widen: Widen::Mid });
    let said = refused(as_timms(Unit::Basic, 3, middle));
    assert!(said.contains("block 1, unit 1: it has 128 channels inside and 64 outside"), "{said}");
    let said = refused(nets::model("mlp", mlp(Activation::Relu), 3, 5, None));
    assert!(said.contains("no residual network"), "{said}");
    assert!(!path.exists(), "nothing is written");

    export::write(&as_timms(Unit::Basic, 3, None), Form::Timm, &Numbers::default(), &path)
        .expect("written");
    let file = path.join("config.json");
    let mut whole: Value = serde_json::from_slice(&fs::read(&file).expect("read")).expect("JSON");
    whole.as_object_mut().expect("an object").remove("taper");
    let said = |at: [&str; 2], value: Value| {
        let mut other = whole.clone();
        match at {
            [key, ""] => other[key] = value,
            [key, inner] => other[key][inner] = value,
        }
        fs::write(&file, other.to_string()).expect("written");
        sums::write(&path).expect("sums");
        ModelFolder::read(&path).expect_err("refused").to_string()
    };
    for (at, value, part) in [
        (["architecture", ""], json!("resnet18d"), "\"resnet18d\""),
        (["model_args", "output_stride"], json!(8), "model_args.output_stride = 8"),
        (["pretrained_cfg", "interpolation"], json!("bicubic"), "interpolation = \"bicubic\""),
        (["pretrained_cfg", "mean"], Value::Null, "it does not say `pretrained_cfg.mean`"),
        (["label_names", ""], json!(["one"]), "it names 1 classes of 7"),
    ] {
        let said = said(at, value);
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn weights_in_half_precision_are_read_by_all() {
    let (out, mut written) = (folder(), Vec::new());
    let model = thin(Unit::Basic, Stem::Imagenet, 3, None);
    for form in [Form::Transformers, Form::Pytorch] {
        let path = out.path().join(form.name());
        let numbers = Numbers { half: true, ..Numbers::default() };
        export::write(&model, form, &numbers, &path).expect("written");
        let again = ModelFolder::read(&path).expect("read");
        for (name, tensor) in &model.weights {
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= a.abs() / 2048.0 + 1e-7;
            assert!(tensor.data.iter().zip(&again.weights[name].data).all(near), "{name}");
        }
        assert_ne!(again.weights, model.weights);
        let size = fs::metadata(path.join("model.safetensors")).expect("there").len() as usize;
        let numbers: usize = model.weights.values().map(|tensor| tensor.len()).sum();
        assert!(size < 3 * numbers + 20_000, "{size} bytes of {numbers} numbers");
        ask(&again, &path, [33, 50]);
        written.push(path);
    }
    if let Some(python) = tools::transformers() {
        check(&python, &written);
    }
}
