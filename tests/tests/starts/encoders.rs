//! How blocks of encoders start, by the probe of production, against the goldens of `golden/encoders.py`, and what is refused.

use std::{path::PathBuf, sync::Arc};

use engine::{
    batch::{Batch, Field, Numbers},
    data::{DataError, Draw, Source, Split},
    device::Device,
    formats::safetensors::read,
    models::{self, Bert},
    nn::{
        LENGTHS, Layer, Network, PLACES, SEGMENTS, TOKENS, Tensor, Weights, fresh,
        layers::{Activation, Embeddings, Linear, Transformer},
    },
    ops::activation,
    random::{Stream, name},
    step::{LABELS, Task},
    train::{Session, TrainError, probe::DeviceProbe},
    win::{
        start::{
            Choice, MOST_ROWS, Probe, Rows, Started, Tap, fits, start_block, start_block_random,
            start_embeddings, take_head,
        },
        surgery::{bridge, merge},
    },
};
use safetensors::SafeTensors;
use serde_json::Value as Json;
use taper_tests::gpu;

use crate::{assert_close, floats, picks, start_all, wide, words};

/// The start inputs, and what `golden/encoders.py` has of them.
const INPUTS: usize = 24;
const LENGTH: u32 = 7;
const VOCABULARY: u32 = 23;
const PLACES_OF_EACH: u32 = 2;

fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", "encoders", name].iter().collect()
}

/// Sequences in fields, the targets left out as nobody looks at them.
#[derive(Debug, Clone)]
struct Sequences {
    fields: Vec<Field>,
}

impl Sequences {
    fn new() -> Self {
        let bytes = std::fs::read(golden("inputs.safetensors")).expect("golden file");
        let file = SafeTensors::deserialize(&bytes).expect("golden file");
        let field = |name: &'static str| Field::u32(name, words(&file, name));
        Self { fields: [TOKENS, SEGMENTS, LENGTHS, PLACES].map(field).into() }
    }

    fn lengths(&self) -> Vec<u32> {
        let Numbers::U32(lengths) = &self.fields[2].numbers else { panic!("lengths") };
        lengths.clone()
    }
}

impl Source for Sequences {
    fn len(&self) -> usize {
        INPUTS
    }

    fn classes(&self) -> &[u32] {
        &[]
    }

    fn threads(&self) -> usize {
        1
    }

    fn gather(&self, picks: &[usize], size: usize, _: Option<Draw>) -> Result<Batch, DataError> {
        let part = |field: &Field| {
            let Numbers::U32(all) = &field.numbers else { panic!("words") };
            let each = all.len() / INPUTS;
            let mut rows: Vec<u32> =
                picks.iter().flat_map(|&at| &all[at * each..(at + 1) * each]).copied().collect();
            rows.resize(size * each, 0);
            Field::u32(field.name, rows)
        };
        let inputs = self.fields.iter().map(part).collect();
        let labels = vec![0; size * PLACES_OF_EACH as usize];
        Ok(Batch { inputs, targets: vec![Field::u32(LABELS, labels)], size, rows: picks.len() })
    }
}

fn split() -> Arc<Split> {
    Arc::new(Split::new(Sequences::new()))
}

/// A network of the golden's sizes.
fn encoder(sizes: &Json) -> Network {
    let size = |key: &str| sizes[key].as_u64().expect("a size") as u32;
    let hidden = size("hidden");
    let tables = sizes["tables"].as_u64().map_or(hidden, |n| n as u32);
    let mut network = models::bert(&Bert {
        vocabulary: VOCABULARY,
        hidden,
        layers: size("layers"),
        heads: size("heads"),
        inner: size("inner"),
        length: LENGTH,
        positions: 9,
        places: PLACES_OF_EACH,
        init_std: 0.3,
        ..Bert::default()
    });
    let layers = network.blocks.iter_mut().flat_map(|block| &mut block.layers);
    for layer in layers.chain(&mut network.head) {
        match layer {
            Layer::Transformer(of) => of.head = size("head"),
            Layer::Embeddings(of) if tables < hidden => {
                (of.out, of.project) = (tables, Some(hidden));
            }
            Layer::Linear(of) => of.out = tables,
            Layer::Decoder(of) => of.width = tables,
            _ => {}
        }
    }
    network
}

/// A student of a golden with its teacher.
struct Pupil {
    student: Network,
    bridged: Network,
    teacher: Network,
    source: Weights,
}

