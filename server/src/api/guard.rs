//! What every request must be before a handler sees it.
//!
//! A page of another site can send requests here, and with DNS rebinding even read the answers: hence the list of hosts. It can send forms
//! and pictures' addresses: hence the rules on what changes something. Who may talk to a server for others is known by its token.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};

use super::error::ApiError;
use super::pace::{Pace, Paces};
use super::token::{self, Token, Verdict};

/// Most bytes of a JSON body.
pub(super) const BODY: u64 = 1 << 20;

/// What is asked of requests to a route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) types: &'static [&'static str],
    pub(super) cap: u64,
    pub(super) open: bool,
    /// Whether its bodies are uploads.
    pub(super) bytes: bool,
}

/// What a request is granted that breaks no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admitted {
    /// Bytes that its body may have at most.
    pub(super) cap: u64,
    /// How fast that has to come.
    pub(super) pace: Pace,
    /// Whether its client may use the server, which is more than to load the page or to log in.
    pub(super) known: bool,
}

/// The most bytes of a request's body, for who reads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cap(pub(super) u64);

/// Who is served.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Authorities that `Host` may be, in lower case.
    hosts: Vec<String>,
    /// Where others are served, an address of this machine with this port will do: a name can be rebound, an address cannot.
    any_address: Option<u16>,
    /// None where only this machine is served.
    pub(super) token: Option<Token>,
    /// How fast bodies have to come.
    pub(super) paces: Paces,
    rules: HashMap<(Method, &'static str), Rule>,
}

impl Guard {
    /// For a server at `address`, which is also called `names`, and asks for `token`.
    pub(crate) fn new(address: SocketAddr, names: &[String], token: Option<Token>) -> Guard {
        let port = address.port();
        let mut hosts: Vec<String> = Vec::new();
        for name in ["127.0.0.1", "localhost", "[::1]"] {
            hosts.push(format!("{name}:{port}"));
        }
        hosts.push(address.to_string());
        for name in names {
            let name = name.to_lowercase();
            match name.rsplit_once(':') {
                // Browsers leave out the port that a scheme implies.
                Some((bare, "80" | "443")) if !bare.ends_with(':') => {
                    hosts.extend([bare.to_owned(), name.clone()]);
                }
                Some((_, digits)) if digits.parse::<u16>().is_ok() => hosts.push(name),
                _ => hosts.push(format!("{name}:{port}")),
            }
        }
        if port == 80 {
            let bare = hosts.iter().filter_map(|host| host.strip_suffix(":80").map(str::to_owned));
            hosts.extend(bare.collect::<Vec<_>>());
        }
        let any_address = (!address.ip().is_loopback()).then_some(port);
        Guard { hosts, any_address, token, paces: Paces::default(), rules: HashMap::new() }
    }

