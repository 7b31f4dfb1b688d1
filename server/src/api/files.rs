//! Files of trained models as downloads: one with ranges and validators, or all as one zip that is made while it is sent.
//!
//! A client names a file of [`NAMES`] and no other; links are not followed.

use std::cell::Cell;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::formats::folder;
use engine::{formats::sums, text::hex};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::ReaderStream;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZIP64_BYTES_THR, ZipWriter};

use super::error::ApiError;

/// Every name that is served, also of other forms, and its type.
pub(super) const NAMES: [(&str, &str); 15] = [
    (folder::WEIGHTS, "application/octet-stream"),
    (folder::CONFIG, "application/json"),
    (folder::MERGE, "application/json"),
    (folder::CARD, "text/markdown; charset=utf-8"),
    (sums::NAME, "text/plain; charset=utf-8"),
    (folder::ONNX, "application/octet-stream"),
    (folder::TEXT_ONNX, "application/octet-stream"),
    ("model.py", "text/x-python"),
    ("model_int8.onnx", "application/octet-stream"),
    ("onnx/model_quantized.onnx", "application/octet-stream"),
    ("preprocessor_config.json", "application/json"),
    ("special_tokens_map.json", "application/json"),
    ("tokenizer.json", "application/json"),
    ("tokenizer_config.json", "application/json"),
    ("vocab.txt", "text/plain; charset=utf-8"),
];
/// The types of [`NAMES`], without what follows them.
pub(super) fn kinds() -> Vec<&'static str> {
    let mut kinds: Vec<&str> =
        NAMES.iter().map(|(_, kind)| kind.split(';').next().unwrap_or(kind)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// The most bytes of `SHA256SUMS` that are read.
const SUMS: u64 = 64 << 10;
/// Bytes that are sent at once.
const CHUNK: usize = 64 << 10;
/// Chunks of a zip that wait for a slow client.
const AHEAD: usize = 4;
/// Zips that are made at the same time: each has a thread.
const ZIPS: usize = 8;
/// How long a zip waits for a client that takes nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file that may be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Artifact")]
pub(crate) struct Item {
    /// Its name in the model's folder.
    pub(crate) name: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its SHA-256 as 64 hexadecimal digits.
    pub(crate) sha256: String,
}

/// The files of `folder` that are served, in the order of their names: those that its `SHA256SUMS` knows, and that file itself.
///
/// # Errors
/// `SHA256SUMS` is not there or cannot be read.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<Item>> {
    let (sums, size) = open(folder, sums::NAME)?;
    if size > SUMS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its SHA256SUMS is too large"));
    }
    let mut text = Vec::new();
    sums.take(SUMS).read_to_end(&mut text)?;
    let own = Item { name: sums::NAME.into(), bytes: size, sha256: hex(&Sha256::digest(&text)) };
    let text = String::from_utf8_lossy(&text);
    let listed = text.lines().filter_map(|line| {
        let (sha256, name) = line.split_once("  ")?;
        let right = sha256.len() == 64
            && sha256.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let (_, bytes) = (right && name != sums::NAME).then(|| open(folder, name).ok())??;
        Some(Item { name: name.into(), bytes, sha256: sha256.into() })
    });
    let mut items: Vec<Item> = listed.chain([own.clone()]).collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    items.dedup_by(|a, b| a.name == b.name);
    Ok(items)
}

/// Opens a file of a model in `folder`; its size comes with it.
///
/// # Errors
/// The name is none of [`NAMES`], or there is no regular file of that name.
fn open(folder: &Path, name: &str) -> io::Result<(File, u64)> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "there is no such file");
    let (name, _) = NAMES.iter().find(|(known, _)| *known == name).ok_or_else(none)?;
    let path = folder.join(name);
    // What is opened must be what was looked at, and that was no link.
    let looked = path.symlink_metadata()?;
    if !looked.is_file() {
        return Err(none());
    }
    let file = File::open(&path)?;
    let opened = file.metadata()?;
    if same(&looked, &opened) { Ok((file, opened.len())) } else { Err(none()) }
}

#[cfg(unix)]
fn same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same(a: &Metadata, b: &Metadata) -> bool {
    b.is_file() && a.len() == b.len() && a.modified().ok() == b.modified().ok()
}

/// What a request for a file of known size and tag gets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Whole,
    Some(Range<u64>),
    /// The client has it already.
    Unchanged,
    /// `If-Match` names another one.
    Changed,
    /// No byte of the file lies in the range.
    Outside,
}

/// RFC 9110, sections 13 and 14. Of several ranges, or of what is not understood, the whole file is the answer, as it may be.
fn part(method: &Method, headers: &HeaderMap, size: u64, tag: &str) -> Part {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let names = |list: &str| {
        let mut tags = list.split(',').map(str::trim);
        tags.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
    };
    if text(header::IF_MATCH).is_some_and(|list| !names(list)) {
        return Part::Changed;
    }
    if text(header::IF_NONE_MATCH).is_some_and(names) {
        return Part::Unchanged;
    }
    let fresh =
        headers.get(header::IF_RANGE).is_none_or(|given| given.as_bytes() == tag.as_bytes());
    match text(header::RANGE) {
        Some(range) if method == Method::GET && fresh => ranged(range, size).unwrap_or(Part::Whole),
        _ => Part::Whole,
    }
}