impl Pupil {
    fn of(case: &str) -> Self {
        let bytes = std::fs::read(golden(&format!("{case}.run.safetensors"))).expect("golden");
        let about = about(&bytes);
        let (student, teacher) = (encoder(&about["student"]), encoder(&about["teacher"]));
        let teacher = models::regroup(teacher, &student);
        let source = file(&format!("{case}.teacher"), &teacher);
        Self::new(student, teacher, source)
    }

    fn new(student: Network, teacher: Network, source: Weights) -> Self {
        let bridged = bridge(&student, &teacher, false).expect("a bridge");
        Self { student, bridged, teacher, source }
    }

    fn block<P: Probe>(
        &self,
        probe: &mut P,
        weights: &mut Weights,
        block: usize,
        choice: Choice<'_>,
        seed: u64,
        map: &[u32],
    ) -> Result<Started, P::Error> {
        let Self { bridged, teacher, source, .. } = self;
        start_block(probe, bridged, teacher, source, weights, block, choice, seed, map)
    }

    /// All blocks and the head, with no training between them.
    fn all<P: Probe>(
        &self,
        probe: &mut P,
        choice: Choice<'_>,
        seed: u64,
        map: &[u32],
    ) -> Result<(Weights, Started), P::Error> {
        start_all(probe, &self.bridged, &self.teacher, &self.source, choice, seed, map)
    }

    /// The mean squared error of what S̄ puts out after each block over the variance of what the teacher puts out there.
    fn apart(&self, probe: &mut DeviceProbe, weights: &Weights) -> Vec<f64> {
        let mut found = Vec::new();
        for block in 1..=self.bridged.blocks.len() {
            let lift = format!("lift.{block}");
            let last = self.teacher.blocks[block - 1].layers.last().and_then(Layer::name);
            let own = one(probe, &self.bridged, weights, block, &lift);
            let theirs = one(probe, &self.teacher, &self.source, block, last.expect("a name"));
            let apart = own.less(&theirs);
            let count = theirs.data.len() as f64;
            let mean = wide(&theirs.data).iter().sum::<f64>() / count;
            let variance = wide(&theirs.data).iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            found.push(wide(&apart.data).iter().map(|x| x * x).sum::<f64>() / variance);
        }
        found
    }
}

fn one(probe: &mut DeviceProbe, net: &Network, weights: &Weights, n: usize, tap: &str) -> Rows {
    let taps = [Tap { name: tap.into(), stride: 1 }];
    probe.rows(net, weights, n, &taps, MOST_ROWS).expect("activations").remove(0)
}

fn about(bytes: &[u8]) -> Json {
    let (_, metadata) = SafeTensors::read_metadata(bytes).expect("golden file");
    let map = metadata.metadata().as_ref().expect("metadata");
    serde_json::from_str(&map["case"]).expect("JSON")
}

fn file(name: &str, network: &Network) -> Weights {
    let path = golden(&format!("{name}.safetensors"));
    network.from_file(read(&path).unwrap_or_else(|error| panic!("{error}")).0)
}

fn scores(gpu: &Arc<dyn Device>, network: &Network, weights: &Weights) -> Vec<f64> {
    let task = Task::MaskedWords { vocabulary: VOCABULARY, places: PLACES_OF_EACH };
    wide(&answers(gpu, network, task, weights).concat())
}

/// What a network answers to each input.
fn answers(
    gpu: &Arc<dyn Device>,
    network: &Network,
    task: Task,
    weights: &Weights,
) -> Vec<Vec<f32>> {
    let rows = INPUTS as u32;
    let mut session = Session::evaluating(gpu, network, task, weights, rows).expect("a session");
    let picks: Vec<usize> = (0..INPUTS).collect();
    session.logits(split().some(&picks, INPUTS)).expect("scores")
}

/// ‖a − b‖₂ / ‖a‖₂.
fn off(a: &[f64], b: &[f64]) -> f64 {
    let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
    let apart = square(&mut a.iter().zip(b).map(|(a, b)| a - b));
    (apart / square(&mut a.iter().copied())).sqrt()
}