    /// Takes the rules of the routes, by their methods and paths.
    pub(super) fn know(&mut self, rules: impl IntoIterator<Item = ((Method, &'static str), Rule)>) {
        self.rules.extend(rules);
    }

    /// Whether this is one of the server's names.
    fn knows(&self, host: &str) -> bool {
        let host = host.to_lowercase();
        if self.hosts.contains(&host) {
            return true;
        }
        let Some(port) = self.any_address else { return false };
        match host.parse::<SocketAddr>() {
            Ok(address) => address.port() == port,
            Err(_) => port == 80 && host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok(),
        }
    }

    /// Checks a request to the route `path`, or to the page where there is no route, before any of its body is read.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub(super) fn check(
        &self,
        request: &Parts,
        path: Option<&str>,
        peer: IpAddr,
    ) -> Result<Admitted, ApiError> {
        let Parts { method, uri, headers, .. } = request;
        let host = host(uri, headers)?;
        if !self.knows(&host) {
            let message = format!("`{}` is none of this server's names", host.escape_debug());
            return Err(ApiError::forbidden("foreign_host", message)
                .hint("`taper serve --allow-host NAME` adds one"));
        }
        let reads = match *method {
            Method::GET | Method::HEAD => true,
            Method::POST | Method::DELETE | Method::OPTIONS => false,
            _ => return Err(ApiError::method("GET, HEAD, POST and DELETE are understood")),
        };
        check_site(headers, reads && path.is_none())?;
        check_origin(headers, &host, reads, path.is_some())?;
        let as_get = if reads { &Method::GET } else { method };
        let rule = path
            .and_then(|path| self.rules.iter().find(|((of, at), _)| of == as_get && *at == path));
        let rule = rule.map(|(_, rule)| rule);
        if let Some(token) = &self.token
            && path.is_some()
            && !rule.is_some_and(|rule| rule.open)
        {
            match token.admits(headers, peer) {
                Verdict::Right => {}
                Verdict::Wrong => {
                    return Err(ApiError::unauthorized("this server wants its token")
                        .hint("send `Authorization: Bearer TOKEN`, or log in on the page")
                        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
                }
                Verdict::Later(wait) => return Err(too_often(wait)),
            }
        }
        let known = self.token.as_ref().is_none_or(|token| token.is_shown(headers));
        let Some(rule) = rule else {
            return Ok(Admitted { cap: BODY, pace: self.paces.small, known });
        };
        if !reads {
            check_type(headers, method, rule.types)?;
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if length.is_some_and(|length| length > rule.cap) {
            return Err(ApiError::too_large(format!("the body may have {} bytes", rule.cap)));
        }
        let pace = if rule.bytes { self.paces.upload } else { self.paces.small };
        Ok(Admitted { cap: rule.cap, pace, known })
    }
}

/// What browsers say of the page that a request comes from. From another site only a link to the page will do.
fn check_site(headers: &HeaderMap, for_page: bool) -> Result<(), ApiError> {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(b"cross-site" | b"same-site")
            if for_page && is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document") =>
        {
            Ok(())
        }
        Some(_) => Err(ApiError::forbidden("foreign_site", "another site may not use this server")),
    }
}

/// Where a request says what page it comes from, that is this server's own; a browser must say so where something changes. Another
/// program needs no `Origin`, and what shows a token is no page's doing.
fn check_origin(
    headers: &HeaderMap,
    host: &str,
    reads: bool,
    is_api: bool,
) -> Result<(), ApiError> {
    let right = match headers.get(header::ORIGIN) {
        Some(origin) => {
            let origin = origin.to_str().unwrap_or_default();
            let authority =
                origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            // `null` has no authority.
            (reads && !is_api)
                || authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
        }
        None => reads || !headers.contains_key("sec-fetch-site") || token::has_bearer(headers),
    };
    let refused = "another origin may not use this server";
    if right { Ok(()) } else { Err(ApiError::forbidden("foreign_origin", refused)) }
}

/// The type of a body is one of `types`: none of them can be sent by a form. A `DELETE` needs none, as it has no body.
fn check_type(
    headers: &HeaderMap,
    method: &Method,
    types: &'static [&'static str],
) -> Result<(), ApiError> {
    let given = headers.get(header::CONTENT_TYPE);
    if given.is_none() && method == Method::DELETE {
        return Ok(());
    }
    let given = given.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim();
    if types.iter().any(|kind| kind.eq_ignore_ascii_case(given)) {
        return Ok(());
    }
    Err(ApiError::media_type(format!("the body must be {}", types.join(" or "))))
}

/// The answer to an address whose tokens were wrong too often.
pub(super) fn too_often(wait: Duration) -> ApiError {
    let seconds = wait.as_secs() + 1;
    ApiError::too_many(format!("too many wrong tokens from your address; try again in {seconds} s"))
        .header(header::RETRY_AFTER, seconds)
}

/// Who a request comes from; behind a proxy, that proxy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// The one host that a request names.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<String, ApiError> {
    let mut given = headers.get_all(header::HOST).into_iter();
    let host = given.next().map(|host| host.to_str().unwrap_or_default().to_owned());
    let host = match (host, given.next(), uri.authority()) {
        (Some(host), None, None) => Some(host),
        (Some(host), None, Some(authority)) if authority.as_str() == host => Some(host),
        _ => None,
    };
    host.ok_or_else(|| ApiError::bad_request("the request must name one host"))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    fn guard(address: &str, names: &[&str]) -> Guard {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        Guard::new(address.parse().expect("an address"), &names, None)
    }

    #[test]
    fn a_server_of_this_machine_has_three_names() {
        let guard = guard("127.0.0.1:7878", &[]);
        for host in ["127.0.0.1:7878", "localhost:7878", "LOCALHOST:7878", "[::1]:7878"] {
            assert!(guard.knows(host), "{host}");
        }
        for host in [
            "localhost",
            "localhost:80",
            "evil.example:7878",
            "127.0.0.1",
            "10.0.0.1:7878",
            "127.0.0.1:7878.evil.example",
            "localhost:7878@evil.example",
            "",
        ] {
            assert!(!guard.knows(host), "{host}");
        }
    }

