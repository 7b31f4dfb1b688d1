use std::path::Path;

use super::super::super::account::Reason;
use super::super::super::archive::tests::{tar, zip};
use super::super::image::tests::png;
use super::*;

fn open(path: &Path) -> Result<Parts, DataError> {
    super::open(&path.into())
}

/// Writes a PNG of one colour at `root`/`name`.
pub(in crate::data) fn write_png(root: &Path, name: &str, side: u32, colour: [u8; 3]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, png(side, side, colour)).unwrap();
}

/// Pictures of these names as a folder, a tar and a zip: all three are read as the same, which is the answer.
fn of_all(names: &[&str]) -> Result<Parts, String> {
    let picture = png(2, 2, [1; 3]);
    let outside = tempfile::tempdir().unwrap();
    let (folder, packed) = (outside.path().join("x"), outside.path().join("y"));
    std::fs::create_dir(&folder).unwrap();
    for name in names {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &picture).unwrap();
    }
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &picture[..])).collect();
    let said = |parts: &Result<Parts, String>| match parts {
        Ok(Parts { train, test, classes, account }) => {
            let labels = |part: &Option<Examples>| {
                part.as_ref().map(|part| part.labels.clone()).unwrap_or_default()
            };
            // A folder is looked through in the order of names, an archive in its own.
            let mut account = account.clone();
            account.skipped.values_mut().for_each(|skipped| skipped.first.sort());
            Ok((labels(train), labels(test), classes.clone(), account))
        }
        Err(error) => Err(error.clone()),
    };
    let opened = |path: &Path| {
        let place = path.display().to_string();
        open(path).map_err(|error| error.to_string().replace(&place, "it"))
    };
    let first = opened(&folder);
    for bytes in [tar(&files), zip(&files)] {
        std::fs::write(&packed, bytes).unwrap();
        assert_eq!(said(&opened(&packed)), said(&first));
    }
    first
}

/// Class names, and how many pictures of each there are to train and to test.
fn found(names: &[&str]) -> (Vec<String>, Vec<u64>, Vec<u64>, Account) {
    let Parts { train, test, classes, account } = of_all(names).unwrap();
    let counts = |part: Option<Examples>| {
        let labels = part.map(|part| part.labels).unwrap_or_default();
        super::super::division::counts(&labels, classes.len())
    };
    let (train, test) = (counts(train), counts(test));
    (classes, train, test, account)
}

#[test]
fn classes_are_sorted_and_strangers_have_a_line() {
    let (classes, train, test, account) = found(&[
        "train/dog/1.png",
        "train/cat/b/2.PNG",
        "train/cat/1.png",
        "val/dog/1.png",
        "train/cat/.x.png",
        "train/readme.txt",
        "train/cat/notes.txt",
        "train/cat/old.gif",
        "train/loose.png",
        "extra/1.png",
        "LICENSE",
    ]);
    assert_eq!(classes, ["cat", "dog"]);
    assert_eq!((train, test), (vec![2, 1], vec![0, 1]));
    assert_eq!((&*account.train.name, &*account.test.name), ("train", "val"));
    let skipped: Vec<(Reason, u64)> =
        account.skipped.iter().map(|(reason, skipped)| (*reason, skipped.count)).collect();
    assert_eq!(
        skipped,
        [
            (Reason::UnreadKind, 1),
            (Reason::NoClass, 1),
            (Reason::NoPicture, 3),
            (Reason::Hidden, 1)
        ]
    );
    assert_eq!((account.ignored.len(), &*account.ignored[0].folder), (1, "extra"));
}

#[test]
fn the_level_of_both_parts_decides() {
    // Inside a folder called as a part; behind two folders; with other names and cases of the parts.
    for (root, train, test) in [
        ("test/", "train", "test"),
        ("train/", "train", "val"),
        ("archive/flowers/", "train", "valid"),
        ("a/b/c/d/", "Train", "Validation"),
        ("", "TRAIN", "Test"),
    ] {
        let names: Vec<String> = ["cat/1", "cat/2", "dog/1"]
            .iter()
            .map(|name| format!("{root}{train}/{name}.png"))
            .chain(["cat/1", "dog/1"].iter().map(|name| format!("{root}{test}/{name}.webp")))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (classes, trained, tested, account) = found(&names);
        assert_eq!(classes, ["cat", "dog"], "{root}");
        assert_eq!((trained, tested), (vec![2, 1], vec![1, 1]));
        assert_eq!(account.test.name, test);
        assert_eq!(account.notes.is_empty(), root.is_empty());
    }
    let error = of_all(&["a/train/x/1.png", "a/test/x/1.png", "b/train/x/1.png", "b/val/x/1.png"]);
    let error = error.unwrap_err();
    assert!(error.contains("in \"a\" and in \"b\""), "{error}");
    // A copy inside, as Kaggle has it, and folders beside, have a line.
    let (classes, .., account) = found(&[
        "x/train/a/1.png",
        "x/train/b/1.png",
        "x/test/a/1.png",
        "x/x/train/a/1.png",
        "x/x/test/a/1.png",
        "samples/1.png",
    ]);
    assert_eq!(classes, ["a", "b"]);
    let ignored: Vec<&str> = account.ignored.iter().map(|ignored| &*ignored.folder).collect();
    assert_eq!(ignored, ["x/x", "samples"]);
}

