//! `taper inspect`: what a configuration trains, block by block, before anything runs.

use anyhow::Result;
use engine::config::Config;
use engine::data::Account;
use engine::nn::{BlockSize, NetworkSize};
use engine::ops::AdapterKind;
use engine::plan::{Limits, Target};
use engine::suggest::Choice;
use serde::Serialize;

use super::out::{print, print_json};
use super::source::{Source, Wanted};
use crate::figures::{bytes, count, table};
use crate::hub;
use crate::run::examine::{MethodNeeds, MethodSteps, Subject, show};

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Print JSON, a line for each configuration of the grid.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Inspection {
    #[serde(skip_serializing_if = "String::is_empty")]
    label: String,
    input: Subject,
    /// What was read of the data; none where they are not there.
    data: Option<Account>,
    student: Size,
    teacher: Size,
    /// S₁ … Sₙ, then the head.
    blocks: Vec<BlockPair>,
    /// What each stage needs of the device.
    stages: Vec<MethodNeeds>,
    /// How many steps each method takes, where that is known without the data.
    steps: Vec<MethodSteps>,
    /// Where the configuration departs from the paper.
    deviations: Vec<String>,
    /// What is taken over from a teacher from elsewhere, and what has to be assumed of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    /// What was chosen by the pictures, where the preset leaves that to them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    choices: Vec<Choice>,
    /// Tasks that `taper run --task` parts it into.
    tasks: usize,
    /// Whether the plans are for WebGPU's default limits.
    #[serde(skip)]
    web: bool,
}

/// How large a network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Size {
    params: u64,
    /// Multiply-adds of one input.
    macs: u64,
}

/// A block of both networks; only a teacher from elsewhere may have more or fewer blocks, for the methods that do not read them.
#[derive(Debug, Serialize)]
struct BlockPair {
    /// `S1`, …, `head`.
    block: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    student: Option<BlockSize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    teacher: Option<BlockSize>,
}

/// The blocks of both side by side, the heads last.
fn pairs(mut student: Vec<BlockSize>, mut teacher: Vec<BlockSize>) -> Vec<BlockPair> {
    let heads = (student.pop(), teacher.pop());
    let blocks = student.len().max(teacher.len());
    let (mut student, mut teacher) = (student.into_iter(), teacher.into_iter());
    let both = std::iter::repeat_with(|| (student.next(), teacher.next())).take(blocks);
    let pair = |(student, teacher): (Option<BlockSize>, Option<BlockSize>)| {
        let name = student.as_ref().or(teacher.as_ref()).map(|block| block.name.clone());
        BlockPair { block: name.unwrap_or_default(), student, teacher }
    };
    both.chain([heads]).map(pair).collect()
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let target = match &arguments.source.device {
        Some(device) => taper_gpu::open(device, taper_gpu::Options::default())?.target(),
        None => Target::web(AdapterKind::Gpu),
    };
    let mut tasks = 0;
    for Wanted { label, mut config, choices } in arguments.source.configurations()? {
        hub::resolve(&mut config)?;
        let inspection = Inspection { choices, ..inspect(label, &config, &target)? };
        tasks += inspection.tasks;
        if arguments.json {
            print_json(&inspection)?;
        } else {
            print(&render(&inspection))?;
        }
    }
    if !arguments.json && tasks > 1 {
        print(&format!(
            "{tasks} tasks for a scheduler's array, a seed of a point of the grid each: `--task K/{tasks}`\n"
        ))?;
    }
    Ok(())
}

fn inspect(label: String, config: &Config, target: &Target) -> Result<Inspection> {
    let found = show(config, target)?;
    let teacher = found.teacher.unwrap_or_default();
    let size = |of: &NetworkSize| Size { params: of.params, macs: of.macs };
    Ok(Inspection {
        label,
        input: found.input,
        data: found.account,
        student: size(&found.student),
        teacher: size(&teacher),
        blocks: pairs(found.student.blocks, teacher.blocks),
        stages: found.needs,
        steps: found.steps,
        deviations: found.deviations,
        notes: found.notes,
        choices: Vec::new(),
        tasks: config.seeds.len(),
        web: target.limits == Limits::default(),
    })
}

