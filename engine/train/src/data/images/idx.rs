//! IDX, the format of MNIST: a magic number (two zero bytes, a type, the number of dimensions), the dimensions as
//! big-endian u32, then the numbers. Only type 8 (unsigned bytes) is read; plain or gzip.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::super::DataError;
use super::super::account::{Account, Reason};
use super::super::archive::Caps;
use super::super::ledger::Ledger;
use super::super::listing::{self, File};
use super::super::place::Place;
use super::super::root::Root;
use super::super::stored::Stored;
use super::examples::{Examples, Parts, Store};
use super::image::Image;
use crate::text::escape;

/// The most bytes of one file after decompression: the header says how many there are, and it may lie.
const MAX_BYTES: u64 = 4 << 30;

/// Array of bytes with up to four dimensions.
#[derive(Debug)]
struct Idx {
    dims: Vec<usize>,
    bytes: Vec<u8>,
}

/// Reads the pairs of a folder, or of an archive of one; folders around them may be more.
///
/// # Errors
/// No pair at all, two sets, images without labels or the other way round, and whatever is wrong inside a file.
pub(in crate::data) fn open(place: &Place) -> Result<Parts, DataError> {
    let path = &*place.path;
    let root = Root::open(place, Caps { file: MAX_BYTES, ..Caps::default() })?;
    let mut account = Account::default();
    let listing = root.list(&mut account)?;
    if let Root::Folder(folder) = &root {
        Ledger::account(folder, &mut account)?;
    }
    let (files, others): (Vec<&File>, Vec<&File>) =
        listing.files.iter().partition(|file| named(file.split().1).is_some());
    others.iter().for_each(|file| account.skip(Reason::NoPicture, &file.name));
    if files.is_empty() {
        let mut problem = "no IDX files in MNIST's naming, such as train-images-idx3-ubyte and train-labels-idx1-ubyte, each plain or with .gz".to_owned();
        if let Some(line) = account.skipped_line() {
            problem += &format!(" ({line})");
        }
        return Err(DataError::malformed(path, problem));
    }
    let folder = listing::only_folder(&files, "IDX files", path)?;
    if !folder.is_empty() {
        account.note(format!("the folder \"{}\" was opened", escape(folder)));
    }
    let set = one_set(&files, path)?;
    for file in files.iter().filter(|file| !set.values().any(|taken| taken == *file)) {
        account.skip(Reason::Twice, &file.name);
    }
    let taken: Vec<&File> = set.values().copied().collect();
    let mut sources: BTreeMap<Role, Stored> =
        set.keys().copied().zip(root.sources(&taken)?).collect();
    let mut pair = |of: Of, name: &mut String| {
        let beside = |there: Stored, what: &str| {
            let there = PathBuf::from(there.name().into_owned());
            Err(DataError::malformed(&there, format!("its {what} are not beside it")))
        };
        let images = sources.remove(&(of, What::Images));
        match (images, sources.remove(&(of, What::Labels))) {
            (Some(images), Some(labels)) => {
                name.clone_from(&set[&(of, What::Images)].name);
                read_pair(&images, &labels).map(Some)
            }
            (None, None) => Ok(None),
            (Some(there), None) => beside(there, "labels (…-labels-idx1-ubyte)"),
            (None, Some(there)) => beside(there, "images (…-images-idx3-ubyte)"),
        }
    };
    let train = pair(Of::Train, &mut account.train.name)?;
    let test = pair(Of::Test, &mut account.test.name)?;
    let labels = train.iter().chain(&test).flat_map(|part| &part.labels);
    let most = labels.max().copied().unwrap_or(0);
    let classes = (0..=most).map(|class| class.to_string()).collect();
    Ok(Parts { train, test, classes, account })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    Train,
    Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Images,
    Labels,
}

/// What a file is for.
type Role = (Of, What);

