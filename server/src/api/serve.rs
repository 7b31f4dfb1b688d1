//! Starting the server, and ending it in order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::app::{App, HELPERS, STREAMS};
use super::connections::{self, Grants};
use super::discretion::Discretion;
use super::examiner::Helper;
use super::guard::Guard;
use super::preflight;
use super::table::{self, router};
use super::token::Token;
use crate::datasets::Datasets;
use crate::jobs::{Adapters, Jobs, Program, Supervisor};
use crate::scratch;
use crate::signals::Signals;
use crate::teachers::Teachers;
use crate::voice;

/// How long runs may take to write their checkpoints when the server ends.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long requests may take to come to an end then; streams never do by themselves.
const GRACE: Duration = Duration::from_secs(2);

/// How a server is started.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where it listens.
    pub(crate) bind: SocketAddr,
    /// Where it keeps everything.
    pub(crate) data_dir: PathBuf,
    /// Data sets, as `NAME=PATH`.
    pub(crate) data: Vec<String>,
    /// Further names of it.
    pub(crate) hosts: Vec<String>,
    /// Asks for no token, whoever is served.
    pub(crate) no_token: bool,
}

/// Serves until it is told to end: by Ctrl-C, `kill`, or a terminal that closes.
///
/// # Errors
/// The address or the directory cannot be used, or a data set is not there.
pub(crate) fn serve(options: Options) -> Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(|| voice::Unheard(std::io::stderr()))
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let listener = runtime
        .block_on(TcpListener::bind(options.bind))
        .with_context(|| format!("cannot listen on {}", options.bind))?;
    let address = listener.local_addr()?;

    std::fs::create_dir_all(&options.data_dir)
        .with_context(|| format!("cannot make `{}`", options.data_dir.display()))?;
    let data_dir = std::fs::canonicalize(&options.data_dir)
        .with_context(|| format!("cannot find `{}`", options.data_dir.display()))?;
    // Two servers would start the same runs.
    let lock = data_dir.join("server.lock");
    let lock = std::fs::File::create(&lock)
        .with_context(|| format!("cannot write `{}`", lock.display()))?;
    if lock.try_lock().is_err() {
        bail!("another server works on `{}`; give another --data-dir", data_dir.display());
    }
    let links = links(address, &options.hosts);
    let token = match asks(address, &options) {
        false => None,
        true => Some(Token::open(&data_dir, |token| {
            let opens: String = links
                .iter()
                .map(|link| format!("{link}#token={token} opens the page with it.\n"))
                .collect();
            voice::tell(&format!(
                "token: {token}\nIt is shown this once. Remove token.sha256 in the data directory for a new one.\n{opens}"
            ));
        })?),
    };
    let program = std::env::current_exe().context("the program cannot tell where it lies")?;
    let (jobs, woken) = Jobs::open(&data_dir)?;
    let adapters = Arc::new(Adapters::new(program.clone()));
    let datasets = Datasets::open(data_dir.join("datasets"), &options.data, program.clone())?;
    let teachers = Teachers::open(data_dir.join("teachers"), program.clone())?;
    scratch::sweep(&data_dir)?;
    let adopted = jobs.take_up(&datasets)?;
    let mut guard = Guard::new(address, &options.hosts, token);
    guard.know(table::rules());
    let app = Arc::new(App {
        discretion: Discretion::new(&data_dir, datasets.registered()),
        jobs: Arc::clone(&jobs),
        adapters: Arc::clone(&adapters),
        datasets: Arc::new(datasets),
        teachers,
        guard,
        examiner: Box::new(Helper { program: program.clone(), scratch: data_dir.clone() }),
        data_dir,
        streams: Arc::new(Semaphore::new(STREAMS)),
        helpers: Arc::new(Semaphore::new(HELPERS)),
        document: table::openapi(),
    });

    let supervisor = Supervisor::new(Arc::clone(&jobs), adapters, Program::new(jobs, program));
    if !adopted.is_empty() {
        let app = Arc::clone(&app);
        std::thread::Builder::new()
            .name("adopted".into())
            .spawn(move || preflight::examine_adopted(&app, &adopted))?;
    }
    let (close, closing) = mpsc::channel();
    let supervisor = std::thread::Builder::new()
        .name("supervisor".into())
        .spawn(move || supervisor.run(&woken, &closing))?;

    voice::tell(&format!("Taper is at {}\n", links.join(" and ")));
    runtime.block_on(async {
        let mut signals = Signals::listen().context("the system's signals cannot be heard")?;
        let end = Arc::new(tokio::sync::Notify::new());
        let told = Arc::clone(&end);
        let told = async move { told.notified().await };
        let server =
            tokio::spawn(connections::serve(listener, router(&app), Grants::default(), told));
        signals.next().await;
        tracing::info!("stopping runs at a checkpoint; the next start takes them up");
        end.notify_one();
        drop(tokio::time::timeout(GRACE, server).await);
        anyhow::Ok(())
    })?;
    // Streams that are still open are cut here.
    runtime.shutdown_timeout(GRACE);
    // It has ended before only if it panicked.
    if close.send(PATIENCE).is_err() || supervisor.join().is_err() {
        bail!("the supervisor gave up; the runs go on without the server");
    }
    drop(lock);
    Ok(())
}

