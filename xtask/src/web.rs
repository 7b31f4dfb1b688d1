//! The page in `web/`: its packages, its checks and its build, by npm.

use std::{fs, process::Command};

use anyhow::{Result, bail};

use crate::{
    browser,
    shell::{at, loud, root, taper, works},
};

/// What is needed, in words.
const NODE: &str = "Node 20.19 or later with npm (https://nodejs.org)";

/// Builds `web/dist`, which the program embeds.
///
/// rustc knows the files that it embedded, and not that there are others: so the source that embeds them is made newer than they are.
pub(crate) fn build() -> Result<()> {
    if !there() {
        bail!("the page is built by {NODE}, which is not on the PATH");
    }
    packages()?;
    run("build")?;
    let source = fs::File::options().append(true).open(root().join("server/src/api/page.rs"))?;
    Ok(source.set_modified(std::time::SystemTime::now())?)
}

/// Writes the page's types by the document in `web/src/generated/`.
pub(crate) fn types() -> Result<()> {
    if !there() {
        bail!("the page's types are made by {NODE}, which is not on the PATH");
    }
    packages()?;
    run("types")
}

/// Types, lints, format, tests and the build of the page. Where there is no Node it says so, and only the CI minds.
pub(crate) fn checks() -> Result<()> {
    if !there() {
        if std::env::var("CI").is_ok_and(|value| value == "true") {
            bail!("the page is checked by {NODE}, which is not on the PATH");
        }
        eprintln!("\nthe page is not checked: there is no {NODE}");
        return Ok(());
    }
    packages()?;
    ["check", "lint", "test", "build"].into_iter().try_for_each(run)
}

/// The page in a browser, against `taper` as it was built last: a run from its configuration to its download. Where there is no Node or no
/// Chromium it says so.
pub(crate) fn end_to_end() -> Result<()> {
    let (true, Some(chromium)) = (there(), browser::chromium()) else {
        eprintln!("\nthe page is not tried in a browser: Chromium or {NODE} is not there");
        return Ok(());
    };
    packages()?;
    let program = taper()?.get_program().to_owned();
    loud(npm()?.args(["run", "e2e"]).env("TAPER", program).env("CHROMIUM", chromium))
}

/// The packages of the lock file, unless they are what was installed last.
pub(crate) fn packages() -> Result<()> {
    let web = root().join("web");
    let age = |path: &str| fs::metadata(web.join(path)).and_then(|file| file.modified()).ok();
    let installed = age("node_modules/.package-lock.json");
    if installed.is_some() && installed >= age("package-lock.json") {
        return Ok(());
    }
    loud(npm()?.arg("ci"))
}

fn run(script: &str) -> Result<()> {
    loud(npm()?.args(["run", script]))
}

fn npm() -> Result<Command> {
    let mut npm = at(name().as_ref())?;
    npm.args(["--prefix", "web"]);
    // No package of ours needs a browser of its own; the tests use the system's.
    npm.env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    Ok(npm)
}

/// Whether the page can be built here.
pub(crate) fn there() -> bool {
    works("node", &["--version"]) && works(name(), &["--version"])
}

/// npm is a script, and on Windows a script has an ending.
fn name() -> &'static str {
    if cfg!(windows) { "npm.cmd" } else { "npm" }
}
