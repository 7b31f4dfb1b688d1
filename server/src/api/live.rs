//! What happens, as it happens: `/api/events`, and a run's own log.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use engine::event::Entry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::app::{App, blocking};
use super::error::ApiError;
use super::extract::{Asked, names};
use crate::jobs::RunSummary;
use crate::store::{Kind, Line, Run};

/// Rows that are replayed at most; a reader that missed more fetches anew.
const REPLAY: usize = 20_000;
/// Messages that wait for a reader before it is dropped.
const WAITING: usize = 256;
/// Shortest time between two signs of life.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Entries of an answer, if the client does not say, and at most.
const ENTRIES: usize = 1000;
const MOST_ENTRIES: usize = 20_000;

/// Which part of a run's log.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct EntriesQuery {
    /// The `seq` of the entry before the first one that is wanted.
    after: Option<i64>,
    /// At most so many; 1000 if absent.
    limit: Option<usize>,
    /// Instead of both: the last so many.
    tail: Option<usize>,
}

/// A part of a run's log.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Entries {
    entries: Vec<Entry>,
    /// The `seq` of the last one: `after` of what comes next.
    last: i64,
}

pub(super) async fn entries(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(query): Asked<EntriesQuery>,
) -> Result<Json<Entries>, ApiError> {
    blocking(&app, move |app| {
        let run = app.run(&id)?;
        let after = query.after.unwrap_or(-1).max(-1);
        let limit = query.limit.unwrap_or(ENTRIES).min(MOST_ENTRIES);
        let lines = app.jobs.store.read(|db| match query.tail {
            Some(count) => Line::tail(db, &run.id, count.min(MOST_ENTRIES)),
            None => Line::of_run(db, &run.id, after, limit),
        })?;
        let texts = read(app, &run, &lines);
        let entries: Vec<Entry> =
            texts.iter().filter_map(|(_, text)| serde_json::from_str(text).ok()).collect();
        let last = entries.last().map_or(after, |entry| i64::try_from(entry.seq).unwrap_or(after));
        Ok(Json(Entries { entries, last }))
    })
    .await
}

/// Lines of a run's log, with their numbers in the store; those that cannot be read are left out.
fn read(app: &App, run: &Run, lines: &[Line]) -> Vec<(i64, String)> {
    let Ok(mut file) = File::open(app.jobs.directory(run).join("events.jsonl")) else {
        return Vec::new();
    };
    let mut line = |line: &Line| {
        let (start, length) = line.range;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        file.seek(SeekFrom::Start(start)).ok()?;
        file.read_exact(&mut bytes).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        Some((line.seq, text.trim_end().to_owned()))
    };
    lines.iter().filter_map(&mut line).collect()
}

/// What a stream is wanted for.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct StreamQuery {
    /// Ids of the runs whose entries are wanted, with commas; `*`: of all. Absent: of none.
    runs: Option<String>,
    /// As the header `Last-Event-ID`, for a first request.
    last_event_id: Option<String>,
}

/// Whose entries are wanted.
#[derive(Debug, Clone)]
enum Wanted {
    All,
    Of(Vec<String>),
}

impl Wanted {
    fn has(&self, run: &str) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Of(runs) => runs.iter().any(|wanted| wanted == run),
        }
    }

    fn list(&self) -> Option<&[String]> {
        match self {
            Wanted::All => None,
            Wanted::Of(runs) => Some(runs),
        }
    }
}

