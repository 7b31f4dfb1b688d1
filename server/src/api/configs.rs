//! Configurations: what a client may send, presets, the schema, TOML.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use engine::config::{Config, Draft, presets::PRESETS};
use engine::ops::AdapterKind;
use engine::suggest::{self, Choice};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::app::{App, helped};
use super::error::ApiError;
use super::extract::Body;
use crate::datasets::PREFIX;

/// A run that is wanted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewRun {
    /// Name of a preset; not beside `config`.
    pub(super) preset: Option<String>,
    /// Changes, as `{"tune.lr": 0.01}`.
    pub(super) set: Map<String, Value>,
    /// A configuration; what it leaves out has a default.
    #[schemars(with = "Option<Config>")]
    pub(super) config: Option<Value>,
    /// For people; absent: made of the preset or the architecture.
    pub(super) name: Option<String>,
    /// `false`: only made, as a draft.
    pub(super) start: Option<bool>,
}

impl NewRun {
    /// The configuration that is meant, checked, with names of data sets as they were given. Where the preset leaves keys to the pictures, these
    /// are looked at.
    ///
    /// # Errors
    /// What is wrong with it, by its key.
    pub(super) fn config(&self, app: &App) -> Result<Config, ApiError> {
        let draft = match (&self.preset, &self.config) {
            (Some(preset), None) => {
                if PRESETS.iter().all(|known| known.name != preset) {
                    let known: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
                    let message = format!("there is no preset `{}`", preset.escape_debug());
                    return Err(ApiError::unprocessable("bad_config", message)
                        .field("preset")
                        .hint(format!("there are {}", known.join(", "))));
                }
                Draft::preset(preset)?
            }
            (None, Some(config)) => draft(config)?,
            (Some(_), Some(_)) => {
                return Err(
                    ApiError::bad_request("give `preset` or `config`, not both").field("config")
                );
            }
            (None, None) => {
                return Err(ApiError::bad_request("give a `preset` or a `config`").field("preset"));
            }
        };
        let (draft, _) = app.suggested(put(draft, &self.set)?)?;
        Ok(draft.finish()?)
    }
}

impl App {
    /// A draft with what suits its data set filled in, if its preset leaves that to the pictures.
    ///
    /// # Errors
    /// The data set cannot be read, or is of no pictures.
    pub(super) fn suggested(&self, draft: Draft) -> Result<(Draft, Vec<Choice>), ApiError> {
        let path = draft.given("data.path").and_then(toml::Value::as_str);
        let (true, Some(path)) = (draft.is_of(suggest::PRESET), path) else {
            return Ok((draft, Vec::new()));
        };
        let name = path.strip_prefix(PREFIX).unwrap_or(path);
        // What is wrong with the name, whoever resolves it says.
        if self.datasets.describe(name).is_none() {
            return Ok((draft, Vec::new()));
        }
        let bad = |message: String| {
            ApiError::unprocessable("bad_data", message).field("data.path".to_owned())
        };
        let surveyed = self.datasets.survey(name).and_then(Result::ok);
        let pictures = surveyed.and_then(|surveyed| surveyed.pictures).ok_or_else(|| {
            bad(format!(
                "`{name}` holds no pictures that can be read; the preset {} needs some",
                suggest::PRESET
            ))
        })?;
        let device = match draft.given("device") {
            Some(toml::Value::String(name)) => name.clone(),
            Some(index) => index.to_string(),
            None => "auto".into(),
        };
        let adapters = self.adapters.meant(&device).unwrap_or_default();
        let on = adapters.first().map(|adapter| match adapter.kind.as_str() {
            "cpu" => AdapterKind::Cpu,
            _ => AdapterKind::Gpu,
        });
        Ok(suggest::suggest(draft, &pictures, on)?)
    }
}

/// What suits a data set of pictures.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Suggestion {
    /// The preset whose keys were filled in.
    preset: String,
    /// The whole configuration.
    config: Config,
    /// What was filled in, and why.
    choices: Vec<Choice>,
}

pub(super) async fn suggestion(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Suggestion>, ApiError> {
    helped(&app, move |app| {
        if app.datasets.find(&name).is_none() {
            return Err(ApiError::not_found(format!(
                "there is no data set `{}`",
                name.escape_debug()
            )));
        }
        let draft = Draft::preset(suggest::PRESET)?.set(&format!("data.path={PREFIX}{name}"))?;
        let (draft, choices) = app.suggested(draft)?;
        Ok(Json(Suggestion { preset: suggest::PRESET.into(), config: draft.finish()?, choices }))
    })
    .await
}

/// A configuration as JSON, open to changes.
fn draft(config: &Value) -> Result<Draft, ApiError> {
    let Value::Object(_) = config else {
        return Err(ApiError::bad_request("`config` must be an object").field("config"));
    };
    let text = toml::to_string(&without_nulls(config.clone())).map_err(|error| {
        ApiError::bad_request(format!("`config` cannot be read: {error}")).field("config")
    })?;
    Ok(Draft::from_toml(&text, "config")?)
}

/// A draft with changes, checked.
pub(super) fn changed(draft: Draft, changes: &Map<String, Value>) -> Result<Config, ApiError> {
    Ok(put(draft, changes)?.finish()?)
}

/// A draft with changes.
fn put(draft: Draft, changes: &Map<String, Value>) -> Result<Draft, ApiError> {
    let set = |draft: Draft, (key, value): (&String, &Value)| {
        let value = toml::Value::try_from(without_nulls(value.clone())).map_err(|error| {
            ApiError::bad_request(format!("`set` cannot be read: {error}")).field(key.clone())
        })?;
        Ok::<_, ApiError>(draft.set(&format!("{key}={value}"))?)
    };
    changes.iter().try_fold(draft, set)
}

/// JSON's null is what TOML leaves out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// The built-in configurations.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Presets {
    presets: Vec<Preset>,
}

/// A built-in configuration.
#[derive(Debug, Serialize, JsonSchema)]
struct Preset {
    name: String,
    description: String,
    config: Config,
}

pub(super) async fn presets() -> Result<Json<Presets>, ApiError> {
    let preset = |preset: &engine::config::presets::Preset| {
        let (name, description) = (preset.name.into(), preset.summary().into());
        Ok::<_, ApiError>(Preset { name, description, config: Config::preset(preset.name)? })
    };
    Ok(Json(Presets { presets: PRESETS.iter().map(preset).collect::<Result<_, _>>()? }))
}

pub(super) async fn schema() -> Json<Value> {
    Json(Config::schema())
}

pub(super) async fn openapi(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.document.clone())
}

/// A configuration as JSON.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AsJson {
    #[schemars(with = "Config")]
    config: Value,
}

/// A configuration as TOML.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AsToml {
    toml: String,
}

pub(super) async fn to_toml(Body(given): Body<AsJson>) -> Result<Json<AsToml>, ApiError> {
    Ok(Json(AsToml { toml: draft(&given.config)?.finish()?.to_toml() }))
}

pub(super) async fn parse(Body(given): Body<AsToml>) -> Result<Json<AsJson>, ApiError> {
    let config = Config::from_toml(&given.toml, "line")?;
    let config = serde_json::to_value(config)
        .map_err(|error| ApiError::internal(format!("a configuration is not JSON: {error}")))?;
    Ok(Json(AsJson { config }))
}
