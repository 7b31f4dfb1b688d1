//! Archives that others send, taken apart on the disk: a data set that is trained on often should lie there as files.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::iter;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use super::DataError;
use super::account::{Account, Reason};
use super::archive::{Archive, Caps, Member};
use super::images::layout::{self, Layout};
use super::images::{self, cifar, idx, shards, webdataset};
use super::ledger::Ledger;
use super::listing::{self, Listing};
use super::text::corpus::is_part;
use super::text::kind;
use crate::config::TextKind;
use crate::formats::folder::{CARD, CONFIG, MERGE, WEIGHTS};
use crate::formats::sums;
use crate::text::escape;

/// Entries of an archive, of any kind.
const ENTRIES: usize = 1_000_000;
/// Bytes of one file: of the largest IDX file that is read.
const FILE: u64 = 4 << 30;
/// Bytes of a name on the disk.
const LONGEST: usize = 120;

/// Writes what is data in the archive at `archive` into the empty `folder`, durably, and answers how many files that are:
/// pictures as `train/CLASS/NAME`, with the test part beside it, or as `CLASS/NAME`; IDX files and CIFAR's by their names
/// alone; where there are no pictures, shards or texts, those of a part in its folder, or questions in JSON. An archive that is a shard itself is kept as it is. Names become such as every system can hold; a file beside them keeps the classes' own, and the account of what
/// was left out, so that [`super::open`] tells both.
///
/// # Errors
/// What every reader of archives refuses: absolute names, `..`, damage. More than `most` bytes after decompression. No
/// data. What the system refuses. Then `folder` holds some of the files.
pub fn unpack(archive: &Path, folder: &Path, most: u64) -> Result<usize, DataError> {
    let caps = Caps { entries: ENTRIES, file: FILE, total: most, ..Caps::default() };
    let mut account = Account::default();
    let opened = Archive::open(&archive.into(), caps)?;
    let listing = opened.list(&mut account)?;
    let mut shelf = Shelf::default();
    let mut plain = by_name(&listing, archive)?;
    if plain.is_empty() && opened.is_plain_tar() && webdataset::has_labels(&listing) {
        return keep_shard(archive, folder);
    }
    let mut texts = if plain.is_empty() { holders(&listing) } else { Vec::new() };
    if plain.is_empty() && texts.is_empty() {
        texts = self::texts(&listing, archive)?;
    }
    if plain.is_empty() && texts.is_empty() {
        let found = layout::layout(&listing, &mut account);
        shelf.pictures(&found.map_err(|problem| DataError::malformed(archive, problem))?, &listing);
    } else {
        for file in listing.files.iter().filter(|file| plain.contains(&&*file.name)) {
            shelf.take(file.entry, &[], file.split().1);
        }
        shelf.texts(&texts);
        plain.extend(texts.iter().map(|file| &*file.name));
        for file in listing.files.iter().filter(|file| !plain.contains(&&*file.name)) {
            account.skip(Reason::NoPicture, &file.name);
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
    ledger.write(folder).map_err(failed)?;
    let count = wanted.values().map(Vec::len).sum();
    sync(folder, &folders, wanted.into_values().flatten()).map_err(failed)?;
    Ok(count)
}

/// Files of a model folder beside its weights that its readers ask for.
const BESIDE: [&str; 9] = [
    CONFIG,
    MERGE,
    CARD,
    sums::NAME,
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
];

/// Writes the weights of a trained network that somebody sent into the empty `folder`, durably, as `model.safetensors`, with the files beside them
/// that say what they are: from an archive of a model folder, or weights alone, which are no archive.
///
/// # Errors
/// What every reader of archives refuses; no weights, or several; more than `most` bytes. Whether the weights can be read is not looked at.
pub fn unpack_model(sent: &Path, folder: &Path, most: u64) -> Result<(), DataError> {
    let failed = |error: io::Error| {
        DataError::malformed(sent, format!("what it holds cannot be kept: {error}"))
    };
    let mut head = Vec::new();
    let opened = File::open(sent).map_err(DataError::read(sent))?;
    opened.take(9).read_to_end(&mut head).map_err(DataError::read(sent))?;
    // Behind eight bytes of its length the header of safetensors is JSON.
    if head.get(8) == Some(&b'{') {
        std::fs::copy(sent, folder.join(WEIGHTS)).map_err(failed)?;
        return sync(folder, &[], iter::once(WEIGHTS.into())).map_err(failed);
    }
    let caps = Caps { entries: ENTRIES, file: FILE, total: most, ..Caps::default() };
    let archive = Archive::open(&sent.into(), caps)?;
    let listing = archive.list(&mut Account::default())?;
    let of = |is: &dyn Fn(&str) -> bool| -> Vec<&listing::File> {
        listing.files.iter().filter(|file| is(file.split().1)).collect()
    };
    let mut weights = of(&|name| name == WEIGHTS);
    if weights.is_empty() {
        weights = of(&|name| name.ends_with(".safetensors"));
    }
    let [weights] = weights[..] else {
        let pickle =
            of(&|name| [".bin", ".pt", ".pth", ".pkl"].iter().any(|ending| name.ends_with(ending)));
        let problem = match (weights.len(), pickle.first()) {
            (0, Some(pickle)) => format!(
                "holds \"{}\", a pickle of PyTorch's, which can run code when it is read; safetensors are read",
                escape(&pickle.name)
            ),
            (0, None) => format!("holds no {WEIGHTS}"),
            (count, _) => format!("holds {count} files of weights; one network is read from one"),
        };
        return Err(DataError::malformed(sent, problem));
    };
    let inside = weights.split().0;
    let mut wanted = BTreeMap::from([(weights.entry, vec![PathBuf::from(WEIGHTS)])]);
    for file in listing.files.iter().filter(|file| file.split().0 == inside) {
        if BESIDE.contains(&file.split().1) {
            wanted.insert(file.entry, vec![file.split().1.into()]);
        }
    }
    archive.visit(&wanted, |names, member| write(folder, names, member))?;
    sync(folder, &[], wanted.into_values().flatten()).map_err(failed)
}

/// Whether a name is one of some kind.
type Is<'a> = &'a dyn Fn(&str) -> bool;

/// The files that are data by their own names, IDX or CIFAR; none where there are no such.
///
/// # Errors
/// They lie in two folders.
fn by_name<'a>(listing: &'a Listing, archive: &Path) -> Result<HashSet<&'a str>, DataError> {
    let kinds: [(Is<'_>, Is<'_>, &str); 3] = [
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

/// The files that hold pictures, with what tells their classes; none where there are no such, or pictures beside them.
fn holders(listing: &Listing) -> Vec<&listing::File> {
    let is_one =
        |file: &&listing::File| webdataset::is_shard(&file.name) || shards::is_parquet(&file.name);
    let pictures = listing.files.iter().any(|file| layout::shows(&file.name));
    if pictures || !listing.files.iter().any(|file| is_one(&file)) {
        return Vec::new();
    }
    let counts = |file: &&listing::File| is_one(file) || images::tells_classes(file.split().1);
    listing.files.iter().filter(counts).collect()
}

/// Keeps an archive that is a shard itself, durably.
fn keep_shard(archive: &Path, folder: &Path) -> Result<usize, DataError> {
    let failed =
        |error: io::Error| DataError::malformed(archive, format!("it cannot be kept: {error}"));
    let name = "shard.tar";
    std::fs::copy(archive, folder.join(name)).map_err(failed)?;
    Ledger::default().write(folder).map_err(failed)?;
    sync(folder, &[], iter::once(name.into())).map_err(failed)?;
    Ok(1)
}

/// The files that are texts, or questions; none where there are pictures, beside which a text is a note.
///
/// # Errors
/// There are both texts and questions, or questions in two folders.
fn texts<'a>(listing: &'a Listing, archive: &Path) -> Result<Vec<&'a listing::File>, DataError> {
    if listing.files.iter().any(|file| layout::shows(&file.name)) {
        return Ok(Vec::new());
    }
    let of = |kind: TextKind| -> Vec<&listing::File> {
        listing.files.iter().filter(|file| kind::of_name(&file.name) == Some(kind)).collect()
    };
    let (texts, questions) = (of(TextKind::Text), of(TextKind::Squad));
    if let (Some(text), Some(json)) = (texts.first(), questions.first()) {
        let (text, json) = (escape(&text.name), escape(&json.name));
        let problem = format!(
            "has the text \"{text}\" and \"{json}\", which may be questions; leave one of the two out"
        );
        return Err(DataError::malformed(archive, problem));
    }
    listing::only_folder(&questions, "JSON files", archive)?;
    Ok([texts, questions].concat())
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

    /// Texts, without the folders around them all; those of a part's folder stay in it.
    fn texts(&mut self, files: &[&listing::File]) {
        let around = common_folder(files);
        for file in files {
            let name = file.name.get(around.len()..).unwrap_or_default();
            let (part, name) = match name.split_once('/') {
                Some((part, rest)) if is_part(part) => (part.to_lowercase(), rest),
                _ => (String::new(), name),
            };
            let folder: Vec<&str> =
                Some(&*part).filter(|part| !part.is_empty()).into_iter().collect();
            let inner: PathBuf = folder.iter().collect();
            if !part.is_empty() && !self.folders.contains(&inner) {
                self.folders.push(inner);
            }
            self.take(file.entry, &folder, &name.replace('/', "_"));
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

/// The folder that holds all of `files`, with a `/` behind it; nothing where there is none.
fn common_folder<'a>(files: &[&'a listing::File]) -> &'a str {
    let Some((first, rest)) = files.split_first() else { return "" };
    let mut around = first.name.rfind('/').map_or("", |at| &first.name[..=at]);
    while rest.iter().any(|file| !file.name.starts_with(around)) {
        let outer = around.trim_end_matches('/');
        around = outer.rfind('/').map_or("", |at| &outer[..=at]);
    }
    around
}

