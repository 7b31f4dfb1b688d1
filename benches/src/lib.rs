//! Workloads with fixed names, shapes and counts of operations, and how a step of one is timed. `taper bench` prints them;
//! `README.md` beside this crate's manifest has the figures.

pub mod growth;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use engine::clock::SystemClock;
use engine::config::{
    Activation, Config, Discrepancy, Mlp, Model, Precision, Recipe, Resnet, Stem, Unit, Widen,
};
use engine::device::{Device, Executor, StepParameters};
use engine::graph::Graph;
use engine::models::{self, Bert};
use engine::nn::{self, Extent, IMAGES, LENGTHS, Layer, Network, PLACES, SEGMENTS, TOKENS};
use engine::ops::{
    Op, Operands,
    conv2d::Conv2d,
    matmul::{Matmul, product},
    scaler, to_u32,
};
use engine::plan::{Choices, Plan, Target, compile};
use engine::profile::{Job, Window};
use engine::random::Stream;
use engine::step::{LABELS, Objective, SCALER, STEP, Task, Trained, Training, program};
use engine::train::{Autotuned, Autotuner, BUDGET};
use engine::win::surgery;
use serde::{Deserialize, Serialize};

use Precision::{F32, Mixed};

/// A work: its name and its floating-point operations, which are counted the same whatever a plan skips.
pub struct Work {
    /// Its name on the command line.
    pub name: String,
    gflop: f64,
    make: Box<Make>,
}

/// What makes a work's plan for a target.
type Make = dyn Fn(&Target) -> Result<Ready>;

impl Work {
    fn new(
        name: impl Into<String>,
        gflop: f64,
        make: impl Fn(&Target) -> Result<Ready> + 'static,
    ) -> Self {
        Self { name: name.into(), gflop, make: Box::new(make) }
    }

    /// The plan of its step on a target.
    ///
    /// # Errors
    /// If the target cannot hold it.
    pub fn plan(&self, on: &Target) -> Result<Plan> {
        Ok((self.make)(on)?.plan)
    }
}

/// A plan with the program `step`, and what its buffers begin with.
struct Ready {
    plan: Plan,
    floats: Vec<(String, Vec<f32>)>,
    words: Vec<(String, Vec<u32>)>,
}

/// Every work, small ones first.
pub fn works() -> Vec<Work> {
    vec![
        Work::new("matmul_256", 0.033_554, |on| matmul(256, on)),
        Work::new("matmul_512", 0.268_435, |on| matmul(512, on)),
        Work::new("matmul_1024", 2.147_484, |on| matmul(1024, on)),
        Work::new("conv_n32_c16_hw32_k3_fb", 0.453, |on| conv(16, 32, on)),
        Work::new("conv_n32_c64_hw16_k3_fb", 1.812, |on| conv(64, 16, on)),
        Work::new("products_n32_c16_hw32_k3_fb", 0.453, |on| products(16, 32, on)),
        Work::new("products_n32_c64_hw16_k3_fb", 1.812, |on| products(64, 16, on)),
        Work::new("mlp_784_32x16_10_b256_sgdm", 0.0626, |on| mlp(on, F32)),
        Work::new("resnet_bottleneck_b64_sgdm", 4.650, |on| resnet(on, F32)),
        Work::new("bert_h128_l4_s128_b16_adam", 24.16, |on| bert(0.0, on)),
        Work::new("bert_h128_l4_s128_b16_adam_dropout", 24.16, |on| bert(0.1, on)),
        Work::new("win_narrow_b64", 18.732, |on| narrow(on, F32)),
    ]
}

/// The training steps among [`works`] in mixed precision; their names end in `_mixed`.
pub fn mixed() -> Vec<Work> {
    vec![
        Work::new("mlp_784_32x16_10_b256_sgdm_mixed", 0.0626, |on| mlp(on, Mixed)),
        Work::new("resnet_bottleneck_b64_sgdm_mixed", 4.650, |on| resnet(on, Mixed)),
        Work::new("win_narrow_b64_mixed", 18.732, |on| narrow(on, Mixed)),
    ]
}

/// What a GPU's kernels are judged by, and a CPU takes minutes for: a large product, and ResNet-50 on 64 pictures of 224×224.
pub fn large() -> Vec<Work> {
    vec![
        Work::new("matmul_4096", 137.438_953, |on| matmul(4096, on)),
        Work::new("resnet50_n64_hw224_sgdm", 1_570.247, |on| {
            training(&resnet50(), None, Objective::Labels, 64, F32, on)
        }),
    ]
}

