//! How a verb answers: on standard output what was asked for, on standard error what went wrong.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use engine::config::ConfigError;
use engine::device::Device;
use engine::formats::FormatError;
use engine::text;
use engine::train::TrainError;

use crate::failure::Failure;
use crate::voice::{self, say};

/// Says on standard error what went wrong and, where something can be done, what; the exit status that belongs to it.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.is::<voice::Gone>() {
        return ExitCode::SUCCESS;
    }
    let hint = error.chain().find_map(|cause| {
        let failure = cause.downcast_ref::<Failure>().and_then(|failure| failure.hint.clone());
        let config = || cause.downcast_ref::<ConfigError>().and_then(ConfigError::hint);
        let format = || cause.downcast_ref::<FormatError>().and_then(FormatError::hint);
        let train = || cause.downcast_ref::<TrainError>().and_then(TrainError::hint);
        failure.or_else(config).or_else(format).or_else(train)
    });
    say(&format!("error: {}", sentence(error)));
    if let Some(hint) = hint {
        say(&format!("hint: {hint}"));
    }
    ExitCode::FAILURE
}

/// Opens the adapter that `device` means; what is to be said of it goes to standard error.
pub(super) fn open(device: &str) -> Result<Arc<dyn Device>> {
    let gpu = taper_gpu::open(device, taper_gpu::Options::default())?;
    if let Some(caveat) = gpu.adapter().caveat() {
        say(&format!("warning: {caveat}"));
    }
    Ok(gpu)
}

/// An error with its causes: what was tried, and what the system said to that. Some say their cause themselves.
fn sentence(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said += ": ";
            said += &cause;
        }
    }
    said
}

/// Answers on standard output; where nobody reads that any more, the error ends the verb without a word.
pub(super) fn print(text: &str) -> Result<()> {
    voice::answer(text)
}

/// Prints a value as one line of JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&json_line(value)?)
}

/// A value as one line of JSON.
pub(super) fn json_line(value: &impl serde::Serialize) -> Result<String> {
    Ok(text::printable_json(&(serde_json::to_string(value)? + "\n")).into_owned())
}

/// Prints a value as JSON of many lines.
pub(super) fn print_json_pretty(value: &impl serde::Serialize) -> Result<()> {
    print(&text::printable_json(&(serde_json::to_string_pretty(value)? + "\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let system = || std::io::Error::from_raw_os_error(2);
        let error = anyhow::Error::from(system()).context("cannot make `a/b`");
        assert_eq!(sentence(&error), format!("cannot make `a/b`: {}", system()));
        let path = "a/b".into();
        let error = anyhow::Error::from(FormatError::Io { action: "read", path, source: system() });
        assert_eq!(sentence(&error), format!("cannot read `a/b`: {}", system()));
    }
}