pub(super) async fn stream(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Asked(query): Asked<StreamQuery>,
) -> Result<Response, ApiError> {
    let Ok(permit) = Arc::clone(&app.streams).try_acquire_owned() else {
        return Err(ApiError::too_many("too many streams are open; close some")
            .hint("one stream serves a whole tab"));
    };
    let wanted = match query.runs.as_deref() {
        Some("*") => Wanted::All,
        list => Wanted::Of(names(list).unwrap_or_default()),
    };
    let given = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let given = given.map(str::to_owned).or(query.last_event_id).filter(|id| !id.is_empty());
    let from = match given.map(|id| id.parse::<i64>()).transpose() {
        Ok(from) => from,
        Err(_) => return Err(ApiError::bad_request("the last event's id is a number")),
    };

    // Listen first, then read: what happens in between is in both, and told once.
    let mut heard = app.jobs.listen();
    let of_past = wanted.clone();
    let (last, past) = blocking(&app, move |app| past(app, from, &of_past)).await?;
    let (sender, receiver) = mpsc::channel::<Result<Event, Infallible>>(WAITING);
    tokio::spawn(async move {
        let _permit = permit;
        // The past goes as fast as the reader takes it.
        for event in past {
            if sender.send(Ok(event)).await.is_err() {
                return;
            }
        }
        loop {
            let message = tokio::select! {
                message = heard.recv() => message,
                () = sender.closed() => return,
            };
            let message = match message {
                Ok(message) => message,
                // Too slow, or the server goes down: the browser comes again, with the last id it had.
                Err(RecvError::Lagged(_) | RecvError::Closed) => return,
            };
            let told = message.seq <= last && message.kind == Kind::Entry;
            if told || (message.kind == Kind::Entry && !wanted.has(&message.run)) {
                continue;
            }
            let event = event(message.kind, &message.data).id(message.seq.to_string());
            match sender.try_send(Ok(event)) {
                Ok(()) => {}
                Err(_) => return,
            }
        }
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let sse = Sse::new(ReceiverStream::new(receiver)).keep_alive(keep_alive);
    Ok(([("x-accel-buffering", "no")], sse).into_response())
}

fn event(kind: Kind, data: &str) -> Event {
    Event::default().event(kind.name()).data(data)
}

/// What a reader gets first: `hello`, then what it missed, or `reset`. `hello` has no id, so that a reader that goes before it got the rest
/// asks for the rest again.
fn past(app: &App, from: Option<i64>, wanted: &Wanted) -> Result<(i64, Vec<Event>), ApiError> {
    let (last, lines) = app.jobs.store.read(|db| -> rusqlite::Result<_> {
        let last = Line::last(db)?;
        let lines = match from {
            Some(from) if (0..last).contains(&from) => {
                Some(Line::after(db, from, wanted.list(), REPLAY + 1)?)
            }
            Some(from) if from == last => Some(Vec::new()),
            Some(_) => None,
            None => Some(Vec::new()),
        };
        Ok((last, lines))
    })?;
    let hello = Event::default().event("hello").data(json!({ "last": last }).to_string());
    let mut events = vec![hello];
    let Some(lines) = lines.filter(|lines| lines.len() <= REPLAY) else {
        let reset = Event::default().event("reset").data(json!({ "last": last }).to_string());
        events.push(reset.id(last.to_string()));
        return Ok((last, events));
    };
    let mut at = 0;
    while at < lines.len() {
        let Line { kind, run, .. } = &lines[at];
        let end = lines[at..].iter().position(|line| line.kind != *kind || line.run != *run);
        let end = end.map_or(lines.len(), |count| at + count);
        let (part, seq) = (&lines[at..end], lines[end - 1].seq);
        let event = |data: String| event(*kind, &data).id(seq.to_string());
        match kind {
            Kind::Entry => {
                if let Some(run) = app.jobs.store.read(|db| Run::find(db, run))? {
                    for (seq, text) in read(app, &run, part) {
                        let data = format!("{{\"run\":\"{}\",\"entry\":{text}}}", run.id);
                        events.push(self::event(Kind::Entry, &data).id(seq.to_string()));
                    }
                }
            }
            // As it stands now: what it was in between is over.
            Kind::Run => events.extend(summary(app, run)?.map(event)),
            Kind::Removed => events.push(event(json!({ "id": run }).to_string())),
            Kind::Queue => {
                let queue = app.jobs.store.read(Run::queued_ids)?;
                events.push(event(json!({ "queue": queue }).to_string()));
            }
        }
        at = end;
    }
    if from.is_some() {
        // Progress has no row of its own.
        for run in app.jobs.store.read(Run::with_device)? {
            events.extend(
                summary(app, &run.id)?.map(|data| event(Kind::Run, &data).id(last.to_string())),
            );
        }
    }
    Ok((last, events))
}

fn summary(app: &App, id: &str) -> Result<Option<String>, ApiError> {
    let found = app.jobs.store.read(|db| -> rusqlite::Result<_> {
        let Some(run) = Run::find(db, id)? else { return Ok(None) };
        let position = run.position(db)?;
        Ok(Some(RunSummary::of(&run, position)))
    })?;
    let json = found.map(|summary| serde_json::to_string(&summary)).transpose();
    json.map_err(|error| ApiError::internal(format!("a summary is not JSON: {error}")))
}
