//! What the program says. All of it passes here, as a lint sees to: a reader may go away at any time, and neither a run nor a server ends
//! for want of one; and names from files give no orders to a terminal (see [`text`]).

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use engine::text;

/// Who asked reads no more, as with `taper presets | head -1`: there is nothing left to do, and nothing wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the output any more")]
pub(crate) struct Gone;

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text::printable(text).as_bytes()).and_then(|()| stdout.flush())
}

/// Answers a question on standard output.
///
/// # Errors
/// [`Gone`] where nobody reads it, and what the system refuses.
pub(crate) fn answer(text: &str) -> Result<()> {
    match write(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Gone.into()),
        done => done.context("standard output cannot be written"),
    }
}

/// Prints progress to standard output. Where that fails, it warns once and goes on.
pub(crate) fn tell(text: &str) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    match write(text) {
        Err(error)
            if error.kind() != ErrorKind::BrokenPipe && !WARNED.swap(true, Ordering::Relaxed) =>
        {
            say(&format!("warning: standard output cannot be written: {error}"));
        }
        _ => {}
    }
}

/// Says a line on standard error. Where that is closed, nobody is left to hear it.
pub(crate) fn say(line: &str) {
    drop(writeln!(Unheard(io::stderr().lock()), "{}", text::printable(line)));
}

/// Takes everything, and gives on what it can.
#[derive(Debug)]
pub(crate) struct Unheard<W>(pub(crate) W);

impl<W: Write> Write for Unheard<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(self.0.write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        drop(self.0.flush());
        Ok(())
    }
}
