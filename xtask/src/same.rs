//! `cargo xtask same COMMIT`: whether the program trains to the same bits as that of an earlier commit, on this machine.
//!
//! What changes no behaviour changes no bit of a student: both programs train the demo and a small ResNet, by every method, on each backend
//! that this machine has, and the weights of all members and teachers are compared byte by byte.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    adapters,
    shell::{self, at, cargo, executable, loud, read, target},
};

/// What both programs train: a name, and what of the demo is set.
const RUNS: [(&str, &[&str]); 2] = [
    ("demo", &["wide.epochs=1", "vanilla.epochs=2", "narrow.epochs=1", "tune.epochs=1"]),
    (
        "resnet",
        &[
            "model.arch=resnet",
            "model.base=4",
            "model.stem=cifar",
            "model.blocks=[1,1]",
            "data.augment.pad_crop=1",
            "data.augment.flip=true",
            "wide.steps=8",
            "vanilla.steps=8",
            "kd.steps=8",
            "fitnets.steps=8",
            "narrow.steps=4",
            "tune.steps=4",
        ],
    ),
];

/// What both runs share.
const SHARED: [&str; 3] = ["seeds=[0]", "data.train_count=512", "data.test_count=128"];

/// Builds the program of `commit` beside ours, has both train, and compares.
pub(crate) fn run(commit: &str) -> Result<()> {
    let before = build(commit)?;
    shell::build()?;
    let after = PathBuf::from(shell::taper()?.get_program());
    let mut backends = Vec::new();
    if adapters::all()?.iter().any(|adapter| !adapter.is_gl()) {
        backends.push(("vulkan", Vec::new()));
    }
    if adapters::all_without_vulkan()?.iter().all(adapters::Adapter::is_gl) {
        backends.push(("gl", adapters::without_vulkan().to_vec()));
    }
    ensure!(!backends.is_empty(), "there is no adapter");
    let out = target()?.join("same");
    for (backend, environment) in &backends {
        for (name, settings) in RUNS {
            let mut found = Vec::new();
            for (program, side) in [(&before, "before"), (&after, "after")] {
                let folder = out.join(format!("{backend}-{name}-{side}"));
                if folder.exists() {
                    fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
                }
                let mut command = at(program)?;
                command.args(["run", "demo", "--no-autotune", "--out"]).arg(&folder);
                for setting in settings.iter().chain(&SHARED) {
                    command.args(["--set", setting]);
                }
                command.envs(environment.iter().map(|(name, value)| (name, value)));
                loud(&mut command)?;
                found.push(weights(&folder)?);
            }
            let [before, after] = &found[..] else { unreachable!("two programs") };
            compare(before, after).with_context(|| format!("{name} on {backend}"))?;
            println!("{name} on {backend}: the same bits in {} files", before.len());
        }
    }
    Ok(())
}

/// The program of a commit, in a checkout and a target folder of its own.
fn build(commit: &str) -> Result<PathBuf> {
    let hash = read(at(Path::new("git"))?.args(["rev-parse", "--verify", commit]))?;
    let hash = hash.trim();
    let folder = target()?.join("same").join("source");
    if folder.exists() {
        loud(at(Path::new("git"))?.args(["worktree", "remove", "--force"]).arg(&folder))?;
    }
    loud(at(Path::new("git"))?.args(["worktree", "add", "--detach"]).arg(&folder).arg(hash))?;
    let built = target()?.join("same").join("target");
    let mut build = cargo()?;
    build.args(["build", "--workspace", "--bin", "taper", "--target-dir"]).arg(&built);
    let done = loud(build.current_dir(&folder));
    loud(at(Path::new("git"))?.args(["worktree", "remove", "--force"]).arg(&folder))?;
    done.map(|()| executable(&built.join("debug"), "taper"))
}

/// Every file of weights below a run's folder, by its name from there, checkpoints left out.
fn weights(run: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let (mut found, mut folders) = (Vec::new(), vec![run.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "checkpoints") {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "model.safetensors") {
                found.push((path.strip_prefix(run)?.into(), fs::read(&path)?));
            }
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "{} holds no weights", run.display());
    Ok(found)
}

fn compare(before: &[(PathBuf, Vec<u8>)], after: &[(PathBuf, Vec<u8>)]) -> Result<()> {
    let names =
        |of: &[(PathBuf, Vec<u8>)]| of.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    ensure!(names(before) == names(after), "{:?} before, {:?} after", names(before), names(after));
    let other = before.iter().zip(after).filter(|(a, b)| a.1 != b.1);
    let other: Vec<String> = other.map(|(a, _)| a.0.display().to_string()).collect();
    if !other.is_empty() {
        bail!("other bits in {}", other.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_and_one_file_are_told() {
        let file = |name: &str, byte: u8| (PathBuf::from(name), vec![1, byte]);
        let before = [file("a", 0), file("b", 0)];
        compare(&before, &before).expect("the same");
        let told = compare(&before, &[file("a", 0), file("b", 1)]).expect_err("a bit").to_string();
        assert_eq!(told, "other bits in b");
        assert!(compare(&before, &before[..1]).is_err());
    }
}