/// What the name of a file says: its set, what it is for, and the name without `.gz`.
fn named(name: &str) -> Option<(&str, Role, &str)> {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let (stem, dims) = plain.strip_suffix("-ubyte")?.rsplit_once("idx")?;
    dims.parse::<u8>().ok()?;
    let stem = stem.strip_suffix(['-', '.'])?;
    let whats = [("-images", What::Images), ("-labels", What::Labels)];
    let (stem, what) =
        whats.iter().find_map(|(word, what)| Some((stem.strip_suffix(word)?, *what)))?;
    let ofs = [("train", Of::Train), ("t10k", Of::Test), ("test", Of::Test)];
    let (set, of) = ofs.iter().find_map(|(word, of)| Some((stem.strip_suffix(word)?, *of)))?;
    Some((set, (of, what), plain))
}

/// The file of each role. If a file is there both plain and as gzip, the plain one is taken.
fn one_set<'a>(files: &[&'a File], path: &Path) -> Result<BTreeMap<Role, &'a File>, DataError> {
    let mut set: BTreeMap<Role, &File> = BTreeMap::new();
    let of = |file: &'a File| named(file.split().1);
    let mut sorted = files.to_vec();
    // A plain file sorts before its gzip.
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    for file in sorted {
        let Some((name, role, plain)) = of(file) else { continue };
        let other = set.values().find(|other| of(other).is_some_and(|(set, ..)| set != name));
        let same = set.get(&role).filter(|other| of(other).is_some_and(|(.., of)| of != plain));
        if let Some(other) = other.or(same) {
            let (one, two) = (escape(&other.name), escape(&file.name));
            let problem = format!(
                "has two sets of IDX files, as \"{one}\" and \"{two}\" say; one in a folder is allowed"
            );
            return Err(DataError::malformed(path, problem));
        }
        set.entry(role).or_insert(file);
    }
    Ok(set)
}

/// Whether a file looks like one that [`open`] reads, by its name.
pub(in crate::data) fn is_named_so(name: &str) -> bool {
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    (stem.ends_with("idx3-ubyte") || stem.ends_with("idx1-ubyte")) && !name.starts_with('.')
}

fn read_pair(images: &Stored, labels: &Stored) -> Result<Examples, DataError> {
    let (images_path, labels_path) =
        (&*PathBuf::from(&*images.name()), &*PathBuf::from(&*labels.name()));
    let (images, labels) = (read(images, images_path)?, read(labels, labels_path)?);
    let (height, width, channels) = match images.dims[..] {
        [_, height, width] => (height, width, 1),
        [_, height, width, channels @ (1 | 3)] => (height, width, channels),
        _ => {
            let problem = format!(
                "images of dimensions {:?}; allowed are (count, height, width) and (count, height, width, 1 or 3)",
                images.dims
            );
            return Err(DataError::malformed(images_path, problem));
        }
    };
    if labels.dims.len() != 1 {
        let problem = format!("labels of dimensions {:?}; allowed is (count)", labels.dims);
        return Err(DataError::malformed(labels_path, problem));
    }
    if images.dims[0] != labels.dims[0] {
        let problem = format!("{} labels for {} images", labels.dims[0], images.dims[0]);
        return Err(DataError::malformed(labels_path, problem));
    }
    let size = height * width * channels;
    if size == 0 {
        return Err(DataError::malformed(
            images_path,
            format!("images of {height}×{width} pixels"),
        ));
    }
    let pixels = images.bytes.chunks_exact(size);
    let decoded =
        pixels.map(|pixels| Image { height, width, channels, pixels: pixels.to_vec() }).collect();
    Ok(Examples {
        store: Store::Decoded(decoded),
        labels: labels.bytes.iter().map(|&label| u32::from(label)).collect(),
        place: images_path.display().to_string(),
    })
}

fn read(source: &Stored, path: &Path) -> Result<Idx, DataError> {
    let bytes = source.open()?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        parse(MultiGzDecoder::new(bytes), path)
    } else {
        parse(bytes, path)
    }
}

