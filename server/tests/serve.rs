//! The server as a user has it: the real program, real runs on a real adapter, and `kill -9` of both.
#![cfg(unix)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use engine::config::Config;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Long enough for two busy cores without a GPU.
const PATIENCE: Duration = Duration::from_secs(240);

struct Server {
    child: Child,
    url: String,
    log: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    fn start(data: &Path, number: u32) -> Server {
        Server::with(data, number, &[])
    }

    fn with(data: &Path, number: u32, more: &[&str]) -> Server {
        let log = data.with_extension(format!("{number}.log"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_taper"))
            .args(["serve", "--bind", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let url =
            line.trim().strip_prefix("Taper is at ").expect("where it is").trim_end_matches('/');
        Server { url: url.to_owned(), child, log }
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let mut answer = ureq::get(format!("{}{path}", self.url)).call().expect(path);
        answer.body_mut().with_config().limit(64 << 20).read_to_vec().expect("a body")
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path)).expect("JSON")
    }

    /// Status and body.
    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(path, "application/json", body.to_string().as_bytes())
    }

    fn send(&self, path: &str, kind: &str, body: &[u8]) -> (u16, Value) {
        let request =
            ureq::post(format!("{}{path}", self.url)).config().http_status_as_error(false);
        let mut answer = request.build().header("content-type", kind).send(body).expect(path);
        let text = answer.body_mut().read_to_string().expect("a body");
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
    }

    fn delete(&self, path: &str) -> u16 {
        let request =
            ureq::delete(format!("{}{path}", self.url)).config().http_status_as_error(false);
        request.build().call().expect(path).status().as_u16()
    }

    /// The messages of the stream: (event, id, data).
    fn listen(&self, query: &str) -> Receiver<(String, String, Value)> {
        let answer =
            ureq::get(format!("{}/api/events?{query}", self.url)).call().expect("a stream");
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut event, mut id) = (String::new(), String::new());
            for line in BufReader::new(answer.into_body().into_reader()).lines() {
                let Ok(line) = line else { return };
                if let Some(text) = line.strip_prefix("event: ") {
                    event = text.to_owned();
                } else if let Some(text) = line.strip_prefix("id: ") {
                    id = text.to_owned();
                } else if let Some(text) = line.strip_prefix("data: ") {
                    let data = serde_json::from_str(text).expect("JSON");
                    // The id may come behind the data.
                    if sender.send((event.clone(), id.clone(), data)).is_err() {
                        return;
                    }
                }
            }
        });
        receiver
    }

    fn state(&self, id: &str) -> String {
        self.json(&format!("/api/runs/{id}"))["state"].as_str().expect("a state").to_owned()
    }

    #[track_caller]
    fn wait_for(&self, id: &str, state: &str) {
        let begun = Instant::now();
        while self.state(id) != state {
            let log = || fs::read_to_string(&self.log).unwrap_or_default();
            assert!(
                begun.elapsed() < PATIENCE,
                "{id} is {} and not {state}\n{}",
                self.state(id),
                log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The next message that will do.
#[track_caller]
fn until(
    stream: &Receiver<(String, String, Value)>,
    wanted: impl Fn(&str, &Value) -> bool,
) -> (String, Value) {
    let begun = Instant::now();
    loop {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        let (event, id, data) = stream.recv_timeout(left).expect("a message that was waited for");
        if wanted(&event, &data) {
            return (id, data);
        }
    }
}

fn is_stage(event: &str, data: &Value, stage: &str) -> bool {
    event == "entry" && data["entry"]["type"] == "stage_started" && data["entry"]["stage"] == stage
}

fn signal(name: &str, process: u32) {
    let status = Command::new("kill").args([name, &process.to_string()]).status().expect("kill");
    assert!(status.success());
}

/// The number of the last process that a server started for a run.
fn process(server: &Server) -> u32 {
    let log = fs::read_to_string(&server.log).expect("a log");
    let line = log.lines().rev().find(|line| line.contains("started")).expect("a start");
    let plain: String = line.chars().filter(|c| c.is_ascii()).collect();
    plain.rsplit("process=").next().and_then(|text| text.trim().parse().ok()).expect("a number")
}

/// A run of some ten seconds, most of it in the last stage.
fn small(tune: u32) -> Value {
    json!({ "preset": "demo", "set": {
        "methods": ["win"], "seeds": [0], "data.train_count": 2000, "data.test_count": 200,
        "wide.epochs": 2, "narrow.epochs": 1, "tune.epochs": tune
    } })
}

fn starts(data: &Path, id: &str) -> usize {
    let log = fs::read_to_string(data.join("runs").join(id).join("events.jsonl")).expect("a log");
    log.matches("\"type\":\"run_started\"").count()
}

#[test]
fn a_run_outlives_its_own_death_and_that_of_the_server() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path().join("data");
    let mut server = Server::start(&data, 1);

    let (status, run) = server.post("/api/runs", &small(40));
    assert_eq!(status, 201, "{run}");
    let id = run["id"].as_str().expect("an id").to_owned();
    let stream = server.listen(&format!("runs={id}&last_event_id=0"));
    until(&stream, |event, _| event == "hello");
    until(&stream, |event, data| is_stage(event, data, "narrow 2"));
    assert_eq!(server.delete(&format!("/api/runs/{id}")), 409, "it has a process");

    // Its process is killed, and the next one goes on from the checkpoint.
    signal("-9", process(&server));
    let resumed = |event: &str, data: &Value| {
        event == "entry" && data["entry"]["type"] == "resumed" && data["entry"]["member"] == "win-0"
    };
    let (_, entry) = until(&stream, resumed);
    assert!(entry["entry"]["step"].as_u64().is_some_and(|step| step >= 31), "{entry}");
    let (last, _) = until(&stream, |event, data| is_stage(event, data, "tune"));

    // The server is killed, and the run does not notice.
    drop(server.child.kill());
    drop(server.child.wait());
    let lock = File::open(data.join("runs").join(&id).join("run.lock")).expect("a lock");
    assert!(lock.try_lock_shared().is_err(), "its process is gone");
    let before = starts(&data, &id);
    let server = Server::start(&data, 2);
    assert_eq!(server.state(&id), "running");
    let stream = server.listen(&format!("runs={id}&last_event_id={last}"));
    let (_, entry) = until(&stream, |event, _| event == "entry");
    assert_eq!(entry["run"], id.as_str());
    until(&stream, |event, data| event == "run" && data["state"] == "done");
    server.wait_for(&id, "done");
    assert_eq!((before, starts(&data, &id)), (2, 2), "it was adopted, not started anew");

    // What readers see has each step once.
    let curves =
        server.json(&format!("/api/runs/{id}/metrics?member=win-0&series=loss&points=20000"));
    let x = curves["members"][0]["series"][0]["x"].as_array().expect("steps").clone();
    assert!(x.windows(2).all(|pair| pair[0].as_u64() < pair[1].as_u64()), "{x:?}");
    assert_eq!(x.last().and_then(Value::as_u64), Some(4 * 31 + 40 * 31));

    // And the model is what its check sums say.
    let zip = server.get(&format!("/api/runs/{id}/artifacts.zip"));
    let run = server.json(&format!("/api/runs/{id}"));
    let called = run["name"].as_str().expect("a name");
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).expect("a zip");
    let mut read = |name: &str| {
        let mut bytes = Vec::new();
        archive
            .by_name(&format!("{called}/{name}"))
            .expect(name)
            .read_to_end(&mut bytes)
            .expect("whole");
        bytes
    };
    let sums = String::from_utf8(read("SHA256SUMS")).expect("text");
    let mut names = Vec::new();
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").expect("a line of sha256sum");
        let digest: String =
            Sha256::digest(read(name)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, sum, "{name}");
        names.push(name.to_owned());
    }
    assert!(
        names.contains(&"model.safetensors".to_owned()) && names.contains(&"merge.json".to_owned())
    );

    // A browser gets all that it runs the model by.
    let plan = server.json(&format!("/api/runs/{id}/plan.json"));
    assert!(plan["shaders"][0]["text"].as_str().is_some_and(|text| text.contains("fn ")), "{plan}");
    assert!(plan["programs"]["evaluate"].is_array());

    // The server ends in order.
    let Server { child, .. } = &server;
    signal("-TERM", child.id());
    let mut server = server;
    assert!(server.child.wait().expect("ended").success());
}