    #[test]
    fn a_server_for_others_is_known_by_address_and_by_the_names_it_is_given() {
        let guard = guard("0.0.0.0:7878", &["box.lan", "train.example:443"]);
        for host in [
            "10.0.0.1:7878",
            "[fe80::1]:7878",
            "box.lan:7878",
            "train.example",
            "train.example:443",
        ] {
            assert!(guard.knows(host), "{host}");
        }
        for host in [
            "10.0.0.1:80",
            "10.0.0.1",
            "box.lan",
            "evil.example:7878",
            "10.0.0.1.evil.example:7878",
        ] {
            assert!(!guard.knows(host), "{host}");
        }
    }

    /// What a guard says of a request: the cap of its body, or the status and the code of a refusal. A path that is no route is the page's.
    fn judged(
        guard: &Guard,
        request: &str,
        headers: &[(&str, &str)],
    ) -> Result<u64, (u16, String)> {
        let (method, uri) = request.split_once(' ').expect("a method and an address");
        let mut builder = axum::http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let parts = builder.body(()).expect("a request").into_parts().0;
        let path = parts.uri.path().to_owned();
        let route = super::super::table::routes().into_iter().find(|route| route.path == path);
        let checked =
            guard.check(&parts, route.map(|route| route.path), IpAddr::from([10, 0, 0, 7]));
        checked.map(|admitted| admitted.cap).map_err(|refused| {
            let status = refused.clone().into_response().status().as_u16();
            (status, refused.code().to_owned())
        })
    }

    const HERE: (&str, &str) = ("host", "127.0.0.1:7878");
    const JSON: (&str, &str) = ("content-type", "application/json");
    const OURS: (&str, &str) = ("origin", "http://127.0.0.1:7878");
    const BROWSER: (&str, &str) = ("sec-fetch-site", "same-origin");
    const NAVIGATES: [(&str, &str); 2] =
        [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];

    fn local() -> Guard {
        let mut guard = guard("127.0.0.1:7878", &[]);
        guard.know(super::super::table::rules());
        guard
    }

    #[test]
    fn hosts_are_exact_and_one() {
        let guard = local();
        let host = |value| ("host", value);
        for (request, headers, refusal) in [
            ("GET /api/runs", &[HERE][..], None),
            ("GET /", &[host("LocalHost:7878")], None),
            ("GET http://127.0.0.1:7878/api/runs", &[HERE], None),
            // Behind a foreign name lies a page of that name's owner, whatever it asks for.
            ("GET /", &[host("evil.example:7878")], Some((403, "foreign_host"))),
            ("GET /healthz", &[host("evil.example")], Some((403, "foreign_host"))),
            ("GET /api/runs", &[host("127.0.0.1")], Some((403, "foreign_host"))),
            ("GET /api/runs", &[host("127.0.0.1:7879")], Some((403, "foreign_host"))),
            ("GET /api/runs", &[host("127.0.0.1:07878")], Some((403, "foreign_host"))),
            ("GET /api/runs", &[host("2130706433:7878")], Some((403, "foreign_host"))),
            ("GET /api/runs", &[host("localhost.:7878")], Some((403, "foreign_host"))),
            ("GET /api/runs", &[host("me@127.0.0.1:7878")], Some((403, "foreign_host"))),
            ("GET /api/runs", &[host("")], Some((403, "foreign_host"))),
            ("GET /api/runs", &[], Some((400, "bad_request"))),
            ("GET /api/runs", &[HERE, host("evil.example")], Some((400, "bad_request"))),
            ("GET /api/runs", &[HERE, HERE], Some((400, "bad_request"))),
            ("GET http://evil.example/api/runs", &[HERE], Some((400, "bad_request"))),
            ("GET http://127.0.0.1:7878/api/runs", &[], Some((400, "bad_request"))),
            ("GET http://me@127.0.0.1:7878/", &[HERE], Some((400, "bad_request"))),
        ] {
            let said = judged(&guard, request, headers);
            let refused = refusal.map(|(status, code)| (status, code.to_owned()));
            assert_eq!(said.err(), refused, "{request} {headers:?}");
        }
    }

