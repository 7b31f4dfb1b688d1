//! How the system tells a process to end: Ctrl-C, `kill`, what schedulers send before they take a machine away, a terminal that closes.

use std::io;

/// Who ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Somebody at a terminal, by Ctrl-C.
    Interrupt,
    /// Whoever started it, as a scheduler does: SIGTERM, SIGUSR1, a terminal that closes.
    Stop,
}

/// All that tell so.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    of: Vec<(Signal, tokio::signal::unix::Signal)>,
    #[cfg(windows)]
    c: tokio::signal::windows::CtrlC,
    #[cfg(windows)]
    pause: tokio::signal::windows::CtrlBreak,
    #[cfg(windows)]
    close: tokio::signal::windows::CtrlClose,
    #[cfg(windows)]
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(unix)]
impl Signals {
    /// Listens from now on, inside a runtime; none of them ends the process by itself any more.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn listen() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut of = vec![
            (Signal::Interrupt, signal(SignalKind::interrupt())?),
            (Signal::Stop, signal(SignalKind::terminate())?),
            (Signal::Stop, signal(SignalKind::user_defined1())?),
        ];
        // Who started it by `nohup` wants it to outlive its terminal.
        if !ignores_hangup() {
            of.push((Signal::Stop, signal(SignalKind::hangup())?));
        }
        Ok(Signals { of })
    }

    /// Comes with the next one.
    pub(crate) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            let mut all = self.of.iter_mut();
            match all.find_map(|(who, of)| of.poll_recv(context).is_ready().then_some(*who)) {
                Some(who) => std::task::Poll::Ready(who),
                None => std::task::Poll::Pending,
            }
        })
        .await
    }
}

/// Whether the process was started with SIGHUP ignored. Linux tells it; elsewhere it is taken for no.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let bits = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    // SIGHUP is the first.
    bits.is_some_and(|bits| bits & 1 == 1)
}

#[cfg(windows)]
impl Signals {
    /// Listens from now on, inside a runtime.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn listen() -> io::Result<Signals> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
        let (c, pause) = (ctrl_c()?, ctrl_break()?);
        Ok(Signals { c, pause, close: ctrl_close()?, shutdown: ctrl_shutdown()? })
    }

    /// Comes with the next one.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.c.recv() => Signal::Interrupt,
            _ = self.pause.recv() => Signal::Interrupt,
            _ = self.close.recv() => Signal::Stop,
            _ = self.shutdown.recv() => Signal::Stop,
        }
    }
}

/// Does something at each of them, in a thread of its own.
///
/// # Errors
/// What the system refuses.
pub(crate) fn at_each(mut act: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    let wait = move || {
        runtime.block_on(async {
            loop {
                act(signals.next().await);
            }
        });
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}
