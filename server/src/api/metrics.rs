//! Curves of runs, and numbers of the server for Prometheus.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::app::{App, STREAMS, blocking};
use super::error::ApiError;
use super::extract::{Asked, names};
use super::files;
use crate::names::file_stem;
use crate::run::usage::{self, Sample};
use crate::run::{MemberState, State as RunState};
use crate::store::{Curve, Line, Run, Window};

/// The names of curves.
const SERIES: [&str; 6] = ["loss", "accuracy", "test_loss", "lr", "samples_per_s", "step_ms"];
/// Points of a curve, if the client does not say, and at most.
const POINTS: usize = 1000;
const MOST_POINTS: usize = 20_000;

/// Which curves.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct CurvesQuery {
    /// Name of a member; absent: all.
    member: Option<String>,
    /// Of `loss`, `accuracy`, `test_loss`, `lr`, `samples_per_s`, `step_ms`, with commas; absent: all.
    series: Option<String>,
    /// First step of the member.
    from: Option<u64>,
    /// Last step of the member.
    to: Option<u64>,
    /// At most so many points a curve; 1000 if absent.
    points: Option<usize>,
}

/// What the processes of a run have taken of this machine.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Usage {
    /// As time went by, the newest last; none where the system does not tell, or for runs that a command has trained.
    samples: Vec<Sample>,
    /// Cores of this machine.
    cores: usize,
    /// Why there is nothing to tell; none where there is, or will be.
    missing: Option<&'static str>,
}

/// Samples of usage, at most.
const SAMPLES: usize = 300;

pub(super) async fn usage(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Usage>, ApiError> {
    blocking(&app, move |app| {
        let run = app.run(&id)?;
        let samples = usage::read(&app.jobs.directory(&run), SAMPLES).map_err(|error| {
            ApiError::internal(format!("what the run took cannot be read: {error}"))
        })?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let missing = match (samples.is_empty(), cfg!(target_os = "linux")) {
            (true, false) => Some("this system does not tell what a process takes; Linux does"),
            (true, true) if run.state.is_ended() => {
                Some("nothing was measured: a run that a command trained, or one of some seconds")
            }
            _ => None,
        };
        Ok(Json(Usage { samples, cores, missing }))
    })
    .await
}

/// Curves of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Curves {
    members: Vec<MemberCurves>,
}

/// Curves of a member.
#[derive(Debug, Serialize, JsonSchema)]
struct MemberCurves {
    member: String,
    series: Vec<Series>,
}

/// A curve.
#[derive(Debug, Serialize, JsonSchema)]
struct Series {
    name: String,
    /// Optimiser steps of the member.
    x: Vec<u64>,
    /// Null where it is no finite number.
    y: Vec<Option<f64>>,
}

pub(super) async fn curves(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(query): Asked<CurvesQuery>,
) -> Result<Json<Curves>, ApiError> {
    blocking(&app, move |app| {
        let run = app.run(&id)?;
        let series = names(query.series.as_deref()).unwrap_or_default();
        if let Some(unknown) = series.iter().find(|name| !SERIES.contains(&name.as_str())) {
            let message = format!("there is no series `{}`", unknown.escape_debug());
            return Err(ApiError::bad_request(message)
                .field("series")
                .hint(format!("there are {}", SERIES.join(", "))));
        }
        let window = Window {
            from: query.from.unwrap_or(0),
            to: query.to.unwrap_or(u64::MAX),
            points: query.points.unwrap_or(POINTS).clamp(2, MOST_POINTS),
        };
        let wanted = |name: &&str| series.is_empty() || series.iter().any(|asked| asked == name);
        let asked = |name: &str| query.member.as_ref().is_none_or(|member| member == name);
        // From one moment, in the order in which members are trained.
        let members = app.jobs.store.read(|db| -> rusqlite::Result<_> {
            let mut members = Vec::new();
            for MemberState { member, .. } in run.view.members.iter().filter(|m| asked(&m.member)) {
                let mut series = Vec::new();
                for name in SERIES.into_iter().filter(wanted) {
                    let Curve { x, y } = Curve::read(db, &run.id, member, name, window)?;
                    let y = y.into_iter().map(|y| y.is_finite().then_some(y)).collect();
                    series.push(Series { name: name.to_owned(), x, y });
                }
                series.retain(|curve| !curve.x.is_empty());
                if !series.is_empty() {
                    members.push(MemberCurves { member: member.clone(), series });
                }
            }
            Ok(members)
        })?;
        Ok(Json(Curves { members }))
    })
    .await
}

