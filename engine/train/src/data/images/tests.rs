//! Whole data sets, opened as a run opens them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::tests::write_png;
use super::idx::tests::{idx, write_pair};
use super::open::{open_parts, system};
use super::pictures::HELD_BYTES;
use super::*;
use crate::config::{Augment, ImageKind, Images, Interpolation, OnError};
use crate::data::stored::Stored;
use crate::data::{Batch, Contents, Dataset, Loader, LoaderOptions, Numbers, Reason, Split};

/// The pixels of a batch.
fn pixels(batch: &Batch) -> &[f32] {
    match batch.field("images") {
        Some(Numbers::F32(images)) => images,
        other => panic!("{other:?}"),
    }
}

/// The labels of a batch.
fn labels(batch: &Batch) -> &[u32] {
    match batch.field("labels") {
        Some(Numbers::U32(labels)) => labels,
        other => panic!("{other:?}"),
    }
}

/// What is known of a data set of pictures.
fn set(data: &Dataset) -> &ImageSet {
    let Contents::Images(images) = &data.contents else { panic!("no images") };
    images
}

fn idx_at(folder: &Path) -> Images {
    Images { kind: ImageKind::Idx, path: Some(folder.display().to_string()), ..Images::default() }
}

fn options(batch: usize) -> LoaderOptions {
    LoaderOptions {
        batch,
        order_seed: 7,
        augment: true,
        start_batch: 0,
        threads: 0,
        drop_last: true,
        slice: None,
    }
}

/// Batches of so many samples from number `start_batch` on, made by so many threads.
pub(super) fn batches(
    split: &Arc<Split>,
    batch: usize,
    threads: usize,
    start_batch: u64,
    count: usize,
) -> Vec<Batch> {
    let options = LoaderOptions { threads, start_batch, ..options(batch) };
    let loader = Loader::new(Arc::clone(split), options).unwrap();
    loader.take(count).map(Result::unwrap).collect()
}

/// Two classes of four training and two test pictures, 8×8: class `a` dark, class `b` light, each file a grey of its own.
fn pictures() -> (tempfile::TempDir, Images) {
    let folder = tempfile::tempdir().unwrap();
    for (class, base) in [("a", 10u8), ("b", 150)] {
        for at in 0..4 {
            write_png(
                folder.path(),
                &format!("train/{class}/{at}.png"),
                8,
                [base + at, base, base + 20 * at],
            );
        }
        for at in 0..2 {
            write_png(folder.path(), &format!("val/{class}/{at}.png"), 8, [base + at; 3]);
        }
    }
    let path = Some(folder.path().display().to_string());
    let data = Images { kind: ImageKind::Folder, path, size: Some(8), ..Images::default() };
    (folder, data)
}

/// `path` in the data folder beside the workspace, or nothing (unless TAPER_REQUIRE_DATA=1) where it is not there.
pub(in crate::data) fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(path);
    if path.exists() {
        return Some(path);
    }
    assert_ne!(
        std::env::var("TAPER_REQUIRE_DATA").as_deref(),
        Ok("1"),
        "{} is not there",
        path.display()
    );
    println!("skipped: {} is not there", path.display());
    None
}

#[test]
fn procedural_needs_nothing() {
    let data = open(&Images { train_count: Some(300), test_count: Some(50), ..Images::default() })
        .unwrap();
    assert_eq!((data.train.len(), data.test.len()), (300, 50));
    assert_eq!(set(&data).shape, ImageShape { height: 16, width: 16, channels: 1 });
    assert_eq!(set(&data).classes.len(), 10);
    let all = data.train.batches(300).next().unwrap().unwrap();
    let count = pixels(&all).len() as f64;
    let mean = pixels(&all).iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let square = pixels(&all).iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / count;
    assert!(mean.abs() < 1e-4 && (square - 1.0).abs() < 1e-4, "{mean} {square}");
    // A smaller set is the beginning of a larger one, and no test image is a training image.
    let test = data.test.batches(50).next().unwrap().unwrap();
    assert_ne!(*pixels(&test), pixels(&all)[..pixels(&test).len()]);
    let error = open(&Images { train_count: Some(2_000_000), ..Images::default() })
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "data.train_count = 2000000 is more than the 1000000 images in the built-in set"
    );
}

