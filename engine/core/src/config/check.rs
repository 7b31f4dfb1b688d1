//! Checks what no schema can say of a configuration.

use super::{
    Config, Data, Length, Method, Model, Recipe, Unit,
    error::{ConfigError, bad},
};

/// What the schema cannot say: keys that have to agree with one another.
pub(super) fn agreement(config: &Config) -> Result<(), ConfigError> {
    distinct("methods", &config.methods)?;
    distinct("seeds", &config.seeds)?;
    for (section, epochs, steps, recipe) in [
        ("wide", config.wide.epochs, config.wide.steps, config.wide.recipe()),
        ("vanilla", config.vanilla.epochs, config.vanilla.steps, config.vanilla.recipe()),
        ("kd", config.kd.epochs, config.kd.steps, config.kd.recipe()),
        ("fitnets", config.fitnets.epochs, config.fitnets.steps, config.fitnets.recipe()),
        ("narrow", config.narrow.epochs, config.narrow.steps, config.narrow.recipe()),
        ("tune", config.tune.epochs, config.tune.steps, config.tune.recipe()),
    ] {
        if let (Some(epochs), Some(steps)) = (epochs, steps) {
            let key = format!("{section}.epochs");
            return Err(bad(
                key,
                epochs,
                format!("`{section}.steps` is {steps} as well; give only one of them"),
            ));
        }
        stage(section, &recipe)?;
    }
    data(config)?;
    model(config)?;
    products(config)
}

/// Most channels behind a stage of the student.
const CHANNELS: u64 = 1 << 16;
/// Most units of a residual network.
const UNITS: u64 = 1000;
/// Most stages of all members of a run.
const STAGES: u64 = 100_000;
/// Most numbers of a batch of images.
pub const BATCH: u64 = 1 << 29;

/// What single bounds do not say: products of keys, before anything is built of them.
fn products(config: &Config) -> Result<(), ConfigError> {
    if let Some(resnet) = config.model.resnet() {
        let units: u64 = resnet.blocks.iter().map(|&units| u64::from(units)).sum();
        if units > UNITS {
            let units = format!("a network of {units} units");
            return Err(bad("model.blocks", units, format!("may have at most {UNITS} in all")));
        }
        // Each stage after the first has twice as many.
        let behind = match resnet.unit {
            Unit::Bottleneck => 4.0,
            Unit::Basic => 1.0,
        };
        let doubled = resnet.blocks.len().saturating_sub(1) as i32;
        let channels = f64::from(resnet.base) * resnet.width * 2f64.powi(doubled) * behind;
        if channels > CHANNELS as f64 {
            let key = if matches!(config.model, Model::Resnet(_)) { "base" } else { "width" };
            let value = if key == "base" { f64::from(resnet.base) } else { resnet.width };
            let allowed = format!(
                "may make at most {CHANNELS} channels behind the last stage, not {channels}"
            );
            return Err(bad(format!("model.{key}"), value, allowed));
        }
    }
    let of_method = |method: &Method| match method {
        Method::Vanilla | Method::Kd => 1,
        Method::Fitnets => 2,
        Method::StartOnly => 3,
        Method::Win => config.model.block_count() as u64 + 2,
    };
    let stages = 1 + config.methods.iter().map(of_method).sum::<u64>();
    let seeds = config.seeds.len() as u64;
    if seeds * stages > STAGES {
        let value = format!("a list of {seeds}");
        let allowed = format!(
            "with {stages} stages for each it makes more than the {STAGES} stages that are allowed"
        );
        return Err(bad("seeds", value, allowed));
    }
    // Where the size is the images' own, it is known when they are opened.
    let Data::Images(images) = &config.data;
    let Some(size) = images.size else { return Ok(()) };
    let image = u64::from(size) * u64::from(size) * 3;
    for (key, recipe) in config.recipes() {
        if u64::from(recipe.batch) * image > BATCH {
            let allowed = format!(
                "may be at most {} where `data.size` is {size}: a batch has at most {BATCH} numbers",
                BATCH / image
            );
            return Err(bad(key, recipe.batch, allowed));
        }
    }
    Ok(())
}

fn distinct<T: PartialEq + std::fmt::Display>(key: &str, items: &[T]) -> Result<(), ConfigError> {
    match items.iter().enumerate().find(|(i, item)| items[..*i].contains(item)) {
        Some((_, twice)) => {
            Err(bad(key, format!("a list with {twice} twice"), "each may stand once"))
        }
        None => Ok(()),
    }
}

fn stage(section: &str, recipe: &Recipe) -> Result<(), ConfigError> {
    let (length, unit) = match recipe.length {
        Length::Epochs(epochs) => (epochs, "epochs"),
        Length::Steps(steps) => (steps as f64, "steps"),
    };
    if recipe.warmup > length {
        let key = format!("{section}.warmup");
        return Err(bad(key, recipe.warmup, format!("the whole stage has {length} {unit}")));
    }
    let rising = recipe.milestones.windows(2).all(|pair| pair[0] < pair[1]);
    if !rising || recipe.milestones.iter().any(|&at| at <= 0.0) {
        let key = format!("{section}.milestones");
        return Err(bad(key, format!("{:?}", recipe.milestones), "must rise from above 0"));
    }
    Ok(())
}

fn data(config: &Config) -> Result<(), ConfigError> {
    let Data::Images(data) = &config.data;
    let augment = &data.augment;
    for (key, [low, high], top) in [
        ("data.augment.scale", augment.scale, 1.0),
        ("data.augment.ratio", augment.ratio, f64::MAX),
    ] {
        if !(0.0 < low && low <= high && high <= top) {
            let top = if top == 1.0 { " up to 1" } else { "" };
            return Err(bad(
                key,
                format!("[{low}, {high}]"),
                format!("must be two rising numbers above 0{top}"),
            ));
        }
    }
    if let Some(std) = data.std.as_ref().filter(|std| std.iter().any(|&std| std <= 0.0)) {
        return Err(bad("data.std", format!("{std:?}"), "must be above 0 in each channel"));
    }
    let channels = |list: &Option<Vec<f64>>| list.as_ref().map(Vec::len);
    if channels(&data.mean) != channels(&data.std) {
        let words = |list: &Option<Vec<f64>>| {
            list.as_ref().map_or("absent".to_string(), |list| format!("{list:?}"))
        };
        return Err(bad(
            "data.std",
            words(&data.std),
            format!(
                "`data.mean` is {}; give one number a channel to both or to none",
                words(&data.mean)
            ),
        ));
    }
    Ok(())
}

fn model(config: &Config) -> Result<(), ConfigError> {
    if let Model::Mlp(mlp) = &config.model {
        let (sum, layers) =
            (mlp.blocks.iter().map(|&n| u64::from(n)).sum::<u64>(), mlp.hidden.len());
        if sum != layers as u64 {
            return Err(bad(
                "model.blocks",
                format!("{:?}", mlp.blocks),
                format!("must add up to the {layers} layers of `model.hidden`, not to {sum}"),
            ));
        }
    }
    if let Some(resnet) = config.model.resnet() {
        let channels = f64::from(resnet.base) * resnet.width;
        if channels.fract() != 0.0 || channels < 1.0 {
            return Err(bad(
                "model.width",
                resnet.width,
                format!(
                    "must make a whole number of the {} base channels, not {channels}",
                    resnet.base
                ),
            ));
        }
    }
    Ok(())
}
