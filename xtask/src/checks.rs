//! `cargo xtask test`: everything that the CI runs, in order, the quick to fail first.

use anyhow::Result;

use crate::{
    browser, python, schema, setup,
    shell::{cargo, loud, works},
    web,
};

/// Formatting, lints, documentation, tests; the first that fails ends it.
///
/// All use the dev profile and the features of the whole workspace, so nothing is built twice: clippy and rustdoc share the metadata of the
/// dependencies, the tests share the objects of the build before them.
pub(crate) fn run() -> Result<()> {
    components()?;
    loud(cargo()?.args(["fmt", "--all", "--check"]))?;
    loud(cargo()?.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    web::checks()?;
    loud(cargo()?.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    loud(cargo()?.args(["build", "--workspace", "--all-targets"]))?;
    if web::there() {
        schema::check()?;
    }
    setup::adapter()?;
    let mut tests = cargo()?;
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    // Without these, tests that lack a device or a data set say so and pass.
    tests.env("TAPER_REQUIRE_GPU", "1");
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    if python::setup()? || ci {
        tests.env("TAPER_REQUIRE_ONNX", "1");
    }
    if browser::setup()? || ci {
        tests.env("TAPER_REQUIRE_BROWSER", "1");
    }
    if ci && std::env::var_os("TAPER_REQUIRE_DATA").is_none() {
        tests.env("TAPER_REQUIRE_DATA", "1");
    }
    // tint answers a call for help with a failure.
    if std::process::Command::new("tint").arg("--help").output().is_ok() {
        tests.env("TAPER_REQUIRE_TINT", "1");
    } else {
        println!("tint is not on the PATH: no shader is passed to Chrome's compiler");
    }
    loud(&mut tests)?;
    web::end_to_end()
}

/// A minimal toolchain has neither rustfmt nor clippy; rustup brings them.
fn components() -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let there =
            cargo()?.args([subcommand, "--version"]).output().is_ok_and(|o| o.status.success());
        if !there && works("rustup", &["--version"]) {
            loud(std::process::Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use crate::shell::root;

    /// Every file of Rust or of the page below a folder of the workspace.
    fn sources(folder: &str) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("read")) {
                let path = entry.path();
                if path.is_dir() {
                    walk(&path, found);
                } else if path.extension().is_some_and(|extension| {
                    ["rs", "ts", "svelte"].iter().any(|kind| extension == *kind)
                }) {
                    found.push(path);
                }
            }
        }
        let mut found = Vec::new();
        walk(&root().join(folder), &mut found);
        assert!(!found.is_empty(), "{folder} holds no source");
        found
    }

    /// `PATH:LINE: TEXT` of each line of code, comments left out, that has one of `words`; the tests at a file's end may do as they like.
    fn lines_with(folders: &[&str], words: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for path in folders.iter().flat_map(|folder| sources(folder)) {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let code = text.lines().enumerate().take_while(|(_, line)| *line != "#[cfg(test)]");
            for (number, line) in code {
                let code = line.split("//").next().unwrap_or_default();
                if words.iter().any(|word| code.contains(word)) {
                    found.push(format!("{}:{}: {line}", path.display(), number + 1));
                }
            }
        }
        found
    }

    fn none(found: Vec<String>) {
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn what_is_pure_names_no_device_and_no_file() {
        let pure = ["graph", "ops", "nn", "models", "win", "plan"];
        let folders = pure.map(|module| format!("engine/src/{module}"));
        let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
        let words = ["wgpu", "std::fs", "fs::", "std::io", "std::net", "print!", "println!"];
        none(lines_with(&folders, &words));
    }

    #[test]
    fn only_gpu_names_wgpu() {
        let mut found = lines_with(&["engine/src", "server/src"], &["wgpu::"]);
        let gpu = root().join("engine/src/gpu");
        found.retain(|line| !Path::new(line).starts_with(&gpu));
        none(found);
    }

    #[test]
    fn no_shader_stands_in_rust_or_in_the_page() {
        // In two pieces, or this line would be found.
        let words =
            [concat!("@com", "pute"), concat!("@work", "group_size"), concat!("var<sto", "rage")];
        none(lines_with(&["engine/src", "server/src", "xtask/src", "web/src"], &words));
    }
}
