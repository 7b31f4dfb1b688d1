//! Reading tar archives, plain or gzip, that may be hostile.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::DataError;

/// What is read from an archive before it is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    /// Entries of any kind.
    pub(super) entries: usize,
    /// Bytes of one file.
    pub(super) file: u64,
    /// Bytes of the whole archive after decompression.
    pub(super) total: u64,
}

impl Default for Caps {
    /// Three million pictures of up to 64 MiB, 8 GiB in all: they are held in memory.
    fn default() -> Self {
        Self { entries: 3_000_000, file: 64 << 20, total: 8 << 30 }
    }
}

/// Long names and their extended headers are held before they are checked.
const MAX_NAME: u64 = 64 << 10;

/// An archive's bytes, counted.
type Source = Capped<Box<dyn Read>>;

/// Every regular file of the archive at `path` whose name, cut at `/`, is wanted: (name, bytes) in the archive's order.
///
/// # Errors
/// As [`walk`].
pub(super) fn read(
    path: &Path,
    caps: Caps,
    wanted: impl Fn(&[&str]) -> bool,
) -> Result<Vec<(String, Vec<u8>)>, DataError> {
    let mut files = Vec::new();
    walk(path, caps, |parts, file| {
        if wanted(parts) {
            let mut bytes = Vec::new();
            file.copy(&mut bytes)?;
            files.push((parts.join("/"), bytes));
        }
        Ok(())
    })?;
    Ok(files)
}

/// Shows `visit` every regular file of the archive at `path`, in the archive's order: its name, cut at `/`, and itself.
///
/// # Errors
/// A name that is absolute or has `..`, an entry that is neither file nor folder (links, devices, sparse files), more
/// than `caps` allow, a truncated or damaged archive; each names the entry where there is one. What `visit` says.
pub(super) fn walk(
    path: &Path,
    caps: Caps,
    mut visit: impl FnMut(&[&str], &mut Member<'_, '_>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut file = BufReader::new(File::open(path).map_err(DataError::read(path))?);
    let start = io::BufRead::fill_buf(&mut file).map_err(DataError::read(path))?;
    let source: Box<dyn Read> = if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let broken = |error: io::Error| damaged(path, caps, error);
    let mut archive = Archive::new(Capped { source, left: caps.total });
    let mut long_name = None;
    // Raw entries: tar's own handling of long names would hold whatever length they claim.
    for (number, entry) in archive.entries().map_err(broken)?.raw(true).enumerate() {
        let mut entry = entry.map_err(broken)?;
        if number >= caps.entries {
            return Err(DataError::malformed(
                path,
                format!("more than {} entries, which is the most", caps.entries),
            ));
        }
        let kind = entry.header().entry_type();
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match kind {
            EntryType::GNULongName => {
                let bytes = whole(&mut entry, &name, MAX_NAME, path, caps)?;
                long_name = Some(
                    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(&bytes))
                        .into_owned(),
                );
                continue;
            }
            EntryType::XHeader => {
                let bytes = whole(&mut entry, &name, MAX_NAME, path, caps)?;
                long_name = pax_path(&bytes, path, &name)?.or(long_name);
                continue;
            }
            EntryType::XGlobalHeader => continue,
            _ => {}
        }
        let name = long_name.take().unwrap_or(name);
        check_name(&name, path)?;
        match kind {
            EntryType::Directory => continue,
            EntryType::Regular if name.ends_with('/') => continue,
            EntryType::Regular => {}
            other => {
                return Err(refused(
                    path,
                    &name,
                    format!("is {}; only files and folders are read", word(other)),
                ));
            }
        }
        let parts: Vec<&str> =
            name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        visit(&parts, &mut Member { entry: &mut entry, name: &name, path, caps })?;
    }
    Ok(())
}

/// A file of an archive.
pub(super) struct Member<'a, 'b> {
    entry: &'a mut Entry<'b, Source>,
    name: &'a str,
    path: &'a Path,
    caps: Caps,
}

impl Member<'_, '_> {
    /// Writes all of it to `to`.
    ///
    /// # Errors
    /// It is larger than is read, or truncated; `to` does not take it.
    pub(super) fn copy(&mut self, to: &mut impl Write) -> Result<(), DataError> {
        let Self { entry, name, path, caps } = self;
        copy(entry, to, name, caps.file, path, *caps)
    }

