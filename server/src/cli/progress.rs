//! Shows the events of a run on standard error: on a terminal a bar for each member under way and one for the whole, elsewhere lines.

use std::collections::BTreeMap;
use std::path::Path;

use engine::event::{self, AnswerScores, AutotunedProduct, Entry, Event, LoaderWait, RunStatus};
use engine::text;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::figures::{bytes, duration};
use crate::run::View;
use crate::voice::say;

/// Ticks of the bar of the whole run.
const TICKS: u64 = 1000;

/// Takes events and shows them.
#[derive(Debug)]
pub(super) struct Progress {
    bars: MultiProgress,
    /// The stage of each member under way.
    members: BTreeMap<String, ProgressBar>,
    whole: ProgressBar,
    /// Whether the bars are on a terminal; else lines are printed.
    drawn: bool,
    view: View,
    waits: Waits,
}

/// What the steps of this process waited for the loader.
#[derive(Debug, Default)]
struct Waits {
    /// Milliseconds of all steps, and how many these are.
    total_ms: f64,
    steps: u64,
    max_ms: f64,
}

impl Waits {
    fn add(&mut self, steps: u64, wait: LoaderWait) {
        self.total_ms += wait.mean_ms * steps as f64;
        self.steps += steps;
        self.max_ms = self.max_ms.max(wait.max_ms);
    }

    /// A line of the summary; none before the first step.
    fn line(&self) -> Option<String> {
        let mean = self.total_ms / self.steps as f64;
        let line =
            || format!("waited for data: {mean:.2} ms a step, {:.2} ms at most", self.max_ms);
        (self.steps > 0).then(line)
    }
}

/// Which tiles a stage takes that are not the table's, and what each gains.
fn tuned(
    member: &str,
    stage: &str,
    classes: u64,
    timed: u64,
    changed: &[AutotunedProduct],
) -> Vec<String> {
    let line = |of: &AutotunedProduct| {
        let AutotunedProduct { product, table, table_us, tile, tile_us } = of;
        let gain = table_us / tile_us;
        format!(
            "  {product}: {tile}, {tile_us:.0} µs; {table} takes {table_us:.0}, {gain:.2} times as long"
        )
    };
    let count = changed.len();
    let head = format!(
        "{member} {stage}: {timed} of {classes} kinds of products are timed, {count} of them not by the table's tile"
    );
    [head].into_iter().chain(changed.iter().map(line)).collect()
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
}

impl Progress {
    /// Of a run with this log, if it has one already.
    pub(super) fn new(log: &Path) -> Self {
        let bars = MultiProgress::new();
        let whole = bars.add(ProgressBar::new(TICKS));
        whole.set_style(style("{prefix:>22!} {bar:30} {percent}%  {msg}"));
        whole.set_prefix("run");
        let drawn = !bars.is_hidden();
        let mut view = View::default();
        // Lines say nothing of the whole run, and a log can be long.
        if drawn {
            event::read(log).unwrap_or_default().iter().for_each(|entry| view.apply(entry));
        }
        let (members, waits) = (BTreeMap::new(), Waits::default());
        Progress { bars, members, whole, drawn, view, waits }
    }

    /// The bar of a member.
    fn bar(&mut self, member: &str) -> &ProgressBar {
        let Progress { bars, whole, members, .. } = self;
        members.entry(member.into()).or_insert_with(|| {
            let bar = bars.insert_before(whole, ProgressBar::new(0));
            bar.set_style(style("{prefix:>22!} {bar:30} {pos}/{len}  {msg}"));
            bar
        })
    }

    /// Says one line; names of members and data in it obey nobody.
    fn say(&self, line: &str) {
        let line = text::escape(line);
        if self.drawn {
            // The code that writes the results notices a terminal that was closed.
            drop(self.bars.println(&*line));
        } else {
            say(&line);
        }
    }

