//! ONNX: a network with its weights as one file that other engines run.
//!
//! The graph reads `input`, N × C × H × W as the network of PyTorch whose weights lie beside it, and answers `logits`, N × classes; N is
//! any number. Batch norm is in its inference form. Nodes and values are called by the layer's path, weights as in `model.safetensors`.

pub mod proto;

use prost::Message;
use proto::{
    AttributeProto, AttributeType, Dimension, FLOAT, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TensorType, TypeProto, ValueInfoProto,
};

use crate::nn::{
    Block, Extent, Network, NetworkError, Pair, Shapes, State, Tensor, Weights, layers,
    onnx::{Attribute, Given, Node, Nodes},
    parameter,
};

/// Name of the graph's input.
pub const INPUT: &str = "input";
/// Name of the graph's output.
pub const LOGITS: &str = "logits";

/// Version of the messages; runtimes of 2022 and later read it.
const IR: i64 = 8;
/// Version of the operators.
const OPSET: i64 = 17;
/// A message of protobuf is shorter than this.
const MOST_BYTES: u64 = 2 << 30;
/// Enough for all of a file that is not weights.
const GRAPH_BYTES: u64 = 16 << 20;

/// Whether a network has nodes of ONNX and fits one file.
pub fn fits(network: &Network) -> bool {
    let numbers = |shape: &Vec<usize>| shape.iter().product::<usize>() as u64;
    network.shapes().is_ok_and(|shapes| {
        if nodes(network, &shapes).is_err() {
            return false;
        }
        let weights: u64 = shapes.params.iter().map(|spec| numbers(&spec.shape)).sum();
        weights.saturating_mul(4).saturating_add(GRAPH_BYTES) < MOST_BYTES
    })
}

/// The file of a network. `weights` are as files have them.
///
/// # Errors
/// The weights are not those of the network.
pub fn encode(network: &Network, weights: &Weights) -> Result<Vec<u8>, NetworkError> {
    Ok(model(network, weights)?.encode_to_vec())
}

/// The nodes of a network.
///
/// # Errors
/// A layer that has none.
fn nodes(network: &Network, shapes: &Shapes) -> Result<Nodes, NetworkError> {
    let mut graph = Nodes::new(INPUT);
    let (mut at, mut map) = (State::of(INPUT.to_owned()), network.input.is_map());
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
    layers::onnx(&network.head, at, &mut graph);
    match &graph.refused {
        None => Ok(graph),
        Some(layer) => Err(NetworkError::Unsupported(format!("{layer} has no nodes of ONNX yet"))),
    }
}

/// The message of a network.
fn model(network: &Network, weights: &Weights) -> Result<ModelProto, NetworkError> {
    let shapes = network.shapes()?;
    let graph = nodes(network, &shapes)?;
    let mut nodes: Vec<NodeProto> = graph.nodes.into_iter().map(node).collect();
    if let Some(last) = nodes.last_mut() {
        last.output = vec![LOGITS.into()];
    }
    let given = graph.given.iter().map(|given| initializer(given, weights));
    let initializers = given.collect::<Result<_, _>>()?;
    let graph = GraphProto {
        name: Some("network".into()),
        node: nodes,
        initializer: initializers,
        input: vec![value(INPUT, network.input)],
        output: vec![value(LOGITS, shapes.output)],
    };
    Ok(ModelProto {
        ir_version: Some(IR),
        producer_name: Some("taper".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(OPSET),
        }],
    })
}

/// An input or output of any number of rows.
fn value(name: &str, extent: Extent) -> ValueInfoProto {
    let extents = match extent {
        Extent::Map(h, w, c) => vec![c, h, w],
        Extent::Flat(width) | Extent::Tokens(width) => vec![width],
        Extent::Sequence(length, width) => vec![length, width],
    };
    let rows = Dimension { dim_value: None, dim_param: Some("N".into()) };
    let fixed = |n: u32| Dimension { dim_value: Some(n.into()), dim_param: None };
    let dim = [rows].into_iter().chain(extents.into_iter().map(fixed)).collect();
    let tensor = TensorType { elem_type: Some(FLOAT), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { tensor_type: Some(tensor) }),
    }
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

/// A tensor that nodes read: of the weights, or a number.
fn initializer(given: &Given, weights: &Weights) -> Result<TensorProto, NetworkError> {
    let number: Tensor;
    let (name, tensor) = match given {
        Given::Parameter(name) => (name, parameter(weights, name)?),
        Given::Number(name, value) => {
            number = Tensor::full([], *value);
            (name, &number)
        }
    };
    Ok(TensorProto {
        dims: tensor.shape.iter().map(|&n| n as i64).collect(),
        data_type: Some(FLOAT),
        name: Some(name.clone()),
        raw_data: Some(tensor.data.iter().flat_map(|number| number.to_le_bytes()).collect()),
    })
}
