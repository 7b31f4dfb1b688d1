//! Runs over the API: made, refused, told what to do, compared.

use super::*;

#[tokio::test]
async fn a_run_goes_through_its_life_without_a_process() {
    let server = Server::here();
    let id = server.draft().await;
    let run = server.get(&format!("/api/runs/{id}")).await.json();
    assert_eq!((&run["state"], &run["name"]), (&"draft".into(), &"<b>a</b>".into()));
    assert_eq!(run["stages"][0]["stage"], "wide");
    assert_eq!(run["blocks"][3]["teacher_width"], 40);
    assert_eq!(run["config"]["data"]["train_count"], 256);
    let toml = server.get(&format!("/api/runs/{id}/config.toml")).await;
    assert!(toml.text.contains("train_count = 256"));
    let verb = async |verb: &str| server.post(&format!("/api/runs/{id}/{verb}"), json!({})).await;
    assert_eq!(verb("pause").await.status, StatusCode::CONFLICT);
    assert_eq!(verb("start").await.json()["position"], 0);
    let copy = verb("clone").await;
    let copy_id = copy.json()["id"].as_str().expect("an id").to_owned();
    server.post(&format!("/api/runs/{copy_id}/start"), json!({})).await;
    let moved = server.post(&format!("/api/runs/{copy_id}/move"), json!({ "before": id })).await;
    assert_eq!(moved.json()["queue"], json!([copy_id, id]));
    assert_eq!(server.get("/api/runs").await.json()["queue"], json!([copy_id, id]));
    assert_eq!(verb("pause").await.json()["state"], "paused");
    assert_eq!(verb("resume").await.json()["position"], 0);
    assert_eq!(verb("stop").await.json()["state"], "stopped");
    assert_eq!(verb("cancel").await.json()["state"], "cancelled");
    assert_eq!(verb("resume").await.status, StatusCode::CONFLICT);
    let compared = server.get(&format!("/api/compare?runs={id},{copy_id}")).await.json();
    assert_eq!(compared["differences"], json!([]));
    let gone = server.send(&Method::DELETE, &format!("/api/runs/{id}"), &[], Body::empty()).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get(&format!("/api/runs/{id}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn people_write_on_a_run_what_they_like() {
    let server = Server::here();
    let id = server.draft().await;
    let label = async |body: Value| server.post(&format!("/api/runs/{id}/label"), body).await;
    let told = label(json!({ "name": " thin & fast ", "tags": ["a b", "c"] })).await.json();
    assert_eq!((&told["name"], &told["tags"]), (&json!("thin & fast"), &json!(["a b", "c"])));
    // What is not said stays.
    let told = label(json!({ "notes": "two\nlines" })).await.json();
    assert_eq!((&told["name"], &told["notes"]), (&json!("thin & fast"), &json!("two\nlines")));
    assert_eq!(server.get(&format!("/api/runs/{id}")).await.json()["tags"], json!(["a b", "c"]));
    for (body, field) in [
        (json!({ "name": "a\nb" }), "name"),
        (json!({ "tags": ["a,b"] }), "tags"),
        (json!({ "notes": "x".repeat(4001) }), "notes"),
    ] {
        let refused = label(body).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
        assert_eq!(refused.json()["field"], field);
    }
    let nobody = server.post("/api/runs/nobody/label", json!({ "name": "x" })).await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
    let noted = server.folder.path().join("runs").join(&id).join("server.json");
    let noted: Value = serde_json::from_slice(&std::fs::read(noted).expect("read")).expect("JSON");
    assert_eq!(noted["labels"], json!({ "tags": ["a b", "c"], "notes": "two\nlines" }));
}

/// A model of four layers of this width on images of 16×16, of which so much is kept by the crop.
fn mlp(width: u32, crop: f64, card: &str) -> ModelFolder {
    let mlp = Mlp { hidden: vec![width; 4], blocks: vec![1; 4], ..Mlp::default() };
    let config = ModelConfig::Images(ImageModel {
        architecture: "mlp".into(),
        model: Model::Mlp(mlp),
        widened: None,
        input: ImageInput {
            channels: 1,
            size: 16,
            mean: vec![0.375],
            std: vec![0.25],
            interpolation: Interpolation::Area,
            crop,
        },
        labels: (0..10).map(|class| class.to_string()).collect(),
    });
    let weights = fresh(&config.network(), 1).expect("weights");
    ModelFolder { weights, config, merge: None, card: card.into() }
}

/// What a teacher's folder says of its pictures is in the configuration that a run is made with, and is not contradicted.
#[tokio::test]
async fn a_run_takes_over_what_its_teacher_says_of_pictures() {
    let server = Server::here();
    let id = server.draft().await;
    let model = mlp(12, 0.875, "");
    let folder = server.folder.path().join("runs").join(&id);
    assert!(folder.is_dir(), "the run's directory");
    model.write(&folder.join("artifacts")).expect("written");

    let with = |more: Value| {
        let mut set = small();
        set["teacher.from"] = json!(format!("run:{id}"));
        set["methods"] = json!(["kd"]);
        for (key, value) in more.as_object().expect("keys") {
            set[key] = value.clone();
        }
        json!({ "preset": "demo", "set": set, "start": false })
    };
    let made = server.post("/api/runs", with(json!({}))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json()["id"].as_str().expect("an id").to_owned();
    let toml = server.get(&format!("/api/runs/{made}/config.toml")).await.text;
    let own =
        std::fs::read_to_string(server.folder.path().join("runs").join(&made).join("config.toml"));
    for text in [toml, own.expect("the run's own")] {
        for line in [
            "size = 16",
            "crop = 0.875",
            "interpolation = \"area\"",
            "mean = [0.375]",
            "std = [0.25]",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
    let shown = server.post("/api/preflight", with(json!({}))).await.json();
    assert!(shown["notes"].to_string().contains("data.crop = 0.875"), "{shown}");
    let refused = server.post("/api/runs", with(json!({ "data.crop": 1.0 }))).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.json()["field"], "data.crop", "{}", refused.text);
}

/// A run may begin with the student of an earlier one: one that was trained on text learns to answer questions.
#[tokio::test]
async fn a_run_begins_with_the_weights_of_another() {
    let server = Server::here();
    let id = server.draft().await;
    // As the preset has them.
    let tokenizer = procedural::tokenizer(128).expect("a tokenizer");
    let sizes = Bert {
        vocabulary: tokenizer.size() as u32,
        hidden: 8,
        layers: 2,
        heads: 2,
        inner: 16,
        length: 16,
        positions: 64,
        places: 2,
        ..Bert::default()
    };
    let config = ModelConfig::Text(TextModel { sizes, tokenizer, unanswerable: false });
    let weights = fresh(&config.network(), 1).expect("weights");
    let model = ModelFolder { weights, config, merge: None, card: String::new() };
    let folder = server.folder.path().join("runs").join(&id);
    model.write(&folder.join("artifacts")).expect("written");

    let begin = |from: &str, hidden: u32| {
        let set = json!({
            "data.kind": "procedural_questions", "data.train_count": 20, "data.test_count": 10, "text.length": 64,
            "finetune.doc_stride": 16, "methods": ["vanilla"], "vanilla.batch": 8, "model.hidden": hidden, "model.inner": 16,
            "model.positions": 64, "model.from": from,
        });
        json!({ "preset": "bert-demo", "set": set, "start": false })
    };
    let from = format!("run:{id}");
    let made = server.post("/api/runs", begin(&from, 8)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json()["id"].as_str().expect("an id").to_owned();
    let run = server.get(&format!("/api/runs/{made}")).await.json();
    assert_eq!(run["config"]["model"]["from"], from);
    let own = server.folder.path().join("runs").join(&made).join("config.toml");
    let own = std::fs::read_to_string(own).expect("the run's own");
    assert!(own.contains(&format!("{id}/artifacts")), "{own}");
    // What it begins with is there until it is done.
    let refused =
        server.send(&Method::DELETE, &format!("/api/runs/{id}"), &[], Body::empty()).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);

    for (from, hidden, words) in [
        ("/etc/passwd", 8, "must name a run"),
        ("run:nobody", 8, "there is no run `nobody`"),
        (&*from, 16, "set model.hidden=8"),
    ] {
        let refused = server.post("/api/runs", begin(from, hidden)).await;
        assert_eq!(refused.json()["field"], "model.from", "{}", refused.text);
        assert!(refused.text.contains(words), "{}", refused.text);
    }
}

#[tokio::test]
async fn a_bad_run_is_refused_with_its_field() {
    let server = Server::here();
    for (body, field) in [
        (json!({}), "preset"),
        (json!({ "preset": "../../etc/passwd" }), "preset"),
        (json!({ "preset": "demo", "set": { "tune.lr": -1 } }), "tune.lr"),
        (json!({ "preset": "demo", "set": { "tune.lrr": 1 } }), "tune.lrr"),
        (
            json!({ "preset": "demo", "set": { "data.kind": "folder", "data.path": "/etc" } }),
            "data.path",
        ),
        (
            json!({ "preset": "demo", "set": { "data.kind": "folder", "data.path": "dataset:../x" } }),
            "data.path",
        ),
        (json!({ "preset": "demo", "set": { "teacher.from": "/etc/passwd" } }), "teacher.from"),
        (json!({ "preset": "demo", "set": { "device": "9" } }), "device"),
        (json!({ "preset": "demo", "set": { "data.train_count": 2000000 } }), "data.train_count"),
        (json!({ "preset": "demo", "name": "a\u{7}b" }), "name"),
        (json!({ "preset": "demo", "name": "a\u{202e}gpj" }), "name"),
        (json!({ "preset": "demo", "name": "NUL" }), "name"),
        (json!({ "preset": "demo", "name": "com1.txt" }), "name"),
        (json!({ "preset": "demo", "name": "a." }), "name"),
    ] {
        let answer = server.post("/api/runs", body.clone()).await;
        assert!(answer.status.is_client_error(), "{body}: {}", answer.text);
        assert_eq!(answer.json()["field"], field, "{body}: {}", answer.text);
        if field != "name" {
            let shown = server.post("/api/preflight", body.clone()).await;
            assert_eq!(
                (shown.status, &shown.json()["ok"]),
                (StatusCode::OK, &false.into()),
                "{body}"
            );
            assert_eq!(shown.json()["problems"][0]["field"], field);
        }
    }
    assert_eq!(server.get("/api/runs").await.json()["runs"], json!([]));
    let unknown = server.post("/api/runs", json!({ "preset": "demo", "files": ["x"] })).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn configurations_go_to_toml_and_back() {
    let server = Server::here();
    let presets = server.get("/api/presets").await.json();
    for preset in presets["presets"].as_array().expect("a list") {
        let toml = server.post("/api/config/toml", json!({ "config": preset["config"] })).await;
        let back = server.post("/api/config/parse", toml.json()).await.json();
        assert_eq!(back["config"], preset["config"], "{}", preset["name"]);
    }
    let bad = server.post("/api/config/parse", json!({ "toml": "[tune]\nlr = \n" })).await;
    assert!(
        bad.json()["message"].as_str().is_some_and(|text| text.contains("line:2")),
        "{}",
        bad.text
    );
}

#[tokio::test]
async fn a_teacher_that_is_needed_is_not_deleted() {
    let server = Server::here();
    let teacher = server.draft().await;
    let mut set = small();
    set["teacher.from"] = format!("run:{teacher}").into();
    let run = server.app.jobs.store.read(|db| Run::find(db, &teacher));
    let mut run = run.expect("read").expect("there");
    // It has no weights to examine: the pupil is put beside it as the store has it.
    run.config += &format!("\n[teacher]\nfrom = \"run:{teacher}\"\n");
    let pupil = crate::store::New {
        id: "pupil".into(),
        name: "my pupil".into(),
        config: format!("[teacher]\nfrom = \"run:{teacher}\"\n"),
        config_hash: String::new(),
        preset: None,
        facts: run.facts,
        view: run.view,
    };
    server.app.jobs.store.write(|db| Run::insert(db, &pupil)).expect("inserted");
    let place = format!("/api/runs/{teacher}");
    let delete = async || server.send(&Method::DELETE, &place, &[], Body::empty()).await;
    for verb in ["", "start", "stop"] {
        if !verb.is_empty() {
            let told = server.post(&format!("/api/runs/pupil/{verb}"), json!({})).await;
            assert_eq!(told.status, StatusCode::OK, "{}", told.text);
        }
        let refused = delete().await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{verb}: {}", refused.text);
        assert!(refused.text.contains("`my pupil` (pupil)"), "{}", refused.text);
        assert_eq!(server.get(&place).await.status, StatusCode::OK);
    }
    server.post("/api/runs/pupil/cancel", json!({})).await;
    assert_eq!(delete().await.status, StatusCode::NO_CONTENT);
    let made = server.post("/api/runs", json!({ "preset": "demo", "set": set })).await;
    assert_eq!((made.status.as_u16(), &made.json()["field"]), (422, &"teacher.from".into()));
}

#[tokio::test]
async fn so_many_runs_are_compared_and_each_once() {
    let server = Server::here();
    let id = server.draft().await;
    let begun = std::time::Instant::now();
    let one = server.get(&format!("/api/compare?runs={id}")).await;
    let alone = begun.elapsed();
    let begun = std::time::Instant::now();
    let many = vec![id.as_str(); 3000].join(",");
    let same = server.get(&format!("/api/compare?runs={many}")).await;
    assert_eq!((same.status, same.text), (StatusCode::OK, one.text));
    assert!(begun.elapsed() < 100 * alone, "{:?} and {alone:?}", begun.elapsed());
    let ids: Vec<String> = (0..101).map(|n| format!("{id}{n}")).collect();
    let refused = server.get(&format!("/api/compare?runs={}", ids.join(","))).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (422, &"runs".into()));
}

#[tokio::test]
async fn of_two_runs_of_one_configuration_and_seed_it_is_said_which_counts() {
    let server = Server::here();
    let mut ids = Vec::new();
    for accuracy in [90.0, 80.0] {
        let id = server.draft().await;
        let log = server.folder.path().join("runs").join(&id).join("events.jsonl");
        let done = engine::event::Event::MemberFinished {
            member: "win-0".into(),
            method: Some(engine::config::Method::Win),
            seed: 0,
            step: 9,
            accuracy,
            loss: 0.5,
            train_error: 1.0,
            answers: None,
            discrepancy: Some(0.25),
            epochs: Some(1.0),
            seconds: Some(1.0),
            params: 10,
            macs: 10,
            teacher_epochs: None,
            teacher_seconds: None,
        };
        let log = engine::event::EventLog::open(&log);
        log.expect("a log").append(done).expect("written");
        ids.push(id);
    }
    let compared = server.get(&format!("/api/compare?runs={}", ids.join(","))).await.json();
    let repeated = json!([{ "taken": ids[0], "left": ids[1], "members": ["win-0"] }]);
    assert_eq!(
        (&compared["repeated"], &compared["rows"][0]["accuracy_mean"]),
        (&repeated, &90.0.into())
    );
    let alone = server.get(&format!("/api/compare?runs={}", ids[1])).await.json();
    assert_eq!(alone["repeated"], json!([]));
}

#[tokio::test]
async fn a_run_tells_what_was_read_of_its_data() {
    let server = Server::here();
    let id = server.draft().await;
    let run = server.get(&format!("/api/runs/{id}")).await.json();
    let shown = server.post("/api/preflight", json!({ "preset": "demo", "set": small() })).await;
    assert!(run["read"].as_array().is_some_and(|lines| !lines.is_empty()), "{run}");
    assert_eq!((&run["read"], &run["account"]), (&shown.json()["read"], &shown.json()["account"]));
}

#[tokio::test]
async fn a_stage_that_does_not_fit_is_refused_by_a_key_that_is_there() {
    let server = Server::here();
    for (methods, key) in [
        (json!(["vanilla"]), "vanilla.batch"),
        (json!(["fitnets"]), "fitnets.batch"),
        (json!(["start_only"]), "tune.batch"),
        (json!(["win"]), "narrow.batch"),
    ] {
        // Room for no step at all: the teacher's is the first.
        let set = json!({
            "methods": methods, "seeds": [0], "data.train_count": 256, "data.test_count": 64,
            "memory_budget": 1000
        });
        let shown = server.post("/api/preflight", json!({ "preset": "demo", "set": set })).await;
        let field = shown.json()["problems"][0]["field"].clone();
        assert_eq!(field, "memory_budget", "{}", shown.text);
        // And a batch that the data do not have.
        let mut set = set;
        set.as_object_mut().expect("an object").remove("memory_budget");
        set[key] = 300.into();
        let shown = server.post("/api/preflight", json!({ "preset": "demo", "set": set })).await;
        assert_eq!(shown.json()["problems"][0]["field"], key, "{}", shown.text);
    }
}

/// A model is downloaded in the forms that can say it, and with other numbers; a form that cannot is refused with its reason.
#[tokio::test]
async fn a_model_is_downloaded_in_other_forms() {
    let server = Server::here();
    let id = server.draft().await;
    let model = mlp(6, 1.0, "---\n---\n\n## Use\n\nAs it is.\n");
    let runs = server.folder.path().join("runs");
    model.write(&runs.join(&id).join("artifacts")).expect("written");

    let listed = server.get(&format!("/api/runs/{id}/artifacts")).await.json();
    let refused = |form: &str| {
        let forms = listed["forms"].as_array().expect("a list");
        forms.iter().find(|offer| offer["form"] == form).expect(form)["refused"].clone()
    };
    assert_eq!((refused("taper"), refused("pytorch")), (Value::Null, Value::Null));
    assert!(refused("timm").as_str().is_some_and(|why| why.contains("no residual network")));

    let zip =
        async |query: &str| server.get(&format!("/api/runs/{id}/artifacts.zip?{query}")).await;
    let made = zip("form=pytorch&half=true&int8=true").await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    for name in ["model.py", "model_int8.onnx", "model.safetensors", "SHA256SUMS"] {
        assert!(made.text.contains(&format!("b-a-b-pytorch-half-int8/{name}")), "{name}");
    }
    for said in ["half precision", "8-bit whole numbers", "200 training pictures"] {
        assert!(made.text.contains(said), "{said}");
    }
    let refused = zip("form=timm").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("no residual network"), "{}", refused.text);
    // What was made for a download goes with it.
    let left = || std::fs::read_dir(&runs).expect("read").count();
    for _ in 0..100 {
        if left() > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(left(), 1, "folders that were made are left");
}
