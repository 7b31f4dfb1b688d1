//! Checks a configuration against its own JSON schema.
//!
//! The walk covers the part of JSON Schema that schemars writes for this tree: references, `oneOf` of constants or of tagged objects, types,
//! ranges and unknown keys.

use serde_json::{Map, Value as Json};
use toml::Value;

use super::{
    Config,
    error::{ConfigError, HERE, bad, nearest},
};

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
        // `Option` makes these, whose other choice is null, which TOML does not have, and sections of several kinds.
        let null = |choice: &&Json| choice.get("type") == Some(&Json::from("null"));
        let some: Vec<&Json> = choices.iter().filter(|choice| !null(choice)).collect();
        return match some[..] {
            [] => Ok(()),
            [one] => check(value, one, root, path),
            _ => check_kind(value, &some, root, path),
        };
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

/// `choices` are sections told apart by the names that their key `kind` may have; one without that key is of the first.
fn check_kind(
    value: &Value,
    choices: &[&Json],
    root: &Json,
    path: &str,
) -> Result<(), ConfigError> {
    let kinds = |choice: &Json| -> Vec<Json> {
        let section = resolve(choice, root);
        let kind = section.get("properties").and_then(|properties| properties.get(KIND));
        let kind = kind.map(|kind| resolve(kind, root)).unwrap_or_default();
        let of = |name: &str| kind.get(name).and_then(Json::as_array).into_iter().flatten();
        let described = of("oneOf").filter_map(|choice| choice.get("const"));
        described.chain(of("enum")).cloned().collect()
    };
    let given = match value {
        Value::Table(table) => table.get(KIND),
        _ => None,
    };
    let Some(given) = given else { return check(value, choices[0], root, path) };
    let is = |name: &Json| given.as_str().is_some_and(|given| name == given);
    match choices.iter().find(|choice| kinds(choice).iter().any(is)) {
        Some(choice) => check(value, choice, root, path),
        None => {
            let names: Vec<Json> = choices.iter().flat_map(|choice| kinds(choice)).collect();
            check_name(given, &names, &join(path, KIND))
        }
    }
}

/// The key that tells sections of several kinds apart.
const KIND: &str = "kind";

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
