//! `cargo xtask tab`: the training in a browser's tab as a folder that any web server serves.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{shell::root, wasm, web};

/// Builds the engine and the page into `folder`, else into web/dist-tab.
pub(crate) fn run(folder: Option<&str>) -> Result<()> {
    if let Some(missing) = wasm::missing() {
        bail!("the engine is not built: {missing}");
    }
    // What stands there already is not ours to remove.
    let wanted = folder.map(PathBuf::from);
    if let Some(wanted) = &wanted
        && fs::read_dir(wanted).is_ok_and(|mut inside| inside.next().is_some())
    {
        bail!("`{}` is not empty: name a folder that is, or none", wanted.display());
    }
    wasm::engine()?;
    web::build_tab()?;
    let built = root().join("web/dist-tab");
    fs::rename(built.join("tab.html"), built.join("index.html"))
        .context("Vite made no tab.html")?;
    let folder = match wanted {
        None => built,
        Some(wanted) => {
            copy(&built, &wanted)?;
            wanted
        }
    };
    println!(
        "\n`{}` is the page: any web server serves it, by https or as localhost.",
        folder.display()
    );
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make `{}`", to.display()))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            fs::copy(&path, &to).with_context(|| format!("cannot write `{}`", to.display()))?;
        }
    }
    Ok(())
}