#[test]
fn a_single_pair_is_split() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "t10k", 50);
    let data = idx_at(folder.path());
    let opened =
        |train_count, test_count| open(&Images { train_count, test_count, ..data.clone() });
    let first_pixels = |split: &Arc<Split>| -> Vec<u32> {
        let all = split.batches(split.len()).next().unwrap().unwrap();
        pixels(&all).chunks(4).map(|image| image[0].to_bits()).collect()
    };
    for (train, test, expected) in [
        (None, None, (40, 10)),
        (Some(20), Some(30), (20, 30)),
        (Some(45), None, (45, 5)),
        (None, Some(1), (49, 1)),
    ] {
        let data = opened(train, test).unwrap();
        assert_eq!((data.train.len(), data.test.len()), expected);
        let mut all = [first_pixels(&data.train), first_pixels(&data.test)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), expected.0 + expected.1, "an image is in both parts");
    }
    // Labels move with their images, and the same seed draws the same split.
    let given = |seed| Images {
        mean: Some(vec![0.0]),
        std: Some(vec![1.0]),
        split_seed: seed,
        ..data.clone()
    };
    let first = open(&given(3)).unwrap();
    let batch = first.test.batches(10).next().unwrap().unwrap();
    for (image, label) in pixels(&batch).chunks(4).zip(labels(&batch)) {
        assert_eq!((image[0] * 255.0).round() as u32 % 3, *label);
    }
    assert_eq!(batch, open(&given(3)).unwrap().test.batches(10).next().unwrap().unwrap());
    assert_ne!(batch, open(&given(4)).unwrap().test.batches(10).next().unwrap().unwrap());

    let error = |train, test| opened(train, test).unwrap_err().to_string();
    assert!(
        error(Some(51), None).starts_with("data.train_count = 51 is more than the 50 images in ")
    );
    assert!(
        error(None, Some(51)).starts_with("data.test_count = 51 is more than the 50 images in ")
    );
    assert!(
        error(Some(30), Some(21))
            .contains("data.train_count + data.test_count = 51 is more than the 50")
    );
    assert!(error(Some(50), None).contains("no images are left"));
}

#[test]
fn two_pairs_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "train", 30);
    write_pair(folder.path(), "t10k", 20);
    let data = idx_at(folder.path());
    let opened = open(&data).unwrap();
    assert_eq!((opened.train.len(), opened.test.len(), set(&opened).classes.len()), (30, 20, 3));
    let few = open(&Images { train_count: Some(10), test_count: Some(5), ..data.clone() }).unwrap();
    assert_eq!((few.train.len(), few.test.len()), (10, 5));
    let error = open(&Images { test_count: Some(21), ..data.clone() }).unwrap_err().to_string();
    assert!(error.starts_with("data.test_count = 21 is more than the 20 images in "), "{error}");
    let error = open(&Images { mean: Some(vec![0.1; 3]), ..data }).unwrap_err().to_string();
    assert!(
        error.contains("data.mean: [0.1, 0.1, 0.1] has 3 numbers where the images have 1 channels"),
        "{error}"
    );
    let error = open(&Images { path: None, ..idx_at(folder.path()) }).unwrap_err().to_string();
    assert!(error.starts_with("data.path: is missing"), "{error}");
}

#[test]
fn settings_reach_the_images() {
    let (_folder, data) = pictures();
    let opened = open(&data).unwrap();
    assert_eq!(set(&opened).classes, ["a", "b"]);
    assert_eq!(set(&opened).shape, ImageShape { height: 8, width: 8, channels: 3 });
    assert_eq!(opened.train.classes(), [0, 0, 0, 0, 1, 1, 1, 1]);
    // Red: the mean of 10..=13 and 150..=153.
    assert!((set(&opened).preprocess.mean()[0] - 81.5 / 255.0).abs() < 1e-12);
    let small = Images {
        size: Some(4),
        interpolation: Some(Interpolation::Area),
        mean: Some(vec![0.5; 3]),
        ..data
    };
    let opened = open(&small).unwrap();
    assert_eq!(pixels(&opened.train.gather(&[0, 7]).unwrap()).len(), 2 * 4 * 4 * 3);
    assert_eq!(set(&opened).preprocess.mean(), [0.5; 3]);
    // A model's own settings outrank the configuration's.
    let mut other = small.clone();
    other.size = Some(8);
    other.mean = None;
    let again = open_for(&other, &set(&opened).preprocess).unwrap();
    assert_eq!(again.test.gather(&[1]).unwrap(), opened.test.gather(&[1]).unwrap());
}