/// Never takes more from `source` than the header announces plus one byte, so a gzip bomb cannot unfold.
fn parse(mut source: impl Read, path: &Path) -> Result<Idx, DataError> {
    let fail = |problem: String| DataError::malformed(path, problem);
    let magic = word(&mut source, path)?;
    let [0, 0, 8, rank @ 1..=4] = magic else {
        return Err(fail(format!(
            "starts with {magic:02x?}; an IDX file of bytes starts with 00 00 08 and its number of dimensions, 1 to 4"
        )));
    };
    let mut dims = Vec::new();
    for _ in 0..rank {
        dims.push(u32::from_be_bytes(word(&mut source, path)?));
    }
    let announced = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim.into()));
    let announced = announced.filter(|&bytes| bytes <= MAX_BYTES).ok_or_else(|| {
        fail(format!(
            "its header announces dimensions {dims:?}; allowed are {} GiB in all",
            MAX_BYTES >> 30
        ))
    })?;
    // No capacity is reserved: memory follows what is really there, not what is announced.
    let mut bytes = Vec::new();
    source.take(announced + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, error))?;
    if (bytes.len() as u64) < announced {
        return Err(fail(format!(
            "truncated: {} of {announced} bytes after the header",
            bytes.len()
        )));
    }
    if bytes.len() as u64 > announced {
        return Err(fail(format!("more than the {announced} bytes that its header announces")));
    }
    Ok(Idx { dims: dims.into_iter().map(|dim| dim as usize).collect(), bytes })
}

fn word(source: &mut impl Read, path: &Path) -> Result<[u8; 4], DataError> {
    let mut bytes = [0; 4];
    source.read_exact(&mut bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => DataError::malformed(path, "truncated in its header"),
        _ => unreadable(path, error),
    })?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: std::io::Error) -> DataError {
    match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            DataError::malformed(path, format!("not a whole gzip file: {error}"))
        }
        ErrorKind::UnexpectedEof => {
            DataError::malformed(path, "truncated: its gzip stream ends too early")
        }
        _ => DataError::Read { path: path.into(), source: error },
    }
}

#[cfg(test)]
pub(in crate::data) mod tests {
    use std::io::Write;

    use super::*;

    fn open(path: &Path) -> Result<Parts, DataError> {
        super::open(&path.into())
    }

    /// An IDX file's bytes.
    pub(in crate::data) fn idx(dims: &[u32], bytes: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, 8, dims.len() as u8];
        dims.iter().for_each(|dim| file.extend(dim.to_be_bytes()));
        file.extend(bytes);
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Writes a pair of `count` 2×2 images in `folder`; image i is filled with i, its label is i mod 3.
    pub(in crate::data) fn write_pair(folder: &Path, split: &str, count: u32) {
        let pixels: Vec<u8> = (0..count).flat_map(|at| [at as u8; 4]).collect();
        let labels: Vec<u8> = (0..count).map(|at| (at % 3) as u8).collect();
        std::fs::write(
            folder.join(format!("{split}-images-idx3-ubyte")),
            idx(&[count, 2, 2], &pixels),
        )
        .unwrap();
        std::fs::write(
            folder.join(format!("{split}-labels-idx1-ubyte.gz")),
            gzip(&idx(&[count], &labels)),
        )
        .unwrap();
    }

    #[test]
    fn reads_plain_and_gzip() {
        let folder = tempfile::tempdir().unwrap();
        write_pair(folder.path(), "train", 5);
        write_pair(folder.path(), "t10k", 4);
        let pairs = open(folder.path()).unwrap();
        assert_eq!(pairs.train.unwrap().labels, [0, 1, 2, 0, 1]);
        let Store::Decoded(images) = pairs.test.unwrap().store else { panic!("not decoded") };
        assert_eq!(images[3], Image { height: 2, width: 2, channels: 1, pixels: vec![3; 4] });
    }