#[test]
fn a_run_is_paused_and_a_shutdown_is_no_end() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path().join("data");
    let mut server = Server::start(&data, 1);
    let (_, run) = server.post("/api/runs", &small(60));
    let id = run["id"].as_str().expect("an id").to_owned();
    let (_, next) = server.post("/api/runs", &small(1));
    let next = next["id"].as_str().expect("an id").to_owned();
    let stream = server.listen(&format!("runs={id}"));
    until(&stream, |event, data| is_stage(event, data, "tune"));
    assert_eq!(server.state(&next), "queued", "one device, one run");
    let (status, told) = server.post(&format!("/api/runs/{id}/pause"), &json!({}));
    assert_eq!((status, &told["state"]), (200, &"pausing".into()));
    server.wait_for(&id, "paused");
    // The device is free: the next one has it.
    server.wait_for(&next, "done");
    server.post(&format!("/api/runs/{id}/resume"), &json!({}));
    server.wait_for(&id, "running");
    until(&stream, |event, data| is_stage(event, data, "tune"));

    signal("-TERM", server.child.id());
    assert!(server.child.wait().expect("ended").success());
    let lock = File::open(data.join("runs").join(&id).join("run.lock")).expect("a lock");
    assert!(lock.try_lock_shared().is_ok(), "it wrote a checkpoint and ended");
    drop(lock);
    let server = Server::start(&data, 2);
    server.wait_for(&id, "running");
    let (_, told) = server.post(&format!("/api/runs/{id}/cancel"), &json!({}));
    assert_eq!(told["state"], "cancelled");
    let begun = Instant::now();
    while server.delete(&format!("/api/runs/{id}")) != 204 {
        assert!(begun.elapsed() < PATIENCE, "its process does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!data.join("runs").join(&id).exists());
}

/// A tar of (name, bytes); names are written as they are.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().expect("GNU").name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *bytes).expect("appended");
    }
    builder.into_inner().expect("whole")
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::Write as _;
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).expect("begun");
        writer.write_all(bytes).expect("written");
    }
    writer.finish().expect("whole").into_inner()
}

