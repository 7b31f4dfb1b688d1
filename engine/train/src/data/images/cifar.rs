//! CIFAR's binary version: records of one label (CIFAR-100: a coarse and a fine one) and 3072 bytes, the red plane of
//! 32×32 first. Read from its folder or from the archive as it is downloaded.

use std::io::Read;
use std::path::PathBuf;

use super::super::DataError;
use super::super::account::{Account, Reason};
use super::super::archive::Caps;
use super::super::ledger::Ledger;
use super::super::listing::{self, File};
use super::super::place::Place;
use super::super::root::Root;
use super::examples::{Examples, Parts, Store};
use super::image::Image;
use crate::text::escape;

/// Height and width of an image.
pub(in crate::data) const SIDE: usize = 32;
/// Where the files may lie in the folder that is given.
pub(in crate::data) const FOLDERS: [&str; 3] = ["", "cifar-10-batches-bin", "cifar-100-binary"];
/// The most bytes of a file; the largest real one has 154 MB.
const MAX_BYTES: u64 = 1 << 30;

/// How the two sets differ.
#[derive(Debug)]
pub(in crate::data) struct Version {
    train: &'static [&'static str],
    pub(in crate::data) test: &'static str,
    names: &'static str,
    /// Bytes of a record before the class.
    skipped: usize,
    pub(in crate::data) classes: usize,
}

/// CIFAR-10.
pub(in crate::data) const CIFAR10: Version = Version {
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    names: "batches.meta.txt",
    skipped: 0,
    classes: 10,
};

/// CIFAR-100 with its fine labels.
pub(in crate::data) const CIFAR100: Version = Version {
    train: &["train.bin"],
    test: "test.bin",
    names: "fine_label_names.txt",
    skipped: 1,
    classes: 100,
};

impl Version {
    /// Whether a file is one that [`open`] reads, by its name.
    pub(in crate::data) fn knows(&self, name: &str) -> bool {
        self.train.contains(&name) || name == self.test || name == self.names
    }
}

/// Both parts, or nothing if none of the files is there.
///
/// # Errors
/// Some files are missing, have broken records or a class that does not exist.
pub(in crate::data) fn open(place: &Place, version: &Version) -> Result<Option<Parts>, DataError> {
    let path = &*place.path;
    let root = Root::open(place, Caps { file: MAX_BYTES, ..Caps::default() })?;
    let mut account = Account::default();
    let listing = root.list(&mut account)?;
    let (wanted, others): (Vec<&File>, Vec<&File>) =
        listing.files.iter().partition(|file| version.knows(file.split().1));
    if wanted.iter().all(|file| file.split().1 == version.names) {
        return Ok(None);
    }
    if let Root::Folder(folder) = &root {
        Ledger::account(folder, &mut account)?;
    }
    others.iter().for_each(|file| account.skip(Reason::NoPicture, &file.name));
    let folder = listing::only_folder(&wanted, "CIFAR's files", path)?;
    if !folder.is_empty() {
        account.note(format!("the folder \"{}\" was opened", escape(folder)));
    }
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (file, source) in wanted.iter().zip(root.sources(&wanted)?) {
        let mut bytes = Vec::new();
        let name = PathBuf::from(&*source.name());
        source
            .open()?
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(DataError::read(&name))?;
        files.push((file.split().1.to_owned(), bytes));
    }
    let find = |wanted: &str| files.iter().find(|(name, _)| name == wanted).map(|(_, bytes)| bytes);
    let part = |names: &[&str]| {
        let mut examples = Examples {
            store: Store::Decoded(Vec::new()),
            labels: Vec::new(),
            place: path.display().to_string(),
        };
        for name in names {
            let bytes = find(name)
                .ok_or_else(|| DataError::malformed(path, format!("{name} is missing")))?;
            records(bytes, version, &mut examples)
                .map_err(|problem| DataError::malformed(&path.join(name), problem))?;
        }
        Ok(examples)
    };
    let (train, test) = (part(version.train)?, part(&[version.test])?);
    let names = find(version.names)
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .unwrap_or_default();
    let names: Vec<String> =
        names.lines().map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect();
    let classes = if names.len() == version.classes {
        names
    } else {
        (0..version.classes).map(|class| class.to_string()).collect()
    };
    Ok(Some(Parts { train: Some(train), test: Some(test), classes, account }))
}

