//! The server: routes over the store, a guard before them, and the page.

mod artifacts;
mod configs;
mod connections;
mod datasets;
mod devices;
mod discretion;
mod error;
mod extract;
mod files;
mod guard;
mod live;
mod metrics;
mod pace;
mod page;
mod preflight;
mod routes;
mod runs;
mod serve;
mod session;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod tests;
mod token;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use tokio::sync::Semaphore;

use crate::datasets::Datasets;
use crate::jobs::{Adapters, Jobs};
use discretion::Discretion;
use error::ApiError;
use guard::Guard;
use routes::Route;

pub(crate) use serve::{Options, serve};

/// Streams of events that are open at the same time.
const STREAMS: usize = 64;
/// Pre-flights and other processes that requests may start at the same time; uploads that are unpacked are not among them.
const HELPERS: usize = 2;

/// What the handlers share.
pub(crate) struct App {
    jobs: Arc<Jobs>,
    adapters: Arc<Adapters>,
    datasets: Arc<Datasets>,
    guard: Guard,
    /// Looks at a configuration before it is accepted.
    examiner: Box<dyn preflight::Examiner>,
    discretion: Discretion,
    data_dir: PathBuf,
    streams: Arc<Semaphore>,
    helpers: Arc<Semaphore>,
    document: serde_json::Value,
}

/// Runs what waits for the disk or for a process where waiting is allowed.
async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || work(&app))
        .await
        .unwrap_or_else(|error| Err(ApiError::internal(format!("a handler gave up: {error}"))))
}

/// [`blocking`] work that starts a process: only so many at a time, others wait. The work holds its permit and its process: a client that
/// hangs up only stops waiting for it.
async fn helped<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let closed = |_| ApiError::unavailable("the server goes down");
    let permit = Arc::clone(&app.helpers).acquire_owned().await.map_err(closed)?;
    blocking(app, move |app| {
        let _permit = permit;
        work(app)
    })
    .await
}

/// [`helped`] work that nobody else needs: it is told whether its client still waits, and gives up where it does not.
async fn helped_while<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App, &dyn Fn() -> bool) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    // Dropped with this future, which a client that hangs up ends.
    let client = Arc::new(());
    let waits = Arc::downgrade(&client);
    helped(app, move |app| work(app, &|| waits.strong_count() > 0)).await
}

