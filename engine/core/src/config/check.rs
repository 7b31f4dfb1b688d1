//! Checks what no schema can say of a configuration.

use super::{
    Bert, Config, Data, Discrepancy, Head, Images, Length, Merge, Method, Model, Recipe, Start,
    Target, Tune, Unit,
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
        ("narrow", config.narrow.epochs, config.narrow.steps, config.narrow.recipe_of(1)),
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
    if let (Some(unit), Some(key)) = (
        config.narrow.unit,
        [
            ("narrow.epochs", config.narrow.epochs.is_some()),
            ("narrow.steps", config.narrow.steps.is_some()),
        ]
        .into_iter()
        .find_map(|(key, given)| given.then_some(key)),
    ) {
        return Err(bad(
            "narrow.unit",
            unit,
            format!("`{key}` stands there as well; give only one of them"),
        ));
    }
    data(config)?;
    model(config)?;
    head(config)?;
    outputs(config)?;
    split(config)?;
    products(config)
}

/// A new head is that of a teacher from elsewhere, for pictures.
fn head(config: &Config) -> Result<(), ConfigError> {
    let allowed = match (config.teacher.head, &config.teacher.from, &config.data) {
        (Head::Same, ..) | (Head::New, Some(_), Data::Images(_)) => return Ok(()),
        (Head::New, None, _) => "belongs to a trained teacher, and `teacher.from` names none",
        (Head::New, Some(_), Data::Text(_)) => {
            "is for pictures; a teacher of text keeps its head, which reads the same words"
        }
    };
    Err(bad("teacher.head", "\"new\"", allowed))
}

/// What follows a teacher's outputs.
fn outputs(config: &Config) -> Result<(), ConfigError> {
    if config.win.discrepancy == Discrepancy::RelativeMseOutput
        && matches!(config.data, Data::Text(_))
    {
        let allowed = "is for pictures: of text, states are compared where there are tokens, and outputs where there are labels, so one of `relative_mse` and `output` is allowed";
        return Err(bad("win.discrepancy", "\"relative_mse+output\"", allowed));
    }
    let Tune { target, alpha, temperature, .. } = &config.tune;
    let first = [("tune.alpha", *alpha), ("tune.temperature", *temperature)];
    match first.into_iter().find(|(_, value)| *target == Target::Labels && *value != 1.0) {
        Some((key, value)) => {
            let allowed =
                "belongs to `tune.target = \"teacher\"`; with labels alone only 1 is allowed";
            Err(bad(key, value, allowed))
        }
        None => Ok(()),
    }
}

