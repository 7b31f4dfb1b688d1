//! What suits a set of pictures: the keys that their owner would have to know otherwise, each with a reason.
//!
//! The preset `pictures` says what does not depend on the pictures; [`suggest`] fills in the rest. The command line, the server and the page all
//! ask it. What a user has set is never changed, and what depends on it goes by it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Value;

use crate::{
    config::{Config, ConfigError, Draft, ImageKind, Method},
    models,
    nn::Extent,
    ops::AdapterKind,
    win::surgery,
};

/// The preset whose keys are filled in.
pub const PRESET: &str = "pictures";

/// What is known of a set of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pictures {
    /// Their format.
    pub kind: ImageKind,
    /// Pictures that are trained on, after the split.
    pub train: u64,
    /// Classes.
    pub classes: u32,
    /// Length of the shorter side in pixels, the median of those that were looked at.
    pub side: u32,
    /// 1 of grey pictures, else 3.
    pub channels: u32,
}

/// A key that was filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// The key, as `--set` takes it.
    pub key: String,
    /// Its value, as TOML.
    pub value: String,
    /// Why, in one sentence.
    pub reason: String,
}

impl Choice {
    /// For a terminal.
    pub fn line(&self) -> String {
        format!("{} = {}: {}", self.key, self.value, self.reason)
    }
}

/// From so many pixels on the stem is ImageNet's, which leaves a 32nd of them to the last block.
const IMAGENET: u32 = 64;
/// Least input, in pixels: smaller pictures are enlarged.
const LEAST: u32 = 8;
/// Pictures that are many: they are worth more pixels and more units.
const MANY: u64 = 20_000;
/// Steps of a stage, where these are neither too few epochs nor too many.
const STEPS: u64 = 1200;
const EPOCHS: [u64; 2] = [12, 60];
/// Fewest epochs, however slow the device; all lengths are multiples of it, so that the methods share them without a rest.
const UNIT: u64 = 4;
/// Seconds that a run is to take.
const PATIENCE: f64 = 300.0;

/// Multiply-adds a second that a thin network reaches, roughly: two cores, and a small GPU.
fn speed(on: AdapterKind) -> f64 {
    match on {
        AdapterKind::Cpu => 5e9,
        AdapterKind::Gpu => 3e11,
    }
}

/// A draft while its keys are filled in.
struct Suggesting {
    draft: Draft,
    choices: Vec<Choice>,
}

impl Suggesting {
    /// Fills in `key`, unless the user has set it.
    fn choose(
        &mut self,
        key: &str,
        value: impl Into<Value>,
        reason: impl Into<String>,
    ) -> Result<(), ConfigError> {
        let value = value.into();
        let shown = value.to_string();
        if let Some(draft) = self.draft.suggest(key, value)? {
            self.draft = draft;
            let (key, reason) = (key.into(), reason.into());
            self.choices.push(Choice { key, value: shown, reason });
        }
        Ok(())
    }

    /// Fills in a key of several sections for one reason.
    fn choose_in(
        &mut self,
        sections: &[&str],
        key: &str,
        value: impl Into<Value>,
        reason: &str,
    ) -> Result<(), ConfigError> {
        let value = value.into();
        let each = |section: &&str| self.choose(&format!("{section}.{key}"), value.clone(), reason);
        sections.iter().try_for_each(each)
    }
}

/// Fills in what suits these pictures on such a device; none where that is not known.
///
/// # Errors
/// What the user has set is no configuration.
pub fn suggest(
    draft: Draft,
    of: &Pictures,
    on: Option<AdapterKind>,
) -> Result<(Draft, Vec<Choice>), ConfigError> {
    let mut s = Suggesting { draft, choices: Vec::new() };
    let kind = serde_json::to_value(of.kind).unwrap_or_default();
    let kind = kind.as_str().unwrap_or_default().to_owned();
    s.choose("data.kind", kind, "so the files are named")?;
    let size = input(&mut s, of, on)?;
    augmentation(&mut s, of, size)?;
    let networks = s.draft.given("model.arch").is_none_or(|arch| arch.as_str() == Some("resnet"));
    if networks {
        network(&mut s, of, on, size)?;
    }
    lengths(&mut s, of, on, size)?;
    Ok((s.draft, s.choices))
}

