//! What the document says of the routes is what they do.

use super::*;

#[tokio::test]
async fn the_document_has_every_route_and_every_reference() {
    let document = Server::here().get("/api/openapi.json").await.json();
    let mut count = 0;
    for route in routes() {
        let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
        assert!(operation["summary"].is_string(), "{} {}", route.method, route.path);
        count += 1;
    }
    let paths = document["paths"].as_object().expect("paths");
    let listed: usize = paths.values().map(|path| path.as_object().expect("methods").len()).sum();
    assert_eq!(listed, count);
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn every_answer_is_of_a_type_that_the_document_has() {
    let outside = tempfile::tempdir().expect("folder");
    let surveyed = json!({
        "classes": ["a"], "train": { "counts": [1], "samples": [[0, 0]] },
        "test": { "counts": [0], "samples": [] }
    });
    let program =
        program(outside.path(), &format!("echo x > \"$3/train-0.png\"; echo '{surveyed}'"));
    let server = Server::with(HOST, None, Parts { program, ..Parts::default() });
    let document = server.get("/api/openapi.json").await.json();
    let id = server.draft().await;
    let artifacts = server.folder.path().join("runs").join(&id).join("artifacts");
    for (name, _) in files::NAMES {
        let path = artifacts.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, "x").expect("written");
    }
    std::fs::remove_file(artifacts.join(engine::formats::sums::NAME)).expect("removed");
    engine::formats::sums::write(&artifacts).expect("written");

    let mut of_files = std::collections::BTreeSet::new();
    let mut good = 0;
    // What deletes comes last.
    let (last, first): (Vec<_>, Vec<_>) =
        routes().into_iter().partition(|route| route.method == Method::DELETE);
    for route in first.into_iter().chain(last) {
        let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
        let is_file = route.path.ends_with("/artifacts/{name}");
        let names: Vec<&str> = match is_file {
            true => files::NAMES.iter().map(|(name, _)| *name).collect(),
            false if route.method == Method::DELETE => vec!["mine"],
            false => vec!["procedural"],
        };
        for name in names {
            let path = route.path.replace("{id}", &id).replace("{name}", &name.replace('/', "%2F"));
            let path = path.replace("{split}", "train").replace("{index}", "0");
            let path = match (route.path, &route.method) {
                ("/api/compare", _) => format!("{path}?runs={id}"),
                ("/api/datasets", &Method::POST) => format!("{path}?name=mine"),
                _ => path,
            };
            let body = match route.path {
                "/api/session" => json!({ "token": "x" }),
                "/api/runs" | "/api/preflight" => {
                    json!({ "preset": "demo", "set": small(), "start": false })
                }
                "/api/config/toml" => json!({ "config": {} }),
                "/api/config/parse" => json!({ "toml": "" }),
                path if path.ends_with("/move") => json!({ "before": null }),
                _ => json!({}),
            };
            let kind = ("content-type", route.types()[0]);
            let body = Body::from(body.to_string());
            let answer = server.send(&route.method, &path, &[kind], body).await;
            let status = answer.status.as_u16().to_string();
            let responses = &operation["responses"];
            let response = responses.get(&status).unwrap_or(&responses["default"]);
            let declared: Vec<&str> = match response["content"].as_object() {
                Some(content) => content.keys().map(String::as_str).collect(),
                None => Vec::new(),
            };
            let given = answer.headers.get(header::CONTENT_TYPE);
            let given =
                given.map(|kind| kind.to_str().expect("text").split(';').next().expect("one"));
            assert_eq!(given.is_some(), !declared.is_empty(), "{} {path} {status}", route.method);
            if let Some(given) = given {
                assert!(declared.contains(&given), "{} {path} {status}: {given}", route.method);
                good += usize::from(answer.status.is_success());
            }
            if is_file {
                assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text);
                of_files.insert(given.expect("a type").to_owned());
                let declared = declared.iter().map(|kind| (*kind).to_owned());
                assert!(of_files.is_subset(&declared.collect()));
            }
        }
    }
    assert_eq!(of_files, files::kinds().into_iter().map(str::to_owned).collect());
    assert!(good > routes().len() - 8, "most of them are answered in full: {good}");
}
