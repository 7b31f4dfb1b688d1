//! Clients that send half of what they said, over real connections: they shut nobody out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::connections::{Grants, serve};
use super::pace::{Pace, Paces};
use super::tests::{HOST, Server, TOKEN};

const GRANTS: Grants = Grants {
    connections: 8,
    each: 8,
    headers: Duration::from_secs(20),
    unread: Duration::from_secs(20),
};
/// Long enough for a busy machine to answer, and shorter than any patience above.
const SOON: Duration = Duration::from_secs(5);

/// Serves at a port of this machine.
async fn served(server: &Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve(listener, server.router.clone(), GRANTS, std::future::pending()));
    address
}

fn request(line: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n");
    headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
    text + "\r\n"
}

async fn say(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("accepted");
    stream.write_all(text.as_bytes()).await.expect("written");
    stream
}

/// The head of the next answer; empty where the connection is closed. Its body, where it has a length, is read as well.
async fn answer(stream: &mut TcpStream, patience: Duration) -> String {
    let read = async {
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte).await {
                Ok(1) => text.push(byte[0]),
                _ => return String::new(),
            }
        }
        let mut text = String::from_utf8(text).expect("text").to_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a number"));
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("a body");
        text += &String::from_utf8_lossy(&body);
        text
    };
    timeout(patience, read).await.expect("an answer in time")
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn bearer() -> (&'static str, String) {
    ("Authorization", format!("Bearer {TOKEN}"))
}

/// A body that says it has a hundred bytes, and one of them.
fn half(path: &str) -> String {
    request(&format!("POST {path}"), &[JSON, ("Content-Length", "100")]) + "{"
}

fn small(time: Duration) -> Paces {
    Paces { small: Pace::whole(time), ..Paces::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_without_an_end_keep_nobody_out() {
    let (name, token) = bearer();
    for (server, path, own) in [
        (Server::here_at(small(Duration::from_secs(60))), "/api/runs", vec![]),
        (
            Server::for_others_at(small(Duration::from_secs(60))),
            "/api/session",
            vec![(name, token.as_str())],
        ),
    ] {
        let address = served(&server).await;
        let mut held = Vec::new();
        for _ in 0..3 * GRANTS.connections {
            held.push(say(address, &half(path)).await);
        }
        for _ in 0..3 {
            let mut own = say(address, &request("GET /api/runs", &own)).await;
            assert!(answer(&mut own, SOON).await.starts_with("http/1.1 200"), "{path}");
            held.push(own);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_shown_the_token_stays() {
    let server = Server::for_others_at(small(Duration::from_secs(60)));
    let address = served(&server).await;
    let (name, token) = bearer();
    let asks = request("GET /api/runs", &[(name, &token)]);
    let mut known = Vec::new();
    for _ in 0..GRANTS.connections / 2 {
        let mut stream = say(address, &asks).await;
        assert!(answer(&mut stream, SOON).await.starts_with("http/1.1 200"));
        known.push(stream);
    }
    let mut held = Vec::new();
    for _ in 0..4 * GRANTS.connections {
        // Some of them say nothing at all, or load the page.
        held.push(say(address, &half("/api/session")).await);
        held.push(TcpStream::connect(address).await.expect("accepted"));
        held.push(say(address, &request("GET /", &[])).await);
    }
    for stream in &mut known {
        stream.write_all(asks.as_bytes()).await.expect("still there");
        assert!(answer(stream, SOON).await.starts_with("http/1.1 200"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_has_its_time() {
    let server = Server::here_at(small(Duration::from_millis(300)));
    let address = served(&server).await;
    for path in ["/api/session", "/api/runs", "/api/runs/1/pause", "/api/config/parse"] {
        let begun = Instant::now();
        let mut stream = say(address, &half(path)).await;
        let said = answer(&mut stream, SOON).await;
        assert!(said.starts_with("http/1.1 408") && said.contains("request_timeout"), "{said}");
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert!(said.contains("connection: close"), "{said}");
        assert_eq!(answer(&mut stream, SOON).await, "", "and it is closed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_asked_for_before_a_body_is_waited_for() {
    let server = Server::for_others_at(small(Duration::from_secs(60)));
    let address = served(&server).await;
    let kind = ("Content-Type", "application/zip");
    let upload =
        request("POST /api/datasets?name=a", &[kind, ("Content-Length", "4000000000")]) + "PK";
    for text in [half("/api/runs"), half("/api/runs/1/pause"), upload] {
        let mut stream = say(address, &text).await;
        assert!(answer(&mut stream, SOON).await.starts_with("http/1.1 401"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_comes_at_a_least_rate() {
    let upload = Pace { bytes: 4 << 10, within: Duration::from_millis(400) };
    let server = Server::here_at(Paces { upload, ..Paces::default() });
    let address = served(&server).await;
    let kind = ("Content-Type", "application/zip");
    let send = async |piece: usize, pieces: usize| {
        let length = (piece * pieces).to_string();
        let head = request("POST /api/datasets?name=a", &[kind, ("Content-Length", &length)]);
        let mut stream = say(address, &head).await;
        let (mut read, mut write) = stream.split();
        let mut said = vec![0; 4096];
        let pour = async {
            for _ in 0..pieces {
                if write.write_all(&vec![b'x'; piece]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<usize>().await
        };
        let count = tokio::select! {
            count = read.read(&mut said) => count.expect("an answer"),
            never = pour => never,
        };
        String::from_utf8_lossy(&said[..count]).into_owned()
    };
    let begun = Instant::now();
    let slow = timeout(4 * SOON, send(1, 10_000)).await.expect("it is left");
    assert!(slow.starts_with("HTTP/1.1 408") && slow.contains("4 KiB"), "{slow}");
    assert!(begun.elapsed() >= Duration::from_millis(400));
    // Twice as long as a stretch, and fast enough in each; it is no archive, which is said when it is there.
    let begun = Instant::now();
    let fast = timeout(4 * SOON, send(4 << 10, 20)).await.expect("it is read");
    assert!(!fast.starts_with("HTTP/1.1 408"), "{fast}");
    assert!(begun.elapsed() >= Duration::from_millis(900), "all of it came: {fast}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_cut_off_is_not_too_large() {
    let server = Server::here_at(Paces::default());
    let address = served(&server).await;
    let kind = ("Content-Type", "application/zip");
    let upload = request("POST /api/datasets?name=a", &[kind, ("Content-Length", "1000")]) + "PK";
    let chunked = request("POST /api/runs", &[JSON, ("Transfer-Encoding", "chunked")]);
    for text in [half("/api/runs"), upload, chunked.clone() + "zz\r\n", chunked + "5\r\n{\"a"] {
        let mut stream = say(address, &text).await;
        stream.shutdown().await.expect("half closed");
        let said = answer(&mut stream, SOON).await;
        assert!(said.starts_with("http/1.1 400") && said.contains("cut off"), "{text}\n{said}");
    }
    let long = format!("{{\"toml\":\"{}\"}}", "x".repeat(1 << 20));
    let head = request(
        "POST /api/config/parse",
        &[JSON, ("Transfer-Encoding", "chunked"), ("Connection", "close")],
    );
    let text = head + &format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let mut stream = say(address, &text).await;
    let said = answer(&mut stream, SOON).await;
    assert!(said.starts_with("http/1.1 413") && said.contains("too_large"), "{said}");
}
