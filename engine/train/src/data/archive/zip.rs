//! Zip: a list of all entries stands at the end, and it may lie.

use std::io::{BufReader, Read, SeekFrom};

use ::zip::read::ZipFileEntry;
use ::zip::result::ZipError;
use ::zip::{CompressionMethod, ZipArchive};

use super::super::DataError;
use super::super::account::Reason;
use super::format::Archive;
use super::names::{Entry, Kind, Names};
use crate::disk::Parts;
use crate::text::escape;

type Zip = ZipArchive<BufReader<Box<dyn Parts>>>;
/// Who is shown the files that are wanted: number, name, size and bytes.
type Show<'a> = dyn FnMut(usize, &str, u64, &mut dyn Read) -> Result<(), DataError> + 'a;

/// The most bytes that the end record of a zip takes, with its comment.
const END: u64 = 22 + (1 << 16);

/// Takes in all names. The sizes that entries claim are compared with the caps.
pub(super) fn list(archive: &Archive, names: &mut Names<'_>) -> Result<(), DataError> {
    let mut zip = open(archive)?;
    if zip.has_overlapping_entries().map_err(|error| broken(archive, &error))? {
        return Err(archive.malformed("has entries that lie over one another, as bombs have"));
    }
    let mut total = 0u64;
    for number in 0..zip.len() {
        let entry = zip.by_index_data(number).map_err(|error| broken(archive, &error))?;
        let said = described(&entry);
        total = total.saturating_add(said.size);
        if total > archive.caps.total {
            let most = archive.caps.total >> 20;
            let problem = format!("unpacks to more than {most} MiB; unpack it and give the folder");
            return Err(archive.malformed(problem));
        }
        names.add(number, &said)?;
    }
    if zip.has_duplicate_names() {
        names.note("some names are there twice; the last of each was taken");
    }
    Ok(())
}

/// Shows the entries with these numbers.
pub(super) fn read(
    archive: &Archive,
    numbers: impl Iterator<Item = usize>,
    show: &mut Show<'_>,
) -> Result<(), DataError> {
    let mut zip = open(archive)?;
    let mut beside = archive.place.open()?;
    let mut left = archive.caps.total;
    for number in numbers {
        let entry = zip.by_index_data(number).map_err(|error| broken(archive, &error))?;
        let said = described(&entry);
        let name = String::from_utf8_lossy(&said.name).into_owned();
        let own = own_name(&mut *beside, entry.header_start());
        let own = own.map_err(DataError::read(archive.path()))?;
        if own.is_some_and(|own| own != entry.name_raw()) {
            let problem = "has another name before its bytes than in the list at the end";
            return Err(archive.refused(&name, problem));
        }
        left = left.saturating_sub(said.size);
        let problem = |error: &ZipError| {
            archive.refused(&name, format!("is damaged: {}", escape(&error.to_string())))
        };
        let mut file = zip.by_index(number).map_err(|error| problem(&error))?;
        show(number, &name, said.size, &mut file)?;
    }
    Ok(())
}

fn open(archive: &Archive) -> Result<Zip, DataError> {
    let mut file = archive.place.open()?;
    let count = count(&mut *file).map_err(DataError::read(archive.path()))?;
    // The whole list is held before it can be looked at.
    if count.is_some_and(|count| count > archive.caps.entries as u64) {
        return Err(archive.too_many());
    }
    let zip = ZipArchive::new(BufReader::new(file)).map_err(|error| broken(archive, &error))?;
    if zip.len() > archive.caps.entries {
        return Err(archive.too_many());
    }
    Ok(zip)
}

/// How many entries the record at the end says that there are; none where there is no such record.
fn count(file: &mut dyn Parts) -> std::io::Result<Option<u64>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    let mut end = Vec::new();
    (&mut *file).take(END).read_to_end(&mut end)?;
    file.rewind()?;
    let Some(at) = end.windows(22).rposition(|bytes| bytes.starts_with(b"PK\x05\x06")) else {
        return Ok(None);
    };
    let count = u16::from_le_bytes([end[at + 10], end[at + 11]]);
    let size = u32::from_le_bytes([end[at + 12], end[at + 13], end[at + 14], end[at + 15]]);
    if count < u16::MAX && size < u32::MAX {
        return Ok(Some(count.into()));
    }
    // If there are more than 65,534, another record before this one (Zip64) has the number.
    let more = end[..at].windows(40).rposition(|bytes| bytes.starts_with(b"PK\x06\x06"));
    let more = more.and_then(|at| end[at + 32..at + 40].try_into().ok());
    Ok(more.map(u64::from_le_bytes).or(Some(count.into())))
}

/// The name of the entry whose header begins at `start`, as that header has it; none where there is no header.
fn own_name(file: &mut dyn Parts, start: u64) -> std::io::Result<Option<Vec<u8>>> {
    file.seek(SeekFrom::Start(start))?;
    let mut header = Vec::new();
    (&mut *file).take(30).read_to_end(&mut header)?;
    if header.len() < 30 || !header.starts_with(b"PK\x03\x04") {
        return Ok(None);
    }
    let mut name = Vec::new();
    let length = u16::from_le_bytes([header[26], header[27]]);
    (&mut *file).take(length.into()).read_to_end(&mut name)?;
    Ok(Some(name))
}

fn described(entry: &ZipFileEntry<'_>) -> Entry {
    let raw = entry.name_raw();
    // macOS and others write UTF-8 without setting the flag; a name that is not UTF-8 is in code page 437.
    let name = match std::str::from_utf8(raw) {
        Ok(name) => name.to_owned(),
        Err(_) => entry.name().map_or(String::new(), |name| name.into_owned()),
    };
    let name = if name.is_empty() { raw.to_vec() } else { name.into_bytes() };
    // Some programs of Windows write its separators.
    let name: Vec<u8> =
        name.into_iter().map(|byte| if byte == b'\\' { b'/' } else { byte }).collect();
    // Zips made on unix say what kind of file it was.
    let mode = entry.unix_mode().map_or(0, |mode| mode & 0o170_000);
    let kind = match mode {
        _ if name.ends_with(b"/") => Kind::Folder,
        0o040_000 => Kind::Folder,
        0o120_000 => Kind::Other(Reason::Link),
        0 | 0o100_000 => match (entry.encrypted(), entry.compression()) {
            (false, CompressionMethod::Stored | CompressionMethod::Deflated) => Kind::File,
            _ => Kind::Other(Reason::Packed),
        },
        _ => Kind::Other(Reason::Device),
    };
    Entry { name, kind, size: entry.size() }
}

fn broken(archive: &Archive, error: &ZipError) -> DataError {
    archive.malformed(format!("is no whole zip archive: {}", escape(&error.to_string())))
}
