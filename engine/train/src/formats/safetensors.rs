//! safetensors files: our weights for PyTorch, and PyTorch's for us. Tensors are here as files have them; how that is says
//! [`crate::nn::FileLayout`].
//!
//! Layout: 8 bytes with the length of the header (little endian), the header (JSON: `__metadata__`, and for each tensor its dtype, shape and
//! range of bytes), the bytes. The header is written in name order, so the same weights give the same file.
//!
//! A file may have a sum of its own in its metadata, under [`SUM`]: the SHA-256 of all of its bytes, where the 64 digits of the sum itself
//! count as zeros. [`read`] compares it.

use std::collections::BTreeMap;
use std::io::{self, SeekFrom, Write};
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{FormatError, sums};
use crate::{
    disk::{Disk, SystemDisk},
    nn::{Tensor, Weights},
    text,
};

/// The string map of a file's `__metadata__`.
pub type Metadata = BTreeMap<String, String>;

/// The metadata's key of the file's own sum.
pub const SUM: &str = "taper.sha256";
/// The longest header, as the library has it.
const MOST_HEADER: u64 = 100_000_000;
/// What stands for the sum while it is made.
const NO_SUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The metadata by which transformers and others know a file of PyTorch weights.
pub fn pytorch() -> Metadata {
    Metadata::from([("format".into(), "pt".into())])
}

/// Writes `weights`, which are as files have them, as 32-bit floats; whole or not at all.
///
/// # Errors
/// What the system refuses.
pub fn write(path: &Path, weights: &Weights, metadata: &Metadata) -> Result<(), FormatError> {
    write_on(&SystemDisk, path, weights, metadata)
}

/// [`write()`] on a disk.
///
/// # Errors
/// As [`write()`].
pub fn write_on(
    disk: &dyn Disk,
    path: &Path,
    weights: &Weights,
    metadata: &Metadata,
) -> Result<(), FormatError> {
    write_as(disk, path, weights, metadata, Stored::Single)
}

/// What numbers are kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// 32-bit floats.
    Single,
    /// 16-bit floats, the nearest ones.
    Half,
}

/// [`write_on`] with numbers that are kept so.
///
/// # Errors
/// As [`write()`]; or a number is beyond the range of such, by its tensor.
pub fn write_as(
    disk: &dyn Disk,
    path: &Path,
    weights: &Weights,
    metadata: &Metadata,
    stored: Stored,
) -> Result<(), FormatError> {
    if stored == Stored::Half
        && let Some((name, _)) = weights.iter().find(|(_, tensor)| !fits_half(tensor))
    {
        let problem = format!("`{name}` has numbers beyond those of half precision, 65504");
        return Err(FormatError::content(path, problem));
    }
    let header = header(weights, metadata, stored);
    disk.write(path, &mut |file| fill(file, &header, weights, stored))
}

/// Whether half precision has numbers near those of a tensor; what is not finite is nobody's concern here.
fn fits_half(tensor: &Tensor) -> bool {
    tensor.data.iter().all(|&number| !number.is_finite() || from_half(to_half(number)).is_finite())
}

/// [`write_on`], with the file's own sum in its metadata.
///
/// # Errors
/// As [`write()`].
pub fn write_with_sum(
    disk: &dyn Disk,
    path: &Path,
    weights: &Weights,
    metadata: &Metadata,
) -> Result<(), FormatError> {
    let mut metadata = metadata.clone();
    metadata.insert(SUM.into(), NO_SUM.into());
    let mut header = header(weights, &metadata, Stored::Single);
    let place = sum_in(header.as_bytes(), NO_SUM);
    let place = place.ok_or_else(|| FormatError::content(path, "its sum has no place"))?;
    let mut sum = Sum(Sha256::new());
    fill(&mut sum, &header, weights, Stored::Single)
        .map_err(|source| FormatError::write(path, source))?;
    header.replace_range(place..place + NO_SUM.len(), &text::hex(&sum.0.finalize()));
    disk.write(path, &mut |file| fill(file, &header, weights, Stored::Single))
}

fn fill(file: &mut dyn Write, header: &str, weights: &Weights, stored: Stored) -> io::Result<()> {
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    weights.values().try_for_each(|tensor| write_tensor(file, tensor, stored))
}

