//! Small files of every kind that readers accept. Most are made in memory; runs are trained, once, into a folder that is kept.

use std::{
    collections::BTreeMap,
    fs,
    io::{Cursor, Write as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use engine::{
    config::{Config, Interpolation, Mlp, Model, Resnet, Stem, presets},
    event::Event,
    formats::{ImageInput, ImageModel, MergeReport, ModelConfig, ModelFolder},
    nn::{Weights, fresh},
    train::{Options, Run, TrainError},
};
use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageFormat, RgbImage, RgbaImage};
use safetensors::tensor::{Dtype, TensorView};

use super::{Files, Kind, mutate, take};
use crate::texts;

/// A run of a second: two members, one of them merged.
pub const TINY: &str = r#"
methods = ["vanilla", "win"]
seeds = [0]

[data]
kind = "procedural"
train_count = 128
test_count = 32

[model]
arch = "mlp"
hidden = [4, 4]
blocks = [1, 1]

[teacher]
factor = 2

[wide]
epochs = 1
batch = 32

[vanilla]
epochs = 1
batch = 32

[narrow]
epochs = 1
batch = 32

[tune]
epochs = 1
batch = 32

[win]
start_inputs = 64
"#;

/// Folders of runs, below that of the seeds.
const FINISHED: &str = "finished";
const HALF_WAY: &str = "half-way";

/// Files of each kind.
#[derive(Debug)]
pub struct Seeds(BTreeMap<Kind, Vec<Files>>);

impl Seeds {
    /// All seeds. `folder` has the runs, if [`train`] has made them; without, there are none of their kinds.
    pub fn open(folder: &Path) -> Self {
        let (finished, half_way) = (take(&folder.join(FINISHED)), take(&folder.join(HALF_WAY)));
        let mut all = BTreeMap::from([
            (Kind::Idx, vec![idx(false), idx(true)]),
            (Kind::Cifar, vec![cifar()]),
            (Kind::Picture, pictures().into_iter().map(|one| Files::from([one])).collect()),
            (Kind::Folder, vec![folder_of_pictures()]),
            (Kind::Tar, tars()),
            (Kind::Zip, vec![zip_of_pictures(true), zip_of_pictures(false)]),
            (Kind::Shards, vec![shards()]),
            (Kind::Imagenet, vec![imagenet()]),
            (
                Kind::Safetensors,
                vec![foreign(Dtype::F32), foreign(Dtype::F16), foreign(Dtype::BF16)],
            ),
            (Kind::Model, models()),
            (Kind::Toml, configurations()),
        ]);
        if let (Ok(finished), Ok(half_way)) = (finished, half_way) {
            let log = |run: &Files| {
                let name = "events.jsonl".to_owned();
                run.get(&name).map(|bytes| Files::from([(name, bytes.clone())]))
            };
            let logs = [&finished, &half_way].into_iter().filter_map(log);
            all.insert(Kind::Events, logs.collect());
            let members = checkpoints(&half_way).into_iter().chain(checkpoints(&finished));
            all.insert(Kind::Checkpoint, members.collect());
            all.insert(Kind::Run, vec![half_way, finished]);
        }
        all.retain(|_, seeds| !seeds.is_empty());
        Self(all)
    }

    /// The kinds that there are seeds of.
    pub fn kinds(&self) -> Vec<Kind> {
        self.0.keys().copied().collect()
    }

    /// Those of a kind.
    ///
    /// # Panics
    /// If there are none.
    pub fn of(&self, kind: Kind) -> &[Files] {
        &self.0[&kind]
    }
}

/// Trains a run to its end, and another one half of the way, into `folder`, where they are not there yet.
///
/// # Errors
/// Whatever stops a run, and that there is no adapter.
pub fn train(folder: &Path) -> Result<(), TrainError> {
    for (name, half) in [(FINISHED, false), (HALF_WAY, true)] {
        let out = folder.join(name);
        if out.exists() {
            continue;
        }
        // A run that was killed here is not taken for a seed.
        let making = folder.join(format!("{name}.part"));
        drop(fs::remove_dir_all(&making));
        let config = Config::from_toml(TINY, "the seed")?;
        let run = Run::create(config, &making, &crate::host())?;
        let stop = AtomicBool::new(false);
        let options = Options { checkpoint_every: Duration::ZERO, ..Options::new(&making) };
        let ended = run.execute(&options, &stop, &mut |entry| {
            let third = matches!(&entry.event, Event::Checkpoint { member, step, .. }
                if member.starts_with("win") && *step >= 6);
            if half && third {
                stop.store(true, Ordering::Relaxed);
            }
        });
        match ended {
            Ok(()) => {}
            Err(TrainError::Stopped(_)) if half => {}
            Err(error) => return Err(error),
        }
        drop(run);
        drop(fs::remove_file(making.join("run.lock")));
        fs::rename(&making, &out).map_err(|error| TrainError::Folder(error.to_string()))?;
    }
    Ok(())
}

/// Whether an adapter can be opened.
pub fn adapter() -> Result<(), String> {
    taper_gpu::open("auto", taper_gpu::Options::default())
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The checkpoints of each member of a run, a seed each.
fn checkpoints(run: &Files) -> Vec<Files> {
    let mut members: BTreeMap<&str, Files> = BTreeMap::new();
    for (name, bytes) in run {
        if let Some((member, file)) = name.split_once("/checkpoints/") {
            members.entry(member).or_default().insert(file.into(), bytes.clone());
        }
    }
    members.into_values().collect()
}

/// An array in IDX.
fn array(extents: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, extents.len() as u8];
    extents.iter().for_each(|extent| file.extend(extent.to_be_bytes()));
    file.extend(bytes);
    file
}

/// 12 + 6 pictures of 3 × 3, grey or colour, of three classes; half of the files are gzip.
fn idx(colour: bool) -> Files {
    let mut files = Files::new();
    for (part, count, gz) in [("train", 12u32, false), ("t10k", 6, true)] {
        let extents = [count, 3, 3, 3];
        let extents = if colour { &extents[..] } else { &extents[..3] };
        let pixels = extents.iter().product::<u32>();
        let pixels: Vec<u8> = (0..pixels).map(|n| (n * 7 % 251) as u8).collect();
        let labels: Vec<u8> = (0..count).map(|n| (n % 3) as u8).collect();
        for (what, dims, bytes) in
            [("images", 3, array(extents, &pixels)), ("labels", 1, array(&[count], &labels))]
        {
            let name = format!("{part}-{what}-idx{dims}-ubyte");
            match gz {
                true => files.insert(format!("{name}.gz"), mutate::zip(&bytes)),
                false => files.insert(name, bytes),
            };
        }
    }
    files
}

/// CIFAR-10 with one or two pictures a file.
fn cifar() -> Files {
    let record = |class: u8| {
        let pixels = (0..3072u32).map(move |n| (n * u32::from(class + 1) % 253) as u8);
        std::iter::once(class).chain(pixels).collect::<Vec<u8>>()
    };
    let batch = |n: u8| (format!("data_batch_{n}.bin"), [record(n), record((n + 4) % 10)].concat());
    let mut files: Files = (1..=5).map(batch).collect();
    files.insert("test_batch.bin".into(), record(3));
    let names: String = (0..10).map(|n| format!("class{n}\n")).collect();
    files.insert("batches.meta.txt".into(), names.into_bytes());
    files
}

/// A picture in a format; `None` where this build has no encoder of it.
fn encoded(picture: &DynamicImage, format: ImageFormat) -> Option<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).ok().map(|()| bytes.into_inner())
}

