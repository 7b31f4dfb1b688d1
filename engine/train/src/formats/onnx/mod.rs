//! ONNX: a network with its weights as one file that other engines run.
//!
//! The graph of a network on images reads `input`, N × C × H × W as the network of PyTorch whose weights lie beside it, and answers `logits`,
//! N × classes; N is any number. Batch norm is in its inference form. That of a network on text reads what transformers gives its models:
//! `input_ids`, `attention_mask` and `token_type_ids`, N × L whole numbers each, where L is any number up to the positions that the network
//! knows, and answers `logits`, N × L × vocabulary: the scores at all places; where it is asked for pairs of sentences as well,
//! `seq_relationship_logits`, N × 2; where it is asked for answers, `start_logits` and `end_logits`, N × L. Nodes and values are called by the
//! layer's path, weights as `Network::to_file` calls them.

mod cpu;
pub mod proto;
mod quantize;
mod shapes;

pub use cpu::Cpu;
pub use quantize::{Ranges, flowing, quantized};

use prost::Message;
use proto::{
    AttributeProto, AttributeType, Dimension, FLOAT, FLOAT16, GraphProto, INT8, INT64, ModelProto,
    NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto,
    TensorType, TypeProto, ValueInfoProto,
};

use super::safetensors::to_half;
use crate::nn::{
    Block, Extent, Network, NetworkError, Pair, Shapes, State, Tensor, Weights, layers,
    onnx::{ATTENTION_MASK, Attribute, Given, INPUT_IDS, Node, Nodes, TOKEN_TYPE_IDS},
    parameter,
};
use crate::step::Task;

/// Name of the input of a graph on images.
pub const INPUT: &str = "input";
/// Name of the input of a graph on images as transformers calls it.
pub const PIXELS: &str = "pixel_values";
/// Name of a graph's output: the scores of classes, or of words.
pub const LOGITS: &str = "logits";
/// Name of the scores that the second segment follows the first, and that it does not.
pub const NEXT_LOGITS: &str = "seq_relationship_logits";
/// Names of the scores of each token that an answer begins with it, and that it ends with it.
pub const SPAN_LOGITS: [&str; 2] = ["start_logits", "end_logits"];

/// Version of the messages; runtimes of 2022 and later read it.
const IR: i64 = 8;
/// Version of the operators.
const OPSET: i64 = 17;
/// A message of protobuf is shorter than this.
const MOST_BYTES: u64 = 2 << 30;
/// Enough for all of a file that is not weights.
const GRAPH_BYTES: u64 = 16 << 20;

/// Whether a network fits one file.
pub fn fits(network: &Network) -> bool {
    let numbers = |shape: &Vec<usize>| shape.iter().product::<usize>() as u64;
    network.shapes().is_ok_and(|shapes| {
        let weights: u64 = shapes.params.iter().map(|spec| numbers(&spec.shape)).sum();
        weights.saturating_mul(4).saturating_add(GRAPH_BYTES) < MOST_BYTES
    })
}

/// What is said of a network beside its nodes.
#[derive(Debug, Clone)]
pub struct About<'a> {
    /// What it is asked for.
    pub task: Task,
    /// What its pictures are called, if it reads some.
    pub pictures: &'a str,
    /// The file's metadata.
    pub metadata: Vec<(&'static str, String)>,
    /// Whether its weights are kept in half precision; what is computed is not.
    pub half: bool,
}

/// The file of a network. `weights` are as files have them.
///
/// # Errors
/// The weights are not those of the network.
pub fn encode(
    network: &Network,
    weights: &Weights,
    about: &About<'_>,
) -> Result<Vec<u8>, NetworkError> {
    Ok(message(network, weights, about)?.encode_to_vec())
}

/// The file of a message. The shapes of what flows, of a network that reads `input`, are said anew.
pub fn file(mut model: ModelProto, input: Extent) -> Vec<u8> {
    if let Some(graph) = &mut model.graph {
        graph.value_info = between(graph, input);
    }
    model.encode_to_vec()
}

/// Names of what a network answers: one a head, but for the scores of both ends of an answer, which one head gives.
fn outputs(task: Task) -> &'static [&'static str] {
    match task {
        Task::Classify | Task::MaskedWords { .. } => &[LOGITS],
        Task::Pretrain { .. } => &[LOGITS, NEXT_LOGITS],
        Task::Spans => &SPAN_LOGITS,
    }
}