fn check(case: &str) {
    let Some(gpu) = gpu() else { return };
    let bytes = std::fs::read(golden(&format!("{case}.run.safetensors"))).expect("golden file");
    let run = SafeTensors::deserialize(&bytes).expect("golden file");
    let picks = picks(&run);
    let pupil = Pupil::of(case);
    let mut probe = DeviceProbe::new(&gpu, &split(), 2000, 7);
    let (found, started) = pupil.all(&mut probe, Choice::Greedy, 0, &[]).expect("a start");
    assert_eq!(started.picks, picks, "{case}");
    assert_eq!(started.fresh, 0);

    let wanted = file(&format!("{case}.start"), &pupil.bridged);
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (name, wanted) in &wanted {
        assert_eq!(found[name].shape, wanted.shape, "{name} of {case}");
        let what = format!("{name} of {case}");
        assert_close(&what, &wide(&found[name].data), &wide(&wanted.data), 1e-4);
    }
    let own = scores(&gpu, &pupil.bridged, &found);
    assert_close(&format!("scores of {case}"), &own, &wide(&floats(&run, "scores")), 1e-4);

    // What was started merges, and stays the same function.
    let (student, merged) = merge(&pupil.bridged, &found).expect("a merge");
    assert_eq!(student, pupil.student);
    let after = scores(&gpu, &student, &merged);
    let error = off(&own, &after);
    assert!(error <= 1e-5, "merging {case} changed the scores by {error:.1e}");

    // The lifted states are near the teacher's, and those of fresh weights are not.
    let wanted: Vec<f64> = about(&bytes)["apart"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|x| x.as_f64().expect("a number"))
        .collect();
    let near = pupil.apart(&mut probe, &found);
    assert_close(&format!("states of {case}"), &near, &wanted, 1e-3);
    let mut weights = Weights::new();
    for block in 0..=pupil.bridged.blocks.len() {
        let Pupil { bridged, teacher, source, .. } = &pupil;
        start_block_random(bridged, teacher, source, &mut weights, block, 3).expect("a start");
    }
    let far = pupil.apart(&mut probe, &weights);
    println!("{case}: {near:.3?} apart, fresh weights {far:.3?}");
    assert!(near.iter().all(|&x| x < 0.35) && far.iter().all(|&x| x > 0.9), "{near:?} {far:?}");
}

#[test]
fn encoders_start_as_the_golden_from_a_teacher_of_ours() {
    check("ours");
}

#[test]
fn encoders_start_as_the_golden_from_a_teacher_without_narrow_tables() {
    check("foreign");
}

#[test]
fn encoders_start_as_the_golden_from_a_teacher_of_twice_the_depth() {
    check("deep");
}

/// A student as wide as its teacher takes its features as they are; one that is its teacher becomes it again.
#[test]
fn a_student_as_wide_as_its_teacher_keeps_its_features() {
    let Some(gpu) = gpu() else { return };
    let Pupil { teacher, source, .. } = Pupil::of("foreign");
    let mut probe = DeviceProbe::new(&gpu, &split(), 2000, 7);
    let twin = Pupil::new(teacher.clone(), teacher.clone(), source.clone());
    let (weights, started) = twin.all(&mut probe, Choice::Greedy, 1, &[]).expect("a start");
    assert_eq!((started.fresh, started.picks.get("stream")), (0, None));
    let name = "bert.embeddings.LayerNorm.weight";
    assert_eq!(weights[name], source[name]);
    let near = twin.apart(&mut probe, &weights);
    assert!(near.iter().all(|&x| x < 0.02), "{near:?}");

    let mut thinner = teacher.clone();
    for layer in thinner.blocks.iter_mut().flat_map(|block| &mut block.layers) {
        if let Layer::Transformer(of) = layer {
            (of.heads, of.inner) = (2, 16);
        }
    }
    let pupil = Pupil::new(thinner, teacher, source);
    let (weights, _) = pupil.all(&mut probe, Choice::Greedy, 1, &[]).expect("a start");
    let near = pupil.apart(&mut probe, &weights);
    assert!(near.iter().all(|&x| x < 0.35), "{near:?}");
}