/// Untimed steps before the timed ones.
const WARM_UP: usize = 3;
/// Fewest timed steps, unless they take longer than [`LONGEST`].
const RUNS: usize = 10;
/// Time after which no step is started once there are [`RUNS`].
const ENOUGH: Duration = Duration::from_secs(3);
/// Time after which no step is started at all.
const LONGEST: Duration = Duration::from_secs(40);

/// How long a step takes; what `taper bench --json` prints.
#[derive(Debug, Serialize, Deserialize)]
pub struct Timing {
    /// Name of the work.
    pub work: String,
    /// Median of the timed steps.
    pub median_ms: f64,
    /// The fastest of them.
    pub min_ms: f64,
    /// How many were timed.
    pub runs: usize,
    /// GFLOP/s at the median.
    pub gflops: f64,
    /// Dispatches of a step.
    pub launches: usize,
    /// From nothing to the end of the first step, pipelines compiled.
    pub first_step_ms: f64,
    /// Device memory of the plan.
    pub peak_bytes: u64,
    /// Name of the adapter.
    pub adapter: String,
    /// What an autotuner says that knew nothing before, if one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned: Option<Autotuned>,
}

/// Makes the plan and its pipelines, steps once, warms up, then times steps with their loss read back. With `tune` the tiles are timed
/// before, which is no part of the first step.
///
/// # Errors
/// If the device cannot hold the plan, or fails.
pub fn time(work: &Work, gpu: &Arc<dyn Device>, tune: bool) -> Result<Timing> {
    let tuned = match tune {
        true => Some(
            Autotuner::new(gpu.adapter(), None, BUDGET, &(Arc::new(SystemClock::default()) as _))
                .tune(gpu, &work.plan(&gpu.target())?)?,
        ),
        false => None,
    };
    let choices = tuned.as_ref().map(Autotuned::choices).unwrap_or_default();
    let begun = Instant::now();
    let mut executor = prepare(work, gpu, &choices)?;
    let (launches, peak_bytes) = (executor.plan().launches(STEP), executor.plan().memory());
    let live = live();
    let mut step = || -> Result<f64> {
        let begun = Instant::now();
        executor.run(STEP, &live, 0)?;
        executor.finish()?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    step()?;
    let first_step_ms = begun.elapsed().as_secs_f64() * 1e3;
    for _ in 0..WARM_UP {
        step()?;
    }
    let (timed, mut times) = (Instant::now(), Vec::new());
    while timed.elapsed() < LONGEST && (times.len() < RUNS || timed.elapsed() < ENOUGH) {
        times.push(step()?);
    }
    times.sort_by(f64::total_cmp);
    let median_ms = times[times.len() / 2];
    Ok(Timing {
        work: work.name.clone(),
        median_ms,
        min_ms: times[0],
        runs: times.len(),
        gflops: work.gflop / (median_ms / 1e3),
        launches,
        first_step_ms,
        peak_bytes,
        adapter: gpu.adapter().name.clone(),
        tuned,
    })
}

/// Times the dispatches of as many steps as are timed at least, which follow each other as those of a training do.
///
/// # Errors
/// As [`time`], and if the device has no timestamps.
pub fn profile(work: &Work, gpu: &Arc<dyn Device>) -> Result<Window> {
    let mut executor = prepare(work, gpu, &Choices::default())?;
    let live = live();
    for _ in 0..WARM_UP {
        executor.run(STEP, &live, 0)?;
    }
    executor.finish()?;
    executor.start_profile()?;
    for tag in 0..RUNS as u64 {
        executor.run(STEP, &live, tag)?;
    }
    let (passes, seconds) = executor.stop_profile()?;
    let jobs = Job::of(executor.plan(), STEP);
    let (owner, stage, program) = (work.name.clone(), String::new(), STEP.into());
    Ok(Window { owner, stage, program, jobs, passes, seconds })
}

/// A work's plan on a device, by the table's tiles but for `choices`, its buffers filled.
fn prepare(work: &Work, gpu: &Arc<dyn Device>, choices: &Choices) -> Result<Box<dyn Executor>> {
    let ready = (work.make)(&gpu.target())?;
    let executor = Arc::clone(gpu).prepare(ready.plan.choose(choices))?;
    for (label, numbers) in &ready.floats {
        executor.write(label, numbers)?;
    }
    for (label, numbers) in &ready.words {
        executor.write(label, numbers)?;
    }
    Ok(executor)
}

/// So small a learning rate that no number of steps leaves the finite numbers.
fn live() -> StepParameters {
    StepParameters { lr: 1e-6, ..StepParameters::rows(u32::MAX) }
}

/// `count` numbers around 0, the same each time.
fn noise(count: u64, scale: f64) -> Vec<f32> {
    let mut stream = Stream::new(&[count]);
    (0..count).map(|_| stream.between(-scale, scale) as f32).collect()
}

/// C = A B, n × n.
fn matmul(n: u32, on: &Target) -> Result<Ready> {
    let mut graph = Graph::new();
    let (a, b) = (graph.input("a", &[n, n]), graph.input("b", &[n, n]));
    let c = graph.add(Matmul { ta: false, tb: false }, &[a, b])?;
    graph.place(c, "c", 0);
    let plan = compile(&[(STEP, &graph)], on)?;
    let numbers = noise(u64::from(n) * u64::from(n), 1.0);
    Ok(Ready {
        plan,
        floats: vec![("a".into(), numbers.clone()), ("b".into(), numbers)],
        words: Vec::new(),
    })
}

/// y = x ∗ w with 3×3 kernels over 32 images of `size` × `size` and `c` channels, and dx, dw from a given dy.
fn conv(c: u32, size: u32, on: &Target) -> Result<Ready> {
    let map = [32, size, size, c];
    let mut graph = Graph::new();
    let (x, dy) = (graph.input("x", &map), graph.input("dy", &map));
    let w = graph.input("w", &[c, 3, 3, c]);
    let op = Conv2d { kernel: [3, 3], stride: [1, 1], pad: [1, 1], bias: false, relu: false };
    let y = graph.add(op, &[x, w])?;
    let grads = op.vjp(&mut graph, Operands { inputs: &[x, w], outputs: &[y] }, dy)?;
    graph.place(y, "y", 0);
    for (grad, label) in grads.into_iter().zip(["dx", "dw"]) {
        if let Some(grad) = grad {
            graph.place(grad, label, 0);
        }
    }
    let plan = compile(&[(STEP, &graph)], on)?;
    let numbers = noise(map.map(u64::from).iter().product(), 1.0);
    let weights = noise(u64::from(c) * 9 * u64::from(c), 0.1);
    Ok(Ready {
        plan,
        floats: vec![("x".into(), numbers.clone()), ("dy".into(), numbers), ("w".into(), weights)],
        words: Vec::new(),
    })
}

/// The matrix products that [`conv`] stands for, of matrices that are there: pixels × taps by taps × channels twice, and pixels are summed up
/// once. What the convolutions' rates are to be compared with.
fn products(c: u32, size: u32, on: &Target) -> Result<Ready> {
    let (pixels, taps) = (32 * size * size, 9 * c);
    let mut graph = Graph::new();
    let [x, dy] = ["x", "dy"].map(|label| graph.input(label, &[pixels, taps]));
    let (w, thin) = (graph.input("w", &[c, taps]), graph.input("thin", &[pixels, c]));
    let of = |ta, tb| Matmul { ta, tb };
    for (label, a, b, of) in [
        ("y", x, w, of(false, true)),
        ("dx", dy, w, of(false, true)),
        ("dw", thin, x, of(true, false)),
    ] {
        let c = product(&mut graph, a, b, of)?;
        graph.place(c, label, 0);
    }
    let plan = compile(&[(STEP, &graph)], on)?;
    let floats =
        [("x", pixels * taps), ("dy", pixels * taps), ("w", c * taps), ("thin", pixels * c)];
    let floats = floats.map(|(label, count)| (label.to_owned(), noise(count.into(), 1.0)));
    Ok(Ready { plan, floats: floats.into(), words: Vec::new() })
}

fn mlp(on: &Target, precision: Precision) -> Result<Ready> {
    let model =
        Model::Mlp(Mlp { hidden: vec![32; 16], activation: Activation::Relu, blocks: vec![4; 4] });
    let network = models::network(&model, Extent::Flat(784), 10);
    training(&network, None, Objective::Labels, 256, precision, on)
}

/// Four stages of two bottlenecks of 8, 16, 32, 64 channels on a stem of 16.
fn thin_resnet() -> Network {
    let (unit, stem) = (Unit::Bottleneck, Stem::Cifar);
    let model = Model::Resnet(Resnet { width: 1.0, base: 8, unit, stem, blocks: vec![2; 4] });
    let mut network = models::network(&model, Extent::Map(32, 32, 3), 10);
    if let Some(Layer::Conv(stem)) = network.blocks[0].layers.first_mut() {
        stem.out = 16;
    }
    network
}

/// torchvision's ResNet-50.
fn resnet50() -> Network {
    let (unit, stem, blocks) = (Unit::Bottleneck, Stem::Imagenet, vec![3, 4, 6, 3]);
    let model = Model::Resnet(Resnet { width: 1.0, base: 64, unit, stem, blocks });
    models::network(&model, Extent::Map(224, 224, 3), 1000)
}

fn resnet(on: &Target, precision: Precision) -> Result<Ready> {
    training(&thin_resnet(), None, Objective::Labels, 64, precision, on)
}

/// Words of [`thin_bert`].
const WORDS: u32 = 8192;

/// BERT's encoder of 128 features with the head that finds masked words, which is asked for the word at each position.
fn thin_bert(dropout: f64) -> Network {
    models::bert(&Bert {
        vocabulary: WORDS,
        hidden: 128,
        layers: 4,
        heads: 4,
        inner: 512,
        length: 128,
        positions: 128,
        places: 128,
        dropout,
        attention_dropout: dropout,
        ..Bert::default()
    })
}

/// A step of Adam on 16 sequences.
fn bert(dropout: f64, on: &Target) -> Result<Ready> {
    let of = Training {
        student: &thin_bert(dropout),
        teacher: None,
        task: Task::MaskedWords { vocabulary: WORDS, places: 128 },
        objective: Objective::Labels,
        recipe: &recipe("adam", 16)?,
        precision: F32,
    };
    ready(&of, WORDS, on)
}

/// The narrow step of the last block, with a teacher of four times as many channels inside its units.
fn narrow(on: &Target, precision: Precision) -> Result<Ready> {
    let student = thin_resnet();
    let teacher = surgery::widen(&student, 4, Widen::Mid);
    let bridged = surgery::bridge(&student, &teacher, false)?.prefix(4);
    let imitate = Objective::Imitate {
        discrepancy: Discrepancy::RelativeMse,
        scale: 1.0,
        output: 0.0,
        trained: Trained::All,
    };
    training(&bridged, Some(&teacher), imitate, 64, precision, on)
}

/// A step of SGD with momentum on pictures of ten classes.
fn training(
    student: &Network,
    teacher: Option<&Network>,
    objective: Objective,
    batch: u32,
    precision: Precision,
    on: &Target,
) -> Result<Ready> {
    let (task, recipe) = (Task::Classify, &recipe("sgd", batch)?);
    ready(&Training { student, teacher, task, objective, recipe, precision }, 10, on)
}

/// How a stage without a schedule is trained.
fn recipe(optimizer: &str, batch: u32) -> Result<Recipe> {
    let set = [format!("vanilla.optimizer={optimizer}"), format!("vanilla.batch={batch}")];
    let config = set.iter().try_fold(Config::default(), |config, set| config.with_set(set))?;
    Ok(config.vanilla.recipe())
}

/// A step with fresh weights, on numbers of the kinds that its networks read; labels, and tokens if it reads some, are below `answers`.
fn ready(of: &Training<'_>, answers: u32, on: &Target) -> Result<Ready> {
    let program = program(of, on)?;
    let student = program.student.pack(&nn::fresh(of.student, 0)?)?;
    let mut floats = named("student", student).to_vec();
    if let (Some(network), Some(folded)) = (of.teacher, &program.teacher) {
        floats.extend(named("teacher", folded.pack(&nn::fresh(network, 0)?)?));
    }
    floats.push((SCALER.into(), vec![scaler::FIRST_SCALE, 0.0, 0.0, 0.0]));
    let mut words: Vec<_> = (0..)
        .zip(&program.decay_words)
        .map(|(k, words)| (format!("student.decay{k}"), words.clone()))
        .collect();
    for input in &program.inputs {
        let numbers = 0..to_u32(input.len() as u64);
        let of_sample = input.shape.get(1).copied().unwrap_or(1);
        // Tokens and words are strewn over the vocabulary, as peer/pytorch.py strews them.
        let strewn = |n: u32| n * 7919 % answers;
        let number: &dyn Fn(u32) -> u32 = match input.name {
            IMAGES => {
                floats.push((input.buffer.clone(), noise(input.len() as u64, 1.0)));
                continue;
            }
            TOKENS => &strewn,
            LABELS => &|n| strewn(numbers.end - 1 - n),
            SEGMENTS => &|_| 0,
            PLACES => &|n| n % of_sample,
            LENGTHS => &|_| of.student.input.positions() as u32,
            other => bail!("no work reads `{other}`"),
        };
        words.push((input.buffer.clone(), numbers.clone().map(number).collect()));
    }
    // Buffers that this plan does not have are not written: an imitation reads no labels, an MLP has no state.
    let has = |label: &str| program.plan.buffers.iter().any(|buffer| buffer.label == label);
    floats.retain(|(label, _)| has(label));
    words.retain(|(label, _)| has(label));
    Ok(Ready { plan: program.plan, floats, words })
}

/// A network's parameters and statistics by the names of their buffers.
fn named(owner: &str, (params, state): (Vec<f32>, Vec<f32>)) -> [(String, Vec<f32>); 2] {
    [(format!("{owner}.params"), params), (format!("{owner}.state"), state)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ops::AdapterKind;
    use engine::plan::Limits;

    #[test]
    fn every_work_has_a_plan_on_webgpus_default_limits() {
        for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
            for work in works().into_iter().chain(mixed()) {
                let plan = work
                    .plan(&Target::web(kind))
                    .unwrap_or_else(|error| panic!("{}: {error}", work.name));
                assert!(plan.launches(STEP) > 0, "{}", work.name);
            }
        }
    }

    /// A lease is a whole buffer, so temporaries of different sizes cannot share without loss; it is held small.
    #[test]
    fn leases_take_little_more_than_what_must_live_at_once() {
        for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
            for work in works().into_iter().chain(mixed()) {
                let plan = work.plan(&Target::web(kind)).expect("a plan");
                let (leased, live) = (plan.leased(), plan.live_bytes());
                println!(
                    "{} on {kind:?}: {leased} bytes leased, {live} must live, {} in all",
                    work.name,
                    plan.memory()
                );
                assert!(live <= leased, "{}", work.name);
                assert!(leased as f64 <= 1.3 * live as f64, "{}", work.name);
            }
        }
    }

    /// A launch costs a CPU adapter some 25 µs, and each one less is fused by hand: these numbers may only fall.
    #[test]
    fn a_step_takes_few_launches() {
        for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
            for work in works().into_iter().chain(mixed()) {
                let launches = work.plan(&Target::web(kind)).expect("a plan").launches(STEP);
                println!("{} on {kind:?}: {launches}", work.name);
                let most = match work.name.split('_').next() {
                    Some("mlp") => 60,
                    Some("resnet") => 240,
                    Some("bert") if work.name.ends_with("dropout") => 152,
                    Some("bert") => 134,
                    _ => continue,
                };
                assert!(launches <= most, "{}: {launches}", work.name);
            }
        }
    }

    #[test]
    fn the_networks_are_those_whose_operations_are_counted() {
        let shapes = thin_resnet().shapes().expect("shapes");
        assert_eq!(shapes.param_count(), 224_474);
        let gflop = |macs: u64| 6.0 * 64.0 * macs as f64 / 1e9;
        assert!(
            (gflop(shapes.total_macs()) / 4.650 - 1.0).abs() < 0.01,
            "{}",
            gflop(shapes.total_macs())
        );

        let shapes = thin_bert(0.0).shapes().expect("shapes");
        assert_eq!(shapes.param_count(), 1_883_520);
        let counted = 6.0 * 16.0 * shapes.total_macs() as f64 / 1e9;
        assert!((counted / 24.16 - 1.0).abs() < 0.01, "{counted}");

        let student = thin_resnet();
        let teacher = surgery::widen(&student, 4, Widen::Mid);
        let bridged = surgery::bridge(&student, &teacher, false).expect("bridged").prefix(4);
        let macs = |network: &Network| network.shapes().expect("shapes").total_macs();
        let counted = gflop(macs(&bridged)) + gflop(macs(&teacher.prefix(4))) / 3.0;
        let stated =
            works().iter().find(|work| work.name == "win_narrow_b64").expect("there").gflop;
        assert!((counted / stated - 1.0).abs() < 0.01, "{counted}");

        let shapes = resnet50().shapes().expect("shapes");
        assert_eq!(shapes.param_count(), 25_557_032);
        let stated = large()[1].gflop;
        assert!(
            (gflop(shapes.total_macs()) / stated - 1.0).abs() < 1e-3,
            "{}",
            gflop(shapes.total_macs())
        );
    }

    /// Where bindings may be as large as an NVIDIA or AMD driver allows.
    #[test]
    fn large_works_have_plans_on_a_gpus_limits() {
        let web = Target::web(AdapterKind::Gpu);
        let wide = Limits { buffer_bytes: 4 << 30, binding_bytes: (4 << 30) - 4, ..web.limits };
        for work in large() {
            let plan = work.plan(&Target { limits: wide, ..web }).expect("a plan");
            println!(
                "{}: {} launches, {} MB",
                work.name,
                plan.launches(STEP),
                plan.memory() / 1_000_000
            );
            assert!(plan.launches(STEP) <= 700, "{}", work.name);
        }
        assert!(large()[1].plan(&web).is_err(), "a first map of 205 MB is above WebGPU's default");
    }
}
