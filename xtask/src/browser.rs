//! What the tests in a browser need: the packages of `web/`, and Chromium.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use crate::{
    setup,
    shell::{loud, root, works},
};

/// Chromium as Debian calls it, and the names by which the tests find it.
const PACKAGE: &str = "chromium";
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Sees to both; whether they are there then. A machine that cannot have them goes on without.
pub(crate) fn setup() -> Result<bool> {
    let there = packages().and_then(|()| chromium());
    if let Err(error) = &there {
        eprintln!("{error:#}: nothing is tested in a browser");
    }
    Ok(there.is_ok())
}

/// Installs `web/node_modules` as `web/package-lock.json` says, if it is not there.
fn packages() -> Result<()> {
    let web = root().join("web");
    let wanted = fs::read(web.join("package-lock.json")).context("web/package-lock.json")?;
    let stamp = web.join("node_modules/.taper-lock");
    if fs::read(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    loud(Command::new("npm").arg("ci").current_dir(&web))?;
    fs::write(stamp, wanted).context("cannot write to web/node_modules")
}

fn chromium() -> Result<()> {
    if NAMES.iter().any(|name| works(name, &["--version"])) {
        return Ok(());
    }
    eprintln!("no Chromium is there: installing it");
    setup::install(&[PACKAGE])
}