/// The pooler of a wider teacher from elsewhere is wider than the student's: some of its units stand for all, and the map behind reads them so.
#[test]
fn pairs_of_sentences_start_from_a_wider_pooler() {
    let Some(gpu) = gpu() else { return };
    let Pupil { mut student, mut teacher, mut source, .. } = Pupil::of("foreign");
    let dense = "bert.pooler.dense";
    for network in [&mut student, &mut teacher] {
        let shapes = network.shapes().expect("a network");
        let width = shapes.blocks.last().expect("a block").width();
        let linear = |name: &str, out| Layer::Linear(Linear { name: name.into(), out, bias: true });
        let act =
            Activation { name: format!("{dense}.act"), function: activation::Activation::Tanh };
        network.further = vec![vec![
            Layer::FirstToken,
            linear(dense, width),
            Layer::Activation(act),
            linear("cls.seq_relationship", 2),
        ]];
    }
    let mut specs = teacher.shapes().expect("a network").params;
    specs.retain(|spec| !source.contains_key(&spec.name));
    for spec in specs {
        let mut stream = Stream::new(&[61, name(&spec.name)]);
        let numbers = spec.shape.iter().product::<usize>();
        let data = (0..numbers).map(|_| 0.3 * stream.normal() as f32).collect();
        source.insert(spec.name, Tensor::new(spec.shape, data));
    }
    let pupil = Pupil::new(student, teacher, source);
    fits(&pupil.bridged, &pupil.teacher, &[]).expect("they fit");
    let task = Task::Pretrain { vocabulary: VOCABULARY, places: PLACES_OF_EACH };
    let words = (VOCABULARY * PLACES_OF_EACH) as usize;
    let of_pairs = |network: &Network, weights: &Weights| {
        let answers = answers(&gpu, network, task, weights);
        wide(&answers.iter().flat_map(|row| row[words..].to_vec()).collect::<Vec<f32>>())
    };
    let theirs = of_pairs(&pupil.teacher, &pupil.source);
    let mut probe = DeviceProbe::new(&gpu, &split(), 2000, 7);
    let weight = format!("{dense}.weight");
    for choice in [Choice::Greedy, Choice::Sample] {
        let (weights, _) = pupil.all(&mut probe, choice, 5, &[]).expect("a start");
        assert_eq!(pupil.all(&mut probe, choice, 5, &[]).expect("a start").0, weights);
        // Distinct rows of the teacher's pooler, on the lifted state.
        let (own, wide) = (&weights[&weight], &pupil.source[&weight]);
        assert_eq!((&own.shape[..], &wide.shape[..]), (&[8, 12][..], &[12, 12][..]));
        let mut units: Vec<usize> = own
            .data
            .chunks(12)
            .map(|row| wide.data.chunks(12).position(|other| other == row).expect("a unit"))
            .collect();
        units.sort_unstable();
        units.dedup();
        assert_eq!(units.len(), 8);
        let found = of_pairs(&pupil.bridged, &weights);
        // As near as if all of the teacher's units read the lifted state.
        // As near as all of the teacher's units are on the lifted state.
        let (mut whole, mut all) = (pupil.bridged.clone(), weights.clone());
        whole.further.clone_from(&pupil.teacher.further);
        let heads = pupil.source.iter().filter(|(name, _)| {
            name.starts_with(dense) || name.starts_with("cls.seq_relationship")
        });
        all.extend(heads.map(|(name, tensor)| (name.clone(), tensor.clone())));
        let [apart, at_best] = [&found, &of_pairs(&whole, &all)].map(|of| off(&theirs, of));
        println!("{choice:?}: off by {apart:.3} of their norm, all units by {at_best:.3}");
        assert!(apart < 1.1 * at_best, "{choice:?}: {apart}, {at_best}");
        let (thin, merged) = merge(&pupil.bridged, &weights).expect("a merge");
        assert_eq!(thin, pupil.student);
        let error = off(&found, &of_pairs(&thin, &merged));
        assert!(error <= 1e-5, "merging changed the scores of pairs by {error:.1e}");
    }
}

/// The student's embeddings are the first features of a teacher of ours, to the bit.
#[test]
fn the_stream_of_a_projected_teacher_is_exact() {
    let Some(gpu) = gpu() else { return };
    let pupil = Pupil::of("ours");
    let mut probe = DeviceProbe::new(&gpu, &split(), 2000, 7);
    let mut weights = Weights::new();
    pupil.block(&mut probe, &mut weights, 0, Choice::Greedy, 0, &[]).expect("a start");
    let own = one(&mut probe, &pupil.bridged, &weights, 1, "bert.embeddings");
    let theirs = one(&mut probe, &pupil.teacher, &pupil.source, 1, "bert.embeddings");
    assert_eq!(own, theirs.columns(&(0..8).collect::<Vec<_>>()));

    // A projection that begins otherwise is none of ours.
    let mut pupil = pupil;
    pupil.source.get_mut("bert.embeddings_project.weight").expect("P").data[1] = 0.5;
    let error = pupil.block(&mut probe, &mut weights, 0, Choice::Greedy, 0, &[]);
    let said = error.expect_err("a refusal").to_string();
    assert!(said.contains("bert.embeddings_project does not begin with the identity"), "{said}");
}

