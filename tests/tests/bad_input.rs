//! What a user can do wrong, through the program: one sentence that says what, where and what is allowed, a failure as exit status, and
//! no half-written file.

mod support;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use engine::config::{Mlp, Model};
use flate2::{Compression, write::GzEncoder};
use support::{RESNET, files, folder, leftovers, taper, toml};
use taper_tests::nets;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(taper());
    // Mesa's layer of this name writes to standard error where there is no desktop.
    command.args(arguments).env("NODEVICE_SELECT", "1");
    command
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// The sentence with which a command failed: one line, and maybe one more on what to do.
#[track_caller]
fn sentence(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it succeeded: {text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
    let mut lines = text.lines().filter(|line| {
        // What a run says of itself before it fails.
        !["adapter: ", "data: ", "  ", "teacher-0 ", "win-0 ", "waited for data: "]
            .iter()
            .any(|start| line.starts_with(start))
            && !line.contains(" is reached by OpenGL, which is best effort")
    });
    let told = lines.next().unwrap_or_default();
    let told = told.strip_prefix("error: ").unwrap_or_else(|| panic!("no sentence: {text}"));
    assert!(lines.all(|line| line.starts_with("hint: ")), "more than a sentence: {text}");
    assert!(!told.ends_with('.') && told.len() < 400, "{told}");
    // Shown if the test fails, or with --nocapture.
    println!("{text}");
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

/// Runs a configuration that must be refused before anything is trained; the sentence.
#[track_caller]
fn refused(changes: &[&str]) -> String {
    let folder = folder();
    let (file, out) = (folder.path().join("run.toml"), folder.path().join("out"));
    fs::write(&file, toml(changes)).expect("written");
    let output = command(&["run", path(&file), "--out", path(&out)]).output().expect("started");
    let told = sentence(&output);
    assert!(!out.exists(), "{told} leaves {:?}", files(&out));
    told
}

#[track_caller]
fn assert_says(told: &str, parts: &[&str]) {
    for part in parts {
        assert!(told.contains(part), "{part:?} is missing: {told}");
    }
}

/// An IDX file of bytes.
fn idx(extents: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, extents.len() as u8];
    extents.iter().for_each(|extent| bytes.extend(extent.to_be_bytes()));
    bytes.extend(data);
    bytes
}

#[test]
fn a_truncated_idx_file() {
    let data = folder();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(data.path().join(name), bytes).expect("written");
    };
    let whole = idx(&[100, 8, 8], &[7; 100 * 64]);
    let labels: Vec<u8> = (0..100).map(|n| n % 10).collect();
    let source = format!("data.path={}", path(data.path()));
    let changes = [source.as_str(), "data.kind=idx", "data.train_count=64", "data.test_count=32"];

    write("train-images-idx3-ubyte", &whole[..3000]);
    write("train-labels-idx1-ubyte", &idx(&[100], &labels));
    assert_says(&refused(&changes), &["train-images-idx3-ubyte", "6400", "2984"]);

    // Compressed, and cut in the middle of the stream.
    fs::remove_file(data.path().join("train-images-idx3-ubyte")).expect("removed");
    let mut zip = GzEncoder::new(Vec::new(), Compression::fast());
    zip.write_all(&whole).expect("compressed");
    let zip = zip.finish().expect("compressed");
    write("train-images-idx3-ubyte.gz", &zip[..zip.len() / 2]);
    assert_says(&refused(&changes), &["train-images-idx3-ubyte.gz"]);

    write("train-images-idx3-ubyte.gz", &zip);
    let told = refused(&[&changes[..], &["data.train_count=90"]].concat());
    assert_says(&told, &["122", "100"]);
    write("train-labels-idx1-ubyte", &idx(&[99], &labels[..99]));
    assert_says(&refused(&changes), &["100", "99"]);
}

