//! `cargo xtask load`: how long the server takes to answer with many runs, a long curve and many open tabs, written into benches/README.md.

use std::{fmt::Write as _, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    clock::Moment,
    json::{number, string},
    page,
    peer::short,
    shell::{self, at, read, works},
};

const PAGE: &str = "benches/README.md";
const SCRIPT: &str = "benches/load.mjs";

/// What a line of the script says.
#[derive(Debug, PartialEq)]
struct Answer {
    what: String,
    training: bool,
    bytes: f64,
    /// Milliseconds to one who asks, median and 95th percentile.
    alone: [f64; 2],
    /// Milliseconds to each of all tabs that ask at once.
    together: [f64; 2],
}

/// Builds `taper`, fills a server and writes how long it takes to answer.
pub(crate) fn run() -> Result<()> {
    ensure!(works("node", &["--version"]), "{SCRIPT} needs Node, which is not on the PATH");
    let taper = shell::build_release()?;
    eprintln!("\n$ node {SCRIPT}");
    let lines = read(node()?.arg(SCRIPT).arg(taper))?;
    let answer = |line: &str| answer(line).with_context(|| format!("`{line}` is no answer"));
    let answers = lines.lines().map(answer).collect::<Result<Vec<_>>>()?;
    let text = format!(
        "Written by `cargo xtask load` on {}: milliseconds, median and 95th percentile.\n\n{}",
        Moment::now().date(),
        table(&answers)
    );
    print!("{text}");
    page::write(PAGE, "load", &text)?;
    println!("{PAGE} is written");
    Ok(())
}

fn node() -> Result<Command> {
    at("node".as_ref())
}

fn answer(line: &str) -> Option<Answer> {
    let number = |key| number(line, key);
    Some(Answer {
        what: string(line, "what")?.into(),
        training: line.contains("\"training\":true"),
        bytes: number("bytes")?,
        alone: [number("median_ms")?, number("p95_ms")?],
        together: [number("together_median_ms")?, number("together_p95_ms")?],
    })
}

fn table(answers: &[Answer]) -> String {
    let mut text = String::from(
        "| answer | kB | one asks | 20 tabs ask at once | one asks, a run trains | 20 tabs, a run trains |\n|---|---:|---:|---:|---:|---:|\n",
    );
    let pair = |[median, most]: [f64; 2]| format!("{} · {}", short(median), short(most));
    for idle in answers.iter().filter(|answer| !answer.training) {
        let busy = answers.iter().find(|answer| answer.training && answer.what == idle.what);
        let (alone, together) = busy
            .map_or(("–".into(), "–".into()), |busy| (pair(busy.alone), pair(busy.together)));
        writeln!(
            text,
            "| {} | {} | {} | {} | {alone} | {together} |",
            idle.what,
            short(idle.bytes / 1e3),
            pair(idle.alone),
            pair(idle.together)
        )
        .expect("a String takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_its_times_beside_each_other() {
        let line = |training: bool, ms: f64| {
            format!(
                r#"{{"what":"a run","training":{training},"bytes":2000,"median_ms":{ms},"p95_ms":9.5,"together_median_ms":20,"together_p95_ms":30}}"#
            )
        };
        let answers: Vec<Answer> =
            [line(false, 3.0), line(true, 4.0)].iter().filter_map(|line| answer(line)).collect();
        let table = table(&answers);
        let row = table.lines().nth(2).expect("a row");
        assert_eq!(row, "| a run | 2.00 | 3.00 · 9.50 | 20.0 · 30.0 | 4.00 · 9.50 | 20.0 · 30.0 |");
        assert_eq!(answer("{}"), None);
    }
}
