//! What MODEL means: a run directory, a member of one, or a folder with `model.safetensors` and `config.json`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use engine::formats::{ModelFolder, folder, transformers};
use engine::train::ARTIFACTS;

use crate::failure::failure;

/// Finds and reads MODEL.
pub(super) fn open(path: &Path) -> Result<ModelFolder> {
    Ok(found(path)?.1)
}

/// Finds and reads MODEL; its folder.
pub(super) fn found(path: &Path) -> Result<(PathBuf, ModelFolder)> {
    let folder = find(path)?;
    let model = ModelFolder::read(&folder)?;
    Ok((folder, model))
}

fn find(path: &Path) -> Result<PathBuf> {
    let whole = |path: &PathBuf| {
        let has = |name: &str| path.join(name).is_file();
        has(folder::CONFIG) && (has(folder::WEIGHTS) || has(transformers::INDEX))
    };
    if let Some(found) = [path.to_path_buf(), path.join(ARTIFACTS)].into_iter().find(whole) {
        return Ok(found);
    }
    let (message, hint) = if !path.exists() {
        (
            format!("`{}` does not exist", path.display()),
            "give a run directory, a member of one, or a model folder",
        )
    } else if path.join("config.toml").is_file() || path.join("checkpoints").is_dir() {
        (
            format!("`{}` has no trained model yet", path.display()),
            "finish the run first: `taper run --resume --out DIR`",
        )
    } else {
        (
            format!(
                "`{}` is no model: it has no {} with a {}",
                path.display(),
                folder::WEIGHTS,
                folder::CONFIG
            ),
            "give a run directory, a member of one, or a model folder",
        )
    };
    Err(failure(message, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("taper-model-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).expect("made");
        folder
    }

    #[test]
    fn a_model_is_found_in_itself_and_in_its_run() {
        let run = temporary("find");
        let member = run.join("members/win-0");
        std::fs::create_dir_all(member.join("artifacts")).expect("made");
        std::fs::write(run.join("config.toml"), "").expect("written");
        let said = find(&run).expect_err("not trained").to_string();
        assert!(said.ends_with("has no trained model yet"), "{said}");
        for name in [folder::WEIGHTS, folder::CONFIG] {
            std::fs::write(member.join("artifacts").join(name), "").expect("written");
        }
        assert_eq!(find(&member).expect("there"), member.join("artifacts"));
        assert_eq!(find(&member.join("artifacts")).expect("there"), member.join("artifacts"));
        let said = find(&run.join("none")).expect_err("not there").to_string();
        assert!(said.ends_with("does not exist"), "{said}");
        std::fs::remove_dir_all(run).expect("removed");
    }
}
