//! The server: routes over the store, a guard before them, and the page.

#[allow(dead_code, reason = "routes refuse more than files do")]
mod error;
#[cfg_attr(not(test), expect(dead_code, reason = "no route serves them yet"))]
mod files;