fn write_tensor(file: &mut dyn Write, tensor: &Tensor, stored: Stored) -> io::Result<()> {
    if stored == Stored::Half {
        let halves = tensor.data.iter().flat_map(|&number| to_half(number).to_le_bytes());
        return file.write_all(&halves.collect::<Vec<_>>());
    }
    if cfg!(target_endian = "little") {
        return file.write_all(bytemuck::cast_slice(&tensor.data));
    }
    tensor.data.iter().try_for_each(|number| file.write_all(&number.to_le_bytes()))
}

/// The sum of what is written to it.
struct Sum(Sha256);

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where in a header the digits of the sum stand. No string in it can hold these bytes: there, quotes are escaped.
fn sum_in(header: &[u8], sum: &str) -> Option<usize> {
    let entry = format!("\"{SUM}\":\"{sum}\"");
    let start = header.windows(entry.len()).position(|bytes| bytes == entry.as_bytes())?;
    Some(start + entry.len() - 1 - sum.len())
}

/// Whether the bytes of a file have the sum that its header says.
fn has_sum(bytes: &[u8], header: usize, sum: &str) -> bool {
    let header = bytes.get(8..8 + header).filter(|_| sum.len() == NO_SUM.len());
    let Some(place) = header.and_then(|header| sum_in(header, sum)) else { return false };
    let (before, rest) = bytes.split_at(8 + place);
    let digest = Sha256::new().chain_update(before).chain_update(NO_SUM);
    text::hex(&digest.chain_update(&rest[sum.len()..]).finalize()) == sum
}

/// The JSON header, padded with spaces so that the numbers start at a multiple of 8 bytes.
fn header(weights: &Weights, metadata: &Metadata, stored: Stored) -> String {
    let (dtype, bytes) = match stored {
        Stored::Single => ("F32", 4),
        Stored::Half => ("F16", 2),
    };
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut start = 0;
    for (name, tensor) in weights {
        let end = start + bytes * tensor.len();
        header.insert(
            name.clone(),
            json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [start, end] }),
        );
        start = end;
    }
    let mut text = Value::Object(header).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    text
}

/// Reads a file of F32, F16, BF16 or F64 tensors as 32-bit floats, as the file has them, with its metadata.
///
/// Tensors of whole numbers that nothing reads are passed over, see [`is_passed_over`].
///
/// # Errors
/// The file cannot be read, its header does not agree with its bytes, a tensor has another type, or the bytes do not have the sum that
/// the file itself or the `SHA256SUMS` beside it says.
pub fn read(path: &Path) -> Result<(Weights, Metadata), FormatError> {
    read_on(&SystemDisk, path)
}

/// [`read`] on a disk.
///
/// # Errors
/// As [`read`].
pub fn read_on(disk: &dyn Disk, path: &Path) -> Result<(Weights, Metadata), FormatError> {
    let bytes = sums::read(disk, path)?;
    parse(&bytes).map_err(|message| FormatError::content(path, message))
}

/// Whether a tensor of this name is passed over: BatchNorm's counters `num_batches_tracked`, and the numbers 0, 1, 2, … that transformers
/// once kept as `position_ids`.
pub fn is_passed_over(name: &str) -> bool {
    name.ends_with("num_batches_tracked") || name.ends_with("embeddings.position_ids")
}

/// [`read`] of bytes in memory; the error says what is wrong with them.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8]) -> Result<(Weights, Metadata), String> {
    let (length, header) =
        SafeTensors::read_metadata(bytes).map_err(|error| describe(&error, bytes))?;
    let metadata: Metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    if metadata.get(SUM).is_some_and(|sum| !has_sum(bytes, length, sum)) {
        return Err("its bytes do not have the SHA-256 that it says of itself".into());
    }
    let file = SafeTensors::deserialize(bytes).map_err(|error| describe(&error, bytes))?;
    let mut weights = Weights::new();
    for (name, view) in file.iter() {
        if let Some(tensor) = tensor(name, view.dtype(), view.shape(), view.data())? {
            weights.insert(name.into(), tensor);
        }
    }
    Ok((weights, metadata))
}

/// A tensor of these bytes; none for one that is passed over.
fn tensor(
    name: &str,
    dtype: Dtype,
    shape: &[usize],
    bytes: &[u8],
) -> Result<Option<Tensor>, String> {
    if is_passed_over(name) {
        return Ok(None);
    }
    let data = floats(dtype, bytes).ok_or_else(|| {
        format!("tensor `{name}` has type {dtype:?}; F32, F16, BF16 and F64 are read")
    })?;
    Ok(Some(Tensor::new(shape, data)))
}

