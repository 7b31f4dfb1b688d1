//! How blocks start, against the NumPy goldens of `golden/starts.py`, and what is refused.

mod encoders;
mod host;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use engine::{
    config::{ImageKind, Images, Mlp, Model, Resnet, Stem, Unit, Widen},
    data::{Split, images},
    formats::safetensors::read,
    models,
    nn::{Extent, Network, NetworkError, Tensor, Weights, fresh},
    train::probe::DeviceProbe,
    win::{
        linalg::{RIDGE_LAMBDA, Workers, cross, gram, ridge_with_intercept, with_ones},
        start::{
            Choice, MOST_ROWS, Probe, Started, Tap, start_block, start_block_random, start_head,
        },
        surgery::{bridge, merge, widen},
    },
};
use host::Host;
use image::RgbImage;
use safetensors::SafeTensors;
use taper_tests::{
    close::{largest, pairs},
    gpu,
};

const CLASSES: u32 = 10;

fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", "starts", name].iter().collect()
}

fn weights(name: &str, network: &Network) -> Weights {
    network.from_file(read(&golden(name)).unwrap_or_else(|error| panic!("{error}")).0)
}

/// The start inputs: 200 vectors, or 100 images of 8 × 8.
fn host(extent: Extent) -> Host {
    let bytes = std::fs::read(golden("images.safetensors")).expect("golden file");
    let file = SafeTensors::deserialize(&bytes).expect("golden file");
    let name = if matches!(extent, Extent::Flat(_)) { "vectors" } else { "images" };
    Host::new(extent, &floats(&file, name))
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = file.tensor(name).expect(name).data();
    data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

fn mlp(hidden: &[u32], blocks: &[u32]) -> Network {
    let config = Mlp { hidden: hidden.to_vec(), blocks: blocks.to_vec(), ..Mlp::default() };
    models::network(&Model::Mlp(config), Extent::Flat(30), CLASSES)
}

fn resnet(unit: Unit, base: u32, blocks: &[u32]) -> Network {
    let blocks = blocks.to_vec();
    let config = Resnet { width: 1.0, base, unit, stem: Stem::Cifar, blocks };
    models::network(&Model::Resnet(config), Extent::Map(8, 8, 3), CLASSES)
}

/// Student and teacher of a golden.
fn networks(case: &str) -> (Network, Network) {
    use Unit::{Basic, Bottleneck};
    let same = |student: Network, factor, how| (student.clone(), widen(&student, factor, how));
    match case {
        "mlp" => same(mlp(&[6; 4], &[2, 2]), 3, Widen::All),
        "mlp-depth" => (mlp(&[6; 4], &[2, 2]), mlp(&[18; 7], &[4, 3])),
        "resnet-mid" => same(resnet(Bottleneck, 3, &[1, 2]), 2, Widen::Mid),
        "resnet-all" => same(resnet(Bottleneck, 3, &[2, 1]), 2, Widen::All),
        "resnet-depth" => {
            let teacher = widen(&resnet(Bottleneck, 2, &[3, 2, 1]), 2, Widen::Mid);
            (resnet(Bottleneck, 2, &[1, 3, 2]), teacher)
        }
        "basic-all" => same(resnet(Basic, 3, &[2, 1]), 2, Widen::All),
        "basic-mid" => same(resnet(Basic, 3, &[1, 2]), 2, Widen::Mid),
        _ => panic!("no golden {case}"),
    }
}

/// A student between its starts, with its teacher.
struct Pupil {
    bridged: Network,
    teacher: Network,
    source: Weights,
    host: Host,
}

impl Pupil {
    fn of(case: &str) -> Self {
        let (student, teacher) = networks(case);
        let source = weights(&format!("{case}.teacher.safetensors"), &teacher);
        Self::new(&student, teacher, source)
    }

    fn new(student: &Network, teacher: Network, source: Weights) -> Self {
        let bridged = bridge(student, &teacher, false).unwrap();
        let host = host(student.input);
        Self { bridged, teacher, source, host }
    }

    fn start(
        &mut self,
        weights: &mut Weights,
        block: usize,
        choice: Choice<'_>,
        seed: u64,
        map: &[u32],
    ) -> Result<Started, NetworkError> {
        let Self { bridged, teacher, source, host } = self;
        start_block(host, bridged, teacher, source, weights, block, choice, seed, map)
    }

    /// All blocks and the head, with no training between them.
    fn start_only(
        &mut self,
        choice: Choice<'_>,
        seed: u64,
        map: &[u32],
    ) -> Result<(Weights, Started), NetworkError> {
        let Host { inputs } = &self.host;
        self.start_only_by(&mut Host { inputs: inputs.clone() }, choice, seed, map)
    }

    fn start_only_by<P: Probe>(
        &self,
        probe: &mut P,
        choice: Choice<'_>,
        seed: u64,
        map: &[u32],
    ) -> Result<(Weights, Started), P::Error> {
        start_all(probe, &self.bridged, &self.teacher, &self.source, choice, seed, map)
    }

    fn refusal(&mut self, map: &[u32]) -> String {
        self.start_only(Choice::Greedy, 1, map).map(|_| ()).expect_err("a refusal").to_string()
    }
}

/// All blocks and the head, with no training between them.
fn start_all<P: Probe>(
    probe: &mut P,
    bridged: &Network,
    teacher: &Network,
    source: &Weights,
    choice: Choice<'_>,
    seed: u64,
    map: &[u32],
) -> Result<(Weights, Started), P::Error> {
    let (mut weights, mut all) = (Weights::new(), Started::default());
    for block in 0..bridged.blocks.len() {
        let started =
            start_block(probe, bridged, teacher, source, &mut weights, block, choice, seed, map)?;
        all.fresh += started.fresh;
        all.picks.extend(started.picks);
    }
    start_head(probe, bridged, teacher, source, &mut weights, choice, seed)?;
    Ok((weights, all))
}

fn words(file: &SafeTensors<'_>, name: &str) -> Vec<u32> {
    let data = file.tensor(name).expect(name).data();
    data.as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b)).collect()
}

