//! `[data]`: what is trained and tested on, and what is done to it before the network.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// The data: the kind says what its samples are, and which other keys there are.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Data {
    /// Pictures with a class each.
    Images(Images),
    /// Text of which words are masked.
    Text(Text),
}

impl Default for Data {
    fn default() -> Self {
        Data::Images(Images::default())
    }
}

impl<'de> Deserialize<'de> for Data {
    /// The kind says which keys there are.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let section = serde_json::Value::deserialize(from)?;
        let kind = section.get("kind").unwrap_or(&serde_json::Value::Null);
        let data = match TextKind::deserialize(kind) {
            Ok(_) => Text::deserialize(section).map(Data::Text),
            Err(_) => Images::deserialize(section).map(Data::Images),
        };
        data.map_err(serde::de::Error::custom)
    }
}

/// A kind of data, whatever its samples are: what `data.kind` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DataKind {
    /// Pictures.
    Images(ImageKind),
    /// Text.
    Text(TextKind),
}

impl Data {
    /// Its kind.
    pub fn kind(&self) -> DataKind {
        match self {
            Data::Images(images) => DataKind::Images(images.kind),
            Data::Text(text) => DataKind::Text(text.kind),
        }
    }

    /// Folder, archive or file, where the data lie in one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Data::Images(images) => images.path.as_deref(),
            Data::Text(text) => text.path.as_deref(),
        }
    }

    /// The same data in another place.
    pub fn set_path(&mut self, path: Option<String>) {
        match self {
            Data::Images(images) => images.path = path,
            Data::Text(text) => text.path = path,
        }
    }

    /// Whether they are made by the program itself.
    pub fn is_built_in(&self) -> bool {
        match self {
            Data::Images(images) => images.kind == ImageKind::Procedural,
            Data::Text(text) => {
                matches!(text.kind, TextKind::ProceduralText | TextKind::ProceduralQuestions)
            }
        }
    }
}

/// Format of a data set of pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageKind {
    /// IDX files in MNIST's naming, plain or gzip; `path` is their folder, or an archive of it.
    Idx,
    /// CIFAR-10's binary version, or pictures in folders by class; `path` is the folder, or an archive of it.
    Cifar10,
    /// CIFAR-100, likewise.
    Cifar100,
    /// A folder, or a tar, tar.gz or zip of it, of pictures: `train/CLASS/…` with `test/`, `val/`, `valid/` or `validation/`, or `CLASS/…`. JPEG, PNG, BMP, WebP, TIFF, PPM and PGM are read.
    Folder,
    /// ILSVRC 2012 as it is distributed; `path` is the folder of it. `ILSVRC2012_img_train.tar`, or `train/` with a tar or a folder for each
    /// class; `ILSVRC2012_img_val.tar` or `val/`, and unless that is sorted by class `ILSVRC2012_devkit_t12.tar.gz`, Kaggle's
    /// `LOC_val_solution.csv` or a `val.txt` with a line `NAME WNID` for each picture.
    Imagenet,
    /// WebDataset: tars in which each picture has a label beside it, `KEY.cls` or `KEY.json` with `label`; `path` is the folder of them, one of
    /// them, or a name with braces, `train-{000..146}.tar`. The parts stand in their names: `train`, `test`, `val`, `valid`, `validation`.
    Webdataset,
    /// Parquet files as Hugging Face's data sets of images have them: a column `image` with the `bytes` of each picture, and `label`, whose
    /// classes the files name; `path` is the folder of them, or one. Uncompressed, snappy or zstd. The parts stand in their names, likewise.
    Parquet,
    /// The built-in images; nothing is downloaded.
    #[default]
    Procedural,
}

/// How an image is resized.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Mean over the covered area; for shrinking.
    Area,
    /// Bilinear with an antialiasing support, as PIL and torchvision.
    #[default]
    Bilinear,
}

/// The images, and what is done to them before the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// Format of the data set.
    pub kind: ImageKind,
    /// Folder or archive; not used by `procedural`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Training images to use, drawn by `split_seed`; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295u32), extend("x-unit" = "images"))]
    pub train_count: Option<u64>,
    /// Test images to use; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295u32), extend("x-unit" = "images"))]
    pub test_count: Option<u64>,
    /// Share of the images held out for testing, each class by its share, when the data has no test part and no counts are given.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub test_fraction: f64,
    /// Share of the training images, each class by its share, that takes the place of the test part: settings are chosen on these, and the
    /// test part is not looked at. Absent: the test part is tested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub validation_fraction: Option<f64>,
    /// Draws the split and the subsets; the same for every member of a run, whatever its seed.
    pub split_seed: u64,
    /// Height and width of the network's input; absent: that of the teacher of `teacher.from`, else the images' own (224 for pictures in files).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096), extend("x-unit" = "pixels"))]
    pub size: Option<u32>,
    /// How images are resized to `size`; absent: as for the teacher of `teacher.from`, else bilinear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Interpolation>,
    /// Share of the shorter side kept by the centre crop at evaluation: resize to `size / crop`, crop `size`; absent: as for the teacher of
    /// `teacher.from`, else 1. ImageNet: 0.875.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub crop: Option<f64>,
    /// Mean of each channel, of pixels in 0..1; absent: that of the teacher of `teacher.from`, else measured on the training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3))]
    pub mean: Option<Vec<f64>>,
    /// Standard deviation of each channel; absent: likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3))]
    pub std: Option<Vec<f64>>,
    /// What is done about a damaged image.
    pub on_error: OnError,
    /// Random changes to training images.
    pub augment: Augment,
}

