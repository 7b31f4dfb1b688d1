//! Shows the events of a run on standard error: two bars on a terminal, lines elsewhere.

use std::time::{Duration, Instant};

use engine::event::{Event, LoaderWait, RunStatus, StagePlan, TunedProduct};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{bytes, duration};

/// How much of a run is done, weighed by the work of each stage.
#[derive(Debug, Default)]
struct Work {
    stages: Vec<StagePlan>,
    /// Place of the current stage in `stages`.
    current: usize,
    /// Steps taken of the current stage, over all its tries.
    taken: u64,
}

impl Work {
    fn of(stage: &StagePlan) -> f64 {
        stage.steps as f64 * stage.step_macs.max(1) as f64
    }

    fn enter(&mut self, member: &str, stage: &str) {
        let found =
            self.stages.iter().position(|plan| plan.member == member && plan.stage == stage);
        if let Some(place) = found {
            self.current = place;
        }
        self.taken = 0;
    }

    /// Share done, from 0 to 1.
    fn share(&self) -> f64 {
        let total: f64 = self.stages.iter().map(Self::of).sum();
        let Some(current) = self.stages.get(self.current) else { return 0.0 };
        let before: f64 = self.stages[..self.current].iter().map(Self::of).sum();
        let within = self.taken.min(current.steps) as f64 * current.step_macs.max(1) as f64;
        if total > 0.0 { (before + within) / total } else { 0.0 }
    }
}

/// Ticks of the bar of the whole run.
const TICKS: u64 = 1000;