#[test]
fn class_folders_are_parted_and_a_configuration_suits_them() {
    let folder = tempfile::tempdir().expect("folder");
    let mut png = Cursor::new(Vec::new());
    image::RgbImage::from_pixel(9, 8, image::Rgb([200, 10, 10]))
        .write_to(&mut png, image::ImageFormat::Png)
        .expect("a PNG");
    let png = png.into_inner();
    let names: Vec<String> = ["rose", "lily"]
        .iter()
        .flat_map(|class| (0..10).map(move |n| format!("flowers/{class}/{n}.png")))
        .collect();
    let pictures: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &*png)).collect();
    let server = Server::with(&folder.path().join("data"), 1, &[]);
    let (status, set) =
        server.send("/api/datasets?name=flowers", "application/zip", &zip(&pictures));
    assert_eq!((status, &set["train_count"], &set["test_count"]), (201, &20.into(), &0.into()));
    assert_eq!(set["account"]["used"], json!({ "train": [8, 8], "test": [2, 2] }));
    let read = set["read"].to_string();
    assert!(read.contains("4 of 20 pictures are held out for testing"), "{read}");

    let suggestion = server.json("/api/datasets/flowers/suggestion");
    let config = &suggestion["config"];
    assert_eq!(
        (&config["data"]["size"], &config["data"]["path"]),
        (&8.into(), &"dataset:flowers".into())
    );
    assert_eq!((&config["model"]["stem"], &config["wide"]["batch"]), (&"cifar".into(), &4.into()));
    let choices = suggestion["choices"].as_array().expect("choices");
    assert!(choices.iter().any(|choice| choice["key"] == "model.stem" && choice["reason"] != ""));
    // A run of the preset has the same, but for what is set.
    let body = json!({
        "preset": "pictures", "start": false,
        "set": { "data.path": "dataset:flowers", "vanilla.epochs": 3, "vanilla.warmup": 0 }
    });
    let (status, made) = server.send("/api/runs", "application/json", body.to_string().as_bytes());
    assert_eq!(status, 201, "{made}");
    let run = server.json(&format!("/api/runs/{}", made["id"].as_str().expect("an id")));
    assert_eq!(
        (&run["config"]["data"]["size"], &run["config"]["vanilla"]["epochs"]),
        (&8.into(), &3.0.into())
    );
    assert_eq!(run["config"]["model"], config["model"]);
}

