//! A configuration while it is put together: a preset or file, then `--set`, then `--grid`, each value with where it came from.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use sha2::{Digest, Sha256};
use toml::{Table, Value};

use super::{Config, TextKind};
use super::{
    check,
    error::{self, ConfigError},
    schema,
};
use crate::text;

/// Keys of which one says how long a stage is.
const LENGTHS: [&str; 3] = ["steps", "epochs", "unit"];

/// Where the keys of a preset come from, for errors.
pub(super) fn origin(preset: &str) -> String {
    format!("preset {preset}")
}

/// A configuration that may still be changed; [`Draft::finish`] checks it and makes a [`Config`] of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    table: Table,
    /// Where the keys not in `set` come from.
    origin: String,
    /// Keys given by an option, with that option.
    set: BTreeMap<String, String>,
}

impl Draft {
    /// Reads TOML; `origin` names the file in errors.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] with the line.
    pub fn from_toml(text: &str, origin: &str) -> Result<Draft, ConfigError> {
        let table = text.parse::<Table>().map_err(|error| {
            let line = error
                .span()
                .map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            ConfigError::Syntax {
                origin: line.map_or(origin.into(), |line| format!("{origin}:{line}")),
                message: error.message().to_string(),
            }
        })?;
        Ok(Draft { table, origin: origin.into(), set: BTreeMap::new() })
    }

    /// Applies `a.b=V`: V is a TOML value; what does not parse is a string.
    ///
    /// `epochs` takes the place of `steps` in a section and the other way round; another `model.arch` takes the place of the whole section.
    ///
    /// # Errors
    /// No `=`, an empty key, or a key below something that is no section. Unknown keys and bad values are found by [`Draft::finish`].
    pub fn set(self, text: &str) -> Result<Draft, ConfigError> {
        let (key, value) = split(text, "--set")?;
        self.put(key, parse(value), format!("--set {}", brief(text)))
    }

    /// Sets `device` to a name or an index, as `--device` gives it.
    #[must_use]
    pub fn put_device(mut self, device: &str) -> Draft {
        self.table.insert("device".into(), Value::String(device.into()));
        self.set.insert("device".into(), format!("--device {device}"));
        self
    }

    /// What an option has set `key` to.
    pub fn given(&self, key: &str) -> Option<&Value> {
        let mut parts = self.set.contains_key(key).then(|| key.split('.'))?;
        let first = self.table.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    /// The draft with `key` at a value, as if it stood in the file; none where an option has set it, or another key that it would take the
    /// place of.
    ///
    /// # Errors
    /// As [`Draft::set`].
    pub fn suggest(&self, key: &str, value: Value) -> Result<Option<Draft>, ConfigError> {
        let (section, last) = key.rsplit_once('.').unwrap_or(("", key));
        let is_set = |last: &str| match section {
            "" => self.set.contains_key(last),
            section => self.set.contains_key(&format!("{section}.{last}")),
        };
        if is_set(last) || (LENGTHS.contains(&last) && LENGTHS.into_iter().any(is_set)) {
            return Ok(None);
        }
        let mut draft = self.clone().put(key, value, self.origin.clone())?;
        draft.set.remove(key);
        Ok(Some(draft))
    }

    /// Whether it began with this preset.
    pub fn is_of(&self, preset: &str) -> bool {
        self.origin == origin(preset)
    }

    /// One draft for each value of `a.b=V1,V2`, labelled `a.b=V1`, `a.b=V2`.
    ///
    /// # Errors
    /// As [`Draft::set`].
    pub fn grid(&self, text: &str) -> Result<Vec<(String, Draft)>, ConfigError> {
        let (key, values) = split(text, "--grid")?;
        let values = match parse(&format!("[{values}]")) {
            Value::Array(values) => values,
            _ => values.split(',').map(|value| parse(value.trim())).collect(),
        };
        if values.is_empty() {
            return Err(syntax("--grid", text));
        }
        let draft = |value: Value| {
            let label = match &value {
                Value::String(text) => format!("{key}={text}"),
                value => format!("{key}={value}"),
            };
            let draft = self.clone().put(key, value, format!("--grid {text}"))?;
            Ok((label, draft))
        };
        values.into_iter().map(draft).collect()
    }

    /// Sets `key` to `value`; `origin` names the option in errors.
    fn put(mut self, key: &str, value: Value, origin: String) -> Result<Draft, ConfigError> {
        let mut path: Vec<&str> = key.split('.').collect();
        let last = path.pop().unwrap_or(key);
        let mut section = &mut self.table;
        for (depth, name) in path.iter().enumerate() {
            let entry = section.entry(*name).or_insert_with(|| Value::Table(Table::new()));
            section = match entry {
                Value::Table(table) => table,
                other => {
                    let error = error::bad(
                        path[..=depth].join("."),
                        &*other,
                        format!("has no key `{last}` below it"),
                    );
                    return Err(error.at(|_| origin));
                }
            };
        }
        match last {
            last if LENGTHS.contains(&last) => {
                LENGTHS.into_iter().for_each(|key| drop(section.remove(key)));
            }
            "arch" if path == ["model"] && section.get("arch") != Some(&value) => section.clear(),
            // Images and text have other keys.
            "kind" if path == ["data"] => {
                let is_text = |kind: Option<&Value>| {
                    kind.is_some_and(|kind| TextKind::deserialize(kind.clone()).is_ok())
                };
                if is_text(section.get("kind")) != is_text(Some(&value)) {
                    section.clear();
                }
            }
            _ => {}
        }
        section.insert(last.into(), value);
        self.set.insert(key.into(), origin);
        Ok(self)
    }

    /// Checks everything and makes the configuration.
    ///
    /// # Errors
    /// The first unknown key or bad value, with where it stands.
    pub fn finish(mut self) -> Result<Config, ConfigError> {
        // An adapter may be given by its index.
        if let Some(Value::Integer(index)) = self.table.get("device") {
            let index = index.to_string();
            self.table.insert("device".into(), Value::String(index));
        }
        self.build().map_err(|error| error.at(|key| self.origin_of(key)))
    }

    fn build(&self) -> Result<Config, ConfigError> {
        let value = Value::Table(self.table.clone());
        schema::against_schema(&value)?;
        let mut config: Config =
            value.try_into().map_err(|error: toml::de::Error| ConfigError::Syntax {
                origin: self.origin.clone(),
                message: error.message().to_string(),
            })?;
        config.complete();
        check::agreement(&config)?;
        Ok(config)
    }

    /// The option that gave `key` or a key beside it that it has to agree with; else the file.
    fn origin_of(&self, key: &str) -> String {
        let key = key.split('[').next().unwrap_or(key);
        self.set.get(key).unwrap_or(&self.origin).clone()
    }
}

fn syntax(option: &str, text: &str) -> ConfigError {
    ConfigError::Syntax {
        origin: format!("{option} {text}"),
        message: "expected KEY=VALUE, for example tune.lr=0.01".into(),
    }
}

fn split<'a>(text: &'a str, option: &str) -> Result<(&'a str, &'a str), ConfigError> {
    let (key, value) = text.split_once('=').ok_or_else(|| syntax(option, text))?;
    let (key, value) = (key.trim(), value.trim());
    if key.split('.').any(str::is_empty) || value.is_empty() {
        return Err(syntax(option, text));
    }
    Ok((key, value))
}

