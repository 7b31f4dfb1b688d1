//! Archives that others send, taken apart on the disk: a data set that is trained on often should lie there as files.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::account::{Account, Reason, shown};
use super::archive::{Archive, Caps, Member};
use super::layout::{self, Layout};
use super::listing::{self, LEDGER, Listing};
use super::{DataError, cifar, idx};

/// Entries of an archive, of any kind.
const ENTRIES: usize = 1_000_000;
/// Bytes of one file: of the largest IDX file that is read.
const FILE: u64 = 4 << 30;
/// Bytes of a name on the disk.
const LONGEST: usize = 120;

/// Writes what is data in the archive at `archive` into the empty `folder`, durably, and answers how many files that are:
/// pictures as `train/CLASS/NAME`, with the test part beside it, or as `CLASS/NAME`; IDX files and CIFAR's by their names
/// alone. Names become such as every system can hold; a file beside them keeps the classes' own, and the account of what
/// was left out, so that [`super::open`] tells both.
///
/// # Errors
/// What every reader of archives refuses: absolute names, `..`, damage. More than `most` bytes after decompression. No
/// data. What the system refuses. Then `folder` holds some of the files.
pub fn unpack(archive: &Path, folder: &Path, most: u64) -> Result<usize, DataError> {
    let caps = Caps { entries: ENTRIES, file: FILE, total: most, ..Caps::default() };
    let mut account = Account::default();
    let opened = Archive::open(archive, caps)?;
    let listing = opened.list(&mut account)?;
    let mut shelf = Shelf::default();
    let plain = by_name(&listing, archive)?;
    if plain.is_empty() {
        let found = layout::layout(&listing, &mut account);
        shelf.pictures(&found.map_err(|problem| DataError::malformed(archive, problem))?, &listing);
    } else {
        for file in &listing.files {
            match plain.contains(&&*file.name) {
                true => shelf.take(file.entry, &[], file.split().1),
                false => account.skip(Reason::NoPicture, &file.name),
            }
        }
    }
    let Shelf { wanted, classes, empty, folders, .. } = shelf;
    let failed = |error: io::Error| {
        DataError::malformed(archive, format!("what it holds cannot be kept: {error}"))
    };
    for inner in &folders {
        std::fs::create_dir_all(folder.join(inner)).map_err(failed)?;
    }
    opened.visit(&wanted, |names, member| write(folder, names, member))?;
    let ledger = Ledger { classes, empty, account };
    let bytes = serde_json::to_vec(&ledger).map_err(|error| failed(error.into()))?;
    std::fs::write(folder.join(LEDGER), bytes).map_err(failed)?;
    let count = wanted.values().map(Vec::len).sum();
    sync(folder, &folders, wanted.into_values().flatten()).map_err(failed)?;
    Ok(count)
}

/// The files that are data by their own names, IDX or CIFAR; none where there are no such.
///
/// # Errors
/// They lie in two folders.
fn by_name<'a>(listing: &'a Listing, archive: &Path) -> Result<HashSet<&'a str>, DataError> {
    let kinds: [(&dyn Fn(&str) -> bool, &dyn Fn(&str) -> bool, &str); 3] = [
        (&idx::is_named_so, &idx::is_named_so, "IDX files"),
        (&|name| name == cifar::CIFAR10.test, &|name| cifar::CIFAR10.knows(name), "CIFAR's files"),
        (
            &|name| name == cifar::CIFAR100.test,
            &|name| cifar::CIFAR100.knows(name),
            "CIFAR's files",
        ),
    ];
    for (tells, knows, what) in kinds {
        if listing.files.iter().any(|file| tells(file.split().1)) {
            let files: Vec<&listing::File> =
                listing.files.iter().filter(|file| knows(file.split().1)).collect();
            listing::only_folder(&files, what, archive)?;
            return Ok(files.into_iter().map(|file| &*file.name).collect());
        }
    }
    Ok(HashSet::new())
}