/// The size of the network's input.
fn input(s: &mut Suggesting, of: &Pictures, on: Option<AdapterKind>) -> Result<u32, ConfigError> {
    let side = of.side;
    let (most, why) = match on {
        Some(AdapterKind::Cpu) => (64, "a software adapter trains these in minutes"),
        _ if of.train >= MANY => (224, "there are enough pictures for as many as ImageNet's"),
        _ => (128, "more would be learnt by heart from so few pictures"),
    };
    let (size, reason) = if side < LEAST {
        (
            LEAST,
            format!("the shorter sides have {side} pixels, which the blocks would halve to none"),
        )
    } else if side < IMAGENET {
        (side, format!("the shorter sides have {side} pixels"))
    } else if side < most {
        let size = side / 32 * 32;
        (
            size,
            format!(
                "the shorter sides have about {side} pixels, of which this is the multiple of 32"
            ),
        )
    } else {
        (most, format!("the shorter sides have about {side} pixels, and {why}"))
    };
    s.choose("data.size", size, reason)?;
    let given = s.draft.given("data.size").and_then(Value::as_integer);
    Ok(given.and_then(|given| u32::try_from(given).ok()).unwrap_or(size).max(1))
}

/// What is done to pictures that cannot be read, and at random to those that are trained on.
fn augmentation(s: &mut Suggesting, of: &Pictures, size: u32) -> Result<(), ConfigError> {
    let files = matches!(of.kind, ImageKind::Folder | ImageKind::Webdataset | ImageKind::Parquet);
    if files && of.train < MANY {
        let reason = "a damaged picture is left out and named, instead of ending the run";
        s.choose("data.on_error", "skip", reason)?;
    }
    let (flip, reason) = match of.channels {
        1 => (false, "grey pictures are often of digits or letters, which no mirror shows"),
        _ => (true, "photographs may be mirrored; set it to false where left and right differ"),
    };
    s.choose("data.augment.flip", flip, reason)?;
    if size >= IMAGENET {
        let reason = "each epoch sees another part of a picture";
        s.choose("data.augment.random_resized_crop", true, reason)?;
        let reason = "at least a third of a picture, as few pictures have one subject each";
        s.choose("data.augment.scale", vec![0.35, 1.0], reason)?;
    } else if size >= 2 * LEAST {
        let reason = "an eighth of the side, so that each epoch sees a picture in another place";
        s.choose("data.augment.pad_crop", size / 8, reason)?;
    }
    Ok(())
}

/// The student, which the teacher is widened from.
fn network(
    s: &mut Suggesting,
    of: &Pictures,
    on: Option<AdapterKind>,
    size: u32,
) -> Result<(), ConfigError> {
    let (stem, reason) = match size >= IMAGENET {
        true => ("imagenet", "from 64 pixels on, so that transformers loads the network as well"),
        false => ("cifar", "below 64 pixels ImageNet's stem would leave hardly any to the blocks"),
    };
    s.choose("model.stem", stem, reason)?;
    let units = if of.train >= MANY && on != Some(AdapterKind::Cpu) { 2 } else { 1 };
    // Each stage but the first halves the side.
    let stages = if size >= 2 * LEAST { 4 } else { 3 };
    let reason = match units {
        1 => "one unit a block: a thin network, and soon trained",
        _ => "two units a block, as there are many pictures",
    };
    s.choose("model.blocks", vec![units; stages], reason)?;
    let base = match of.classes {
        0..=20 => 8,
        21..=200 => 16,
        _ => 32,
    };
    let features = (base * 4) << (stages - 1);
    let reason = format!("{features} features before the head tell {} classes apart", of.classes);
    s.choose("model.base", base, reason)
}

