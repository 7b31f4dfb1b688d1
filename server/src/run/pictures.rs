//! Test pictures of a run, as they lie in its data, by their places.

use std::path::Path;

use anyhow::{Context, Result};
use engine::config::{self, Data};
use engine::data::images;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::failure;

/// Folder of the pictures in a run's directory, for who shows them.
const FOLDER: &str = "pictures";
/// Longer side of a picture that is shown, in pixels; a larger one is made smaller.
const SIDE: u32 = 512;
/// Pictures that are kept; before more come, all are removed.
const KEPT: usize = 1000;

/// A test picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Picture {
    /// Its place in the test part.
    pub(crate) index: usize,
    /// The number of its class.
    pub(crate) label: u32,
    /// The name of its class.
    pub(crate) name: String,
}

/// The file of the picture at a place of the test part of the run in a directory.
pub(crate) fn file(run: &Path, index: usize) -> std::path::PathBuf {
    run.join(FOLDER).join(format!("{index}.png"))
}

/// Writes the test pictures at these places as PNG, so that [`file()`] is there, and tells their classes: the work of `taper pictures`.
///
/// # Errors
/// What is wrong with the run or its data, and what the system refuses.
pub(crate) fn write(run: &Path, picks: &[usize]) -> Result<Vec<Picture>> {
    let Data::Images(data) = config::read(&run.join("config.toml"))?.data else {
        return Err(failure("the run is on text, so there are no pictures", ""));
    };
    let (samples, classes) = images::tested(&data, picks)?;
    let folder = run.join(FOLDER);
    if std::fs::read_dir(&folder).is_ok_and(|files| files.count() + picks.len() > KEPT) {
        std::fs::remove_dir_all(&folder).context("old pictures cannot be removed")?;
    }
    std::fs::create_dir_all(&folder).context("no folder for pictures can be made")?;
    let mut pictures = Vec::new();
    for images::Sample { index, label, image } in samples {
        let image = image_of(image.within(SIDE))?;
        let mut png = std::io::Cursor::new(Vec::new());
        image.write_to(&mut png, image::ImageFormat::Png).context("a picture is no PNG")?;
        engine::formats::atomic::write_bytes(&file(run, index), png.into_inner())?;
        let name = classes.get(label as usize).cloned().unwrap_or_default();
        pictures.push(Picture { index, label, name });
    }
    Ok(pictures)
}

/// A picture of ours as one of the crate that writes files.
pub(crate) fn image_of(image: images::Image) -> Result<image::DynamicImage> {
    let (width, height) = (image.width as u32, image.height as u32);
    let made = match image.channels {
        1 => image::GrayImage::from_raw(width, height, image.pixels).map(image::DynamicImage::from),
        _ => image::RgbImage::from_raw(width, height, image.pixels).map(image::DynamicImage::from),
    };
    made.context("a picture has not the pixels that it says")
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::config::Config;

    #[test]
    fn pictures_are_those_that_the_run_is_tested_on() {
        let run = tempfile::tempdir().expect("a folder");
        let demo = Config::preset("demo").expect("valid");
        let config = ["data.train_count=40", "data.test_count=20"]
            .iter()
            .fold(demo, |config, set| config.with_set(set).expect("valid"));
        std::fs::write(run.path().join("config.toml"), config.to_toml()).expect("written");
        let found = write(run.path(), &[3, 0]).expect("pictures");
        let Data::Images(data) = &config.data else { panic!("images") };
        let test = engine::data::images::open(data).expect("opened").test;
        let labels: Vec<u32> = found.iter().map(|picture| picture.label).collect();
        assert_eq!(labels, [test.classes()[3], test.classes()[0]]);
        let png = image::open(file(run.path(), 3)).expect("a PNG").into_luma8();
        // Of the same pixels as the network's input, but for mean and deviation, which are the same for all.
        let batch = test.gather(&[3]).expect("a batch");
        let engine::data::Numbers::F32(input) = &batch.inputs[0].numbers else { panic!("floats") };
        let (a, b) = (0, input.iter().position(|x| *x != input[0]).expect("no flat picture"));
        let (dark, light) = (png.as_raw()[a], png.as_raw()[b]);
        let scale = (input[b] - input[a]) / (f32::from(light) - f32::from(dark));
        for (x, &byte) in input.iter().zip(png.as_raw()) {
            let expected = input[a] + scale * (f32::from(byte) - f32::from(dark));
            assert!((x - expected).abs() < 1e-3, "{x} {expected}");
        }
        let said = write(run.path(), &[20]).expect_err("beyond the last").to_string();
        assert!(said.contains("0 to 19"), "{said}");
    }
}
