//! Trained models to take away, and what the processes printed. Clients name files of a fixed list and members that the run has; neither is
//! ever a path.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::formats::{ModelConfig, PortablePlan, folder, sums};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::ReaderStream;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::error::ApiError;
use super::extract::Asked;
use super::{App, blocking, runs};
use crate::store::Run;

/// The files of a model, with their types.
const FILES: [(&str, &str); 6] = [
    ("model.safetensors", "application/octet-stream"),
    ("model.onnx", "application/octet-stream"),
    ("config.json", "application/json"),
    ("merge.json", "application/json"),
    ("README.md", "text/markdown; charset=utf-8"),
    (sums::NAME, "text/plain; charset=utf-8"),
];
/// Bytes of a process's output, if the client does not say, and at most.
const TAIL: u64 = 64 << 10;
const MOST_TAIL: u64 = 4 << 20;
/// Bytes of a piece of an archive.
const PIECE: usize = 64 << 10;

/// Whose model.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct MemberQuery {
    /// Name of a member or teacher; absent: the student that the run kept.
    member: Option<String>,
}

/// The files of a model.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Artifacts {
    files: Vec<Artifact>,
}

/// A file of a model.
#[derive(Debug, Serialize, JsonSchema)]
struct Artifact {
    name: String,
    bytes: u64,
    /// 64 hexadecimal digits.
    sha256: String,
}

/// The folder of a model.
fn model(app: &App, run: &Run, member: Option<&str>) -> Result<PathBuf, ApiError> {
    let directory = app.jobs.directory(run);
    let Some(name) = member else { return Ok(directory.join("artifacts")) };
    let known = run.view.members.iter().find(|member| member.member == name);
    let known = known.ok_or_else(|| {
        ApiError::not_found(format!("the run has no member `{}`", name.escape_debug()))
            .field("member")
    })?;
    Ok(match known.method {
        Some(_) => directory.join("members").join(&known.member).join("artifacts"),
        None => directory.join("teachers").join(known.seed.to_string()),
    })
}

/// Whether the run has kept a student.
pub(super) fn is_there(app: &App, run: &Run) -> bool {
    app.jobs.directory(run).join("artifacts").join(sums::NAME).is_file()
}

/// The files that are there, by their check sums.
fn files(app: &App, id: &str, member: Option<&str>) -> Result<Vec<(PathBuf, Artifact)>, ApiError> {
    let run = runs::find(app, id)?;
    let folder = model(app, &run, member)?;
    let text = std::fs::read_to_string(folder.join(sums::NAME))
        .map_err(|_| ApiError::not_found("no model is there yet"))?;
    let sum = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once("  "));
        lines.find(|(_, of)| *of == name).map(|(sum, _)| sum.to_owned())
    };
    let mut found = Vec::new();
    for (name, _) in FILES {
        let path = folder.join(name);
        let Ok(data) = path.metadata() else { continue };
        let sha256 = match sum(name) {
            Some(sum) => sum,
            None if name == sums::NAME => {
                sums::of_file(&path).map_err(|error| ApiError::internal(error.to_string()))?
            }
            // Not of this model: it is being written.
            None => continue,
        };
        found.push((path, Artifact { name: name.into(), bytes: data.len(), sha256 }));
    }
    Ok(found)
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(query): Asked<MemberQuery>,
) -> Result<Json<Artifacts>, ApiError> {
    blocking(&app, move |app| {
        // Before it is there, there is none: no error.
        runs::find(app, &id)?;
        let files = match files(app, &id, query.member.as_deref()) {
            Ok(files) => files,
            Err(_) if query.member.is_none() => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Json(Artifacts { files: files.into_iter().map(|(_, file)| file).collect() }))
    })
    .await
}

