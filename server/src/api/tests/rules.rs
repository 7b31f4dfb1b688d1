//! The rules that hold for every route, tried on every route there is.

use super::*;

/// Every address there is: the routes, the page, and what is neither.
fn everything() -> Vec<(Method, String)> {
    let mut all: Vec<(Method, String)> =
        routes().iter().map(|route| (route.method.clone(), path(route))).collect();
    for path in ["/", "/tab", "/runs/abc", "/assets/none.js", "/api/none", "/api/runs/1/none"] {
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
            // The view that trains in the browser compiles WebAssembly; a refusal is not that view.
            let compiles = path == "/tab" && host == HOST;
            let expected =
                if compiles { "script-src 'self' 'wasm-unsafe-eval'" } else { "script-src 'self'" };
            assert_eq!(scripts, expected, "{method} {path}");
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