#[test]
fn a_teacher_is_sent_looked_at_and_removed() {
    let folder = tempfile::tempdir().expect("folder");
    let server = Server::with(&folder.path().join("data"), 1, &[]);
    // The demo's network by hand, for twelve classes where the built-in images have ten.
    let config = Config::preset("demo").expect("valid");
    let side = engine::data::promised(&config).input;
    let network = engine::models::network(&config.model, side, 12);
    let weights = network.to_file(&engine::nn::fresh(&network, 5).expect("weights"));
    let file = folder.path().join("mlp.safetensors");
    engine::formats::safetensors::write(&file, &weights, &engine::formats::safetensors::pytorch())
        .expect("written");
    let bytes = fs::read(&file).expect("read");
    let (status, sent) = server.send("/api/teachers?name=mine", "application/octet-stream", &bytes);
    assert_eq!((status, &sent["name"], &sent["described"]), (201, &"mine".into(), &false.into()));
    assert_eq!(sent["params"], network.shapes().expect("shapes").param_count());
    assert_eq!(server.json("/api/teachers")["teachers"][0], sent);
    let (status, _) = server.send("/api/teachers?name=mine", "application/octet-stream", &bytes);
    assert_eq!(status, 409, "there is one of this name");
    let (status, said) = server.send(
        "/api/teachers?name=bad",
        "application/zip",
        &zip(&[("x/pytorch_model.bin", b"x")]),
    );
    assert_eq!((status, &said["code"]), (422, &"bad_teacher".into()));
    assert!(
        said["message"].as_str().expect("a sentence").contains("a pickle of PyTorch's"),
        "{said}"
    );
    assert_eq!(server.json("/api/teachers")["teachers"].as_array().expect("a list").len(), 1);

    let run = |head: &str| {
        let set = json!({
            "teacher.from": "teacher:mine", "teacher.head": head, "methods": ["kd"], "seeds": [0],
            "data.train_count": 256, "data.test_count": 64
        });
        let body = json!({ "preset": "demo", "set": set, "start": false });
        let preflight =
            server.send("/api/preflight", "application/json", body.to_string().as_bytes()).1;
        let made = server.send("/api/runs", "application/json", body.to_string().as_bytes());
        (preflight, made)
    };
    let (preflight, (status, refused)) = run("same");
    let problem = &preflight["problems"][0];
    assert_eq!((&problem["field"], &preflight["ok"]), (&"teacher.from".into(), &false.into()));
    assert!(problem["message"].as_str().expect("a sentence").contains("12 classes"), "{problem}");
    assert!(problem["hint"].as_str().expect("a hint").contains("teacher.head"), "{problem}");
    assert_eq!((status, &refused["field"]), (422, &"teacher.from".into()));
    let (preflight, (status, made)) = run("new");
    assert_eq!(preflight["ok"], true, "{preflight}");
    assert!(preflight["teacher"]["params"].as_u64() > Some(0));
    let stages: Vec<&str> = preflight["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .map(|stage| stage["stage"].as_str().expect("a name"))
        .collect();
    assert_eq!(stages, ["head", "wide", "kd"]);
    assert_eq!(status, 201, "{made}");
    // It is kept while the draft needs it.
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!(server.delete("/api/teachers/mine"), 409);
    assert_eq!(server.delete(&format!("/api/runs/{id}")), 204);
    assert_eq!(server.delete("/api/teachers/mine"), 204);
    assert_eq!(server.json("/api/teachers")["teachers"], json!([]));
}

#[test]
fn data_sets_are_uploaded_shown_and_named() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path().join("data");
    let mut png = Cursor::new(Vec::new());
    image::RgbImage::from_pixel(8, 8, image::Rgb([200, 10, 10]))
        .write_to(&mut png, image::ImageFormat::Png)
        .expect("a PNG");
    let png = png.into_inner();
    let own = folder.path().join("own");
    for name in ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"] {
        fs::create_dir_all(own.join(name).parent().expect("a folder")).expect("made");
        fs::write(own.join(name), &png).expect("written");
    }
    let server = Server::with(&data, 1, &["--data", &format!("own={}", own.display())]);

    let pictures: Vec<(&str, &[u8])> = vec![
        ("set/train/rose/1.png", &png),
        ("set/train/lily/1.png", &png),
        ("set/test/lily/1.png", &png),
    ];
    for (name, kind, bytes) in [
        ("flowers", "application/x-tar", tar(&pictures)),
        ("blooms", "application/zip", zip(&pictures)),
    ] {
        let (status, set) = server.send(&format!("/api/datasets?name={name}"), kind, &bytes);
        assert_eq!(status, 201, "{set}");
        assert_eq!(
            (&set["train_count"], &set["test_count"], &set["kind"]),
            (&2.into(), &1.into(), &"folder".into())
        );
        assert_eq!(set["classes"][0], json!({ "label": "lily", "count": 1 }));
        let preview = server.json(&format!("/api/datasets/{name}/preview?count=2"));
        let url = preview["samples"][1]["url"].as_str().expect("an address").to_owned();
        assert_eq!(preview["samples"][1]["label"], "rose");
        assert!(server.get(&url).starts_with(b"\x89PNG"));
        let (status, _) = server.send(&format!("/api/datasets?name={name}"), kind, &bytes);
        assert_eq!(status, 409, "there is one of this name");
    }
    // IDX files become a folder of them.
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4];
    images.extend([7; 64]);
    let idx: Vec<(&str, &[u8])> = vec![
        ("x/train-images-idx3-ubyte", &images),
        ("x/train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 0, 1]),
    ];
    let (status, set) = server.send("/api/datasets?name=digits", "application/zip", &zip(&idx));
    assert_eq!(
        (status, &set["kind"], &set["train_count"]),
        (201, &"idx".into(), &4.into()),
        "{set}"
    );

    let many: Vec<u8> = vec![0; 4 << 20];
    for (what, kind, bytes) in [
        ("..", "application/x-tar", tar(&[("train/a/../../../x.png", &png)])),
        ("absolute", "application/x-tar", tar(&[("/train/a/x.png", &png)])),
        ("..", "application/zip", zip(&[("train/../../x.png", &png)])),
        ("absolute", "application/zip", zip(&[("/train/a/x.png", &png)])),
        ("a bomb", "application/zip", zip(&[("train/a/x.png", &many)])),
        ("nothing", "application/zip", zip(&[("readme.txt", b"hello")])),
        ("cut off", "application/zip", zip(&pictures)[..200].to_vec()),
        ("cut off", "application/x-tar", tar(&pictures)[..700].to_vec()),
        ("no archive", "application/x-tar", b"hello".to_vec()),
    ] {
        let (status, answer) = server.send("/api/datasets?name=bad", kind, &bytes);
        assert_eq!((status, &answer["code"]), (422, &"bad_archive".into()), "{what}: {answer}");
        let message = answer["message"].as_str().expect("a sentence");
        assert!(!message.contains(folder.path().to_str().expect("plain")), "{what}: {message}");
    }
    let mut links = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    links.append_link(&mut header, "train/a/x.png", "/etc/passwd").expect("appended");
    let links = links.into_inner().expect("whole");
    let (status, answer) = server.send("/api/datasets?name=bad", "application/x-tar", &links);
    assert_eq!(status, 422, "{answer}");
    for name in ["..", "a/b", ".x", "", "procedural", "own"] {
        let name = name.replace('/', "%2F");
        let (status, answer) =
            server.send(&format!("/api/datasets?name={name}"), "application/zip", b"");
        assert_eq!(status, 409, "{name}: {answer}");
    }

    let names: Vec<Value> = server.json("/api/datasets")["datasets"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|set| set["name"].clone())
        .collect();
    assert_eq!(names, ["procedural", "own", "blooms", "digits", "flowers"]);
    let uses = |name: &str| {
        json!({ "config": {
        "methods": ["vanilla"], "seeds": [0],
        "data": { "kind": "folder", "path": format!("dataset:{name}"), "size": 8 },
        "vanilla": { "batch": 2, "epochs": 1 }
    }, "start": false })
    };
    let shown = server.post("/api/preflight", &uses("own")).1;
    assert_eq!((&shown["ok"], &shown["data"]["classes"]), (&true.into(), &2.into()), "{shown}");
    let (status, run) = server.post("/api/runs", &uses("flowers"));
    assert_eq!((status, &run["dataset"]), (201, &"flowers".into()), "{run}");
    let id = run["id"].as_str().expect("an id");
    let toml = String::from_utf8(server.get(&format!("/api/runs/{id}/config.toml"))).expect("text");
    assert!(
        toml.contains("dataset:flowers") && !toml.contains(folder.path().to_str().expect("plain"))
    );
    assert_eq!(server.delete("/api/datasets/flowers"), 409, "a run uses it");
    assert_eq!(server.delete("/api/datasets/own"), 409, "it is the server's own");
    assert_eq!(server.delete("/api/datasets/blooms"), 204);
}