#[test]
fn samples_of_encoders_are_a_function_of_the_seed() {
    let Some(gpu) = gpu() else { return };
    for case in ["ours", "foreign"] {
        let pupil = Pupil::of(case);
        let mut probe = DeviceProbe::new(&gpu, &split(), 2000, 7);
        let mut start = |seed| pupil.all(&mut probe, Choice::Sample, seed, &[]).expect("a start");
        let first = start(5);
        assert_eq!(start(5), first);
        assert_ne!(start(6).1, first.1);
        assert_eq!(first.1.picks.contains_key("stream"), case == "foreign");
        for (key, picks) in &first.1.picks {
            let mut distinct = picks.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), picks.len(), "{key}");
        }
        // Later blocks read off the tables which features the stream has.
        if let Some(set) = first.1.picks.get("stream") {
            let own = &first.0["bert.embeddings.position_embeddings.weight"];
            let theirs = &pupil.source["bert.embeddings.position_embeddings.weight"];
            let rows = Rows { width: 12, data: theirs.data.clone() };
            assert_eq!(own.data, rows.columns(set).data);
        }
    }
}

#[test]
fn random_starts_of_encoders_keep_the_teachers_embeddings() {
    for case in ["ours", "foreign"] {
        let Pupil { student, teacher, source, .. } = Pupil::of(case);
        let bridged = bridge(&student, &teacher, true).expect("a bridge");
        let start = |seed| {
            let mut weights = Weights::new();
            for block in 0..=bridged.blocks.len() {
                start_block_random(&bridged, &teacher, &source, &mut weights, block, seed)
                    .expect("a start");
            }
            weights
        };
        let weights = start(7);
        for spec in bridged.shapes().expect("shapes").params {
            assert_eq!(weights[&spec.name].shape, spec.shape, "{}", spec.name);
        }
        let (lift, lower) = (&weights["lift.1.weight"], &weights["lower.1.weight"]);
        let [out, width] = lift.shape[..] else { panic!("a matrix") };
        for (i, j) in (0..width).flat_map(|i| (0..width).map(move |j| (i, j))) {
            let dot: f32 =
                (0..out).map(|o| lower.data[i * out + o] * lift.data[o * width + j]).sum();
            assert!((dot - f32::from(i == j)).abs() < 1e-5, "{case}: {i}, {j}: {dot}");
        }
        let name = "bert.embeddings.word_embeddings.weight";
        let taken = &weights[name];
        match case {
            "ours" => assert_eq!(taken, &source[name]),
            _ => {
                let all = Rows { width: 12, data: source[name].data.clone() };
                let column = |width, data: &[f32], at: usize| -> Vec<f32> {
                    data.iter().skip(at).step_by(width).copied().collect()
                };
                for at in 0..8 {
                    let own = column(8, &taken.data, at);
                    assert!((0..12).any(|of| column(12, &all.data, of) == own), "column {at}");
                }
            }
        }
        assert_eq!(start(7), weights);
        assert_ne!(start(8)["lift.1.weight"], weights["lift.1.weight"]);

        // A student by itself takes them too, and the head that fits it.
        let mut alone = fresh(&student, 1).expect("weights");
        start_embeddings(&student, &teacher, &source, &mut alone, 7).expect("embeddings");
        assert_eq!(&alone[name], taken);
        take_head(&student, &teacher, &source, &mut alone).expect("a head");
        let dense = "cls.predictions.transform.dense.weight";
        let (own, theirs) = (&alone[dense], &source[dense]);
        assert_eq!((own.shape[0], own.shape[1]), (8, 8));
        if case == "ours" {
            assert_eq!(own.data[8..16], theirs.data[16..24]);
            let norm = "cls.predictions.transform.LayerNorm.weight";
            assert_eq!(alone[norm], source[norm]);
        }
        for spec in student.shapes().expect("shapes").params {
            assert_eq!(alone[&spec.name].shape, spec.shape, "{}", spec.name);
        }
    }
}

