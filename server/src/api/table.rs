//! The table of routes: everything that is served, apart from the page's files.

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};

use super::app::App;
use super::error::ApiError;
use super::guard::Rule;
use super::routes::{self, Route};
use super::{
    answers, artifacts, configs, datasets, devices, extract, files, gate, live, metrics, page,
    preflight, runs, session, teachers,
};

/// Everything that is served, apart from the page's files.
pub(super) fn routes() -> Vec<Route> {
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
        Route::post(
            "/api/runs/{id}/label",
            "Renames a run, and puts tags and notes on it.",
            post(r::label),
        )
        .takes::<r::Label>()
        .answers::<crate::jobs::RunSummary>(),
        Route::post("/api/runs/{id}/start", "Queues a draft.", post(r::start))
            .takes::<extract::Nothing>()
            .answers::<crate::jobs::RunSummary>(),
        Route::post(
            "/api/runs/{id}/pause",
            "Writes a checkpoint and frees the adapter.",
            post(r::pause),
        )
        .takes::<extract::Nothing>()
        .answers::<crate::jobs::RunSummary>(),
        Route::post(
            "/api/runs/{id}/resume",
            "Puts it at the head of the queue, to go on from its checkpoint.",
            post(r::resume),
        )
        .takes::<extract::Nothing>()
        .answers::<crate::jobs::RunSummary>(),
        Route::post("/api/runs/{id}/stop", "Writes a checkpoint and ends the run.", post(r::stop))
            .takes::<extract::Nothing>()
            .answers::<crate::jobs::RunSummary>(),
        Route::post("/api/runs/{id}/cancel", "Ends the run at once, for good.", post(r::cancel))
            .takes::<extract::Nothing>()
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
        .takes::<r::QueuePlace>()
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
        Route::get(
            "/api/runs/{id}/usage",
            "What its processes have taken of this machine as time went by: cores and memory.",
            get(metrics::usage),
        )
        .answers::<metrics::Usage>(),
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
        Route::get(
            "/api/runs/{id}/artifacts.zip",
            "All of them in one archive, or those of another form.",
            get(a::zip),
        )
            .query::<a::ZipQuery>()
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
        .answers::<engine::step::PlanDocument>(),
        Route::get(
            "/api/runs/{id}/review",
            "What a member says of the test pictures: by class, how sure it is, and its surest mistakes.",
            get(answers::review),
        )
        .query::<answers::ReviewQuery>()
        .answers::<engine::verdicts::Review>(),
        Route::get(
            "/api/runs/{id}/versus",
            "Which test pictures one member has right and another wrong.",
            get(answers::versus),
        )
        .query::<answers::VersusQuery>()
        .answers::<engine::verdicts::Versus>(),
        Route::post(
            "/api/runs/{id}/latency",
            "Times its models on one input, on its adapter and by ONNX Runtime where that is there.",
            post(answers::time),
        )
        .takes::<extract::Nothing>()
        .answers::<answers::Timed>(),
        Route::get("/api/runs/{id}/pictures", "Some of its test pictures.", get(answers::pictures))
            .query::<answers::PicturesQuery>()
            .answers::<answers::Pictures>(),
        Route::get(
            "/api/runs/{id}/pictures/{index}",
            "One of those that were asked for, as a PNG.",
            get(answers::picture),
        )
        .answers_with(["image/png"]),
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
        .takes::<extract::Nothing>()
        .answers::<crate::jobs::SelfTest>(),
        Route::get(
            "/api/datasets",
            "The data sets that configurations may name.",
            get(datasets::list),
        )
        .answers::<datasets::List>(),
        Route::post(
            "/api/datasets",
            "Uploads a zip or tar: of pictures in train/CLASS/ or in CLASS/ alone, of IDX files, of texts, or of questions as SQuAD has them.",
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
        Route::get(
            "/api/datasets/{name}/suggestion",
            "A configuration that suits its pictures, with the reason for each choice.",
            get(configs::suggestion),
        )
        .answers::<configs::Suggestion>(),
        Route::get(
            "/api/datasets/{name}/preview",
            "Some of its samples, from all over the part.",
            get(datasets::preview),
        )
            .query::<datasets::PreviewQuery>()
            .answers::<datasets::Preview>(),
        Route::get(
            "/api/datasets/{name}/preview/{split}/{index}",
            "One sample as a PNG.",
            get(datasets::thumbnail),
        )
        .answers_with(["image/png"]),
        Route::get(
            "/api/datasets/{name}/augmented",
            "Training pictures as a PNG, a row each: as a test sees them, then as epochs do by random crops, shifts and flips.",
            get(datasets::augmented),
        )
        .query::<crate::datasets::Changes>()
        .answers_with(["image/png"]),
        Route::get(
            "/api/teachers",
            "The teachers that were sent, which `teacher.from` may name.",
            get(teachers::list),
        )
        .answers::<teachers::TeacherList>(),
        Route::post(
            "/api/teachers",
            "Takes a trained network: safetensors alone, or a zip or tar of a model folder.",
            post(teachers::upload),
        )
        .query::<datasets::UploadQuery>()
        .takes_bytes(teachers::TYPES, datasets::CAP)
        .status(201)
        .answers::<crate::teachers::SentTeacher>(),
        Route::delete(
            "/api/teachers/{name}",
            "Deletes one; refused while a run uses it.",
            delete(teachers::remove),
        ),
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

/// What the guard asks of requests to each route.
pub(super) fn rules() -> impl Iterator<Item = ((Method, &'static str), Rule)> {
    routes().into_iter().map(|route| ((route.method.clone(), route.path), route.rule()))
}

/// The document at `/api/openapi.json`.
pub(crate) fn openapi() -> serde_json::Value {
    routes::openapi(&routes())
}

/// Everything that is served.
pub(super) fn router(app: &Arc<App>) -> Router {
    routes::router(routes())
        .method_not_allowed_fallback(async || {
            ApiError::method("this address does not take this method")
        })
        .route(
            "/api/{*rest}",
            axum::routing::any(async || ApiError::not_found("there is no such address")),
        )
        .fallback(page::file)
        .layer(from_fn_with_state(Arc::clone(app), gate::gate))
        .with_state(Arc::clone(app))
}