/// The units that a golden's start took over, by layer.
fn picks(file: &SafeTensors<'_>) -> BTreeMap<String, Vec<usize>> {
    let taken = |name: &str| {
        let layer = name.strip_prefix("pick.")?.to_owned();
        Some((layer, words(file, name).into_iter().map(|unit| unit as usize).collect()))
    };
    file.names().into_iter().filter_map(taken).collect()
}

#[track_caller]
fn assert_close(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) {
    let scale = largest(wanted.iter().map(|x| x.abs())).max(1e-30);
    assert!(scale.is_finite(), "{what}: the golden is not finite");
    let error = largest(pairs(found, wanted).map(|(f, w)| (f - w).abs()));
    assert!(error <= tolerance * scale, "{what} is off by {error}, its largest number is {scale}");
}

fn wide(data: &[f32]) -> Vec<f64> {
    data.iter().map(|&x| f64::from(x)).collect()
}

fn check(case: &str, greedy: bool) {
    let (student, _) = networks(case);
    check_by(case, greedy, &mut host(student.input));
}

/// A start by the activations that a probe sees of the golden's inputs.
fn check_by<P: Probe<Error: std::fmt::Debug>>(case: &str, greedy: bool, probe: &mut P) {
    let name = format!("{case}-{}", if greedy { "greedy" } else { "sample" });
    let bytes = std::fs::read(golden(&format!("{name}.run.safetensors"))).expect("golden file");
    let file = SafeTensors::deserialize(&bytes).expect("golden file");
    let picks = picks(&file);

    let pupil = Pupil::of(case);
    let choice = if greedy { Choice::Greedy } else { Choice::Given(&picks) };
    let (found, started) = pupil.start_only_by(probe, choice, 0, &[]).unwrap();
    assert_eq!(started.picks, picks, "{name}");
    assert_eq!(started.fresh, 0);

    let wanted = weights(&format!("{name}.start.safetensors"), &pupil.bridged);
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (tensor, wanted) in &wanted {
        let found = &found[tensor];
        assert_eq!(found.shape, wanted.shape, "{tensor} of {name}");
        let what = format!("{tensor} of {name}");
        assert_close(&what, &wide(&found.data), &wide(&wanted.data), 1e-4);
    }
    let logits = wide(&floats(&file, "logits"));
    let own = pupil.host.logits(&pupil.bridged, &found);
    assert_close(&format!("logits of {name}"), &own, &logits, 1e-4);
    // What was started merges, and stays the same function.
    let (student, merged) = merge(&pupil.bridged, &found).unwrap();
    assert_close(&format!("merged {name}"), &pupil.host.logits(&student, &merged), &own, 1e-5);
}

#[test]
fn mlps_start_as_the_goldens() {
    check("mlp", true);
    check("mlp", false);
}

#[test]
fn deeper_mlps_are_cut_in_proportion() {
    check("mlp-depth", true);
}

#[test]
fn bottlenecks_start_as_the_goldens() {
    check("resnet-mid", true);
    check("resnet-all", true);
    check("resnet-all", false);
}

#[test]
fn basic_units_start_as_the_goldens() {
    check("basic-mid", true);
    check("basic-all", true);
}

