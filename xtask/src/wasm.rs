//! The engine for a browser's tab, as WebAssembly among the sources of the page.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::shell::{cargo, loud, root, target};

/// What a browser runs.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
/// The profile of Cargo.toml and the crate, and where the page looks for what they make.
const PROFILE: &str = "tab";
pub(crate) const CRATE: &str = "taper-tab";
const WASM: &str = "taper_tab.wasm";
const PLACE: &str = "web/src/train";

/// Builds the engine for the page, which looks for it among its own sources.
pub(crate) fn engine() -> Result<()> {
    loud(cargo()?.args(["build", "--package", CRATE, "--profile", PROFILE, "--target", TARGET]))?;
    let made = target()?.join(TARGET).join(PROFILE).join(WASM);
    let bytes = fs::copy(&made, root().join(PLACE).join(WASM))
        .with_context(|| format!("cannot copy `{}`", made.display()))?;
    eprintln!("{WASM}: {:.1} MB", bytes as f64 / 1e6);
    Ok(())
}

/// Takes away the engine of an earlier build: a page never has one that is older than itself.
pub(crate) fn without_engine() -> Result<()> {
    let place = root().join(PLACE).join(WASM);
    if place.exists() {
        fs::remove_file(&place).with_context(|| format!("cannot remove `{}`", place.display()))?;
    }
    Ok(())
}

/// What is missing to build the engine, and what to do; none where nothing is.
pub(crate) fn missing() -> Option<String> {
    let print = ["--print", "target-libdir", "--target", TARGET];
    let said = Command::new("rustc").args(print).output().map(|of| of.stdout).unwrap_or_default();
    lacks(Path::new(String::from_utf8_lossy(&said).trim()))
}

/// What is missing where the target's libraries would lie in `folder`.
fn lacks(folder: &Path) -> Option<String> {
    (!folder.is_dir()).then(|| {
        format!("Rust has no target {TARGET}: `rustup target add {TARGET}`, then run this again")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_target_is_named_with_what_to_do() {
        let said = lacks(Path::new("nowhere")).expect("missing");
        assert!(said.contains("rustup target add wasm32-unknown-unknown"), "{said}");
    }

    #[test]
    fn the_page_looks_where_the_engine_is_put() {
        let ignored = fs::read_to_string(root().join(".gitignore")).expect("there");
        assert!(ignored.lines().any(|line| line == format!("/{PLACE}/{WASM}")));
    }
}
