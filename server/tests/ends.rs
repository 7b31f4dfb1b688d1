//! How the real program ends, and what does not end it: signals, closed pipes, full disks.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Long enough for two busy cores without a GPU.
const PATIENCE: Duration = Duration::from_secs(240);

fn taper() -> Command {
    Command::new(env!("CARGO_BIN_EXE_taper"))
}

/// A run of a second or two.
const SMALL: [&str; 5] = [
    "--set=methods=[\"vanilla\"]",
    "--set=seeds=[0]",
    "--set=data.train_count=256",
    "--set=data.test_count=64",
    "--set=vanilla.epochs=1",
];

/// A pipe whose reader is gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn log(run: &Path) -> String {
    fs::read_to_string(run.join("events.jsonl")).unwrap_or_default()
}

/// Ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Process {
    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.0.id().to_string()]).status();
        assert!(status.expect("kill").success());
    }

    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("waited") {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_preset_for_a_gpu_is_not_begun_on_a_processor_by_chance() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("run");
    let run = |epochs: &str| {
        let mut command = taper();
        command.args(["run", "cifar10-paper", "--set=data.kind=procedural", "--set=seeds=[0]"]);
        command.args([
            "--set=data.train_count=64",
            "--set=data.test_count=16",
            "--set=model.base=4",
        ]);
        command.args(["--set=methods=[\"vanilla\"]", "--set=vanilla.batch=8"]);
        command.arg(format!("--set=vanilla.epochs={epochs}")).arg("--out").arg(&out);
        let devices = taper().args(["devices", "--json"]).output().expect("started");
        let devices = String::from_utf8_lossy(&devices.stdout).into_owned();
        let count = |words| devices.matches(words).count();
        // Where there is a GPU, nothing is refused.
        let processors = count(r#""device_type":"cpu""#) == count(r#""device_type":"#);
        processors.then(|| command.output().expect("started"))
    };
    let Some(output) = run("1e6") else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`cifar10-paper` is meant for a GPU: "), "{said}");
    assert!(said.contains(" would train it for about "), "{said}");
    assert!(said.contains("--yes trains it all the same"), "{said}");
    assert!(!out.exists());
    // What a processor does in an evening it is not asked about.
    let output = run("6").expect("as before");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(log(&out).contains(r#""type":"member_finished""#));
}

#[test]
fn a_grid_is_trained_though_nobody_listens() {
    let folder = tempfile::tempdir().expect("folder");
    for (name, json) in [("lines", false), ("json", true)] {
        let out = folder.path().join(name);
        let mut command = taper();
        command.arg("run").arg("demo").args(SMALL).arg("--grid=vanilla.lr=0.1,0.05,0.01");
        command.args(json.then_some("--json")).arg("--out").arg(&out);
        let status = command.stdout(closed()).stderr(closed()).status().expect("ran");
        assert_eq!(status.code(), Some(0), "{name}");
        let mut points: Vec<_> =
            fs::read_dir(&out).expect("made").map(|entry| entry.expect("there").path()).collect();
        points.sort();
        assert_eq!(points.len(), 3, "{name}");
        for point in points {
            assert!(log(&point).contains("\"status\":\"done\""), "{}", point.display());
        }
    }
    // A run that is named again and again, and by other ways, is read once.
    let rows = |runs: &[&str]| {
        let mut command = taper();
        command.args(["compare", "--json"]).args(runs).current_dir(folder.path());
        String::from_utf8(command.output().expect("ran").stdout).expect("text")
    };
    assert_eq!(rows(&vec!["lines"; 1000]), rows(&["lines"]));
    assert_eq!(rows(&["lines", "./json/../lines"]), rows(&["lines"]));
    // A question is another matter: who asked is gone, so it ends at once and says nothing.
    for arguments in [&["compare", "lines"][..], &["presets"], &["presets", "demo", "--json"]] {
        let mut command = taper();
        let output = command.args(arguments).current_dir(folder.path()).stdout(closed()).output();
        let output = output.expect("ran");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn errors_of_the_system_say_what_was_tried() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    let inside = file.join("inside");
    let inside = inside.to_str().expect("plain");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = port.local_addr().expect("an address").to_string();
    let data = folder.path().join("data");
    let data = data.to_str().expect("plain");
    let not_a_folder = std::io::Error::from_raw_os_error(20).to_string();
    let refused = "Address already in use";
    for (arguments, said) in [
        (&["serve", "--bind", "127.0.0.1:0", "--data-dir", inside][..], [inside, &not_a_folder]),
        (&["serve", "--bind", &taken, "--data-dir", data], [&taken, refused]),
        (&["run", "demo", "--out", inside], [inside, &not_a_folder]),
    ] {
        let output = taper().args(arguments).output().expect("ran");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        let once = |part: &&str| text.matches(*part).count() == 1;
        assert!(said.iter().all(once), "{arguments:?}: {text}");
    }
}

/// A long run, which has taken steps.
fn training(out: &Path, mut command: Command) -> Process {
    command
        .arg("run")
        .arg("demo")
        .args(SMALL)
        .arg("--set=vanilla.epochs=4000")
        .arg("--out")
        .arg(out);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let process = Process(child);
    wait_until("it trains", || log(out).contains("\"type\":\"step\""));
    process
}

/// What tells a process to end. A hangup is not among them where these tests ignore it, as under `nohup`: what they start ignores it too.
fn signals() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let bits = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    let mut signals = vec!["-INT", "-TERM", "-USR1"];
    match bits.is_some_and(|bits| bits & 1 == 1) {
        true => println!("skipped: the tests run under `nohup`, so nothing here ends by a hangup"),
        false => signals.push("-HUP"),
    }
    signals
}

#[test]
fn a_run_that_is_told_to_end_writes_a_checkpoint() {
    let folder = tempfile::tempdir().expect("folder");
    for name in signals() {
        let out = folder.path().join(name);
        let mut process = training(&out, taper());
        process.signal(name);
        // By hand, or to be started again.
        let code = if name == "-INT" { 130 } else { 75 };
        assert_eq!(process.ended().code(), Some(code), "{name}");
        assert!(log(&out).contains("\"status\":\"stopped\""), "{name}");
        let checkpoints = out.join("members/vanilla-0/checkpoints");
        assert!(fs::read_dir(checkpoints).expect("made").next().is_some(), "{name}");
    }
    // Who starts it by `nohup` wants it to outlive the terminal.
    let out = folder.path().join("nohup");
    let mut nohup = Command::new("nohup");
    nohup.arg(env!("CARGO_BIN_EXE_taper"));
    let mut process = training(&out, nohup);
    process.signal("-HUP");
    std::thread::sleep(Duration::from_secs(2));
    assert!(process.0.try_wait().expect("looked").is_none(), "it goes on");
    process.signal("-TERM");
    assert_eq!(process.ended().code(), Some(75));
}

/// An array of three tasks as Slurm makes it: one is killed, one is told to stop, each is started again, and all are compared as one run.
#[test]
fn an_array_of_tasks_is_killed_and_requeued_and_compared() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("out");
    let task = |number: usize, more: &[&str]| {
        let mut command = taper();
        command.arg("run").arg("demo").args(SMALL).args(["--set=seeds=[5,6,7]"]);
        command.args(["--set=vanilla.epochs=300"]).args(more).arg("--out").arg(&out);
        // As by `--array=3-7:2`.
        command.env("SLURM_ARRAY_TASK_ID", (3 + 2 * number).to_string());
        command.env("SLURM_ARRAY_TASK_MIN", "3").env("SLURM_ARRAY_TASK_STEP", "2");
        command.env("SLURM_ARRAY_TASK_COUNT", "3");
        command
    };
    let auto = |number| {
        let output = task(number, &["--task=auto"]).output().expect("ran");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let begun = |number| {
        let mut command = task(number, &["--task=auto"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
        let process = Process(child);
        let log = || log(&out.join(format!("task-{number}")));
        wait_until("it trains", || log().contains("\"type\":\"step\""));
        process
    };
    let (code, said) = auto(0);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("task 0 of 3, seed 5"), "{said}");
    begun(1).signal("-KILL");
    let mut told = begun(2);
    told.signal("-USR1");
    told.signal("-TERM");
    assert_eq!(told.ended().code(), Some(75));
    for number in [1, 2] {
        let (code, said) = auto(number);
        assert_eq!(code, Some(0), "{said}");
        let log = log(&out.join(format!("task-{number}")));
        assert!(log.contains("\"status\":\"done\""), "{log}");
    }
    let before = log(&out.join("task-2"));
    let (code, said) = auto(2);
    assert!(code == Some(0) && said.contains(": done"), "{said}");
    assert_eq!(log(&out.join("task-2")), before, "a task that is done is left as it is");

    let mut command = taper();
    let table = command.args(["compare", "--json"]).arg(&out).output().expect("ran").stdout;
    let table = String::from_utf8(table).expect("text");
    assert!(table.contains("\"seeds\":3") && table.contains("\"unfinished\":[]"), "{table}");

    for (arguments, part) in [
        (&["--task=auto", "--set=vanilla.lr=0.5"][..], "vanilla.lr"),
        (&["--task=0/2"], "has 3"),
        (&["--task=auto", "--grid=vanilla.lr=0.1,0.2"], "has 6"),
        (&["--task=3/3"], "0 to N - 1"),
    ] {
        let output = task(0, arguments).output().expect("ran");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

/// A server, with what it says first.
fn serve(data: &Path, stderr: Stdio) -> (Process, String) {
    let mut child = taper()
        .args(["serve", "--bind", "127.0.0.1:0", "--data-dir"])
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .expect("started");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let url = line.trim().strip_prefix("Taper is at http://").expect("where it is");
    (Process(child), url.trim_end_matches('/').to_owned())
}

fn ask(host: &str, request: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(host).expect("accepted");
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

#[test]
fn a_server_ends_in_order_by_each_signal_and_by_no_closed_pipe() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path().join("data");
    for name in signals() {
        let (mut server, host) = serve(&data, closed());
        // Each of these is written to a log that nobody reads.
        for _ in 0..3 {
            let made = ask(&host, "POST /api/runs", r#"{"preset":"demo","start":false}"#);
            assert!(made.starts_with("HTTP/1.1 201"), "{made}");
        }
        assert!(ask(&host, "GET /healthz", "").ends_with("ok\n"));
        server.signal(name);
        assert_eq!(server.ended().code(), Some(0), "{name}");
        let lock = fs::File::open(data.join("server.lock")).expect("a lock");
        assert!(lock.try_lock().is_ok(), "{name}");
    }
}

/// A small disk, unmounted when it is dropped; none where the system lets nobody mount one.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(size: &str) -> Option<Disk> {
        let folder = tempfile::tempdir().expect("folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(folder.path());
        let mounted = mount.stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Disk(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

#[test]
fn a_full_disk_is_told_though_nothing_can_be_written() {
    let Some(disk) = Disk::new("size=72m") else {
        println!("skipped: this user may mount no small disk");
        return;
    };
    let data = disk.0.path().join("data");
    let (_server, host) = serve(&data, Stdio::null());
    let body = r#"{"preset":"demo","set":{"methods":["vanilla"],"seeds":[0],"data.train_count":256,
        "data.test_count":64,"vanilla.epochs":4000}}"#;
    let made = ask(&host, "POST /api/runs", body);
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    let id = made.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id");
    wait_until("it trains", || log(&data.join("runs").join(id)).contains("\"type\":\"step\""));
    let fill = disk.0.path().join("fill");
    let mut file = fs::File::create(&fill).expect("made");
    while file.write_all(&[1; 4096]).is_ok() {}
    let show = || ask(&host, &format!("GET /api/runs/{id}"), "");
    wait_until("it is paused", || show().contains("\"state\":\"paused\""));
    let shown = show();
    assert!(shown.contains("\"error\":\"the disk is full"), "{shown}");
    // Once there is room it goes on, and room is kept again.
    drop(file);
    fs::remove_file(fill).expect("removed");
    let told = ask(&host, &format!("POST /api/runs/{id}/resume"), "{}");
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    wait_until("it runs", || show().contains("\"state\":\"running\""));
    wait_until("room is kept", || data.join(".taper-reserve").exists());
    ask(&host, &format!("POST /api/runs/{id}/cancel"), "{}");
}