#[test]
fn of_two_test_parts_the_first_with_classes_is_taken() {
    let both = ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png"];
    let (.., test, account) = found(&[&both[..], &["test/a/1.png", "test/a/2.png"]].concat());
    assert_eq!((test, &*account.test.name), (vec![2, 0], "test"));
    assert_eq!(account.ignored[0].folder, "val");
    assert_eq!(account.ignored[0].reason, "\"test\" is the test part");
    // ImageNet's test pictures have no labels.
    let (.., test, account) = found(&[&both[..], &["test/1.png", "test/2.png"]].concat());
    assert_eq!((test, &*account.test.name), (vec![1, 1], "val"));
    assert_eq!(account.ignored[0].pictures, 2);
    assert!(account.ignored[0].reason.contains("no class folders"));
    let (.., account) = found(&["train/a/1.png", "train/b/1.png", "test/1.png"]);
    assert_eq!((&*account.train.name, &*account.test.name), ("train", ""));
}

#[test]
fn class_folders_alone_are_one_part() {
    for root in ["", "flowers/", "archive/flowers/"] {
        let names: Vec<String> = ["rose/1", "rose/deep/2", "tulip/1"]
            .iter()
            .map(|name| format!("{root}{name}.png"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (classes, train, test, _) = found(&names);
        assert_eq!(classes, ["rose", "tulip"], "{root}");
        assert_eq!((train, test), (vec![2, 1], vec![0, 0]));
    }
    let (classes, .., account) = found(&["control/1.png", "test/1.png"]);
    assert_eq!(classes, ["control", "test"]);
    assert!(account.notes[0].contains("\"test\" was taken for a class"), "{account:?}");
    let parts = ["Testing/a/1.png", "Testing/b/1.png", "Training/a/1.png", "Training/b/1.png"];
    let (classes, .., account) = found(&parts);
    assert_eq!(classes, ["Testing", "Training"]);
    assert!(account.notes[0].contains("both hold \"a\", \"b\""), "{account:?}");
    for (names, words) in [
        (&["train/1.png", "test/1.png"][..], "without a folder for each class"),
        (&["1.png"], "a folder for each class is needed"),
        (&["a/1.txt", "a/.1.png"], "skipped 2: 1 of another kind (a/1.txt); 1 hidden (a/.1.png)"),
        (&["raw/t10k-labels-idx1-ubyte"], "data.kind = \"idx\""),
        (&["test/a/1.png", "cat/1.png"], "\"test\" beside \"cat\""),
        (&["x/train/a/1.png", "y/test/a/1.png"], "in \"x\" and in \"y\""),
        (&["x/train/a/1.png", "y/1.png"], "in \"x\" and in \"y\""),
        (&["Train/a/1.png", "train/a/1.png", "test/a/1.png"], "\"Train\" and in \"train\""),
    ] {
        let error = of_all(names).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn unicode_forms_of_a_name_are_one_class() {
    let (classes, train, test, account) = found(&[
        "train/caf\u{e9}/1.png",
        "train/cafe\u{301}/1.png",
        "train/b/1.png",
        "test/cafe\u{301}/1.png",
    ]);
    assert_eq!(classes, ["b", "caf\u{e9}"]);
    assert_eq!((train, test), (vec![1, 2], vec![0, 1]));
    assert!(account.notes[0].contains("are one class"), "{account:?}");
    // Cases are two.
    assert_eq!(found(&["a/1.png", "A/1.png", "a/1.PNG"]).1, [1, 2]);
}

#[test]
fn folders_are_held_up_to_a_number() {
    // Names of folders of their own: a small archive of a million would take gigabytes.
    let deep = "/a".repeat(60);
    let names: Vec<String> = (0..5000).map(|at| format!("{at}{deep}/1.png")).collect();
    let mut builder = ::tar::Builder::new(Vec::new());
    for name in &names {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(0);
        builder.append_data(&mut header, name, &[][..]).unwrap();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), builder.into_inner().unwrap()).unwrap();
    let error = open(file.path()).unwrap_err().to_string();
    assert!(error.contains("more than 300000 folders"), "{error}");
}

#[test]
fn empty_classes_have_a_line_or_refuse() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["train/a/1.png", "train/b/1.png"] {
        write_png(folder.path(), name, 2, [0; 3]);
    }
    std::fs::create_dir(folder.path().join("train/c")).unwrap();
    let parts = open(folder.path()).unwrap();
    assert_eq!(parts.classes, ["a", "b"]);
    assert_eq!(parts.account.ignored[0].folder, "train/c");
    std::fs::write(folder.path().join("train/c/1.heic"), "x").unwrap();
    let parts = open(folder.path()).unwrap();
    assert_eq!(parts.classes, ["a", "b", "c"], "training refuses the class without pictures");
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_never_opened() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["train/a/1.png", "train/b/1.png", "elsewhere/1.png"] {
        write_png(root, name, 2, [0; 3]);
    }
    // A socket stands for pipes and devices.
    let _socket = std::os::unix::net::UnixListener::bind(root.join("train/a/2.png")).unwrap();
    symlink("/nowhere", root.join("train/a/3.png")).unwrap();
    symlink(root, root.join("train/a/loop")).unwrap();
    symlink(root.join("elsewhere"), root.join("train/a/linked")).unwrap();
    std::fs::write(root.join("train/a").join(std::ffi::OsStr::from_bytes(b"\xff.png")), "")
        .unwrap();
    let parts = open(root).unwrap();
    assert_eq!(parts.train.unwrap().labels, [0, 0, 1]);
    let count = |reason: Reason| parts.account.skipped[&reason].count;
    assert_eq!((count(Reason::Device), count(Reason::Link), count(Reason::BadName)), (1, 2, 1));
    std::fs::create_dir(root.join("train").join(std::ffi::OsStr::from_bytes(b"\xfe"))).unwrap();
    let error = open(root).unwrap_err().to_string();
    assert!(error.contains("no UTF-8"), "{error}");
}
