//! Tar: headers of 512 bytes before each file, in the dialects of GNU tar, POSIX (pax), bsdtar and the old ones.

use std::io::{self, BufReader, ErrorKind, Read, SeekFrom};

use ::tar::{EntryType, Header};
use flate2::read::MultiGzDecoder;

use super::super::DataError;
use super::super::account::Reason;
use super::format::{Archive, Format};
use super::names::{Entry, Kind};
use crate::disk::Parts;

const BLOCK: usize = 512;
/// Long names are held before they are checked.
const LONGEST_NAME: u64 = 64 << 10;
/// Extended headers are: macOS writes icons and other attributes of a file into them.
const LONGEST_RECORDS: u64 = 16 << 20;
/// Bytes of a plain tar that are read at once: a header and what is short behind it, as all else is passed over.
const BUFFER: usize = 8 << 10;

/// What extended headers say of the entry that comes next.
#[derive(Debug, Default)]
struct Ahead {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

/// The archive's bytes, in order.
struct Source {
    bytes: Bytes,
    /// Those before the next one.
    at: u64,
    /// How many more are taken, so that no bomb unfolds.
    left: u64,
}

/// Where the archive's bytes come from.
enum Bytes {
    /// They are unpacked, so that each has to be read.
    Packed(Box<MultiGzDecoder<BufReader<Box<dyn Parts>>>>),
    /// They are the file's, up to the `end`.
    Plain { file: BufReader<Box<dyn Parts>>, end: u64 },
}

impl Source {
    fn open(archive: &Archive) -> Result<Self, DataError> {
        let mut file = archive.place.open()?;
        let left = archive.caps.total;
        if archive.format == Format::TarGz {
            let file = MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file));
            return Ok(Self { bytes: Bytes::Packed(Box::new(file)), at: 0, left });
        }
        let mut bounds = || {
            let length = file.seek(SeekFrom::End(0))?;
            let (at, end) = match &archive.inner {
                Some(inner) => (inner.bytes.start, inner.bytes.end.min(length)),
                None => (0, length),
            };
            file.seek(SeekFrom::Start(at))?;
            Ok::<_, io::Error>((at, end))
        };
        let (at, end) = bounds().map_err(DataError::read(archive.path()))?;
        let file = BufReader::with_capacity(BUFFER, file);
        Ok(Self { bytes: Bytes::Plain { file, end }, at, left })
    }

    /// Counts bytes that were read or passed over.
    fn count(&mut self, count: u64) -> io::Result<()> {
        self.at += count;
        self.left = self.left.checked_sub(count).ok_or(ErrorKind::FileTooLarge)?;
        Ok(())
    }

    /// Passes over so many bytes; those of a file are not read.
    fn pass(&mut self, count: u64) -> io::Result<()> {
        let Bytes::Plain { file, end } = &mut self.bytes else {
            return match io::copy(&mut self.by_ref().take(count), &mut io::sink())? {
                passed if passed == count => Ok(()),
                _ => Err(ErrorKind::UnexpectedEof.into()),
            };
        };
        match i64::try_from(count) {
            Ok(far) if count <= end.saturating_sub(self.at) => file.seek_relative(far)?,
            _ => return Err(ErrorKind::UnexpectedEof.into()),
        }
        self.count(count)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.bytes {
            Bytes::Packed(file) => file.read(buffer)?,
            Bytes::Plain { file, end } => file.take(end.saturating_sub(self.at)).read(buffer)?,
        };
        self.count(count as u64)?;
        Ok(count)
    }
}

/// The bytes of an entry.
pub(super) struct Body<'a> {
    bytes: io::Take<&'a mut Source>,
    /// Where they begin among the archive's; in a plain tar, in its file.
    pub(super) start: u64,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer)
    }
}

/// Who is shown the entries: their number, what they say of themselves, and their bytes.
type Visit<'a> = dyn FnMut(usize, &Entry, &mut Body<'_>) -> Result<(), DataError> + 'a;

/// Shows `visit` every entry, whatever it is, with its bytes if it is a file. Whether the archive has its end mark.
pub(super) fn walk(archive: &Archive, visit: &mut Visit<'_>) -> Result<bool, DataError> {
    let mut source = Source::open(archive)?;
    let broken = |error: io::Error| archive.damaged(&error);
    let (mut ahead, mut marked) = (Ahead::default(), false);
    for number in 0.. {
        let Some(header) = next(archive, &mut source, number, &mut marked)? else { break };
        if number >= archive.caps.entries {
            return Err(archive.too_many());
        }
        let name = header.path_bytes().into_owned();
        let lossy = String::from_utf8_lossy(&name).into_owned();
        let said = header.entry_size().map_err(|_| {
            archive.refused(&lossy, "has a size that cannot be read; the archive is damaged")
        })?;
        let kind = header.entry_type();
        let long = match kind {
            EntryType::GNULongName | EntryType::GNULongLink => Some(LONGEST_NAME),
            EntryType::XHeader => Some(LONGEST_RECORDS),
            _ => None,
        };
        if let Some(most) = long {
            let bytes = held(archive, &mut source, &lossy, said, most)?;
            match kind {
                EntryType::GNULongName => ahead.path = Some(until_nul(bytes)),
                EntryType::GNULongLink => ahead.link = Some(until_nul(bytes)),
                _ => records(&bytes, &mut ahead).ok_or_else(|| {
                    archive.refused(&lossy, "is an extended header that is damaged")
                })?,
            }
            continue;
        }
        if kind == EntryType::XGlobalHeader {
            source.pass(padded(said)).map_err(broken)?;
            continue;
        }
        let Ahead { path, link, size, sparse } = std::mem::take(&mut ahead);
        let name = path.unwrap_or(name);
        let link = link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let size = size.unwrap_or(said);
        let kind = if sparse { Kind::Other(Reason::Packed) } else { kind_of(kind, &name, link) };
        if header.entry_type() == EntryType::GNUSparse {
            extended_sparse(&header, &mut source).map_err(broken)?;
        }
        // Links, folders and devices have no bytes, whatever size their header says.
        let bare = matches!(header.as_bytes()[156], b'1'..=b'6');
        let size = if bare { 0 } else { size };
        let entry = Entry { name, kind, size };
        let start = source.at;
        let mut body = Body { bytes: (&mut source).take(size), start };
        visit(number, &entry, &mut body)?;
        let unread = body.bytes.limit();
        source.pass(unread + (padded(size) - size)).map_err(broken)?;
    }
    // The sum of a gzip stands at its end.
    if archive.format == Format::TarGz {
        io::copy(&mut source, &mut io::sink()).map_err(broken)?;
    }
    Ok(marked)
}