/// A name like `name` that every system can hold.
fn safe(name: &str) -> String {
    let bad = |c: char| {
        escape(c.encode_utf8(&mut [0; 4])).len() > c.len_utf8() || "/\\:*?\"<>|\u{fffd}".contains(c)
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
    let ledger = folder.join(super::ledger::NAME);
    if ledger.exists() {
        File::open(ledger)?.sync_all()?;
    }
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
    use ::tar::EntryType;

    use super::super::archive::tests::{append, link, tar, zip};
    use super::super::images::image::tests::png;
    use super::super::ledger;
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
    fn a_model_folder_is_taken_out_of_whatever_is_around_it() {
        let of = |bytes: &[u8]| {
            let outside = tempfile::tempdir().unwrap();
            let (sent, folder) = (outside.path().join("sent"), outside.path().join("model"));
            std::fs::write(&sent, bytes).unwrap();
            std::fs::create_dir(&folder).unwrap();
            let done = unpack_model(&sent, &folder, 1 << 20).map_err(|error| error.to_string());
            done.map(|()| names(&folder, ""))
        };
        let weights = b"\x02\0\0\0\0\0\0\0{}";
        let folder = [
            ("x/model.safetensors", &weights[..]),
            ("x/config.json", b"{}"),
            ("x/README.md", b"a card"),
            ("x/model.onnx", b"the same again"),
            ("x/SHA256SUMS", b""),
            ("config.json", b"of another"),
        ];
        let taken =
            ["README.md", "SHA256SUMS", "config.json", "model.safetensors"].map(String::from);
        assert_eq!(of(&zip(&folder)), Ok(taken.to_vec()));
        assert_eq!(
            of(&zip(&[("resnet18.safetensors", &weights[..])])),
            Ok(vec!["model.safetensors".into()])
        );
        assert_eq!(of(weights), Ok(vec!["model.safetensors".into()]));
        for (files, words) in [
            (&[("a/pytorch_model.bin", &b"x"[..])][..], "a pickle of PyTorch's"),
            (&[("a.txt", b"x")], "holds no model.safetensors"),
            (&[("a.safetensors", b"x"), ("b.safetensors", b"x")], "holds 2 files of weights"),
            (&[("../model.safetensors", b"x")], "leaves the archive"),
        ] {
            let said = of(&zip(files)).expect_err(words);
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(of(b"hello").is_err());
    }

    #[test]
    fn only_data_is_kept_without_the_folders_around_it() {
        let picture = png(2, 2, [1; 3]);
        let (count, found) = try_unpack(
            &tar(&[
                ("archive/set/train/a/1.png", &picture),
                ("./archive/set/train/b/deep/2.JPG", &picture),
                ("archive/set/val/a/1.png", &picture),
                ("archive/set/train/a/run.sh", b"x"),
                ("archive/README", b"x"),
                ("archive/set/train/a/.hidden.png", b"x"),
                ("__MACOSX/archive/set/train/a/._1.png", b"x"),
            ]),
            1 << 20,
        );
        assert_eq!(count, Ok(3));
        assert_eq!(found, [ledger::NAME, "train/a/1.png", "train/b/deep_2.JPG", "val/a/1.png"]);
        let (count, found) = try_unpack(
            &zip(&[
                ("raw/train-images-idx3-ubyte.gz", b"x"),
                ("raw/._train-images-idx3-ubyte.gz", b"x"),
                ("raw/t10k-labels-idx1-ubyte", b"x"),
                ("train/a/1.png", &picture),
            ]),
            1 << 20,
        );
        assert_eq!(count, Ok(2));
        assert_eq!(found, [ledger::NAME, "t10k-labels-idx1-ubyte", "train-images-idx3-ubyte.gz"]);
        let cifar: [(&str, &[u8]); 2] = [("c/data_batch_1.bin", b"x"), ("c/test_batch.bin", b"x")];
        assert_eq!(
            try_unpack(&tar(&cifar), 1 << 20).1,
            [ledger::NAME, "data_batch_1.bin", "test_batch.bin"]
        );
        for files in [
            ["a/x-train-images-idx3-ubyte", "b/x-train-images-idx3-ubyte"],
            ["a/test.bin", "b/test.bin"],
        ] {
            let files: Vec<(&str, &[u8])> = files.iter().map(|name| (*name, &b"x"[..])).collect();
            let error = try_unpack(&tar(&files), 1 << 20).0.unwrap_err();
            assert!(error.contains("in two folders"), "{error}");
        }
    }

    #[test]
    fn names_are_made_safe_and_told_as_they_were() {
        let picture = png(2, 2, [1; 3]);
        let long = format!("train/{}/{}.png", "l".repeat(300), "n".repeat(300));
        let mut builder = ::tar::Builder::new(Vec::new());
        for name in [
            "train/a:b/IMG_1.JPG?15.png",
            "train/a:b/img_1.jpg_15.png",
            "train/A:B/1.png",
            "train/con/nul.png",
            "train/caf\u{e9}/1.png",
            "train/cafe\u{301}/1.png",
            "train/end. /\u{202e}x.png",
            "train/nul/deep/1.png",
            "train/nul/deep_1.png",
            "test/a:b/1.png",
        ] {
            append(&mut builder, EntryType::Regular, name.as_bytes(), &picture);
        }
        link(&mut builder, "train/a:b/again.png", "train/con/nul.png");
        let mut header = ::tar::Header::new_gnu();
        header.set_size(picture.len() as u64);
        header.set_entry_type(EntryType::Regular);
        builder.append_data(&mut header, &long, &picture[..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let (archive, folder) = (outside.path().join("x.tar"), outside.path().join("set"));
        std::fs::write(&archive, bytes).unwrap();
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(unpack(&archive, &folder, 1 << 20).unwrap(), 12);
        for name in names(&folder, "") {
            let plain = |c: char| !c.is_control() && !"\\:*?\"<>|\u{202e}".contains(c);
            assert!(name.chars().all(plain) && name.len() < 300, "{name}");
            let stems = name.split('/').map(|part| part.split('.').next().unwrap());
            assert!(stems.into_iter().all(|stem| stem != "con" && stem != "nul"), "{name}");
        }
        let alike: HashSet<String> = names(&folder, "")
            .iter()
            .map(|name| name.nfc().collect::<String>().to_lowercase())
            .collect();
        assert_eq!(alike.len(), 13);
        let parts = super::super::images::folder::open(&(&*folder).into()).unwrap();
        let direct = super::super::images::folder::open(&(&*archive).into()).unwrap();
        assert_eq!(parts.classes, direct.classes);
        assert_eq!(
            parts.classes,
            ["A:B", "a:b", "caf\u{e9}", "con", "end. ", &"l".repeat(300), "nul"]
        );
        let counts = |labels: Vec<u32>| super::super::images::division::counts(&labels, 7);
        assert_eq!(counts(parts.train.unwrap().labels), counts(direct.train.unwrap().labels));
        assert_eq!(parts.account.notes, direct.account.notes);
    }

    #[test]
    fn texts_are_kept_with_the_folders_of_their_parts() {
        let unpacked = |files: &[(&str, &[u8])]| try_unpack(&zip(files), 1 << 20);
        let (count, found) = unpacked(&[
            ("wiki/train/a.txt", b"x"),
            ("wiki/train/b/a.TXT", b"x"),
            ("wiki/Test/a.txt", b"x"),
            ("wiki/README.md", b"x"),
        ]);
        assert_eq!(count, Ok(3));
        assert_eq!(found, [ledger::NAME, "test/a.txt", "train/a.txt", "train/b_a.TXT"]);
        let (count, found) = unpacked(&[("texts/one.txt", b"x"), ("texts/more/two.txt", b"x")]);
        assert_eq!(
            (count, found),
            (Ok(2), [ledger::NAME, "more_two.txt", "one.txt"].map(String::from).into())
        );
        let (count, found) = unpacked(&[("squad/train-v1.1.json", b"x"), ("squad/notes", b"x")]);
        assert_eq!(
            (count, found),
            (Ok(1), [ledger::NAME, "train-v1.1.json"].map(String::from).into())
        );
        // Beside pictures a text is a note.
        let picture = png(2, 2, [1; 3]);
        let (count, found) = unpacked(&[("train/a/1.png", &picture), ("classes.txt", b"a")]);
        assert_eq!((count, found.len()), (Ok(1), 2));
        for (files, words) in [
            ([("a.txt", &b"x"[..]), ("b.json", b"x")], "leave one of the two out"),
            ([("a/dev.json", b"x"), ("b/train.json", b"x")], "JSON files in two folders"),
        ] {
            let error = unpacked(&files).0.expect_err("refused");
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn shards_are_kept_as_they_are() {
        let picture = png(2, 2, [1; 3]);
        let shard = tar(&[("0.png", &picture), ("0.cls", b"1")]);
        let unpacked = |bytes: &[u8]| try_unpack(bytes, 1 << 20);
        let (count, found) = unpacked(&tar(&[
            ("set/Train/0.tar", &shard),
            ("set/test/0.tar", &shard),
            ("set/classnames.txt", b"a\nb\n"),
            ("set/info.json", b"{}"),
        ]));
        assert_eq!(count, Ok(3));
        assert_eq!(found, [ledger::NAME, "classnames.txt", "test/0.tar", "train/0.tar"]);
        let (count, found) = unpacked(&shard);
        assert_eq!((count, found), (Ok(1), [ledger::NAME, "shard.tar"].map(String::from).into()));
        // Beside pictures in folders a tar is a file of another kind.
        let files = [("a/1.png", &picture[..]), ("b/1.png", &picture), ("b/x.tar", &shard)];
        assert_eq!(unpacked(&zip(&files)).1, [ledger::NAME, "a/1.png", "b/1.png"]);
    }

    #[test]
    fn what_was_left_out_is_told_again() {
        let picture = png(2, 2, [1; 3]);
        let outside = tempfile::tempdir().unwrap();
        let (archive, folder) = (outside.path().join("x.zip"), outside.path().join("set"));
        let files: [(&str, &[u8]); 6] = [
            ("a/train/x/1.png", &picture),
            ("a/train/y/1.png", &picture),
            ("a/train/z/1.heic", b"x"),
            ("a/train/x/._1.png", b"x"),
            ("b/1.png", &picture),
            ("a/val/x/1.png", &picture),
        ];
        std::fs::write(&archive, zip(&files)).unwrap();
        std::fs::create_dir(&folder).unwrap();
        unpack(&archive, &folder, 1 << 20).unwrap();
        let [direct, kept] = [&archive, &folder]
            .map(|path| super::super::images::folder::open(&(&**path).into()).unwrap());
        assert_eq!(kept.account, direct.account);
        assert_eq!(kept.classes, ["x", "y", "z"]);
    }

    #[test]
    fn nothing_is_kept_of_what_leaves_the_archive() {
        for (files, words) in [
            (&["train/../../1.png"][..], "leaves the archive"),
            (&["/train/a/1.png"], "absolute"),
            (&["train/a/1.png", "x/../../y"], "leaves the archive"),
            (&["readme"], "holds no pictures"),
        ] {
            let files: Vec<(&str, &[u8])> = files.iter().map(|name| (*name, &b"x"[..])).collect();
            let (done, found) = try_unpack(&tar(&files), 1 << 20);
            let error = done.unwrap_err();
            assert!(error.contains(words) && found.is_empty(), "{files:?}: {error}");
        }
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
    }
}