/// One range of `bytes=`, cut at the file's end.
fn ranged(range: &str, size: u64) -> Option<Part> {
    let number = |digits: &str| match digits.bytes().all(|digit| digit.is_ascii_digit()) {
        // What is too large for us is beyond any file.
        true if !digits.is_empty() => Some(digits.parse().unwrap_or(u64::MAX)),
        _ => None,
    };
    let (unit, range) = range.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let range = match (first, last) {
        ("", count) => size.saturating_sub(number(count)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(size)
        }
    };
    Some(if range.is_empty() { Part::Outside } else { Part::Some(range) })
}

/// Answers a request for `item` of `folder`.
///
/// # Errors
/// The file is not there any more, or the system does not let it be read.
pub(crate) async fn send(
    folder: PathBuf,
    item: Item,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let name = item.name.clone();
    let opened = tokio::task::spawn_blocking(move || open(&folder, &name)).await;
    let (file, size) = opened
        .unwrap_or_else(|gone| Err(io::Error::other(gone)))
        .map_err(|error| unreadable(&item.name, &error))?;
    let tag = format!("\"{}\"", item.sha256);
    let mut answer = HeaderMap::new();
    let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    answer.insert(header::ETAG, value(tag.clone()));
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // It may be kept, but each use asks whether it is still the same; not in caches that others share.
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    let (status, range) = match part(method, headers, size, &tag) {
        Part::Whole => (StatusCode::OK, 0..size),
        Part::Some(range) => {
            let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            answer.insert(header::CONTENT_RANGE, value(text));
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Part::Unchanged => return Ok((StatusCode::NOT_MODIFIED, answer).into_response()),
        Part::Changed => {
            return Err(ApiError::new(
                StatusCode::PRECONDITION_FAILED,
                "changed",
                format!("{} is another file now", item.name),
            ));
        }
        Part::Outside => {
            return Err(ApiError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "bad_range",
                format!("{} has {size} bytes, and none of them is in the range", item.name),
            )
            .header(header::CONTENT_RANGE, value(format!("bytes */{size}"))));
        }
    };
    let length = range.end - range.start;
    answer.insert(header::CONTENT_LENGTH, length.into());
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(&item.name)));
    let (_, name) = item.name.rsplit_once('/').unwrap_or(("", &item.name));
    answer.insert(header::CONTENT_DISPOSITION, attachment(name));
    if method == Method::HEAD {
        return Ok((status, answer).into_response());
    }
    let asked = item.clone();
    let checked = tokio::task::spawn_blocking(move || check(&asked, file)).await;
    let file = checked
        .unwrap_or_else(|gone| Err(io::Error::other(gone)))
        .map_err(|error| unreadable(&item.name, &error))?;
    let mut file = tokio::fs::File::from_std(file);
    let moved = file.seek(io::SeekFrom::Start(range.start)).await;
    moved.map_err(|error| unreadable(&item.name, &error))?;
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK));
    Ok((status, answer, body).into_response())
}

fn unreadable(name: &str, error: &io::Error) -> ApiError {
    match error.kind() {
        io::ErrorKind::NotFound => ApiError::not_found(format!("{name} is not there")),
        io::ErrorKind::InvalidData => ApiError::internal(error.to_string()),
        _ => ApiError::internal(format!("{name} cannot be read: {error}")),
    }
}

fn kind(name: &str) -> &'static str {
    let known = NAMES.iter().find(|(known, _)| *known == name);
    known.map_or("application/octet-stream", |(_, kind)| kind)
}

/// `Content-Disposition` of a download (RFC 6266): a plain name for all, and the exact one where it has other letters.
pub(crate) fn attachment(name: &str) -> HeaderValue {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let plain: String = name
        .chars()
        .map(|char| if u8::try_from(char).is_ok_and(is_plain) { char } else { '_' })
        .collect();
    let mut text = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        text.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            if is_plain(byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("attachment"))
}

/// Permits for zips, of the whole process.
static FREE: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(ZIPS)));

/// All `items` of `folder` as one download: `STEM.zip` with a folder STEM in it, made by a thread while the client reads. It takes as
/// much memory as a few chunks. All files are compared with their sums before the first byte; one that changes while it is sent breaks the
/// download off, so that nobody takes it for whole.
///
/// # Errors
/// So many are being made that this one has to wait; a file is not the one that its sum says, or cannot be read.
pub(crate) async fn zip(
    folder: impl AsRef<Path> + Send + 'static,
    items: Vec<Item>,
    stem: String,
) -> Result<Response, ApiError> {
    let permit = admit(&FREE)?;
    let looked = move || -> Result<_, ApiError> {
        for item in &items {
            let checked = open(folder.as_ref(), &item.name).and_then(|(file, _)| check(item, file));
            checked.map_err(|error| unreadable(&item.name, &error))?;
        }
        Ok((permit, folder, items))
    };
    let looked = tokio::task::spawn_blocking(looked).await;
    let (permit, folder, items) = looked
        .map_err(|gone| ApiError::internal(format!("the model cannot be read: {gone}")))??;
    Ok(stream(permit, folder, items, stem))
}