/// What is put into the folder of a class later is counted and shown, by this server and by the next.
#[test]
fn a_data_set_that_grows_is_looked_at_again() {
    let folder = tempfile::tempdir().expect("folder");
    let (data, own) = (folder.path().join("data"), folder.path().join("own"));
    let write = |name: &str, colour: [u8; 3]| {
        let path = own.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        image::RgbImage::from_pixel(8, 8, image::Rgb(colour)).save(path).expect("written");
    };
    for name in ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"] {
        write(name, [200, 10, 10]);
    }
    let registered = format!("own={}", own.display());
    let count = |server: &Server, expected: &str| {
        let mut seen = String::new();
        for _ in 0..150 {
            let list = server.json("/api/datasets");
            let set = list["datasets"]
                .as_array()
                .and_then(|sets| sets.iter().find(|set| set["name"] == "own").cloned());
            let set = set.expect("registered");
            seen = format!("{} {} {}", set["train_count"], set["test_count"], set["classes"]);
            if seen.starts_with(expected) {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("expected {expected}, and {seen} is seen");
    };
    let first = |server: &Server| server.get("/api/datasets/own/preview/train/0");

    let server = Server::with(&data, 1, &["--data", &registered]);
    count(&server, "2 2");
    let red = first(&server);
    write("train/a/2.png", [10, 200, 10]);
    count(&server, "3 2");
    // Changed in its place.
    write("train/a/1.png", [10, 10, 200]);
    let begun = Instant::now();
    while first(&server) == red {
        assert!(begun.elapsed() < Duration::from_secs(30), "its old thumbnail is shown");
        std::thread::sleep(Duration::from_millis(200));
    }
    fs::remove_file(own.join("test/b/1.png")).expect("removed");
    count(&server, "3 1");
    drop(server);
    write("train/b/2.png", [10, 200, 10]);
    let server = Server::with(&data, 1, &["--data", &registered]);
    count(&server, "4 1");
}

#[test]
fn others_are_not_served_without_a_token() {
    let folder = tempfile::tempdir().expect("folder");
    let output = Command::new(env!("CARGO_BIN_EXE_taper"))
        .args(["serve", "--bind", "0.0.0.0:0", "--no-token", "--data-dir"])
        .arg(folder.path().join("data"))
        .output()
        .expect("ran");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("--no-token") && text.contains("hint: "), "{text}");
    assert!(!folder.path().join("data").exists());
}

