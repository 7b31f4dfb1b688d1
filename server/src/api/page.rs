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

/// What the page may load: its own files, and nothing that was written into it.
pub(super) const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The same where WebAssembly is compiled as well: in the view that trains in the browser, and in its worker, which does not inherit a page's policy.
const COMPILING: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The view that trains in the browser: `NAVIGATION` in web/src/App.svelte.
const TAB: &str = "tab";
/// How the file of its worker's script begins: `worker` in web/vite.config.ts.
const WORKER: &str = "assets/in-worker-";

const MISSING: &str = include_str!("missing.html");

/// A file of the page; every address that is no file is one of the page's own views.
pub(super) async fn file(method: Method, uri: Uri) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return ApiError::method("the page can only be read").into_response();
    }
    let path = uri.path().trim_start_matches('/');
    let policy = [(header::CONTENT_SECURITY_POLICY, policy(path))];
    if let Some(file) = Files::get(path) {
        // Names under assets/ have a hash of the content in them.
        let lasting = path.starts_with("assets/");
        let cache = if lasting { "public, max-age=31536000, immutable" } else { "no-cache" };
        let headers = [(header::CONTENT_TYPE, kind(path)), (header::CACHE_CONTROL, cache)];
        return (policy, headers, file.data).into_response();
    }
    if path.starts_with("assets/") {
        return ApiError::not_found("the page has no such file").into_response();
    }
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    match Files::get("index.html") {
        Some(file) => (policy, headers, file.data).into_response(),
        None => (StatusCode::OK, policy, headers, MISSING).into_response(),
    }
}

/// What the answer for a path of the page may load.
fn policy(path: &str) -> &'static str {
    let worker = path.starts_with(WORKER) && path.ends_with(".js");
    if path == TAB || worker { COMPILING } else { POLICY }
}

/// The type of a file, by its name: of the few that a build of ours has.
fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "wasm" => "application/wasm",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tab_and_its_worker_compile_web_assembly() {
        for path in ["tab", "assets/in-worker-B9_x.js"] {
            assert_eq!(policy(path), COMPILING, "{path}");
        }
        for path in [
            "",
            "index.html",
            "runs/tab",
            "tab/x",
            "assets/index-1.js",
            "assets/worker-1.js",
            "api/tab",
        ] {
            assert_eq!(policy(path), POLICY, "{path}");
        }
        assert_eq!(COMPILING.replace(" 'wasm-unsafe-eval'", ""), POLICY);
    }

    #[test]
    fn a_browser_streams_what_is_called_wasm() {
        assert_eq!(kind("assets/taper_tab-1.wasm"), "application/wasm");
    }
}