/// What the names of an unpacked archive do not say.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// The class of each class's folder.
    classes: BTreeMap<String, String>,
    /// Classes of which no picture is of a kind that is read.
    empty: Vec<String>,
    /// What was left out when the archive was taken apart.
    account: Account,
}

impl Ledger {
    /// That of a folder, if it is of an unpacked archive.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, DataError> {
        let path = folder.join(LEDGER);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DataError::read(&path)(error)),
        };
        let ledger = serde_json::from_slice(&bytes);
        ledger.map(Some).map_err(|error| DataError::malformed(&path, error.to_string()))
    }

    /// Gives classes their own names back, and the account what was left out.
    pub(super) fn restore(&self, layout: &mut Layout, account: &mut Account) {
        for part in [&mut layout.train, &mut layout.test] {
            let named = |(folder, pictures)| {
                (self.classes.get(&folder).cloned().unwrap_or(folder), pictures)
            };
            part.classes = std::mem::take(&mut part.classes).into_iter().map(named).collect();
        }
        for class in &self.empty {
            layout.train.classes.entry(class.clone()).or_default();
        }
        account.add(&self.account);
    }

    /// Adds what was left out of a data set that is no pictures.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn account(folder: &Path, account: &mut Account) -> Result<(), DataError> {
        if let Some(ledger) = Self::read(folder)? {
            account.add(&ledger.account);
        }
        Ok(())
    }
}

/// What is taken out, and under which names.
#[derive(Debug, Default)]
struct Shelf {
    /// The names of each entry's file, from the folder.
    wanted: BTreeMap<usize, Vec<PathBuf>>,
    /// Every name, as a file system sees it that tells neither cases nor Unicode forms apart.
    seen: HashSet<String>,
    folders: Vec<PathBuf>,
    classes: BTreeMap<String, String>,
    empty: Vec<String>,
}

impl Shelf {
    fn pictures(&mut self, found: &Layout, listing: &Listing) {
        // A class has the folder of one name in both parts.
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        for part in [&found.train, &found.test] {
            for (class, pictures) in &part.classes {
                if pictures.is_empty() {
                    if part.name == found.train.name {
                        self.empty.push(class.clone());
                    }
                    continue;
                }
                let folder = match names.get(&**class) {
                    Some(folder) => folder.clone(),
                    None => {
                        let folder = self.free(&[], class);
                        names.insert(class, folder.clone());
                        self.classes.insert(folder.clone(), class.clone());
                        folder
                    }
                };
                let part = part.name.to_lowercase();
                let inner: Vec<&str> =
                    [&*part, &*folder].into_iter().filter(|name| !name.is_empty()).collect();
                self.folders.push(inner.iter().collect());
                for (name, at) in pictures {
                    self.take(listing.files[*at].entry, &inner, name);
                }
            }
        }
    }

    /// Takes the file of an entry into `folder`, under a name like `name`.
    fn take(&mut self, entry: usize, folder: &[&str], name: &str) {
        let name = self.free(folder, name);
        let path = folder.iter().copied().chain([&*name]).collect();
        self.wanted.entry(entry).or_default().push(path);
    }

    /// A name like `name` that every system can hold, and that nothing in `folder` has yet.
    fn free(&mut self, folder: &[&str], name: &str) -> String {
        let name = safe(name);
        let mut free = name.clone();
        for number in 2.. {
            let alike: String = folder.join("/").nfc().chain(['/']).chain(free.nfc()).collect();
            if self.seen.insert(alike.to_lowercase()) {
                break;
            }
            free = match name.rsplit_once('.') {
                Some((stem, extension)) => format!("{stem}~{number}.{extension}"),
                None => format!("{name}~{number}"),
            };
        }
        free
    }
}

