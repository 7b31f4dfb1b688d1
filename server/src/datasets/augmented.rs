//! What training sees of pictures: crops, shifts and flips, drawn side by side.

use std::path::Path;

use anyhow::{Context as _, Result};
use engine::config::{Augment, DataKind, Images};
use engine::data::images;
use image::{GenericImage as _, RgbImage};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::failure::failure;
use crate::run::pictures::image_of;

/// Pictures that are drawn, a row each, and epochs, a column each behind that of the test.
const PICTURES: usize = 8;
const EPOCHS: u64 = 7;
/// The longest side of one of them on the drawing, and the gap between two, in pixels.
const SIDE: u32 = 96;
const GAP: u32 = 2;
/// The largest input that is drawn: memory goes by it.
pub(crate) const LARGEST: u32 = 512;

/// How training pictures are changed, as `data.size` and the keys of `[data.augment]` say it.
#[derive(Debug, Clone, Copy, Default, clap::Args, Deserialize, JsonSchema)]
pub(crate) struct Changes {
    /// Height and width of the network's input, at most 512; absent: those of the pictures, if all are squares of one size.
    #[arg(long)]
    pub(crate) size: Option<u32>,
    /// As `data.augment.pad_crop`.
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub(crate) pad_crop: u32,
    /// As `data.augment.flip`.
    #[arg(long)]
    #[serde(default)]
    pub(crate) flip: bool,
    /// As `data.augment.random_resized_crop`.
    #[arg(long)]
    #[serde(default)]
    pub(crate) random_resized_crop: bool,
    /// Of the random changes; another one draws others.
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub(crate) seed: u64,
}

impl Changes {
    /// The arguments of a command line.
    pub(super) fn arguments(&self) -> Vec<String> {
        let Self { size, pad_crop, flip, random_resized_crop, seed } = self;
        let mut words = vec![format!("--pad-crop={pad_crop}"), format!("--seed={seed}")];
        words.extend(size.map(|size| format!("--size={size}")));
        words.extend(flip.then(|| "--flip".into()));
        words.extend(random_resized_crop.then(|| "--random-resized-crop".into()));
        words
    }
}

/// Draws training pictures of a kind at `path` into a file, and tells the class of each row: the work of `taper augmented`.
///
/// # Errors
/// What is wrong with the data or the changes, and what the system refuses.
pub(crate) fn augmented(
    kind: DataKind,
    path: Option<String>,
    changes: &Changes,
    out: &Path,
) -> Result<Vec<String>> {
    let DataKind::Images(kind) = kind else {
        return Err(failure("the data set is a text, and has no pictures", ""));
    };
    let Changes { size, pad_crop, flip, random_resized_crop, seed } = *changes;
    let augment = Augment { random_resized_crop, pad_crop, flip, ..Augment::default() };
    let config = Images { kind, path, size, augment, ..Images::default() };
    let (pictures, classes) = images::augmented(&config, PICTURES, EPOCHS, seed)?;
    let rows = pictures.len() as u32;
    let columns = 1 + EPOCHS as u32;
    let mut drawing: Option<RgbImage> = None;
    for (row, picture) in (0..).zip(&pictures) {
        for (column, seen) in (0..).zip(&picture.seen) {
            let seen = image_of(seen.clone().within(SIDE))?.into_rgb8();
            let (width, height) = (seen.width() + GAP, seen.height() + GAP);
            let place = (column * width, row * height);
            let blank = || {
                let white = image::Rgb([255; 3]);
                RgbImage::from_pixel(columns * width - GAP, rows * height - GAP, white)
            };
            let whole = drawing.get_or_insert_with(blank);
            whole.copy_from(&seen, place.0, place.1).context("a picture has another size")?;
        }
    }
    let drawing = drawing.context("there are no training pictures")?;
    drawing.save(out).with_context(|| format!("cannot write `{}`", out.display()))?;
    let name = |label: u32| classes.get(label as usize).cloned().unwrap_or_default();
    Ok(pictures.iter().map(|picture| name(picture.label)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::config::ImageKind;

    fn drawn(changes: &Changes) -> RgbImage {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("batch.png");
        let kind = DataKind::Images(ImageKind::Procedural);
        let classes = augmented(kind, None, changes, &out).expect("drawn");
        assert_eq!(classes.len(), PICTURES);
        image::open(out).expect("a PNG").into_rgb8()
    }

    /// The picture in a row and a column.
    fn at(drawing: &RgbImage, row: u32, column: u32) -> RgbImage {
        let side = (drawing.height() + GAP) / PICTURES as u32;
        let (x, y) = (column * side, row * side);
        image::imageops::crop_imm(drawing, x, y, side - GAP, side - GAP).to_image()
    }

    #[test]
    fn epochs_flip_and_shift_what_the_test_sees_and_a_seed_draws_the_same_again() {
        let plain = drawn(&Changes::default());
        for column in 1..=EPOCHS as u32 {
            assert_eq!(at(&plain, 3, column), at(&plain, 3, 0), "nothing is changed");
        }
        let flips = drawn(&Changes { flip: true, ..Changes::default() });
        let mut seen = [0; 2];
        for (row, column) in
            (0..PICTURES as u32).flat_map(|r| (1..=EPOCHS as u32).map(move |c| (r, c)))
        {
            let (before, after) = (at(&flips, row, 0), at(&flips, row, column));
            assert_eq!(before, at(&plain, row, 0), "a test flips nothing");
            let mirrored = image::imageops::flip_horizontal(&before);
            assert!(after == before || after == mirrored);
            seen[usize::from(after == mirrored && before != mirrored)] += 1;
        }
        assert!(seen.iter().all(|&count| count > 10), "{seen:?} of 56");
        let moved = Changes { pad_crop: 3, seed: 5, ..Changes::default() };
        assert_eq!(drawn(&moved), drawn(&moved));
        assert_ne!(drawn(&moved), drawn(&Changes { seed: 6, ..moved }));
        assert_ne!(drawn(&moved), plain);
    }

    #[test]
    fn the_command_line_has_every_change() {
        let all =
            Changes { size: Some(8), pad_crop: 2, flip: true, random_resized_crop: true, seed: 9 };
        assert_eq!(all.arguments().len(), 5);
        let drawing = drawn(&all);
        assert_eq!(drawing.width(), (8 + GAP) * (1 + EPOCHS as u32) - GAP);
        assert_eq!(Changes::default().arguments(), ["--pad-crop=0", "--seed=0"]);
    }
}
