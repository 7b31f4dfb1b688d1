//! Parquet that `tests/golden/parquet.py` had written by `datasets` and Arrow.

use std::path::PathBuf;

use super::super::examples::decode;
use super::super::tests::batches;
use super::super::windows::Groups;
use super::super::{kind_of, open as open_set, survey};
use super::*;
use crate::config::{ImageKind, Images, OnError};
use crate::data::{Batch, Numbers};

fn golden(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/parquet")).join(name)
}

/// A folder with copies of goldens under these names.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, of) in files {
        let to = folder.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(golden(of), to).unwrap();
    }
    folder
}

/// As a repository of the Hub has them.
fn set() -> tempfile::TempDir {
    let names = [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
        "test-00000-of-00001.parquet",
    ];
    let files = names.map(|name| (format!("data/{name}"), name));
    folder(&files.iter().map(|(name, of)| (&**name, *of)).collect::<Vec<_>>())
}

fn images(path: &Path) -> Images {
    let path = Some(path.display().to_string());
    Images { kind: ImageKind::Parquet, path, size: Some(4), ..Images::default() }
}

fn refusal(path: &Path) -> String {
    open(&path.into()).expect_err("refused").to_string()
}

/// The red of each picture of a part.
fn reds(part: Examples) -> Vec<u8> {
    let Store::Encoded(pictures) = part.store else { panic!("not encoded") };
    pictures.iter().map(|picture| decode(picture).unwrap().pixels[0]).collect()
}

#[test]
fn files_of_datasets_are_read() {
    let folder = set();
    std::fs::write(folder.path().join("README.md"), "a card").unwrap();
    assert_eq!(kind_of(folder.path()), ImageKind::Parquet);
    let Parts { train, test, classes, account } = open(&folder.path().into()).unwrap();
    let (train, test) = (train.unwrap(), test.unwrap());
    assert_eq!(classes, ["cat", "dog", "hen"]);
    assert_eq!(train.labels, (0..12).map(|k| k % 3).collect::<Vec<u32>>());
    assert_eq!(test.labels, (12..17).map(|k| k % 3).collect::<Vec<u32>>());
    assert_eq!(reds(train), (0..12).map(|k| 10 * k).collect::<Vec<u8>>());
    assert_eq!(reds(test), (12..17).map(|k| 10 * k).collect::<Vec<u8>>());
    assert_eq!(account.skipped[&Reason::NoPicture].first, ["README.md"]);
    let opened = open_set(&images(folder.path())).unwrap();
    assert_eq!((opened.train.len(), opened.test.len()), (12, 5));
    assert_eq!(opened.account.train.counts, [4, 4, 4]);
    let seen = survey(&images(folder.path()), 5).unwrap();
    assert_eq!(seen.test.samples.len(), 5);
    // One file, without metadata and without dictionaries: classes are numbers.
    let plain = golden("plain.parquet");
    assert_eq!(kind_of(&plain), ImageKind::Parquet);
    let Parts { train, test, classes, .. } = open(&(&*plain).into()).unwrap();
    let train = train.unwrap();
    assert_eq!(
        (&*classes, &*train.labels),
        (&["0", "1", "2"].map(String::from)[..], &[0, 1, 2, 1][..])
    );
    assert_eq!((reds(train), test.is_none()), (vec![0, 10, 20, 30], true));
}

#[test]
fn a_test_part_without_labels_is_left_out() {
    let train = ("train-0.parquet", "train-00000-of-00002.parquet");
    let test = ("test-0.parquet", "hidden.parquet");
    let val = ("validation-0.parquet", "test-00000-of-00001.parquet");
    let folder = folder(&[train, test, val]);
    let Parts { train, test, account, .. } = open(&folder.path().into()).unwrap();
    assert_eq!((train.unwrap().len(), reds(test.unwrap())), (7, vec![120, 130, 140, 150, 160]));
    assert_eq!(account.test.name, "validation");
    assert_eq!((&*account.ignored[0].folder, account.ignored[0].pictures), ("test", 3));
}