    #[test]
    fn other_namings_are_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("emnist-digits-test-images.idx3-ubyte"),
            idx(&[1, 1, 1], &[5]),
        )
        .unwrap();
        std::fs::write(folder.path().join("emnist-digits-test-labels.idx1-ubyte"), idx(&[1], &[2]))
            .unwrap();
        let pairs = open(folder.path()).unwrap();
        assert!(pairs.train.is_none());
        assert_eq!(pairs.test.unwrap().labels, [2]);
    }

    #[test]
    fn bad_files_are_refused_in_a_sentence() {
        let path = Path::new("x-idx3-ubyte");
        for (bytes, words) in [
            (idx(&[2, 2, 2], &[0; 7]), "truncated: 7 of 8 bytes"),
            (idx(&[2, 2, 2], &[0; 9]), "more than the 8 bytes"),
            (vec![0, 0, 8], "truncated in its header"),
            (vec![0, 0, 8, 3, 0, 0], "truncated in its header"),
            (vec![0, 0, 13, 3], "starts with [00, 00, 0d, 03]"),
            (b"\x1f\x8b\x08\x00rest".to_vec(), "starts with [1f, 8b, 08, 00]"),
            (idx(&[u32::MAX, u32::MAX, u32::MAX], &[]), "allowed are 4 GiB"),
        ] {
            let error = parse(&bytes[..], path).unwrap_err().to_string();
            assert!(error.starts_with("x-idx3-ubyte: ") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_gzip_bomb_does_not_unfold() {
        let bomb = gzip(&idx(&[1, 2, 2], &vec![0; 50 << 20]));
        let mut decoder = MultiGzDecoder::new(&bomb[..]);
        let error = parse(&mut decoder, Path::new("x.gz")).unwrap_err().to_string();
        assert!(error.contains("more than the 4 bytes"), "{error}");
        // Almost all of it is still unread.
        assert_eq!(decoder.read(&mut [0; 1]).unwrap(), 1);
        let cut = gzip(&idx(&[1, 2, 2], &[1; 4]));
        let error = parse(MultiGzDecoder::new(&cut[..cut.len() - 9]), Path::new("x.gz"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("truncated"), "{error}");
    }

    #[test]
    fn strangers_have_a_line_and_two_sets_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("MNIST/raw");
        std::fs::create_dir_all(&inner).unwrap();
        write_pair(&inner, "train", 5);
        write_pair(&inner, "t10k", 4);
        std::fs::write(inner.join("._train-images-idx3-ubyte"), "Mac OS X").unwrap();
        std::fs::write(inner.join("train-images-idx3-ubyte.gz"), "packed").unwrap();
        std::fs::write(inner.join("README"), "").unwrap();
        let parts = open(folder.path()).unwrap();
        assert_eq!((parts.train.unwrap().labels.len(), parts.test.unwrap().labels.len()), (5, 4));
        let skipped: Vec<(Reason, u64)> = parts
            .account
            .skipped
            .iter()
            .map(|(reason, skipped)| (*reason, skipped.count))
            .collect();
        assert_eq!(skipped, [(Reason::NoPicture, 1), (Reason::Hidden, 1), (Reason::Twice, 1)]);
        assert_eq!(parts.account.notes, ["the folder \"MNIST/raw\" was opened"]);
        // The same from an archive.
        let names =
            ["train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz", "._train-images-idx3-ubyte"];
        let bytes = names.map(|name| std::fs::read(inner.join(name)).unwrap());
        let files: Vec<(&str, &[u8])> =
            names.into_iter().zip(bytes.iter().map(|bytes| &bytes[..])).collect();
        let archive = folder.path().join("x.tar");
        std::fs::write(&archive, super::super::super::archive::tests::tar(&files)).unwrap();
        assert_eq!(open(&archive).unwrap().train.unwrap().labels, [0, 1, 2, 0, 1]);

        for other in ["fashion-train", "test"] {
            write_pair(&inner, other, 3);
            let error = open(&inner).unwrap_err().to_string();
            assert!(
                error.contains("two sets") && error.contains(&format!("\"{other}-")),
                "{error}"
            );
            for end in ["images-idx3-ubyte", "labels-idx1-ubyte.gz"] {
                std::fs::remove_file(inner.join(format!("{other}-{end}"))).unwrap();
            }
        }
        write_pair(folder.path(), "train", 3);
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("in two folders"), "{error}");
    }

    #[test]
    fn half_a_pair_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write_pair(folder.path(), "train", 5);
        std::fs::remove_file(folder.path().join("train-labels-idx1-ubyte.gz")).unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("labels"), "{error}");
        std::fs::write(folder.path().join("train-labels-idx1-ubyte"), idx(&[4], &[0; 4])).unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("4 labels for 5 images"), "{error}");
    }
}
