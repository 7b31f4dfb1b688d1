//! The account of what was read, through the program: from folders and archives as people have them, nothing vanishes without a line.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use support::{folder, taper};

/// A network for any pictures.
const SMALL: &str = r#"
methods = ["vanilla"]
[data]
size = 8
[model]
arch = "mlp"
hidden = [8, 8]
blocks = [1, 1]
"#;

/// `taper` with these arguments.
fn command(arguments: &[&str]) -> Output {
    Command::new(taper()).args(arguments).env("NODEVICE_SELECT", "1").output().expect("started")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// What `inspect` says of the data at `source`; else its sentence.
fn inspected(source: &Path, kind: &str) -> Result<Value, String> {
    let folder = folder();
    let file = folder.path().join("run.toml");
    fs::write(&file, SMALL).expect("written");
    let source = format!("data.path={}", path(source));
    let kind = format!("data.kind={kind}");
    let output = command(&["inspect", path(&file), "--set", &source, "--set", &kind, "--json"]);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let whole: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    Ok(whole["data"].clone())
}

/// Names of the classes, and all pictures of each part.
fn counts(account: &Value) -> (Vec<&str>, u64, u64) {
    let classes = account["classes"].as_array().expect("classes");
    let sum = |part: &str| {
        let counts = account[part]["counts"].as_array().expect("counts");
        counts.iter().map(|count| count.as_u64().expect("a number")).sum()
    };
    let classes = classes.iter().map(|class| class.as_str().expect("a name")).collect();
    (classes, sum("train"), sum("test"))
}

/// A file of the small cases beside the workspace, or nothing (unless TAPER_REQUIRE_DATA=1) where they are not there.
fn case(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases").join(name);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var("TAPER_REQUIRE_DATA").as_deref() == Ok("1");
    assert!(!required, "{} is not there", path.display());
    println!("skipped: {} is not there", path.display());
    None
}

/// The archive, and the folder that it unpacks to where `tar` can do that.
fn both(archive: &Path, to: &Path) -> Vec<PathBuf> {
    let mut places = vec![archive.to_owned()];
    let unpacked = Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(to).output();
    if unpacked.is_ok_and(|output| output.status.success()) {
        places.push(to.to_owned());
    }
    places
}

/// What `survey` says of an upload.
fn surveyed(archive: &Path) -> Value {
    let folder = folder();
    let (set, thumbnails) = (folder.path().join("set"), folder.path().join("thumbnails"));
    [&set, &thumbnails].iter().for_each(|path| fs::create_dir(path).expect("made"));
    let places = [path(archive), path(&set), path(&thumbnails)];
    let [archive, set, thumbnails] = places;
    let output =
        command(&["survey", "--archive", archive, "--path", set, "--thumbnails", thumbnails]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{archive}: {said}");
    let whole: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    whole["account"].clone()
}

#[test]
fn the_small_cases_come_out_right() {
    for (name, train, test) in [
        ("good.tar.gz", 36, 12),
        ("wrongroot.tar.gz", 18, 6),
        ("pax_binary_newline.tar", 18, 6),
        ("hardlink.tar", 19, 6),
        ("question.zip", 18, 6),
        ("root2.zip", 18, 6),
    ] {
        let Some(archive) = case(name) else { continue };
        let folder = folder();
        for place in both(&archive, folder.path()) {
            let account = inspected(&place, "folder").expect(name);
            assert_eq!(counts(&account), (vec!["cat", "dog", "emu"], train, test), "{name}");
        }
        assert_eq!(counts(&surveyed(&archive)), (vec!["cat", "dog", "emu"], train, test), "{name}");
    }
    if let Some(archive) = case("eval_dog_emu.tar.gz") {
        let account = inspected(&archive, "folder").expect("split");
        assert_eq!(counts(&account), (vec!["dog", "emu"], 0, 12));
        assert_eq!(account["used"]["test"], serde_json::json!([1, 1]));
    }
    if let Some(archive) = case("idx_appledouble.tar.gz") {
        let folder = folder();
        for place in both(&archive, folder.path()) {
            let account = inspected(&place, "idx").expect("read");
            let (_, train, test) = counts(&account);
            assert_eq!((train, test), (60, 20));
            assert_eq!(account["skipped"]["hidden"]["count"], 2);
        }
        assert_eq!(surveyed(&archive)["skipped"]["hidden"]["count"], 2);
    }
    if let Some(archive) = case("inject.tar") {
        let error = inspected(&archive, "folder").expect_err("damaged");
        assert!(error.contains("inject.tar") && error.contains("\\u{1b}"), "{error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}

/// Archives of other programs: GNU tar and Python's modules, where they are there.
#[test]
fn archives_of_other_programs_are_read() {
    let folder = folder();
    let root = folder.path().join("set");
    let picture = |level: u8| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let image = image::RgbImage::from_pixel(8, 8, image::Rgb([level; 3]));
        image.write_to(&mut bytes, image::ImageFormat::Png).expect("encoded");
        bytes.into_inner()
    };
    let long = "l".repeat(150);
    for (level, name) in [
        "train/a b/1.png",
        "train/a b/deep/2.png",
        &format!("train/caf\u{e9}/{long}.png"),
        "train/caf\u{e9}/what?:.png",
        "train/caf\u{e9}/.hidden.png",
        "validation/a b/1.png",
        "validation/caf\u{e9}/1.png",
        "notes.txt",
    ]
    .iter()
    .enumerate()
    {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, picture(level as u8)).expect("written");
    }
    fs::hard_link(root.join("train/a b/1.png"), root.join("train/caf\u{e9}/linked.png"))
        .expect("linked");
    let python = r#"
import sys, tarfile, zipfile, os
kind, root, out = sys.argv[1:]
if kind == 'zip':
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z:
        for folder, _, files in os.walk(root):
            for f in files:
                path = os.path.join(folder, f)
                z.write(path, os.path.join('archive', 'set', os.path.relpath(path, root)))
else:
    t = tarfile.open(out, 'w:gz', format={'pax': tarfile.PAX_FORMAT, 'gnu': tarfile.GNU_FORMAT}[kind])
    t.add(root, 'set')
    t.close()
"#;
    let archive = folder.path().join("packed");
    let from = path(folder.path());
    let packed = path(&archive);
    let mut made = 0;
    for arguments in [
        vec!["tar", "-cf", packed, "-C", from, "set"],
        vec!["tar", "--format=posix", "-czf", packed, "-C", from, "set"],
        vec!["tar", "--format=ustar", "-cf", packed, "-C", path(&root), "."],
        vec!["bsdtar", "-cf", packed, "-C", from, "set"],
        vec!["bsdtar", "--format=zip", "-cf", packed, "-C", from, "set"],
        vec!["python3", "-c", python, "pax", path(&root), packed],
        vec!["python3", "-c", python, "gnu", path(&root), packed],
        vec!["python3", "-c", python, "zip", path(&root), packed],
    ] {
        drop(fs::remove_file(&archive));
        let done = Command::new(arguments[0]).args(&arguments[1..]).output();
        if !done.is_ok_and(|output| output.status.success()) {
            println!("skipped: {} does not make such an archive here", arguments[0]);
            continue;
        }
        made += 1;
        let account =
            inspected(&archive, "folder").unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        let expected = (vec!["a b", "caf\u{e9}"], 5, 2);
        assert_eq!(counts(&account), expected, "{arguments:?}");
        assert_eq!(account["test"]["name"], "validation");
        assert_eq!(account["skipped"]["hidden"]["count"], 1);
        assert_eq!(account["skipped"]["no_picture"]["count"], 1);
        assert_eq!(counts(&surveyed(&archive)), expected, "{arguments:?}");
    }
    assert!(made > 0, "neither tar nor Python is there");
}

#[test]
fn a_run_tells_what_it_read() {
    let folder = folder();
    let root = folder.path().join("set");
    for (level, name) in ["a/1", "a/2", "a/3", "b/1", "b/2", "b/3", "c/1"].iter().enumerate() {
        let path = root.join(format!("{name}.png"));
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        image::RgbImage::from_pixel(8, 8, image::Rgb([level as u8; 3])).save(path).expect("saved");
    }
    fs::write(root.join("a/notes\u{1b}[31m.txt"), "").expect("written");
    let account = inspected(&root, "folder").expect("read");
    assert_eq!(account["used"], serde_json::json!({ "train": [2, 2, 1], "test": [1, 1, 0] }));
    let (file, out) = (folder.path().join("run.toml"), folder.path().join("out"));
    let source = format!("data.path={}", path(&root));
    let text = format!("{SMALL}[vanilla]\nsteps = 2\nbatch = 4\nwarmup = 0\n");
    fs::write(&file, text).expect("written");
    let output = command(&[
        "run",
        path(&file),
        "--set",
        &source,
        "--set",
        "data.kind=folder",
        "--set",
        "seeds=[0]",
        "--out",
        path(&out),
    ]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    for words in [
        "data: 3 classes; train 7 pictures (1 … 3 a class)",
        "used: 5 to train (1 … 2 a class), 2 to test (0 … 1 a class)",
        "skipped 1: 1 of another kind (a/notes\\u{1b}[31m.txt)",
        "no test pictures of \"c\"",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains('\u{1b}'), "{told:?}");
    let log = fs::read_to_string(out.join("events.jsonl")).expect("a log");
    let events: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let read = events.iter().find(|event| event["type"] == "data_read").expect("the event");
    assert_eq!(read["account"], account);
    // A single class is refused, and nothing is left behind.
    fs::remove_dir_all(root.join("b")).expect("removed");
    fs::remove_dir_all(root.join("c")).expect("removed");
    let error = inspected(&root, "folder").expect_err("one class");
    assert!(error.contains("one class only, \"a\""), "{error}");
}