/// Batches, and how long is trained.
fn lengths(
    s: &mut Suggesting,
    of: &Pictures,
    on: Option<AdapterKind>,
    size: u32,
) -> Result<(), ConfigError> {
    const ALL: [&str; 6] = ["wide", "vanilla", "kd", "fitnets", "narrow", "tune"];
    let counted = s.draft.given("data.train_count").and_then(Value::as_integer);
    let train = counted.and_then(|count| u64::try_from(count).ok()).unwrap_or(of.train).max(1);
    let most = if train >= MANY { 128 } else { 64 };
    // A power of two of which an epoch has eight or more, where there are enough.
    let batch = (train / 8).clamp(4, most).min(train);
    let batch = 1u64 << batch.ilog2();
    let steps = (train / batch).max(1);
    let reason = format!("an epoch of {train} pictures has {steps} steps");
    s.choose_in(&ALL, "batch", batch as i64, &reason)?;

    let [least, most] = EPOCHS;
    let wanted = (STEPS / steps).clamp(least, most);
    let config = s.draft.clone().finish()?;
    let affordable = on.and_then(|on| Some((on, epochs_within(&config, of, train, size, on)?)));
    let (epochs, reason) = match affordable {
        Some((AdapterKind::Cpu, epochs)) if epochs < wanted => {
            (epochs, "about five minutes on a software adapter".into())
        }
        // So few epochs teach little, and a GPU that takes longer for them is not in vain.
        Some((AdapterKind::Gpu, epochs)) if epochs < wanted => {
            (epochs.max(least), format!("about five minutes on a GPU, but {least} epochs or more"))
        }
        _ => (wanted, format!("about {STEPS} steps, but from {least} to {most} epochs")),
    };
    let epochs = (epochs / UNIT).max(1) * UNIT;
    let blocks = config.model.block_count().max(1) as f64;
    let (whole, part) = (epochs as f64, epochs as f64 / 4.0);
    s.choose_in(&["wide", "vanilla", "kd"], "epochs", whole, &reason)?;
    let hint = "a quarter of the epochs";
    s.choose("fitnets.hint_epochs", part, hint)?;
    s.choose("fitnets.epochs", whole - part, "the epochs that the hints leave")?;
    let reason = format!("the {blocks} blocks share a quarter of the epochs");
    s.choose("narrow.epochs", part / blocks, reason)?;
    s.choose("tune.epochs", whole - part, "the epochs that narrow steps leave")
}