#[test]
fn resnets_of_another_depth_start_as_the_goldens() {
    check("resnet-depth", true);
}

/// The golden's images as a folder of pictures, opened as any data set is.
fn pictures() -> Arc<Split> {
    let bytes = std::fs::read(golden("images.safetensors")).expect("golden file");
    let file = SafeTensors::deserialize(&bytes).expect("golden file");
    let pixels = file.tensor("pixels").expect("pixels");
    let [count, height, width, channels] = pixels.shape()[..] else { panic!("pictures") };
    let folder = tempfile::tempdir().expect("a folder");
    // Two classes in two parts; nobody looks at labels, nor at the test part.
    for (n, picture) in pixels.data().chunks_exact(height * width * channels).enumerate() {
        for part in ["train", "test"] {
            let class = folder.path().join(part).join(if n % 2 == 0 { "even" } else { "odd" });
            std::fs::create_dir_all(&class).expect("a folder");
            let picture = RgbImage::from_raw(width as u32, height as u32, picture.to_vec())
                .expect("a picture");
            picture.save(class.join(format!("{n:03}.png"))).expect("written");
        }
    }
    let data = Images {
        kind: ImageKind::Folder,
        path: Some(folder.path().display().to_string()),
        size: Some(height as u32),
        mean: Some(vec![0.5; 3]),
        std: Some(vec![0.25; 3]),
        ..Images::default()
    };
    let data = images::open(&data).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(data.train.len(), count);
    data.train
}

/// By the probe of production, from pictures on: activations in f32 change no pick, and the weights by rounding alone.
#[test]
fn the_devices_own_probe_starts_as_the_goldens() {
    let Some(gpu) = gpu() else { return };
    let split = pictures();
    for case in ["resnet-mid", "resnet-all", "resnet-depth", "basic-mid", "basic-all"] {
        // More inputs than there are: all of them, in an order of its own.
        check_by(case, true, &mut DeviceProbe::new(&gpu, &split, 2000, 7));
    }
}

/// Of the same rows every call sees the same ones, whatever network and stride; of all of them where there are few enough.
#[test]
fn the_devices_probe_looks_at_the_same_rows_every_time() {
    let Some(gpu) = gpu() else { return };
    let split = pictures();
    let case = "resnet-mid";
    let (student, teacher) = networks(case);
    let source = weights(&format!("{case}.teacher.safetensors"), &teacher);
    let tap = |name: &str, stride| Tap { name: name.into(), stride };
    let rows = |count, taps: &[Tap]| {
        let mut probe = DeviceProbe::new(&gpu, &split, count, 3);
        let whole = probe.rows(&teacher, &source, 1, taps, MOST_ROWS).expect("activations");
        // Another network before it, and one tap at a time.
        probe.rows(&student, &Weights::new(), 2, &[tap("relu", 1)], MOST_ROWS).expect("zeros");
        for (tap, whole) in taps.iter().zip(&whole) {
            let alone = probe.rows(&teacher, &source, 1, std::slice::from_ref(tap), MOST_ROWS);
            assert_eq!(&alone.expect("activations")[0], whole, "{tap:?}");
        }
        whole
    };
    let found = rows(2000, &[tap("relu", 1), tap("relu", 2), tap("layer1.0", 1)]);
    let lines: Vec<usize> = found.iter().map(|rows| rows.data.len() / rows.width).collect();
    assert_eq!(lines, [100 * 64, 100 * 16, 100 * 64]);
    // A stride leaves every other row and column, the first ones among them.
    let (all, thin, width) = (&found[0].data, &found[1].data, found[0].width);
    for input in [0, 99] {
        for (n, (y, x)) in (0..4).flat_map(|y| (0..4).map(move |x| (y, x))).enumerate() {
            let [from, to] = [(input * 8 + 2 * y) * 8 + 2 * x, input * 16 + n];
            assert_eq!(all[from * width..][..width], thin[to * width..][..width], "{y}, {x}");
        }
    }
    // Fewer inputs are some of them.
    let some = rows(30, &[tap("relu", 1)]).remove(0);
    assert_eq!(some.data.len() / some.width, 30 * 64);
    let images: Vec<&[f32]> = all.chunks_exact(64 * width).collect();
    assert!(some.data.chunks_exact(64 * width).all(|image| images.contains(&image)));
}