pub(super) async fn file(
    State(app): State<Arc<App>>,
    Path((id, name)): Path<(String, String)>,
    Asked(query): Asked<MemberQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Some((name, kind)) = FILES.into_iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        return Err(ApiError::not_found("a model has no file of this name")
            .hint(format!("its files are {}", known.join(", "))));
    };
    let found = blocking(&app, move |app| files(app, &id, query.member.as_deref())).await?;
    let found = found.into_iter().find(|(_, file)| file.name == name);
    let (path, file) =
        found.ok_or_else(|| ApiError::not_found(format!("the model has no {name}")))?;
    let tag = format!("\"{}\"", file.sha256);
    let value = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let common = [
        (header::ETAG, tag.clone()),
        (header::ACCEPT_RANGES, "bytes".into()),
        (header::CACHE_CONTROL, "private, no-cache".into()),
    ];
    let known = value(header::IF_NONE_MATCH);
    if known.is_some_and(|tags| {
        tags.split(',').any(|known| matches!(known.trim(), known if known == tag || known == "*"))
    }) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let same = value(header::IF_RANGE).is_none_or(|known| known == tag);
    let asked = value(header::RANGE).filter(|_| same);
    let range = match asked.map(|asked| range(asked, file.bytes)) {
        None | Some(Wanted::Whole) => None,
        Some(Wanted::Part(first, last)) => Some((first, last)),
        Some(Wanted::Beyond) => {
            let all = [(header::CONTENT_RANGE, format!("bytes */{}", file.bytes))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, all).into_response());
        }
    };
    let (first, length) = match range {
        Some((first, last)) => (first, last - first + 1),
        None => (0, file.bytes),
    };
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let gone = |_| ApiError::not_found("the model was removed");
        let mut open = tokio::fs::File::open(&path).await.map_err(gone)?;
        open.seek(SeekFrom::Start(first)).await.map_err(gone)?;
        Body::from_stream(ReaderStream::new(open.take(length)))
    };
    let disposition = format!("attachment; filename=\"{name}\"");
    let own = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok(match range {
        Some((first, last)) => {
            let part = [(header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", file.bytes))];
            (StatusCode::PARTIAL_CONTENT, common, own, part, body).into_response()
        }
        None => (common, own, body).into_response(),
    })
}

/// Compiled anew from `config.json`, which is quick; the weights are `artifacts/model.safetensors`.
pub(super) async fn plan(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(query): Asked<MemberQuery>,
) -> Result<Json<PortablePlan>, ApiError> {
    blocking(&app, move |app| {
        let files = files(app, &id, query.member.as_deref())?;
        let config = files.iter().find(|(_, file)| file.name == folder::CONFIG);
        let (path, _) = config.ok_or_else(|| ApiError::not_found("no model is there yet"))?;
        let config = folder::read_json::<ModelConfig>(path)
            .map_err(|error| ApiError::internal(error.to_string()))?;
        PortablePlan::inference(&config).map(Json).map_err(|error| {
            ApiError::unprocessable("too_large", format!("no browser runs this model: {error}"))
        })
    })
    .await
}

/// What a `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// Nothing that we do: all of it is sent.
    Whole,
    /// First and last byte.
    Part(u64, u64),
    /// Nothing that is there.
    Beyond,
}

/// One range of bytes; several at once are answered by the whole file, as HTTP allows.
fn range(asked: &str, length: u64) -> Wanted {
    let Some((first, last)) = asked.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
    else {
        return Wanted::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), _) if first >= length => Wanted::Beyond,
        (Ok(first), Ok(last)) if last >= first => Wanted::Part(first, last.min(length - 1)),
        (Ok(first), Err(_)) if last.is_empty() => Wanted::Part(first, length - 1),
        (Err(_), Ok(count)) if first.is_empty() => match count.min(length) {
            0 => Wanted::Beyond,
            count => Wanted::Part(length - count, length - 1),
        },
        _ => Wanted::Whole,
    }
}

pub(super) async fn zip(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(query): Asked<MemberQuery>,
) -> Result<Response, ApiError> {
    let member = query.member.clone();
    let name = match &member {
        Some(member) => format!("{id}-{member}"),
        None => id.clone(),
    };
    let found = blocking(&app, move |app| files(app, &id, query.member.as_deref())).await?;
    let (sender, receiver) = mpsc::channel(8);
    let stem = name.clone();
    tokio::task::spawn_blocking(move || {
        let pieces = Pieces { sender: sender.clone(), piece: Vec::with_capacity(PIECE) };
        if let Err(error) = pack(pieces, &stem, &found) {
            // The connection is cut, so that nobody takes half an archive for a whole one.
            drop(sender.blocking_send(Err(error)));
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.zip\"")),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(receiver))).into_response())
}

/// Writes an archive with a folder of the files. They are stored: weights hardly shrink.
fn pack(pieces: Pieces, stem: &str, files: &[(PathBuf, Artifact)]) -> io::Result<()> {
    let mut archive = ZipWriter::new_stream(pieces);
    for (path, file) in files {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(file.bytes >= u64::from(u32::MAX))
            .unix_permissions(0o644);
        archive.start_file(format!("{stem}/{}", file.name), options).map_err(io::Error::other)?;
        io::copy(&mut File::open(path)?, &mut archive)?;
    }
    archive.finish().map_err(io::Error::other)?.into_inner().flush()
}

/// Sends what is written in pieces; waits while the client is slow.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Which output.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OutputQuery {
    /// `stdout` or `stderr`; the latter if absent.
    #[serde(default)]
    stream: Output,
    /// So many bytes of its end; 64 KiB if absent.
    tail: Option<u64>,
}

/// What a process prints to.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Output {
    Stdout,
    #[default]
    Stderr,
}

pub(super) async fn output(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(query): Asked<OutputQuery>,
) -> Result<Response, ApiError> {
    blocking(&app, move |app| {
        let run = runs::find(app, &id)?;
        let name = match query.stream {
            Output::Stdout => "stdout.log",
            Output::Stderr => "stderr.log",
        };
        let tail = query.tail.unwrap_or(TAIL).min(MOST_TAIL);
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(app.jobs.directory(&run).join(name))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(tail)))?;
            let mut bytes = Vec::new();
            file.take(tail).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|error| {
                ApiError::internal(format!("the output cannot be read: {error}"))
            })?,
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        for (asked, expected) in [
            ("bytes=0-9", Wanted::Part(0, 9)),
            ("bytes=90-", Wanted::Part(90, 99)),
            ("bytes=90-1000", Wanted::Part(90, 99)),
            ("bytes=-10", Wanted::Part(90, 99)),
            ("bytes=-1000", Wanted::Part(0, 99)),
            ("bytes=100-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=9-3", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("lines=0-9", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
        ] {
            assert_eq!(range(asked, 100), expected, "{asked}");
        }
    }
}
