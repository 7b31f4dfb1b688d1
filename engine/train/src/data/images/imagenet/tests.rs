//! ILSVRC in small, in the forms in which people have it.

use super::super::image::tests::png;
use super::super::{kind_of, open as open_set, synsets, validation};
use super::*;
use crate::config::{ImageKind, Images};
use crate::data::archive::tests::tar;

/// The classes, in the order of their names.
const CLASSES: [&str; 4] = ["n01440764", "n02100735", "n02110185", "n02119789"];
/// What the golden `meta.mat` calls them, in the order of its numbers.
const NUMBERED: [&str; 4] = ["n02119789", "n02100735", "n01440764", "n02110185"];

fn golden(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/ilsvrc/");
    std::fs::read(Path::new(path).join(name)).unwrap()
}

/// A picture that tells its class and number by its colour.
fn picture(class: usize, number: usize) -> Vec<u8> {
    png(2, 2, [10 * class as u8, number as u8, 99])
}

fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (&**name, &bytes[..])).collect();
    tar(&files)
}

/// Each class's tar: two pictures of the first class, three of the second and so on.
fn class_tars() -> Vec<(String, Vec<u8>)> {
    let one = |(at, class): (usize, &&str)| {
        let files: Vec<_> =
            (0..at + 2).map(|n| (format!("{class}_{n}.JPEG"), picture(at, n))).collect();
        (format!("{class}.tar"), tar_of(&files))
    };
    CLASSES.iter().enumerate().map(one).collect()
}

/// Eight validation pictures, picture k of the class with number k modulo 4, beginning with 1.
fn validation_files() -> Vec<(String, Vec<u8>)> {
    let class = |number: usize| {
        CLASSES.iter().position(|class| *class == NUMBERED[(number - 1) % 4]).unwrap()
    };
    (1..=8).map(|n| (format!("ILSVRC2012_val_{n:08}.JPEG"), picture(class(n), 100 + n))).collect()
}

fn devkit() -> Vec<u8> {
    let truth: String = (1..=8).map(|n| format!("{}\n", (n - 1) % 4 + 1)).collect();
    let bytes = tar(&[
        ("ILSVRC2012_devkit_t12/readme.txt", b"x"),
        ("ILSVRC2012_devkit_t12/data/meta.mat", &golden("meta.mat")),
        ("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", truth.as_bytes()),
    ]);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &bytes).unwrap();
    encoder.finish().unwrap()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// The three files as they are distributed.
fn distributed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), TRAIN, &tar_of(&class_tars()));
    write(folder.path(), VAL, &tar_of(&validation_files()));
    write(folder.path(), "ILSVRC2012_devkit_t12.tar.gz", &devkit());
    folder
}

/// What both parts hold: for each picture its label and its first two bytes of colour.
fn held(folder: &Path) -> [Vec<(u32, [u8; 2])>; 2] {
    let Parts { train, test, classes, .. } = open(&folder.into()).unwrap();
    assert_eq!(classes, CLASSES);
    [train, test].map(|part| {
        let part = part.unwrap();
        let Store::Encoded(pictures) = part.store else { panic!("not encoded") };
        let colour = |picture: &Stored| {
            let image = super::super::examples::decode(picture).unwrap();
            [image.pixels[0], image.pixels[1]]
        };
        part.labels.into_iter().zip(pictures.iter().map(colour)).collect()
    })
}

fn refusal(folder: &Path) -> String {
    open(&folder.into()).expect_err("refused").to_string()
}

