//! IDX, the format of MNIST: a magic number (two zero bytes, a type, the number of dimensions), the dimensions as
//! big-endian u32, then the numbers. Only type 8 (unsigned bytes) is read; plain or gzip.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::DataError;
use super::examples::{Examples, Store};
use super::image::Image;

/// The most bytes of one file after decompression: the header says how many there are, and it may lie.
const MAX_BYTES: u64 = 4 << 30;

/// Array of bytes with up to four dimensions.
#[derive(Debug)]
struct Idx {
    dims: Vec<usize>,
    bytes: Vec<u8>,
}

/// The image/label pairs of a folder in MNIST's naming.
#[derive(Debug)]
pub(super) struct Pairs {
    /// `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`.
    pub(super) train: Option<Examples>,
    /// `t10k-` or `test-`.
    pub(super) test: Option<Examples>,
}

/// Reads the pairs that lie in `folder`.
///
/// # Errors
/// No pair at all, images without labels or the other way round, and whatever is wrong inside a file.
pub(super) fn open(folder: &Path) -> Result<Pairs, DataError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::read(folder))? {
        names.push(
            entry.map_err(DataError::read(folder))?.file_name().to_string_lossy().into_owned(),
        );
    }
    // A plain file sorts before its gzip, so it is the one that is found.
    names.sort();
    let find = |splits: &[&str], what: &str| -> Option<PathBuf> {
        let wanted = |name: &&String| {
            let stem = name.strip_suffix(".gz").unwrap_or(name);
            let Some(stem) = stem.strip_suffix("-ubyte") else { return false };
            let Some((stem, dims)) = stem.rsplit_once("idx") else { return false };
            let Some(stem) = stem.strip_suffix(['-', '.']).and_then(|stem| stem.strip_suffix(what))
            else {
                return false;
            };
            dims.parse::<u8>().is_ok()
                && stem
                    .strip_suffix('-')
                    .is_some_and(|stem| splits.iter().any(|split| stem.ends_with(split)))
        };
        names.iter().find(wanted).map(|name| folder.join(name))
    };
    let pair = |splits: &[&str]| match (find(splits, "images"), find(splits, "labels")) {
        (Some(images), Some(labels)) => read_pair(&images, &labels).map(Some),
        (None, None) => Ok(None),
        (Some(there), None) => {
            Err(DataError::malformed(&there, "its labels (…-labels-idx1-ubyte) are not beside it"))
        }
        (None, Some(there)) => {
            Err(DataError::malformed(&there, "its images (…-images-idx3-ubyte) are not beside it"))
        }
    };
    let pairs = Pairs { train: pair(&["train"])?, test: pair(&["t10k", "test"])? };
    if pairs.train.is_none() && pairs.test.is_none() {
        return Err(DataError::malformed(
            folder,
            "no IDX files in MNIST's naming, such as train-images-idx3-ubyte and train-labels-idx1-ubyte, each plain or with .gz",
        ));
    }
    Ok(pairs)
}

/// Whether a file is one that [`open`] reads, by its name.
pub(super) fn is_named_so(name: &str) -> bool {
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    (stem.ends_with("idx3-ubyte") || stem.ends_with("idx1-ubyte")) && !name.starts_with('.')
}

fn read_pair(images_path: &Path, labels_path: &Path) -> Result<Examples, DataError> {
    let images = read(images_path)?;
    let labels = read(labels_path)?;
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

fn read(path: &Path) -> Result<Idx, DataError> {
    let file = BufReader::new(File::open(path).map_err(DataError::read(path))?);
    if path.extension().is_some_and(|extension| extension == "gz") {
        parse(MultiGzDecoder::new(file), path)
    } else {
        parse(file, path)
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
pub(super) mod tests {
    use std::io::Write;

    use super::*;

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