/// Whether a token is asked for: where others can reach the server, by the network or by a proxy that has a name for it.
fn asks(address: SocketAddr, options: &Options) -> bool {
    let for_others = !address.ip().is_loopback() || !options.hosts.is_empty();
    for_others && !options.no_token
}

/// Addresses of the page that a browser can open, this machine's own first.
fn links(address: SocketAddr, hosts: &[String]) -> Vec<String> {
    let port = address.port();
    let link = |ip: IpAddr| match port {
        80 if ip.is_ipv6() => format!("http://[{ip}]/"),
        80 => format!("http://{ip}/"),
        _ => format!("http://{}/", SocketAddr::new(ip, port)),
    };
    // Nothing can be sent to "all addresses".
    let ips = match address.ip() {
        ip if !ip.is_unspecified() => vec![ip],
        IpAddr::V4(_) => [Some(Ipv4Addr::LOCALHOST.into()), outward("0.0.0.0:0", "192.0.2.1:9")]
            .into_iter()
            .flatten()
            .collect(),
        IpAddr::V6(_) => [Some(Ipv6Addr::LOCALHOST.into()), outward("[::]:0", "[2001:db8::1]:9")]
            .into_iter()
            .flatten()
            .collect(),
    };
    let named = hosts.iter().map(|host| match host.rsplit_once(':') {
        Some((bare, "443")) => format!("https://{bare}/"),
        Some((bare, "80")) => format!("http://{bare}/"),
        Some((_, digits)) if digits.parse::<u16>().is_ok() => format!("http://{host}/"),
        _ => format!("http://{host}:{port}/"),
    });
    ips.into_iter().map(link).chain(named).collect()
}

/// The address by which this machine speaks to others. Nothing is sent: the system is asked which way it would go to one that nobody has.
fn outward(from: &str, to: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(bind: &str, hosts: &[&str], no_token: bool) -> Options {
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        let bind = bind.parse().expect("an address");
        Options { bind, data_dir: PathBuf::new(), data: Vec::new(), hosts, no_token }
    }

    #[test]
    fn a_token_is_asked_for_where_others_can_come() {
        for (bind, hosts, no_token, expected) in [
            ("127.0.0.1:7878", &[][..], false, false),
            ("[::1]:7878", &[], false, false),
            ("127.0.0.1:7878", &["train.example:443"], false, true),
            ("127.0.0.1:7878", &["train.example:443"], true, false),
            ("0.0.0.0:7878", &[], false, true),
            ("10.0.0.1:7878", &["box.lan"], false, true),
        ] {
            let options = options(bind, hosts, no_token);
            assert_eq!(asks(options.bind, &options), expected, "{bind} {hosts:?} {no_token}");
        }
    }

    #[test]
    fn links_can_be_opened() {
        let of = |bind: &str, hosts: &[&str]| {
            let options = options(bind, hosts, false);
            links(options.bind, &options.hosts)
        };
        assert_eq!(of("127.0.0.1:7878", &[]), ["http://127.0.0.1:7878/"]);
        assert_eq!(of("[::1]:80", &[]), ["http://[::1]/"]);
        assert_eq!(
            of("127.0.0.1:7878", &["train.example:443", "box.lan", "box:81"])[1..],
            ["https://train.example/", "http://box.lan:7878/", "http://box:81/"]
        );
        for (bind, first) in
            [("0.0.0.0:7878", "http://127.0.0.1:7878/"), ("[::]:7878", "http://[::1]:7878/")]
        {
            let links = of(bind, &[]);
            assert_eq!(links[0], first);
            assert!(links.iter().all(|link| !link.contains("0.0.0.0") && !link.contains("[::]")));
        }
    }
}