/// Rows are tokens that are no padding, the same ones in every call, and no more than are asked for.
#[test]
fn the_devices_probe_looks_at_tokens_and_not_at_padding() {
    let Some(gpu) = gpu() else { return };
    let pupil = Pupil::of("ours");
    let lengths = Sequences::new().lengths();
    let tokens: u32 = lengths.iter().sum();
    let name = "bert.encoder.layer.1";
    let taps: Vec<Tap> = [
        Transformer::CONTEXTS,
        Transformer::ATTENDED,
        Transformer::FIRST_NORM,
        Transformer::INNER,
        Transformer::SUM,
    ]
    .iter()
    .map(|part| Tap { name: format!("{name}.{part}"), stride: 1 })
    .chain(["bert.encoder.layer.0", name].map(|name| Tap { name: name.into(), stride: 1 }))
    .collect();
    let mut probe = DeviceProbe::new(&gpu, &split(), 2000, 7);
    let (teacher, source) = (&pupil.teacher, &pupil.source);
    let all = probe.rows(teacher, source, 2, &taps, MOST_ROWS).expect("activations");
    let widths: Vec<usize> = all.iter().map(|rows| rows.width).collect();
    assert_eq!(widths, [16, 16, 16, 40, 16, 16, 16]);
    assert!(all.iter().all(|rows| rows.data.len() == rows.width * tokens as usize));
    // The parts are what they are called: Y + W2 Z + b2 is what the second norm reads.
    let of = |part: &str| &source[&format!("{name}.{part}")].data;
    let (w, b) = (of("output.dense.weight"), of("output.dense.bias"));
    let [y, z, sum] = [2, 3, 4].map(|at| &all[at]);
    for (row, sum) in sum.data.chunks_exact(16).enumerate() {
        for (unit, &sum) in sum.iter().enumerate() {
            let product: f32 = (0..40).map(|k| w[unit * 40 + k] * z.data[row * 40 + k]).sum();
            let wanted = y.data[row * 16 + unit] + product + b[unit];
            assert!((sum - wanted).abs() < 1e-4, "row {row}, unit {unit}: {sum} and {wanted}");
        }
    }
    // Fewer rows are some of them, whatever stood in another call.
    let mut probe = DeviceProbe::new(&gpu, &split(), 2000, 7);
    for (tap, all) in taps.iter().zip(&all) {
        let some = probe.rows(teacher, source, 2, std::slice::from_ref(tap), 10);
        let some = some.expect("activations").remove(0);
        assert_eq!(some.data.len(), 10 * all.width);
        let place = |row: &[f32]| all.data.chunks_exact(all.width).position(|of| of == row);
        let places: Vec<Option<usize>> = some.data.chunks_exact(all.width).map(place).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
    }
    let (student, weights) = (&pupil.bridged, Weights::new());
    let own = probe.rows(student, &weights, 2, &taps[..1], 10).expect("activations");
    assert_eq!(own[0].data.len(), 10 * 8);
    assert_eq!(probe.rows(student, &weights, 2, &[], 10).expect("nothing"), []);
    let behind = [Tap { name: "cls.predictions.transform.LayerNorm".into(), stride: 1 }];
    let error = probe.rows(teacher, source, 3, &behind, 10).expect_err("a refusal").to_string();
    assert!(error.contains("has no row for each token"), "{error}");
}