fn records(bytes: &[u8], version: &Version, examples: &mut Examples) -> Result<(), String> {
    let plane = SIDE * SIDE;
    let record = version.skipped + 1 + 3 * plane;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        return Err(format!("{} bytes are not whole records of {record} bytes", bytes.len()));
    }
    let Store::Decoded(images) = &mut examples.store else { return Ok(()) };
    for record in bytes.chunks_exact(record) {
        let (label, planes) = (record[version.skipped], &record[version.skipped + 1..]);
        if usize::from(label) >= version.classes {
            return Err(format!("class {label} where 0 to {} are allowed", version.classes - 1));
        }
        let pixels = (0..plane)
            .flat_map(|at| [planes[at], planes[plane + at], planes[2 * plane + at]])
            .collect();
        images.push(Image { height: SIDE, width: SIDE, channels: 3, pixels });
        examples.labels.push(label.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::archive;
    use super::*;

    fn open(path: &Path, version: &Version) -> Result<Option<Parts>, DataError> {
        super::open(&path.into(), version)
    }

    /// One record of each class `0..count` after `skipped` bytes; red is the class, green 100, blue 200.
    fn file(count: u8, skipped: usize) -> Vec<u8> {
        let record = |class: u8| {
            let mut bytes = vec![9; skipped];
            bytes.push(class);
            bytes.extend([[class; 1024], [100; 1024], [200; 1024]].concat());
            bytes
        };
        (0..count).flat_map(record).collect()
    }

    #[test]
    fn reads_both_versions_from_folders_and_archives() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("cifar-10-batches-bin");
        std::fs::create_dir(&inner).unwrap();
        for name in CIFAR10.train.iter().chain([&CIFAR10.test]) {
            std::fs::write(inner.join(name), file(2, 0)).unwrap();
        }
        for path in [folder.path(), &inner] {
            let parts = open(path, &CIFAR10).unwrap().unwrap();
            let train = parts.train.unwrap();
            assert_eq!(train.labels, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
            let Store::Decoded(images) = train.store else { panic!("not decoded") };
            assert_eq!(images[1].pixels[..6], [1, 100, 200, 1, 100, 200]);
            assert_eq!(parts.classes[9], "9");
        }

        let names: String = (0..100).map(|class| format!("name{class}\n")).collect();
        let archive = folder.path().join("c.tar");
        let bytes = archive::tests::tar(&[
            ("cifar-100-binary/train.bin", &file(3, 1)),
            ("cifar-100-binary/test.bin", &file(2, 1)),
            ("cifar-100-binary/fine_label_names.txt", names.as_bytes()),
        ]);
        std::fs::write(&archive, bytes).unwrap();
        let parts = open(&archive, &CIFAR100).unwrap().unwrap();
        assert_eq!(parts.train.unwrap().labels, [0, 1, 2]);
        assert_eq!(parts.classes[99], "name99");
    }

    #[test]
    fn bad_folders_are_refused_in_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let error = |version: &Version| open(folder.path(), version).unwrap_err().to_string();
        assert!(open(folder.path(), &CIFAR100).unwrap().is_none());
        std::fs::write(folder.path().join("train.bin"), file(3, 1)).unwrap();
        assert!(error(&CIFAR100).contains("test.bin is missing"));
        std::fs::write(folder.path().join("test.bin"), &file(2, 1)[1..]).unwrap();
        assert!(error(&CIFAR100).contains("6147 bytes are not whole records of 3074 bytes"));
        std::fs::write(folder.path().join("test.bin"), file(101, 1)).unwrap();
        assert!(error(&CIFAR100).contains("class 100 where 0 to 99 are allowed"));
    }
}
