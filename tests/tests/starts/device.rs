//! The same probe on the first adapter, in f32: what production does, on inputs of the tests' own.

use std::sync::Arc;

use engine::{
    gpu::{Executor, Gpu, Live},
    graph::Graph,
    nn::{Bound, Layout, Mode, Network, Tensor, Weights, build},
    plan::compile,
    win::start::Tap,
};

use crate::host::Batch;

/// What `tap` puts out for all inputs in one batch, not thinned.
pub(crate) fn run(
    gpu: &Arc<Gpu>,
    inputs: &Batch,
    network: &Network,
    weights: &Weights,
    tap: &Tap,
) -> Batch {
    let shapes = network.shapes().expect("a network");
    let layout = Layout::of(&shapes);
    let mut graph = Graph::new();
    let x = graph.input("images", &inputs.extent.batch(inputs.rows as u32));
    let bound = Bound::new(&mut graph, "student", &layout);
    let blocks = 0..network.blocks.len();
    let built = build(&mut graph, network, &bound, x, blocks, |_| Mode::Eval).expect("a graph");
    let value = built.taps[&tap.name];
    graph.place(value, "tap", 0);
    let shape: Vec<u32> = graph.shape(value).to_vec();
    let plan = compile(&[("probe", &graph)], &gpu.target()).expect("a plan");
    let mut executor = Executor::new(gpu, plan).expect("an executor");
    let filled = shapes.params.iter().map(|spec| {
        let set = weights.get(&spec.name).cloned();
        (spec.name.clone(), set.unwrap_or_else(|| Tensor::zeros(spec.shape.as_slice())))
    });
    let (params, state) = layout.pack(&filled.collect()).expect("weights");
    for (label, data) in [("student.params", params), ("student.state", state)] {
        if executor.has(label) {
            executor.write(label, &data).expect("room");
        }
    }
    let images: Vec<f32> = inputs.data.iter().map(|&x| x as f32).collect();
    executor.write("images", &images).expect("room");
    executor.run("probe", &Live::rows(inputs.rows as u32), 0).expect("a run");
    let data = executor.read("tap").expect("activations");
    let count = shape.iter().product::<u32>() as usize;
    let data = data[..count].iter().map(|&x| f64::from(x)).collect();
    let extent = match shape[..] {
        [_, h, w, c] => engine::nn::Extent::Map(h, w, c),
        _ => engine::nn::Extent::Flat(shape[1]),
    };
    Batch { rows: inputs.rows, extent, data }
}
