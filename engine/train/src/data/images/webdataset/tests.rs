//! Shards, read by offsets.

use std::path::Path;

use super::super::image::tests::png;
use super::super::tests::batches;
use super::super::{open as open_set, survey};
use super::*;
use crate::config::{ImageKind, Images, OnError};
use crate::data::archive::tests::tar;

/// A shard of pictures, one of `colour` beside each label.
fn shard(first: usize, labels: &[&str]) -> Vec<u8> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (label, at) in labels.iter().zip(first..) {
        files.push((format!("{at:04}.png"), png(4, 4, [at as u8, 0, 7])));
        files.push((format!("{at:04}.cls"), label.as_bytes().to_vec()));
        files.push((format!("{at:04}.txt"), b"a caption".to_vec()));
    }
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    tar(&files)
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn images(path: impl AsRef<Path>) -> Images {
    let path = Some(path.as_ref().display().to_string());
    Images { kind: ImageKind::Webdataset, path, size: Some(4), ..Images::default() }
}

/// Two shards of six to train on and one of four to test on, of three classes.
fn set() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "x-train-000000.tar", &shard(0, &["0", "1", "2"]));
    write(folder.path(), "x-train-000001.tar", &shard(3, &["2\n", " 1", "0"]));
    write(folder.path(), "x-val-000000.tar", &shard(6, &["0", "1", "2", "2"]));
    folder
}

/// The sentence by which a single shard of these files is refused.
fn refusal(files: &[(&str, &[u8])]) -> String {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.tar", &tar(files));
    open(&folder.path().into()).expect_err("refused").to_string()
}

#[test]
fn shards_are_found_by_folder_braces_and_one_by_one() {
    let folder = set();
    let given = folder.path().display();
    let braces = format!("{given}/x-{{train-{{000000..000001}},val-000000}}.tar");
    for path in [given.to_string(), braces] {
        let opened = open_set(&images(&path)).unwrap();
        assert_eq!(opened.train.classes(), [0, 1, 2, 2, 1, 0]);
        assert_eq!(opened.test.classes(), [0, 1, 2, 2]);
        let account = &opened.account;
        assert_eq!(account.classes, ["0", "1", "2"]);
        assert_eq!((&*account.train.name, &*account.test.name), ("train", "val"));
        assert_eq!(account.notes, ["of the samples the files .txt are not used"]);
    }
    let one = survey(&images(folder.path().join("x-train-000001.tar")), 9).unwrap();
    assert_eq!(one.train.counts, [1, 1, 1]);
    let reds: Vec<u8> = one.train.samples.iter().map(|sample| sample.image.pixels[0]).collect();
    assert_eq!(reds, [3, 4, 5]);
    let error = open_set(&images(format!("{given}/x-train-{{000000..000002}}.tar")));
    assert!(error.unwrap_err().to_string().contains("x-train-000002.tar"));
}