/// A picture with edges, of a class's colour.
fn coloured(class: u8, side: u32) -> DynamicImage {
    let pixel = |x: u32, y: u32| {
        let mut pixel = [30 + 20 * (x % 4) as u8, 40 + 10 * (y % 5) as u8, 50];
        pixel[usize::from(class) % 3] += 120;
        image::Rgb(pixel)
    };
    RgbImage::from_fn(side, side + 1, pixel).into()
}

/// Pictures of every format and colour that can be written here, each under a name with its ending.
pub fn pictures() -> Vec<(String, Vec<u8>)> {
    let rgb = coloured(1, 9);
    let all: [(&str, DynamicImage); 4] = [
        ("rgb", rgb.clone()),
        ("grey", GrayImage::from_fn(7, 5, |x, y| image::Luma([(x * 30 + y) as u8])).into()),
        ("rgba", RgbaImage::from_fn(6, 6, |x, y| image::Rgba([9, 200, (x * y) as u8, 128])).into()),
        ("la", GrayAlphaImage::from_fn(6, 4, |x, y| image::LumaA([(x * y) as u8, 77])).into()),
    ];
    let formats = [
        ("png", ImageFormat::Png),
        ("jpg", ImageFormat::Jpeg),
        ("bmp", ImageFormat::Bmp),
        ("webp", ImageFormat::WebP),
        ("tif", ImageFormat::Tiff),
        ("ppm", ImageFormat::Pnm),
    ];
    let mut files = Vec::new();
    for (end, format) in formats {
        for (name, picture) in &all {
            if let Some(bytes) = encoded(picture, format) {
                files.push((format!("{name}.{end}"), bytes));
            }
        }
    }
    // A larger one: several restart intervals and rows of blocks.
    files.extend(encoded(&coloured(2, 40), ImageFormat::Jpeg).map(|b| ("large.jpg".into(), b)));
    files
}

