//! Residual networks in folders of transformers': those that it wrote, read by us; and ours, opened by it.

mod support;

use std::{fs, path::Path, process::Command};

use engine::{
    config::{Config, Data, ImageKind, Model, Resnet, Stem, Unit, Widen},
    data::images::Image,
    formats::{ImageModel, ModelConfig, ModelFolder, folder::Widened, for_transformers, sums},
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
        let golden = Golden::read(&format!("hub/resnet-{name}.expected"));
        let pixels = &golden.tensors["pixels"];
        let [count, height, width, channels] = pixels.shape[..] else { panic!("no pictures") };
        let bytes: Vec<u8> = pixels.words.iter().map(|&word| word as u8).collect();
        let picture = |pixels: &[u8]| Image {
            height: height as usize,
            width: width as usize,
            channels: channels as usize,
            pixels: pixels.to_vec(),
        };
        let pictures: Vec<Image> =
            bytes.chunks(bytes.len() / count as usize).map(picture).collect();
        let ours = Trained::of(model).expect("its weights").predict(&gpu(), &pictures);
        let theirs = golden.floats("logits");
        let theirs: Vec<f64> = theirs.chunks(3).flat_map(softmax).collect();
        let ours: Vec<f64> = ours.expect("answers").concat();
        assert_eq!(ours.len(), theirs.len());
        let off = largest(ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()));
        assert!(off < 1e-5, "{name}: {off:e}");
    }
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
        for_transformers::write(&model, &path).expect("written");
        let again = ModelFolder::read(&path).expect("read");
        assert_eq!((&again.config, &again.weights), (&model.config, &model.weights));
        ask(&model, &out.path().join(format!("{name}.json")));
        written.push(path);
    }
    let Some(python) = tools::torch() else { return };
    let script = golden::path("vision.py");
    let done = Command::new(python).arg(script).arg("check").args(&written).status();
    assert!(done.expect("Python runs").success());
}

/// Pictures beside a folder, and what the network makes of them. They have the size already: Pillow rounds between the two passes of a resize.
fn ask(model: &ModelFolder, path: &Path) {
    let ImageModel { labels, .. } = model.config.images().expect("of images");
    let names: Vec<String> = (0..3).map(|k| format!("picture{k}.png")).collect();
    let pictures: Vec<Image> = (0..3u8)
        .map(|k| {
            let pixels = (0..33 * 50 * 3u32).map(|n| (n * (7 + u32::from(k)) % 251) as u8);
            Image { height: 33, width: 50, channels: 3, pixels: pixels.collect() }
        })
        .collect();
    for (name, picture) in names.iter().zip(&pictures) {
        let file = path.with_file_name(name);
        let (width, height) = (picture.width as u32, picture.height as u32);
        let pixels = picture.pixels.clone();
        image::RgbImage::from_raw(width, height, pixels).expect("whole").save(file).expect("saved");
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
        for_transformers::write(&model, &path).expect_err("refused").to_string()
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
    for_transformers::write(&thin(Unit::Basic, Stem::Imagenet, 3, None), &path).expect("written");
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
