//! Starting the server, and ending it in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::connections::{self, Grants};
use super::guard::Guard;
use super::preflight::{self, Helper};
use super::token::Token;
use super::{App, HELPERS, STREAMS, router, routes};
use crate::datasets::Datasets;
use crate::jobs::{Adapters, Jobs, Program, Supervisor};
use crate::scratch;

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
}

/// Serves until it is told to end by Ctrl-C or SIGTERM.
///
/// # Errors
/// The address or the directory cannot be used, or a data set is not there.
pub(crate) fn serve(options: Options) -> Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(std::io::stderr)
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
    let data_dir = std::fs::canonicalize(&options.data_dir)?;
    // Two servers would start the same runs.
    let lock = std::fs::File::create(data_dir.join("server.lock"))?;
    if lock.try_lock().is_err() {
        bail!("another server works on `{}`; give another --data-dir", data_dir.display());
    }
    let token = match address.ip().is_loopback() {
        true => None,
        false => Some(Token::open(&data_dir, |token| {
            println!(
                "token: {token}\nIt is shown this once. Remove token.sha256 in the data directory for a new one.\nhttp://{address}/#token={token} opens the page with it."
            );
        })?),
    };
    let program = std::env::current_exe().context("the program cannot tell where it lies")?;
    let (jobs, woken) = Jobs::open(&data_dir)?;
    let adapters = Arc::new(Adapters::new(program.clone()));
    let datasets = Datasets::open(data_dir.join("datasets"), &options.data, program.clone())?;
    scratch::sweep(&data_dir)?;
    let adopted = jobs.take_up(&datasets)?;
    let mut guard = Guard::new(address, &options.hosts, token);
    let routes = routes();
    guard.know(&routes);
    let app = Arc::new(App {
        jobs: Arc::clone(&jobs),
        adapters: Arc::clone(&adapters),
        datasets: Arc::new(datasets),
        guard,
        examiner: Box::new(Helper { program: program.clone(), scratch: data_dir.clone() }),
        data_dir,
        streams: Arc::new(Semaphore::new(STREAMS)),
        helpers: Arc::new(Semaphore::new(HELPERS)),
        document: routes::openapi(&routes),
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

    println!("Taper is at http://{address}/");
    std::io::Write::flush(&mut std::io::stdout())?;
    runtime.block_on(async {
        let end = Arc::new(tokio::sync::Notify::new());
        let told = Arc::clone(&end);
        let told = async move { told.notified().await };
        let server =
            tokio::spawn(connections::serve(listener, router(&app), Grants::default(), told));
        signal().await;
        tracing::info!("stopping runs at a checkpoint; the next start takes them up");
        end.notify_one();
        drop(tokio::time::timeout(GRACE, server).await);
    });
    // Streams that are still open are cut here.
    runtime.shutdown_timeout(GRACE);
    // It has ended before only if it panicked.
    if close.send(PATIENCE).is_err() || supervisor.join().is_err() {
        bail!("the supervisor gave up; the runs go on without the server");
    }
    drop(lock);
    Ok(())
}

/// Comes when the process shall end.
async fn signal() {
    let interrupt = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "Ctrl-C cannot be heard");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