#[test]
fn held_and_decoded_on_demand_are_the_same_bits() {
    let (_folder, data) = pictures();
    let random = Augment { random_resized_crop: true, flip: true, ..Augment::default() };
    for (size, crop, augment) in
        [(8, 1.0, Augment::default()), (5, 0.8, Augment::default()), (5, 0.8, random)]
    {
        let data = Images { size: Some(size), crop: Some(crop), augment, ..data.clone() };
        let held = open_parts(&system(), &data, None, HELD_BYTES).unwrap();
        let read = open_parts(&system(), &data, None, 100).unwrap();
        assert_eq!(set(&held).preprocess, set(&read).preprocess);
        assert_eq!(held.test.gather(&[0, 3]).unwrap(), read.test.gather(&[0, 3]).unwrap());
        assert_eq!(held.train.gather(&[2, 5]).unwrap(), read.train.gather(&[2, 5]).unwrap());
        let batches = |data: &Dataset| -> Vec<Batch> {
            Loader::new(data.train.clone(), options(3))
                .unwrap()
                .take(7)
                .map(Result::unwrap)
                .collect()
        };
        assert_eq!(batches(&held), batches(&read));
    }
}

#[test]
fn orders_depend_on_seed_and_epoch_alone() {
    let augment = Augment { pad_crop: 2, flip: true, ..Augment::default() };
    let data = Images { train_count: Some(50), test_count: Some(7), augment, ..Images::default() };
    let train = open(&data).unwrap().train;
    let take = |options: LoaderOptions, count| -> Vec<Batch> {
        Loader::new(train.clone(), options).unwrap().take(count).map(Result::unwrap).collect()
    };
    let expected = take(options(8), 20);
    assert!(expected.iter().all(|batch| batch.rows == 8));
    for threads in [1, 2, 5] {
        assert_eq!(take(LoaderOptions { threads, ..options(8) }, 20), expected);
        for start_batch in [1, 6, 13] {
            let resumed = LoaderOptions { threads, start_batch, ..options(8) };
            assert_eq!(take(resumed, 20 - start_batch as usize), expected[start_batch as usize..]);
        }
    }
    assert_ne!(take(LoaderOptions { order_seed: 8, ..options(8) }, 1), expected[..1]);
    // Six batches of eight an epoch: all different samples, in another order every epoch.
    assert_eq!(options(8).batches_per_epoch(train.len()), 6);
    assert_ne!(expected[0], expected[6]);
    // A slice has the rows that the whole batch has.
    for rows in [0..8, 0..3, 3..8] {
        let slices = take(LoaderOptions { slice: Some(rows.clone()), ..options(8) }, 20);
        for (slice, whole) in slices.iter().zip(&expected) {
            let input = pixels(whole).len() / whole.rows;
            assert_eq!(*labels(slice), labels(whole)[rows.clone()]);
            assert_eq!(*pixels(slice), pixels(whole)[rows.start * input..rows.end * input]);
            assert_eq!(slice.rows, rows.len());
        }
    }
    let beyond = LoaderOptions { slice: Some(3..9), ..options(8) };
    let said = Loader::new(train.clone(), beyond).expect_err("beyond the batch").to_string();
    assert!(said.contains("8 has no rows 3 to 9"), "{said}");
    // Augmentation changes images and nothing else.
    let plain = take(LoaderOptions { augment: false, ..options(8) }, 20);
    assert!(
        plain.iter().zip(&expected).all(|(plain, augmented)| labels(plain) == labels(augmented))
    );
    assert_ne!(pixels(&plain[0]), pixels(&expected[0]));
}

