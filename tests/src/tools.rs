//! Programs that we did not write and hold ours against. `cargo xtask test` brings most of them; a test without one says that it is skipped.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The target directory, in which `cargo xtask` keeps what it installs.
fn target() -> PathBuf {
    let test = env::current_exe().expect("this program");
    test.ancestors().nth(3).expect("target/debug/deps/TEST").to_path_buf()
}

/// `None`, said on stderr, for what is not there; where `require` is 1 in the environment, as in CI, it must be.
fn found<T>(found: Option<T>, what: &str, require: &str) -> Option<T> {
    let required = env::var(require).is_ok_and(|value| value == "1");
    assert!(found.is_some() || !required, "{require}=1, and there is no {what}");
    if found.is_none() {
        eprintln!("skipped: there is no {what}");
    }
    found
}

/// Where a program comes from that `cargo xtask setup` installs.
const BROUGHT: &str = "; `cargo xtask setup` brings it";

/// Python with PyTorch and torchvision: the program that `TAPER_TORCH` names. It is too large to be installed for a test.
///
/// # Panics
/// If there is none and `TAPER_REQUIRE_TORCH` is 1.
pub fn torch() -> Option<PathBuf> {
    let path = env::var_os("TAPER_TORCH").map(PathBuf::from).filter(|path| path.is_file());
    found(path, "Python with PyTorch and torchvision that TAPER_TORCH names", "TAPER_REQUIRE_TORCH")
}

/// The Python of [`torch`], if it has transformers as well.
///
/// # Panics
/// As [`torch`].
pub fn transformers() -> Option<PathBuf> {
    torch_with("transformers")
}

/// The Python of [`torch`], if it has this module as well.
///
/// # Panics
/// As [`torch`].
pub fn torch_with(module: &str) -> Option<PathBuf> {
    let python = torch()?;
    let has =
        std::process::Command::new(&python).args(["-c", &format!("import {module}")]).output();
    let there = has.is_ok_and(|output| output.status.success());
    let what = format!("{module} in that Python");
    found(Some(python).filter(|_| there), &what, "TAPER_REQUIRE_TORCH")
}

/// A folder of a real model on text, as transformers keeps it, that `TAPER_HUB` names; none is in the repository.
///
/// # Panics
/// If there is none and `TAPER_REQUIRE_HUB` is 1.
pub fn hub() -> Option<PathBuf> {
    let path = env::var_os("TAPER_HUB").map(PathBuf::from).filter(|path| path.is_dir());
    found(path, "model of Hugging Face's in a folder that TAPER_HUB names", "TAPER_REQUIRE_HUB")
}

/// What opens folders in transformers.js.
#[derive(Debug, Clone)]
pub struct TransformersJs {
    /// Node.
    pub node: PathBuf,
    /// The folder whose node_modules has the package.
    pub modules: PathBuf,
}

/// transformers.js: the folder that `TAPER_TRANSFORMERS_JS` names, in which `npm install @huggingface/transformers` was run. It is too large to
/// be installed for a test.
///
/// # Panics
/// If a part is missing and `TAPER_REQUIRE_TRANSFORMERS_JS` is 1.
pub fn transformers_js() -> Option<TransformersJs> {
    const REQUIRE: &str = "TAPER_REQUIRE_TRANSFORMERS_JS";
    let modules = env::var_os("TAPER_TRANSFORMERS_JS").map(PathBuf::from);
    let has = |path: &PathBuf| path.join("node_modules/@huggingface/transformers").is_dir();
    let what = "transformers.js in a folder that TAPER_TRANSFORMERS_JS names";
    let modules = found(modules.filter(has), what, REQUIRE)?;
    let node = found(on_path(&["node"]), "node on the PATH", REQUIRE)?;
    Some(TransformersJs { node, modules })
}

/// tint, Chrome's compiler of shaders.
///
/// # Panics
/// If there is none and `TAPER_REQUIRE_TINT` is 1.
pub fn tint() -> Option<PathBuf> {
    found(on_path(&["tint"]), "tint on the PATH: no shader is passed to it", "TAPER_REQUIRE_TINT")
}

/// Python with ONNX Runtime.
///
/// # Panics
/// If there is none and `TAPER_REQUIRE_ONNX` is 1.
pub fn python() -> Option<PathBuf> {
    let python = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
    let path = target().join("python").join(python);
    let what = format!("Python with ONNX Runtime at {}{BROUGHT}", path.display());
    found(Some(path).filter(|path| path.is_file()), &what, "TAPER_REQUIRE_ONNX")
}

/// The MPIs that `cargo xtask setup` brings, each an environment of Python's in `target/mpi` with its launcher and its library.
///
/// # Panics
/// If one is missing and `TAPER_REQUIRE_MPI` is 1.
pub fn mpis() -> Vec<PathBuf> {
    let there = |name: &str| {
        let path = target().join("mpi").join(name);
        let what = format!("{name} at {}{BROUGHT}", path.display());
        found(
            Some(path).filter(|path| path.join("bin/mpirun").is_file()),
            &what,
            "TAPER_REQUIRE_MPI",
        )
    };
    ["openmpi", "mpich"].into_iter().filter_map(there).collect()
}

/// What runs the scripts of `tests/browser`.
#[derive(Debug, Clone)]
pub struct Browser {
    /// Node, which drives Chromium by the packages of `web/node_modules`.
    pub node: PathBuf,
    /// Chromium or Chrome.
    pub chromium: PathBuf,
}

/// Chromium and what drives it.
///
/// # Panics
/// If a part is missing and `TAPER_REQUIRE_BROWSER` is 1.
pub fn browser() -> Option<Browser> {
    const REQUIRE: &str = "TAPER_REQUIRE_BROWSER";
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/node_modules");
    let driver = Some(modules.join("playwright-core")).filter(|path| path.is_dir());
    let from = |what: &str| format!("{what}{BROUGHT}");
    found(driver, &from("playwright-core in web/node_modules"), REQUIRE)?;
    let node = found(on_path(&["node"]), &from("node on the PATH"), REQUIRE)?;
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let chromium = found(on_path(&names), &from("Chromium on the PATH"), REQUIRE)?;
    Some(Browser { node, chromium })
}

/// The first of some programs that a folder of the PATH has.
pub fn on_path(names: &[&str]) -> Option<PathBuf> {
    let folders: Vec<_> = env::split_paths(&env::var_os("PATH")?).collect();
    let paths = names.iter().flat_map(|name| {
        folders
            .iter()
            .map(move |folder| folder.join(name).with_extension(env::consts::EXE_EXTENSION))
    });
    paths.into_iter().find(|path| path.is_file())
}
