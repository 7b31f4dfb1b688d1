//! A model as a folder in a form that other programs load.

use std::path::Path;

use super::files::{self, WEIGHTS};
use super::folder::{CARD, MERGE, ModelFolder};
use super::form::{Form, Numbers, refused};
use super::{
    FormatError, ModelConfig, card, for_pytorch, for_timm, for_transformers, safetensors, sums,
};
use crate::disk::{Disk as _, SystemDisk};

/// Whether a form can say a model.
///
/// # Errors
/// What it cannot say.
pub fn check(model: &ModelConfig, form: Form) -> Result<(), FormatError> {
    let said = match (form, model) {
        (Form::Taper, _) | (Form::Transformers, ModelConfig::Text(_)) => Ok(()),
        (Form::Timm | Form::Pytorch, ModelConfig::Text(_)) => {
            return Err(FormatError::Form {
                form,
                problem: "it reads text, and this form is of networks on images".into(),
                instead: Form::Transformers,
            });
        }
        (Form::Transformers, ModelConfig::Images(of)) => for_transformers::config(of).map(drop),
        (Form::Timm, ModelConfig::Images(of)) => for_timm::config(of).map(drop),
        (Form::Pytorch, ModelConfig::Images(of)) => for_pytorch::config(of).map(drop),
    };
    said.map_err(refused(form))
}

/// Writes a model as a folder of this form, making it if it is not there.
///
/// # Errors
/// What the form cannot say of it, or what the system refuses.
pub fn write(
    model: &ModelFolder,
    form: Form,
    numbers: &Numbers,
    folder: &Path,
) -> Result<(), FormatError> {
    let disk = &SystemDisk;
    let half = numbers.half;
    check(&model.config, form)?;
    let contents = match (form, &model.config) {
        // That of a model on text is transformers' own.
        (Form::Taper, _) | (_, ModelConfig::Text(_)) => None,
        (Form::Transformers, ModelConfig::Images(of)) => {
            Some(for_transformers::contents(of, &model.weights, half)?)
        }
        (Form::Timm, ModelConfig::Images(of)) => Some(for_timm::contents(of, &model.weights)?),
        (Form::Pytorch, ModelConfig::Images(of)) => {
            Some(for_pytorch::contents(of, &model.weights)?)
        }
    };
    let card = card::before_use(&model.card, &numbers.said);
    disk.make_folder(folder)?;
    // Before the sums.
    if let Some(bytes) = &numbers.int8 {
        put(folder, form.int8(), bytes)?;
    }
    let Some(contents) = contents else {
        let model = ModelFolder { card, ..model.clone() };
        return model.write_as(disk, folder, numbers.stored());
    };
    for (name, bytes) in &contents.files {
        put(folder, name, bytes)?;
    }
    let (path, metadata) = (folder.join(WEIGHTS), safetensors::pytorch());
    safetensors::write_as(disk, &path, &contents.weights, &metadata, numbers.stored())?;
    if let Some(merge) = &model.merge {
        files::write_json_on(disk, &folder.join(MERGE), merge)?;
    }
    let card = card::used_by(&card, contents.library, &contents.usage);
    disk.write_bytes(&folder.join(CARD), card.as_bytes())?;
    sums::write_on(disk, folder)
}

/// Writes a file of a folder, in a folder of its own there if its name says so.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), FormatError> {
    let path = folder.join(name);
    SystemDisk.make_folder(path.parent().unwrap_or(folder))?;
    SystemDisk.write_bytes(&path, bytes)
}