#[test]
fn every_sample_comes_once_an_epoch() {
    let train = open(&Images { train_count: Some(50), test_count: Some(7), ..Images::default() })
        .unwrap()
        .train;
    let whole = LoaderOptions { augment: false, drop_last: false, ..options(8) };
    let epoch: Vec<Batch> =
        Loader::new(train.clone(), whole).unwrap().take(7).map(Result::unwrap).collect();
    assert_eq!(epoch.iter().map(|batch| batch.rows).collect::<Vec<_>>(), [8, 8, 8, 8, 8, 8, 2]);
    assert!(
        pixels(&epoch[6])[2 * 256..].iter().all(|&x| x == 0.0) && labels(&epoch[6])[2..] == [0; 6]
    );
    let samples = |images: &[f32]| {
        let mut samples: Vec<Vec<u32>> =
            images.chunks(256).map(|image| image.iter().map(|x| x.to_bits()).collect()).collect();
        samples.sort_unstable();
        samples
    };
    let shuffled: Vec<f32> =
        epoch.iter().flat_map(|batch| pixels(batch)[..batch.rows * 256].to_vec()).collect();
    let in_order = train.batches(50).next().unwrap().unwrap();
    assert_eq!(samples(&shuffled), samples(pixels(&in_order)));

    let ordered: Vec<Batch> = train.batches(16).map(Result::unwrap).collect();
    assert_eq!(ordered.iter().map(|batch| batch.rows).collect::<Vec<_>>(), [16, 16, 16, 2]);
    assert_eq!(pixels(&ordered[1])[..], pixels(&in_order)[16 * 256..32 * 256]);
    assert_eq!(pixels(&ordered[3]).len(), 16 * 256);

    for batch in [0, 51] {
        let error = Loader::new(train.clone(), options(batch)).unwrap_err().to_string();
        assert!(error.contains("the 50 training samples"), "{error}");
    }
    let subset = train.subset(5, 20);
    assert_eq!((subset.len(), train.subset(5, 99).len()), (20, 50));
    assert_eq!(subset, train.subset(5, 20));
    assert_ne!(subset, train.subset(6, 20));
    assert_eq!(pixels(&train.gather(&[3]).unwrap())[..], pixels(&in_order)[3 * 256..4 * 256]);
}

#[test]
fn an_error_in_a_thread_comes_out_once() {
    let (folder, data) = pictures();
    std::fs::write(folder.path().join("train/b/2.png"), b"not a picture").unwrap();
    let error = open(&data).unwrap_err().to_string();
    assert!(error.contains("2.png") && error.contains("begins as no JPEG"), "{error}");
    // Decoded on demand, with the mean given, it is met only by the loader.
    let given = Images { mean: Some(vec![0.5; 3]), std: Some(vec![0.5; 3]), ..data };
    let train = open_parts(&system(), &given, None, 100).unwrap().train;
    let mut loader = Loader::new(train.clone(), options(2)).unwrap();
    let failed = loader.by_ref().take(4).find_map(Result::err).expect("an epoch has all samples");
    assert!(failed.to_string().contains("2.png"));
    assert!(loader.next().is_none());
    assert!(train.gather(&[6]).is_err());
}