/// A permit to make a zip.
fn admit(free: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ApiError> {
    Arc::clone(free).try_acquire_owned().map_err(|_| {
        ApiError::unavailable("too many archives are being downloaded; try again in a minute")
            .header(header::RETRY_AFTER, PATIENCE.as_secs())
    })
}

fn stream(
    permit: OwnedSemaphorePermit,
    folder: impl AsRef<Path> + Send + 'static,
    items: Vec<Item>,
    stem: String,
) -> Response {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let handle = Handle::current();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/zip")),
        (header::CONTENT_DISPOSITION, attachment(&format!("{stem}.zip"))),
    ];
    tokio::task::spawn_blocking(move || {
        let pipe = Pipe { sender, handle, chunk: Vec::new(), closed: Rc::default() };
        // A folder that was made for this goes with it.
        let place = folder;
        let folder = place.as_ref();
        match pour(folder, &items, &stem, pipe) {
            // The client has gone, which is its right.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "a download was broken off");
            }
            Ok(()) => {}
        }
        drop(permit);
    });
    (headers, Body::from_stream(ReceiverStream::new(receiver))).into_response()
}

/// Writes the zip of `items` into `pipe`; where it fails, so does the client's download.
fn pour(folder: &Path, items: &[Item], stem: &str, pipe: Pipe) -> io::Result<()> {
    let (closed, sender, handle) =
        (Rc::clone(&pipe.closed), pipe.sender.clone(), pipe.handle.clone());
    let done = write_zip(folder, items, stem, pipe, &closed);
    if let Err(error) = &done {
        let broken = io::Error::new(error.kind(), error.to_string());
        // Who has gone hears nothing.
        drop(handle.block_on(timeout(PATIENCE, sender.send(Err(broken)))));
    }
    done
}

fn write_zip(
    folder: &Path,
    items: &[Item],
    stem: &str,
    pipe: Pipe,
    closed: &Cell<bool>,
) -> io::Result<()> {
    let mut zip = ZipWriter::new_stream(pipe);
    let all = items.iter().try_for_each(|item| add(&mut zip, folder, item, stem));
    if let Err(error) = all {
        // A writer that is dropped ends its archive properly, which would make a whole one of half the files.
        closed.set(true);
        return Err(error);
    }
    let mut pipe = zip.finish().inspect_err(|_| closed.set(true))?.into_inner();
    pipe.flush()
}

/// One file, stored. The archive is the same bytes for the same files: it has no times.
fn add<W: Write + io::Seek>(
    zip: &mut ZipWriter<W>,
    folder: &Path,
    item: &Item,
    stem: &str,
) -> io::Result<()> {
    let (mut file, _) = open(folder, &item.name)?;
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::DEFAULT)
        .unix_permissions(0o644)
        .large_file(item.bytes >= ZIP64_BYTES_THR);
    zip.start_file(format!("{stem}/{}", item.name), options)?;
    compare(item, &mut file, zip)
}

/// A file that is the one that its sum says, before any of it is sent.
///
/// # Errors
/// It is another one, or cannot be read.
fn check(item: &Item, mut file: File) -> io::Result<File> {
    compare(item, &mut file, &mut io::sink())?;
    Ok(file)
}

/// Copies a file, and compares its sum at the end.
fn compare(item: &Item, file: &mut File, to: &mut impl Write) -> io::Result<()> {
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => {
                digest.update(&buffer[..count]);
                to.write_all(&buffer[..count])?;
            }
        }
    }
    if hex(&digest.finalize()) == item.sha256 {
        Ok(())
    } else {
        let problem = format!(
            "{} is not the file that its SHA-256 says; it is damaged or was changed",
            item.name
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, problem))
    }
}

/// The sending end of a download as something to write to; it waits for the client.
struct Pipe {
    sender: mpsc::Sender<io::Result<Bytes>>,
    handle: Handle,
    chunk: Vec<u8>,
    /// What is written is let fall.
    closed: Rc<Cell<bool>>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.closed.get() {
            self.chunk.extend_from_slice(bytes);
            if self.chunk.len() >= CHUNK {
                self.flush()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed.get() || self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.chunk));
        match self.handle.block_on(timeout(PATIENCE, self.sender.send(Ok(chunk)))) {
            Ok(Ok(())) => Ok(()),
            gone => {
                self.closed.set(true);
                let slow = gone.is_err();
                Err(if slow { io::ErrorKind::TimedOut } else { io::ErrorKind::BrokenPipe }.into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
