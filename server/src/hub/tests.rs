//! A Hub on this machine: what it serves, and what happens when it does that badly.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use engine::text::hex;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Address;
use super::download::Hub;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How a file is served.
#[derive(Debug, Clone, Default)]
struct Served {
    bytes: Vec<u8>,
    /// Elsewhere, as large files are; then this is the path there.
    elsewhere: Option<String>,
    /// An ETag in the place of the SHA-256 of the bytes.
    etag: Option<String>,
    /// Bytes after which the connection ends.
    cut: Option<usize>,
    /// A size in the place of the right one.
    size: Option<usize>,
}

/// Method, path and whether there was a token.
type Asked = (String, String, bool);

/// A server that answers by a table, and remembers what it was asked.
struct Server {
    url: String,
    files: Arc<Mutex<BTreeMap<String, Served>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let files: Arc<Mutex<BTreeMap<String, Served>>> = Arc::default();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (served, heard) = (files.clone(), asked.clone());
        // It ends with the tests.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
                let first = lines.next().and_then(Result::ok).unwrap_or_default();
                let headers: Vec<String> =
                    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let mut words = first.split(' ').map(str::to_owned);
                let (method, path) =
                    (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                let token = headers
                    .iter()
                    .any(|line| line.eq_ignore_ascii_case("authorization: bearer t0"));
                heard.lock().expect("a lock").push((method.clone(), path.clone(), token));
                let file = served.lock().expect("a lock").get(&path).cloned();
                drop(answer(&mut stream, &method, file));
            }
        });
        Self { url, files, asked }
    }

    fn put(&self, path: &str, served: Served) {
        self.files.lock().expect("a lock").insert(path.into(), served);
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().expect("a lock"))
    }
}