/// The start of a text that may be long, as a list of a thousand seeds is.
fn brief(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `text` as a TOML value, else as a string.
fn parse(text: &str) -> Value {
    let table = format!("value = {text}").parse::<Table>().ok().filter(|table| table.len() == 1);
    table.and_then(|mut table| table.remove("value")).unwrap_or_else(|| Value::String(text.into()))
}

impl Config {
    /// Reads and checks a TOML text; `origin` names the file in errors.
    ///
    /// # Errors
    /// The first thing that is wrong, with where it stands.
    pub fn from_toml(text: &str, origin: &str) -> Result<Config, ConfigError> {
        Draft::from_toml(text, origin)?.finish()
    }

    /// The configuration with `a.b=V` applied, checked; see [`Draft::set`].
    ///
    /// # Errors
    /// As [`Draft::set`] and [`Draft::finish`].
    pub fn with_set(&self, text: &str) -> Result<Config, ConfigError> {
        self.draft().set(text)?.finish()
    }

    /// One configuration for each value of `a.b=V1,V2`, with a label; see [`Draft::grid`].
    ///
    /// # Errors
    /// As [`Draft::grid`] and [`Draft::finish`].
    pub fn grid(&self, text: &str) -> Result<Vec<(String, Config)>, ConfigError> {
        let drafts = self.draft().grid(text)?;
        drafts.into_iter().map(|(label, draft)| Ok((label, draft.finish()?))).collect()
    }

    /// Checks ranges, and that keys agree with one another.
    ///
    /// # Errors
    /// The first bad value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        schema::against_schema(&Value::Table(self.table()))?;
        check::agreement(self)
    }

    /// The configuration open to changes again.
    pub fn draft(&self) -> Draft {
        Draft { table: self.table(), origin: "configuration".into(), set: BTreeMap::new() }
    }

    /// The whole configuration as TOML, defaults included; [`Config::from_toml`] reads it back.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.table()).expect("a TOML table is written as TOML")
    }

    /// SHA-256 of [`Config::to_toml`], as 64 hexadecimal digits.
    pub fn hash(&self) -> String {
        text::hex(&Sha256::digest(self.to_toml()))
    }

    /// Every leaf as `section.key` → TOML value; lists are leaves.
    pub fn flat(&self) -> BTreeMap<String, String> {
        fn walk(table: &Table, path: &str, flat: &mut BTreeMap<String, String>) {
            for (key, value) in table {
                let key = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match value {
                    Value::Table(table) => walk(table, &key, flat),
                    value => drop(flat.insert(key, value.to_string())),
                }
            }
        }
        let mut flat = BTreeMap::new();
        walk(&self.table(), "", &mut flat);
        flat
    }

    /// The JSON schema of a configuration, for forms and the API.
    pub fn schema() -> serde_json::Value {
        schema::schema()
    }

    fn table(&self) -> Table {
        Table::try_from(self).expect("a configuration has only values that TOML has")
    }
}
