//! How the system tells a process to end: Ctrl-C, `kill`, a terminal that closes.

use std::io;

/// All that tell so.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    of: Vec<tokio::signal::unix::Signal>,
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
        let mut of = vec![signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        // Who started it by `nohup` wants it to outlive its terminal.
        if !ignores_hangup() {
            of.push(signal(SignalKind::hangup())?);
        }
        Ok(Signals { of })
    }

    /// Comes with the next one.
    pub(crate) async fn next(&mut self) {
        std::future::poll_fn(|context| {
            let mut all = self.of.iter_mut();
            match all.any(|signal| signal.poll_recv(context).is_ready()) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
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
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.c.recv() => {}
            _ = self.pause.recv() => {}
            _ = self.close.recv() => {}
            _ = self.shutdown.recv() => {}
        }
    }
}

/// Does something at each of them, in a thread of its own.
///
/// # Errors
/// What the system refuses.
pub(crate) fn at_each(mut act: impl FnMut() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    let wait = move || {
        runtime.block_on(async {
            loop {
                signals.next().await;
                act();
            }
        });
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}
