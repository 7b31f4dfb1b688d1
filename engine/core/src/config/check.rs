//! Checks a configuration against its own JSON schema, then what no schema can say.
//!
//! The schema walk covers the part of JSON Schema that schemars writes for this tree: references, `oneOf` of constants or of tagged
//! objects, types, ranges and unknown keys.

use serde_json::{Map, Value as Json};
use toml::Value;

use super::{Config, Data, Length, Method, Model, Recipe, Unit};

/// What is wrong with a configuration, in one sentence: the key, the bad value, what is allowed, and where it stands.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The text is no TOML.
    #[error("{origin}: not valid TOML: {message}")]
    Syntax {
        /// File (with line) or option.
        origin: String,
        /// What the parser found.
        message: String,
    },
    /// A key that no section has.
    #[error("{origin}: unknown key `{key}`{}", did_you_mean(nearest))]
    UnknownKey {
        /// The key, with its section.
        key: String,
        /// The known key most like it, if one is.
        nearest: Option<String>,
        /// Keys that the section has.
        allowed: Vec<String>,
        /// File or option.
        origin: String,
    },
    /// A value that its key does not allow.
    #[error("{origin}: `{key}` is {value}, but {allowed}")]
    Value {
        /// The key, with its section.
        key: String,
        /// The value as TOML, or `missing`.
        value: String,
        /// What would do, as the end of a sentence: `must be …`.
        allowed: String,
        /// File or option.
        origin: String,
    },
    /// A preset that does not exist.
    #[error("unknown preset or file `{name}`{}", did_you_mean(nearest))]
    UnknownPreset {
        /// The name that was asked for.
        name: String,
        /// The preset most like it, if one is.
        nearest: Option<String>,
    },
    /// A file that cannot be read.
    #[error("cannot read the configuration `{path}`: {message}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's reason.
        message: String,
    },
}

impl ConfigError {
    /// A sentence on what to do, if there is more to say than the error does.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::UnknownKey { key, nearest: None, allowed, .. } => {
                let section = key.rsplit_once('.').map_or("the top level", |(section, _)| section);
                Some(format!("{section} has {}", allowed.join(", ")))
            }
            ConfigError::UnknownPreset { .. } => {
                Some("`taper presets` lists the presets; a file ends in .toml".into())
            }
            _ => None,
        }
    }

    /// The same error, said to stand in `at`.
    pub(super) fn at(mut self, at: impl FnOnce(&str) -> String) -> Self {
        match &mut self {
            ConfigError::UnknownKey { key, origin, .. }
            | ConfigError::Value { key, origin, .. } => {
                *origin = at(key);
            }
            _ => {}
        }
        self
    }
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

/// Where a configuration came from when nothing better is known.
const HERE: &str = "configuration";

/// The error of a bad `value` at `key`.
pub(super) fn bad(
    key: impl Into<String>,
    value: impl ToString,
    allowed: impl Into<String>,
) -> ConfigError {
    ConfigError::Value {
        key: key.into(),
        value: value.to_string(),
        allowed: allowed.into(),
        origin: HERE.into(),
    }
}

/// The schema that the web form, the API and this check share.
pub(super) fn schema() -> Json {
    schemars::schema_for!(Config).to_value()
}

/// Checks `value` against the schema of the whole configuration.
pub(super) fn against_schema(value: &Value) -> Result<(), ConfigError> {
    let root = schema();
    check(value, &root, &root, "")
}

/// The schema with its `$ref` replaced by what it stands for; keys beside the reference win, `properties` are joined.
fn resolve(schema: &Json, root: &Json) -> Map<String, Json> {
    let mut own = schema.as_object().cloned().unwrap_or_default();
    let Some(Json::String(reference)) = own.remove("$ref") else { return own };
    let target = root.pointer(reference.trim_start_matches('#')).unwrap_or(&Json::Null);
    let mut joined = resolve(target, root);
    for (key, value) in own {
        match (joined.get_mut(&key), value) {
            (Some(Json::Object(properties)), Json::Object(more)) if key == "properties" => {
                properties.extend(more)
            }
            (_, value) => {
                joined.insert(key, value);
            }
        }
    }
    joined
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

fn check(value: &Value, schema: &Json, root: &Json, path: &str) -> Result<(), ConfigError> {
    let schema = resolve(schema, root);
    if let Some(Json::Array(choices)) = schema.get("anyOf") {
        // Only `Option` makes these: the other choice is null, which TOML does not have.
        let some = choices.iter().find(|choice| choice.get("type") != Some(&Json::from("null")));
        return some.map_or(Ok(()), |some| check(value, some, root, path));
    }
    if let Some(Json::Array(choices)) = schema.get("oneOf") {
        return check_choice(value, choices, root, path);
    }
    if let Some(Json::Array(names)) = schema.get("enum") {
        return check_name(value, names, path);
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Json::String(name)) => vec![name],
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => return Ok(()),
    };
    let wrong = |what: &str| Err(bad(path, value, format!("must be {what}")));
    match value {
        Value::Table(table) if types.contains(&"object") => check_table(table, &schema, root, path),
        Value::Array(items) if types.contains(&"array") => {
            check_length(items.len() as u64, &schema, value, path)?;
            let Some(item) = schema.get("items") else { return Ok(()) };
            items
                .iter()
                .enumerate()
                .try_for_each(|(i, value)| check(value, item, root, &format!("{path}[{i}]")))
        }
        Value::String(_) if types.contains(&"string") => Ok(()),
        Value::Boolean(_) if types.contains(&"boolean") => Ok(()),
        Value::Integer(number) if types.contains(&"integer") || types.contains(&"number") => {
            check_range(*number as f64, &schema, value, path)
        }
        Value::Float(number) if types.contains(&"number") => {
            check_range(*number, &schema, value, path)
        }
        _ if types.contains(&"integer") => wrong("a whole number"),
        _ if types.contains(&"number") => wrong("a number"),
        _ if types.contains(&"string") => wrong("a string"),
        _ if types.contains(&"boolean") => wrong("true or false"),
        _ if types.contains(&"array") => wrong("a list"),
        _ => wrong("a section of keys"),
    }
}

