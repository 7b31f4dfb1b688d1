//! What every request must be before a handler sees it, and what every answer says to the browser.
//!
//! A page of another site can send requests here, and with DNS rebinding even read the answers: hence the list of hosts. It can send forms
//! and pictures' addresses: hence the rules on what changes something. Who may talk to a server for others is known by its token.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::Limited;

use super::App;
use super::error::ApiError;
use super::routes::{BODY, Route};
use super::token::{self, Token, Verdict};

/// What the page may load: its own files, and nothing that was written into it. Svelte sets styles by attribute; pictures may be made of
/// bytes that were dropped in.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; worker-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What is asked of requests to a route.
#[derive(Debug, Clone, Copy)]
struct Rule {
    types: &'static [&'static str],
    cap: u64,
    open: bool,
}

/// Who is served.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Authorities that `Host` may be, in lower case.
    hosts: Vec<String>,
    /// Where others are served, an address of this machine with this port will do: a name can be rebound, an address cannot.
    any_address: Option<u16>,
    /// None where only this machine is served.
    pub(super) token: Option<Token>,
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
        Guard { hosts, any_address, token, rules: HashMap::new() }
    }

    /// Takes the rules of the routes.
    pub(super) fn know(&mut self, routes: &[Route]) {
        for route in routes {
            let rule = Rule { types: route.types(), cap: route.cap, open: route.open };
            self.rules.insert((route.method.clone(), route.path), rule);
        }
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

    fn check(
        &self,
        method: &Method,
        path: Option<&str>,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<u64, ApiError> {
        let host = host(uri, headers)?;
        if !self.knows(&host) {
            let message = format!("`{}` is none of this server's names", host.escape_debug());
            return Err(ApiError::forbidden("foreign_host", message)
                .hint("`taper serve --allow-host NAME` adds one"));
        }
        let as_get = if method == Method::HEAD { Method::GET } else { method.clone() };
        let rule = path.and_then(|path| {
            self.rules
                .iter()
                .find(|((of, at), _)| *of == as_get && *at == path)
                .map(|(_, rule)| rule)
        });
        let reads = as_get == Method::GET;
        let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("?"));
        let navigates = headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
        let foreign = match site {
            None | Some("same-origin" | "none") => false,
            // A link to the page from elsewhere is fine, as long as it asks for the page.
            Some("cross-site" | "same-site") if reads && navigates => path.is_some(),
            Some(_) => true,
        };
        if foreign {
            return Err(ApiError::forbidden(
                "foreign_site",
                "another site may not use this server",
            ));
        }
        if !reads {
            self.check_change(site.is_some(), &host, headers)?;
        }
        if let Some(token) = &self.token
            && path.is_some()
            && !rule.is_some_and(|rule| rule.open)
        {
            match token.admits(headers) {
                Verdict::Right => {}
                Verdict::Wrong => {
                    return Err(ApiError::unauthorized("this server wants its token")
                        .hint("send `Authorization: Bearer TOKEN`, or log in on the page"));
                }
                Verdict::Later => return Err(too_often()),
            }
        }
        let Some(rule) = rule else { return Ok(BODY) };
        if as_get == Method::POST {
            let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let given = given.unwrap_or_default().split(';').next().unwrap_or_default().trim();
            if !rule.types.iter().any(|kind| kind.eq_ignore_ascii_case(given)) {
                let wanted = rule.types.join(" or ");
                return Err(ApiError::media_type(format!("the body must be {wanted}")));
            }
        }
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > rule.cap) {
            return Err(ApiError::too_large(format!("the body may have {} bytes", rule.cap)));
        }
        Ok(rule.cap)
    }

    /// What changes something comes from this server's own page, or from no browser.
    fn check_change(&self, browser: bool, host: &str, headers: &HeaderMap) -> Result<(), ApiError> {
        let foreign =
            || ApiError::forbidden("foreign_origin", "another origin may not change anything here");
        match headers.get(header::ORIGIN) {
            Some(origin) => {
                let origin = origin.to_str().unwrap_or_default();
                let authority =
                    origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
                // `null` has no authority.
                let same = authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host));
                if same { Ok(()) } else { Err(foreign()) }
            }
            None if !browser || token::has_bearer(headers) => Ok(()),
            None => Err(foreign()),
        }
    }
}

pub(super) fn too_often() -> ApiError {
    ApiError::too_many("too many wrong tokens; try again in a minute")
}

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

/// The middleware around everything that is served.
pub(super) async fn guard(
    State(app): State<Arc<App>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let path = path.as_ref().map(MatchedPath::as_str);
    let checked = app.guard.check(request.method(), path, request.uri(), request.headers());
    let is_api = path.is_some();
    let mut response = match checked {
        Ok(cap) => {
            // Streams as well: a body that is longer than it says, or does not say, is cut here.
            let cap = usize::try_from(cap).unwrap_or(usize::MAX);
            let limited = request.map(|body| Body::new(Limited::new(body, cap)));
            next.run(limited).await
        }
        Err(refused) => refused.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_api && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

#[cfg(test)]
mod tests {
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
}