#[test]
fn lying_files_are_refused_in_a_sentence() {
    for (name, words) in [
        ("null.parquet", "has no label in row 1 of row group 0"),
        ("far.parquet", "row 1 of row group 0: has the label 3, where 0 to 2 are allowed"),
        ("hidden.parquet", "row 0 of row group 0: has the label -1, where 0 to 2"),
    ] {
        let error = refusal(&golden(name));
        assert!(error.contains(words), "{name}: {error}");
    }
    // Classes of two files.
    let files = folder(&[
        ("train-0.parquet", "train-00000-of-00002.parquet"),
        ("train-1.parquet", "plain.parquet"),
    ]);
    let error = refusal(files.path());
    assert!(
        error.contains("train-1.parquet: has other columns or classes than train-0.parquet"),
        "{error}"
    );
    let empty = tempfile::tempdir().unwrap();
    assert!(
        refusal(empty.path())
            .contains("holds no Parquet files; expected are train-00000-of-00001.parquet")
    );
    // A path alone is known when the picture is read.
    let path = golden("path.parquet");
    let error = open_set(&images(&path)).unwrap_err().to_string();
    assert!(
        error.contains("row 1 of row group 0: has no bytes; a path alone is not followed"),
        "{error}"
    );
    let skip = Images { on_error: OnError::Skip, test_count: Some(1), ..images(&path) };
    let opened = open_set(&skip).unwrap();
    assert_eq!(
        (opened.train.len() + opened.test.len(), opened.account.skipped[&Reason::Unreadable].count),
        (2, 1)
    );
}

/// Whatever is cut or changed: a sentence, or pictures that are there.
#[test]
fn damaged_files_are_refused_or_read() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("train-0.parquet");
    for name in ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "plain.parquet"] {
        let whole = std::fs::read(golden(name)).unwrap();
        let read = |bytes: &[u8]| -> Result<(), String> {
            std::fs::write(&path, bytes).unwrap();
            let parts = open(&(&*path).into()).map_err(|error| error.to_string())?;
            let Some(Examples { store: Store::Encoded(pictures), .. }) = parts.train else {
                return Ok(());
            };
            for picture in &pictures {
                drop(picture.bytes(1 << 20).map_err(|error| error.to_string())?);
            }
            Ok(())
        };
        read(&whole).unwrap();
        for cut in (0..whole.len()).step_by(29) {
            let error = read(&whole[..cut]).expect_err("cut");
            assert!(error.contains("is no whole Parquet file"), "{cut}: {error}");
            assert!(error.len() < 700, "{error}");
        }
        for at in (0..whole.len()).step_by(3) {
            for change in [0xff, 0x01, 0x80] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                if let Err(error) = read(&changed) {
                    assert!(
                        error.len() < 700 && !error.contains(char::is_control),
                        "{at}: {error}"
                    );
                }
            }
        }
    }
}

/// Orders go by windows of row groups: all samples once, a function of the key, and neighbours from few groups.
#[test]
fn windows_hold_every_sample_once() {
    let folder = set();
    let Parts { train, .. } = open(&folder.path().into()).unwrap();
    let Store::Encoded(pictures) = train.unwrap().store else { panic!("not encoded") };
    let groups = Groups::of(&pictures).unwrap();
    let group = |sample: usize| match &pictures[sample] {
        Stored::Row { at, .. } => at.group,
        other => panic!("{other:?}"),
    };
    for window in [1, WINDOW] {
        let order = groups.order(window, &[3, 0]);
        let mut all = order.clone();
        all.sort_unstable();
        assert_eq!(all, (0..12).collect::<Vec<_>>());
        assert_eq!(order, groups.order(window, &[3, 0]));
        assert_ne!(order, groups.order(window, &[3, 1]));
        let changes = order.windows(2).filter(|two| group(two[0]) != group(two[1])).count();
        // Row groups of three: 0 to 2, 3 to 5, 6, 7 to 9, 10 and 11.
        assert!(if window == 1 { changes == 4 } else { changes > 4 }, "{window}: {changes}");
    }
}

/// The same batches from any batch on, by any number of threads, where pictures are too many to be held.
#[test]
fn a_resumed_run_sees_the_same_batches() {
    let folder = set();
    let given =
        Images { mean: Some(vec![0.5; 3]), std: Some(vec![0.5; 3]), ..images(folder.path()) };
    let disk = super::super::open::system();
    let train = super::super::open::open_parts(&disk, &given, None, 50).unwrap().train;
    let take = |threads, start_batch, count| batches(&train, 4, threads, start_batch, count);
    let all = take(1, 0, 9);
    assert_eq!(take(3, 0, 9), all);
    assert_eq!(take(2, 4, 5), all[4..]);
    assert_ne!(all[0..3], all[3..6]);
    let labels = |batches: &[Batch]| {
        let of = |batch: &Batch| match batch.field("labels") {
            Some(Numbers::U32(labels)) => labels.clone(),
            other => panic!("{other:?}"),
        };
        let mut labels: Vec<u32> = batches.iter().flat_map(of).collect();
        labels.sort_unstable();
        labels
    };
    assert_eq!(labels(&all[3..6]), [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
}