/// A PNG that claims `side` × `side` pixels and has none.
fn bomb(side: u32) -> Vec<u8> {
    let mut crc_table = [0u32; 256];
    for (n, entry) in (0u32..).zip(&mut crc_table) {
        *entry = (0..8).fold(n, |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 });
    }
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        let body = [&kind[..], data].concat();
        let crc = body.iter().fold(!0u32, |c, &b| crc_table[(c as u8 ^ b) as usize] ^ (c >> 8));
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(&body);
        bytes.extend((!crc).to_be_bytes());
    };
    let head = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    chunk(b"IHDR", &head);
    chunk(b"IDAT", &[0x78, 0x9c, 0x63, 0, 0, 0, 1, 0, 1]);
    chunk(b"IEND", &[]);
    bytes
}

fn picture(level: u8) -> Vec<u8> {
    let image = image::RgbImage::from_pixel(8, 8, image::Rgb([level; 3]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).expect("encoded");
    bytes.into_inner()
}

#[test]
fn an_image_bomb() {
    let data = folder();
    for part in ["train", "test"] {
        for class in ["cat", "dog"] {
            let folder = data.path().join(part).join(class);
            fs::create_dir_all(&folder).expect("made");
            for n in 0..40 {
                fs::write(folder.join(format!("{n}.png")), picture(n)).expect("written");
            }
        }
    }
    let bad = data.path().join("train/dog/bomb.png");
    fs::write(&bad, bomb(100_000)).expect("written");
    let source = format!("data.path={}", path(data.path()));
    let mut changes = vec![source.as_str(), "data.kind=folder", "data.size=8"];
    changes.extend(["data.train_count=81", "data.test_count=64"]);
    assert_says(&refused(&changes), &["bomb.png", "100000"]);
    fs::write(&bad, &picture(1)[..40]).expect("written");
    assert_says(&refused(&changes), &["bomb.png"]);
    fs::write(&bad, "not a picture").expect("written");
    assert_says(&refused(&changes), &["bomb.png"]);
}

/// A tar archive of a small data set with one more entry, whose header is written as it is.
fn archive(name: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |name: &str, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        // The crate's own setters refuse such names, as ours should.
        header.as_gnu_mut().expect("gnu").name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, data).expect("appended");
    };
    for part in ["train", "test"] {
        for (n, class) in ["cat", "dog"].iter().cycle().take(80).enumerate() {
            add(&format!("{part}/{class}/{n}.png"), &picture(n as u8));
        }
    }
    add(name, &picture(0));
    archive.into_inner().expect("an archive")
}

#[test]
fn a_tar_archive_that_reaches_outside_itself() {
    let data = folder();
    let file = data.path().join("images.tar");
    let source = format!("data.path={}", path(&file));
    let mut changes = vec![source.as_str(), "data.kind=folder", "data.size=8"];
    changes.extend(["data.train_count=64", "data.test_count=64"]);
    for name in ["train/../../evil.png", "/tmp/taper-evil/evil.png"] {
        fs::write(&file, archive(name)).expect("written");
        assert_says(&refused(&changes), &["images.tar", name]);
    }
    assert!(!Path::new("/tmp/taper-evil").exists());
    assert_eq!(files(data.path()), std::slice::from_ref(&file), "nothing was unpacked");
    let whole = fs::read(&file).expect("read");
    fs::write(&file, &whole[..whole.len() / 2 + 100]).expect("written");
    assert_says(&refused(&changes), &["images.tar"]);
}

/// A safetensors file: the header as it is given, then so many bytes.
fn tensors(header: &str, bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; bytes]].concat()
}

