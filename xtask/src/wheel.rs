//! Whether a wheel is all that a machine without Rust and Node needs: `cargo xtask dist --check`, and the end of `dist` and of `test`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    python,
    shell::{at, executable, loud, read, target},
};

/// What packs a program as a wheel, where maturin has not.
const WHEEL: &str = "wheel==0.45.1";
/// The longest that the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Installs a wheel into an empty environment of Python's, with nothing else on the PATH, and asks the program there for its version and, as a server,
/// for the page. Of a program a wheel is made first, as maturin lays it out.
///
/// # Errors
/// The first thing that is not as it should be.
pub(crate) fn check(file: &Path) -> Result<()> {
    ensure!(file.is_file(), "`{}` is no file; `cargo xtask dist` makes a wheel", file.display());
    let folder = target()?.join("wheel");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let is_wheel = file.extension().is_some_and(|end| end == "whl");
    let wheel = if is_wheel { file.to_owned() } else { pack(file, &folder)? };
    let wheel = wheel.to_str().context("the wheel's path is not UTF-8")?;
    let venv = folder.join("venv");
    python::environment(&venv, &["--no-index", "--no-deps", wheel])?;
    let taper = executable(&python::programs(&venv), "taper");
    let alone = || -> Result<Command> {
        let mut command = at(&taper)?;
        command.env_clear().env("PATH", python::programs(&venv)).env("HOME", &folder);
        // Without it Windows opens no sockets.
        command.envs(std::env::var_os("SystemRoot").map(|root| ("SystemRoot", root)));
        Ok(command)
    };
    let version = read(alone()?.arg("--version"))?;
    ensure!(version.starts_with("taper "), "`taper --version` says {version:?}");
    let mut serve = alone()?;
    serve.args(["serve", "--bind", "127.0.0.1:0", "--data-dir"]).arg(folder.join("data"));
    eprintln!("\n$ taper serve");
    let mut server = Server(serve.stdout(Stdio::piped()).spawn().context("it does not start")?);
    let page = server.ask()?;
    println!("{} in an empty environment serves the page, {page} bytes", version.trim());
    Ok(())
}

/// A wheel with this program, for any machine: it is to be installed on this one.
fn pack(program: &Path, folder: &Path) -> Result<PathBuf> {
    let tools = target()?.join("packing");
    python::environment(&tools, &[WHEEL])?;
    let said = read(at(program)?.arg("--version"))?;
    let version = said.trim().rsplit(' ').next().unwrap_or_default();
    let whole = folder.join("whole");
    let about = whole.join(format!("taper-{version}.dist-info"));
    let scripts = whole.join(format!("taper-{version}.data")).join("scripts");
    for inner in [&about, &scripts] {
        fs::create_dir_all(inner)?;
    }
    let metadata = format!("Metadata-Version: 2.1\nName: taper\nVersion: {version}\n");
    fs::write(about.join("METADATA"), metadata)?;
    let tags = "Wheel-Version: 1.0\nGenerator: xtask\nRoot-Is-Purelib: false\nTag: py3-none-any\n";
    fs::write(about.join("WHEEL"), tags)?;
    fs::copy(program, executable(&scripts, "taper")).context("the program cannot be copied")?;
    let python = executable(&python::programs(&tools), "python");
    let mut pack = at(&python)?;
    loud(pack.args(["-m", "wheel", "pack", "--dest-dir"]).arg(folder).arg(&whole))?;
    Ok(folder.join(format!("taper-{version}-py3-none-any.whl")))
}

/// A server that ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Server {
    /// Asks for its health, for the page, and for the page's script; how many bytes these two have.
    fn ask(&mut self) -> Result<usize> {
        let mut line = String::new();
        let says = self.0.stdout.as_mut().context("it has no output")?;
        BufReader::new(says).read_line(&mut line)?;
        let host =
            line.trim().strip_prefix("Taper is at http://").map(|at| at.trim_end_matches('/'));
        let host = host.with_context(|| format!("it does not say where it is, but {line:?}"))?;
        get(host, "/healthz")?;
        let page = get(host, "/")?;
        let script =
            page.split('"').find(|part| part.starts_with("/assets/") && part.ends_with(".js"));
        let script =
            script.context("its page is not that of web/, which was not built before it")?;
        Ok(page.len() + get(host, script)?.len())
    }
}

/// The body of an answer, which must be 200.
fn get(host: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(host).with_context(|| host.to_owned())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("GET {path}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200"), "GET {path}: {status}");
    ensure!(!body.is_empty(), "GET {path}: an empty answer");
    Ok(body.to_owned())
}