/// Names of what a network reads, the first of which flows into its first layer.
fn inputs<'n>(network: &Network, pictures: &'n str) -> Vec<&'n str> {
    match network.input {
        Extent::Tokens(_) => vec![INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS],
        Extent::Map(..) | Extent::Flat(_) | Extent::Sequence(..) => vec![pictures],
    }
}

/// The nodes of a network, and what it answers: the name that each output has there, the one that it is to have, and its extent.
fn nodes(network: &Network, shapes: &Shapes, task: Task, inputs: &[&str]) -> (Nodes, Vec<Answer>) {
    let sequences = matches!(network.input, Extent::Tokens(_) | Extent::Sequence(..));
    let mut graph = Nodes::new(inputs, sequences);
    let (mut at, mut map) = (State::of(inputs[0].to_owned()), network.input.is_map());
    let pair = |pair: &Pair, map: bool, x: String, graph: &mut Nodes| {
        Some(layers::onnx(&[pair.layer(map)], State::of(x), graph))
    };
    for (Block { lower, layers, lift }, out) in network.blocks.iter().zip(&shapes.blocks) {
        if let Some(lower) = lower {
            at.lifted = pair(lower, map, at.clone().linear(), &mut graph);
        }
        at = State::of(layers::onnx(layers, at, &mut graph));
        map = out.is_map();
        if let Some(lift) = lift {
            at.lifted = pair(lift, map, at.h.clone(), &mut graph);
        }
    }
    let extents = [shapes.output].into_iter().chain(shapes.further.iter().copied());
    let heads = network.heads().zip(extents).zip(outputs(task));
    let answers: Vec<Answer> = heads
        .map(|((head, extent), name)| Answer {
            value: layers::onnx(head, at.clone(), &mut graph),
            name,
            extent,
        })
        .collect();
    let Task::Spans = task else { return (graph, answers) };
    // A number for each token.
    let extent = Extent::Sequence(0, 0);
    graph.columns(&answers[0].value, &SPAN_LOGITS);
    let of = |name: &'static str| Answer { value: name.into(), name, extent };
    (graph, SPAN_LOGITS.map(of).into())
}

/// An output of a graph.
struct Answer {
    /// What nodes call it.
    value: String,
    name: &'static str,
    extent: Extent,
}

/// The message of a network.
///
/// # Errors
/// As [`encode`].
pub fn message(
    network: &Network,
    weights: &Weights,
    about: &About<'_>,
) -> Result<ModelProto, NetworkError> {
    let About { task, pictures, ref metadata, half } = *about;
    let (shapes, inputs) = (network.shapes()?, inputs(network, pictures));
    let (graph, answers) = nodes(network, &shapes, task, &inputs);
    let mut nodes: Vec<NodeProto> = graph.nodes.into_iter().map(node).collect();
    for Answer { value, name, .. } in &answers {
        for output in nodes.iter_mut().flat_map(|node| &mut node.output) {
            if output == value {
                *output = (*name).into();
            }
        }
    }
    let given = graph.given.iter().map(|given| initializer(given, weights));
    let mut initializers = given.collect::<Result<Vec<_>, _>>()?;
    if half {
        // Numbers of formulas stay what they are.
        let casts = graph.given.iter().zip(&mut initializers).filter_map(|(given, tensor)| {
            matches!(given, Given::Parameter(_)).then(|| halved(tensor))
        });
        let casts: Vec<NodeProto> = casts.collect();
        nodes.splice(0..0, casts);
    }
    let mut graph = GraphProto {
        name: Some("network".into()),
        node: nodes,
        initializer: initializers,
        input: inputs.iter().map(|name| value(name, network.input)).collect(),
        output: answers.iter().map(|answer| value(answer.name, answer.extent)).collect(),
        value_info: Vec::new(),
    };
    graph.value_info = between(&graph, network.input);
    Ok(ModelProto {
        ir_version: Some(IR),
        producer_name: Some("taper".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(OPSET),
        }],
        metadata_props: metadata.iter().map(entry).collect(),
    })
}

