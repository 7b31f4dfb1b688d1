//! The routes: what is served, what is checked of a request, and what `/api/openapi.json` says of it, all from one table.
//!
//! aide does the same, but has no release for schemars 1; utoipa would need the configuration's schema written a second time.

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::routing::MethodRouter;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::app::App;
use super::error::ErrorBody;
use super::guard::{BODY, Rule};

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// What a route takes as its body.
#[derive(Debug, Clone, Copy)]
enum Takes {
    Nothing,
    Json(SchemaOf),
    /// Bytes of one of these types.
    Bytes(&'static [&'static str]),
}

/// What a route answers when all is well.
#[derive(Debug, Clone)]
enum Answers {
    Nothing,
    Json(SchemaOf),
    /// One of these types.
    Other(Vec<&'static str>),
}

/// One method of one path.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// Whether it is served to who has no token.
    pub(super) open: bool,
    /// Most bytes of a body.
    pub(super) cap: u64,
    summary: &'static str,
    query: Option<SchemaOf>,
    takes: Takes,
    status: u16,
    answers: Answers,
    handler: MethodRouter<Arc<App>>,
}

impl Route {
    fn new(
        method: Method,
        path: &'static str,
        summary: &'static str,
        handler: MethodRouter<Arc<App>>,
    ) -> Route {
        Route {
            method,
            path,
            open: false,
            cap: BODY,
            summary,
            query: None,
            takes: Takes::Nothing,
            status: 200,
            answers: Answers::Nothing,
            handler,
        }
    }

    pub(super) fn get(
        path: &'static str,
        summary: &'static str,
        handler: MethodRouter<Arc<App>>,
    ) -> Route {
        Route::new(Method::GET, path, summary, handler)
    }

    pub(super) fn post(
        path: &'static str,
        summary: &'static str,
        handler: MethodRouter<Arc<App>>,
    ) -> Route {
        Route::new(Method::POST, path, summary, handler)
    }

    pub(super) fn delete(
        path: &'static str,
        summary: &'static str,
        handler: MethodRouter<Arc<App>>,
    ) -> Route {
        Route::new(Method::DELETE, path, summary, handler).status(204)
    }

    /// Served to everybody: it tells nothing of runs.
    pub(super) fn open(mut self) -> Route {
        self.open = true;
        self
    }

    pub(super) fn query<T: JsonSchema>(mut self) -> Route {
        self.query = Some(schema_of::<T>);
        self
    }

    pub(super) fn takes<T: JsonSchema>(mut self) -> Route {
        self.takes = Takes::Json(schema_of::<T>);
        self
    }