    /// An error about it.
    pub(super) fn refused(&self, problem: impl Into<String>) -> DataError {
        refused(self.path, self.name, problem.into())
    }
}

/// All bytes of an entry, at most `most`.
fn whole(
    entry: &mut Entry<'_, Source>,
    name: &str,
    most: u64,
    path: &Path,
    caps: Caps,
) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    copy(entry, &mut bytes, name, most, path, caps)?;
    Ok(bytes)
}

fn copy(
    entry: &mut Entry<'_, Source>,
    to: &mut impl Write,
    name: &str,
    most: u64,
    path: &Path,
    caps: Caps,
) -> Result<(), DataError> {
    let size = entry.size();
    if size > most {
        return Err(refused(
            path,
            name,
            format!("has {size} bytes, more than the {most} that are read"),
        ));
    }
    let mut buffer = vec![0; 1 << 16];
    let mut copied = 0;
    loop {
        match entry.read(&mut buffer).map_err(|error| damaged(path, caps, error))? {
            0 => break,
            count => {
                let write = to.write_all(&buffer[..count]);
                write
                    .map_err(|error| refused(path, name, format!("cannot be written: {error}")))?;
                copied += count as u64;
            }
        }
    }
    if copied < size {
        return Err(refused(path, name, format!("is truncated: {copied} of {size} bytes")));
    }
    Ok(())
}