pub(super) async fn csv(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let run = blocking(&app, move |app| app.run(&id)).await?;
    let name = format!("{}.csv", file_stem(&run.name, &run.id));
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    tokio::task::spawn_blocking(move || {
        let all = Window { from: 0, to: u64::MAX, points: usize::MAX };
        let send = |text: String| sender.blocking_send(Ok(text.into())).is_ok();
        if !send("member,series,step,value\n".into()) {
            return;
        }
        for member in &run.view.members {
            for series in SERIES {
                let name = &member.member;
                let read = app.jobs.store.read(|db| Curve::read(db, &run.id, name, series, all));
                let curve = match read {
                    Ok(curve) => curve,
                    Err(error) => {
                        drop(sender.blocking_send(Err(std::io::Error::other(error))));
                        return;
                    }
                };
                for (x, y) in curve.x.chunks(4096).zip(curve.y.chunks(4096)) {
                    let mut text = String::new();
                    for (x, y) in x.iter().zip(y) {
                        text += &format!("{name},{series},{x},{y}\n");
                    }
                    if !send(text) {
                        return;
                    }
                }
            }
        }
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8")),
        (header::CONTENT_DISPOSITION, files::attachment(&name)),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(receiver))).into_response())
}

pub(super) async fn prometheus(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    blocking(&app, |app| {
        let (runs, last) = app
            .jobs
            .store
            .read(|db| -> rusqlite::Result<_> { Ok((Run::all(db)?, Line::last(db)?)) })?;
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, lines: &[(String, f64)]| {
            text += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for (labels, value) in lines {
                text += &format!("{name}{labels} {value}\n");
            }
        };
        let states: Vec<(String, f64)> = [
            RunState::Draft,
            RunState::Queued,
            RunState::Running,
            RunState::Pausing,
            RunState::Paused,
            RunState::Stopping,
            RunState::Stopped,
            RunState::Done,
            RunState::Failed,
            RunState::Cancelled,
        ]
        .into_iter()
        .map(|state| {
            let count = runs.iter().filter(|run| run.state == state).count();
            (format!("{{state=\"{}\"}}", state.name()), count as f64)
        })
        .collect();
        family("taper_runs", "gauge", "Runs by state.", &states);
        // Ids are letters and digits, so nothing has to be escaped.
        let live = || runs.iter().filter(|run| !run.slots.is_empty());
        let of = |value: &dyn Fn(&Run) -> f64| -> Vec<(String, f64)> {
            live().map(|run| (format!("{{run=\"{}\"}}", run.id), value(run))).collect()
        };
        let progress = of(&|run| run.view.share());
        family(
            "taper_run_progress",
            "gauge",
            "Share that is done of runs with a process.",
            &progress,
        );
        let steps = of(&|run| run.view.steps().0 as f64);
        family("taper_run_steps", "gauge", "Optimiser steps taken of runs with a process.", &steps);
        let attempts = of(&|run| f64::from(run.attempts));
        family("taper_run_attempts", "gauge", "Processes since the last checkpoint.", &attempts);
        let one = |value: f64| vec![(String::new(), value)];
        family("taper_log_rows_total", "counter", "Rows of the log of events.", &one(last as f64));
        let open = STREAMS - app.streams.available_permits();
        family("taper_streams", "gauge", "Open streams of events.", &one(open as f64));
        let free = fs4::available_space(&app.data_dir).map_or(f64::NAN, |free| free as f64);
        family("taper_disk_free_bytes", "gauge", "Free bytes where runs are kept.", &one(free));
        let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
        Ok((kind, text).into_response())
    })
    .await
}