    pub(super) fn takes_bytes(mut self, types: &'static [&'static str], cap: u64) -> Route {
        (self.takes, self.cap) = (Takes::Bytes(types), cap);
        self
    }

    pub(super) fn status(mut self, status: u16) -> Route {
        self.status = status;
        self
    }

    pub(super) fn answers<T: JsonSchema>(mut self) -> Route {
        self.answers = Answers::Json(schema_of::<T>);
        self
    }

    pub(super) fn answers_with(mut self, kinds: impl Into<Vec<&'static str>>) -> Route {
        self.answers = Answers::Other(kinds.into());
        self
    }

    /// The types that a body may have.
    pub(super) fn types(&self) -> &'static [&'static str] {
        match self.takes {
            Takes::Nothing | Takes::Json(_) => &["application/json"],
            Takes::Bytes(types) => types,
        }
    }

    /// What the guard asks of requests to it.
    pub(super) fn rule(&self) -> Rule {
        let bytes = matches!(self.takes, Takes::Bytes(_));
        Rule { types: self.types(), cap: self.cap, open: self.open, bytes }
    }

    fn operation(&self, generator: &mut SchemaGenerator) -> Value {
        let mut operation = Map::new();
        operation.insert("summary".into(), self.summary.into());
        operation.insert("operationId".into(), self.name().into());
        let mut parameters: Vec<Value> = Vec::new();
        for name in self.path.split('/').filter_map(|part| part.strip_prefix('{')) {
            let name = name.trim_end_matches('}');
            let schema = json!({ "type": if name == "index" { "integer" } else { "string" } });
            parameters
                .push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
        }
        if let Some(query) = self.query {
            parameters.extend(query_parameters(&query(generator).to_value(), generator));
        }
        if !parameters.is_empty() {
            operation.insert("parameters".into(), parameters.into());
        }
        match self.takes {
            Takes::Nothing => {}
            Takes::Json(schema) => {
                let schema = schema(generator).to_value();
                let content = json!({ "application/json": { "schema": schema } });
                operation
                    .insert("requestBody".into(), json!({ "required": true, "content": content }));
            }
            Takes::Bytes(types) => {
                let bytes = json!({ "schema": { "type": "string", "format": "binary" } });
                let content: Map<String, Value> =
                    types.iter().map(|kind| ((*kind).to_owned(), bytes.clone())).collect();
                operation
                    .insert("requestBody".into(), json!({ "required": true, "content": content }));
            }
        }
        let mut good = json!({ "description": "As asked." });
        match &self.answers {
            Answers::Nothing => {}
            Answers::Json(schema) => {
                good["content"] =
                    json!({ "application/json": { "schema": schema(generator).to_value() } });
            }
            Answers::Other(kinds) => {
                let schema = |kind: &str| match kind {
                    "application/json" => json!({}),
                    _ => json!({ "type": "string" }),
                };
                let content = |kind: &&str| ((*kind).into(), json!({ "schema": schema(kind) }));
                good["content"] = Value::Object(kinds.iter().map(content).collect());
            }
        }
        let error = generator.subschema_for::<ErrorBody>().to_value();
        let bad = json!({ "description": "Refused.", "content": { "application/json": { "schema": error } } });
        operation
            .insert("responses".into(), json!({ self.status.to_string(): good, "default": bad }));
        if !self.open {
            operation.insert("security".into(), json!([{}, { "token": [] }, { "session": [] }]));
        }
        operation.into()
    }

    /// `get_runs_id_artifacts`.
    fn name(&self) -> String {
        let words =
            self.path.split(['/', '.', '-']).filter(|word| !word.is_empty() && *word != "api");
        let words = words.map(|word| word.trim_matches(['{', '}', '*']));
        [self.method.as_str().to_lowercase().as_str()]
            .into_iter()
            .chain(words)
            .collect::<Vec<_>>()
            .join("_")
    }
}

/// The properties of an object as parameters of a query.
fn query_parameters(schema: &Value, generator: &SchemaGenerator) -> Vec<Value> {
    let name = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    let schema = name.and_then(|name| generator.definitions().get(name)).unwrap_or(schema);
    let required = |name: &String| {
        schema["required"].as_array().is_some_and(|list| list.iter().any(|key| key == name))
    };
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let parameter = |(name, mut schema): (String, Value)| {
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        json!({
            "name": name, "in": "query", "required": required(&name),
            "description": description, "schema": schema
        })
    };
    properties.into_iter().map(parameter).collect()
}

/// The document at `/api/openapi.json`.
pub(crate) fn openapi(routes: &[Route]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    // What the stream says, and what stands in a model's files, is no answer of a route.
    for also in [
        schema_of::<engine::event::Entry>,
        schema_of::<engine::config::Config>,
        schema_of::<engine::formats::ModelConfig>,
    ] {
        also(&mut generator);
    }
    let mut paths = Map::new();
    for route in routes {
        let operation = route.operation(&mut generator);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation;
    }
    let mut schemas = generator.take_definitions(true);
    // Parameters of queries stand where they are used.
    schemas.retain(|name, _| !name.ends_with("Query"));
    schemas.sort_keys();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Taper",
            "version": env!("CARGO_PKG_VERSION"),
            "description": include_str!("openapi.md"),
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": super::token::COOKIE },
            },
        },
    })
}

/// The routes as axum has them.
pub(super) fn router(routes: Vec<Route>) -> Router<Arc<App>> {
    routes.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler))
}