/// The `path` of an extended header, if it has one.
fn pax_path(bytes: &[u8], path: &Path, name: &str) -> Result<Option<String>, DataError> {
    let mut found = None;
    for extension in PaxExtensions::new(bytes) {
        let extension =
            extension.map_err(|error| refused(path, name, format!("cannot be read: {error}")))?;
        match extension.key_bytes() {
            b"path" => found = Some(String::from_utf8_lossy(extension.value_bytes()).into_owned()),
            // Where the size stands here, the entry's own header lies, and whatever follows would be misread.
            b"size" => {
                return Err(refused(
                    path,
                    name,
                    "changes an entry's size, which is not read".into(),
                ));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn check_name(name: &str, path: &Path) -> Result<(), DataError> {
    let drive = name.as_bytes().get(1) == Some(&b':');
    if name.starts_with(['/', '\\']) || drive {
        return Err(refused(path, name, "has an absolute path; names must be relative".into()));
    }
    if name.split(['/', '\\']).any(|part| part == "..") {
        return Err(refused(path, name, "leaves the archive with \"..\"".into()));
    }
    Ok(())
}

fn refused(path: &Path, name: &str, problem: String) -> DataError {
    DataError::Entry { archive: path.into(), entry: name.escape_debug().collect(), problem }
}

fn word(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "a hard link",
        EntryType::Symlink => "a symbolic link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        EntryType::GNUSparse => "a sparse file",
        _ => "of an unknown kind",
    }
}

fn damaged(path: &Path, caps: Caps, error: io::Error) -> DataError {
    match error.kind() {
        ErrorKind::FileTooLarge => DataError::malformed(
            path,
            format!("unpacks to more than {} MiB; unpack it and give the folder", caps.total >> 20),
        ),
        ErrorKind::UnexpectedEof => DataError::malformed(path, "truncated archive"),
        _ => DataError::malformed(path, format!("not a whole tar or tar.gz archive: {error}")),
    }
}

/// Ends with an error instead of reading more than `left` bytes, so that no gzip bomb unfolds.
struct Capped<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or(ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tar::{Builder, Header};

    use super::*;

    /// A tar of (name, bytes); names are written as they are, however bad.
    pub(in crate::data) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, bytes) in files {
            append(&mut builder, EntryType::Regular, name, bytes);
        }
        builder.into_inner().unwrap()
    }

    fn append(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, bytes: &[u8]) {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    }

    fn try_read(bytes: &[u8], caps: Caps) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        read(file.path(), caps, |parts| parts.last().is_some_and(|name| name.ends_with(".jpg")))
            .map_err(|error| error.to_string())
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_and_gzip_give_the_wanted_files() {
        let bytes = tar(&[("./a/1.jpg", b"one"), ("a/readme", b"no"), ("a/2.jpg", b"two")]);
        let expected =
            vec![("a/1.jpg".into(), b"one".to_vec()), ("a/2.jpg".into(), b"two".to_vec())];
        assert_eq!(try_read(&bytes, Caps::default()).unwrap(), expected);
        assert_eq!(try_read(&gzip(&bytes), Caps::default()).unwrap(), expected);
    }

    #[test]
    fn long_names_are_read() {
        let name = format!("{}/x.jpg", "long".repeat(60));
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(1);
        builder.append_data(&mut header, &name, &b"x"[..]).unwrap();
        append(&mut builder, EntryType::XHeader, "pax", b"20 path=other/y.jpg\n12 mtime=12\n");
        append(&mut builder, EntryType::Regular, "short.jpg", b"y");
        let files = try_read(&builder.into_inner().unwrap(), Caps::default()).unwrap();
        assert_eq!(files, [(name, b"x".to_vec()), ("other/y.jpg".into(), b"y".to_vec())]);
    }

    #[test]
    fn bad_names_are_refused_by_name() {
        for (name, words) in [
            ("a/../../b.jpg", "leaves the archive"),
            ("..\\b.jpg", "leaves the archive"),
            ("/etc/b.jpg", "absolute"),
            ("C:/b.jpg", "absolute"),
            ("/etc/passwd", "absolute"),
        ] {
            let error = try_read(&tar(&[(name, b"x")]), Caps::default()).unwrap_err();
            let shown: String = name.escape_debug().collect();
            assert!(error.contains(&format!("\"{shown}\"")) && error.contains(words), "{error}");
        }
        let mut builder = Builder::new(Vec::new());
        append(&mut builder, EntryType::XHeader, "pax", b"17 path=../y.jpg\n");
        append(&mut builder, EntryType::Regular, "fine.jpg", b"y");
        let error = try_read(&builder.into_inner().unwrap(), Caps::default()).unwrap_err();
        assert!(error.contains("\"../y.jpg\""), "{error}");
    }

    #[test]
    fn links_and_devices_are_refused_by_name() {
        for (kind, words) in [
            (EntryType::Symlink, "a symbolic link"),
            (EntryType::Link, "a hard link"),
            (EntryType::Char, "a device"),
            (EntryType::Fifo, "a pipe"),
            (EntryType::GNUSparse, "a sparse file"),
            (EntryType::new(b'Z'), "an unknown kind"),
        ] {
            let mut builder = Builder::new(Vec::new());
            append(&mut builder, kind, "a/b.jpg", b"");
            let error = try_read(&builder.into_inner().unwrap(), Caps::default()).unwrap_err();
            assert!(error.contains("\"a/b.jpg\"") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn caps_hold() {
        let bytes = tar(&[("1.jpg", &[0; 3000]), ("2.jpg", b"2")]);
        let caps = Caps { entries: 1, file: 4000, total: 1 << 20 };
        assert!(try_read(&bytes, caps).unwrap_err().contains("more than 1 entries"));
        let caps = Caps { entries: 9, file: 2999, total: 1 << 20 };
        let error = try_read(&bytes, caps).unwrap_err();
        assert!(error.contains("\"1.jpg\" has 3000 bytes, more than the 2999"), "{error}");
        // A gzip bomb: 64 MiB of zeros in 300 KiB.
        let bomb = gzip(&tar(&[("1.png", &vec![0; 64 << 20])]));
        let caps = Caps { entries: 9, file: 1 << 30, total: 1 << 20 };
        assert!(try_read(&bomb, caps).unwrap_err().contains("unpacks to more than 1 MiB"));
    }

    #[test]
    fn a_lying_size_takes_no_memory() {
        let mut header = Header::new_ustar();
        header.set_size(60 << 20);
        header.as_mut_bytes()[..5].copy_from_slice(b"1.jpg");
        header.set_cksum();
        let error = try_read(header.as_bytes(), Caps::default()).unwrap_err();
        assert!(error.contains("truncated"), "{error}");
    }

    #[test]
    fn damage_is_told() {
        let bytes = tar(&[("1.jpg", &[7; 3000])]);
        assert!(try_read(&bytes[..1500], Caps::default()).unwrap_err().contains("truncated"));
        let zipped = gzip(&bytes);
        assert!(try_read(&zipped[..zipped.len() / 2], Caps::default()).is_err());
        let error = try_read(&[b'x'; 2048], Caps::default()).unwrap_err();
        assert!(error.contains("not a whole tar"), "{error}");
    }
}
