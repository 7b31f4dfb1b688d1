//! `cargo xtask test`: everything that the CI runs, in order, the quick to fail first.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use crate::{
    adapters, browser, fuzz, python, schema, setup,
    shell::{self, cargo, loud, root, works},
    wasm, web, wheel,
};

/// The test programs that are left out on OpenGL alone: the first two open no device, the third has one of its own, in Chromium, and what the fourth runs
/// says nothing of one.
const NOT_ON_GL: [&str; 4] = ["plans", "shaders", "browser", "readme"];

/// Formatting, lints, documentation, tests; the first that fails ends it.
///
/// All use the dev profile and the features of the whole workspace, so nothing is built twice: clippy and rustdoc share the metadata of the
/// dependencies, the tests share the objects of the build before them.
pub(crate) fn run() -> Result<()> {
    components()?;
    loud(cargo()?.args(["fmt", "--all", "--check"]))?;
    loud(cargo()?.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    for_a_browser()?;
    web::checks()?;
    loud(cargo()?.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    loud(cargo()?.args(["build", "--workspace", "--all-targets"]))?;
    if web::missing().is_none() {
        schema::check()?;
    }
    setup::adapter()?;
    let ci = shell::ci();
    // Without these, tests that lack a device, a program or a data set say so and pass.
    let mut required = vec!["TAPER_REQUIRE_GPU"];
    if python::setup()? || ci {
        required.push("TAPER_REQUIRE_ONNX");
    }
    // There is no MPI of pip's for Windows.
    if python::mpis()? || (ci && cfg!(unix)) {
        required.push("TAPER_REQUIRE_MPI");
    }
    if browser::setup()? || ci {
        required.push("TAPER_REQUIRE_BROWSER");
    }
    if ci && std::env::var_os("TAPER_REQUIRE_DATA").is_none() {
        required.push("TAPER_REQUIRE_DATA");
    }
    let tested = [on_what_is_there(&required, ci)?, on_gl_alone(&required)?];
    fuzz::short()?;
    web::end_to_end(browser::chromium())?;
    as_a_wheel(required.contains(&"TAPER_REQUIRE_ONNX"))?;
    eprintln!("\ntested:\n  {}", tested.join("\n  "));
    Ok(())
}

/// Every test, on the adapters that are there; which they are.
fn on_what_is_there(required: &[&str], ci: bool) -> Result<String> {
    let found = adapters::all()?;
    let name = adapters::named(&found);
    eprintln!("\nadapters of this pass: {name}");
    let mut tests = cargo()?;
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    tests.envs(required.iter().map(|name| (name, "1")));
    if ci && found.iter().any(|adapter| !adapter.is_gl()) {
        // The software Vulkan driver has both.
        tests.envs([("TAPER_REQUIRE_F16", "1"), ("TAPER_REQUIRE_TIMESTAMPS", "1")]);
    }
    // tint answers a call for help with a failure.
    if Command::new("tint").arg("--help").output().is_ok() {
        tests.env("TAPER_REQUIRE_TINT", "1");
    } else {
        println!("tint is not on the PATH: no shader is passed to Chrome's compiler");
    }
    loud(&mut tests)?;
    Ok(format!("all, on {name}"))
}

/// What runs on a device, on OpenGL alone; what was tested, or why nothing was.
fn on_gl_alone(required: &[&str]) -> Result<String> {
    let found = adapters::all_without_vulkan()?;
    let skipped = match found.iter().find(|adapter| !adapter.is_gl()) {
        _ if !adapters::all()?.iter().any(|adapter| !adapter.is_gl()) => {
            Some("there was no other adapter".into())
        }
        _ if found.is_empty() => Some("there is no OpenGL driver".into()),
        Some(other) => Some(format!("{other} cannot be hidden")),
        None => None,
    };
    if let Some(why) = skipped {
        let words = format!("no second pass on OpenGL alone: {why}");
        eprintln!("\n{words}");
        return Ok(words);
    }
    let name = adapters::named(&found);
    eprintln!("\nadapters of this pass: {name}");
    let mut tests = cargo()?;
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    // They are named and not their packages: for less than the whole workspace cargo would build the dependencies with other features.
    for name in programs()?.iter().filter(|name| !NOT_ON_GL.contains(&name.as_str())) {
        tests.args(["--test", name]);
    }
    tests.envs(required.iter().map(|name| (name, "1")));
    tests.envs(adapters::without_vulkan());
    loud(&mut tests)?;
    Ok(format!("what runs on a device, on OpenGL alone: {name}"))
}

/// The program of the tests as a wheel; `dist` does the same with the one that it packs. It needs the page, and Python.
fn as_a_wheel(python: bool) -> Result<()> {
    match (web::missing(), python) {
        (Some(missing), _) => eprintln!("\nno wheel is tried, as the page is not built: {missing}"),
        (None, false) => eprintln!("\nno wheel is tried: there is no Python"),
        (None, true) => wheel::check(shell::taper()?.get_program().as_ref())?,
    }
    Ok(())
}

/// The programs of integration tests, by name: a file each, or a folder with its `main.rs`.
fn programs() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in ["tests/tests", "server/tests"] {
        for entry in fs::read_dir(root().join(folder)).context(folder)? {
            let path = entry.context(folder)?.path();
            let is_program =
                path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").is_file();
            if let (true, Some(name)) = (is_program, path.file_stem().and_then(|n| n.to_str())) {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    Ok(names)
}

/// The crates that a browser runs compile for it. Rustup installs the target; where it cannot, a sentence says so, and the CI fails.
fn for_a_browser() -> Result<()> {
    if wasm::missing().is_some() && works("rustup", &["--version"]) {
        let added = loud(Command::new("rustup").args(["target", "add", wasm::TARGET]));
        added.unwrap_or_else(|error| eprintln!("{error:#}"));
    }
    if let Some(missing) = wasm::missing() {
        let words = format!("nothing is compiled for a browser: {missing}");
        anyhow::ensure!(!shell::ci(), "{words}");
        println!("{words}");
        return Ok(());
    }
    let packages = ["taper-core", "taper-engine", wasm::CRATE];
    let check = ["check", "--profile", "browser", "--target", wasm::TARGET];
    loud(cargo()?.args(check).args(packages.iter().flat_map(|package| ["--package", package])))
}

/// A minimal toolchain has neither rustfmt nor clippy; rustup brings them.
fn components() -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let there =
            cargo()?.args([subcommand, "--version"]).output().is_ok_and(|o| o.status.success());
        if !there && works("rustup", &["--version"]) {
            loud(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::{code, files};

    /// `PATH:LINE: TEXT` of each line of code, comments left out, that has one of `words`; tests may do as they like.
    fn lines_with(folders: &[&str], words: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for path in folders.iter().flat_map(|folder| files(&root().join(folder))) {
            let text = fs::read_to_string(&path).expect("UTF-8");
            for (number, line) in code(&text) {
                let code = line.split("//").next().unwrap_or_default();
                if words.iter().any(|word| code.contains(word)) {
                    found.push(format!("{}:{number}: {line}", path.display()));
                }
            }
        }
        found
    }

    fn none(found: Vec<String>) {
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn the_programs_of_the_tests_are_found() {
        let found = programs().expect("they can be read");
        for name in ["ops", "run", "serve", "starts"].iter().chain(&NOT_ON_GL) {
            assert!(found.iter().any(|found| found == name), "{name} is not among {found:?}");
        }
        assert!(!found.iter().any(|name| name == "support"), "{found:?}");
    }

    #[test]
    fn the_core_names_no_file_no_stream_and_no_thread() {
        let words = [
            "std::fs",
            "fs::",
            "std::io",
            "std::net",
            "std::thread",
            "thread::",
            "print!",
            "println!",
        ];
        none(lines_with(&["engine/core/src"], &words));
    }

    #[test]
    fn no_shader_stands_in_rust_or_in_the_page() {
        // In two pieces, or this line would be found.
        let words =
            [concat!("@com", "pute"), concat!("@work", "group_size"), concat!("var<sto", "rage")];
        none(lines_with(&["engine", "server/src", "xtask/src", "web/src"], &words));
    }
}
