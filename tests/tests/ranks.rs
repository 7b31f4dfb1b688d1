//! Members over ranks: whatever has joined them, and however many there are, each member has the bits that it has in one process.

mod support;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use engine::{
    config::Config,
    event::{self, Event},
    ranks::{Link, Threads},
    train::{self, Options, Run, TrainError},
};
use support::{config, folder, models_in, taper, toml, train};
use taper_tests::{host, tools};

fn several() -> Config {
    config(&[r#"methods=["vanilla","kd","win"]"#, "seeds=[0,1]"])
}

/// Executes what is left of a run on so many ranks, which are threads; the first stops after so many lines of learning curve.
fn execute(run: &Run, out: &Path, ranks: usize, lines: usize) -> Result<(), TrainError> {
    let mut links: Vec<Arc<dyn Link>> =
        Threads::of(ranks).into_iter().map(|rank| Arc::new(rank) as Arc<dyn Link>).collect();
    let first = links.remove(0);
    thread::scope(|scope| {
        let follow = |link: Arc<dyn Link>| {
            let options = Options::new("");
            move || train::follow(&link, &host(), &options, &AtomicBool::new(false))
        };
        let others: Vec<_> = links.into_iter().map(|link| scope.spawn(follow(link))).collect();
        let options = Options { link: Some(Arc::clone(&first)), ..Options::new(out) };
        let (stop, mut curve) = (AtomicBool::new(false), 0);
        let done = run.execute(&options, &stop, &mut |entry| {
            curve += usize::from(matches!(entry.event, Event::Step { .. }));
            stop.store(curve >= lines, std::sync::atomic::Ordering::Relaxed);
        });
        train::dismiss(&*first, 7).expect("told");
        for other in others {
            assert_eq!(other.join().expect("no panic").expect("rank 0 is there"), 7);
        }
        done
    })
}

#[test]
fn members_come_to_the_same_bits_over_ranks() {
    let one = folder();
    train(&several(), one.path());
    for ranks in 2..=4 {
        let many = folder();
        let run = Run::create(several(), many.path(), &host()).expect("an empty folder");
        execute(&run, many.path(), ranks, usize::MAX).expect("all is trained");
        assert_eq!(models_in(many.path()), models_in(one.path()), "over {ranks} ranks");
        let log = event::read(&many.path().join("events.jsonl")).expect("a log");
        assert!(log.iter().map(|entry| entry.seq).eq(0..log.len() as u64));
        for entry in log {
            if let Event::MemberStarted { adapter, .. } = entry.event {
                assert!(adapter.is_some_and(|adapter| adapter.starts_with("here: ")));
            }
        }
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let (one, many) = (folder(), folder());
    train(&several(), one.path());
    let mut run = Run::create(several(), many.path(), &host()).expect("an empty folder");
    let mut stops = 0;
    for ranks in [3, 1, 2, 4].into_iter().cycle() {
        match execute(&run, many.path(), ranks, 17) {
            Ok(()) => break,
            Err(TrainError::Stopped(_)) => stops += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(stops < 40, "it never ends");
        drop(run);
        run = Run::resume(many.path(), &host()).expect("a run");
    }
    assert!(stops >= 3, "stopped {stops} times");
    assert_eq!(models_in(many.path()), models_in(one.path()), "after {stops} stops");
}

#[test]
fn what_a_rank_cannot_do_is_said_by_rank_0() {
    let out = folder();
    let changes =
        [r#"methods=["vanilla"]"#, "seeds=[0,1]", "vanilla.lr=1e39", "vanilla.optimizer=sgd"];
    let run = Run::create(config(&changes), out.path(), &host()).expect("an empty folder");
    let error = execute(&run, out.path(), 2, usize::MAX).expect_err("it diverges").to_string();
    assert!(error.contains("became"), "{error}");
}

/// A launcher of MPI in the environment that it needs.
fn launcher(mpi: &Path) -> Command {
    let mut command = Command::new(mpi.join("bin/mpirun"));
    // Open MPI asks for that where it is started by root, as in a container.
    for name in [
        "OMPI_ALLOW_RUN_AS_ROOT",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
        "PRTE_ALLOW_RUN_AS_ROOT",
        "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM",
    ] {
        command.env(name, "1");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::iter::once(mpi.join("bin"));
    let path = std::env::join_paths(own.chain(std::env::split_paths(&path))).expect("a PATH");
    command.env("PATH", path);
    if mpi.ends_with("openmpi") {
        command.arg("--oversubscribe");
    }
    command
}

/// `taper run` of the small configuration over so many ranks.
fn start(mpi: &Path, ranks: usize, arguments: &[&str], out: &Path) -> Command {
    let mut command = launcher(mpi);
    command.args(["-np", &ranks.to_string()]).arg(taper());
    command.arg("run").args(arguments).arg("--out").arg(out).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

/// A configuration in a file, for a command.
fn written(config: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    let path = folder.path().join("run.toml");
    std::fs::write(&path, config).expect("written");
    (folder, path)
}

const SEVERAL: [&str; 2] = [r#"methods=["vanilla","kd","win"]"#, "seeds=[0,1]"];

#[test]
fn processes_that_mpi_joins_come_to_the_same_bits() {
    let mpis = tools::mpis();
    let (_file, path) = written(&toml(&SEVERAL));
    let one = folder();
    if !mpis.is_empty() {
        train(&several(), one.path());
    }
    for (mpi, ranks) in mpis.iter().flat_map(|mpi| [(mpi, 2), (mpi, 4)]) {
        let many = folder();
        let out = many.path().join("run");
        let path = path.display().to_string();
        let output = start(mpi, ranks, &[&path], &out).output().expect("mpirun");
        assert!(output.status.success(), "{}: {}", mpi.display(), said(&output));
        assert_eq!(models_in(&out), models_in(one.path()), "{ranks} ranks of {}", mpi.display());
        // One rank prints.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.matches("trained student: ").count(), 1, "{text}");
    }
}

/// The processes share the batches of a member, by the same messages as threads do, whose bits `split.rs` compares.
#[test]
fn processes_that_mpi_joins_share_batches() {
    let changes = [r#"methods=["win"]"#, "seeds=[0]", r#"split="batch""#];
    let (_file, path) = written(&toml(&changes));
    for mpi in tools::mpis() {
        let many = folder();
        let out = many.path().join("run");
        let output = start(&mpi, 2, &[&path.display().to_string()], &out).output().expect("mpirun");
        assert!(output.status.success(), "{}: {}", mpi.display(), said(&output));
        let log = event::read(&out.join("events.jsonl")).expect("a log");
        let shared = |entry: &event::Entry| matches!(&entry.event, Event::Log { message } if message.contains(" on 2 ranks"));
        assert!(log.iter().any(shared), "nothing was shared");
        assert!(models_in(&out).len() > 1, "nothing was kept");
    }
}

/// Waits until a log has a line.
fn wait_for(log: &Path, line: &str) {
    let since = Instant::now();
    while !std::fs::read_to_string(log).is_ok_and(|text| text.contains(line)) {
        if since.elapsed() > Duration::from_secs(120) {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let last: Vec<&str> = text.lines().rev().take(5).collect();
            panic!("no {line} in {}, which ends with {last:#?}", log.display());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The processes that have these words on their command line and this variable.
fn processes(words: &str, variable: &str) -> Vec<u32> {
    let has = |pid: &u32| {
        let read = |what: &str| std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        let text = |what: &str| String::from_utf8_lossy(&read(what)).replace('\0', " ");
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        program == taper() && text("cmdline").contains(words) && text("environ").contains(variable)
    };
    let all = std::fs::read_dir("/proc").expect("Linux");
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(has).collect()
}

/// Trains over two processes that MPI joins, kills the second when the log has `line`, and goes on over three.
#[cfg(target_os = "linux")]
fn killed_and_gone_on_with(mpi: &Path, config: &str, line: &str, out: &Path) {
    let mut command = start(mpi, 2, &[config], out);
    let running = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let running = running.expect("mpirun");
    wait_for(&out.join("events.jsonl"), line);
    let rank = if mpi.ends_with("openmpi") { " PMIX_RANK=1 " } else { " PMI_RANK=1 " };
    let [pid] = processes(&out.display().to_string(), rank).try_into().expect("one rank 1");
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.expect("kill").success());
    let output = running.wait_with_output().expect("it ends");
    assert!(!output.status.success() && !said(&output).is_empty(), "{}", said(&output));
    let mut command = launcher(mpi);
    command.args(["-np", "3"]).arg(taper()).args(["run", "--resume", "--out"]).arg(out);
    let output = command.output().expect("mpirun");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_rank_ends_the_run_and_another_number_goes_on() {
    let mut changes = SEVERAL.to_vec();
    changes.extend(["wide.epochs=60", "vanilla.epochs=60"]);
    let one = folder();
    let mpis = tools::mpis();
    if !mpis.is_empty() {
        train(&config(&changes), one.path());
    }
    let (_file, path) = written(&toml(&changes));
    for mpi in mpis {
        let many = folder();
        let out = many.path().join("run");
        killed_and_gone_on_with(&mpi, &path.display().to_string(), r#""type":"step""#, &out);
        assert_eq!(models_in(&out), models_in(one.path()), "{}", mpi.display());
    }
}

/// What was trained in shares before stays as it is; what was not is trained by those that are there.
#[test]
#[cfg(target_os = "linux")]
fn a_killed_rank_ends_a_shared_batch_and_another_number_goes_on() {
    let changes = [r#"methods=["kd"]"#, "seeds=[0]", "kd.epochs=60", r#"split="batch""#];
    let (_file, path) = written(&toml(&changes));
    for mpi in tools::mpis() {
        let many = folder();
        let out = many.path().join("run");
        let line = r#""type":"step","member":"kd-0""#;
        killed_and_gone_on_with(&mpi, &path.display().to_string(), line, &out);
        let log = event::read(&out.join("events.jsonl")).expect("a log");
        let messages: Vec<&str> = log
            .iter()
            .filter_map(|entry| match &entry.event {
                Event::Log { message } => Some(message.as_str()),
                _ => None,
            })
            .collect();
        let shared = |who: &str, ranks: &str| {
            messages.iter().any(|of| of.starts_with(who) && of.contains(ranks))
        };
        assert!(shared("teacher", " on 2 ranks"), "{messages:?}");
        assert!(!shared("teacher", " on 3 ranks"), "it was trained before: {messages:?}");
        assert!(shared("kd-0", " on 3 ranks"), "{messages:?}");
        let last = log.last().map(|entry| &entry.event);
        let done = matches!(last, Some(Event::RunFinished { status: event::RunStatus::Done, .. }));
        assert!(done, "{last:?}");
    }
}

/// Two network namespaces with a cable between them, one end in each; removed when it is dropped.
#[cfg(target_os = "linux")]
struct Cable;

#[cfg(target_os = "linux")]
impl Cable {
    const ENDS: [(&str, &str); 2] = [("taper-a", "10.77.0.1"), ("taper-b", "10.77.0.2")];

    /// Lays it; `None` where that is not allowed, which root is.
    fn lay() -> Option<Self> {
        // What a killed test has left.
        drop(Self);
        let made = Self::ENDS.iter().all(|(name, _)| ip(&["netns", "add", name]));
        let cable = made.then_some(Self)?;
        let [(a, _), (b, _)] = Self::ENDS;
        let pair =
            ["link", "add", "end", "netns", a, "type", "veth", "peer", "name", "end", "netns", b];
        let laid = ip(&pair)
            && Self::ENDS.iter().all(|(name, address)| {
                let address = format!("{address}/24");
                ip(&["-n", name, "link", "set", "lo", "up"])
                    && ip(&["-n", name, "addr", "add", &address, "dev", "end"])
                    && ip(&["-n", name, "link", "set", "end", "up"])
            });
        let is_up = |name: &str| {
            let shown = Command::new("ip").args(["-n", name, "link", "show", "end"]).output();
            shown.is_ok_and(|shown| String::from_utf8_lossy(&shown.stdout).contains("state UP"))
        };
        let since = Instant::now();
        while laid && !Self::ENDS.iter().all(|(name, _)| is_up(name)) {
            assert!(since.elapsed() < Duration::from_secs(20), "the cable carries nothing");
            thread::sleep(Duration::from_millis(20));
        }
        laid.then_some(cable)
    }

    fn cut(&self) {
        assert!(ip(&["-n", Self::ENDS[1].0, "link", "set", "end", "down"]));
    }
}

#[cfg(target_os = "linux")]
impl Drop for Cable {
    fn drop(&mut self) {
        for (name, _) in Self::ENDS {
            let pids = Command::new("ip").args(["netns", "pids", name]).output();
            let pids = pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            for pid in pids.unwrap_or_default().split_whitespace() {
                drop(Command::new("kill").args(["-9", pid]).status());
            }
            ip(&["netns", "del", name]);
        }
    }
}

#[cfg(target_os = "linux")]
fn ip(arguments: &[&str]) -> bool {
    let done = Command::new("ip").args(arguments).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

/// What MPICH's launcher starts a process on another machine by, instead of ssh: here a machine is a namespace with a name of its own.
#[cfg(target_os = "linux")]
const AGENT: &str = r#"#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
machine=taper-a
[ "$1" = 10.77.0.2 ] && machine=taper-b
shift
exec ip netns exec "$machine" unshare --uts sh -c "hostname $machine; $*"
"#;

#[test]
#[cfg(target_os = "linux")]
fn a_cut_link_ends_the_run_within_the_deadline() {
    use std::os::unix::fs::PermissionsExt;

    let Some(mpi) = tools::mpis().into_iter().find(|mpi| mpi.ends_with("mpich")) else { return };
    let Some(cable) = Cable::lay() else {
        eprintln!("skipped: only root makes network namespaces, and here they cannot be made");
        return;
    };
    // More of them than one rank trains side by side on a software adapter.
    let seeds: Vec<usize> =
        (0..=2 * thread::available_parallelism().map_or(1, usize::from)).collect();
    let seeds = format!("seeds={seeds:?}");
    let changes = [r#"methods=["vanilla"]"#, &seeds, "vanilla.epochs=100000"];
    let (files, path) = written(&toml(&changes));
    let (agent, out) = (files.path().join("agent"), files.path().join("run"));
    std::fs::write(&agent, AGENT).expect("written");
    std::fs::set_permissions(&agent, PermissionsExt::from_mode(0o755)).expect("a program");
    let hosts = Cable::ENDS.map(|(_, address)| address).join(",");
    let mpirun = launcher(&mpi);
    let mut command = Command::new("ip");
    command.args(["netns", "exec", Cable::ENDS[0].0, "unshare", "--uts", "sh", "-c"]);
    command.args([r#"hostname taper-a; exec "$@""#, "sh"]).arg(mpirun.get_program());
    command.args(["-launcher", "ssh", "-launcher-exec"]).arg(&agent).args(["-hosts", &hosts]);
    command.args(["-iface", "end", "-ppn", "1", "-np", "2"]);
    // Else memory that both share would carry the messages.
    command.args(["-genv", "UCX_TLS", "tcp,self", "-genv", "MPIR_CVAR_NOLOCAL", "1"]);
    command.args(["-genv", "UCX_NET_DEVICES", "end"]);
    command.arg(taper()).arg("run").arg(&path).arg("--out").arg(&out).stdin(Stdio::null());
    let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ip");
    let log = out.join("events.jsonl");
    wait_for(&log, r#""adapter":"taper-b: "#);
    cable.cut();
    let since = Instant::now();
    wait_for(&log, r#""error":"rank 1 has not answered for 30 s"#);
    assert!(since.elapsed() < Duration::from_secs(45), "after {:?}", since.elapsed());
    let output = running.wait_with_output().expect("it ends");
    assert!(!output.status.success(), "{}", said(&output));
    assert!(since.elapsed() < Duration::from_secs(75), "it ended after {:?}", since.elapsed());
    // The launcher may end rank 0 before it has printed what its log says.
}

#[test]
fn several_tasks_that_nothing_joins_are_refused() {
    let out = folder();
    let run = |variables: &[(&str, &str)]| {
        let mut command = Command::new(taper());
        command.args(["run", "demo", "--out"]).arg(out.path().join("run"));
        let output = command.envs(variables.iter().copied()).output().expect("taper");
        (output.status.code(), said(&output))
    };
    let (code, text) = run(&[("SLURM_NTASKS", "2")]);
    assert!(code == Some(1) && text.contains("--mpi=pmix"), "{text}");
    // A launcher whose MPI is not there.
    let (code, text) =
        run(&[("PMI_SIZE", "2"), ("PMI_RANK", "0"), ("TAPER_MPI", "/nowhere/libmpi.so")]);
    assert!(code == Some(1) && text.contains("/nowhere/libmpi.so"), "{text}");
    for mpi in tools::mpis() {
        // N processes that are each alone: their launcher has nothing that this MPI understands.
        let library = mpi.join(if mpi.ends_with("openmpi") {
            "lib/libmpi.so.40"
        } else {
            "lib/libmpi.so.12"
        });
        let library = library.display().to_string();
        let (code, text) = run(&[("OMPI_COMM_WORLD_SIZE", "2"), ("TAPER_MPI", &library)]);
        assert!(code == Some(1) && text.contains("finds only this one"), "{text}");
    }
    assert!(!out.path().join("run").exists());
}

/// Set for the process that a launcher starts.
#[cfg(unix)]
const ROLE: &str = "TAPER_TEST_RANK";

#[test]
#[cfg(unix)]
fn messages_come_whole_and_in_order() {
    if std::env::var_os(ROLE).is_some() {
        return exchange();
    }
    for mpi in tools::mpis() {
        let output = launcher(&mpi)
            .args(["-np", "3"])
            .arg(std::env::current_exe().expect("this program"))
            .args(["--exact", "messages_come_whole_and_in_order", "--nocapture"])
            .env(ROLE, "1")
            .output()
            .expect("mpirun");
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// What one of three ranks does: it sends small and large messages on two channels to each other one, and gets theirs.
#[cfg(unix)]
fn exchange() {
    use engine::ranks::Channel;

    let launched = engine::ranks::launched().expect("a launcher").expect("several");
    let mpi = engine::ranks::Mpi::join(launched).expect("joined");
    let soon = Duration::from_secs(20);
    let message = |from: usize, k: usize| vec![(from * 16 + k) as u8; 10_usize.pow(k as u32)];
    assert_eq!(mpi.count(), 3);
    let others = || (0..3).filter(|other| *other != mpi.rank());
    for (other, k) in others().flat_map(|other| (0..8).map(move |k| (other, k))) {
        mpi.send(other, Channel::new(100 + k as u16 % 2), &message(mpi.rank(), k)).expect("sent");
    }
    for (other, k) in others().flat_map(|other| (0..8).map(move |k| (other, k))) {
        let came = mpi.receive(other, Channel::new(100 + k as u16 % 2), soon).expect("it came");
        assert!(came == message(other, k), "message {k} of {other}");
    }
    mpi.close();
}
