//! Taper for who has neither Rust nor Node: an archive with the program, and a Python wheel that carries it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    python,
    shell::{at, cargo, executable, loud, read, root, target},
    web, wheel,
};

/// The release of maturin that builds the wheel.
const MATURIN: &str = "maturin==1.16.0";
/// Shells with the names of the files that they look for.
const SHELLS: [(&str, &str); 3] =
    [("bash", "taper.bash"), ("zsh", "_taper"), ("fish", "taper.fish")];
/// What lies beside the program in the archive.
const BESIDE: [&str; 6] = [
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "xtask/dist/Dockerfile",
    "xtask/dist/install.sh",
    "xtask/dist/taper.service",
];

/// Builds the page, the program, the archive and the wheel into `target/dist-files`, with their sums; the wheel is tried.
pub(crate) fn run() -> Result<()> {
    web::build()?;
    loud(cargo()?.args(["build", "--profile", "dist", "--locked", "--package", "taper"]))?;
    let program = executable(&target()?.join("dist"), "taper");
    let out = target()?.join("dist-files");
    drop(fs::remove_dir_all(&out));
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let archive = pack(&program, &out)?;
    let wheel = built(&out)?;
    if let Some(wheel) = &wheel {
        wheel::check(wheel)?;
    }
    let made: Vec<PathBuf> = std::iter::once(archive).chain(wheel).collect();
    let sums = made.iter().map(|path| sum(path)).collect::<Result<String>>()?;
    fs::write(out.join("SHA256SUMS"), sums)?;
    for path in made {
        println!("{} ({:.1} MB)", path.display(), fs::metadata(&path)?.len() as f64 / 1e6);
    }
    Ok(())
}

/// The archive: the program, its manual and completions, and what makes a server of a machine.
fn pack(program: &Path, out: &Path) -> Result<PathBuf> {
    let name = format!("taper-{}-{}", version(program)?, host()?);
    let folder = out.join(&name);
    for inner in ["man", "completions"] {
        fs::create_dir_all(folder.join(inner))?;
    }
    fs::copy(program, executable(&folder, "taper")).context("the program cannot be copied")?;
    loud(at(program)?.args(["manual", "--out"]).arg(folder.join("man")))?;
    for (shell, file) in SHELLS {
        let words = read(at(program)?.args(["completions", shell]))?;
        fs::write(folder.join("completions").join(file), words)?;
    }
    for path in BESIDE {
        let from = root().join(path);
        let file = from.file_name().context("a file has a name")?.to_owned();
        fs::copy(&from, folder.join(file)).with_context(|| path.to_owned())?;
    }
    let archive = out.join(format!("{name}.tar.gz"));
    // Windows has a tar as well.
    loud(Command::new("tar").arg("-C").arg(out).arg("-czf").arg(&archive).arg(&name))?;
    fs::remove_dir_all(folder)?;
    Ok(archive)
}

/// The wheel; none where there is no Python, which is said.
fn built(out: &Path) -> Result<Option<PathBuf>> {
    let venv = target()?.join("maturin");
    if let Err(error) = python::environment(&venv, &[MATURIN]) {
        eprintln!("\nno wheel is made: {error:#}");
        return Ok(None);
    }
    let maturin = executable(&python::programs(&venv), "maturin");
    // The tag says which C library the program needs at least, as maturin reads it off the program.
    let build = ["build", "--locked", "--out"];
    loud(at(&maturin)?.current_dir(root().join("xtask/dist")).args(build).arg(out))?;
    Ok(Some(found(out)?.context("maturin wrote no wheel")?))
}

/// The wheel in a folder.
fn found(folder: &Path) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.find(|path| path.extension().is_some_and(|end| end == "whl")))
}

/// Tries a wheel, that of the last `dist` if none is named, or a program as one.
pub(crate) fn check(file: Option<&str>) -> Result<()> {
    let own = || found(&target()?.join("dist-files"));
    let file = file.map_or_else(own, |file| Ok(Some(file.into())))?;
    wheel::check(&file.context("there is no wheel; `cargo xtask dist` makes one")?)
}

/// What the program says that it is.
fn version(program: &Path) -> Result<String> {
    let said = read(at(program)?.arg("--version"))?;
    Ok(said.trim().rsplit(' ').next().unwrap_or_default().to_owned())
}

/// The platform that rustc builds for.
fn host() -> Result<String> {
    let said = read(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it builds for")?.to_owned())
}

/// A line of `SHA256SUMS`.
fn sum(path: &Path) -> Result<String> {
    let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
    let (program, arguments): (&str, &[&str]) = match std::env::consts::OS {
        "linux" => ("sha256sum", &[]),
        "macos" => ("shasum", &["-a", "256"]),
        _ => ("certutil", &["-hashfile"]),
    };
    let mut command = Command::new(program);
    command.args(arguments).arg(path);
    if program == "certutil" {
        command.arg("SHA256");
    }
    let said = read(&mut command)?;
    let is_sum = |word: &&str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    match said.split_whitespace().find(is_sum) {
        Some(sum) => Ok(format!("{sum}  {name}\n")),
        None => bail!("{program} prints no sum of {name}"),
    }
}
