//! Folders of JPEG and PNG files, as torchvision's `ImageFolder`: `train/CLASS/…` with `test/` or `val/`, or a tar of
//! them. Classes are numbered in the order of their names.

use std::collections::BTreeMap;
use std::path::Path;

use super::DataError;
use super::archive::{self, Caps};
use super::examples::{Examples, Source, Store};

/// What a reader found: a part may be missing.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) train: Option<Examples>,
    pub(super) test: Option<Examples>,
    pub(super) classes: Vec<String>,
}

/// Folders inside a class are followed so deep.
pub(super) const MAX_DEPTH: usize = 8;

/// The part, the class and the file's name, which sort in this order.
type Listing = BTreeMap<(String, String, String), Source>;

/// Lists the pictures of a folder or an archive; nothing is decoded.
///
/// # Errors
/// No pictures in that layout, a test class that has no training pictures, and whatever [`archive::read`] refuses.
pub(super) fn open(path: &Path) -> Result<Parts, DataError> {
    let mut listing = if path.is_dir() { list_folder(path)? } else { list_archive(path)? };
    let mut part = |name: &str| {
        let mut found = Listing::new();
        let first = (name.to_owned(), String::new(), String::new());
        while let Some((key, _)) =
            listing.range(first.clone()..).next().filter(|(key, _)| key.0 == name)
        {
            let key = key.clone();
            if let Some(source) = listing.remove(&key) {
                found.insert(key, source);
            }
        }
        found
    };
    let (train, test, val) = (part("train"), part("test"), part("val"));
    // ImageNet's own test part has no labels; its `val` is what is tested on.
    let test = if test.is_empty() { val } else { test };
    if train.is_empty() && test.is_empty() {
        return Err(DataError::malformed(
            path,
            "no pictures where train/CLASS/NAME.jpg and test/CLASS/NAME.jpg (or val/) are expected (jpg, jpeg or png)",
        ));
    }
    let mut classes: Vec<String> =
        if train.is_empty() { &test } else { &train }.keys().map(|key| key.1.clone()).collect();
    classes.dedup();
    let place = path.display().to_string();
    let (train, test) = (examples(train, &classes, &place)?, examples(test, &classes, &place)?);
    Ok(Parts { train, test, classes })
}

fn examples(
    listing: Listing,
    classes: &[String],
    place: &str,
) -> Result<Option<Examples>, DataError> {
    let mut labels = Vec::with_capacity(listing.len());
    let mut sources = Vec::with_capacity(listing.len());
    for ((_, class, _), source) in listing {
        let label = classes.binary_search(&class).map_err(|_| {
            let problem =
                format!("test class \"{}\" has no training pictures", class.escape_debug());
            DataError::malformed(Path::new(place), problem)
        })?;
        labels.push(label as u32);
        sources.push(source);
    }
    Ok((!labels.is_empty()).then(|| Examples {
        store: Store::Encoded(sources),
        labels,
        place: place.to_owned(),
    }))
}

fn list_folder(root: &Path) -> Result<Listing, DataError> {
    let mut listing = Listing::new();
    for part in ["train", "test", "val"] {
        let folder = root.join(part);
        if !folder.is_dir() {
            continue;
        }
        for class in names(&folder)? {
            let inside = folder.join(&class);
            if inside.is_dir() {
                walk(&inside, "", MAX_DEPTH, &mut |name, source| {
                    listing.insert((part.to_owned(), class.clone(), name), source);
                })?;
            }
        }
    }
    Ok(listing)
}

/// Every picture below `folder`; links are followed, as the folder is the user's own.
fn walk(
    folder: &Path,
    prefix: &str,
    depth: usize,
    found: &mut dyn FnMut(String, Source),
) -> Result<(), DataError> {
    if depth == 0 {
        return Err(DataError::malformed(
            folder,
            format!("folders nested deeper than {MAX_DEPTH} in a class"),
        ));
    }
    for name in names(folder)? {
        let path = folder.join(&name);
        if path.is_dir() {
            walk(&path, &format!("{prefix}{name}/"), depth - 1, found)?;
        } else if is_picture(&name) {
            found(format!("{prefix}{name}"), Source::File(path));
        }
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::read(folder))? {
        let name = entry.map_err(DataError::read(folder))?.file_name();
        let name = name.into_string().map_err(|name| {
            DataError::malformed(
                &folder.join(&name),
                "its name is not UTF-8, which names of classes and pictures must be",
            )
        })?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    Ok(names)
}

fn is_picture(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    !name.starts_with('.') && matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png"))
}

/// Part, class and name of a picture in an archive, which may lie in one folder more.
pub(super) fn place<'a>(
    parts: &'a [&'a str],
) -> Option<(&'a str, &'a str, &'a str, &'a [&'a str])> {
    let at = parts.iter().take(2).position(|part| matches!(*part, "train" | "test" | "val"))?;
    let root = if at == 0 { "" } else { parts[0] };
    match &parts[at..] {
        [part, class, name @ ..] if name.last().is_some_and(|name| is_picture(name)) => {
            Some((root, part, class, name))
        }
        _ => None,
    }
}

fn list_archive(path: &Path) -> Result<Listing, DataError> {
    let files = archive::read(path, Caps::default(), |parts| place(parts).is_some())?;
    let mut listing = Listing::new();
    let mut only_root: Option<String> = None;
    for (entry, bytes) in files {
        let parts: Vec<&str> = entry.split('/').collect();
        let Some((root, part, class, name)) = place(&parts) else { continue };
        let first = only_root.get_or_insert_with(|| root.to_owned());
        if first != root {
            let problem = format!(
                "has train/ or test/ in two folders, \"{first}\" and \"{root}\"; one is allowed"
            );
            return Err(DataError::malformed(path, problem));
        }
        let key = (part.to_owned(), class.to_owned(), name.join("/"));
        let source =
            Source::Bytes { name: format!("{}: {entry}", path.display()), bytes: bytes.into() };
        if listing.insert(key, source).is_some() {
            let entry = entry.escape_debug().collect();
            return Err(DataError::Entry {
                archive: path.into(),
                entry,
                problem: "is there twice".into(),
            });
        }
    }
    Ok(listing)
}

#[cfg(test)]
pub(super) mod tests {
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
            let files: Vec<(&str, &[u8])> =
                names.iter().map(|name| (*name, &picture[..])).collect();
            std::fs::write(&path, archive::tests::tar(&files)).unwrap();
            open(&path)
        };
        let parts =
            write(&["set/train/b/1.png", "set/train/a/1.png", "set/test/b/1.png", "set/x.png"])
                .unwrap();
        assert_eq!(parts.train.unwrap().labels, [0, 1]);
        assert_eq!(parts.test.unwrap().labels, [1]);
        let error = |names: &[&str]| write(names).unwrap_err().to_string();
        assert!(error(&["a/train/b/1.png", "c/train/b/2.png"]).contains("two folders"));
        assert!(
            error(&["train/b/1.png", "train/b/1.png"]).contains("\"train/b/1.png\" is there twice")
        );
        assert!(
            error(&["train/b/1.png", "test/c/1.png"]).contains("test class \"c\" has no training")
        );
        assert!(error(&["b/1.png"]).contains("train/CLASS/NAME.jpg"));
    }
}