/// A name like `name` that every system can hold.
fn safe(name: &str) -> String {
    let bad = |c: char| {
        shown(c.encode_utf8(&mut [0; 4])).len() > c.len_utf8() || "/\\:*?\"<>|\u{fffd}".contains(c)
    };
    let mut safe: String = name.chars().map(|c| if bad(c) { '_' } else { c }).collect();
    if safe.len() > LONGEST {
        let extension = match safe.rsplit_once('.') {
            Some((_, extension)) if extension.len() < 8 => format!(".{extension}"),
            _ => String::new(),
        };
        let mut end = LONGEST - extension.len();
        while !safe.is_char_boundary(end) {
            end -= 1;
        }
        safe.truncate(end);
        safe += &extension;
    }
    if safe.ends_with(['.', ' ']) {
        safe.pop();
        safe.push('_');
    }
    // Names of devices on Windows, whatever extension they have.
    let stem = safe.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = |word: &str| {
        stem.strip_prefix(word)
            .is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
    };
    let device =
        ["con", "prn", "aux", "nul"].contains(&&*stem) || numbered("com") || numbered("lpt");
    if device || safe.starts_with(['.', '-']) || safe.is_empty() {
        safe.insert(0, '_');
    }
    safe
}

/// Writes a file of the archive under each of its names.
fn write(folder: &Path, names: &[PathBuf], member: &mut Member<'_>) -> Result<(), DataError> {
    let Some((first, others)) = names.split_first() else { return Ok(()) };
    let first = folder.join(first);
    let file = OpenOptions::new().write(true).create_new(true).open(&first);
    let mut file = file.map_err(|error| member.refused(format!("cannot be written: {error}")))?;
    member.copy(&mut file)?;
    for other in others {
        std::fs::hard_link(&first, folder.join(other))
            .map_err(|error| member.refused(format!("cannot be written twice: {error}")))?;
    }
    Ok(())
}