/// Everything that is served, apart from the page's files.
fn routes() -> Vec<Route> {
    use artifacts as a;
    use runs as r;
    vec![
        Route::get(
            "/healthz",
            "Whether the server is up and its store can be read.",
            get(session::health),
        )
        .open()
        .answers_with(["text/plain"]),
        Route::get("/metrics", "Numbers for Prometheus.", get(metrics::prometheus))
            .answers_with(["text/plain"]),
        Route::get("/api/openapi.json", "This document.", get(configs::openapi))
            .answers::<serde_json::Value>(),
        Route::get(
            "/api/session",
            "Whether a token is needed, and whether it is there.",
            get(session::show),
        )
        .open()
        .answers::<session::Session>(),
        Route::post(
            "/api/session",
            "Takes the token and gives a cookie for it.",
            post(session::login),
        )
        .open()
        .takes::<session::Login>()
        .status(204),
        Route::get("/api/runs", "All runs, newest first, and the queue.", get(r::list))
            .answers::<r::RunList>(),
        Route::post(
            "/api/runs",
            "Makes a run of a preset or a configuration, and queues it.",
            post(r::create),
        )
        .takes::<configs::NewRun>()
        .status(201)
        .answers::<crate::jobs::RunSummary>(),
        Route::get("/api/runs/{id}", "A run with its stages, members and blocks.", get(r::show))
            .answers::<r::RunDetail>(),
        Route::delete(
            "/api/runs/{id}",
            "Deletes a run and its files; refused while it has a process.",
            delete(r::remove),
        ),
        Route::post("/api/runs/{id}/start", "Queues a draft.", post(r::start))
            .takes::<r::Nothing>()
            .answers::<crate::jobs::RunSummary>(),
        Route::post(
            "/api/runs/{id}/pause",
            "Writes a checkpoint and frees the adapter.",
            post(r::pause),
        )
        .takes::<r::Nothing>()
        .answers::<crate::jobs::RunSummary>(),
        Route::post(
            "/api/runs/{id}/resume",
            "Puts it at the head of the queue, to go on from its checkpoint.",
            post(r::resume),
        )
        .takes::<r::Nothing>()
        .answers::<crate::jobs::RunSummary>(),
        Route::post("/api/runs/{id}/stop", "Writes a checkpoint and ends the run.", post(r::stop))
            .takes::<r::Nothing>()
            .answers::<crate::jobs::RunSummary>(),
        Route::post("/api/runs/{id}/cancel", "Ends the run at once, for good.", post(r::cancel))
            .takes::<r::Nothing>()
            .answers::<crate::jobs::RunSummary>(),
        Route::post(
            "/api/runs/{id}/clone",
            "Makes a draft of the same configuration, with changes.",
            post(r::clone),
        )
        .takes::<r::Changes>()
        .status(201)
        .answers::<crate::jobs::RunSummary>(),
        Route::post(
            "/api/runs/{id}/move",
            "Puts it before another run in the queue, or at its end.",
            post(r::reorder),
        )
        .takes::<r::Place>()
        .answers::<r::Queue>(),
        Route::get(
            "/api/runs/{id}/metrics",
            "Curves, with the least and the greatest value of each bucket.",
            get(metrics::curves),
        )
        .query::<metrics::CurvesQuery>()
        .answers::<metrics::Curves>(),
        Route::get("/api/runs/{id}/metrics.csv", "Every point.", get(metrics::csv))
            .answers_with(["text/csv"]),
        Route::get("/api/runs/{id}/events", "The run's own log.", get(live::entries))
            .query::<live::EntriesQuery>()
            .answers::<live::Entries>(),
        Route::get(
            "/api/runs/{id}/output",
            "The end of what its processes printed.",
            get(a::output),
        )
        .query::<a::OutputQuery>()
        .answers_with(["text/plain"]),
        Route::get("/api/runs/{id}/config.toml", "Its configuration.", get(r::config))
            .answers_with(["application/toml"]),
        Route::get("/api/runs/{id}/artifacts", "The files of a trained model.", get(a::list))
            .query::<a::MemberQuery>()
            .answers::<a::Artifacts>(),
        Route::get("/api/runs/{id}/artifacts.zip", "All of them in one archive.", get(a::zip))
            .query::<a::MemberQuery>()
            .answers_with(["application/zip"]),
        Route::get("/api/runs/{id}/artifacts/{name}", "One of them.", get(a::file))
            .query::<a::MemberQuery>()
            .answers_with(files::kinds()),
        Route::get(
            "/api/runs/{id}/plan.json",
            "The model's inference as shaders and dispatches, for a browser.",
            get(a::plan),
        )
        .query::<a::MemberQuery>()
        .answers::<engine::formats::PortablePlan>(),
        Route::post(
            "/api/preflight",
            "What a configuration would take, and whether it would be accepted.",
            post(preflight::show),
        )
        .takes::<configs::NewRun>()
        .answers::<preflight::Preflight>(),
        Route::get(
            "/api/compare",
            "Members of runs by method and configuration, and the keys that differ.",
            get(r::compare),
        )
        .query::<r::CompareQuery>()
        .answers::<r::Compared>(),
        Route::get("/api/events", "The stream of events.", get(live::stream))
            .query::<live::StreamQuery>()
            .answers_with(["text/event-stream"]),
        Route::get("/api/devices", "The adapters of this machine.", get(devices::list))
            .answers::<devices::Devices>(),
        Route::post(
            "/api/devices/{index}/self-test",
            "Trains small networks on it and compares their losses with known ones.",
            post(devices::test),
        )
        .takes::<r::Nothing>()
        .answers::<crate::jobs::SelfTest>(),
        Route::get(
            "/api/datasets",
            "The data sets that configurations may name.",
            get(datasets::list),
        )
        .answers::<datasets::List>(),
        Route::post(
            "/api/datasets",
            "Uploads a zip or tar of pictures in train/CLASS/, or of IDX files.",
            post(datasets::upload),
        )
        .query::<datasets::UploadQuery>()
        .takes_bytes(datasets::TYPES, datasets::CAP)
        .status(201)
        .answers::<crate::datasets::Dataset>(),
        Route::delete(
            "/api/datasets/{name}",
            "Deletes an uploaded one; refused while a run uses it.",
            delete(datasets::remove),
        ),
        Route::get("/api/datasets/{name}/preview", "Its first samples.", get(datasets::preview))
            .query::<datasets::PreviewQuery>()
            .answers::<datasets::Preview>(),
        Route::get(
            "/api/datasets/{name}/preview/{split}/{index}",
            "One sample as a PNG.",
            get(datasets::thumbnail),
        )
        .answers_with(["image/png"]),
        Route::get("/api/presets", "The built-in configurations.", get(configs::presets))
            .answers::<configs::Presets>(),
        Route::get("/api/schema", "The JSON schema of a configuration.", get(configs::schema))
            .answers::<serde_json::Value>(),
        Route::post("/api/config/toml", "A configuration as TOML.", post(configs::to_toml))
            .takes::<configs::AsJson>()
            .answers::<configs::AsToml>(),
        Route::post("/api/config/parse", "TOML as a configuration, checked.", post(configs::parse))
            .takes::<configs::AsToml>()
            .answers::<configs::AsJson>(),
    ]
}

/// The document at `/api/openapi.json`.
pub(crate) fn openapi() -> serde_json::Value {
    routes::openapi(&routes())
}

/// Everything that is served.
fn router(app: &Arc<App>) -> Router {
    routes::router(routes())
        .method_not_allowed_fallback(async || {
            ApiError::method("this address does not take this method")
        })
        .route(
            "/api/{*rest}",
            axum::routing::any(async || ApiError::not_found("there is no such address")),
        )
        .fallback(page::file)
        .layer(from_fn_with_state(Arc::clone(app), guard::guard))
        .with_state(Arc::clone(app))
}
