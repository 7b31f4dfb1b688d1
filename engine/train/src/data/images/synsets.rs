//! `meta.mat` of ILSVRC's development kit: which class each number means.
//!
//! It is a MAT-file of level 5: a header of 128 bytes, then elements, each a type and a length of 4 bytes before its bytes, which are padded to
//! 8; or, where they are 4 or fewer, of 2 + 2 bytes with the bytes in the same word. An element may be packed by zlib. An array is an element
//! of elements: flags, extents, name, and what is in it. The array `synsets` is of structures with the fields `ILSVRC2012_ID`, `WNID` and
//! `num_children`, of which those without children are the classes.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::ZlibDecoder;

/// Bytes of the header.
const HEADER: usize = 128;
/// Bytes of an element after it is unpacked; the real one has about 8 MiB.
const MOST: u64 = 256 << 20;
/// The types of elements that have a say.
const I8: u32 = 1;
const U8: u32 = 2;
const I16: u32 = 3;
const U16: u32 = 4;
const I32: u32 = 5;
const U32: u32 = 6;
const F64: u32 = 9;
const MATRIX: u32 = 14;
const PACKED: u32 = 15;
const UTF8: u32 = 16;
/// Classes of arrays.
const STRUCT: u8 = 2;
const TEXT: u8 = 4;

/// The WNID of each class by its number.
///
/// # Errors
/// The end of a sentence on the file.
pub(super) fn read(file: &[u8]) -> Result<BTreeMap<u32, String>, String> {
    let damaged = || "is damaged".to_owned();
    let body = file.get(HEADER..).ok_or("is no MAT-file: it is too short")?;
    if file[124..128] != [0, 1, b'I', b'M'] {
        return Err("is no little-endian MAT-file of level 5".into());
    }
    let mut elements = Elements(body);
    while !elements.0.is_empty() {
        let element = elements.next().ok_or_else(damaged)?;
        let unpacked;
        let element = if element.kind == PACKED {
            let mut bytes = Vec::new();
            let unpacking = ZlibDecoder::new(element.bytes).take(MOST).read_to_end(&mut bytes);
            unpacking.map_err(|_| damaged())?;
            unpacked = bytes;
            Elements(&unpacked).next().ok_or_else(damaged)?
        } else {
            element
        };
        let array = Array::of(element).ok_or_else(damaged)?;
        if array.name == b"synsets" {
            return synsets(array);
        }
    }
    Err("has no array \"synsets\"".into())
}

/// The classes of the array of structures.
fn synsets(array: Array<'_>) -> Result<BTreeMap<u32, String>, String> {
    let damaged = || "is damaged".to_owned();
    let Array { class, count, mut inner, .. } = array;
    if class != STRUCT {
        return Err("has an array \"synsets\" that is not of structures".into());
    }
    let width = inner.next().and_then(|width| width.number()).ok_or_else(damaged)? as usize;
    let names = inner.next().ok_or_else(damaged)?.bytes;
    if width == 0 {
        return Err(damaged());
    }
    let fields: Vec<&[u8]> = names.chunks(width).map(until_nul).collect();
    let place = |name: &str| {
        let found = fields.iter().position(|field| *field == name.as_bytes());
        found.ok_or_else(|| format!("has synsets without the field {name}"))
    };
    let (id, wnid, children) = (place("ILSVRC2012_ID")?, place("WNID")?, place("num_children")?);
    let mut classes = BTreeMap::new();
    for _ in 0..count {
        let mut values = Vec::with_capacity(fields.len());
        for _ in &fields {
            let value = inner.next().and_then(Array::of).ok_or_else(damaged)?;
            values.push(value);
        }
        let number = |at: usize| {
            let number = values[at].inner.clone().next().and_then(|value| value.number());
            number.ok_or_else(damaged)
        };
        if number(children)? == 0 {
            let wnid = values[wnid].text().ok_or_else(damaged)?;
            let id = number(id)?;
            if let Some(other) = classes.insert(id, wnid.clone()) {
                return Err(format!("has {other:?} and {wnid:?} as the class of number {id}"));
            }
        }
    }
    if classes.is_empty() {
        return Err("has no class".into());
    }
    Ok(classes)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len())]
}

/// An element's type and bytes.
#[derive(Clone, Copy)]
struct Element<'a> {
    kind: u32,
    bytes: &'a [u8],
}

impl Element<'_> {
    /// Its first number, if that is a whole one from 0.
    fn number(self) -> Option<u32> {
        let bytes = self.bytes;
        match self.kind {
            I8 | U8 => bytes.first().map(|&byte| byte.into()),
            I16 | U16 => bytes.first_chunk().map(|&word| u16::from_le_bytes(word).into()),
            I32 | U32 => bytes.first_chunk().map(|&word| u32::from_le_bytes(word)),
            F64 => {
                let number = f64::from_le_bytes(*bytes.first_chunk()?);
                let whole = number as u32;
                (f64::from(whole) == number).then_some(whole)
            }
            _ => None,
        }
    }
}

/// The elements in some bytes; none at their end, and where they are cut.
#[derive(Clone)]
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let word = |bytes: &[u8], at: usize| {
            bytes
                .get(at..)
                .and_then(|bytes| bytes.first_chunk())
                .map(|&word| u32::from_le_bytes(word))
        };
        let first = word(self.0, 0)?;
        if first >> 16 != 0 {
            let (kind, length) = (first & 0xffff, (first >> 16) as usize);
            let bytes = self.0.get(4..8)?.get(..length)?;
            self.0 = &self.0[8..];
            return Some(Element { kind, bytes });
        }
        let length = word(self.0, 4)? as usize;
        let rest = &self.0[8..];
        let bytes = rest.get(..length)?;
        // What is packed is not padded, nor is the last element in some files.
        let padded = if first == PACKED { length } else { length.next_multiple_of(8) };
        self.0 = rest.get(padded..).unwrap_or_default();
        Some(Element { kind: first, bytes })
    }
}

/// An array.
struct Array<'a> {
    class: u8,
    /// Structures or numbers in it.
    count: u64,
    name: &'a [u8],
    /// What is in it.
    inner: Elements<'a>,
}

impl<'a> Array<'a> {
    /// None where it is damaged.
    fn of(element: Element<'a>) -> Option<Self> {
        if element.kind != MATRIX {
            return None;
        }
        let mut inner = Elements(element.bytes);
        // One without a value has no bytes at all.
        if element.bytes.is_empty() {
            return Some(Self { class: 0, count: 0, name: b"", inner });
        }
        let class = *inner.next()?.bytes.first()?;
        let extents = inner.next()?;
        let extent =
            |bytes: &[u8]| bytes.first_chunk().map(|&word| u32::from_le_bytes(word).into());
        let count = extents
            .bytes
            .chunks(4)
            .map(extent)
            .try_fold(1u64, |all, extent: Option<u64>| all.checked_mul(extent?))?;
        let name = inner.next()?.bytes;
        Some(Self { class, count, name, inner })
    }

    /// Its characters.
    fn text(&self) -> Option<String> {
        let characters = self.inner.clone().next()?;
        if self.class != TEXT {
            return None;
        }
        match characters.kind {
            U16 => {
                let words =
                    characters.bytes.chunks_exact(2).map(|w| u16::from_le_bytes([w[0], w[1]]));
                String::from_utf16(&words.collect::<Vec<u16>>()).ok()
            }
            I8 | U8 | UTF8 => String::from_utf8(characters.bytes.to_vec()).ok(),
            _ => None,
        }
    }
}
