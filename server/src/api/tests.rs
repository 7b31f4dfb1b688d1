//! The rules that hold for every route, tried on every route there is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use engine::config::{Config, Interpolation, Mlp, Model};
use engine::formats::{ModelConfig, ModelFolder};
use engine::nn::fresh;
use engine::ops::AdapterKind;
use engine::plan::Target;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::discretion::Discretion;
use super::guard::Guard;
use super::pace::Paces;
use super::preflight::Examiner;
use super::routes::{Route, openapi};
use super::token::Token;
use super::{App, files, router, routes};
use crate::datasets::Datasets;
use crate::jobs::{Adapters, Jobs, described};
use crate::preflight::{Findings, examine};
use crate::store::Run;

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
}

/// Looks at nothing until it is let, and counts who is at it.
#[derive(Clone, Default)]
struct Slow {
    shared: Arc<(AtomicUsize, AtomicUsize, AtomicBool)>,
    /// Whether it gives up where nobody waits.
    obeys: bool,
}

impl Examiner for Slow {
    fn examine(&self, _: &Config, _: bool, awaited: &dyn Fn() -> bool) -> Result<Findings, String> {
        let Slow { shared, obeys } = self;
        let (now, most, done) = &**shared;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        while !done.load(Ordering::SeqCst) && (awaited() || !obeys) {
            std::thread::sleep(Duration::from_millis(2));
        }
        now.fetch_sub(1, Ordering::SeqCst);
        Ok(Findings::default())
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
        let datasets = Datasets::open(folder.path().join("datasets"), &data, program);
        let mut guard = Guard::new(address.parse().expect("an address"), &[], token);
        guard.know(&routes());
        guard.paces = paces;
        let datasets = Arc::new(datasets.expect("opened"));
        let app = Arc::new(App {
            discretion: Discretion::new(folder.path(), datasets.registered()),
            jobs,
            adapters: Arc::new(Adapters::fixed(vec![described(0, "llvmpipe", "cpu")])),
            datasets,
            guard,
            examiner,
            data_dir: folder.path().into(),
            streams: Arc::new(Semaphore::new(2)),
            helpers: Arc::new(Semaphore::new(2)),
            document: openapi(&routes()),
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

/// Every address there is: the routes, the page, and what is neither.
fn everything() -> Vec<(Method, String)> {
    let mut all: Vec<(Method, String)> =
        routes().iter().map(|route| (route.method.clone(), path(route))).collect();
    for path in ["/", "/runs/abc", "/assets/none.js", "/api/none", "/api/runs/1/none"] {
        all.push((Method::GET, path.into()));
    }
    all.push((Method::PUT, "/api/runs".into()));
    all.push((Method::POST, "/".into()));
    all
}

fn changes() -> impl Iterator<Item = Route> {
    routes().into_iter().filter(|route| route.method != Method::GET)
}

#[tokio::test]
async fn no_address_answers_a_foreign_host() {
    let server = Server::here();
    for (method, path) in everything() {
        for host in [
            "evil.example",
            "evil.example:7878",
            "127.0.0.1:80",
            "localhost",
            "127.0.0.1.evil.example:7878",
        ] {
            let answer = server.send(&method, &path, &[("host", host)], Body::empty()).await;
            let got = (answer.status, answer.code());
            assert_eq!(
                got,
                (StatusCode::FORBIDDEN, "foreign_host".into()),
                "{method} {path} {host}"
            );
        }
        let answer = server.send(&method, &path, &[("host", "")], Body::empty()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {path} without a host");
    }
}

#[tokio::test]
async fn every_answer_tells_the_browser_the_rules() {
    let server = Server::here();
    for (method, path) in everything() {
        for host in [HOST, "evil.example"] {
            let answer = server.send(&method, &path, &[("host", host)], Body::empty()).await;
            let of = |name: &str| {
                answer.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
            };
            let policy = of("content-security-policy");
            assert!(policy.starts_with("default-src 'self'"), "{method} {path}: {policy}");
            assert!(policy.contains("frame-ancestors 'none'"));
            let scripts =
                policy.split("; ").find(|part| part.starts_with("script-src")).expect("a rule");
            assert_eq!(scripts, "script-src 'self'");
            assert_eq!(of("x-content-type-options"), "nosniff", "{method} {path}");
            assert_eq!(of("x-frame-options"), "DENY");
            assert_eq!(of("referrer-policy"), "no-referrer");
            assert!(answer.headers.get("access-control-allow-origin").is_none());
        }
    }
}

#[tokio::test]
async fn only_our_own_page_changes_anything() {
    let server = Server::here();
    for route in changes() {
        let path = path(&route);
        let kind = ("content-type", route.types()[0]);
        for foreign in [
            ("origin", "null"),
            ("origin", "http://evil.example"),
            ("origin", "http://localhost:7879"),
            ("origin", "http://127.0.0.1"),
            ("origin", "file://"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            // A browser that says where it comes from says its origin as well.
            ("sec-fetch-site", "same-origin"),
        ] {
            let answer = server.send(&route.method, &path, &[kind, foreign], Body::empty()).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{} {path} {foreign:?}", route.method);
        }
        for own in [
            vec![],
            vec![("origin", "http://127.0.0.1:7878")],
            vec![("origin", "http://127.0.0.1:7878"), ("sec-fetch-site", "same-origin")],
        ] {
            let headers: Vec<_> = own.iter().copied().chain([kind]).collect();
            let answer = server.send(&route.method, &path, &headers, Body::empty()).await;
            assert_ne!(answer.status, StatusCode::FORBIDDEN, "{} {path} {own:?}", route.method);
        }
    }
}

#[tokio::test]
async fn another_site_reads_nothing_but_may_link_to_the_page() {
    let server = Server::here();
    let gets = everything().into_iter().filter(|(method, _)| *method == Method::GET);
    for (method, path) in gets {
        let cross = ("sec-fetch-site", "cross-site");
        let answer = server.send(&method, &path, &[cross], Body::empty()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        let link = [cross, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        let answer = server.send(&method, &path, &link, Body::empty()).await;
        let is_page = !path.starts_with("/api") && path != "/healthz" && path != "/metrics";
        assert_eq!(answer.status != StatusCode::FORBIDDEN, is_page, "{path}");
    }
}

#[tokio::test]
async fn a_body_has_the_type_and_the_size_that_its_route_says() {
    let server = Server::here();
    for route in changes().filter(|route| route.method == Method::POST) {
        let path = path(&route);
        for kind in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ] {
            let answer = server
                .send(&route.method, &path, &[("content-type", kind)], Body::from("{}"))
                .await;
            assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path} {kind}");
        }
        let kind = ("content-type", route.types()[0]);
        let long = (route.cap + 1).to_string();
        let answer = server
            .send(&route.method, &path, &[kind, ("content-length", &long)], Body::empty())
            .await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        if route.cap <= 1 << 20 {
            // Without a length, as a stream.
            let pieces = (0..=route.cap / 4096).map(|_| Ok::<_, std::io::Error>(vec![b' '; 4096]));
            let body = Body::from_stream(tokio_stream::iter(pieces));
            let answer = server.send(&route.method, &path, &[kind], body).await;
            assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{path} as a stream");
        }
    }
}

#[tokio::test]
async fn a_server_for_others_wants_its_token_everywhere() {
    let server = Server::for_others();
    let open: Vec<&str> =
        routes().iter().filter(|route| route.open).map(|route| route.path).collect();
    assert_eq!(open, ["/healthz", "/api/session", "/api/session"]);
    let bearer = format!("Bearer {TOKEN}");
    for route in routes() {
        let path = path(&route);
        let kind = ("content-type", route.types()[0]);
        let without = server.send(&route.method, &path, &[kind], Body::empty()).await;
        let with = [kind, ("authorization", bearer.as_str())];
        let with = server.send(&route.method, &path, &with, Body::empty()).await;
        assert_ne!(with.status, StatusCode::UNAUTHORIZED, "{} {path}", route.method);
        if !route.open {
            assert_eq!(without.status, StatusCode::UNAUTHORIZED, "{} {path}", route.method);
        }
    }
    assert_eq!(server.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_token_is_exchanged_for_a_cookie() {
    let server = Server::for_others();
    let wrong = server.post("/api/session", json!({ "token": "x" })).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let right = server.post("/api/session", json!({ "token": TOKEN })).await;
    assert_eq!(right.status, StatusCode::NO_CONTENT);
    let cookie = right.headers["set-cookie"].to_str().expect("text").to_owned();
    assert!(
        cookie.contains("HttpOnly")
            && cookie.contains("SameSite=Strict")
            && !cookie.contains(TOKEN)
    );
    let pair = cookie.split(';').next().expect("a pair");
    let list = server.send(&Method::GET, "/api/runs", &[("cookie", pair)], Body::empty()).await;
    assert_eq!(list.status, StatusCode::OK);
    for _ in 0..10 {
        server.post("/api/session", json!({ "token": "x" })).await;
    }
    let late = server.post("/api/session", json!({ "token": "x" })).await;
    assert_eq!(late.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(late.headers.contains_key("retry-after"));
    // Who has it is let in, however often others behind the same address were wrong.
    let right = server.post("/api/session", json!({ "token": TOKEN })).await;
    assert_eq!(right.status, StatusCode::NO_CONTENT);
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    let list = server.send(&Method::GET, "/api/runs", &headers, Body::empty()).await;
    assert_eq!(list.status, StatusCode::OK);
}

#[tokio::test]
async fn the_document_has_every_route_and_every_reference() {
    let document = Server::here().get("/api/openapi.json").await.json();
    let mut count = 0;
    for route in routes() {
        let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
        assert!(operation["summary"].is_string(), "{} {}", route.method, route.path);
        count += 1;
    }
    let paths = document["paths"].as_object().expect("paths");
    let listed: usize = paths.values().map(|path| path.as_object().expect("methods").len()).sum();
    assert_eq!(listed, count);
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn a_run_goes_through_its_life_without_a_process() {
    let server = Server::here();
    let id = server.draft().await;
    let run = server.get(&format!("/api/runs/{id}")).await.json();
    assert_eq!((&run["state"], &run["name"]), (&"draft".into(), &"<b>a</b>".into()));
    assert_eq!(run["stages"][0]["stage"], "wide");
    assert_eq!(run["blocks"][3]["teacher_width"], 40);
    assert_eq!(run["config"]["data"]["train_count"], 256);
    let toml = server.get(&format!("/api/runs/{id}/config.toml")).await;
    assert!(toml.text.contains("train_count = 256"));
    let verb = async |verb: &str| server.post(&format!("/api/runs/{id}/{verb}"), json!({})).await;
    assert_eq!(verb("pause").await.status, StatusCode::CONFLICT);
    assert_eq!(verb("start").await.json()["position"], 0);
    let copy = verb("clone").await;
    let copy_id = copy.json()["id"].as_str().expect("an id").to_owned();
    server.post(&format!("/api/runs/{copy_id}/start"), json!({})).await;
    let moved = server.post(&format!("/api/runs/{copy_id}/move"), json!({ "before": id })).await;
    assert_eq!(moved.json()["queue"], json!([copy_id, id]));
    assert_eq!(server.get("/api/runs").await.json()["queue"], json!([copy_id, id]));
    assert_eq!(verb("pause").await.json()["state"], "paused");
    assert_eq!(verb("resume").await.json()["position"], 0);
    assert_eq!(verb("stop").await.json()["state"], "stopped");
    assert_eq!(verb("cancel").await.json()["state"], "cancelled");
    assert_eq!(verb("resume").await.status, StatusCode::CONFLICT);
    let compared = server.get(&format!("/api/compare?runs={id},{copy_id}")).await.json();
    assert_eq!(compared["differences"], json!([]));
    let gone = server.send(&Method::DELETE, &format!("/api/runs/{id}"), &[], Body::empty()).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get(&format!("/api/runs/{id}")).await.status, StatusCode::NOT_FOUND);
}

/// What a teacher's folder says of its pictures is in the configuration that a run is made with, and is not contradicted.
#[tokio::test]
async fn a_run_takes_over_what_its_teacher_says_of_pictures() {
    let server = Server::here();
    let id = server.draft().await;
    let mlp = Mlp { hidden: vec![12, 12, 12, 12], blocks: vec![1; 4], ..Mlp::default() };
    let config = ModelConfig {
        architecture: "mlp".into(),
        model: Model::Mlp(mlp),
        widened: None,
        channels: 1,
        size: 16,
        mean: vec![0.375],
        std: vec![0.25],
        interpolation: Interpolation::Area,
        crop: 0.875,
        labels: (0..10).map(|class| class.to_string()).collect(),
    };
    let weights = fresh(&config.network(), 1).expect("weights");
    let model = ModelFolder { weights, config, merge: None, card: String::new() };
    let folder = server.folder.path().join("runs").join(&id);
    assert!(folder.is_dir(), "the run's directory");
    model.write(&folder.join("artifacts")).expect("written");

    let with = |more: Value| {
        let mut set = small();
        set["teacher.from"] = json!(format!("run:{id}"));
        set["methods"] = json!(["kd"]);
        for (key, value) in more.as_object().expect("keys") {
            set[key] = value.clone();
        }
        json!({ "preset": "demo", "set": set, "start": false })
    };
    let made = server.post("/api/runs", with(json!({}))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json()["id"].as_str().expect("an id").to_owned();
    let toml = server.get(&format!("/api/runs/{made}/config.toml")).await.text;
    let own =
        std::fs::read_to_string(server.folder.path().join("runs").join(&made).join("config.toml"));
    for text in [toml, own.expect("the run's own")] {
        for line in [
            "size = 16",
            "crop = 0.875",
            "interpolation = \"area\"",
            "mean = [0.375]",
            "std = [0.25]",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
    let shown = server.post("/api/preflight", with(json!({}))).await.json();
    assert!(shown["notes"].to_string().contains("data.crop = 0.875"), "{shown}");
    let refused = server.post("/api/runs", with(json!({ "data.crop": 1.0 }))).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.json()["field"], "data.crop", "{}", refused.text);
}

#[tokio::test]
async fn a_bad_run_is_refused_with_its_field() {
    let server = Server::here();
    for (body, field) in [
        (json!({}), "preset"),
        (json!({ "preset": "../../etc/passwd" }), "preset"),
        (json!({ "preset": "demo", "set": { "tune.lr": -1 } }), "tune.lr"),
        (json!({ "preset": "demo", "set": { "tune.lrr": 1 } }), "tune.lrr"),
        (
            json!({ "preset": "demo", "set": { "data.kind": "folder", "data.path": "/etc" } }),
            "data.path",
        ),
        (
            json!({ "preset": "demo", "set": { "data.kind": "folder", "data.path": "dataset:../x" } }),
            "data.path",
        ),
        (json!({ "preset": "demo", "set": { "teacher.from": "/etc/passwd" } }), "teacher.from"),
        (json!({ "preset": "demo", "set": { "device": "9" } }), "device"),
        (json!({ "preset": "demo", "set": { "data.train_count": 2000000 } }), "data.train_count"),
        (json!({ "preset": "demo", "name": "a\u{7}b" }), "name"),
        (json!({ "preset": "demo", "name": "a\u{202e}gpj" }), "name"),
        (json!({ "preset": "demo", "name": "NUL" }), "name"),
        (json!({ "preset": "demo", "name": "com1.txt" }), "name"),
        (json!({ "preset": "demo", "name": "a." }), "name"),
    ] {
        let answer = server.post("/api/runs", body.clone()).await;
        assert!(answer.status.is_client_error(), "{body}: {}", answer.text);
        assert_eq!(answer.json()["field"], field, "{body}: {}", answer.text);
        if field != "name" {
            let shown = server.post("/api/preflight", body.clone()).await;
            assert_eq!(
                (shown.status, &shown.json()["ok"]),
                (StatusCode::OK, &false.into()),
                "{body}"
            );
            assert_eq!(shown.json()["problems"][0]["field"], field);
        }
    }
    assert_eq!(server.get("/api/runs").await.json()["runs"], json!([]));
    let unknown = server.post("/api/runs", json!({ "preset": "demo", "files": ["x"] })).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn clients_name_no_files() {
    let server = Server::here();
    let id = server.draft().await;
    for name in [
        "..%2Fconfig.toml",
        "%2e%2e%2f%2e%2e%2ftaper.sqlite",
        "run.lock",
        "..%5Cconfig.toml",
        "model.safetensors%00",
        "%2Fetc%2Fpasswd",
        "",
    ] {
        let answer = server.get(&format!("/api/runs/{id}/artifacts/{name}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{name}");
    }
    for path in [
        "/api/runs/..",
        "/api/runs/..%2f..",
        "/api/runs/%2e%2e/config.toml",
        "/api/datasets/..%2f../preview",
        "/api/datasets/procedural/preview/..%2f../0",
        "/../Cargo.toml",
        "/assets/..%2f..%2fCargo.toml",
    ] {
        let answer = server.get(path).await;
        assert!(!answer.text.contains("[package]"), "{path}");
        assert!(
            answer.status == StatusCode::NOT_FOUND || answer.text.contains("<html"),
            "{path} {}",
            answer.status
        );
    }
    let member = server.get(&format!("/api/runs/{id}/artifacts.zip?member=../..")).await;
    assert_eq!(member.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn so_many_streams_are_open_and_no_more() {
    let server = Server::here();
    let open = async || {
        let request = Request::builder().uri("/api/events").header("host", HOST);
        let request = request.body(Body::empty()).expect("a request");
        server.router.clone().oneshot(request).await.expect("infallible")
    };
    let (first, second) = (open().await, open().await);
    assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));
    assert_eq!(open().await.status(), StatusCode::TOO_MANY_REQUESTS);
    drop(first);
    // The task that writes it sees that its reader is gone.
    for _ in 0..100 {
        if open().await.status() == StatusCode::OK {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("a stream that was closed still counts");
}

#[tokio::test]
async fn configurations_go_to_toml_and_back() {
    let server = Server::here();
    let presets = server.get("/api/presets").await.json();
    for preset in presets["presets"].as_array().expect("a list") {
        let toml = server.post("/api/config/toml", json!({ "config": preset["config"] })).await;
        let back = server.post("/api/config/parse", toml.json()).await.json();
        assert_eq!(back["config"], preset["config"], "{}", preset["name"]);
    }
    let bad = server.post("/api/config/parse", json!({ "toml": "[tune]\nlr = \n" })).await;
    assert!(
        bad.json()["message"].as_str().is_some_and(|text| text.contains("line:2")),
        "{}",
        bad.text
    );
}

#[tokio::test]
async fn a_teacher_that_is_needed_is_not_deleted() {
    let server = Server::here();
    let teacher = server.draft().await;
    let mut set = small();
    set["teacher.from"] = format!("run:{teacher}").into();
    let run = server.app.jobs.store.read(|db| Run::find(db, &teacher));
    let mut run = run.expect("read").expect("there");
    // It has no weights to examine: the pupil is put beside it as the store has it.
    run.config += &format!("\n[teacher]\nfrom = \"run:{teacher}\"\n");
    let pupil = crate::store::New {
        id: "pupil".into(),
        name: "my pupil".into(),
        config: format!("[teacher]\nfrom = \"run:{teacher}\"\n"),
        config_hash: String::new(),
        preset: None,
        facts: run.facts,
        view: run.view,
    };
    server.app.jobs.store.write(|db| Run::insert(db, &pupil)).expect("inserted");
    let place = format!("/api/runs/{teacher}");
    let delete = async || server.send(&Method::DELETE, &place, &[], Body::empty()).await;
    for verb in ["", "start", "stop"] {
        if !verb.is_empty() {
            let told = server.post(&format!("/api/runs/pupil/{verb}"), json!({})).await;
            assert_eq!(told.status, StatusCode::OK, "{}", told.text);
        }
        let refused = delete().await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{verb}: {}", refused.text);
        assert!(refused.text.contains("`my pupil` (pupil)"), "{}", refused.text);
        assert_eq!(server.get(&place).await.status, StatusCode::OK);
    }
    server.post("/api/runs/pupil/cancel", json!({})).await;
    assert_eq!(delete().await.status, StatusCode::NO_CONTENT);
    let made = server.post("/api/runs", json!({ "preset": "demo", "set": set })).await;
    assert_eq!((made.status.as_u16(), &made.json()["field"]), (422, &"teacher.from".into()));
}

#[tokio::test]
async fn so_many_runs_are_compared_and_each_once() {
    let server = Server::here();
    let id = server.draft().await;
    let begun = std::time::Instant::now();
    let one = server.get(&format!("/api/compare?runs={id}")).await;
    let alone = begun.elapsed();
    let begun = std::time::Instant::now();
    let many = vec![id.as_str(); 3000].join(",");
    let same = server.get(&format!("/api/compare?runs={many}")).await;
    assert_eq!((same.status, same.text), (StatusCode::OK, one.text));
    assert!(begun.elapsed() < 100 * alone, "{:?} and {alone:?}", begun.elapsed());
    let ids: Vec<String> = (0..101).map(|n| format!("{id}{n}")).collect();
    let refused = server.get(&format!("/api/compare?runs={}", ids.join(","))).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (422, &"runs".into()));
}

/// A program that says these words to whoever runs it.
#[cfg(unix)]
fn program(folder: &std::path::Path, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("made");
    path
}

#[cfg(unix)]
#[tokio::test]
async fn no_answer_tells_where_things_lie() {
    let outside = tempfile::tempdir().expect("folder");
    let flowers = outside.path().join("flowers");
    std::fs::create_dir_all(flowers.join("train/rose")).expect("made");
    std::fs::write(flowers.join("train/rose/1.png"), "no picture").expect("written");
    // What is asked of it is in its refusal, paths and all.
    let program = program(outside.path(), "echo \"error: cannot read $*\" >&2; exit 1");
    let data = [format!("flowers={}", flowers.display())];
    let server =
        Server::with(HOST, None, Parts { data: data.to_vec(), program, ..Parts::default() });
    let secrets = [server.folder.path(), outside.path()].map(|path| path.display().to_string());
    let check = |what: &str, text: &str| {
        for secret in &secrets {
            assert!(!text.contains(secret), "{what}: {text}");
        }
    };

    // A run of whom everything speaks of paths.
    let id = server.draft().await;
    let directory = server.folder.path().join("runs").join(&id);
    let told = format!(
        "cannot read `{}/a` or `{}/teachers/0` or `{}/x`",
        flowers.display(),
        directory.display(),
        server.folder.path().display()
    );
    std::fs::write(directory.join("stderr.log"), format!("error: {told}\n")).expect("written");
    let run = server.app.jobs.store.write(|db| -> rusqlite::Result<Run> {
        let mut run = Run::find(db, &id)?.expect("there");
        run.error = Some(told.clone());
        let event = engine::event::Event::Warning { message: told.clone() };
        run.view.apply(&engine::event::Entry { seq: 0, time: 0.0, event });
        run.save(db)?;
        Ok(run)
    });
    let run = run.expect("written");
    let clean = format!("cannot read `dataset:flowers/a` or `run:{id}/teachers/0` or `DATA_DIR/x`");
    let output = server.get(&format!("/api/runs/{id}/output")).await;
    assert_eq!(output.text, format!("error: {clean}\n"));
    for path in ["/api/runs".into(), format!("/api/runs/{id}")] {
        assert!(server.get(&path).await.text.contains(&clean), "{path}");
    }
    let request = Request::builder().uri("/api/events").header("host", HOST);
    let request = request.body(Body::empty()).expect("a request");
    let mut stream = server.router.clone().oneshot(request).await.expect("infallible").into_body();
    server.app.jobs.say_run(&run);
    let mut heard = String::new();
    while !heard.contains("dataset:flowers/a") {
        let frame =
            http_body_util::BodyExt::frame(&mut stream).await.expect("more").expect("whole");
        heard += &String::from_utf8_lossy(frame.data_ref().expect("data"));
    }
    check("the stream", &heard);

    // A model whose file is a folder, and logs that are none.
    std::fs::create_dir_all(directory.join("artifacts/SHA256SUMS")).expect("made");
    std::fs::create_dir_all(directory.join("events.jsonl")).expect("made");
    let bad = json!({ "preset": "demo", "set": {
        "data.kind": "folder", "data.path": "dataset:flowers", "methods": ["vanilla"]
    } });
    let pupil = json!({ "preset": "demo", "set": { "teacher.from": format!("run:{id}") } });
    let mut seen = 0;
    for body in [&bad, &pupil] {
        for path in ["/api/runs", "/api/preflight"] {
            let refused = server.post(path, body.clone()).await;
            check(path, &refused.text);
            seen += usize::from(
                refused.text.contains("dataset:flowers") || refused.text.contains("run:"),
            );
        }
    }
    assert!(seen >= 2, "the refusals speak of files: {seen}");
    for broken in [false, true] {
        for route in routes() {
            let values = [
                ("{id}", id.as_str()),
                ("{name}", "flowers"),
                ("{split}", "train"),
                ("{index}", "0"),
            ];
            let path = values.iter().fold(route.path.to_owned(), |path, (name, value)| {
                let value = if path.contains("artifacts") && *name == "{name}" {
                    "config.json"
                } else {
                    value
                };
                path.replace(name, value)
            });
            let path = match route.path {
                "/api/compare" => format!("{path}?runs={id}"),
                "/api/datasets" if route.method == Method::POST => format!("{path}?name=a"),
                _ => path,
            };
            if route.method == Method::DELETE && !broken {
                continue;
            }
            let kind = ("content-type", route.types()[0]);
            let body = if route.types()[0] == "application/json" { "{}" } else { "PK" };
            let answer = server.send(&route.method, &path, &[kind], Body::from(body)).await;
            check(&format!("{} {path}", route.method), &answer.text);
            for (name, value) in &answer.headers {
                check(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
            }
        }
        // All that is left of the run is a file.
        if !broken {
            std::fs::remove_dir_all(&directory).expect("removed");
            std::fs::write(&directory, "").expect("written");
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn every_answer_is_of_a_type_that_the_document_has() {
    let outside = tempfile::tempdir().expect("folder");
    let surveyed = json!({
        "classes": ["a"], "train": { "counts": [1], "samples": [[0, 0]] },
        "test": { "counts": [0], "samples": [] }
    });
    let program =
        program(outside.path(), &format!("echo x > \"$3/train-0.png\"; echo '{surveyed}'"));
    let server = Server::with(HOST, None, Parts { program, ..Parts::default() });
    let document = server.get("/api/openapi.json").await.json();
    let id = server.draft().await;
    let artifacts = server.folder.path().join("runs").join(&id).join("artifacts");
    std::fs::create_dir(&artifacts).expect("made");
    for (name, _) in files::NAMES {
        std::fs::write(artifacts.join(name), "x").expect("written");
    }
    std::fs::remove_file(artifacts.join(engine::formats::sums::NAME)).expect("removed");
    engine::formats::sums::write(&artifacts).expect("written");

    let mut of_files = std::collections::BTreeSet::new();
    let mut good = 0;
    // What deletes comes last.
    let (last, first): (Vec<_>, Vec<_>) =
        routes().into_iter().partition(|route| route.method == Method::DELETE);
    for route in first.into_iter().chain(last) {
        let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
        let is_file = route.path.ends_with("/artifacts/{name}");
        let names: Vec<&str> = match is_file {
            true => files::NAMES.iter().map(|(name, _)| *name).collect(),
            false if route.method == Method::DELETE => vec!["mine"],
            false => vec!["procedural"],
        };
        for name in names {
            let path = route.path.replace("{id}", &id).replace("{name}", name);
            let path = path.replace("{split}", "train").replace("{index}", "0");
            let path = match (route.path, &route.method) {
                ("/api/compare", _) => format!("{path}?runs={id}"),
                ("/api/datasets", &Method::POST) => format!("{path}?name=mine"),
                _ => path,
            };
            let body = match route.path {
                "/api/session" => json!({ "token": "x" }),
                "/api/runs" | "/api/preflight" => {
                    json!({ "preset": "demo", "set": small(), "start": false })
                }
                "/api/config/toml" => json!({ "config": {} }),
                "/api/config/parse" => json!({ "toml": "" }),
                path if path.ends_with("/move") => json!({ "before": null }),
                _ => json!({}),
            };
            let kind = ("content-type", route.types()[0]);
            let body = Body::from(body.to_string());
            let answer = server.send(&route.method, &path, &[kind], body).await;
            let status = answer.status.as_u16().to_string();
            let responses = &operation["responses"];
            let response = responses.get(&status).unwrap_or(&responses["default"]);
            let declared: Vec<&str> = match response["content"].as_object() {
                Some(content) => content.keys().map(String::as_str).collect(),
                None => Vec::new(),
            };
            let given = answer.headers.get(header::CONTENT_TYPE);
            let given =
                given.map(|kind| kind.to_str().expect("text").split(';').next().expect("one"));
            assert_eq!(given.is_some(), !declared.is_empty(), "{} {path} {status}", route.method);
            if let Some(given) = given {
                assert!(declared.contains(&given), "{} {path} {status}: {given}", route.method);
                good += usize::from(answer.status.is_success());
            }
            if is_file {
                assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text);
                of_files.insert(given.expect("a type").to_owned());
                let declared = declared.iter().map(|kind| (*kind).to_owned());
                assert!(of_files.is_subset(&declared.collect()));
            }
        }
    }
    assert_eq!(of_files, files::kinds().into_iter().map(str::to_owned).collect());
    assert!(good > routes().len() - 8, "most of them are answered in full: {good}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_leaves_no_more_helpers_than_are_allowed() {
    let slow = Slow::default();
    let examiner = Box::new(slow.clone());
    let server = Server::with(HOST, None, Parts { examiner, ..Parts::default() });
    let (now, most, done) = &*slow.shared;
    let body = || Body::from(json!({ "preset": "demo" }).to_string());
    for _ in 0..10 {
        let asked = server.send(&Method::POST, "/api/preflight", &[], body());
        // The client has no patience, and its request is dropped.
        drop(tokio::time::timeout(Duration::from_millis(50), asked).await);
    }
    assert_eq!((now.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (2, 2));
    // A list of what is known waits for nobody.
    let list = server.get("/api/devices");
    let list = tokio::time::timeout(Duration::from_secs(20), list).await.expect("an answer");
    assert_eq!(list.status, StatusCode::OK, "{}", list.text);
    done.store(true, Ordering::SeqCst);
    let shown = server.send(&Method::POST, "/api/preflight", &[], body()).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_whose_client_has_gone_gives_its_permit_back() {
    let slow = Slow { obeys: true, ..Slow::default() };
    let examiner = Box::new(slow.clone());
    let server = Server::with(HOST, None, Parts { examiner, ..Parts::default() });
    let (now, most, _) = &*slow.shared;
    for _ in 0..10 {
        let body = Body::from(json!({ "preset": "demo" }).to_string());
        let asked = server.send(&Method::POST, "/api/preflight", &[], body);
        drop(tokio::time::timeout(Duration::from_millis(50), asked).await);
    }
    let idle = async {
        while now.load(Ordering::SeqCst) > 0 || server.app.helpers.available_permits() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), idle).await.expect("nobody is at it");
    assert!(most.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn sixty_bytes_are_refused_by_key_before_anything_is_built() {
    let server = Server::here();
    for (config, field) in [
        (json!({ "model": { "arch": "resnet", "blocks": [1_000_000] } }), "model.blocks[0]"),
        (json!({ "model": { "arch": "resnet", "blocks": vec![900; 8] } }), "model.blocks"),
        (json!({ "model": { "arch": "resnet", "base": 65536 } }), "model.base"),
        (
            json!({ "model": { "arch": "mlp", "hidden": [4_294_967_295u32], "blocks": [1] } }),
            "model.hidden[0]",
        ),
        (json!({ "data": { "size": 4096 } }), "wide.batch"),
        (json!({ "seeds": (0..2000).collect::<Vec<u32>>() }), "seeds"),
    ] {
        let begun = std::time::Instant::now();
        let body = json!({ "config": config, "start": false });
        let refused = server.post("/api/runs", body.clone()).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}: {}", refused.text);
        assert_eq!(refused.json()["field"], field, "{}", refused.text);
        let shown = server.post("/api/preflight", body).await.json();
        assert_eq!(shown["problems"][0]["field"], field, "{shown}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{field}");
    }
}
