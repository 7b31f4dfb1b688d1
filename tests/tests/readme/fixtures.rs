//! What README's commands name as the reader's own: a few pictures, texts and models.

use std::{fs, path::Path};

use engine::{
    config::{Mlp, Model, Resnet, ResnetOfDepth, Stem, Unit},
    formats::{ModelFolder, safetensors},
    models,
    nn::Extent,
};
use flate2::{Compression, write::GzEncoder};
use image::{GrayImage, RgbImage};
use serde_json::{Value, json};
use taper_tests::nets;

/// Everything, below the folder that the commands run in.
pub(super) fn write(home: &Path) {
    let at = |path: &str| {
        let path = home.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        path
    };
    let picture = |k: u32, side: u32| RgbImage::from_fn(side, side, |x, y| shade(k, x, y).into());
    picture(0, 12).save(at("picture.jpg")).expect("saved");
    for (class, name) in (0..).zip(["iris", "lily", "rose"]) {
        for k in 0..12 {
            let picture = picture(class + 3 * k, 24);
            picture.save(at(&format!("flowers/{name}/{k}.png"))).expect("saved");
            // The server's are where README says that they are.
            picture.save(at(&format!("data/flowers/{name}/{k}.png"))).expect("saved");
        }
    }
    for (part, count) in [("train", 160), ("t10k", 40)] {
        let labels: Vec<u8> = (0..count).map(|k| (k % 10) as u8).collect();
        let grey =
            |k: u32| GrayImage::from_fn(28, 28, |x, y| [shade(k, x, y)[0]].into()).into_raw();
        let images: Vec<u8> = (0..count).flat_map(grey).collect();
        let file = |kind: &str| at(&format!("fashion-mnist/{part}-{kind}-ubyte"));
        fs::write(file("images-idx3"), idx(&[count, 28, 28], &images)).expect("written");
        fs::write(file("labels-idx1"), idx(&[count], &labels)).expect("written");
    }
    fs::write(at("cifar10.tar.gz"), cifar()).expect("written");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/parquet");
    for name in ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"] {
        let name = format!("{name}.parquet");
        fs::copy(golden.join(&name), at(&format!("cifar10/{name}"))).expect("copied");
    }
    for (k, text) in (0..).zip(books()) {
        fs::write(at(&format!("books/{k}.txt")), text).expect("written");
    }
    fs::write(at("story.txt"), "The fox sat down by the river. Then it was sold to the town.\n")
        .expect("written");
    for (name, articles) in [("train-v1.1.json", 4), ("dev-v1.1.json", 1)] {
        fs::write(at(&format!("squad/{name}")), squad(articles).to_string()).expect("written");
    }
}

/// The teacher of ImageNet, which is large.
pub(super) fn write_teacher(home: &Path) {
    let model = Model::Resnet50(ResnetOfDepth { width: 1.0, stem: Stem::Imagenet });
    let teacher = models::network(&model, Extent::Map(224, 224, 3), 1000);
    let weights = teacher.to_file(&nets::weights(&teacher, 1));
    safetensors::write(&home.join("resnet50.safetensors"), &weights, &safetensors::pytorch())
        .expect("written");
}

/// A colour that says a little of the class, and a little of nothing.
fn shade(k: u32, x: u32, y: u32) -> [u8; 3] {
    let noise = k.wrapping_mul(7919).wrapping_add(x * 31 + y * 17) % 64;
    [0, 1, 2].map(|c| ((k % 10) * (15 + c) + (x + c * y) % 16 + noise) as u8)
}

/// An IDX file of bytes.
fn idx(extents: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, extents.len() as u8];
    extents.iter().for_each(|extent| bytes.extend(extent.to_be_bytes()));
    bytes.extend(data);
    bytes
}

/// CIFAR-10 as it is downloaded, with few records.
fn cifar() -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut add = |name: &str, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), data).expect(name);
    };
    let record = |k: u32| {
        let planes = (0..3072).map(move |at| shade(k, at % 32, at / 32 % 32)[(at / 1024) as usize]);
        std::iter::once((k % 10) as u8).chain(planes)
    };
    for batch in 1..=5 {
        let records: Vec<u8> = (batch * 40..batch * 40 + 40).flat_map(record).collect();
        add(&format!("data_batch_{batch}.bin"), &records);
    }
    add("test_batch.bin", &(0..40).flat_map(record).collect::<Vec<u8>>());
    let names: String = (0..10).map(|k| format!("class{k}\n")).collect();
    add("batches.meta.txt", names.as_bytes());
    archive.into_inner().expect("whole").finish().expect("whole")
}

/// Twelve documents of sentences, with words enough for a vocabulary.
fn books() -> Vec<String> {
    let parts = ["ba", "ce", "di", "fo", "gu", "lan", "mer", "nis", "tor", "wen"];
    let word = |k: usize| [k / 100, k / 10, k].map(|k| parts[k % 10]).concat();
    let sentence =
        |k: usize| format!("The {} sat down, and {} saw it.\n", word(k), word(k * 7 + 3));
    (0..12).map(|book| (0..60).map(|k| sentence(book * 60 + k)).collect()).collect()
}

/// Questions in SQuAD's form.
fn squad(articles: usize) -> Value {
    let article = |k: usize| {
        let who = ["fox", "hen", "cat", "owl"][k % 4];
        let context = format!("In 18{k}7 the {who} sat down by the river.");
        let of = |n: usize, question: &str, text: &str| {
            let start = context.find(text).expect("in the text");
            let answers = json!([{ "text": text, "answer_start": start }]);
            json!({ "id": format!("{articles}-{k}-{n}"), "question": question, "answers": answers })
        };
        let asked = [of(0, "Who sat down?", who), of(1, "Where was it?", "by the river")];
        json!({ "title": who, "paragraphs": [{ "context": context, "qas": asked }] })
    };
    json!({ "version": "1.1", "data": (0..articles).map(article).collect::<Vec<_>>() })
}

/// A model of ten classes.
fn of_ten(name: &str, model: Model, channels: u32, size: u32) -> ModelFolder {
    let mut folder = nets::model(name, model, channels, size, None);
    nets::images(&mut folder.config).labels = (0..10).map(|k| format!("class {k}")).collect();
    folder.weights = nets::weights(&folder.config.network(), 5);
    folder
}

pub(super) fn resnet50() -> ModelFolder {
    let model = ResnetOfDepth { width: 1.0, stem: Stem::Imagenet };
    of_ten("resnet50", Model::Resnet50(model), 3, 64)
}

/// The student of the preset `cifar10-resnet-thin`.
pub(super) fn cifar_thin() -> ModelFolder {
    let (unit, stem, blocks) = (Unit::Bottleneck, Stem::Cifar, vec![1, 1, 1, 1]);
    of_ten("resnet", Model::Resnet(Resnet { width: 1.0, base: 4, unit, stem, blocks }), 3, 16)
}

/// The student of the preset `demo`.
pub(super) fn demo() -> ModelFolder {
    of_ten("mlp", Model::Mlp(Mlp::default()), 1, 12)
}