fn check_table(
    table: &toml::Table,
    schema: &Map<String, Json>,
    root: &Json,
    path: &str,
) -> Result<(), ConfigError> {
    let empty = Map::new();
    let known = schema.get("properties").and_then(Json::as_object).unwrap_or(&empty);
    for (key, value) in table {
        let Some(schema) = known.get(key) else {
            let allowed: Vec<String> = known.keys().cloned().collect();
            let nearest = nearest(key, allowed.iter().map(String::as_str));
            return Err(ConfigError::UnknownKey {
                key: join(path, key),
                nearest: nearest.map(|nearest| join(path, nearest)),
                allowed,
                origin: HERE.into(),
            });
        };
        check(value, schema, root, &join(path, key))?;
    }
    Ok(())
}

/// `choices` are constants (an enum whose variants have descriptions) or objects told apart by a constant property.
fn check_choice(
    value: &Value,
    choices: &[Json],
    root: &Json,
    path: &str,
) -> Result<(), ConfigError> {
    let mut names = Vec::new();
    for choice in choices {
        if let Some(name) = choice.get("const") {
            names.push(name.clone());
            continue;
        }
        if let Some(Json::Array(more)) = choice.get("enum") {
            names.extend(more.iter().cloned());
            continue;
        }
        let choice = Json::Object(resolve(choice, root));
        let tag = choice.get("properties").and_then(Json::as_object).and_then(|properties| {
            properties
                .iter()
                .find_map(|(key, value)| Some((key.clone(), value.get("const")?.clone())))
        });
        let Some((tag, name)) = tag else { continue };
        let Value::Table(table) = value else {
            return Err(bad(path, value, format!("must be a section with the key `{tag}`")));
        };
        match table.get(&tag) {
            Some(Value::String(given)) if name == given.as_str() => {
                return check(value, &choice, root, path);
            }
            _ => names.push(name),
        }
        if names.len() == choices.len() {
            let key = join(path, &tag);
            return match table.get(&tag) {
                Some(given) => check_name(given, &names, &key),
                None => Err(bad(key, "missing", format!("must be one of {}", list(&names)))),
            };
        }
    }
    check_name(value, &names, path)
}

fn list(names: &[Json]) -> String {
    names.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(", ")
}

fn check_name(value: &Value, names: &[Json], path: &str) -> Result<(), ConfigError> {
    if value.as_str().is_some_and(|given| names.iter().any(|name| name == given)) {
        return Ok(());
    }
    Err(bad(path, value, format!("must be one of {}", list(names))))
}

fn check_length(
    length: u64,
    schema: &Map<String, Json>,
    value: &Value,
    path: &str,
) -> Result<(), ConfigError> {
    let bound = |name| schema.get(name).and_then(Json::as_u64);
    match (bound("minItems"), bound("maxItems")) {
        (Some(min), Some(max)) if min == max && length != min => {
            Err(bad(path, value, format!("must have {min} entries")))
        }
        (Some(min), _) if length < min => {
            Err(bad(path, value, format!("must have {min} or more entries")))
        }
        (_, Some(max)) if length > max => Err(bad(
            path,
            format!("a list of {length}"),
            format!("must have at most {max} entries"),
        )),
        _ => Ok(()),
    }
}

fn check_range(
    number: f64,
    schema: &Map<String, Json>,
    value: &Value,
    path: &str,
) -> Result<(), ConfigError> {
    let bound = |name| schema.get(name).and_then(Json::as_f64);
    let mut ok = number.is_finite();
    let mut said = Vec::new();
    for (name, words, holds) in [
        ("minimum", "at least", f64::ge as fn(&f64, &f64) -> bool),
        ("exclusiveMinimum", "above", f64::gt),
        ("maximum", "at most", f64::le),
        ("exclusiveMaximum", "below", f64::lt),
    ] {
        if let Some(bound) = bound(name) {
            ok &= holds(&number, &bound);
            said.push(format!("{words} {bound}"));
        }
    }
    if ok {
        return Ok(());
    }
    let said = if said.is_empty() { "finite".into() } else { said.join(" and ") };
    Err(bad(path, value, format!("must be {said}")))
}

/// The name most like `wrong`, if one is at most a third of its letters away (a swap of neighbours counts as one change).
pub(super) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wrong.chars().count() / 3).max(1);
    names
        .map(|name| (distance(wrong, name), name))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// Edits from `a` to `b`: insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_a_swap_once() {
        assert_eq!(distance("widht", "width"), 1);
        assert_eq!(distance("", "lr"), 2);
        assert_eq!(distance("epoch", "epochs"), 1);
    }

    #[test]
    fn nothing_far_away_is_suggested() {
        assert_eq!(nearest("scedule", ["schedule", "steps"].into_iter()), Some("schedule"));
        assert_eq!(nearest("zzz", ["lr", "steps"].into_iter()), None);
    }
}