/// A picture that is cut, in the middle of class `a` and at the end of class `b`.
fn damage(folder: &Path) {
    for name in ["train/a/1.png", "train/b/3.png", "val/b/0.png"] {
        let path = folder.join(name);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
}

#[test]
fn damaged_pictures_are_refused_by_name_or_left_out_and_counted() {
    let (folder, data) = pictures();
    damage(folder.path());
    let error = open(&data).unwrap_err().to_string();
    assert!(error.contains("train/a/1.png: it cannot be decoded"), "{error}");
    assert!(error.contains("data.on_error = \"skip\""), "{error}");

    let skip = Images { on_error: OnError::Skip, ..data.clone() };
    let opened = open(&skip).unwrap();
    assert_eq!(opened.train.classes(), [0, 0, 0, 1, 1, 1]);
    assert_eq!(opened.test.classes(), [0, 0, 1]);
    let account = &opened.account;
    assert_eq!((&account.train.counts[..], &account.test.counts[..]), (&[3, 3][..], &[2, 1][..]));
    let skipped = &account.skipped[&Reason::Unreadable];
    assert_eq!(skipped.count, 3);
    assert!(skipped.first.iter().any(|name| name.ends_with("train/a/1.png")), "{skipped:?}");
    // The picture behind a damaged one has its own label and pixels: red is 12 in the third of class `a`.
    let known = &set(&opened).preprocess;
    let red = |split: &Split, at: usize| {
        let first = pixels(&split.gather(&[at]).unwrap())[0];
        let (mean, std) = (known.mean()[0], known.std()[0]);
        ((f64::from(first) * std + mean) * 255.0).round()
    };
    assert_eq!([0, 1, 2, 3].map(|at| red(&opened.train, at)), [10.0, 12.0, 13.0, 150.0]);
    // What is too large to be held is the same data, in the same order.
    let read = open_parts(&system(), &skip, None, 100).unwrap();
    let batches = |data: &Dataset| -> Vec<Batch> {
        Loader::new(data.train.clone(), options(2)).unwrap().take(9).map(Result::unwrap).collect()
    };
    assert_eq!(batches(&opened), batches(&read));
    assert_eq!(read.account, opened.account);
    // The same pictures without the damaged ones are the same run.
    for name in ["train/a/1.png", "train/b/3.png", "val/b/0.png"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert_eq!(batches(&open(&data).unwrap()), batches(&opened));
}

#[test]
fn what_skipping_leaves_empty_is_refused() {
    let all = |folder: &Path, part: &str| {
        for entry in std::fs::read_dir(folder.join(part)).unwrap() {
            std::fs::write(entry.unwrap().path(), "no picture").unwrap();
        }
    };
    let (folder, data) = pictures();
    let skip = Images { on_error: OnError::Skip, ..data };
    all(folder.path(), "val/b");
    assert_eq!(open(&skip).unwrap().account.test.counts, [2, 0]);
    // A test part of which nothing is left is not made up from the other one.
    all(folder.path(), "val/a");
    let error = open(&skip).unwrap_err().to_string();
    assert!(error.contains("no images are left"), "{error}");
    all(folder.path(), "train/b");
    let error = open(&skip).unwrap_err().to_string();
    assert!(error.contains("one class only") || error.contains("class \"b\""), "{error}");
}

/// A look at a set shows what can be shown and says the rest.
#[test]
fn a_survey_goes_round_a_damaged_picture() {
    let (folder, data) = pictures();
    damage(folder.path());
    let survey = survey(&data, 64).unwrap();
    assert_eq!((survey.train.samples.len(), survey.test.samples.len()), (6, 3));
    let notes = survey.account.notes.join("\n");
    assert!(notes.contains("train/a/1.png: it cannot be decoded"), "{notes}");
}

/// Class folders alone are parted by a run; a look at them says how, and what size they have.
#[test]
fn a_survey_says_how_class_folders_will_be_parted() {
    let folder = tempfile::tempdir().unwrap();
    for (class, count) in [("a", 10u8), ("b", 5), ("c", 1)] {
        for at in 0..count {
            write_png(folder.path(), &format!("set/{class}/{at}.png"), 9, [at; 3]);
        }
    }
    let path = Some(folder.path().display().to_string());
    let data = Images { kind: ImageKind::Folder, path, size: Some(8), ..Images::default() };
    let surveyed = survey(&data, 64).unwrap();
    assert_eq!(
        (&surveyed.train.counts[..], &surveyed.test.counts[..]),
        (&[10, 5, 1][..], &[0; 3][..])
    );
    let used = surveyed.account.used.clone().expect("parted");
    assert_eq!((&used.train[..], &used.test[..]), (&[8, 4, 1][..], &[2, 1, 0][..]));
    let said = surveyed.account.lines().join("\n");
    assert!(said.contains("3 of 16 pictures are held out for testing"), "{said}");
    assert!(said.contains("a 8 + 2, b 4 + 1, c 1 + 0"), "{said}");
    let pictures = surveyed.pictures(data.kind).expect("pictures");
    assert_eq!((pictures.train, pictures.classes, pictures.side), (13, 3, 9));
    // So does the run.
    assert_eq!(open(&data).unwrap().account.used, Some(used));
    // What has a test part is not parted.
    let (_folder, data) = self::pictures();
    assert_eq!(survey(&data, 64).unwrap().account.used, None);
}

/// Pictures of every kind in one folder, by names in any case.
#[test]
fn every_kind_of_picture_is_trained_on() {
    use ::image::ImageFormat;
    let folder = tempfile::tempdir().unwrap();
    let kinds = [
        ("jpg", ImageFormat::Jpeg),
        ("JPEG", ImageFormat::Jpeg),
        ("png", ImageFormat::Png),
        ("bmp", ImageFormat::Bmp),
        ("WebP", ImageFormat::WebP),
        ("tif", ImageFormat::Tiff),
        ("TIFF", ImageFormat::Tiff),
        ("ppm", ImageFormat::Pnm),
        ("pgm", ImageFormat::Pnm),
    ];
    for class in ["train/a", "train/b", "test/a", "test/b"] {
        std::fs::create_dir_all(folder.path().join(class)).unwrap();
        for (extension, format) in kinds {
            let bytes = image::tests::encoded(8, 8, [200, 100, 50], format);
            std::fs::write(folder.path().join(format!("{class}/1.{extension}")), bytes).unwrap();
        }
    }
    let path = Some(folder.path().display().to_string());
    let opened =
        open(&Images { kind: ImageKind::Folder, path, size: Some(8), ..Images::default() });
    let opened = opened.unwrap();
    assert_eq!((opened.train.len(), opened.test.len()), (18, 18));
    assert_eq!(opened.account.skipped(), 0);
    // JPEG alone rounds.
    let mean: Vec<f64> = set(&opened).preprocess.mean().iter().map(|mean| mean * 255.0).collect();
    let close =
        mean.iter().zip([200.0, 100.0, 50.0]).all(|(mean, right)| (mean - right).abs() < 1.0);
    assert!(close, "{mean:?}");
}

/// To open a pipe would wait for whoever writes to it.
#[cfg(unix)]
#[test]
fn a_pipe_is_no_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1.png");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: there is no mkfifo");
        return;
    }
    let error = examples::decode(&Stored::File((&*path).into())).unwrap_err().to_string();
    assert!(error.contains("1.png: is a folder, a device or a pipe"), "{error}");
    let long = folder.path().join("2.png");
    std::fs::File::create(&long).unwrap().set_len(image::MAX_BYTES + 1).unwrap();
    let error = examples::decode(&Stored::File((&*long).into())).unwrap_err().to_string();
    assert!(error.contains("2.png: its file is longer than 64 MiB"), "{error}");
}