/// [`read_on`], tensor by tensor, for files that are large: beside what it returns, no more than one of them is in memory.
///
/// # Errors
/// As [`read`].
pub fn read_by_tensor_on(disk: &dyn Disk, path: &Path) -> Result<Weights, FormatError> {
    let mut file = sums::open(disk, path)?;
    let unread = |source| FormatError::read(path, source);
    let bad = |problem: String| FormatError::content(path, problem);
    let size = file.seek(SeekFrom::End(0)).map_err(unread)?;
    file.rewind().map_err(unread)?;
    let mut length = [0; 8];
    if size < length.len() as u64 {
        return Err(bad(format!("it has only {size} bytes")));
    }
    file.read_exact(&mut length).map_err(unread)?;
    let length = u64::from_le_bytes(length);
    if length > (size - 8).min(MOST_HEADER) {
        return Err(bad(format!(
            "its header says it is {length} bytes long, but the file has {size}"
        )));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(unread)?;
    // Each tensor begins where the one before it ends: that is checked here.
    let header: safetensors::tensor::Metadata =
        serde_json::from_slice(&header).map_err(|error| bad(error.to_string()))?;
    if header.metadata().as_ref().is_some_and(|metadata| metadata.contains_key(SUM)) {
        return Ok(read_on(disk, path)?.0);
    }
    if header.data_len() as u64 != size - 8 - length {
        return Err(bad(format!(
            "its {size} bytes are not those its header describes; it is cut or was changed"
        )));
    }
    let mut weights = Weights::new();
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else { continue };
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        file.read_exact(&mut bytes).map_err(unread)?;
        if let Some(tensor) = tensor(&name, info.dtype, &info.shape, &bytes).map_err(bad)? {
            weights.insert(name, tensor);
        }
    }
    Ok(weights)
}

/// The library's errors, with the numbers that tell a cut file from one of another format.
fn describe(error: &safetensors::SafeTensorError, bytes: &[u8]) -> String {
    use safetensors::SafeTensorError as E;
    let said = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
    match (error, said) {
        (E::HeaderTooSmall, _) | (_, None) => format!("it has only {} bytes", bytes.len()),
        (E::HeaderTooLarge | E::InvalidHeaderLength, Some(said)) => {
            format!("its header says it is {said} bytes long, but the file has {}", bytes.len())
        }
        (E::MetadataIncompleteBuffer, _) => {
            format!(
                "its {} bytes are not those its header describes; it is cut or was changed",
                bytes.len()
            )
        }
        _ => error.to_string(),
    }
}

/// Little-endian numbers of `dtype` as 32-bit floats; `None` for a type that is none of PyTorch's usual reals.
fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|&bytes| number(bytes)).collect()
    }
    match dtype {
        Dtype::F32 => Some(each(bytes, f32::from_le_bytes)),
        Dtype::F64 => Some(each(bytes, |bytes| f64::from_le_bytes(bytes) as f32)),
        Dtype::F16 => Some(each(bytes, |bytes| from_half(u16::from_le_bytes(bytes)))),
        // The upper half of a 32-bit float.
        Dtype::BF16 => Some(each(bytes, |[low, high]| f32::from_le_bytes([0, 0, low, high]))),
        _ => None,
    }
}

/// The bits of the 16-bit float that is nearest, of two the even one; beyond the greatest, infinity.
pub(super) fn to_half(number: f32) -> u16 {
    let bits = number.to_bits();
    let (sign, size) = ((bits >> 16) as u16 & 0x8000, bits & 0x7fff_ffff);
    sign | match size {
        0x7f80_0001.. => 0x7e00,
        // From 65520 on.
        0x477f_f000.. => 0x7c00,
        // Below 2⁻¹⁴ they are multiples of 2⁻²⁴.
        ..0x3880_0000 => (f32::from_bits(size) * 16_777_216.0).round_ties_even() as u16,
        _ => ((size + 0xfff + (size >> 13 & 1) - 0x3800_0000) >> 13) as u16,
    }
}