/// Heads and units that say nothing are not taken, features that depend on others do no harm, and nothing becomes other than a number.
#[test]
fn a_teacher_with_dead_parts_gives_fresh_ones_and_numbers() {
    let Some(gpu) = gpu() else { return };
    let mut pupil = Pupil::of("foreign");
    let name = "bert.encoder.layer.0";
    let of = |part: &str| format!("{name}.{part}.weight");
    // Heads 1 and 2 have no way to the stream; one inner unit lives.
    let o = pupil.source.get_mut(&of(Transformer::O)).expect("O");
    o.data.chunks_exact_mut(12).for_each(|row| row[4..].fill(0.0));
    pupil.source.get_mut(&of(Transformer::W1)).expect("W1").data[12..].fill(0.0);
    pupil.source.get_mut(&format!("{name}.{}.bias", Transformer::W1)).expect("b1").data[1..]
        .fill(0.0);
    // Features 3 and 4 are one everywhere, and feature 5 is constant.
    for (path, tensor) in &mut pupil.source {
        if path.contains("_embeddings") {
            tensor.data.chunks_exact_mut(12).for_each(|row| row[4] = row[3]);
        }
        if path.contains("LayerNorm") && tensor.data.len() == 12 {
            tensor.data[4] = tensor.data[3];
            tensor.data[5] = if path.ends_with("weight") { 0.0 } else { 0.5 };
        }
        if [Transformer::O, Transformer::W2].iter().any(|part| path.contains(&format!("{part}."))) {
            let width = tensor.data.len() / 12;
            tensor.data.copy_within(3 * width..4 * width, 4 * width);
        }
    }
    let mut probe = DeviceProbe::new(&gpu, &split(), 2000, 7);
    let (weights, started) = pupil.all(&mut probe, Choice::Greedy, 1, &[]).expect("a start");
    let heads = &started.picks[&format!("{name}.{}", Transformer::CONTEXTS)];
    let units = &started.picks[&format!("{name}.{}", Transformer::INNER)];
    assert_eq!((heads, units), (&vec![0], &vec![0]));
    // One head of two, fifteen units of sixteen; all features of the stream are there.
    assert_eq!(started.fresh, 1 + 15);
    assert!(weights.values().all(|tensor| tensor.data.iter().all(|x| x.is_finite())));
    let qkv = &weights[&of(Transformer::QKV)];
    let head = |row: usize| &qkv.data[row * 8..(row + 4) * 8];
    assert!(head(4).iter().all(|&x| x != 0.0), "a fresh head");
    let near = pupil.apart(&mut probe, &weights);
    assert!(near.iter().all(|&x| x < 0.6), "{near:?}");

    // Only a constant comes out of everything: still no division by zero.
    for (path, tensor) in &mut pupil.source {
        if path.contains("LayerNorm.weight") {
            tensor.data.fill(0.0);
        }
    }
    let (weights, _) = pupil.all(&mut probe, Choice::Greedy, 1, &[]).expect("a start");
    assert!(weights.values().all(|tensor| tensor.data.iter().all(|x| x.is_finite())));
}

#[test]
fn a_layer_map_of_encoders_is_followed_or_refused_by_entry() {
    let Some(gpu) = gpu() else { return };
    let pupil = Pupil::of("deep");
    let mut probe = DeviceProbe::new(&gpu, &split(), 2000, 7);
    let mut start = |map: &[u32]| pupil.all(&mut probe, Choice::Greedy, 1, map);
    let plain = start(&[]).expect("a start");
    assert_eq!(start(&[0, 1, 2, 3]).expect("a start"), plain);
    let other = start(&[0, 2]).expect("a start").1;
    let key = |k: u32, part: &str| format!("bert.encoder.layer.{k}.{part}");
    assert_eq!(
        other.picks[&key(0, Transformer::CONTEXTS)],
        plain.1.picks[&key(0, Transformer::CONTEXTS)]
    );
    assert_ne!(
        other.picks[&key(0, Transformer::INNER)],
        plain.1.picks[&key(0, Transformer::INNER)]
    );

    let refusal = |map: &[u32]| {
        let said = fits(&pupil.bridged, &pupil.teacher, map).expect_err("a refusal").to_string();
        let mut probe = NoProbe;
        let (mut weights, choice) = (Weights::new(), Choice::Greedy);
        let again =
            pupil.block(&mut probe, &mut weights, 0, choice, 1, map).expect_err("a refusal");
        assert_eq!(again.to_string(), said);
        said
    };
    assert_eq!(
        refusal(&[0, 1, 2, 4]),
        "teacher and student do not match: teacher.layer_map[1] = [2, 4] for bert.encoder.layer.1 of block 2, which reads the lifted state, is not allowed; allowed is 2 and a layer from there to 3"
    );
    let said = refusal(&[1, 1, 2, 3]);
    assert!(said.contains("layer_map[0] = [1, 1] for bert.encoder.layer.0 of block 1"), "{said}");
    let said = refusal(&[0, 3]);
    assert!(
        said.contains("layer_map[1] = 3 for bert.encoder.layer.1")
            && said.ends_with("allowed is 2"),
        "{said}"
    );
    let said = refusal(&[0, 1, 2]);
    assert!(said.contains("layer_map has 3 entries, the student has 2 layers"), "{said}");
}

/// Refusals come before anything is looked at.
struct NoProbe;

impl Probe for NoProbe {
    type Error = TrainError;