#[test]
fn dropping_a_loader_ends_its_threads() {
    let train = open(&Images { train_count: Some(50), test_count: Some(7), ..Images::default() })
        .unwrap()
        .train;
    for threads in [1, 3] {
        let mut loader =
            Loader::new(train.clone(), LoaderOptions { threads, ..options(8) }).unwrap();
        loader.next().unwrap().unwrap();
        drop(loader);
        drop(train.batches(4));
        assert_eq!(Arc::strong_count(&train), 1, "a thread still holds the data");
    }
}

#[test]
fn cifar10_as_folders_of_jpegs_is_read_as_given() {
    let Some(path) = shared("cifar10-jpg.tar.gz") else { return };
    let data = Images {
        kind: ImageKind::Folder,
        path: Some(path.display().to_string()),
        train_count: Some(200),
        test_count: Some(100),
        size: Some(16),
        interpolation: Some(Interpolation::Area),
        ..Images::default()
    };
    let opened = open(&data).unwrap();
    assert_eq!((opened.train.len(), opened.test.len()), (200, 100));
    assert_eq!(set(&opened).shape, ImageShape { height: 16, width: 16, channels: 3 });
    assert_eq!(
        (set(&opened).classes[0].as_str(), set(&opened).classes[9].as_str()),
        ("airplane", "truck")
    );
    assert!((0..10).all(|class| opened.train.classes().contains(&class)));
    // The whole set's means are 0.491, 0.482, 0.447.
    assert!(
        set(&opened).preprocess.mean().iter().all(|mean| (0.40..0.55).contains(mean)),
        "{:?}",
        set(&opened).preprocess
    );
    let error = open(&Images { train_count: Some(50_001), ..data }).unwrap_err().to_string();
    assert!(
        error.starts_with("data.train_count = 50001 is more than the 50000 images in "),
        "{error}"
    );
}

