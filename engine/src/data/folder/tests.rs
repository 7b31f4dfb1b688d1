use super::super::image::tests::png;
use super::*;

/// Writes a PNG of one colour at `root`/`name`.
pub(in crate::data) fn write_png(root: &Path, name: &str, side: u32, colour: [u8; 3]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, png(side, side, colour)).unwrap();
}

#[test]
fn classes_are_sorted_and_strangers_skipped() {
    let root = tempfile::tempdir().unwrap();
    for name in [
        "train/dog/1.png",
        "train/cat/b/2.PNG",
        "train/cat/1.png",
        "val/dog/1.png",
        "train/cat/.x.png",
    ] {
        write_png(root.path(), name, 2, [0; 3]);
    }
    std::fs::write(root.path().join("train/readme.txt"), "").unwrap();
    std::fs::write(root.path().join("train/cat/notes.txt"), "").unwrap();
    let parts = open(root.path()).unwrap();
    assert_eq!(parts.classes, ["cat", "dog"]);
    assert_eq!(parts.train.unwrap().labels, [0, 0, 1]);
    assert_eq!(parts.test.unwrap().labels, [1]);
}

#[test]
fn archives_may_have_one_folder_around_them() {
    let picture = png(2, 2, [1; 3]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    let write = |names: &[&str]| {
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &picture[..])).collect();
        std::fs::write(&path, archive::tests::tar(&files)).unwrap();
        open(&path)
    };
    let parts = write(&["set/train/b/1.png", "set/train/a/1.png", "set/test/b/1.png", "set/x.png"])
        .unwrap();
    assert_eq!(parts.train.unwrap().labels, [0, 1]);
    assert_eq!(parts.test.unwrap().labels, [1]);
    let error = |names: &[&str]| write(names).unwrap_err().to_string();
    assert!(error(&["a/train/b/1.png", "c/train/b/2.png"]).contains("two folders"));
    assert!(
        error(&["train/b/1.png", "train/b/1.png"]).contains("\"train/b/1.png\" is there twice")
    );
    assert!(error(&["train/b/1.png", "test/c/1.png"]).contains("test class \"c\" has no training"));
    assert!(error(&["b/1.png"]).contains("train/CLASS/NAME.jpg"));
}
