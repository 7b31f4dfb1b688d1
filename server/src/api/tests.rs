//! The rules that hold for every route, tried on every route there is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use engine::config::Config;
use engine::ops::AdapterKind;
use engine::plan::Target;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::guard::Guard;
use super::preflight::Examiner;
use super::routes::{Route, openapi};
use super::token::Token;
use super::{App, router, routes};
use crate::datasets::Datasets;
use crate::jobs::{Adapters, Jobs, described};
use crate::preflight::{Findings, examine};

const HOST: &str = "127.0.0.1:7878";
const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Looks in this process, at what a browser's device would allow.
struct Here;

impl Examiner for Here {
    fn examine(&self, config: &Config, _measured: bool) -> Result<Findings, String> {
        Ok(examine(config, None, &Target::web(AdapterKind::Cpu), false))
    }
}

/// Looks at nothing until it is let, and counts who is at it.
#[derive(Clone, Default)]
struct Slow(Arc<(AtomicUsize, AtomicUsize, AtomicBool)>);

impl Examiner for Slow {
    fn examine(&self, _: &Config, _: bool) -> Result<Findings, String> {
        let Slow(shared) = self;
        let (now, most, done) = &**shared;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        while !done.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
        now.fetch_sub(1, Ordering::SeqCst);
        Ok(Findings::default())
    }
}

struct Server {
    router: Router,
    _folder: tempfile::TempDir,
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
        Server::with(address, token, Box::new(Here))
    }

    fn with(address: &str, token: Option<Token>, examiner: Box<dyn Examiner>) -> Server {
        let folder = tempfile::tempdir().expect("folder");
        let (jobs, woken) = Jobs::open(folder.path()).expect("opened");
        let datasets = Datasets::open(folder.path().join("datasets"), &[], PathBuf::new());
        let mut guard = Guard::new(address.parse().expect("an address"), &[], token);
        guard.know(&routes());
        let app = Arc::new(App {
            jobs,
            adapters: Arc::new(Adapters::fixed(vec![described(0, "llvmpipe", "cpu")])),
            datasets: Arc::new(datasets.expect("opened")),
            guard,
            examiner,
            data_dir: folder.path().into(),
            streams: Arc::new(Semaphore::new(2)),
            helpers: Arc::new(Semaphore::new(2)),
            document: openapi(&routes()),
        });
        Server { router: router(&app), _folder: folder, _woken: woken }
    }

    fn here() -> Server {
        Server::new(HOST, None)
    }

    fn for_others() -> Server {
        Server::new("0.0.0.0:7878", Some(Token::of(TOKEN)))
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
    let late = server.post("/api/session", json!({ "token": TOKEN })).await;
    assert_eq!(late.status, StatusCode::TOO_MANY_REQUESTS);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_leaves_no_more_helpers_than_are_allowed() {
    let slow = Slow::default();
    let server = Server::with(HOST, None, Box::new(slow.clone()));
    let (now, most, done) = &*slow.0;
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
