//! What the tests in a browser need: the packages of `web/`, and Chromium.

use std::{env, path::PathBuf};

use anyhow::{Error, Result};

use crate::{apt, shell, web};

/// Chromium as Debian calls it, and the names by which the tests find it.
const PACKAGE: &str = "chromium";
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Sees to both; whether they are there then. A machine that cannot have them goes on without.
pub(crate) fn setup() -> Result<bool> {
    let there = web::packages().and_then(|()| install());
    if let Err(error) = &there {
        eprintln!("\nnothing is tested in a browser: {error:#}");
    }
    Ok(there.is_ok())
}

/// Chromium: what `CHROMIUM` names, else the first of the names that the PATH has.
pub(crate) fn chromium() -> Option<PathBuf> {
    if let Some(named) = env::var_os("CHROMIUM") {
        return Some(PathBuf::from(named)).filter(|path| path.is_file());
    }
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    let mut paths =
        NAMES.iter().flat_map(|name| folders.iter().map(|folder| shell::executable(folder, name)));
    paths.find(|path| path.is_file())
}

fn install() -> Result<()> {
    if chromium().is_some() {
        return Ok(());
    }
    eprintln!("\nno Chromium is there: installing it");
    apt::way(&[PACKAGE]).and_then(|way| apt::install(way, &[PACKAGE])).map_err(Error::msg)
}