fn entry((key, value): &(&'static str, String)) -> StringStringEntryProto {
    StringStringEntryProto { key: Some((*key).into()), value: Some(value.clone()) }
}

/// What flows between the nodes of a network on vectors or maps, with its shape; of sequences, whose lengths differ, nothing is said.
fn between(graph: &GraphProto, input: Extent) -> Vec<ValueInfoProto> {
    let input = match input {
        Extent::Map(h, w, c) => vec![c.into(), h.into(), w.into()],
        Extent::Flat(width) => vec![width.into()],
        Extent::Tokens(_) | Extent::Sequence(..) => return Vec::new(),
    };
    let answered = |name: &str| graph.output.iter().any(|answer| answer.name() == name);
    let is_whole = |name: &str| {
        let made = |node: &&NodeProto| node.output.iter().any(|output| output == name);
        let maker = graph.node.iter().find(made);
        maker.is_some_and(|node| node.op_type() == "QuantizeLinear")
    };
    let known = shapes::inferred(graph, input);
    let inner = known.into_iter().filter(|(name, _)| !answered(name));
    let said = |(name, extents): (String, Vec<i64>)| {
        let numbers = if is_whole(&name) { INT8 } else { FLOAT };
        info(&name, numbers, extents.into_iter().map(fixed))
    };
    inner.map(said).collect()
}

/// Puts a tensor of reals in half precision, under a name of its own; the node that makes it what it was called.
fn halved(tensor: &mut TensorProto) -> NodeProto {
    let words = tensor.raw_data().chunks_exact(4);
    let numbers = words.map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let halves = numbers.flat_map(|number| to_half(number).to_le_bytes()).collect();
    let name = tensor.name().to_owned();
    let from = format!("{name}.half");
    *tensor = TensorProto::of(&from, &tensor.dims, FLOAT16, halves);
    node(Node {
        op: "Cast",
        name,
        inputs: vec![from],
        attributes: vec![("to", Attribute::Int(FLOAT.into()))],
    })
}

/// An extent that is fixed.
fn fixed(extent: i64) -> Dimension {
    Dimension { dim_value: Some(extent), dim_param: None }
}

/// An extent that is any number.
fn any(name: &str) -> Dimension {
    Dimension { dim_value: None, dim_param: Some(name.into()) }
}

/// A value of so many rows as the batch has.
fn info(name: &str, numbers: i32, behind: impl IntoIterator<Item = Dimension>) -> ValueInfoProto {
    let dim = [any("N")].into_iter().chain(behind).collect();
    let tensor = TensorType { elem_type: Some(numbers), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { tensor_type: Some(tensor) }),
    }
}

/// An input or output of any number of rows, and of any number of positions where it has some.
fn value(name: &str, extent: Extent) -> ValueInfoProto {
    let fixed = |n: u32| fixed(n.into());
    let (numbers, behind) = match extent {
        Extent::Map(h, w, c) => (FLOAT, vec![fixed(c), fixed(h), fixed(w)]),
        Extent::Flat(width) => (FLOAT, vec![fixed(width)]),
        Extent::Tokens(_) => (INT64, vec![any("L")]),
        Extent::Sequence(_, 0) => (FLOAT, vec![any("L")]),
        Extent::Sequence(_, width) => (FLOAT, vec![any("L"), fixed(width)]),
    };
    info(name, numbers, behind)
}

fn node(node: Node) -> NodeProto {
    NodeProto {
        input: node.inputs,
        output: vec![node.name.clone()],
        name: Some(node.name),
        op_type: Some(node.op.into()),
        attribute: node.attributes.into_iter().map(attribute).collect(),
    }
}

fn attribute((name, value): (&str, Attribute)) -> AttributeProto {
    let mut attribute = AttributeProto { name: Some(name.into()), ..AttributeProto::default() };
    let kind = match value {
        Attribute::Int(value) => {
            attribute.i = Some(value);
            AttributeType::Int
        }
        Attribute::Ints(values) => {
            attribute.ints = values;
            AttributeType::Ints
        }
        Attribute::Float(value) => {
            attribute.f = Some(value);
            AttributeType::Float
        }
    };
    attribute.r#type = Some(kind.into());
    attribute
}

/// A tensor that nodes read: of the weights, a number, or whole numbers.
fn initializer(given: &Given, weights: &Weights) -> Result<TensorProto, NetworkError> {
    let floats = |tensor: &Tensor| -> (Vec<i64>, i32, Vec<u8>) {
        let dims = tensor.shape.iter().map(|&n| n as i64).collect();
        (dims, FLOAT, tensor.data.iter().flat_map(|number| number.to_le_bytes()).collect())
    };
    let (name, (dims, numbers, bytes)) = match given {
        Given::Parameter(name) => (name, floats(parameter(weights, name)?)),
        Given::Number(name, value) => (name, floats(&Tensor::full([], *value))),
        Given::Whole(name, values) => {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name, (vec![values.len() as i64], INT64, bytes))
        }
    };
    Ok(TensorProto::of(name, &dims, numbers, bytes))
}
