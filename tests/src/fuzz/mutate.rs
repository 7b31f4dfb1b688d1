//! How files are changed: bits, bytes, numbers, pieces, whole files; and what guards them made right again, so that readers go on.

use std::io::{Read as _, Write as _};

use engine::random::Stream;
use flate2::{Compression, Crc, read::MultiGzDecoder, write::GzEncoder};

use super::Files;

/// A file is never made longer than this by changes, in bytes.
const LONGEST: usize = 1 << 20;
/// Bytes at which readers decide something.
const BYTES: [u8; 16] =
    [0, 1, 2, 7, 8, b' ', b'"', b'.', b'/', b'0', b'9', b'\\', 0x7f, 0x80, 0xfe, 0xff];
/// Numbers that are put where lengths may stand.
const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    3,
    8,
    255,
    256,
    512,
    16_384,
    16_385,
    65_535,
    65_536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 7,
    u64::MAX,
];
/// Words that are put into text, most of them in a number's place.
const WORDS: [&str; 24] = [
    "0",
    "-1",
    "1",
    "2",
    "7",
    "0.5",
    "1e999",
    "1e-320",
    "nan",
    "inf",
    "65536",
    "1000000",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "99999999999999999999999",
    "true",
    "null",
    "\"\"",
    "[]",
    "../x",
    "\0",
    "\u{1b}[31m",
    "\u{202e}",
];

/// Changes some files: mostly one of them, now and then which there are.
pub fn files(files: &mut Files, other: &Files, draw: &mut Stream) {
    let names: Vec<String> = files.keys().cloned().collect();
    let any = |draw: &mut Stream| names[draw.below(names.len())].clone();
    if names.len() > 1 && draw.below(16) == 0 {
        let (a, b) = (any(draw), any(draw));
        match draw.below(4) {
            0 => drop(files.remove(&a)),
            1 => drop(files.insert(a, Vec::new())),
            2 => {
                let bytes = files[&a].clone();
                files.insert(b, bytes);
            }
            _ => {
                let (first, second) = (files[&a].clone(), files[&b].clone());
                files.extend([(a, second), (b, first)]);
            }
        }
        return;
    }
    for _ in 0..1 + draw.below(8) / 7 {
        let name = any(draw);
        let same = other.get(&name).or_else(|| other.values().next()).cloned().unwrap_or_default();
        if let Some(bytes) = files.get_mut(&name) {
            file(&name, bytes, &same, draw);
        }
    }
}

/// Changes a file; of a compressed one often what is inside, and often what guards it is made right again.
fn file(name: &str, bytes: &mut Vec<u8>, other: &[u8], draw: &mut Stream) {
    let gzip = name.ends_with("gz") && draw.below(3) > 0;
    if let (true, Some(mut inner), Some(other)) = (gzip, unzip(bytes), unzip(other)) {
        plain(name.trim_end_matches(".gz"), &mut inner, &other, draw);
        *bytes = zip(&inner);
    } else {
        plain(name, bytes, other, draw);
    }
}

fn plain(name: &str, bytes: &mut Vec<u8>, other: &[u8], draw: &mut Stream) {
    // One change mostly, to see what a single one does.
    for _ in 0..1 + draw.below(6) / 3 * draw.below(4) {
        once(bytes, other, draw);
    }
    bytes.truncate(LONGEST);
    if draw.below(2) == 0 {
        match name {
            _ if name.ends_with(".tar") || name.ends_with(".tgz") => right_tar(bytes),
            _ if name.ends_with(".png") => right_png(bytes),
            _ => {}
        }
    }
}