/// IEEE 754 binary16 → binary32, exactly.
pub(super) fn from_half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10) & 31, u32::from(bits) & 1023);
    let magnitude = match exponent {
        // Zero and subnormals: fraction · 2⁻²⁴.
        0 => (fraction as f32 * 2f32.powi(-24)).to_bits(),
        31 => 0x7f80_0000 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::FileLayout;

    fn sample() -> Weights {
        Weights::from([
            ("fc.bias".into(), Tensor::new([2], vec![0.5, -1.0])),
            ("conv.weight".into(), Tensor::new([2, 1, 3, 2], (0..12).map(|n| n as f32).collect())),
            ("scalar".into(), Tensor::new([], vec![f32::MIN_POSITIVE])),
            ("empty".into(), Tensor::new([0, 3], vec![])),
        ])
    }

    fn bytes_of(weights: &Weights, metadata: &Metadata) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("w.safetensors");
        write(&path, weights, metadata).expect("written");
        std::fs::read(path).expect("read")
    }

    #[test]
    fn what_is_written_is_read_back_with_its_metadata() {
        let metadata = Metadata::from([
            ("format".into(), "pt".into()),
            ("state".into(), "{\"step\":3}".into()),
        ]);
        let bytes = bytes_of(&sample(), &metadata);
        assert_eq!(parse(&bytes).expect("read"), (sample(), metadata.clone()));
        assert_eq!(bytes, bytes_of(&sample(), &metadata), "the same bits each time");
        assert_eq!((8 + u64::from_le_bytes(*bytes.first_chunk().expect("8 bytes"))) % 8, 0);
    }

    #[test]
    fn the_library_finds_pytorchs_order() {
        let mut weights = sample();
        let kernel = weights.remove("conv.weight").expect("there");
        weights.insert("conv.weight".into(), FileLayout::Kernel.write(kernel));
        let bytes = bytes_of(&weights, &pytorch());
        let file = SafeTensors::deserialize(&bytes).expect("valid");
        let conv = file.tensor("conv.weight").expect("there");
        assert_eq!(conv.shape(), [2, 2, 1, 3]);
        let first: Vec<f32> = floats(conv.dtype(), conv.data()).expect("F32");
        assert_eq!(first[..6], [0., 2., 4., 1., 3., 5.]);
    }

    #[test]
    fn no_tensors_and_no_metadata() {
        assert_eq!(parse(&bytes_of(&Weights::new(), &Metadata::new())), Ok(Default::default()));
    }

    /// A file with this header and these bytes, right or not.
    fn forge(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn other_reals_become_floats() {
        let one = |dtype: &str, bytes: &[u8]| {
            let header = format!(
                r#"{{"x":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{}]}}}}"#,
                bytes.len()
            );
            parse(&forge(&header, bytes)).map(|(weights, _)| weights["x"].data[0])
        };
        assert_eq!(one("F16", &[0x00, 0x3e]), Ok(1.5));
        assert_eq!(one("F16", &[0x01, 0x80]), Ok(-(2f32.powi(-24))));
        assert_eq!(one("F16", &[0x00, 0x7c]), Ok(f32::INFINITY));
        assert_eq!(one("F16", &[0xff, 0x7b]), Ok(65504.0));
        assert_eq!(one("BF16", &[0xc0, 0xbf]), Ok(-1.5));
        assert_eq!(one("F64", &0.1f64.to_le_bytes()), Ok(0.1));
        assert!(one("I32", &[0; 4]).expect_err("an integer").contains("tensor `x` has type I32"));
    }

    #[test]
    fn whole_numbers_that_nothing_reads_are_passed_over() {
        for name in ["bn1.num_batches_tracked", "bert.embeddings.position_ids"] {
            let header =
                format!(r#"{{"{name}":{{"dtype":"I64","shape":[],"data_offsets":[0,8]}}}}"#);
            assert_eq!(parse(&forge(&header, &[0; 8])), Ok(Default::default()));
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let good = bytes_of(&sample(), &pytorch());
        for cut in [0, 7, 8, 40, good.len() - 1] {
            assert!(parse(&good[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert!(parse(&longer).is_err(), "bytes that nothing describes");
        let mut lying = good;
        lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        let said = parse(&lying).expect_err("a lying header");
        assert!(said.contains("18446744073709551615"), "{said}");
        for header in [
            r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}}"#,
            r#"{"x":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,4]}}"#,
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            r#"["x"]"#,
            "not json",
        ] {
            assert!(parse(&forge(header, &[0; 4])).is_err(), "{header}");
        }
    }

    #[test]
    fn tensor_by_tensor_the_same_is_read_and_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("w.safetensors");
        let by_tensor = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            read_by_tensor_on(&SystemDisk, &path)
        };
        let good = bytes_of(&sample(), &pytorch());
        assert_eq!(by_tensor(&good).expect("read"), sample());
        let counters =
            r#"{"n.num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}"#;
        assert_eq!(by_tensor(&forge(counters, &[0; 8])).expect("read"), Weights::new());
        write_with_sum(&SystemDisk, &path, &sample(), &pytorch()).expect("written");
        let mut sealed = std::fs::read(&path).expect("read");
        assert_eq!(by_tensor(&sealed).expect("read"), sample());
        *sealed.last_mut().expect("a byte") ^= 1;
        assert!(by_tensor(&sealed).expect_err("changed").to_string().contains("SHA-256"));
        for cut in [0, 7, 8, 40, good.len() - 1] {
            assert!(by_tensor(&good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(by_tensor(&[&good[..], &[0]].concat()).is_err(), "bytes that nothing describes");
        assert!(by_tensor(&[&[255; 8], &good[8..]].concat()).is_err(), "a lying header");
        for header in [
            r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}}"#,
            r#"{"x":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,4]}}"#,
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
            r#"{"x":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}"#,
            "not json",
        ] {
            assert!(by_tensor(&forge(header, &[0; 4])).is_err(), "{header}");
        }
    }

    #[test]
    fn a_file_with_a_sum_of_its_own_shows_each_changed_bit() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("w.safetensors");
        // Metadata that look like the sum's own entry do not mislead.
        let entry = format!("\"{SUM}\":\"{NO_SUM}\"");
        let metadata = Metadata::from([("a".into(), entry), ("z".into(), SUM.into())]);
        write_with_sum(&SystemDisk, &path, &sample(), &metadata).expect("written");
        let good = std::fs::read(&path).expect("read");
        let (weights, mut read) = parse(&good).expect("whole");
        let sum = read.remove(SUM).expect("its sum");
        assert_eq!((weights, read), (sample(), metadata));
        let header = good[8..].iter().position(|byte| *byte == 0).expect("a header's end");
        let place = sum_in(&good[8..8 + header], &sum).expect("its place");
        let zeros = [&good[..8 + place], NO_SUM.as_bytes(), &good[8 + place + 64..]].concat();
        assert_eq!(text::hex(&Sha256::digest(zeros)), sum);
        for bit in 0..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let unsealed = |read: Metadata| !read.contains_key(SUM);
            // A file whose key of the sum is damaged has none; who needs one sees that.
            assert!(parse(&bad).is_ok_and(|(_, read)| unsealed(read)) || parse(&bad).is_err());
        }
        for bit in 0..8 * sample().values().map(|tensor| 4 * tensor.len()).sum::<usize>() {
            let mut bad = good.clone();
            let at = good.len() - 1 - bit / 8;
            bad[at] ^= 1 << (bit % 8);
            assert!(parse(&bad).expect_err("a changed number").contains("SHA-256"), "{bit}");
        }
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("w.safetensors");
        assert!(read(&path).expect_err("not there").to_string().starts_with("cannot read"));
        std::fs::write(&path, "short").expect("written");
        let said = read(&path).expect_err("too short").to_string();
        assert!(said.contains("w.safetensors") && said.ends_with("it has only 5 bytes"), "{said}");
    }

    #[test]
    fn half_precision_is_the_nearest_and_read_back() {
        // Every number of half precision is itself; what lies between two goes to the nearer, a tie to the even one.
        for bits in (0..=u16::MAX).filter(|bits| !from_half(*bits).is_nan()) {
            assert_eq!(to_half(from_half(bits)), bits);
        }
        let near = |number: f32| from_half(to_half(number));
        assert_eq!(near(1.0 + 1.0 / 2048.0), 1.0);
        assert_eq!(near(1.0 + 3.0 / 2048.0), 1.0 + 2.0 / 1024.0);
        assert_eq!(near(1.0 + 1.01 / 2048.0), 1.0 + 1.0 / 1024.0);
        assert_eq!((near(65519.9), near(65520.0)), (65504.0, f32::INFINITY));
        assert_eq!(near(2f32.powi(-25)), 0.0);
        assert_eq!(near(1.5 * 2f32.powi(-24)), 2.0 * 2f32.powi(-24));
        assert!(near(f32::NAN).is_nan());

        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("half.safetensors");
        let of = |number| Weights::from([("a".into(), Tensor::new([2], vec![number, -0.1]))]);
        write_as(&SystemDisk, &path, &of(1.5), &pytorch(), Stored::Half).expect("written");
        let (weights, _) = read(&path).expect("read");
        assert_eq!(weights["a"].data, [1.5, near(-0.1)]);
        let said = write_as(&SystemDisk, &path, &of(7e4), &pytorch(), Stored::Half);
        let said = said.expect_err("too large").to_string();
        assert!(said.contains("`a` has numbers beyond"), "{said}");
    }
}
