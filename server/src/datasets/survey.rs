//! Counting a data set, with thumbnails of some of its pictures.

use std::path::Path;

use anyhow::{Context as _, Result};
use engine::config::{DataKind, Images, Text};
use engine::data::text::{self, Token};
use engine::data::{Account, images};
use engine::suggest::Pictures;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::run::pictures::image_of;

/// Pictures of each part that a survey keeps.
const SAMPLES: usize = 64;
/// Longer side of a thumbnail, in pixels.
const THUMBNAIL: u32 = 96;

/// What `taper survey` prints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Surveyed {
    pub(crate) classes: Vec<String>,
    pub(crate) train: SurveyedPart,
    pub(crate) test: SurveyedPart,
    pub(crate) account: Account,
    /// What a configuration is chosen by; none for a text.
    #[serde(default)]
    pub(crate) pictures: Option<Pictures>,
}

/// A part of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SurveyedPart {
    pub(crate) counts: Vec<u64>,
    /// Index and class of the pictures of which there are thumbnails.
    pub(crate) samples: Vec<(usize, u32)>,
    /// Some examples of a text.
    #[serde(default)]
    pub(crate) texts: Vec<Vec<Token>>,
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// For training.
    #[default]
    Train,
    /// For testing.
    Test,
}

impl Part {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Test => "test",
        }
    }

    pub(super) fn file(self, index: usize) -> String {
        format!("{}-{index}.png", self.name())
    }
}

impl Surveyed {
    pub(crate) fn part(&self, part: Part) -> &SurveyedPart {
        match part {
            Part::Train => &self.train,
            Part::Test => &self.test,
        }
    }
}

/// Counts the data of a kind at `path` and writes thumbnails: the work of `taper survey`.
///
/// # Errors
/// What is wrong with the data, and what the system refuses.
pub(crate) fn survey(kind: DataKind, path: Option<String>, thumbnails: &Path) -> Result<Surveyed> {
    match kind {
        DataKind::Images(kind) => pictures(&Images { kind, path, ..Images::default() }, thumbnails),
        DataKind::Text(kind) => {
            let config = Text { kind, path, ..Text::default() };
            let text::Survey { samples: [train, test], account } = text::survey(&config, SAMPLES)?;
            let [train, test] =
                [train, test].map(|texts| SurveyedPart { texts, ..SurveyedPart::default() });
            Ok(Surveyed { train, test, account, ..Surveyed::default() })
        }
    }
}

fn pictures(config: &Images, thumbnails: &Path) -> Result<Surveyed> {
    let survey = images::survey(config, SAMPLES)?;
    let pictures = survey.pictures(config.kind);
    let images::Survey { classes, train, test, account } = survey;
    let part = |part: Part, surveyed: images::SurveyedPart| -> Result<SurveyedPart> {
        let mut samples = Vec::new();
        for images::Sample { index, label, image } in surveyed.samples {
            let image = image_of(image)?;
            let large = image.width().max(image.height()) > THUMBNAIL;
            let image = if large { image.thumbnail(THUMBNAIL, THUMBNAIL) } else { image };
            let file = thumbnails.join(part.file(index));
            image.save(&file).with_context(|| format!("cannot write `{}`", file.display()))?;
            samples.push((index, label));
        }
        Ok(SurveyedPart { counts: surveyed.counts, samples, texts: Vec::new() })
    };
    let (train, test) = (part(Part::Train, train)?, part(Part::Test, test)?);
    Ok(Surveyed { classes, train, test, account, pictures })
}
