//! What every request and every answer passes: the guard's rules before a handler, and behind it the headers for browsers and clients.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Extension, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, Limited};

use super::app::App;
use super::connections::Connection;
use super::discretion::Discretion;
use super::error::ApiError;
use super::guard::{Admitted, Cap, Peer};
use super::pace::Paced;
use super::page;

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Bytes of a refusal that is not in our words.
const SAID: usize = 4096;

/// The middleware around everything that is served.
pub(super) async fn gate(
    State(app): State<Arc<App>>,
    path: Option<MatchedPath>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    request: Request,
    next: Next,
) -> Response {
    let path = path.as_ref().map(MatchedPath::as_str);
    // Requests that came over no connection, as in tests, are one client.
    let peer = peer.map_or(IpAddr::from([0; 4]), |Extension(ConnectInfo(peer))| peer.ip());
    let (mut parts, body) = request.into_parts();
    let mut response = match app.guard.check(&parts, path, peer) {
        Ok(Admitted { cap, pace, known }) => {
            let connection = parts.extensions.get::<Arc<Connection>>().cloned();
            if let (Some(connection), true) = (&connection, known) {
                connection.set_known();
            }
            parts.extensions.insert(Peer(peer));
            parts.extensions.insert(Cap(cap));
            // Streams as well: a body that is longer than it says, or does not say, is cut here.
            let cap = usize::try_from(cap).unwrap_or(usize::MAX);
            let body = Body::new(Limited::new(Paced::new(body, pace, connection), cap));
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refused) => refused.into_response(),
    };
    if path.is_some() {
        response = discreet(&app, in_our_words(response).await).await;
        let headers = response.headers_mut();
        if !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // A file of the page says it itself.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(page::POLICY));
    response
}

/// The answer without the server's paths; but for a file, which goes out as its sum says it is.
async fn discreet(app: &Arc<App>, response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    if response.headers().contains_key(header::ETAG) {
        return response;
    }
    match kind {
        // An event is a frame of its own.
        "text/event-stream" => {
            let app = Arc::clone(app);
            response.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    frame.map_data(|data| cleaned(&app.discretion, &data).unwrap_or(data))
                }))
            })
        }
        "application/json" | "application/toml" | "text/plain" => {
            let (mut parts, body) = response.into_parts();
            // It is there in whole already: what is long is a stream or a file.
            let Ok(whole) = axum::body::to_bytes(body, usize::MAX).await else {
                return ApiError::internal("an answer broke off").into_response();
            };
            match cleaned(&app.discretion, &whole) {
                Some(whole) => {
                    parts.headers.remove(header::CONTENT_LENGTH);
                    Response::from_parts(parts, whole.into())
                }
                None => Response::from_parts(parts, whole.into()),
            }
        }
        _ => response,
    }
}

/// A text without the server's paths, if it has any.
fn cleaned(discretion: &Discretion, text: &[u8]) -> Option<Bytes> {
    match discretion.clean(std::str::from_utf8(text).ok()?) {
        Cow::Owned(clean) => Some(clean.into()),
        Cow::Borrowed(_) => None,
    }
}

/// Refusals of axum's own are text; every error of the API is JSON.
async fn in_our_words(response: Response) -> Response {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let status = response.status();
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = axum::body::to_bytes(body, SAID).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let reason = status.canonical_reason().unwrap_or("refused").to_lowercase();
    let message = if text.trim().is_empty() { &reason } else { text.trim() };
    let said = ApiError::new(status, &reason.replace(' ', "_"), message).into_response();
    let (ours, body) = said.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(ours.headers);
    Response::from_parts(parts, body)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn refusals_that_are_not_ours_become_ours() {
        let theirs =
            (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")], "no\n").into_response();
        let ours = in_our_words(theirs).await;
        assert_eq!(
            (ours.status().as_u16(), ours.headers()["allow"].as_bytes()),
            (405, &b"GET"[..])
        );
        assert_eq!(ours.headers()["content-type"], "application/json");
        let text = axum::body::to_bytes(ours.into_body(), 999).await.expect("a body");
        assert_eq!(text, r#"{"code":"method_not_allowed","message":"no"}"#);
        let fine = in_our_words((StatusCode::OK, "fine").into_response()).await;
        assert_eq!(axum::body::to_bytes(fine.into_body(), 9).await.expect("a body"), "fine");
    }
}