/// A method's steps, and where they are of several recipes those of each.
fn steps_of(MethodSteps { method, steps, sections }: &MethodSteps) -> String {
    let parts: Vec<String> =
        sections.iter().map(|(section, steps)| format!("{section} {steps}")).collect();
    match parts.len() {
        0 | 1 => format!("{method} {steps}"),
        _ => format!("{method} {steps} ({})", parts.join(", ")),
    }
}

fn render(inspection: &Inspection) -> String {
    let Subject { size, channels, tokens, classes, assumed } = inspection.input;
    let mut text = String::new();
    if !inspection.label.is_empty() {
        text.push_str(&format!("{}\n", inspection.label));
    }
    let input = match tokens {
        Some(tokens) => format!("{tokens} tokens, {classes} words"),
        None => format!("{size} × {size} × {channels}, {classes} classes"),
    };
    text.push_str(&format!(
        "input {input}{}\n",
        if assumed { " (usual for this kind of data; data.path is not there)" } else { "" }
    ));
    for line in inspection.data.iter().flat_map(Account::lines) {
        text.push_str(&format!("{line}\n"));
    }
    text.push('\n');
    let width = |block: &BlockSize| match block.inner {
        [low, high] if low == high && high == block.width => format!("{high}"),
        [low, high] if low == high => format!("{high} → {}", block.width),
        [low, high] => format!("{low}…{high} → {}", block.width),
    };
    let sizes = |block: &Option<BlockSize>| match block {
        Some(block) => [width(block), count(block.params), count(block.macs)],
        None => [const { String::new() }; 3],
    };
    let rows: Vec<Vec<String>> = inspection
        .blocks
        .iter()
        .map(|block| {
            let any = block.student.as_ref().or(block.teacher.as_ref());
            let resolution = any.and_then(|block| block.resolution);
            let out = resolution.map_or(String::new(), |[h, w]| format!("{h} × {w}"));
            let names = [block.block.clone(), out];
            names.into_iter().chain(sizes(&block.student)).chain(sizes(&block.teacher)).collect()
        })
        .chain([vec![
            "all".into(),
            String::new(),
            String::new(),
            count(inspection.student.params),
            count(inspection.student.macs),
            String::new(),
            count(inspection.teacher.params),
            count(inspection.teacher.macs),
        ]])
        .collect();
    let head =
        ["block", "out", "student width", "params", "MACs", "teacher width", "params", "MACs"];
    text.push_str(&table(&head, &rows));
    let rows: Vec<Vec<String>> = inspection
        .stages
        .iter()
        .map(|needs| {
            let memory = needs.memory.map_or("does not fit".into(), bytes);
            let mark = if needs.problem.is_some() { " *" } else { "" };
            let stage = format!("{} {}", needs.method, needs.stage);
            let bn = if needs.micro_batch_statistics { " bn" } else { "" };
            let rows = format!("{}{bn}", needs.micro_batch);
            vec![stage, needs.batch.to_string(), rows, format!("{memory}{mark}")]
        })
        .collect();
    text.push('\n');
    text.push_str(&table(&["stage", "batch", "at once", "memory"], &rows));
    if inspection.stages.iter().any(|needs| needs.micro_batches > 1) {
        text.push_str("at once: inputs of a micro-batch; the gradients of a batch are added up\n");
    }
    if inspection.stages.iter().any(|needs| needs.micro_batch_statistics) {
        text.push_str("bn: batch norm's statistics are those of a micro-batch\n");
    }
    if let Some(problem) = inspection.stages.iter().find_map(|needs| needs.problem.as_ref()) {
        text.push_str(&format!(
            "* does not fit, not even in the smallest micro-batches: {problem}\n"
        ));
        if inspection.web {
            text.push_str("these are WebGPU's default limits; --device NAME tells of a device\n");
        }
    }
    if !inspection.steps.is_empty() {
        let steps: Vec<String> = inspection.steps.iter().map(steps_of).collect();
        text.push_str(&format!("steps: {}\n", steps.join("; ")));
    }
    for note in &inspection.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    if !inspection.choices.is_empty() {
        text.push_str("\nchosen by the pictures; `--set KEY=VALUE` says otherwise:\n");
    }
    for choice in &inspection.choices {
        text.push_str(&format!("- {}\n", choice.line()));
    }
    if !inspection.deviations.is_empty() {
        text.push_str("\ndeviations from the paper:\n");
    }
    for deviation in &inspection.deviations {
        text.push_str(&format!("- {deviation}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use engine::config::Method;

    use super::*;

    fn of(preset: &str) -> Inspection {
        let config = Config::preset(preset).expect("valid");
        inspect(String::new(), &config, &Target::web(AdapterKind::Gpu)).expect("a network")
    }

    #[test]
    fn the_totals_are_those_of_the_papers_table_1() {
        for (preset, student, teacher) in [
            ("imagenet-resnet50", 25.56, 68.88),
            ("imagenet-resnet50-half", 6.92, 17.75),
            ("imagenet-resnet50-quarter", 1.99, 4.70),
            ("imagenet-resnet101", 44.55, 126.89),
            ("imagenet-resnet101-half", 11.68, 32.27),
            ("imagenet-resnet101-quarter", 3.19, 8.34),
        ] {
            let inspection = of(preset);
            let millions = |size: Size| (size.params as f64 / 1e4).round() / 100.0;
            assert_eq!(
                (millions(inspection.student), millions(inspection.teacher)),
                (student, teacher),
                "{preset}"
            );
            let sum: u64 = inspection
                .blocks
                .iter()
                .flat_map(|block| &block.student)
                .map(|block| block.params)
                .sum();
            assert_eq!(sum, inspection.student.params);
            assert_eq!(inspection.deviations.len(), 1);
        }
        // torchvision's figure for ResNet50 is 4.09 G multiply-adds.
        let macs = of("imagenet-resnet50").student.macs as f64;
        assert!((macs / 4.09e9 - 1.0).abs() < 0.05, "{macs}");
    }

    #[test]
    fn the_demo_is_known_without_data() {
        let inspection = of("demo");
        assert!(inspection.stages.iter().all(|needs| needs.memory.is_some()));
        assert_eq!(inspection.stages[0].method, "teacher");
        assert_eq!((inspection.blocks.len(), inspection.input.assumed), (5, false));
        assert!(of("mnist-mlp-thin").input.assumed);
        let text = render(&of("imagenet-resnet50-half"));
        assert!(text.contains("win.start") && text.contains("6.92M"), "{text}");
    }

    /// The paper gives WIN more steps than its baselines, and both counts are shown.
    #[test]
    fn the_papers_berts_are_shown_with_their_steps_and_what_they_need() {
        let inspection = of("bert-base-half");
        assert_eq!(inspection.student.params, 33_539_900);
        let text = render(&inspection);
        assert!(
            text.contains(
                "steps: teacher 1000000; vanilla 1000000; kd 1000000; start_only 1780000; win 1780000 (narrow 780000, tune 1000000)\n"
            ),
            "{text}"
        );
        assert!(text.contains("widens the attention heads, too"), "{text}");
        // Without the data nobody knows how many steps an epoch has.
        assert!(of("mnist-mlp-thin").steps.is_empty());
    }

    #[test]
    fn a_step_that_does_not_fit_is_shown_in_micro_batches() {
        let mut config = Config::preset("cifar10-resnet-thin").expect("valid");
        config.methods = vec![Method::Vanilla];
        let show = |config: &Config| {
            inspect(String::new(), config, &Target::web(AdapterKind::Gpu)).expect("a network")
        };
        let whole = show(&config);
        assert_eq!(whole.stages[0].micro_batch, whole.stages[0].batch);
        assert!(!render(&whole).contains("micro-batch"));
        config.memory_budget = whole.stages[0].memory.map(|memory| memory / 3);
        let cut = show(&config);
        let MethodNeeds { batch, micro_batch, micro_batches, memory, .. } = cut.stages[0];
        assert!(micro_batches > 1 && micro_batch * micro_batches == batch);
        assert!(memory <= config.memory_budget && cut.stages[0].problem.is_none());
        assert!(render(&cut).contains("statistics are those of a micro-batch"));
        config.memory_budget = Some(1000);
        let text = render(&show(&config));
        assert!(
            text.contains("* does not fit, not even in the smallest micro-batches: the plan needs"),
            "{text}"
        );
    }

    #[test]
    fn the_keys_of_json_are_those_of_the_interface() {
        let json = serde_json::to_value(of("demo")).expect("JSON");
        for key in [
            "/student/params",
            "/student/macs",
            "/teacher/params",
            "/teacher/macs",
            "/blocks/0",
            "/deviations",
            "/data",
        ] {
            assert!(json.pointer(key).is_some(), "{key}");
        }
    }
}
