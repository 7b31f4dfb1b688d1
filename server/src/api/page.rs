//! The page: the files of `web/dist` as they were when the program was built, or how to build them.

use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use super::error::ApiError;

/// What Vite wrote; nothing where it was never run.
#[derive(RustEmbed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Files;

const MISSING: &str = include_str!("missing.html");

/// A file of the page; every address that is no file is one of the page's own views.
pub(super) async fn file(method: Method, uri: Uri) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return ApiError::method("the page can only be read").into_response();
    }
    let path = uri.path().trim_start_matches('/');
    if let Some(file) = Files::get(path) {
        // Names under assets/ have a hash of the content in them.
        let lasting = path.starts_with("assets/");
        let cache = if lasting { "public, max-age=31536000, immutable" } else { "no-cache" };
        let headers = [(header::CONTENT_TYPE, kind(path)), (header::CACHE_CONTROL, cache)];
        return (headers, file.data).into_response();
    }
    if path.starts_with("assets/") {
        return ApiError::not_found("the page has no such file").into_response();
    }
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    match Files::get("index.html") {
        Some(file) => (headers, file.data).into_response(),
        None => (StatusCode::OK, headers, MISSING).into_response(),
    }
}

/// The type of a file, by its name: of the few that a build of ours has.
fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wgsl" | "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