/// Makes all of it durable, at once where the system can: nothing is there for others before its folder is renamed.
#[cfg(target_os = "linux")]
fn sync(
    folder: &Path,
    _folders: &[PathBuf],
    _files: impl Iterator<Item = PathBuf>,
) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// Makes all of it durable: the files, then the folders.
#[cfg(not(target_os = "linux"))]
fn sync(
    folder: &Path,
    folders: &[PathBuf],
    mut files: impl Iterator<Item = PathBuf>,
) -> io::Result<()> {
    files.try_for_each(|file| File::open(folder.join(file))?.sync_all())?;
    File::open(folder.join(LEDGER))?.sync_all()?;
    if cfg!(unix) {
        let outer = folders.iter().filter_map(|folder| folder.parent());
        let all: HashSet<&Path> = folders.iter().map(PathBuf::as_path).chain(outer).collect();
        all.into_iter().try_for_each(|inner| File::open(folder.join(inner))?.sync_all())?;
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::archive::tests::tar;
    use super::super::image::tests::png;
    use super::*;

    fn names(folder: &Path, prefix: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
            if entry.path().is_dir() {
                found.extend(names(&entry.path(), &format!("{name}/")));
            } else {
                found.push(name);
            }
        }
        found.sort();
        found
    }

    fn try_unpack(bytes: &[u8], most: u64) -> (Result<usize, String>, Vec<String>) {
        let outside = tempfile::tempdir().unwrap();
        let (archive, folder) = (outside.path().join("x.tar"), outside.path().join("set"));
        std::fs::write(&archive, bytes).unwrap();
        std::fs::create_dir(&folder).unwrap();
        let count = unpack(&archive, &folder, most).map_err(|error| error.to_string());
        // Whatever it was, nothing lies beside the folder.
        let beside = std::fs::read_dir(outside.path()).unwrap().count();
        assert_eq!(beside, 2);
        (count, names(&folder, ""))
    }

    #[test]
    fn only_data_is_kept_without_the_folder_around_it() {
        let picture = png(2, 2, [1; 3]);
        let (count, names) = try_unpack(
            &tar(&[
                ("set/train/a/1.png", &picture),
                ("./set/train/b/deep/2.JPG", &picture),
                ("set/val/a/1.png", &picture),
                ("set/train/a/run.sh", b"x"),
                ("set/README", b"x"),
                ("set/train/a/.hidden.png", b"x"),
                ("__MACOSX/train/a/._1.png", b"x"),
                ("other/data_batch_1.bin", b"x"),
                ("raw/train-images-idx3-ubyte.gz", b"x"),
                ("raw/t10k-labels-idx1-ubyte", b"x"),
            ]),
            1 << 20,
        );
        assert_eq!(count, Ok(6));
        assert_eq!(
            names,
            [
                "data_batch_1.bin",
                "t10k-labels-idx1-ubyte",
                "train-images-idx3-ubyte.gz",
                "train/a/1.png",
                "train/b/deep/2.JPG",
                "val/a/1.png",
            ]
        );
    }

    #[test]
    fn names_that_clash_or_mislead_are_refused() {
        let long = format!("train/{}/1.png", "a".repeat(80));
        let longer = format!("{}/x-idx1-ubyte", "a/".repeat(30));
        assert_eq!(try_unpack(&tar(&[(&long, b"x"), (&longer, b"x")]), 1 << 20).0, Ok(2));
        let deep = format!("train/a{}/1.png", "/b".repeat(9));
        for (files, words) in [
            (&["train/a/1.png", "train/a/1.png"][..], "twice"),
            (&["train/a/1.png", "train/a/1.PNG"], "the same name as \"train/a/1.png\""),
            (&["train/a/1.png", "train/A/2.png"], "the same name as \"train/a\""),
            (&["train/a/b.png", "train/a/b.png/c.png"], "twice"),
            (&["train/a/b.png/c.png", "train/a/b.png"], "twice"),
            (&["x/train/a/1.png", "y/train/a/2.png"], "beside another folder"),
            (&["x/train-images-idx3-ubyte", "y/train-images-idx3-ubyte"], "twice"),
            (&[deep.as_str()], "too long"),
            (&["train/a:b/1.png"], "some file systems"),
            (&["train/a\\b/1.png"], "some file systems"),
            (&["train/a./1.png"], "some file systems"),
            (&["train/a\n/1.png"], "some file systems"),
            (&["train/../../1.png"], "leaves the archive"),
            (&["/train/a/1.png"], "absolute"),
        ] {
            let files: Vec<(&str, &[u8])> = files.iter().map(|name| (*name, &b"x"[..])).collect();
            let error = try_unpack(&tar(&files), 1 << 20).0.unwrap_err();
            assert!(error.contains(words), "{files:?}: {error}");
        }
        // Bytes that are no UTF-8.
        let mut bytes = tar(&[("train/a/1.png", b"x")]);
        bytes[6] = 0xff;
        let sum: u32 = bytes[..148]
            .iter()
            .chain(&[b' '; 8])
            .chain(&bytes[156..512])
            .map(|&byte| u32::from(byte))
            .sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let error = try_unpack(&bytes, 1 << 20).0.unwrap_err();
        assert!(error.contains("no UTF-8"), "{error}");
    }

    #[test]
    fn a_bomb_and_a_cut_archive_are_refused() {
        use std::io::Write;
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        bomb.write_all(&tar(&[("train/a/1.png", &vec![0; 8 << 20])])).unwrap();
        let error = try_unpack(&bomb.finish().unwrap(), 1 << 20).0.unwrap_err();
        assert!(error.contains("unpacks to more than 1 MiB"), "{error}");
        let whole = tar(&[("train/a/1.png", &[7; 3000])]);
        let error = try_unpack(&whole[..2000], 1 << 20).0.unwrap_err();
        assert!(error.contains("truncated"), "{error}");
        let (count, names) = try_unpack(&tar(&[("readme", b"x")]), 1 << 20);
        assert_eq!((count, names.len()), (Ok(0), 0));
    }
}