    fn rows(
        &mut self,
        _: &Network,
        _: &Weights,
        _: usize,
        taps: &[Tap],
        _: usize,
    ) -> Result<Vec<Rows>, TrainError> {
        panic!("{taps:?} was looked at")
    }
}

#[test]
fn what_encoders_cannot_start_from_is_refused_by_name() {
    let Pupil { student, teacher, source, .. } = Pupil::of("foreign");
    let changed = |network: &Network, change: &dyn Fn(&mut Layer)| {
        let mut network = network.clone();
        network.blocks.iter_mut().flat_map(|block| &mut block.layers).for_each(change);
        network
    };
    let said = |student: &Network, teacher: &Network| {
        fits(student, teacher, &[]).expect_err("a refusal").to_string()
    };
    let embeddings = |change: fn(&mut Embeddings)| {
        move |layer: &mut Layer| {
            if let Layer::Embeddings(of) = layer {
                change(of);
            }
        }
    };
    let fewer = changed(&teacher, &embeddings(|of| of.vocabulary = 22));
    let refused = said(&student, &fewer);
    assert!(refused.contains("embeddings have 23 words, the teacher's 22"), "{refused}");
    let shorter = changed(&teacher, &embeddings(|of| of.positions = 8));
    let refused = said(&student, &shorter);
    assert!(refused.contains("embeddings have 9 positions, the teacher's 8"), "{refused}");
    let refused = said(&teacher, &student);
    assert!(refused.contains("embeddings have 12 features, the teacher's 8"), "{refused}");
    let projected = changed(&student, &embeddings(|of| of.project = Some(8)));
    assert!(said(&projected, &teacher).contains("bert.embeddings is projected"));
    let heads = changed(&student, &|layer| {
        if let Layer::Transformer(of) = layer {
            (of.heads, of.head) = (4, 2);
        }
    });
    let refused = said(&heads, &teacher);
    assert!(
        refused.contains(
            "layer.0 has heads of 2 features, the teacher's bert.encoder.layer.0 heads of 4"
        ),
        "{refused}"
    );
    let mlp = crate::mlp(&[6; 3], &[1; 3]);
    assert!(
        said(&student, &mlp)
            .contains("the student has layers of transformers, the teacher has not")
    );
    assert!(said(&mlp, &student).contains("the student has not layers of transformers"));
    let mut odd = student.clone();
    odd.blocks[1].layers.insert(0, Layer::Flatten);
    assert!(said(&odd, &teacher).contains("block 2 has a pool"));

    let pupil = Pupil::new(student, teacher, source.clone());
    let start = |change: &dyn Fn(&mut Weights), block| {
        let mut source = source.clone();
        change(&mut source);
        let Pupil { bridged, teacher, .. } = &pupil;
        let (mut weights, choice) = (Weights::new(), Choice::Greedy);
        start_block(&mut NoProbe, bridged, teacher, &source, &mut weights, block, choice, 1, &[])
            .expect_err("a refusal")
            .to_string()
    };
    let qkv = "bert.encoder.layer.0.attention.self.qkv.weight";
    let missing = start(&|of| drop(of.remove(qkv)), 0);
    assert!(missing.contains(&format!("the teacher's parameter {qkv} is missing")), "{missing}");
    let nan = start(&|of| of.get_mut(qkv).expect("there").data[3] = f32::NAN, 0);
    assert!(nan.contains(&format!("{qkv} has a number that is not finite")), "{nan}");
    let later = start(&|_| {}, 1);
    assert!(later.contains("bert.embeddings.word_embeddings.weight is missing"), "{later}");
    // Tables that are no columns of the teacher's do not tell which features the stream has.
    let Pupil { bridged, teacher, .. } = &pupil;
    let mut weights = fresh(bridged, 4).expect("weights");
    let error = start_block(
        &mut NoProbe,
        bridged,
        teacher,
        &source,
        &mut weights,
        1,
        Choice::Greedy,
        1,
        &[],
    );
    let said = error.expect_err("a refusal").to_string();
    assert!(
        said.contains("column 0 of the student's bert.embeddings.word_embeddings.weight"),
        "{said}"
    );
    let mut source = source.clone();
    source.insert("cls.predictions.bias".into(), Tensor::zeros([22]));
    let error = take_head(&pupil.student, teacher, &source, &mut weights);
    assert!(error.is_err());
}