#[test]
fn all_forms_are_the_same_data() {
    let whole = distributed();
    let expected = held(whole.path());
    let counts = |part: &[(u32, [u8; 2])]| {
        super::super::division::counts(&part.iter().map(|(label, _)| *label).collect::<Vec<_>>(), 4)
    };
    assert_eq!((counts(&expected[0]), counts(&expected[1])), (vec![2, 3, 4, 5], vec![2; 4]));
    assert!(expected.iter().flatten().all(|(label, [red, _])| 10 * label == u32::from(*red)));
    assert_eq!(kind_of(whole.path()), ImageKind::Imagenet);

    // The outer tars unpacked.
    let half = tempfile::tempdir().unwrap();
    for (name, bytes) in class_tars() {
        write(half.path(), &format!("train/{name}"), &bytes);
    }
    for (name, bytes) in validation_files() {
        write(half.path(), &format!("val/{name}"), &bytes);
    }
    assert_eq!(kind_of(half.path()), ImageKind::Imagenet);
    assert!(refusal(half.path()).contains("nothing tells the classes of its validation pictures"));
    let by_name = |line: &dyn Fn(usize, &str) -> String| -> String {
        (1..=8).map(|n| line(n, NUMBERED[(n - 1) % 4])).collect()
    };
    for (name, text) in [
        ("val.txt", by_name(&|n, class| format!("ILSVRC2012_val_{n:08}.JPEG {class}\n"))),
        ("imagenet_2012_validation_synset_labels.txt", by_name(&|_, class| format!("{class}\n"))),
        (
            "LOC_val_solution.csv",
            "ImageId,PredictionString\n".to_owned()
                + &by_name(&|n, class| {
                    format!("ILSVRC2012_val_{n:08},{class} 1 2 3 4 {class} 5 6 7 8 \r\n")
                }),
        ),
    ] {
        write(half.path(), name, text.as_bytes());
        assert_eq!(held(half.path()), expected, "{name}");
        let account = open(&half.path().into()).unwrap().account;
        assert_eq!(
            account.notes,
            [format!("the classes of the validation pictures are those of {name}")]
        );
        std::fs::remove_file(half.path().join(name)).unwrap();
    }

    // All unpacked and sorted; and as Kaggle has it.
    let (sorted, kaggle) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (at, class) in CLASSES.iter().enumerate() {
        for n in 0..at + 2 {
            let name = format!("train/{class}/{class}_{n}.JPEG");
            write(sorted.path(), &name, &picture(at, n));
            write(kaggle.path(), &format!("{INNER}/{name}"), &picture(at, n));
        }
    }
    for (n, (name, bytes)) in validation_files().into_iter().enumerate() {
        write(sorted.path(), &format!("val/{}/{name}", NUMBERED[n % 4]), &bytes);
        write(kaggle.path(), &format!("{INNER}/val/{name}"), &bytes);
    }
    let text = by_name(&|n, class| format!("ILSVRC2012_val_{n:08},{class} 1 2 3 4\n"));
    write(kaggle.path(), "LOC_val_solution.csv", text.as_bytes());
    assert_eq!(held(sorted.path()), expected);
    assert_eq!((held(kaggle.path()), kind_of(kaggle.path())), (expected, ImageKind::Imagenet));
    // The tars of the classes alone, as an upload of the training tar leaves them.
    let alone = tempfile::tempdir().unwrap();
    for (name, bytes) in class_tars() {
        write(alone.path(), &name, &bytes);
    }
    assert_eq!(kind_of(alone.path()), ImageKind::Imagenet);
    assert!(open(&alone.path().into()).unwrap().test.is_none());
}

#[test]
fn it_is_trained_on() {
    let folder = distributed();
    let path = Some(folder.path().display().to_string());
    let data = Images { kind: ImageKind::Imagenet, path, size: Some(2), ..Images::default() };
    let opened = open_set(&data).unwrap();
    assert_eq!((opened.train.len(), opened.test.len()), (14, 8));
    assert_eq!(opened.account.train.counts, [2, 3, 4, 5]);
    assert_eq!((&*opened.account.train.name, &*opened.account.test.name), ("train", "val"));
}

