//! `cargo xtask schema`: what the page knows of the server, as the server says it.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};

use crate::{
    shell::{read, root, taper},
    web,
};

/// The document, and the types that npm's `openapi-typescript` makes of it.
const FILES: [&str; 2] = ["openapi.json", "api.ts"];

fn file(name: &str) -> PathBuf {
    root().join("web/src/generated").join(name)
}

/// Writes both files by what `taper`, as it was built last, says.
pub(crate) fn write() -> Result<()> {
    let document = read(taper()?.args(["serve", "--openapi"]))?;
    let path = file(FILES[0]);
    fs::create_dir_all(path.parent().context("a folder")?)?;
    fs::write(&path, document).with_context(|| format!("cannot write `{}`", path.display()))?;
    web::types()
}

/// Whether both files are what [`write()`] would make of them; they stay as they are.
pub(crate) fn check() -> Result<()> {
    let text = |name: &&str| fs::read_to_string(file(name)).unwrap_or_default();
    let before: Vec<String> = FILES.iter().map(text).collect();
    let written = write();
    let after: Vec<String> = FILES.iter().map(text).collect();
    let stale = before != after;
    if stale {
        for (name, text) in FILES.iter().zip(&before) {
            fs::write(file(name), text)?;
        }
    }
    written?;
    if stale {
        bail!(
            "web/src/generated/ is not what the server says; `cargo xtask schema` writes it anew"
        );
    }
    Ok(())
}