/// A batch of one cannot be cut.
fn split(config: &Config) -> Result<(), ConfigError> {
    let one = |(_, recipe): &(&str, Recipe)| recipe.batch < 2;
    match config.recipes().into_iter().find(one) {
        Some((key, recipe)) if !config.split.is_members() => {
            Err(bad(key, recipe.batch, "must be at least 2 with `split = \"batch\"`"))
        }
        _ => Ok(()),
    }
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
        Method::Fitnets | Method::EmbeddingsOnly => 2,
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
    let (sample, of) = match &config.data {
        Data::Images(images) => match images.size {
            // Where the size is the images' own, it is known when they are opened.
            None => return Ok(()),
            Some(size) => (u64::from(size) * u64::from(size) * 3, format!("`data.size` is {size}")),
        },
        Data::Text(_) => {
            let length = config.examples().length;
            (length.into(), format!("`text.length` is {length}"))
        }
    };
    for (key, recipe) in config.recipes() {
        if u64::from(recipe.batch) * sample > BATCH {
            let allowed = format!(
                "may be at most {} where {of}: a batch has at most {BATCH} numbers",
                BATCH / sample
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
    let asks = matches!(&config.data, Data::Text(text) if text.kind.asks());
    if config.finetune.is_some() && !asks {
        let allowed = "belongs to questions, and `data.kind` names none; leave it out";
        return Err(bad("finetune", "a section", allowed));
    }
    let arch = config.model.arch();
    match (&config.data, &config.model, &config.text) {
        (Data::Images(_), Model::Bert(_), _) => {
            let allowed = "reads text: set `data.kind` to \"text\", \"procedural_text\", \"squad\" or \"procedural_questions\"";
            Err(bad("model.arch", arch, allowed))
        }
        (Data::Images(_), ..) if config.methods.contains(&Method::EmbeddingsOnly) => {
            let place = config.methods.iter().position(|&of| of == Method::EmbeddingsOnly);
            let key = format!("methods[{}]", place.unwrap_or_default());
            let allowed = "is for text, as networks on images have no embeddings";
            Err(bad(key, Method::EmbeddingsOnly, allowed))
        }
        (Data::Images(images), _, None) => self::images(images),
        (Data::Images(_), _, Some(_)) => {
            let allowed = "belongs to text, and `data.kind` names images; leave it out";
            Err(bad("text", "a section", allowed))
        }
        (Data::Text(_), Model::Bert(bert), _) => text(config, bert),
        (Data::Text(_), ..) => {
            Err(bad("model.arch", arch, "reads images; text is read by \"bert\""))
        }
    }
}

fn text(config: &Config, bert: &Bert) -> Result<(), ConfigError> {
    let examples = config.examples();
    let (length, most) = (examples.length, examples.length - 2);
    let Data::Text(data) = &config.data else { return Ok(()) };
    if examples.max_predictions > most && !data.kind.asks() {
        let allowed =
            format!("may be at most {most}: `text.length` is {length}, and two tokens are marks");
        return Err(bad("text.max_predictions", examples.max_predictions, allowed));
    }
    if let Some(positions) = bert.positions.filter(|&positions| positions < length) {
        let allowed = format!("must be at least the {length} tokens of `text.length`");
        return Err(bad("model.positions", positions, allowed));
    }
    if !bert.hidden.is_multiple_of(bert.heads) {
        let allowed = format!("must divide the {} features of `model.hidden`", bert.hidden);
        return Err(bad("model.heads", bert.heads, allowed));
    }
    if let Some(bottleneck) = bert.bottleneck {
        self::bottleneck(config, bert, bottleneck)?;
    }
    let bridges = |method: &&Method| method.bridges() || **method == Method::EmbeddingsOnly;
    if let (Some(from), Some(method)) = (&bert.from, config.methods.iter().find(bridges)) {
        let allowed = format!(
            "gives vanilla, kd and fitnets their first weights, and {method} begins with the teacher's; leave one of them out"
        );
        return Err(bad("model.from", format!("{from:?}"), allowed));
    }
    let built_in = config.data.is_built_in();
    if let Some(vocab) = examples.vocab.filter(|_| built_in) {
        let allowed = "is not read, as the built-in texts have a vocabulary of their own";
        return Err(bad("text.vocab", format!("{vocab:?}"), allowed));
    }
    if let Some(symbols) = data.symbols.filter(|_| !built_in) {
        let allowed = "is not read, as only the built-in texts are made of symbols";
        return Err(bad("data.symbols", symbols, allowed));
    }
    Ok(())
}

/// What goes with layers that are bottlenecks of this width.
fn bottleneck(config: &Config, bert: &Bert, width: u32) -> Result<(), ConfigError> {
    const KEY: &str = "model.bottleneck";
    if width <= bert.hidden {
        let allowed = format!("must be more than the {} features of `model.hidden`", bert.hidden);
        return Err(bad(KEY, width, allowed));
    }
    let factor = config.teacher.factor;
    let wide = u64::from(factor) * u64::from(bert.hidden);
    if config.teacher.from.is_none() && wide != u64::from(width) {
        let allowed = format!(
            "must be {wide}, the teacher's hidden size: `teacher.factor` is {factor} and `model.hidden` {}",
            bert.hidden
        );
        return Err(bad(KEY, width, allowed));
    }
    if let Some(place) = config.methods.iter().position(|&method| method == Method::StartOnly) {
        let allowed = format!(
            "is the same as {} with `{KEY}`, whose layers begin with fresh weights; leave it out",
            Method::EmbeddingsOnly
        );
        return Err(bad(format!("methods[{place}]"), Method::StartOnly, allowed));
    }
    if config.win.start == Start::Sample {
        let allowed = format!(
            "takes neurons of the teacher's, and layers with `{KEY}` begin with fresh weights; leave it out"
        );
        return Err(bad("win.start", "sample", allowed));
    }
    if config.win.merge == Merge::Map {
        let allowed =
            format!("merges before tuning, and with `{KEY}` nothing is merged; leave it out");
        return Err(bad("win.merge", "map", allowed));
    }
    let map = &config.teacher.layer_map;
    if !map.is_empty() {
        let allowed = format!(
            "says which of the teacher's layers one begins with, and those with `{KEY}` begin with fresh weights; leave it out"
        );
        return Err(bad("teacher.layer_map", format!("{map:?}"), allowed));
    }
    Ok(())
}

fn images(data: &Images) -> Result<(), ConfigError> {
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
