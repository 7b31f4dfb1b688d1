//! Readers that we did not write, to hold ours against: Python's, in a process that goes along with a worker.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::Value;

/// The script that answers.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/judge.py");

/// `tests/fuzz/judge.py` at work.
#[derive(Debug)]
pub struct Python {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Python {
    /// Starts it with the Python of `cargo xtask setup`; `None` where that is not there or has no Pillow.
    pub fn start() -> Option<Self> {
        let python = find()?;
        let pillow = ["-c", "import PIL, tomllib"];
        let able = Command::new(&python).args(pillow).stderr(Stdio::null()).status();
        able.is_ok_and(|status| status.success()).then_some(())?;
        let mut child = Command::new(python)
            .arg(SCRIPT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let (to, from) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
        Some(Self { child, to, from })
    }

    /// What it says of a file, or why it refuses it.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn ask(&mut self, kind: &str, path: &Path) -> Result<Value, String> {
        writeln!(self.to, "{kind}\t{}", path.display()).expect("Python lives");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("Python answers");
        let answer: Value = serde_json::from_str(&line).expect("an answer is JSON");
        match answer.get("refused").and_then(Value::as_str) {
            Some(why) => Err(why.into()),
            None => Ok(answer),
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The environment in the target directory.
fn find() -> Option<PathBuf> {
    let python = if cfg!(windows) { "python/Scripts/python.exe" } else { "python/bin/python" };
    let program = env::current_exe().ok()?;
    program.ancestors().map(|folder| folder.join(python)).find(|path| path.is_file())
}

/// The bytes that hexadecimal digits stand for.
pub fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