/// Takes events and shows them.
#[derive(Debug)]
pub(super) struct Progress {
    bars: MultiProgress,
    stage: ProgressBar,
    whole: ProgressBar,
    /// Whether the bars are on a terminal; else lines are printed.
    drawn: bool,
    work: Work,
    /// When this process took its first step, and the share that was done then.
    begun: Option<(Instant, f64)>,
    /// Steps of earlier tries of the current stage.
    earlier: u64,
    loss: String,
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
    changed: &[TunedProduct],
) -> Vec<String> {
    let line = |of: &TunedProduct| {
        let TunedProduct { product, table, table_us, tile, tile_us } = of;
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

impl Progress {
    pub(super) fn new() -> Self {
        let bars = MultiProgress::new();
        let style = |template: &str| {
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("━╸ ")
        };
        let stage = bars.add(ProgressBar::new(0));
        stage.set_style(style("{prefix:>22!} {bar:30} {pos}/{len}  {msg}"));
        let whole = bars.add(ProgressBar::new(TICKS));
        whole.set_style(style("{prefix:>22!} {bar:30} {percent}%  {msg}"));
        whole.set_prefix("run");
        let drawn = !bars.is_hidden();
        Progress {
            bars,
            stage,
            whole,
            drawn,
            work: Work::default(),
            begun: None,
            earlier: 0,
            loss: String::new(),
            waits: Waits::default(),
        }
    }

    fn say(&self, line: &str) {
        if self.drawn {
            // A terminal that has gone away is noticed by whoever writes the results.
            drop(self.bars.println(line));
        } else {
            eprintln!("{line}");
        }
    }

    /// Shows one event.
    pub(super) fn take(&mut self, event: &Event) {
        match event {
            Event::RunStarted { adapter, adapter_kind, stages, .. } => {
                self.work.stages.clone_from(stages);
                self.say(&format!("adapter: {adapter} ({adapter_kind})"));
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
                self.work.enter(member, stage);
                self.earlier = u64::from(restart.saturating_sub(1)) * steps;
                self.stage.reset();
                self.stage.set_length(*steps);
                self.stage.set_prefix(format!("{member} {stage}"));
                self.stage.set_message("");
                self.step(*done);
                let attempt = if *restart > 1 { format!(", try {restart}") } else { String::new() };
                if !self.drawn {
                    let parts = match micro_batches {
                        1 => String::new(),
                        parts => format!(" of {parts} micro-batches"),
                    };
                    self.say(&format!(
                        "{member} {stage}{attempt}: {steps} steps{parts}, {}",
                        bytes(*memory)
                    ));
                }
            }
            Event::Step { stage_step, loss, samples_per_s, loader_wait, scaling, .. } => {
                if let Some(wait) = loader_wait {
                    self.waits.add(stage_step.saturating_sub(self.stage.position()), *wait);
                }
                let skipped = scaling.map_or(0, |scaling| scaling.skipped);
                let skipped = match skipped {
                    0 => String::new(),
                    steps => format!(", {steps} steps skipped"),
                };
                self.loss = format!("loss {loss:.4}{skipped}");
                self.stage.set_message(format!(
                    "{}  {samples_per_s:.0}/s{}",
                    self.loss,
                    self.stage_left()
                ));
                self.step(*stage_step);
            }
            Event::Epoch { member, stage, epoch, accuracy, loss, .. } if !self.drawn => {
                let accuracy = accuracy
                    .map_or(String::new(), |accuracy| format!(", accuracy {accuracy:.2} %"));
                self.say(&format!(
                    "{member} {stage}: epoch {epoch:.2}, test loss {loss:.4}{accuracy}"
                ));
            }
            Event::BlockStarted { member, block, fresh, .. } if *fresh > 0 => {
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
            Event::MemberFinished { member, accuracy, epochs, seconds, .. } => self.say(&format!(
                "{member}: accuracy {accuracy:.2} % after {epochs:.2} epochs, {}",
                duration(*seconds)
            )),
            Event::Tuned { member, stage, classes, timed, changed, .. } => {
                for line in tuned(member, stage, *classes, *timed, changed) {
                    self.say(&line);
                }
            }
            Event::Warning { message } => self.say(&format!("warning: {message}")),
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

    fn step(&mut self, of_try: u64) {
        self.stage.set_position(of_try);
        self.work.taken = self.earlier + of_try;
        let share = self.work.share();
        let (start, base) = *self.begun.get_or_insert_with(|| (Instant::now(), share));
        self.whole.set_position((share * TICKS as f64) as u64);
        if let Some(left) = left(start.elapsed(), share - base, 1.0 - share) {
            self.whole.set_message(format!("{} left", duration(left)));
        }
    }

    fn stage_left(&self) -> String {
        let steps = self.stage.length().unwrap_or(0).saturating_sub(self.stage.position());
        let rate = self.stage.per_sec();
        if rate > 0.0 { format!("  {} left", duration(steps as f64 / rate)) } else { String::new() }
    }

    /// Takes the bars off the terminal.
    pub(super) fn finish(&self) {
        self.stage.finish_and_clear();
        self.whole.finish_and_clear();
    }
}

/// Seconds left when `done` of the work took `elapsed` and `ahead` is left; none before there is anything to go by.
fn left(elapsed: Duration, done: f64, ahead: f64) -> Option<f64> {
    (done > 0.0 && elapsed > Duration::from_secs(1)).then(|| elapsed.as_secs_f64() * ahead / done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(member: &str, stage: &str, steps: u64, step_macs: u64) -> StagePlan {
        StagePlan { member: member.into(), stage: stage.into(), steps, step_macs }
    }

    #[test]
    fn the_share_weighs_stages_by_their_work() {
        let stages = vec![plan("teacher-0", "wide", 100, 3), plan("win-0", "narrow 1", 100, 1)];
        let mut work = Work { stages, ..Work::default() };
        work.enter("teacher-0", "wide");
        work.taken = 50;
        assert_eq!(work.share(), 150.0 / 400.0);
        work.enter("win-0", "narrow 1");
        assert_eq!(work.share(), 0.75);
        work.taken = 1000;
        assert_eq!(work.share(), 1.0);
        assert_eq!(Work::default().share(), 0.0);
    }

    #[test]
    fn waits_are_weighed_by_their_steps() {
        let mut waits = Waits::default();
        assert_eq!(waits.line(), None);
        waits.add(30, LoaderWait { mean_ms: 1.0, max_ms: 7.0 });
        waits.add(10, LoaderWait { mean_ms: 5.0, max_ms: 6.0 });
        let line = waits.line().expect("steps");
        assert_eq!(line, "waited for data: 2.00 ms a step, 7.00 ms at most");
    }

    #[test]
    fn time_left_goes_by_what_this_process_did() {
        assert_eq!(left(Duration::from_secs(10), 0.25, 0.5), Some(20.0));
        assert_eq!(left(Duration::from_secs(10), 0.0, 0.5), None);
    }
}