/// The next header; none at the end of the archive, which should be `marked` by a block of zeros.
fn next(
    archive: &Archive,
    source: &mut Source,
    number: usize,
    marked: &mut bool,
) -> Result<Option<Header>, DataError> {
    let mut block = [0; BLOCK];
    let mut filled = 0;
    while filled < BLOCK {
        match source.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(archive.damaged(&error)),
        }
    }
    // Zeros are the end mark, and so is an end that comes where an entry has ended. Fewer zeros than a header has are what is left of one.
    if block == [0; BLOCK] && (filled == BLOCK || (filled == 0 && number > 0)) {
        *marked = filled == BLOCK;
        return Ok(None);
    }
    let header = Header::from_byte_slice(&block).clone();
    let sum = |signed: bool| {
        let byte = |(at, &byte): (usize, &u8)| match (148..156).contains(&at) {
            true => i64::from(b' '),
            false if signed => i64::from(byte as i8),
            false => i64::from(byte),
        };
        block.iter().enumerate().map(byte).sum::<i64>()
    };
    // Some old programs added signed bytes.
    let said = header.cksum().map(i64::from);
    if filled == BLOCK && said.is_ok_and(|said| said == sum(false) || said == sum(true)) {
        return Ok(Some(header));
    }
    let is_tar = block[257..].starts_with(b"ustar");
    if number == 0 && !is_tar {
        return Err(archive.malformed(match filled {
            0 => "is empty; a tar, tar.gz or zip archive is expected",
            _ => "is no tar, tar.gz or zip archive",
        }));
    }
    if filled < BLOCK {
        return Err(archive.malformed("truncated archive"));
    }
    let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
    Err(archive
        .refused(&name, format!("has a damaged header, number {} of the archive", number + 1)))
}

/// What kind of entry it is, by its type.
fn kind_of(kind: EntryType, name: &[u8], link: Option<Vec<u8>>) -> Kind {
    match kind {
        EntryType::Directory => Kind::Folder,
        EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Kind::Folder,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Link => Kind::HardLink(link.unwrap_or_default()),
        EntryType::Symlink => Kind::Other(Reason::Link),
        EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Other(Reason::Device),
        _ => Kind::Other(Reason::Packed),
    }
}

/// All bytes of an entry that describes the next one.
fn held(
    archive: &Archive,
    source: &mut Source,
    name: &str,
    size: u64,
    most: u64,
) -> Result<Vec<u8>, DataError> {
    if size > most {
        let problem = format!("has {size} bytes, more than the {most} that are read");
        return Err(archive.refused(name, problem));
    }
    let mut bytes = Vec::new();
    let broken = |error: io::Error| archive.damaged(&error);
    source.take(size).read_to_end(&mut bytes).map_err(broken)?;
    if (bytes.len() as u64) < size {
        return Err(archive.malformed("truncated archive"));
    }
    source.pass(padded(size) - size).map_err(broken)?;
    Ok(bytes)
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()));
    bytes
}

/// The records of an extended header, `LENGTH KEY=VALUE\n` each. The length counts, as a value may hold anything. None
/// where they are damaged.
fn records(mut bytes: &[u8], ahead: &mut Ahead) -> Option<()> {
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
        let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|&byte| byte == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" | b"GNU.sparse.name" => ahead.path = Some(value.to_vec()),
            b"linkpath" => ahead.link = Some(value.to_vec()),
            b"size" => ahead.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
            _ if key.starts_with(b"GNU.sparse.") => ahead.sparse = true,
            _ => {}
        }
        bytes = &bytes[length..];
    }
    Some(())
}

/// Passes over the blocks that a sparse file of the old kind has between its header and its bytes.
fn extended_sparse(header: &Header, source: &mut Source) -> io::Result<()> {
    let mut more = header.as_gnu().is_some_and(|gnu| gnu.is_extended());
    while more {
        let mut block = [0; BLOCK];
        source.read_exact(&mut block)?;
        more = block[504] == 1;
    }
    Ok(())
}

/// The bytes that `size` bytes occupy in the archive: whole blocks.
fn padded(size: u64) -> u64 {
    size.checked_next_multiple_of(BLOCK as u64).unwrap_or(size)
}
