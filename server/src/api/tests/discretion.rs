//! Requests name no file of the server, and answers contain no path of it.

use super::*;

#[tokio::test]
async fn clients_name_no_files() {
    let server = Server::here();
    let id = server.draft().await;
    for name in [
        "..%2Fconfig.toml",
        "%2e%2e%2f%2e%2e%2ftaper.sqlite",
        "run.lock",
        "..%5Cconfig.toml",
        "model.safetensors%00",
        "%2Fetc%2Fpasswd",
        "",
    ] {
        let answer = server.get(&format!("/api/runs/{id}/artifacts/{name}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{name}");
    }
    for path in [
        "/api/runs/..",
        "/api/runs/..%2f..",
        "/api/runs/%2e%2e/config.toml",
        "/api/datasets/..%2f../preview",
        "/api/datasets/procedural/preview/..%2f../0",
        "/../Cargo.toml",
        "/assets/..%2f..%2fCargo.toml",
    ] {
        let answer = server.get(path).await;
        assert!(!answer.text.contains("[package]"), "{path}");
        assert!(
            answer.status == StatusCode::NOT_FOUND || answer.text.contains("<html"),
            "{path} {}",
            answer.status
        );
    }
    let member = server.get(&format!("/api/runs/{id}/artifacts.zip?member=../..")).await;
    assert_eq!(member.status, StatusCode::NOT_FOUND);
}

#[cfg(unix)]
#[tokio::test]
async fn no_answer_tells_where_things_lie() {
    let outside = tempfile::tempdir().expect("folder");
    let flowers = outside.path().join("flowers");
    std::fs::create_dir_all(flowers.join("train/rose")).expect("made");
    std::fs::write(flowers.join("train/rose/1.png"), "no picture").expect("written");
    // What is asked of it is in its refusal, paths and all.
    let program = program(outside.path(), "echo \"error: cannot read $*\" >&2; exit 1");
    let data = [format!("flowers={}", flowers.display())];
    let server =
        Server::with(HOST, None, Parts { data: data.to_vec(), program, ..Parts::default() });
    let secrets = [server.folder.path(), outside.path()].map(|path| path.display().to_string());
    let check = |what: &str, text: &str| {
        for secret in &secrets {
            assert!(!text.contains(secret), "{what}: {text}");
        }
    };

    // A run whose every text contains paths.
    let id = server.draft().await;
    let directory = server.folder.path().join("runs").join(&id);
    let told = format!(
        "cannot read `{}/a` or `{}/teachers/0` or `{}/x`",
        flowers.display(),
        directory.display(),
        server.folder.path().display()
    );
    std::fs::write(directory.join("stderr.log"), format!("error: {told}\n")).expect("written");
    let run = server.app.jobs.store.write(|db| -> rusqlite::Result<Run> {
        let mut run = Run::find(db, &id)?.expect("there");
        run.error = Some(told.clone());
        let event = engine::event::Event::Warning { message: told.clone() };
        run.view.apply(&engine::event::Entry { seq: 0, time: 0.0, event });
        run.save(db)?;
        Ok(run)
    });
    let run = run.expect("written");
    let clean = format!("cannot read `dataset:flowers/a` or `run:{id}/teachers/0` or `DATA_DIR/x`");
    let output = server.get(&format!("/api/runs/{id}/output")).await;
    assert_eq!(output.text, format!("error: {clean}\n"));
    for path in ["/api/runs".into(), format!("/api/runs/{id}")] {
        assert!(server.get(&path).await.text.contains(&clean), "{path}");
    }
    let request = Request::builder().uri("/api/events").header("host", HOST);
    let request = request.body(Body::empty()).expect("a request");
    let mut stream = server.router.clone().oneshot(request).await.expect("infallible").into_body();
    server.app.jobs.say_run(&run);
    let mut heard = String::new();
    while !heard.contains("dataset:flowers/a") {
        let frame =
            http_body_util::BodyExt::frame(&mut stream).await.expect("more").expect("whole");
        heard += &String::from_utf8_lossy(frame.data_ref().expect("data"));
    }
    check("the stream", &heard);

    // A model whose file is a folder, and logs that are none.
    std::fs::create_dir_all(directory.join("artifacts/SHA256SUMS")).expect("made");
    std::fs::create_dir_all(directory.join("events.jsonl")).expect("made");
    let bad = json!({ "preset": "demo", "set": {
        "data.kind": "folder", "data.path": "dataset:flowers", "methods": ["vanilla"]
    } });
    let pupil = json!({ "preset": "demo", "set": { "teacher.from": format!("run:{id}") } });
    let mut seen = 0;
    for body in [&bad, &pupil] {
        for path in ["/api/runs", "/api/preflight"] {
            let refused = server.post(path, body.clone()).await;
            check(path, &refused.text);
            seen += usize::from(
                refused.text.contains("dataset:flowers") || refused.text.contains("run:"),
            );
        }
    }
    assert!(seen >= 2, "the refusals speak of files: {seen}");
    for broken in [false, true] {
        for route in routes() {
            let values = [
                ("{id}", id.as_str()),
                ("{name}", "flowers"),
                ("{split}", "train"),
                ("{index}", "0"),
            ];
            let path = values.iter().fold(route.path.to_owned(), |path, (name, value)| {
                let value = if path.contains("artifacts") && *name == "{name}" {
                    "config.json"
                } else {
                    value
                };
                path.replace(name, value)
            });
            let path = match route.path {
                "/api/compare" => format!("{path}?runs={id}"),
                "/api/datasets" if route.method == Method::POST => format!("{path}?name=a"),
                _ => path,
            };
            if route.method == Method::DELETE && !broken {
                continue;
            }
            let kind = ("content-type", route.types()[0]);
            let body = if route.types()[0] == "application/json" { "{}" } else { "PK" };
            let answer = server.send(&route.method, &path, &[kind], Body::from(body)).await;
            check(&format!("{} {path}", route.method), &answer.text);
            for (name, value) in &answer.headers {
                check(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
            }
        }
        // All that is left of the run is a file.
        if !broken {
            std::fs::remove_dir_all(&directory).expect("removed");
            std::fs::write(&directory, "").expect("written");
        }
    }
}