#[test]
fn a_layer_map_that_says_what_proportion_says_changes_nothing() {
    for (case, map) in [
        ("mlp-depth", [0u32, 3, 4, 6].as_slice()),
        ("resnet-depth", &[0, 3, 4, 4, 5, 5]),
        ("resnet-mid", &[0, 1, 2]),
    ] {
        let mut pupil = Pupil::of(case);
        let plain = pupil.start_only(Choice::Greedy, 1, &[]).unwrap();
        assert_eq!(pupil.start_only(Choice::Greedy, 1, map).unwrap(), plain, "{case}");
    }
    let mut pupil = Pupil::of("mlp-depth");
    let plain = pupil.start_only(Choice::Greedy, 1, &[]).unwrap().1;
    let other = pupil.start_only(Choice::Greedy, 1, &[0, 1, 4, 5]).unwrap().1;
    assert_eq!(plain.picks["layers.0"], other.picks["layers.0"]);
    assert_ne!(plain.picks["layers.1"], other.picks["layers.1"]);
}

#[test]
fn a_layer_map_out_of_range_is_refused_by_entry() {
    let mut pupil = Pupil::of("mlp-depth");
    let refusal = pupil.refusal(&[0, 5, 4, 6]);
    assert_eq!(
        refusal,
        "teacher and student do not match: teacher.layer_map[1] = 5 for layers.1 of block 1 is not allowed; allowed is 0..=3"
    );
    assert!(pupil.refusal(&[0, 1, 4, 7]).contains("layer_map[3] = 7 for layers.3"));
    assert!(pupil.refusal(&[0, 1]).contains("has 2 entries, the student has 4 layers"));
    let refusal = Pupil::of("resnet-depth").refusal(&[0, 3, 4, 9, 5, 5]);
    assert!(refusal.contains("layer_map[3] = 9 for layer2.2 of block 2"), "{refusal}");
}

#[test]
fn samples_are_a_function_of_the_seed() {
    for case in ["mlp", "resnet-all"] {
        let mut pupil = Pupil::of(case);
        let first = pupil.start_only(Choice::Sample, 5, &[]).unwrap();
        assert_eq!(pupil.start_only(Choice::Sample, 5, &[]).unwrap(), first);
        assert_ne!(pupil.start_only(Choice::Sample, 6, &[]).unwrap().1, first.1);
        for (key, picks) in &first.1.picks {
            let mut distinct = picks.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), picks.len(), "{key}");
        }
    }
}

/// The blocks of a student may be wider than its teacher's, or the teacher's neurons dead.
#[test]
fn missing_units_are_fresh_and_counted() {
    let teacher = mlp(&[4; 2], &[1, 1]);
    let source = fresh(&teacher, 3).unwrap();
    let mut pupil = Pupil::new(&mlp(&[7; 2], &[1, 1]), teacher, source);
    let (found, started) = pupil.start_only(Choice::Sample, 1, &[]).unwrap();
    assert_eq!(started.fresh, 6);
    let weight = &found["layers.1.weight"];
    let variance =
        weight.data[16..].iter().map(|w| w * w).sum::<f32>() / (weight.data.len() - 16) as f32;
    assert!((0.1..2.0).contains(&variance), "He's variance is 2 / 4: {variance}");
    assert_eq!(found["layers.1.bias"].data[4..], [0.0; 3]);

    let mut pupil = Pupil::of("resnet-all");
    let bn = "layer1.0.bn1";
    for part in ["weight", "bias"] {
        pupil.source.get_mut(&format!("{bn}.{part}")).unwrap().data[1..].fill(0.0);
    }
    // Only one of six neurons lives, three are wanted.
    pupil.source.get_mut(&format!("{bn}.bias")).unwrap().data[0] = 1.0;
    let mut weights = Weights::new();
    let started = pupil.start(&mut weights, 0, Choice::Greedy, 1, &[]).unwrap();
    assert_eq!((started.fresh, &started.picks["layer1.0.conv1"]), (2, &vec![0]));
    let of = |part: &str| weights[&format!("{bn}.{part}")].data[1..].to_vec();
    assert_eq!((of("weight"), of("bias")), (vec![1.0; 2], vec![0.0; 2]));
    assert_eq!((of("running_mean"), of("running_var")), (vec![0.0; 2], vec![1.0; 2]));
    assert!(weights["layer1.0.conv1.weight"].data.iter().all(|&w| w != 0.0));
}