#[test]
fn damage_and_lies_are_refused_in_a_sentence() {
    let folder = distributed();
    let train = tar_of(&class_tars());
    // Cut in the header of an inner tar, in its bytes, and in a picture of it.
    for (cut, words) in [
        (100, "is no tar, tar.gz or zip archive"),
        (700, "truncated archive"),
        (5000, "truncated archive"),
        (train.len() / 2 + 7, "truncated archive"),
    ] {
        write(folder.path(), TRAIN, &train[..cut]);
        let error = refusal(folder.path());
        assert!(error.contains(words) && error.contains(TRAIN), "{cut}: {error}");
    }
    // An inner tar that says more than it has.
    let mut inner = class_tars();
    let length = inner[1].1.len();
    inner[1].1.truncate(length - 1024 - 100);
    write(folder.path(), TRAIN, &tar_of(&inner));
    let error = refusal(folder.path());
    assert!(error.contains("\"n02100735.tar\" in it: truncated archive"), "{error}");
    // A damaged header inside of one.
    let mut inner = class_tars();
    inner[2].1[1024 + 3] ^= 1;
    write(folder.path(), TRAIN, &tar_of(&inner));
    let error = refusal(folder.path());
    assert!(
        error.contains("entry \"n02110185.tar/") && error.contains("damaged header"),
        "{error}"
    );
    // A picture in no class's tar.
    write(folder.path(), TRAIN, &tar_of(&validation_files()));
    assert!(refusal(folder.path()).contains("is in no class's tar or folder"));
    // A class twice.
    let twice = tempfile::tempdir().unwrap();
    for (name, bytes) in class_tars() {
        write(twice.path(), &format!("train/{name}"), &bytes);
    }
    write(twice.path(), "train/n02110185/1.JPEG", &picture(2, 0));
    assert!(refusal(twice.path()).contains("the class n02110185 as a folder and as a tar"));
    assert!(
        refusal(tempfile::tempdir().unwrap().path())
            .contains("has neither part of ILSVRC; expected is")
    );
    let file = folder.path().join(VAL);
    assert!(refusal(&file).contains("is no folder; expected is"));

    let lists = tempfile::tempdir().unwrap();
    write(lists.path(), TRAIN, &train);
    write(lists.path(), VAL, &tar_of(&validation_files()));
    for (text, words) in [
        ("", "is empty; a line is"),
        ("ILSVRC2012_val_00000001.JPEG 65\n", "line 1 has the number 65 for a class"),
        (
            "n01440764\n",
            "has 1 lines, and none for the validation picture \"ILSVRC2012_val_00000002.JPEG\"",
        ),
        ("a.JPEG n01440764\nn01440764\n", "lines of both sorts"),
        ("a.JPEG n01440764\na.JPEG n02100735\n", "has a.JPEG as n01440764 and as n02100735"),
        ("a.JPEG n01440764\n", "has no line for the validation picture"),
    ] {
        write(lists.path(), "val.txt", text.as_bytes());
        let error = refusal(lists.path());
        assert!(error.contains(words) && error.contains("val.txt"), "{words}: {error}");
    }
    // A class that is not trained on.
    let text: String = (1..=8).map(|n| format!("ILSVRC2012_val_{n:08} n09999999\n")).collect();
    write(lists.path(), "val.txt", text.as_bytes());
    let path = Some(lists.path().display().to_string());
    let data = Images { kind: ImageKind::Imagenet, path, size: Some(2), ..Images::default() };
    let error = open_set(&data).unwrap_err().to_string();
    assert!(
        error.contains("a class \"n09999999\" of the test part without training pictures"),
        "{error}"
    );
}

#[test]
fn the_development_kit_says_which_class_a_number_is() {
    let expected: Vec<(u32, String)> = (1..).zip(NUMBERED.map(str::to_owned)).collect();
    for name in ["meta.mat", "plain.mat"] {
        let whole = golden(name);
        assert_eq!(
            synsets::read(&whole).unwrap().into_iter().collect::<Vec<_>>(),
            expected,
            "{name}"
        );
        // Cut or changed anywhere it is refused or read, and nothing else.
        let mut told = 0;
        for cut in 0..whole.len() {
            told += usize::from(synsets::read(&whole[..cut]).is_err());
            let mut changed = whole.clone();
            changed[cut] ^= 0x55;
            drop(synsets::read(&changed));
        }
        assert!(told + 8 >= whole.len(), "{name}: {told} of {}", whole.len());
    }
    assert_eq!(synsets::read(b"x").unwrap_err(), "is no MAT-file: it is too short");
    assert_eq!(synsets::read(&[0; 200]).unwrap_err(), "is no little-endian MAT-file of level 5");

    let folder = distributed();
    let kit = folder.path().join("ILSVRC2012_devkit_t12.tar.gz");
    std::fs::remove_file(&kit).unwrap();
    let at = "ILSVRC2012_devkit_t12/data/";
    write(folder.path(), &format!("{at}meta.mat"), &golden("plain.mat"));
    let error = refusal(folder.path());
    assert!(error.contains("has no data/ILSVRC2012_validation_ground_truth.txt"), "{error}");
    let truth = format!("{at}ILSVRC2012_validation_ground_truth.txt");
    write(folder.path(), &truth, b"1\n2\n3\n4\n1\n2\n3\n4\n");
    assert!(validation::find(&folder.path().into()).unwrap().is_some());
    assert_eq!(held(folder.path())[1].len(), 8);
    write(folder.path(), &truth, b"1\n5\n");
    let error = refusal(folder.path());
    assert!(
        error.contains("has \"5\" in line 2, where the numbers of 4 classes are allowed"),
        "{error}"
    );
}
