//! What the tests in a browser need: the packages of `web/`, and Chromium.

use anyhow::Result;

use crate::{setup, shell::works, web};

/// Chromium as Debian calls it, and the names by which the tests find it.
const PACKAGE: &str = "chromium";
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Sees to both; whether they are there then. A machine that cannot have them goes on without.
pub(crate) fn setup() -> Result<bool> {
    let there = web::packages().and_then(|()| chromium());
    if let Err(error) = &there {
        eprintln!("{error:#}: nothing is tested in a browser");
    }
    Ok(there.is_ok())
}

fn chromium() -> Result<()> {
    if NAMES.iter().any(|name| works(name, &["--version"])) {
        return Ok(());
    }
    eprintln!("no Chromium is there: installing it");
    setup::install(&[PACKAGE])
}