/// A student's second layer that copies the teacher's first reads what stands for the network's input.
#[test]
fn a_deeper_student_stands_in_for_the_input() {
    let teacher = mlp(&[18], &[1]);
    let source = fresh(&teacher, 4).unwrap();
    let mut pupil = Pupil::new(&mlp(&[9, 9], &[2]), teacher, source);
    let (found, started) = pupil.start_only(Choice::Greedy, 1, &[]).unwrap();
    let tap = Tap { name: "layers.0.act".into(), stride: 1 };
    let h = pupil.host.rows(&pupil.bridged, &found, 1, &[tap], MOST_ROWS).unwrap().remove(0);
    let ones = with_ones(&h.data, h.width);
    let x: Vec<f32> = pupil.host.inputs.data.iter().map(|&x| x as f32).collect();
    let (r, c) = ridge_with_intercept(
        &gram(&ones, 10, Workers::ONE),
        &cross(&x, 30, &ones, 10, Workers::ONE),
        RIDGE_LAMBDA,
    )
    .unwrap();
    let weight = &pupil.source["layers.0.weight"];
    let weight = engine::win::linalg::Matrix::from_f32(18, 30, &weight.data);
    let weight = weight.select_rows(&started.picks["layers.1"]);
    assert_close("W R", &wide(&found["layers.1.weight"].data), weight.times(&r).data(), 1e-5);
    assert_close("W c", &wide(&found["layers.1.bias"].data), &weight.times_vector(&c), 1e-5);
}

#[test]
fn what_does_not_correspond_is_refused_by_name() {
    let student = resnet(Unit::Basic, 3, &[1, 1]);
    let teacher = resnet(Unit::Bottleneck, 3, &[1, 1]);
    let source = fresh(&teacher, 1).unwrap();
    let refusal = Pupil::new(&student, teacher, source).refusal(&[]);
    assert!(
        refusal.contains("layer1.0 has 2 convolutions, the teacher's layer1.0 has 3"),
        "{refusal}"
    );

    let mut pupil = Pupil::of("mlp");
    pupil.source.remove("layers.2.bias");
    assert!(pupil.refusal(&[]).contains("the teacher's parameter layers.2.bias is missing"));
    let mut pupil = Pupil::of("mlp");
    pupil.source.insert("layers.0.weight".into(), Tensor::zeros([18, 29]));
    assert!(pupil.refusal(&[]).contains("layers.0.weight has shape [18, 29], not [18, 30]"));
    let mut pupil = Pupil::of("mlp");
    pupil.source.get_mut("layers.0.weight").unwrap().data.fill(f32::NAN);
    assert!(pupil.refusal(&[]).contains("layers.0.weight has a number that is not finite"));
    let mut pupil = Pupil::of("mlp");
    pupil.host.inputs.data[0] = f64::INFINITY;
    assert!(pupil.refusal(&[]).contains("block 1 cannot start at layers.0"));
    let mut pupil = Pupil::of("mlp");
    let mut weights = Weights::new();
    assert!(pupil.start(&mut weights, 2, Choice::Greedy, 1, &[]).is_err());
    let given = BTreeMap::from([("layers.0".to_owned(), vec![18])]);
    assert!(pupil.start(&mut weights, 0, Choice::Given(&given), 1, &[]).is_err());
    pupil.bridged = networks("mlp").0;
    assert!(pupil.refusal(&[]).contains("block 1 has no lift"));
    let (student, teacher) = networks("mlp");
    pupil.bridged = bridge(&student, &teacher, true).unwrap();
    assert!(pupil.refusal(&[]).contains("block 2 begins with lower.1"));
}

#[test]
fn random_starts_have_orthonormal_pairs() {
    for case in ["mlp", "resnet-all"] {
        let (student, teacher) = networks(case);
        let bridged = bridge(&student, &teacher, true).unwrap();
        // Nothing of the teacher is read but embeddings, which these do not have.
        let start = |weights: &mut Weights, block, seed| {
            start_block_random(&bridged, &teacher, &Weights::new(), weights, block, seed)
        };
        let mut weights = Weights::new();
        for block in 0..=bridged.blocks.len() {
            start(&mut weights, block, 7).unwrap();
        }
        for spec in bridged.shapes().unwrap().params {
            assert_eq!(weights[&spec.name].shape, spec.shape, "{}", spec.name);
        }
        let (lift, lower) = (&weights["lift.1.weight"], &weights["lower.1.weight"]);
        let (out, width) = (lift.shape[0], *lift.shape.last().unwrap());
        for i in 0..width {
            for j in 0..width {
                let dot: f32 =
                    (0..out).map(|o| lower.data[i * out + o] * lift.data[o * width + j]).sum();
                let wanted = if i == j { 1.0 } else { 0.0 };
                assert!((dot - wanted).abs() < 1e-5, "{case}: {i}, {j}: {dot}");
            }
        }
        let mut other = Weights::new();
        assert!(start(&mut other, 1, 7).is_err());
        start(&mut other, 0, 8).unwrap();
        assert_ne!(other["lift.1.weight"], weights["lift.1.weight"]);
    }
}