#[test]
fn a_teacher_that_is_not_what_it_says() {
    let folder = folder();
    let file = folder.path().join("teacher.safetensors");
    let from = format!("teacher.from={}", path(&file));
    let told = |bytes: &[u8], parts: &[&str]| {
        fs::write(&file, bytes).expect("written");
        let told = refused(&[&from]);
        assert_says(&told, &["teacher.safetensors"]);
        assert_says(&told, parts);
    };
    // A wrong shape: the images have 256 pixels.
    let of = |name: &str, shape: [usize; 2], at: usize| {
        let end = at + 4 * shape[0] * shape[1];
        format!(r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{at},{end}]}}"#)
    };
    let bias = |name: &str, n: usize, at: usize| {
        format!(r#""{name}":{{"dtype":"F32","shape":[{n}],"data_offsets":[{at},{}]}}"#, at + 4 * n)
    };
    let first = of("layers.0.weight", [4, 99], 0);
    let header = [
        first.clone(),
        bias("layers.0.bias", 4, 1584),
        of("head.weight", [10, 4], 1600),
        bias("head.bias", 10, 1760),
    ];
    let whole = format!("{{{}}}", header.join(","));
    told(&tensors(&whole, 1800), &["layers.0.weight", "[4, 99]", "[4, 256]"]);
    told(&tensors(&format!("{{{first}}}"), 1584), &["neither"]);
    // Lying headers: more data than there is, fewer, an extent that overflows, a header of exabytes, no JSON, nothing.
    told(&tensors(&whole, 900), &["cut"]);
    told(&tensors(&whole, 9000), &["changed"]);
    let huge =
        r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,16]}}"#;
    told(&tensors(huge, 16), &["overflow"]);
    told(&u64::MAX.to_le_bytes(), &["the file has 8"]);
    told(&tensors("not json", 0), &["header"]);
    told(&[], &["0 bytes"]);
    fs::remove_file(&file).expect("removed");
    assert_says(&refused(&[&from]), &["teacher.from", "teacher.safetensors", "holds no teacher"]);
    // A file that is right, of another network.
    fs::write(&file, tensors(&whole, 1800)).expect("written");
    assert_says(&refused(&[&RESNET[..5], &[&from]].concat()), &["layers.0.weight"]);
}

/// Runs the small configuration's text with one more line, or options.
fn with(text: &str, options: &[&str]) -> String {
    let folder = folder();
    let (file, out) = (folder.path().join("run.toml"), folder.path().join("out"));
    fs::write(&file, text).expect("written");
    let arguments = [&["run", path(&file), "--out", path(&out)], options].concat();
    let told = sentence(&command(&arguments).output().expect("started"));
    assert!(!out.exists(), "{told} leaves {:?}", files(&out));
    told
}

#[test]
fn a_configuration_with_a_slip_of_the_pen() {
    let plain = toml(&[]);
    let told = with(&format!("sedes = [1]\n{plain}"), &[]);
    assert_says(&told, &["sedes", "run.toml", "seeds"]);
    let told = with(&plain, &["--set", "tune.epoch=3"]);
    assert_says(&told, &["--set tune.epoch=3", "epochs"]);
    let told = with(&plain, &["--set", "tune.lr=nan"]);
    assert_says(&told, &["tune.lr", "nan", "--set"]);
    let told = with("[tune]\nlr = nan\n", &[]);
    assert_says(&told, &["run.toml", "tune.lr", "nan"]);
    let told = with(&plain, &["--set", "narrow.lr=-1"]);
    assert_says(&told, &["narrow.lr", "-1", "0"]);
    let told = with(&plain, &["--set", "win.start=greddy"]);
    assert_says(&told, &["win.start", "greddy", "greedy"]);
    let told = with("seeds = [", &[]);
    assert_says(&told, &["run.toml:1"]);
    let output = command(&["run", "dmeo", "--out", "never"]).output().expect("started");
    assert_says(&sentence(&output), &["dmeo", "demo"]);
    assert!(!Path::new("never").exists());
}

#[test]
fn a_folder_that_is_taken_and_options_that_contradict() {
    let folder = folder();
    let out = folder.path().join("out");
    fs::create_dir(&out).expect("made");
    fs::write(out.join("mine.txt"), "mine").expect("written");
    let output = command(&["run", "demo", "--out", path(&out)]).output().expect("started");
    assert_says(&sentence(&output), &[path(&out), "not empty", "--resume"]);
    assert_eq!(files(&out), [out.join("mine.txt")]);

    let output = command(&["run", "--resume", "--out", path(&out)]).output().expect("started");
    assert_says(&sentence(&output), &[path(&out)]);
    assert_eq!(files(&out), [out.join("mine.txt")]);

    // The command line's own parser tells what does not go together, and exits with 2 as such parsers do.
    for option in [["--set", "tune.lr=1"], ["--grid", "tune.lr=1,2"]] {
        let arguments = [&["run", "--resume", "--out", path(&out)], &option[..]].concat();
        let output = command(&arguments).output().expect("started");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert_says(&told, &["--resume", option[0], "cannot be used with"]);
    }
}