/// Two classes, 4 and 2 pictures each, PNG and JPEG, below `root`.
fn classes(root: &str) -> Files {
    let mut files = Files::new();
    for (class, name) in ["cat", "dog"].into_iter().enumerate() {
        for (part, count) in [("train", 4), ("test", 2)] {
            for n in 0..count {
                let picture = coloured(class as u8, 3 + n);
                let (end, format) =
                    [("png", ImageFormat::Png), ("jpg", ImageFormat::Jpeg)][usize::from(n == 1)];
                let bytes = encoded(&picture, format).expect("PNG and JPEG are written");
                files.insert(format!("{root}{part}/{name}/{n}.{end}"), bytes);
            }
        }
    }
    files
}

fn folder_of_pictures() -> Files {
    let mut files = classes("");
    files.insert("train/cat/notes.txt".into(), b"mine".to_vec());
    files.insert("train/dog/._0.png".into(), b"\0\x05\x16\x07".to_vec());
    files
}

fn tars() -> Vec<Files> {
    let build = |root: &str, gnu: bool| {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in classes(root) {
            let mut header = if gnu { tar::Header::new_gnu() } else { tar::Header::new_ustar() };
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, &bytes[..]).expect("appended");
        }
        builder.into_inner().expect("a tar")
    };
    let long = format!("{}/", "long".repeat(30));
    vec![
        Files::from([("set.tar".into(), build("", false))]),
        Files::from([("set.tar.gz".into(), mutate::zip(&build("set/", false)))]),
        Files::from([("set.tar".into(), build(&long, true))]),
    ]
}

/// A plain tar of files.
fn tar_of(files: &Files) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &bytes[..]).expect("appended");
    }
    builder.into_inner().expect("a tar")
}

/// A shard to train on and one to test on, with labels of both sorts.
fn shards() -> Files {
    let shard = |count: usize| {
        let mut files = Files::new();
        for n in 0..count {
            let class = (n % 2) as u8;
            let picture = encoded(&coloured(class, 3 + n as u32), ImageFormat::Png);
            files.insert(format!("{n:03}.png"), picture.expect("PNG is written"));
            match n % 3 {
                0 => files.insert(format!("{n:03}.json"), format!("{{\"label\": {class}}}").into()),
                _ => files.insert(format!("{n:03}.cls"), class.to_string().into()),
            };
        }
        tar_of(&files)
    };
    Files::from([
        ("train-000000.tar".into(), shard(5)),
        ("val-000000.tar".into(), shard(3)),
        ("classnames.txt".into(), b"cat\ndog\n".to_vec()),
    ])
}

