//! The API as its clients see it, without a network: a server of this process, a file a subject.

mod discretion;
mod document;
mod rules;
mod runs;
mod shares;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use engine::config::{Config, Interpolation, Mlp, Model};
use engine::data::text::procedural;
use engine::formats::{ImageInput, ImageModel, ModelConfig, ModelFolder, TextModel};
use engine::models::Bert;
use engine::nn::fresh;
use engine::ops::AdapterKind;
use engine::plan::Target;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::app::App;
use super::discretion::Discretion;
use super::examiner::Examiner;
use super::files;
use super::guard::Guard;
use super::pace::Paces;
use super::routes::Route;
use super::table::{openapi, router, routes, rules};
use super::token::Token;
use crate::datasets::Datasets;
use crate::jobs::{Adapters, Jobs, described};
use crate::run::examine::{Findings, examine};
use crate::run::pictures::{self, Picture};
use crate::store::Run;
use crate::teachers::Teachers;

pub(super) const HOST: &str = "127.0.0.1:7878";
pub(super) const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Looks in this process, at what a browser's device would allow.
struct Here;

impl Examiner for Here {
    fn examine(
        &self,
        config: &Config,
        _measured: bool,
        _awaited: &dyn Fn() -> bool,
    ) -> Result<Findings, String> {
        Ok(examine(config, None, &Target::web(AdapterKind::Cpu), false))
    }

    fn pictures(
        &self,
        run: &std::path::Path,
        picks: &[usize],
        _awaited: &dyn Fn() -> bool,
    ) -> Result<Vec<Picture>, String> {
        pictures::write(run, picks).map_err(|error| error.to_string())
    }

    fn time(&self, _run: &std::path::Path, _device: &str) -> Result<Vec<String>, String> {
        Err("there is no device here".into())
    }
}

/// What a server is made of, beside its address and its token.
struct Parts {
    paces: Paces,
    /// `NAME=PATH` of registered data, and the program that looks at them.
    data: Vec<String>,
    program: PathBuf,
    examiner: Box<dyn Examiner>,
}

impl Default for Parts {
    fn default() -> Parts {
        let (paces, data, program) = (Paces::default(), Vec::new(), PathBuf::new());
        Parts { paces, data, program, examiner: Box::new(Here) }
    }
}

pub(super) struct Server {
    pub(super) router: Router,
    app: Arc<App>,
    folder: tempfile::TempDir,
    _woken: mpsc::Receiver<()>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Server {
    /// A server of this machine, or one for others with [`TOKEN`].
    fn new(address: &str, token: Option<Token>) -> Server {
        Server::with(address, token, Parts::default())
    }

    fn with(address: &str, token: Option<Token>, parts: Parts) -> Server {
        let Parts { paces, data, program, examiner } = parts;
        let folder = tempfile::tempdir().expect("folder");
        let (jobs, woken) = Jobs::open(folder.path()).expect("opened");
        let teachers = Teachers::open(folder.path().join("teachers"), program.clone());
        let datasets = Datasets::open(folder.path().join("datasets"), &data, program);
        let mut guard = Guard::new(address.parse().expect("an address"), &[], token);
        guard.know(rules());
        guard.paces = paces;
        let datasets = Arc::new(datasets.expect("opened"));
        let app = Arc::new(App {
            discretion: Discretion::new(folder.path(), datasets.registered()),
            jobs,
            adapters: Arc::new(Adapters::fixed(vec![described(0, "llvmpipe", "cpu")])),
            datasets,
            teachers: teachers.expect("opened"),
            guard,
            examiner,
            data_dir: folder.path().into(),
            streams: Arc::new(Semaphore::new(2)),
            helpers: Arc::new(Semaphore::new(2)),
            document: openapi(),
        });
        Server { router: router(&app), app, folder, _woken: woken }
    }

    fn here() -> Server {
        Server::new(HOST, None)
    }

    fn for_others() -> Server {
        Server::for_others_at(Paces::default())
    }

    /// As [`Server::here`], where bodies have to come at this pace.
    pub(super) fn here_at(paces: Paces) -> Server {
        Server::with(HOST, None, Parts { paces, ..Parts::default() })
    }

    /// As [`Server::for_others`], likewise.
    pub(super) fn for_others_at(paces: Paces) -> Server {
        let parts = Parts { paces, ..Parts::default() };
        Server::with("0.0.0.0:7878", Some(Token::of(TOKEN)), parts)
    }

    /// `headers` replace the usual ones, or remove them where they are empty.
    async fn send(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Answer {
        let mut all = vec![("host", HOST)];
        if *method == Method::POST {
            all.push(("content-type", "application/json"));
        }
        all.retain(|(name, _)| headers.iter().all(|(given, _)| given != name));
        all.extend(headers.iter().filter(|(_, value)| !value.is_empty()));
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in all {
            request = request.header(name, value);
        }
        let request = request.body(body).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        // A stream has no end: its head is all that is wanted.
        let stream =
            parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
        let bytes = match stream {
            true => Vec::new(),
            false => to_bytes(body, 64 << 20).await.expect("a body").to_vec(),
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&Method::GET, path, &[], Body::empty()).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(&Method::POST, path, &[], Body::from(body.to_string())).await
    }

    /// A draft of a small run; its id.
    async fn draft(&self) -> String {
        let body = json!({ "preset": "demo", "set": small(), "start": false, "name": "<b>a</b>" });
        let made = self.post("/api/runs", body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        made.json()["id"].as_str().expect("an id").to_owned()
    }
}

fn small() -> Value {
    json!({ "methods": ["win"], "seeds": [0], "data.train_count": 256, "data.test_count": 64 })
}

/// A route's path with something in the place of its parameters.
fn path(route: &Route) -> String {
    let part = |part: &str| if part.starts_with('{') { "1".to_owned() } else { part.to_owned() };
    route.path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// A program that prints these words.
#[cfg(unix)]
fn program(folder: &std::path::Path, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("made");
    path
}