fn answer(stream: &mut impl Write, method: &str, file: Option<Served>) -> std::io::Result<()> {
    let Some(Served { bytes, elsewhere, etag, cut, size }) = file else {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    let size = size.unwrap_or(bytes.len());
    let etag = etag.unwrap_or_else(|| hex(&Sha256::digest(&bytes)));
    if let Some(to) = elsewhere {
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nX-Linked-ETag: \"{etag}\"\r\nX-Linked-Size: {size}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nETag: \"{etag}\"\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    )?;
    if method != "HEAD" {
        stream.write_all(&bytes[..cut.unwrap_or(bytes.len())])?;
    }
    Ok(())
}

fn plain(bytes: &[u8]) -> Served {
    Served { bytes: bytes.into(), ..Served::default() }
}

fn file(name: &str) -> String {
    format!("/o/n/resolve/{COMMIT}/{name}")
}

/// A model of these files, and a Hub that has it.
fn model(files: &[(&str, &[u8])]) -> (Server, tempfile::TempDir, Hub) {
    let server = Server::new();
    let siblings: Vec<_> = files.iter().map(|(name, _)| json!({ "rfilename": name })).collect();
    let info = json!({ "sha": COMMIT, "siblings": siblings }).to_string();
    for revision in ["main", "v1", "refs%2Fpr%2F1", COMMIT] {
        server.put(&format!("/api/models/o/n/revision/{revision}"), plain(info.as_bytes()));
    }
    for (name, bytes) in files {
        server.put(&file(name), plain(bytes));
    }
    let cache = tempfile::tempdir().expect("a folder");
    let hub = Hub {
        endpoint: format!("{}/", server.url),
        cache: Some(cache.path().into()),
        token: Some("t0".into()),
        offline: false,
    };
    (server, cache, hub)
}

const FILES: [(&str, &[u8]); 4] = [
    ("config.json", b"{}"),
    ("vocab.txt", b"[PAD]\n"),
    ("README.md", b"not needed"),
    ("model.safetensors", b"weights"),
];

fn at(revision: &str) -> Address {
    Address { repo: "o/n".into(), revision: revision.into() }
}

#[test]
fn a_model_is_laid_out_as_the_hubs_own_programs_have_it() {
    let (server, cache, hub) = model(&FILES);
    let folder = hub.folder(&at("main")).expect("a folder");
    assert_eq!(folder, cache.path().join("models--o--n/snapshots").join(COMMIT));
    for (name, bytes) in FILES.iter().filter(|(name, _)| *name != "README.md") {
        assert_eq!(fs::read(folder.join(name)).expect("read"), *bytes, "{name}");
        #[cfg(unix)]
        assert_eq!(
            fs::read_link(folder.join(name)).expect("a link"),
            std::path::Path::new("../../blobs").join(hex(&Sha256::digest(bytes)))
        );
    }
    assert!(!folder.join("README.md").exists());
    let main = cache.path().join("models--o--n/refs/main");
    assert_eq!(fs::read_to_string(main).expect("read"), COMMIT);
    let asked = server.asked();
    assert!(asked.iter().all(|(_, _, token)| *token), "{asked:?}");

    // Again only the commit is asked for; by the commit itself, and offline, nothing is.
    assert_eq!(hub.folder(&at("main")).expect("again"), folder);
    assert_eq!(server.asked().len(), 1);
    assert_eq!(hub.folder(&at(COMMIT)).expect("by commit"), folder);
    let offline = Hub { offline: true, ..hub };
    assert_eq!(offline.folder(&at("main")).expect("offline"), folder);
    assert_eq!(server.asked(), []);
    let said = offline.folder(&at("v1")).expect_err("not there").to_string();
    assert_eq!(said, "HF_HUB_OFFLINE is set, and the cache has no such model");
    // Another revision of the same commit, of a name with slashes.
    let hub = Hub { offline: false, ..offline };
    assert_eq!(hub.folder(&at("refs/pr/1")).expect("a pull request"), folder);
    // Where nobody answers, what was there before.
    let gone = Hub { endpoint: "http://127.0.0.1:9".into(), ..hub };
    assert_eq!(gone.folder(&at("main")).expect("as before"), folder);
    let said = gone.folder(&at("v1")).expect_err("never seen").to_string();
    assert!(said.starts_with("the Hub cannot be reached"), "{said}");
}

/// Large files lie with others, who are not told the token; and in several files by an index.
#[test]
fn shards_come_from_elsewhere_without_the_token() {
    let index = json!({ "weight_map": {
        "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors" } });
    let index = index.to_string();
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let (server, _cache, hub) = model(&[
        ("config.json", b"{}"),
        ("model.safetensors.index.json", index.as_bytes()),
        (names[0], b"one"),
        (names[1], b"two"),
    ]);
    let storage = Server::new();
    storage.put("/blob", plain(b"two"));
    // Another host by its name.
    let elsewhere = format!("{}/blob", storage.url.replace("127.0.0.1", "localhost"));
    let two = Served { bytes: b"two".into(), elsewhere: Some(elsewhere), ..Served::default() };
    server.put(&file(names[1]), two);
    let folder = hub.folder(&at("main")).expect("a folder");
    assert_eq!(names.map(|name| fs::read(folder.join(name)).expect("read")), [b"one", b"two"]);
    assert_eq!(storage.asked(), [("GET".into(), "/blob".into(), false)]);

    let lies = json!({ "weight_map": { "a": "../../x.safetensors" } }).to_string();
    let (_server, cache, hub) =
        model(&[("config.json", b"{}"), ("model.safetensors.index.json", lies.as_bytes())]);
    let said = hub.folder(&at("main")).expect_err("a path").to_string();
    assert!(said.contains("which is no name"), "{said}");
    assert!(!cache.path().join("models--o--n/refs").exists());
}

/// A download that is not whole leaves nothing that could be taken for the model, and the next one goes on.
#[test]
fn a_broken_download_is_refused_and_leaves_no_model() {
    let weights = file("model.safetensors");
    let bad = |served: Served, words: &[&str]| {
        let (server, cache, hub) = model(&FILES);
        server.put(&weights, served);
        let said = hub.folder(&at("main")).expect_err("broken").to_string();
        assert!(words.iter().all(|word| said.contains(word)) && !said.contains('\n'), "{said}");
        let kept = cache.path().join("models--o--n");
        assert!(!kept.join("refs").exists());
        assert!(!kept.join("snapshots").join(COMMIT).join("model.safetensors").exists());
        // The two small files, and nothing half of the third.
        assert_eq!(fs::read_dir(kept.join("blobs")).expect("a folder").count(), 2);
        let offline = Hub { offline: true, ..hub };
        offline.folder(&at("main")).expect_err("no model");
        let hub = Hub { offline: false, ..offline };
        server.put(&weights, plain(b"weights"));
        server.asked();
        let folder = hub.folder(&at("main")).expect("whole");
        assert_eq!(fs::read(folder.join("model.safetensors")).expect("read"), b"weights");
        let again = server.asked();
        assert!(again.iter().all(|(_, path, _)| !path.ends_with("vocab.txt")), "{again:?}");
    };
    let good = plain(b"weights");
    bad(Served { cut: Some(3), ..good.clone() }, &["model.safetensors", "3 bytes"]);
    bad(Served { etag: Some("0".repeat(64)), ..good.clone() }, &["other bytes than its SHA-256"]);
    bad(Served { etag: Some("../../x".into()), ..good.clone() }, &["has no ETag"]);
    let storage = Server::new();
    storage.put("/blob", plain(b"weights"));
    let elsewhere = Some(format!("{}/blob", storage.url));
    let moved = Served { elsewhere, ..good };
    bad(Served { size: Some(9), ..moved }, &["gave 7 bytes where 9 were announced"]);
}

#[test]
fn what_the_hub_has_not_is_said() {
    let (server, _cache, hub) = model(&FILES[..3]);
    let said = |hub: &Hub, revision: &str| {
        let problem = hub.folder(&at(revision)).expect_err("refused");
        (problem.to_string(), hub.hint(&problem))
    };
    assert_eq!(said(&hub, "main").0, "the model has no model.safetensors");
    let (problem, hint) = said(&hub, "v9");
    assert!(problem.ends_with("/api/models/o/n/revision/v9 answers 404 Not Found"), "{problem}");
    assert!(hint.contains("HF_TOKEN may read"), "{hint}");
    let hub = Hub { token: None, ..hub };
    assert!(said(&hub, "v9").1.contains("wants HF_TOKEN"));
    // A file that is listed and not there.
    let (other, _cache, hub) = model(&FILES);
    other.files.lock().expect("a lock").remove(&file("vocab.txt"));
    assert!(said(&hub, "main").0.ends_with("vocab.txt answers 404 Not Found"));
    for (info, words) in [
        ("[]", "tells of no model"),
        (r#"{"sha":"../..","siblings":[]}"#, "\"../..\" is no commit"),
    ] {
        server.put("/api/models/o/n/revision/v1", plain(info.as_bytes()));
        let hub = Hub { endpoint: server.url.clone(), ..Hub::of_environment() };
        let cache = tempfile::tempdir().expect("a folder");
        let hub = Hub { cache: Some(cache.path().into()), offline: false, ..hub };
        let said = said(&hub, "v1").0;
        assert!(said.contains(words), "{said}");
    }
    let (_server, _cache, hub) =
        model(&[("config.json", b"{}"), ("pytorch_model.bin", b"a pickle")]);
    assert!(said(&hub, "main").0.contains("pytorch_model.bin alone, a pickle"));
}