    /// Shows one entry.
    pub(super) fn take(&mut self, entry: &Entry) {
        self.view.apply(entry);
        match &entry.event {
            Event::RunStarted { adapter, adapter_kind, .. } => {
                self.say(&format!("adapter: {adapter} ({adapter_kind})"));
            }
            Event::DataRead { account } => {
                account.lines().iter().for_each(|line| self.say(line));
            }
            Event::StageStarted {
                member,
                stage,
                restart,
                steps,
                done,
                memory,
                micro_batches,
                ..
            } => {
                let bar = self.bar(member);
                bar.reset();
                bar.set_length(*steps);
                bar.set_prefix(text::escape(&format!("{member} {stage}")).into_owned());
                bar.set_message("");
                bar.set_position(*done);
                self.tell_whole();
                let which =
                    if *restart > 1 { format!(", restart {restart}") } else { String::new() };
                if !self.drawn {
                    let parts = match micro_batches {
                        1 => String::new(),
                        parts => format!(" of {parts} micro-batches"),
                    };
                    self.say(&format!(
                        "{member} {stage}{which}: {steps} steps{parts}, {}",
                        bytes(*memory)
                    ));
                }
            }
            Event::Step {
                member,
                stage,
                stage_step,
                loss,
                samples_per_s,
                loader_wait,
                scaling,
                ..
            } => {
                let bar = self.bar(member).clone();
                if let Some(wait) = loader_wait {
                    self.waits.add(stage_step.saturating_sub(bar.position()), *wait);
                }
                let skipped = match scaling.map_or(0, |scaling| scaling.skipped) {
                    0 => String::new(),
                    steps => format!(", {steps} steps skipped"),
                };
                let left = match self.view.find(member, stage).and_then(|stage| stage.eta_seconds) {
                    Some(left) => format!("  {} left", duration(left)),
                    None => String::new(),
                };
                bar.set_message(format!("loss {loss:.4}{skipped}  {samples_per_s:.0}/s{left}"));
                bar.set_position(*stage_step);
                self.tell_whole();
            }
            Event::Epoch { member, stage, epoch, accuracy, loss, .. } if !self.drawn => {
                let accuracy = accuracy
                    .map_or(String::new(), |accuracy| format!(", accuracy {accuracy:.2} %"));
                self.say(&format!(
                    "{member} {stage}: epoch {epoch:.2}, test loss {loss:.4}{accuracy}"
                ));
            }
            Event::BlockInitialised { member, block, fresh, .. } if *fresh > 0 => {
                self.say(&format!("{member}: {fresh} units of block {block} are fresh, the teacher had none for them"));
            }
            Event::BlockNarrowed { member, block, discrepancy, accuracy, dead, .. } => {
                let accuracy = accuracy
                    .map_or(String::new(), |accuracy| format!(", accuracy {accuracy:.2} %"));
                let dead = if *dead > 0.0 {
                    format!(", {:.0} % dead units", 100.0 * dead)
                } else {
                    String::new()
                };
                self.say(&format!(
                    "{member}: block {block} narrowed, discrepancy {discrepancy:.4}{accuracy}{dead}"
                ));
            }
            Event::Merge { member, report, .. } => self.say(&format!(
                "{member}: merged, relative error {:.1e} on {} inputs",
                report.relative_error, report.inputs
            )),
            Event::MemberFinished { member, accuracy, answers, epochs, seconds, .. } => {
                if let Some(bar) = self.members.remove(member) {
                    bar.finish_and_clear();
                }
                let after = match epochs.zip(*seconds) {
                    Some((epochs, seconds)) => {
                        format!(" after {epochs:.2} epochs, {}", duration(seconds))
                    }
                    None => String::new(),
                };
                let scores = match answers {
                    Some(AnswerScores { em, f1 }) => format!("exact match {em:.2}, F1 {f1:.2}"),
                    None => format!("accuracy {accuracy:.2} %"),
                };
                self.say(&format!("{member}: {scores}{after}"));
            }
            Event::Autotuned { member, stage, classes, timed, changed, .. } => {
                for line in tuned(member, stage, *classes, *timed, changed) {
                    self.say(&line);
                }
            }
            Event::Warning { message } => self.say(&format!("warning: {message}")),
            Event::Log { message } => self.say(message),
            Event::Resumed { member: Some(member), step } => {
                self.say(&format!("{member}: goes on from step {step}"));
            }
            Event::RunFinished { status, .. } => {
                if *status == RunStatus::Done {
                    self.whole.set_position(TICKS);
                }
                if let Some(line) = self.waits.line() {
                    self.say(&line);
                }
                self.finish();
            }
            _ => {}
        }
    }

    fn tell_whole(&self) {
        self.whole.set_position((self.view.share() * TICKS as f64) as u64);
        if let Some(left) = self.view.eta() {
            self.whole.set_message(format!("{} left", duration(left)));
        }
    }

    /// Takes the bars off the terminal.
    pub(super) fn finish(&self) {
        for bar in self.members.values().chain([&self.whole]) {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_weighed_by_their_steps() {
        let mut waits = Waits::default();
        assert_eq!(waits.line(), None);
        waits.add(30, LoaderWait { mean_ms: 1.0, max_ms: 7.0 });
        waits.add(10, LoaderWait { mean_ms: 5.0, max_ms: 6.0 });
        let line = waits.line().expect("steps");
        assert_eq!(line, "waited for data: 2.00 ms a step, 7.00 ms at most");
    }
}