    #[test]
    fn what_another_site_may_is_to_link_to_the_page() {
        let guard = local();
        let site = |value| ("sec-fetch-site", value);
        let origin = |value| ("origin", value);
        let (foreign_site, foreign_origin) = (Some("foreign_site"), Some("foreign_origin"));
        for (request, headers, refusal) in [
            // Programs that are no browser.
            ("POST /api/runs", &[JSON][..], None),
            ("DELETE /api/runs/{id}", &[], None),
            ("GET /api/runs", &[], None),
            // The page itself, in new browsers and in old ones.
            ("POST /api/runs", &[JSON, OURS, BROWSER], None),
            ("POST /api/runs", &[JSON, OURS], None),
            ("POST /api/runs", &[JSON, origin("https://127.0.0.1:7878"), BROWSER], None),
            ("DELETE /api/runs/{id}", &[OURS, BROWSER], None),
            ("GET /api/events", &[BROWSER], None),
            ("GET /api/events", &[site("none")], None),
            // Others.
            ("POST /api/runs", &[JSON, BROWSER], foreign_origin),
            ("POST /api/runs", &[JSON, site("none")], foreign_origin),
            ("POST /api/runs", &[JSON, origin("null")], foreign_origin),
            ("POST /api/runs", &[JSON, origin("")], foreign_origin),
            ("POST /api/runs", &[JSON, origin("http://127.0.0.1")], foreign_origin),
            ("POST /api/runs", &[JSON, origin("http://localhost:7878")], foreign_origin),
            (
                "POST /api/runs",
                &[JSON, origin("http://127.0.0.1:7878.evil.example")],
                foreign_origin,
            ),
            ("POST /api/runs", &[JSON, origin("http://127.0.0.1:7878/")], foreign_origin),
            ("POST /api/runs", &[JSON, origin("file://127.0.0.1:7878")], foreign_origin),
            ("POST /api/runs", &[JSON, origin("http://evil.example"), BROWSER], foreign_origin),
            ("DELETE /api/runs/{id}", &[origin("http://evil.example")], foreign_origin),
            ("OPTIONS /api/runs", &[origin("http://evil.example")], foreign_origin),
            ("GET /api/runs", &[origin("http://evil.example")], foreign_origin),
            ("GET /metrics", &[origin("null")], foreign_origin),
            ("POST /api/runs", &[JSON, OURS, site("cross-site")], foreign_site),
            ("POST /api/runs", &[JSON, OURS, site("same-site")], foreign_site),
            ("POST /api/session", &[JSON, OURS, site("cross-site")], foreign_site),
            ("POST /", &[site("cross-site"), NAVIGATES[0], NAVIGATES[1]], foreign_site),
            ("GET /api/runs", &[site("cross-site")], foreign_site),
            ("GET /api/runs", &[site("same-site")], foreign_site),
            ("GET /api/runs", &[site("what-comes-next")], foreign_site),
            ("GET /api/runs", &[site("cross-site"), NAVIGATES[0], NAVIGATES[1]], foreign_site),
            ("GET /metrics", &[site("cross-site"), NAVIGATES[0], NAVIGATES[1]], foreign_site),
            ("GET /", &[site("cross-site"), NAVIGATES[0], NAVIGATES[1]], None),
            ("HEAD /runs/1", &[site("same-site"), NAVIGATES[0], NAVIGATES[1]], None),
            (
                "GET /",
                &[site("cross-site"), NAVIGATES[0], ("sec-fetch-dest", "iframe")],
                foreign_site,
            ),
            (
                "GET /assets/index.js",
                &[site("cross-site"), ("sec-fetch-dest", "script")],
                foreign_site,
            ),
        ] {
            let headers = [&[HERE], headers].concat();
            let said = judged(&guard, request, &headers);
            assert_eq!(
                said.err().map(|(_, code)| code).as_deref(),
                refusal,
                "{request} {headers:?}"
            );
        }
        for method in ["PUT", "PATCH", "TRACE", "CONNECT", "PROPFIND", "get"] {
            let said = judged(&guard, &format!("{method} /api/runs"), &[HERE]);
            assert_eq!(said, Err((405, "method_not_allowed".into())), "{method}");
        }
    }