#[test]
fn labels_are_numbers_with_names_or_names() {
    let folder = set();
    write(folder.path(), "classnames.txt", "cat\ndog\nhen\nowl\n".as_bytes());
    let parts = open(&folder.path().into()).unwrap();
    assert_eq!(parts.classes, ["cat", "dog", "hen", "owl"]);
    // A list may have more classes than there are pictures of.
    assert_eq!(open_set(&images(folder.path())).unwrap().account.train.counts, [2, 2, 2, 0]);
    write(folder.path(), "classnames.txt", b"cat\ndog\n");
    let error = open(&folder.path().into()).unwrap_err().to_string();
    assert!(
        error.contains("0002.png") && error.contains("the label 2, which is none of the 2"),
        "{error}"
    );
    write(folder.path(), "classnames.txt", b"cat\ncat\n");
    assert!(open(&folder.path().into()).unwrap_err().to_string().contains("\"cat\" twice"));

    let folder = tempfile::tempdir().unwrap();
    let picture = png(2, 2, [1; 3]);
    let files: [(&str, &[u8]); 6] = [
        ("a/1.PNG", &picture),
        ("a/1.json", br#"{"label": "owl", "w": 2}"#),
        ("b/1.json", br#"{"label": "cat"}"#),
        ("b/1.png", &picture),
        ("b/2.png", &picture),
        ("b/2.cls", b"cat"),
    ];
    write(folder.path(), "a.tar", &tar(&files));
    let parts = open(&folder.path().into()).unwrap();
    assert_eq!(
        (parts.classes, parts.train.unwrap().labels),
        (vec!["cat".into(), "owl".into()], vec![1, 0, 0])
    );
    assert!(parts.test.is_none());
}

#[test]
fn lying_samples_are_refused_in_a_sentence() {
    let picture = png(2, 2, [1; 3]);
    let with = |name: &str, label: &[u8]| refusal(&[("k.png", &picture), (name, label)]);
    for (error, words) in [
        (refusal(&[("k.png", &picture)]), "entry \"k\" has a picture and no label"),
        (
            refusal(&[("k.png", &picture), ("k.jpg", &picture), ("k.cls", b"0")]),
            "entry \"k\" has two pictures, \"k.png\" and \"k.jpg\"",
        ),
        (with("k.cls", b""), "entry \"k.cls\" is empty"),
        (with("k.cls", b"-1"), "has the label -1, where 0 to 999999 are allowed"),
        (with("k.cls", b"1000000"), "has the label 1000000, where"),
        (with("k.cls", b"\xff\xfe"), "is no UTF-8"),
        (with("k.json", b"{"), "entry \"k.json\" is no JSON"),
        (with("k.json", b"{\"label\": 1.5}"), "neither a whole number nor a name"),
        (with("k.json", b"{}"), "has a picture and no label"),
        (
            refusal(&[("k.png", &picture), ("k.cls", b"1"), ("k.json", b"{\"label\": 2}")]),
            "has the label 1 in its .cls and 2 in its .json",
        ),
        (
            refusal(&[
                ("k.png", &picture),
                ("k.cls", b"1"),
                ("l.png", &picture),
                ("l.cls", b"cat"),
            ]),
            "all are names, or all numbers",
        ),
        (
            with("k.cls", &vec![b'1'; 2 << 20]),
            "has 2097152 bytes, more than the 1048576 of a label",
        ),
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let folder = set();
    write(folder.path(), "extra-0.tar", &shard(0, &["0"]));
    let error = open(&folder.path().into()).unwrap_err().to_string();
    assert!(error.contains("\"extra-0.tar\", whose name tells no part"), "{error}");
    let folder = set();
    write(folder.path(), "x-train-000002.tar.gz", b"\x1f\x8bx");
    let error = open(&folder.path().into()).unwrap_err().to_string();
    assert!(error.contains("is a packed shard"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    assert!(open(&empty.path().into()).unwrap_err().to_string().contains("holds no shards"));
}

#[test]
fn what_is_no_sample_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let picture = png(2, 2, [1; 3]);
    let files: [(&str, &[u8]); 7] = [
        ("1.png", &picture),
        ("1.cls", b"0"),
        ("2.gif", b"GIF89a"),
        ("2.cls", b"1"),
        ("3.cls", b"1"),
        ("README", b"x"),
        ("1.seg.png", &picture),
    ];
    write(folder.path(), "train-0.tar", &tar(&files));
    write(folder.path(), "val-0.tar", &shard(0, &["0"]));
    write(folder.path(), "test-0.tar", &shard(0, &["0", "0"]));
    write(folder.path(), "notes.md", b"x");
    let Parts { train, test, account, .. } = open(&folder.path().into()).unwrap();
    assert_eq!((train.unwrap().len(), test.unwrap().len()), (1, 2));
    assert_eq!(account.skipped[&Reason::UnreadKind].first, ["2.gif"]);
    assert_eq!(account.skipped[&Reason::NoPicture].first, ["notes.md", "README", "3.cls"]);
    assert_eq!(
        account.notes,
        [
            "1 file of \"val\" is not read, as \"test\" is the test part",
            "of the samples the files .seg.png, .txt are not used"
        ]
    );
}

#[test]
fn a_cut_shard_is_refused_wherever_it_is_cut() {
    let whole = shard(0, &["0", "1"]);
    let folder = tempfile::tempdir().unwrap();
    // Behind its end mark, whose second block alone may be missing, nothing is lost.
    let content = whole.len() - 1024;
    for cut in (1..content).step_by(97) {
        write(folder.path(), "a.tar", &whole[..cut]);
        match open(&folder.path().into()) {
            Err(error) => {
                let error = error.to_string();
                let told = ["truncated archive", "is no tar", "no label", "holds no pictures"];
                assert!(told.iter().any(|words| error.contains(words)), "{cut}: {error}");
            }
            // Cut between two files, the samples before are whole, and it is said.
            Ok(parts) => {
                assert!(cut % 512 == 0, "{cut}");
                assert!(parts.account.notes.iter().any(|note| note.contains("no end mark")));
            }
        }
    }
    // It may be cut after it was looked at.
    write(folder.path(), "a.tar", &whole);
    let parts = open(&folder.path().into()).unwrap();
    write(folder.path(), "a.tar", &whole[..600]);
    let Store::Encoded(pictures) = parts.train.unwrap().store else { panic!("not encoded") };
    let error = pictures[1].bytes(1 << 20).unwrap_err().to_string();
    assert!(error.contains("0001.png: its file is shorter now"), "{error}");
}

#[test]
fn a_damaged_picture_is_left_out_where_that_is_asked_for() {
    let folder = set();
    let mut bytes = shard(3, &["2", "1", "0"]);
    let at = bytes.windows(4).rposition(|four| four == b"IDAT").unwrap();
    bytes[at + 6] ^= 1;
    write(folder.path(), "x-train-000001.tar", &bytes);
    let error = open_set(&images(folder.path())).unwrap_err().to_string();
    assert!(error.contains("x-train-000001.tar: 0005.png: it cannot be decoded"), "{error}");
    let skip = Images { on_error: OnError::Skip, ..images(folder.path()) };
    let opened = open_set(&skip).unwrap();
    assert_eq!(opened.train.classes(), [0, 1, 2, 2, 1]);
    assert_eq!(opened.account.skipped[&Reason::Unreadable].count, 1);
}

/// The order is a function of seed and epoch, whatever the threads and wherever a run goes on.
#[test]
fn a_resumed_run_sees_the_same_batches() {
    let folder = set();
    let given =
        Images { mean: Some(vec![0.5; 3]), std: Some(vec![0.5; 3]), ..images(folder.path()) };
    // Nothing is held decoded, so that each picture is read when its batch is made.
    let disk = super::super::open::system();
    let train = super::super::open::open_parts(&disk, &given, None, 100).unwrap().train;
    let take = |threads, start_batch, count| batches(&train, 2, threads, start_batch, count);
    let all = take(1, 0, 9);
    assert_eq!(take(3, 0, 9), all);
    assert_eq!(take(2, 4, 5), all[4..]);
    assert_ne!(all[0..3], all[3..6]);
}