/// Its weights do not matter: the refusal comes before they do, and nothing is written.
#[test]
fn a_model_too_large_for_a_browser() {
    let folder = folder();
    let (model, out) = (folder.path().join("model"), folder.path().join("out"));
    let mlp = Mlp { hidden: vec![4, 4], blocks: vec![1, 1], ..Mlp::default() };
    nets::model("mlp", Model::Mlp(mlp), 1, 8, None).write(&model).expect("written");
    let file = model.join("config.json");
    let config = fs::read(&file).expect("read");
    let mut config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    config["model"]["hidden"] = serde_json::json!([20_000, 20_000]);
    fs::write(&file, config.to_string()).expect("written");
    // The sums would tell first that it was changed.
    fs::remove_file(model.join("SHA256SUMS")).expect("removed");
    let export = ["export", path(&model), "--to", path(&out), "--plan"];
    let told = sentence(&command(&export).output().expect("started"));
    assert_says(&told, &["no browser runs this model", "student.params", "268435456", "--plan"]);
    assert!(!out.exists());
}

#[test]
fn no_adapter() {
    let folder = folder();
    let (file, out) = (folder.path().join("run.toml"), folder.path().join("out"));
    fs::write(&file, toml(&[])).expect("written");
    let mut command = command(&["run", path(&file), "--out", path(&out)]);
    // Neither Vulkan's loader nor EGL's finds a driver. Other systems have neither loader nor such a switch.
    for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "__EGL_VENDOR_LIBRARY_FILENAMES"] {
        command.env(variable, "/dev/null");
    }
    let output = command.output().expect("started");
    if output.status.success() {
        eprintln!("skipped: the drivers of this system cannot be hidden");
        return;
    }
    assert_says(&sentence(&output), &["no GPU adapter was found", "install"]);
    assert!(!out.exists());
}

/// Here: Mesa's driver for GL.
#[test]
fn mixed_precision_on_an_adapter_without_f16() {
    let output = command(&["devices", "--json"]).output().expect("started");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let devices = found["devices"].as_array().expect("a list");
    let Some(device) = devices.iter().find(|device| device["f16"] == false) else {
        eprintln!("skipped: every adapter here has f16");
        return;
    };
    let folder = folder();
    let (file, out) = (folder.path().join("run.toml"), folder.path().join("out"));
    fs::write(&file, toml(&["precision=mixed"])).expect("written");
    let index = device["index"].to_string();
    let run = ["run", path(&file), "--device", &index, "--out", path(&out)];
    let told = sentence(&command(&run).output().expect("started"));
    assert_says(&told, &["has no shader-f16", "precision = \"mixed\"", "use \"f32\""]);
    assert!(!out.exists());
}

/// A file system of a few hundred kilobytes, unmounted when dropped.
#[cfg(target_os = "linux")]
struct Small(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl Small {
    /// `None` where one may not mount.
    fn new(bytes: u32) -> Option<Self> {
        let folder = folder();
        let size = format!("size={bytes}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs", path(folder.path())])
            .output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0.path()).output());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let Some(disk) = Small::new(96 << 10) else {
        eprintln!("skipped: only root may mount a small file system");
        return;
    };
    let folder = folder();
    let file = folder.path().join("run.toml");
    // Teacher and student take more than there is, the configuration and the first lines of the log do not.
    fs::write(&file, toml(&["model.hidden=[24,24,24,24]", "teacher.factor=4"])).expect("written");
    let out = disk.0.path().join("out");
    let output = command(&["run", path(&file), "--out", path(&out)]).output().expect("started");
    let told = sentence(&output);
    assert_says(
        &told,
        &["cannot write `", path(&out), "No space left", "hint: ", "free some space"],
    );
    assert_eq!(leftovers(disk.0.path()), Vec::<PathBuf>::new());
    for file in files(&out) {
        if file.extension().is_some_and(|end| end == "safetensors") {
            let read = engine::formats::safetensors::read(&file);
            assert!(read.is_ok(), "{} is half-written", file.display());
        }
    }
}