#[test]
fn oblongs_need_a_size() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("train-images-idx3-ubyte"), idx(&[4, 2, 3], &[7; 24]))
        .unwrap();
    std::fs::write(folder.path().join("train-labels-idx1-ubyte"), idx(&[4], &[0, 1, 0, 1]))
        .unwrap();
    let data = idx_at(folder.path());
    let error = open(&data).unwrap_err().to_string();
    assert_eq!(
        error,
        "data.size: is missing; networks read squares and the images have 2×3 pixels"
    );
    assert_eq!(set(&open(&Images { size: Some(2), ..data }).unwrap()).shape.width, 2);
}

#[test]
fn kinds_are_told_by_names_and_promise_shapes() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(kind_of(folder.path()), ImageKind::Folder);
    assert_eq!(kind_of(&folder.path().join("set.tar.gz")), ImageKind::Folder);
    std::fs::write(folder.path().join("test.bin"), "").unwrap();
    assert_eq!(kind_of(folder.path()), ImageKind::Cifar100);
    std::fs::write(folder.path().join("test_batch.bin"), "").unwrap();
    assert_eq!(kind_of(folder.path()), ImageKind::Cifar10);
    write_pair(folder.path(), "t10k", 3);
    assert_eq!(kind_of(folder.path()), ImageKind::Idx);

    let built_in = Images { train_count: Some(1), test_count: Some(1), ..Images::default() };
    let opened = open(&built_in).unwrap();
    assert_eq!(promised(&built_in), (set(&opened).shape, set(&opened).classes.len()));
    let small = Images { kind: ImageKind::Cifar100, size: Some(16), ..Images::default() };
    assert_eq!(promised(&small), (ImageShape { height: 16, width: 16, channels: 3 }, 100));
}

/// The sentence that opening pictures of these names ends with; none if they are a data set.
fn refusal(names: &[&str]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    names.iter().for_each(|name| write_png(folder.path(), name, 2, [7; 3]));
    let path = Some(folder.path().display().to_string());
    let data = Images { kind: ImageKind::Folder, path, size: Some(2), ..Images::default() };
    open(&data).err().map(|error| error.to_string())
}

#[test]
fn what_cannot_be_learnt_is_refused() {
    for (names, words) in [
        (&["train/a/1.png", "test/a/1.png"][..], "one class only, \"a\""),
        (&["a/1.png", "a/2.png"], "one class only, \"a\""),
        (
            &["train/a/1.png", "train/b/1.png", "test/c/1.png"],
            "a class \"c\" of the test part without training pictures",
        ),
        (
            &["train/a/1.png", "train/b/1.png", "train/c/1.gif", "train/c/2.heic"],
            "a class \"c\" without a picture that can be read (skipped 2: 2 in a picture format",
        ),
    ] {
        let error = refusal(names).expect("refused");
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(refusal(&["train/a/1.png", "train/b/1.png", "test/a/1.png"]), None);
}

#[test]
fn a_model_is_scored_on_all_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["test/b/1.png", "test/b/2.png", "test/c/1.png"] {
        write_png(folder.path(), name, 2, [7; 3]);
    }
    let path = Some(folder.path().display().to_string());
    let counts = (Some(1), Some(1));
    let data = Images {
        kind: ImageKind::Folder,
        path,
        train_count: counts.0,
        test_count: counts.1,
        ..Images::default()
    };
    let opened = open(&Images { size: Some(2), ..data.clone() }).unwrap();
    let preprocess = set(&opened).preprocess.clone();
    let scored = open_to_score(&data, &preprocess).unwrap();
    assert_eq!(
        (scored.split.classes(), &scored.classes[..]),
        (&[0, 0, 1][..], &["b".to_owned(), "c".into()][..])
    );
    assert_eq!((scored.account.test.counts, scored.account.used), (vec![2, 1], None));
    // One class, and one that was not trained on, will do.
    write_png(folder.path(), "train/a/1.png", 2, [7; 3]);
    let scored = open_to_score(&data, &preprocess).unwrap();
    assert_eq!((scored.split.classes(), scored.classes.len()), (&[1, 1, 2][..], 3));
}