/// Epochs of a run that a device has the time for: those of the teacher and of each method, for each seed.
fn epochs_within(
    config: &Config,
    of: &Pictures,
    train: u64,
    size: u32,
    on: AdapterKind,
) -> Option<u64> {
    let input = Extent::Map(size, size, of.channels);
    let student = models::network(&config.model, input, of.classes);
    let teacher = surgery::widen(&student, config.teacher.factor, config.teacher.widen);
    let [student, teacher] =
        [student.size().ok()?.macs, teacher.size().ok()?.macs].map(|macs| macs as f64);
    // A step is a forward pass and twice as much behind it; the teacher's is forward alone where a student reads it.
    let of_method = |method: &Method| match method.needs_teacher() {
        true => 3.0 * student + teacher,
        false => 3.0 * student,
    };
    let taught = config.methods.iter().any(|method| method.needs_teacher());
    let wide = if taught && config.teacher.is_trained() { 3.0 * teacher } else { 0.0 };
    let epoch = train as f64
        * config.seeds.len() as f64
        * (wide + config.methods.iter().map(of_method).sum::<f64>());
    Some((PATIENCE * speed(on) / epoch.max(1.0)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Augment, Data, Images, Length, Model, OnError, Resnet, Stem};

    /// Forty photographs of each of three classes, of which a fifth is held out.
    const PHOTOGRAPHS: Pictures =
        Pictures { kind: ImageKind::Folder, train: 96, classes: 3, side: 480, channels: 3 };

    fn chosen(sets: &[&str], of: &Pictures, on: Option<AdapterKind>) -> (Config, Vec<Choice>) {
        let draft = Draft::preset(PRESET).expect("a preset");
        let set = |draft: Draft, text: &&str| draft.set(text);
        let draft = sets.iter().try_fold(draft, set).expect("keys");
        let (draft, choices) = suggest(draft, of, on).expect("chosen");
        (draft.finish().expect("valid"), choices)
    }

    fn parts(config: &Config) -> (&Images, &Resnet) {
        match (&config.data, &config.model) {
            (Data::Images(data), Model::Resnet(model)) => (data, model),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn photographs_are_for_a_network_that_transformers_loads() {
        let (config, choices) = chosen(&["data.path=flowers"], &PHOTOGRAPHS, None);
        let (data, model) = parts(&config);
        assert_eq!(
            (data.size, data.on_error, data.path.as_deref()),
            (Some(128), OnError::Skip, Some("flowers"))
        );
        assert_eq!((model.stem, model.base, &model.blocks[..]), (Stem::Imagenet, 8, &[1; 4][..]));
        assert!(data.augment.flip && data.augment.random_resized_crop);
        // Twelve steps an epoch.
        assert_eq!((config.wide.batch, config.tune.batch, config.wide.epochs), (8, 8, Some(60.0)));
        // Each key has its value and a reason.
        let flat = config.flat();
        for Choice { key, value, reason } in &choices {
            assert_eq!(flat.get(key), Some(value), "{key}");
            assert!(!reason.is_empty() && !reason.ends_with('.'), "{reason}");
        }
        // On two cores there are fewer pixels, so that it ends.
        let (slow, _) = chosen(&[], &PHOTOGRAPHS, Some(AdapterKind::Cpu));
        assert_eq!(parts(&slow).0.size, Some(64));
    }

    #[test]
    fn small_and_grey_pictures_have_another_stem_and_no_mirror() {
        let digits =
            Pictures { kind: ImageKind::Idx, train: 48_000, classes: 10, side: 28, channels: 1 };
        let (config, _) = chosen(&[], &digits, Some(AdapterKind::Gpu));
        let (data, model) = parts(&config);
        assert_eq!((data.kind, data.size, model.stem), (ImageKind::Idx, Some(28), Stem::Cifar));
        assert_eq!(data.augment, Augment { pad_crop: 3, flip: false, ..Augment::default() });
        assert_eq!((config.wide.batch, &model.blocks[..]), (128, &[2; 4][..]));
        // Where there is little time, there are few epochs, of the same number by all methods.
        let (slow, _) = chosen(&[], &digits, Some(AdapterKind::Cpu));
        let Length::Epochs(budget) = slow.vanilla.recipe().length else { panic!("epochs") };
        assert_eq!(slow.start_only_recipe(4, 48_000).length, Length::Epochs(budget));
        assert!(budget < config.vanilla.epochs.expect("epochs"), "{budget}");
        // The least that can be.
        let tiny = Pictures { train: 2, classes: 2, side: 3, ..digits };
        let (config, _) = chosen(&[], &tiny, None);
        assert_eq!((config.wide.batch, parts(&config).0.size), (2, Some(8)));
        assert_eq!(parts(&config).1.blocks, [1; 3]);
    }

    #[test]
    fn what_is_set_stays_and_the_rest_goes_by_it() {
        let sets = ["data.size=32", "vanilla.steps=7", "tune.batch=5", "data.train_count=40"];
        let (config, choices) = chosen(&sets, &PHOTOGRAPHS, None);
        let (data, model) = parts(&config);
        assert_eq!((data.size, model.stem), (Some(32), Stem::Cifar));
        assert_eq!((config.vanilla.steps, config.vanilla.epochs), (Some(7), None));
        assert_eq!((config.tune.batch, config.wide.batch), (5, 4));
        let of = |key: &str| choices.iter().any(|choice| choice.key == key);
        assert!(!of("data.size") && !of("vanilla.epochs") && !of("tune.batch") && of("wide.batch"));
        let (config, choices) = chosen(&["model.arch=mlp"], &PHOTOGRAPHS, None);
        assert_eq!(config.model.arch(), "mlp");
        assert!(choices.iter().all(|choice| !choice.key.starts_with("model.")));
    }
}
