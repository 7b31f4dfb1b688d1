//! Configurations: what a client may send, presets, the schema, TOML.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use engine::config::{Config, Draft, presets::PRESETS};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::app::App;
use super::error::ApiError;
use super::extract::Body;

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
    /// The configuration that is meant, checked, with names of data sets as they were given.
    ///
    /// # Errors
    /// What is wrong with it, by its key.
    pub(super) fn config(&self) -> Result<Config, ApiError> {
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
        changed(draft, &self.set)
    }
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
    let set = |draft: Draft, (key, value): (&String, &Value)| {
        let value = toml::Value::try_from(without_nulls(value.clone())).map_err(|error| {
            ApiError::bad_request(format!("`set` cannot be read: {error}")).field(key.clone())
        })?;
        Ok::<_, ApiError>(draft.set(&format!("{key}={value}"))?)
    };
    Ok(changes.iter().try_fold(draft, set)?.finish()?)
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