/// One change.
fn once(bytes: &mut Vec<u8>, other: &[u8], draw: &mut Stream) {
    let length = bytes.len();
    let at = draw.below(length + 1).min(length);
    let piece = |draw: &mut Stream, from: usize, of: usize| {
        // Short pieces mostly.
        let longest = if draw.below(3) == 0 { of - from } else { (of - from).min(32) };
        from..from + draw.below(longest + 1)
    };
    match draw.below(11) {
        0..=2 if length > 0 => bytes[at.min(length - 1)] ^= 1 << draw.below(8),
        3 if length > 0 => bytes[at.min(length - 1)] = BYTES[draw.below(BYTES.len())],
        4 => {
            let number = NUMBERS[draw.below(NUMBERS.len())];
            let width = [1, 2, 4, 8][draw.below(4)];
            let little = number.to_le_bytes();
            let mut digits = little[..width].to_vec();
            if draw.below(2) == 0 {
                digits.reverse();
            }
            // Lengths stand near the beginning.
            let at = if draw.below(2) == 0 { draw.below(length.min(64) + 1) } else { at };
            let end = (at + width).min(length);
            bytes.splice(at.min(end)..end, digits);
        }
        5 => bytes.truncate(at),
        6 => drop(bytes.drain(piece(draw, at, length))),
        7 => {
            let count = 1 + draw.below(8);
            let new: Vec<u8> = (0..count).map(|_| draw.bits() as u8).collect();
            bytes.splice(at..at, new);
        }
        8 => {
            let copy = bytes[piece(draw, at, length)].to_vec();
            let to = draw.below(length + 1);
            bytes.splice(to..to, copy);
        }
        9 => {
            let from = draw.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
        _ => word(bytes, at, draw),
    }
}

/// Puts a word into text: in the place of the next number, or where it happens to be.
fn word(bytes: &mut Vec<u8>, at: usize, draw: &mut Stream) {
    let word = WORDS[draw.below(WORDS.len())].bytes();
    let digit = |byte: &u8| byte.is_ascii_digit();
    match bytes[at..].iter().position(digit) {
        Some(start) if draw.below(4) > 0 => {
            let start = at + start;
            let count = bytes[start..].iter().take_while(|byte| digit(byte)).count();
            bytes.splice(start..start + count, word);
        }
        _ => drop(bytes.splice(at..at, word)),
    }
}

/// What a gzip file holds.
pub fn unzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut inner = Vec::new();
    MultiGzDecoder::new(bytes).take(LONGEST as u64).read_to_end(&mut inner).ok().map(|_| inner)
}

/// A gzip file.
pub fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// Gives every header of a tar the check sum of its bytes.
fn right_tar(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + 512) {
        at += 512;
        if header.iter().all(|&byte| byte == 0) {
            continue;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = String::from_utf8_lossy(&header[124..135]).into_owned();
        let size = usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).unwrap_or(0);
        at = at.saturating_add(size.min(LONGEST).next_multiple_of(512));
    }
}

/// Gives every chunk of a PNG the check sum of its bytes.
fn right_png(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap_or_default()) as usize;
        let end = at.saturating_add(8).saturating_add(length);
        let mut sum = Crc::new();
        let Some(chunk) = bytes.get(at + 4..end) else { return };
        sum.update(chunk);
        let Some(place) = bytes.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&sum.sum().to_be_bytes());
        at = end + 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_a_function_of_the_stream_and_of_every_kind() {
        let good: Vec<u8> = b"abc 123 \"def\" 456".repeat(8);
        let change = |number: u64| {
            let mut bytes = good.clone();
            once(&mut bytes, b"OTHER OTHER", &mut Stream::new(&[number]));
            bytes
        };
        let all: Vec<Vec<u8>> = (0..500).map(change).collect();
        assert_eq!(all, (0..500).map(change).collect::<Vec<_>>());
        let flipped = |bytes: &[u8]| {
            let bits = bytes.iter().zip(&good).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
            bytes.len() == good.len() && bits == 1
        };
        assert!(all.iter().any(|bytes| flipped(bytes)));
        assert!(all.iter().any(|bytes| bytes.len() < good.len() / 2));
        assert!(all.iter().any(|bytes| bytes.len() > good.len()));
        assert!(all.iter().any(|bytes| bytes.ends_with(b"OTHER")));
        assert!(all.iter().filter(|bytes| **bytes == good).count() < 50);
    }

    #[test]
    fn sums_are_made_right_again() {
        let mut png = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(3, 3).write_to(&mut png, image::ImageFormat::Png).expect("encoded");
        let good = png.into_inner();
        let mut bad = good.clone();
        bad[29] ^= 1;
        right_png(&mut bad);
        assert_eq!(bad, good);
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(3);
        builder.append_data(&mut header, "a", &b"abc"[..]).expect("appended");
        let good = builder.into_inner().expect("a tar");
        let mut bad = good.clone();
        bad[150] ^= 1;
        right_tar(&mut bad);
        assert_eq!(tar::Archive::new(&bad[..]).entries().expect("read").count(), 1);
        assert!(tar::Archive::new(&bad[..]).entries().expect("read").all(|entry| entry.is_ok()));
    }
}