#[test]
fn one_part_is_cut_by_class() {
    let folder = tempfile::tempdir().unwrap();
    for (class, count) in [("a", 30), ("b", 8), ("c", 2)] {
        for at in 0..count {
            write_png(folder.path(), &format!("{class}/{at}.png"), 2, [at; 3]);
        }
    }
    let path = Some(folder.path().display().to_string());
    let data = Images { kind: ImageKind::Folder, path, size: Some(2), ..Images::default() };
    let used = |data: &Images| open(data).unwrap().account.used.unwrap();
    let split = used(&data);
    assert_eq!((split.train, split.test), (vec![24, 7, 1], vec![6, 1, 1]));
    let split = used(&Images { train_count: Some(5), test_count: Some(20), ..data });
    assert_eq!((split.train, split.test), (vec![3, 1, 1], vec![15, 4, 1]));
}

#[test]
fn a_validation_part_takes_the_place_of_the_test_part_and_touches_none_of_it() {
    let (folder, mut data) = pictures();
    for at in 0..2 {
        std::fs::write(folder.path().join(format!("val/a/{at}.png")), "no picture").unwrap();
    }
    // The test part cannot even be read.
    let error = open(&data).unwrap_err().to_string();
    assert!(error.contains("val/a/0.png: it begins as no JPEG"), "{error}");
    data.validation_fraction = Some(0.25);
    let opened = open(&data).unwrap();
    let used = opened.account.used.clone().unwrap();
    assert_eq!((used.train, used.test), (vec![3, 3], vec![1, 1]));
    let note = "2 of 8 training images are held out for validation and take the place of the test part, which is not looked at (data.validation_fraction)";
    assert_eq!(opened.account.notes, [note]);
    // Each training picture is in one of the two, and has its own class.
    let known = &set(&opened).preprocess;
    let seen = |split: &Split| -> Vec<(i64, u32)> {
        let all = split.gather(&(0..split.len()).collect::<Vec<_>>()).unwrap();
        let blue = pixels(&all).chunks(8 * 8 * 3).zip(labels(&all)).map(|(image, label)| {
            let (mean, std) = (known.mean()[2], known.std()[2]);
            (((f64::from(image[2]) * std + mean) * 255.0).round() as i64, *label)
        });
        blue.collect()
    };
    let mut all = [seen(&opened.train), seen(&opened.test)].concat();
    all.sort_unstable();
    let light = |class: u32, base: i64| (0..4).map(move |at| (base + 20 * at, class));
    assert_eq!(all, light(0, 10).chain(light(1, 150)).collect::<Vec<_>>());
    // Another seed draws another part, the same seed the same.
    let part = |split_seed| seen(&open(&Images { split_seed, ..data.clone() }).unwrap().test);
    assert_eq!(part(0), part(0));
    assert!((1..20).any(|seed| part(seed) != part(0)));

    for (fraction, problem) in [
        (0.0, "0 is not between 0 and 1"),
        (1.0, "1 is not between"),
        (f64::NAN, "NaN is not between"),
    ] {
        let error = open(&Images { validation_fraction: Some(fraction), ..data.clone() });
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with(&format!("data.validation_fraction: {problem}")), "{error}");
    }
    let error = open(&Images { train_count: Some(1), ..data }).unwrap_err().to_string();
    assert!(error.contains("1 training images are not parted in two"), "{error}");
}
