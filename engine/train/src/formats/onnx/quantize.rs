//! Whole numbers of 8 bits in place of reals, written as ONNX has it everywhere: a pair of `QuantizeLinear` and `DequantizeLinear` on what flows into an
//! operator, and `DequantizeLinear` on weights. Engines that know the operator in whole numbers fuse the pairs into it; all others compute what stands there.
//!
//! What flows has one scale and one zero, weights have a scale for each output and the zero 0, biases (32 bits) the product of both scales.

use std::collections::{BTreeMap, BTreeSet};

use super::proto::{
    AttributeProto, AttributeType, FLOAT, GraphProto, INT8, INT32, ModelProto, NodeProto,
    TensorProto,
};
use crate::nn::NetworkError;

/// The least and the greatest number of each value that flows, as calibration saw it.
pub type Ranges = BTreeMap<String, [f32; 2]>;

/// Ends of names: of a value as whole numbers, as reals again, of its scale and zero.
const WHOLE: &str = ".whole";
const REAL: &str = ".real";
const SCALE: &str = ".scale";
const ZERO: &str = ".zero";

/// The greatest whole number of a weight. Processors of x86 without VNNI add two products with what flows (up to 255 there) in 16 bits, and cut what is more than
/// these hold: 2 · 255 · 64 is not.
const MOST: f32 = 64.0;

/// The operators that have weights.
fn has_weights(node: &NodeProto) -> bool {
    matches!(node.op_type(), "Conv" | "Gemm")
}

/// Which values of a graph flow as whole numbers: what operators with weights and pools read, and both parts of a residual sum.
pub fn flowing(graph: &GraphProto) -> BTreeSet<String> {
    let maps: BTreeSet<&str> = graph
        .node
        .iter()
        .filter(|node| matches!(node.op_type(), "Conv" | "Relu" | "MaxPool"))
        .flat_map(|node| &node.output)
        .map(String::as_str)
        .collect();
    let mut found = BTreeSet::new();
    for node in &graph.node {
        found.extend(read_whole(node, |name| maps.contains(name)).cloned());
    }
    found
}

/// What a node reads as whole numbers, its weights aside.
fn read_whole(node: &NodeProto, is_map: impl Fn(&str) -> bool) -> impl Iterator<Item = &String> {
    let count = match node.op_type() {
        "Conv" | "Gemm" | "MaxPool" | "GlobalAveragePool" => 1,
        "Add" if node.input.iter().all(|name| is_map(name)) => node.input.len(),
        _ => 0,
    };
    node.input.iter().take(count)
}

/// The model with whole numbers, where what flows had these ranges. Batch norms are to be folded into convolutions before.
///
/// # Errors
/// A range or a weight is missing.
pub fn quantized(model: &ModelProto, ranges: &Ranges) -> Result<ModelProto, NetworkError> {
    let missing = |name: &str| NetworkError::missing(name);
    let mut model = model.clone();
    let graph = model.graph.as_mut().ok_or_else(|| missing("graph"))?;
    let whole = flowing(graph);
    let mut tensors: BTreeMap<String, TensorProto> =
        graph.initializer.drain(..).map(|tensor| (tensor.name().to_owned(), tensor)).collect();
    let mut scales = BTreeMap::new();
    for name in &whole {
        let [least, most] = *ranges.get(name).ok_or_else(|| missing(name))?;
        let (least, most) = (least.min(0.0), most.max(0.0));
        let scale = if most > least { (most - least) / 255.0 } else { 1.0 };
        let zero = (-128.0 - least / scale).round_ties_even().clamp(-128.0, 127.0) as i8;
        scales.insert(name.clone(), scale);
        insert(&mut tensors, floats(&format!("{name}{SCALE}"), &[], &[scale]));
        insert(&mut tensors, bytes(&format!("{name}{ZERO}"), &[], &[zero]));
    }
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for input in graph.input.iter().filter(|input| whole.contains(input.name())) {
        first.extend(pair(input.name()));
    }
    for node in graph.node.drain(..) {
        let mut node = node;
        if has_weights(&node) {
            let [x, weight, bias @ ..] = &node.input[..] else { return Err(missing("weight")) };
            let scale = *scales.get(x).ok_or_else(|| missing(x))?;
            first.push(by_rows(&mut tensors, weight, bias.first().map(|name| (name, scale)))?);
            if let Some(bias) = bias.first() {
                first.push(dequantize(bias, bias, Some(0)));
            }
        }
        let reads: Vec<String> = read_whole(&node, |name| whole.contains(name)).cloned().collect();
        for name in node.input.iter_mut().filter(|name| reads.contains(name)) {
            name.push_str(REAL);
        }
        let made = node.output.first().filter(|name| whole.contains(*name)).cloned();
        rest.push(node);
        rest.extend(made.iter().flat_map(|name| pair(name)));
    }
    graph.node = first.into_iter().chain(rest).collect();
    graph.initializer = tensors.into_values().collect();
    Ok(model)
}

