//! Programs that we did not write and hold ours against. `cargo xtask test` brings them; a test without them says that it is skipped.

use std::{env, path::PathBuf};

/// The target directory, in which `cargo xtask` keeps what it installs.
fn target() -> PathBuf {
    let test = env::current_exe().expect("this program");
    test.ancestors().nth(3).expect("target/debug/deps/TEST").to_path_buf()
}

/// A program, or `None`, said on stderr; where `require` is 1 in the environment, as in CI, it must be there.
fn find(what: &str, path: PathBuf, require: &str) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path);
    }
    let required = env::var(require).is_ok_and(|value| value == "1");
    assert!(!required, "{require}=1, and there is no {what} at {}", path.display());
    eprintln!("skipped: there is no {what} at {}; `cargo xtask setup` brings it", path.display());
    None
}

/// Python with ONNX Runtime.
///
/// # Panics
/// If there is none and `TAPER_REQUIRE_ONNX` is 1.
pub fn python() -> Option<PathBuf> {
    let python = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
    find("Python with ONNX Runtime", target().join("python").join(python), "TAPER_REQUIRE_ONNX")
}