    #[test]
    fn bodies_have_the_type_and_the_size_of_their_route() {
        let guard = local();
        let kind = |value| ("content-type", value);
        let length = |value| ("content-length", value);
        let (wrong, large) = (Some((415, "unsupported_media_type")), Some((413, "too_large")));
        for (request, headers, refusal) in [
            ("POST /api/runs", &[kind("Application/JSON; charset=utf-8")][..], None),
            ("POST /api/runs", &[], wrong),
            ("POST /api/runs", &[kind("text/plain")], wrong),
            ("POST /api/runs", &[kind("application/json+x")], wrong),
            ("POST /api/runs", &[kind("text/plain; application/json")], wrong),
            ("POST /api/runs", &[kind("application/x-www-form-urlencoded")], wrong),
            ("POST /api/runs", &[kind("multipart/form-data; boundary=x")], wrong),
            ("POST /api/runs", &[kind("application/zip")], wrong),
            ("POST /api/datasets", &[kind("application/zip")], None),
            ("POST /api/datasets", &[kind("application/x-tar")], None),
            ("POST /api/datasets", &[kind("application/gzip")], None),
            ("POST /api/datasets", &[JSON], wrong),
            ("DELETE /api/runs/{id}", &[JSON], None),
            ("DELETE /api/runs/{id}", &[kind("text/plain")], wrong),
            ("POST /api/runs", &[JSON, length("1048576")], None),
            ("POST /api/runs", &[JSON, length("1048577")], large),
            ("GET /api/runs", &[length("1048577")], large),
            ("POST /api/datasets", &[kind("application/zip"), length("1048577")], None),
            ("POST /api/datasets", &[kind("application/zip"), length("99999999999")], large),
        ] {
            let headers = [&[HERE], headers].concat();
            let refused = refusal.map(|(status, code)| (status, code.to_owned()));
            assert_eq!(judged(&guard, request, &headers).err(), refused, "{request} {headers:?}");
        }
        assert_eq!(judged(&guard, "POST /", &[HERE, JSON]), Ok(BODY));
    }

    #[test]
    fn a_token_is_wanted_by_all_that_is_not_open() {
        let mut guard = Guard::new(([0, 0, 0, 0], 7878).into(), &[], Some(Token::of("right")));
        guard.know(super::super::table::rules());
        let set = Token::set_cookie("right");
        let cookie = ("cookie", set.split(';').next().expect("a pair"));
        let (bearer, wrong) =
            (("authorization", "Bearer right"), ("authorization", "bearer wrong"));
        for (request, headers, status) in [
            ("GET /", &[][..], None),
            ("GET /healthz", &[], None),
            ("GET /api/session", &[], None),
            ("POST /api/session", &[JSON], None),
            ("GET /metrics", &[], Some(401)),
            ("GET /api/openapi.json", &[], Some(401)),
            ("GET /api/events", &[cookie], None),
            ("HEAD /api/runs", &[], Some(401)),
            ("OPTIONS /api/runs", &[], Some(401)),
            ("POST /api/runs", &[JSON, bearer], None),
            ("POST /api/runs", &[JSON, bearer, BROWSER], None),
            ("POST /api/runs", &[JSON, cookie, BROWSER], Some(403)),
            ("POST /api/runs", &[JSON, cookie, BROWSER, OURS], None),
            ("POST /api/runs", &[JSON, bearer, ("origin", "http://evil.example")], Some(403)),
            ("GET /api/runs", &[("authorization", "Basic right")], Some(401)),
            ("GET /api/runs", &[("cookie", "taper_session=right")], Some(401)),
            // The bearer counts where both are there.
            ("GET /api/runs", &[wrong, cookie], Some(401)),
        ] {
            let headers = [&[HERE], headers].concat();
            let said = judged(&guard, request, &headers);
            assert_eq!(said.err().map(|(status, _)| status), status, "{request} {headers:?}");
        }
        let tries = (0..9).map(|_| judged(&guard, "GET /api/runs", &[HERE, wrong]).unwrap_err().0);
        let last: Vec<u16> = tries.collect();
        assert_eq!((last[0], last[8]), (401, 429));
        let refused = guard.check(
            &axum::http::Request::get("/api/runs")
                .header("host", HERE.1)
                .header(wrong.0, wrong.1)
                .body(())
                .expect("a request")
                .into_parts()
                .0,
            Some("/api/runs"),
            IpAddr::from([10, 0, 0, 7]),
        );
        let answer = refused.expect_err("too often").into_response();
        let wait: u64 =
            answer.headers()["retry-after"].to_str().expect("text").parse().expect("a number");
        assert!((1..=13).contains(&wait), "{wait}");
    }
}
