//! The page in `web/`: its packages, its checks and its build, by npm.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::shell::{at, ci, loud, read, root, taper, works};
use crate::wasm;

/// The oldest Node that will do: `engines` in web/package.json.
const NODE: [u32; 2] = [20, 19];

/// Builds `web/dist`, which the program embeds; with the engine for training in a tab where Rust has its target.
///
/// rustc knows the files that it embedded, and not that there are others: so the source that embeds them is made newer than they are.
pub(crate) fn build() -> Result<()> {
    if let Some(missing) = missing() {
        bail!("the page is not built: {missing}");
    }
    packages()?;
    match wasm::missing() {
        None => wasm::engine()?,
        Some(missing) => {
            wasm::without_engine()?;
            eprintln!("\nthe page does not train in a tab, everything else is built: {missing}");
        }
    }
    run("build")?;
    let source = fs::File::options().append(true).open(root().join("server/src/api/page.rs"))?;
    Ok(source.set_modified(std::time::SystemTime::now())?)
}

/// Builds `web/dist-tab`, the training in a tab as a page by itself.
pub(crate) fn build_tab() -> Result<()> {
    if let Some(missing) = missing() {
        bail!("the page is not built: {missing}");
    }
    packages()?;
    run("build:tab")
}

/// Writes the page's types by the document in `web/src/generated/`.
pub(crate) fn types() -> Result<()> {
    if let Some(missing) = missing() {
        bail!("the page's types are not made: {missing}");
    }
    packages()?;
    run("types")
}

/// Types, lints, format, tests and the build of the page. Where there is no Node it says so, and only the CI minds.
pub(crate) fn checks() -> Result<()> {
    if let Some(missing) = missing() {
        if ci() {
            bail!("the page is not checked: {missing}");
        }
        eprintln!("\nthe page is not checked: {missing}");
        return Ok(());
    }
    packages()?;
    ["check", "lint", "test", "build"].into_iter().try_for_each(run)
}

/// The page in a browser, against `taper` as it was built last: a run from its configuration to its download. Where there is no Node or no
/// Chromium it says so.
pub(crate) fn end_to_end(chromium: Option<PathBuf>) -> Result<()> {
    let chromium = match (missing(), chromium) {
        (None, Some(chromium)) => chromium,
        (missing, _) => {
            let missing = missing.unwrap_or_else(|| "there is no Chromium".into());
            eprintln!("\nthe page is not tried in a browser: {missing}");
            return Ok(());
        }
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
    if let Some(missing) = missing() {
        bail!(missing);
    }
    loud(npm()?.arg("ci")).context(
        "npm cannot install the packages of web/; see to the network or to npm's registry, then run this again",
    )
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

/// What is missing to work on the page, and what to do; none where nothing is.
pub(crate) fn missing() -> Option<String> {
    let there = works("node", &["--version"]) && works(name(), &["--version"]);
    let version = there.then(|| read(Command::new("node").arg("--version")).ok()).flatten();
    lacks(version.as_deref())
}

fn lacks(version: Option<&str>) -> Option<String> {
    let [major, minor] = NODE;
    let what = format!(
        "install Node {major}.{minor} or later with npm (https://nodejs.org), then run this again"
    );
    let Some(version) = version.map(str::trim) else {
        return Some(format!("Node with npm is not on the PATH: {what}"));
    };
    let mut numbers = version.trim_start_matches('v').split('.').map(|part| part.parse().ok());
    let found = [numbers.next().flatten().unwrap_or(0), numbers.next().flatten().unwrap_or(0)];
    (found < NODE).then(|| format!("Node {version} is too old: {what}"))
}

/// npm is a script, and on Windows a script has an ending.
fn name() -> &'static str {
    if cfg!(windows) { "npm.cmd" } else { "npm" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_there_or_too_old_is_named() {
        for fine in ["v20.19.0\n", "v22.1.0", "v100.0.0"] {
            assert_eq!(lacks(Some(fine)), None);
        }
        let what = "install Node 20.19 or later with npm (https://nodejs.org), then run this again";
        for old in ["v18.20.4", "v20.18.1", "?"] {
            assert_eq!(lacks(Some(old)), Some(format!("Node {old} is too old: {what}")));
        }
        assert_eq!(lacks(None), Some(format!("Node with npm is not on the PATH: {what}")));
    }

    #[test]
    fn the_oldest_node_is_that_of_the_page() {
        let package = fs::read_to_string(root().join("web/package.json")).expect("there");
        let [major, minor] = NODE;
        assert!(package.contains(&format!("\"node\": \">={major}.{minor}\"")));
    }
}