fn insert(tensors: &mut BTreeMap<String, TensorProto>, tensor: TensorProto) {
    tensors.insert(tensor.name().to_owned(), tensor);
}

/// A matrix or kernel as whole numbers of a scale each output, and the bias that is added to its products with numbers of another scale; the node that
/// makes reals of the former.
fn by_rows(
    tensors: &mut BTreeMap<String, TensorProto>,
    weight: &str,
    bias: Option<(&String, f32)>,
) -> Result<NodeProto, NetworkError> {
    let take = |tensors: &mut BTreeMap<String, TensorProto>, name: &str| {
        tensors.remove(name).ok_or_else(|| NetworkError::missing(name))
    };
    let of = take(tensors, weight)?;
    let numbers = reals(&of);
    let rows = of.dims.first().map_or(1, |&rows| rows.max(1) as usize);
    let row = (numbers.len() / rows).max(1);
    let most = |row: &[f32]| row.iter().fold(0.0, |most: f32, w| most.max(w.abs()));
    let scales: Vec<f32> = numbers
        .chunks(row)
        .map(|row| Some(most(row) / MOST).filter(|&scale| scale > 0.0).unwrap_or(1.0))
        .collect();
    let whole: Vec<i8> = numbers
        .iter()
        .enumerate()
        .map(|(k, w)| (w / scales[k / row]).round_ties_even().clamp(-MOST, MOST) as i8)
        .collect();
    let count = [rows as i64];
    insert(tensors, bytes(&format!("{weight}{WHOLE}"), &of.dims, &whole));
    insert(tensors, floats(&format!("{weight}{SCALE}"), &count, &scales));
    insert(tensors, bytes(&format!("{weight}{ZERO}"), &count, &vec![0; rows]));
    if let Some((bias, scale)) = bias {
        let of = reals(&take(tensors, bias)?);
        let scales: Vec<f32> = scales.iter().map(|of_row| of_row * scale).collect();
        // A cast of Rust's keeps to the ends of the range.
        let sums = of.iter().zip(&scales).map(|(b, scale)| (b / scale).round_ties_even() as i32);
        let sums: Vec<u8> = sums.flat_map(i32::to_le_bytes).collect();
        insert(tensors, TensorProto::of(&format!("{bias}{WHOLE}"), &count, INT32, sums));
        insert(tensors, floats(&format!("{bias}{SCALE}"), &count, &scales));
        insert(
            tensors,
            TensorProto::of(&format!("{bias}{ZERO}"), &count, INT32, vec![0; 4 * rows]),
        );
    }
    Ok(dequantize(weight, weight, Some(0)))
}

/// The numbers of a tensor of reals.
fn reals(tensor: &TensorProto) -> Vec<f32> {
    let words = tensor.raw_data().chunks_exact(4);
    words.map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

fn floats(name: &str, dims: &[i64], numbers: &[f32]) -> TensorProto {
    TensorProto::of(
        name,
        dims,
        FLOAT,
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
    )
}

fn bytes(name: &str, dims: &[i64], numbers: &[i8]) -> TensorProto {
    TensorProto::of(name, dims, INT8, numbers.iter().map(|&number| number as u8).collect())
}

/// The nodes that make whole numbers of a value, and reals of these.
fn pair(name: &str) -> [NodeProto; 2] {
    let whole = format!("{name}{WHOLE}");
    let mut first = node("QuantizeLinear", name, &whole, name);
    first.name = Some(whole);
    [first, dequantize(name, &format!("{name}{REAL}"), None)]
}

/// The node that makes reals, called `to`, of the whole numbers of a value; with a scale each place along an axis.
fn dequantize(of: &str, to: &str, axis: Option<i64>) -> NodeProto {
    let mut made = node("DequantizeLinear", &format!("{of}{WHOLE}"), to, of);
    made.attribute.extend(axis.map(|axis| AttributeProto {
        name: Some("axis".into()),
        i: Some(axis),
        r#type: Some(AttributeType::Int.into()),
        ..AttributeProto::default()
    }));
    made
}

fn node(op: &str, from: &str, to: &str, of: &str) -> NodeProto {
    NodeProto {
        input: vec![from.into(), format!("{of}{SCALE}"), format!("{of}{ZERO}")],
        output: vec![to.into()],
        name: Some(to.into()),
        op_type: Some(op.into()),
        attribute: Vec::new(),
    }
}