/// Files below a folder, but for those that a server keeps for itself.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !name.starts_with("taper.sqlite") && name != "server.lock" {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn taper(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taper"));
    command.args(arguments).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn what_a_command_has_trained_is_taken_up_and_nothing_is_removed() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path().to_owned();
    let short = |tune: &'static str| {
        let out = ["run", "demo", "--set", "methods=[\"vanilla\"]", "--set", "seeds=[0]"];
        let sets = ["--set", "data.train_count=500", "--set", "data.test_count=100", "--set", tune];
        [out.as_slice(), &sets].concat()
    };
    let done = [short("vanilla.epochs=1"), vec!["--out", "runs/mine"]].concat();
    assert!(taper(&done, &data).status().expect("ran").success());
    let long = [short("vanilla.epochs=100000"), vec!["--out", "runs/busy"]].concat();
    let mut busy = taper(&long, &data).spawn().expect("started");
    let log = data.join("runs/busy/events.jsonl");
    let begun = Instant::now();
    while !fs::read_to_string(&log).is_ok_and(|text| text.contains("\"type\":\"step\"")) {
        assert!(begun.elapsed() < PATIENCE, "it does not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    fs::create_dir_all(data.join("datasets/mnist")).expect("made");
    fs::write(data.join("datasets/mnist/train-images-idx3-ubyte"), "mine").expect("written");
    let before = files(&data);

    let kept = |after: &str| {
        let now = files(&data);
        let lost: Vec<&PathBuf> = before.iter().filter(|path| !now.contains(path)).collect();
        assert!(lost.is_empty(), "{after}: {lost:?}");
    };
    let server = Server::start(&data, 1);
    assert_eq!((server.state("mine"), server.state("busy")), ("done".into(), "running".into()));
    assert_eq!(server.delete("/api/runs/busy"), 409);
    let (status, told) = server.post("/api/runs/busy/cancel", &json!({}));
    assert_eq!(status, 409, "{told}");
    assert!(busy.try_wait().expect("asked").is_none(), "it trains on");
    let shown = server.json("/api/runs/mine");
    assert!(shown["best_accuracy"].as_f64().is_some_and(|accuracy| accuracy > 0.0), "{shown}");
    assert!(!server.get("/api/runs/mine/artifacts.zip").is_empty());
    signal("-INT", busy.id());
    assert_eq!(busy.wait().expect("ended").code(), Some(130));
    // Whoever stopped it knows why: the server does not go on with it unasked.
    server.wait_for("busy", "stopped");
    drop(server);
    kept("a start");

    // Without the store, and with an empty one, they are taken up again.
    for (round, spoil) in [fs::remove_file as fn(PathBuf) -> _, |path| File::create(path).map(drop)]
        .into_iter()
        .enumerate()
    {
        spoil(data.join("taper.sqlite")).expect("spoilt");
        let server = Server::start(&data, 2 + round as u32);
        assert_eq!((server.state("mine"), server.state("busy")), ("done".into(), "stopped".into()));
        drop(server);
        kept("a start without the store");
    }

    // A damaged one is named, and nothing is touched. What SQLite had not yet written into it would mend it.
    for part in ["taper.sqlite-wal", "taper.sqlite-shm"] {
        drop(fs::remove_file(data.join(part)));
    }
    fs::write(data.join("taper.sqlite"), [7; 4096]).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_taper"))
        .args(["serve", "--bind", "127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .output()
        .expect("ran");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(text.contains("taper.sqlite") && text.contains("move it away"), "{text}");
    assert_eq!(fs::read(data.join("taper.sqlite")).expect("read"), [7; 4096]);
    kept("a refused start");
}

/// A helper that would go on for ever, and what its caller holds.
fn helper(memory: u64, seconds: u64, verb: &[&str], folder: &Path) -> Child {
    let (memory, seconds) = (memory.to_string(), seconds.to_string());
    Command::new(env!("CARGO_BIN_EXE_taper"))
        .args(["helper", "--memory", &memory, "--file", "100000000", "--seconds", &seconds, "--"])
        .args(verb)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started")
}

#[test]
fn a_helper_ends_with_its_server_with_its_time_and_with_its_memory() {
    let folder = tempfile::tempdir().expect("folder");
    let serve = ["serve", "--bind", "127.0.0.1:0", "--data-dir", "data"];
    let ended = |mut child: Child, within: u64| {
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("asked") {
                assert!(!status.success());
                let mut text = String::new();
                let mut stderr = child.stderr.take().expect("piped");
                stderr.read_to_string(&mut text).expect("text");
                return text;
            }
            if begun.elapsed() > Duration::from_secs(within) {
                drop(child.kill());
                panic!("it goes on");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    // Nobody holds its standard input any more.
    let mut orphan = helper(4 << 30, 600, &serve, folder.path());
    let mut line = String::new();
    let stdout = orphan.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    assert!(line.contains("Taper is at"), "{line}");
    drop(orphan.stdin.take());
    ended(orphan, 30);
    // Its time is over.
    let text = ended(helper(4 << 30, 1, &serve, folder.path()), 60);
    assert!(text.contains("took longer than 1 s"), "{text}");
    // More than it may take.
    let images = [0, 0, 8, 3, 0, 0, 0x40, 0, 0, 0, 0, 100, 0, 0, 0, 100];
    let file = File::create(folder.path().join("train-images-idx3-ubyte")).expect("made");
    std::io::Write::write_all(&mut &file, &images).expect("written");
    file.set_len(16 + 0x4000 * 10_000).expect("grown");
    let mut labels = vec![0, 0, 8, 1, 0, 0, 0x40, 0];
    labels.resize(8 + 0x4000, 0);
    fs::write(folder.path().join("train-labels-idx1-ubyte"), labels).expect("written");
    fs::create_dir(folder.path().join("thumbnails")).expect("made");
    let survey = ["survey", "--path", ".", "--thumbnails", "thumbnails"];
    let text = ended(helper(100 << 20, 600, &survey, folder.path()), 240);
    assert!(text.contains("memory"), "{text}");
}