impl Default for Images {
    fn default() -> Self {
        Images {
            kind: ImageKind::Procedural,
            path: None,
            train_count: None,
            test_count: None,
            test_fraction: 0.2,
            validation_fraction: None,
            split_seed: 0,
            size: None,
            interpolation: None,
            crop: None,
            mean: None,
            std: None,
            on_error: OnError::default(),
            augment: Augment::default(),
        }
    }
}

/// What is done about a picture in a file that is damaged, or too large to be decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It ends the run, by name: at the start where all images fit in memory, else when it is first read.
    #[default]
    Refuse,
    /// It is left out and counted. Each image is decoded once more at the start to know.
    Skip,
}

/// Random changes to training images, in this order; all off by default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Crop a random part of the image and resize it to `size`, as torchvision's `RandomResizedCrop`. For ImageNet.
    pub random_resized_crop: bool,
    /// Least and greatest share of the area that `random_resized_crop` keeps.
    pub scale: [f64; 2],
    /// Least and greatest aspect ratio of `random_resized_crop`.
    pub ratio: [f64; 2],
    /// Pad each side with zeros by so much, then crop `size` at random; 0: off. CIFAR at 32: 4.
    #[schemars(range(max = 256), extend("x-unit" = "pixels"))]
    pub pad_crop: u32,
    /// Mirror half of the images left to right.
    pub flip: bool,
}

impl Default for Augment {
    fn default() -> Self {
        Augment {
            random_resized_crop: false,
            scale: [0.08, 1.0],
            ratio: [0.75, 4.0 / 3.0],
            pad_crop: 0,
            flip: false,
        }
    }
}

/// Format of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextKind {
    /// Plain text, a sentence a line: a file, or a folder, tar or zip of `.txt`, `.text`, `.tokens` or `.raw` files. Documents are files, or
    /// stand between blank lines where there is one file.
    #[default]
    Text,
    /// A built-in chain of symbols whose entropy is known; nothing is downloaded.
    ProceduralText,
    /// Questions about texts, as SQuAD 1.1 and 2.0 have them: a JSON file, whose articles are parted, or a folder with a file `train….json` and a
    /// file `dev….json`.
    Squad,
    /// Built-in questions: a context lists keys and values, and asked is for the value of a key.
    ProceduralQuestions,
}

impl TextKind {
    /// Whether what is asked for are answers in texts, instead of masked words.
    pub fn asks(self) -> bool {
        matches!(self, TextKind::Squad | TextKind::ProceduralQuestions)
    }
}

/// The text; `[text]` says how examples are made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Text {
    /// Format of the text.
    pub kind: TextKind,
    /// File, folder or archive; not used by `procedural_text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Symbols of the built-in chain, which are words of both built-in texts; absent: 1,024.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 65536), extend("x-unit" = "symbols"))]
    pub symbols: Option<u32>,
    /// Training examples to use, drawn by `split_seed`: sequences, or windows of questions; absent: all (20,000 of `procedural_text`, 4,000 of
    /// `procedural_questions`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295u32), extend("x-unit" = "examples"))]
    pub train_count: Option<u64>,
    /// Test examples to use: sequences, drawn by `split_seed`, or the first questions; absent: all (2,000 of `procedural_text`, 500 of
    /// `procedural_questions`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295u32), extend("x-unit" = "examples"))]
    pub test_count: Option<u64>,
    /// Share of the documents, or of the articles of questions, held out for testing where the text has no file `test`, `valid` or `dev`; of one
    /// document, its last sentences.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub test_fraction: f64,
    /// Share of the training documents, or of the articles of training questions, that takes the place of the test part: settings are chosen on
    /// these, and the test part is not looked at. Absent: the test part is tested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub validation_fraction: Option<f64>,
    /// Draws the split, the subsets, sentence pairs and the masks of held-out text; the same for every member of a run, whatever its seed.
    pub split_seed: u64,
}

impl Default for Text {
    fn default() -> Self {
        Text {
            kind: TextKind::Text,
            path: None,
            symbols: None,
            train_count: None,
            test_count: None,
            test_fraction: 0.1,
            validation_fraction: None,
            split_seed: 0,
        }
    }
}