/// ILSVRC of two classes.
fn imagenet() -> Files {
    let classes = ["n00000001", "n00000002"];
    let (mut train, mut val, mut list) = (Files::new(), Files::new(), String::new());
    for (at, class) in classes.into_iter().enumerate() {
        let picture = |n: u32| encoded(&coloured(at as u8, 3 + n), ImageFormat::Png).expect("PNG");
        let inner = (0..3).map(|n| (format!("{class}_{n}.JPEG"), picture(n))).collect();
        train.insert(format!("{class}.tar"), tar_of(&inner));
        let name = format!("ILSVRC2012_val_{:08}.JPEG", at + 1);
        list += &format!("{name} {class}\n");
        val.insert(name, picture(5));
    }
    Files::from([
        ("ILSVRC2012_img_train.tar".into(), tar_of(&train)),
        ("ILSVRC2012_img_val.tar".into(), tar_of(&val)),
        ("val.txt".into(), list.into_bytes()),
    ])
}

fn zip_of_pictures(deflate: bool) -> Files {
    let method = match deflate {
        true => zip::CompressionMethod::Deflated,
        false => zip::CompressionMethod::Stored,
    };
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in classes("set/") {
        writer.start_file(name, options).expect("begun");
        writer.write_all(&bytes).expect("written");
    }
    let bytes = writer.finish().expect("a zip").into_inner();
    Files::from([("set.zip".into(), bytes)])
}

/// Weights as another program writes them, with the library.
fn foreign(dtype: Dtype) -> Files {
    let width = dtype.bitsize() / 8;
    let data: Vec<u8> = (0..12 * width).map(|n| (n * 5 % 120) as u8).collect();
    let view = |shape: &[usize], bytes: usize| {
        TensorView::new(dtype, shape.to_vec(), &data[..bytes * width]).expect("a tensor")
    };
    let counter = [3, 0, 0, 0, 0, 0, 0, 0];
    let tensors = [
        ("fc.weight", view(&[2, 3], 6)),
        ("conv.weight", view(&[2, 1, 3, 2], 12)),
        ("fc.bias", view(&[2], 2)),
        ("bn.num_batches_tracked", TensorView::new(Dtype::I64, vec![], &counter).expect("one")),
    ];
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let bytes = safetensors::serialize(tensors, Some(metadata)).expect("written");
    Files::from([("model.safetensors".into(), bytes)])
}

/// A small MLP, a small ResNet and a small BERT as model folders.
fn models() -> Vec<Files> {
    let mlp = Mlp { hidden: vec![3, 2], blocks: vec![1, 1], ..Mlp::default() };
    let resnet = Resnet { base: 2, stem: Stem::Cifar, blocks: vec![1, 1], ..Resnet::default() };
    let on_images = |model: Model| {
        let config = ModelConfig::Images(ImageModel {
            architecture: model.arch().into(),
            model,
            widened: None,
            input: ImageInput {
                channels: 3,
                size: 4,
                mean: vec![0.5; 3],
                std: vec![0.25; 3],
                interpolation: Interpolation::default(),
                crop: 1.0,
            },
            labels: vec!["cat".into(), "dog".into()],
        });
        let weights: Weights = fresh(&config.network(), 1).expect("weights");
        let merge = Some(MergeReport {
            max_abs_error: 1e-6,
            relative_error: 3e-7,
            inputs: 500,
            params_before: 30,
            params_after: 10,
        });
        ModelFolder { weights, config, merge, card: "# A model\n".into() }
    };
    let folder = |model: &ModelFolder| {
        let folder = tempfile::tempdir().expect("a folder");
        model.write(folder.path()).expect("written");
        take(folder.path()).expect("read")
    };
    let images = [Model::Mlp(mlp), Model::Resnet(resnet)].map(on_images);
    images.into_iter().chain([texts::model(None)]).map(|model| folder(&model)).collect()
}

/// The presets, and a small configuration twice: presets of large networks take long to plan.
fn configurations() -> Vec<Files> {
    let texts = presets::PRESETS.iter().map(|preset| preset.text);
    let all = texts.chain([TINY, TINY, TINY]);
    all.map(|text| Files::from([("run.toml".into(), text.as_bytes().to_vec())])).collect()
}
