//! ONNX: a network with its weights as one file that other engines run.
//!
//! The graph reads `input`, N × C × H × W as the network of PyTorch whose weights lie beside it, and answers `logits`, N × classes; N is
//! any number. Batch norm is in its inference form. Nodes and values are called by the layer's path, weights as in `model.safetensors`.

pub mod proto;

use std::{
    collections::BTreeSet,
    f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI},
    path::Path,
};

use prost::Message;
use proto::{
    AttributeProto, AttributeType, Dimension, FLOAT, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TensorType, TypeProto, ValueInfoProto,
};

use super::{FormatError, atomic};
use crate::{
    nn::{BN_EPS, Block, Extent, Layer, Network, NetworkError, Pair, Tensor, Weights},
    ops::activation::Activation,
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

/// Whether a network fits one file.
pub fn fits(network: &Network) -> bool {
    let numbers = |shape: &Vec<usize>| shape.iter().product::<usize>() as u64;
    network.shapes().is_ok_and(|shapes| {
        let weights: u64 = shapes.params.iter().map(|spec| numbers(&spec.shape)).sum();
        weights.saturating_mul(4).saturating_add(GRAPH_BYTES) < MOST_BYTES
    })
}

/// Writes a network; whole or not at all. `weights` are those of the network with an MLP's first columns in PyTorch's order.
///
/// # Errors
/// The weights are not those of the network, or what the system refuses.
pub fn write(path: &Path, network: &Network, weights: &Weights) -> Result<(), FormatError> {
    let model = model(network, weights).map_err(|error| FormatError::content(path, error))?;
    atomic::write_bytes(path, model.encode_to_vec())
}

/// The message of a network.
fn model(network: &Network, weights: &Weights) -> Result<ModelProto, NetworkError> {
    let shapes = network.shapes()?;
    let mut writer = Writer {
        weights,
        nodes: Vec::new(),
        initializers: Vec::new(),
        taken: BTreeSet::from([INPUT.to_owned()]),
    };
    let mut at = INPUT.to_owned();
    let mut flat = matches!(network.input, Extent::Flat(_));
    for (Block { lower, layers, lift }, out) in network.blocks.iter().zip(&shapes.blocks) {
        if let Some(pair) = lower {
            at = writer.pair(pair, flat, at)?;
        }
        at = writer.layers(layers, at)?;
        flat = matches!(out, Extent::Flat(_));
        if let Some(pair) = lift {
            at = writer.pair(pair, flat, at)?;
        }
    }
    writer.layers(&network.head, at)?;
    let Writer { mut nodes, initializers, .. } = writer;
    if let Some(last) = nodes.last_mut() {
        last.output = vec![LOGITS.into()];
    }
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
        Extent::Flat(width) => vec![width],
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

fn ints(name: &str, values: &[u32]) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        ints: values.iter().map(|&n| n.into()).collect(),
        r#type: Some(AttributeType::Ints.into()),
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        i: Some(value),
        r#type: Some(AttributeType::Int.into()),
        ..AttributeProto::default()
    }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        f: Some(value),
        r#type: Some(AttributeType::Float.into()),
        ..AttributeProto::default()
    }
}

struct Writer<'a> {
    weights: &'a Weights,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// Names of values.
    taken: BTreeSet<String>,
}

impl Writer<'_> {
    /// Adds a node; the name of its output, which is the node's.
    fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let mut name = name.to_owned();
        while !self.taken.insert(name.clone()) {
            name = format!("{name}.{}", self.nodes.len());
        }
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![name.clone()],
            name: Some(name.clone()),
            op_type: Some(op.into()),
            attribute: attributes,
        });
        name
    }

    fn initializer(&mut self, name: &str, tensor: &Tensor) {
        if self.taken.insert(name.into()) {
            let raw = tensor.data.iter().flat_map(|number| number.to_le_bytes()).collect();
            self.initializers.push(TensorProto {
                dims: tensor.shape.iter().map(|&n| n as i64).collect(),
                data_type: Some(FLOAT),
                name: Some(name.into()),
                raw_data: Some(raw),
            });
        }
    }

    /// A weight of a layer, in PyTorch's order; its name.
    fn weight(&mut self, layer: &str, part: &str) -> Result<String, NetworkError> {
        let name = format!("{layer}.{part}");
        let missing = || NetworkError::Weights(format!("parameter {name} is missing"));
        let tensor = self.weights.get(&name).ok_or_else(missing)?;
        self.initializer(&name, &tensor.to_pytorch());
        Ok(name)
    }

    fn weights(&mut self, layer: &str, parts: &[&str]) -> Result<Vec<String>, NetworkError> {
        parts.iter().map(|part| self.weight(layer, part)).collect()
    }

    /// A number that operators take as a tensor; its name.
    fn constant(&mut self, name: &str, value: f32) -> String {
        self.initializer(name, &Tensor::full([], value));
        name.into()
    }

    fn pair(&mut self, pair: &Pair, flat: bool, at: String) -> Result<String, NetworkError> {
        let layer = Layer::Linear { name: pair.name.clone(), out: pair.out, bias: false };
        let map = Layer::Conv {
            name: pair.name.clone(),
            out: pair.out,
            kernel: 1,
            stride: 1,
            pad: 0,
            bias: false,
        };
        self.layer(if flat { &layer } else { &map }, at)
    }

    fn layers(&mut self, layers: &[Layer], mut at: String) -> Result<String, NetworkError> {
        for layer in layers {
            at = self.layer(layer, at)?;
        }
        Ok(at)
    }

    fn layer(&mut self, layer: &Layer, x: String) -> Result<String, NetworkError> {
        let name = layer.name().unwrap_or_default();
        let parts = |bias: bool| if bias { &["weight", "bias"][..] } else { &["weight"] };
        let with = |weights: Vec<String>| [vec![x.clone()], weights].concat();
        let (op, inputs, attributes) = match layer {
            Layer::Linear { bias, .. } => {
                ("Gemm", with(self.weights(name, parts(*bias))?), vec![int("transB", 1)])
            }
            Layer::Conv { kernel, stride, pad, bias, .. } => {
                let weights = self.weights(name, parts(*bias))?;
                ("Conv", with(weights), windows(*kernel, *stride, *pad))
            }
            Layer::BatchNorm { .. } => {
                let parts = ["weight", "bias", "running_mean", "running_var"];
                let weights = self.weights(name, &parts)?;
                ("BatchNormalization", with(weights), vec![float("epsilon", BN_EPS)])
            }
            Layer::MaxPool { kernel, stride, pad, .. } => {
                ("MaxPool", vec![x], windows(*kernel, *stride, *pad))
            }
            Layer::Activation { function, .. } => return Ok(self.activation(*function, name, &x)),
            Layer::GlobalAvgPool => {
                let mean = self.node("GlobalAveragePool", "pool", &[&x], Vec::new());
                return Ok(self.node("Flatten", "pool.flat", &[&mean], vec![int("axis", 1)]));
            }
            Layer::Flatten => {
                return Ok(self.node("Flatten", "flatten", &[&x], vec![int("axis", 1)]));
            }
            Layer::Unit { body, shortcut, .. } => {
                let long = self.layers(body, x.clone())?;
                let short = self.layers(shortcut, x)?;
                let sum = self.part("Add", name, "sum", &[&long, &short]);
                ("Relu", vec![sum], Vec::new())
            }
        };
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        Ok(self.node(op, name, &inputs, attributes))
    }

    /// y = f(x). The GELUs are spelled out: ONNX has them from opset 20 on.
    fn activation(&mut self, function: Activation, name: &str, x: &str) -> String {
        let op = match function {
            Activation::Relu => "Relu",
            Activation::Tanh => "Tanh",
            Activation::Sigmoid => "Sigmoid",
            Activation::Gelu => {
                // bell = erf(x / √2)
                let scale = self.constant("gelu.scale", FRAC_1_SQRT_2);
                let scaled = self.part("Mul", name, "scaled", &[x, &scale]);
                let bell = self.part("Erf", name, "bell", &[&scaled]);
                return self.gelu(name, x, &bell);
            }
            Activation::GeluTanh => {
                // bell = tanh(√(2/π) (x + 0.044715 x³))
                let cubic = self.constant("gelu_tanh.cubic", 0.044715);
                let scale = self.constant("gelu_tanh.scale", FRAC_2_SQRT_PI * FRAC_1_SQRT_2);
                let square = self.part("Mul", name, "square", &[x, x]);
                let cube = self.part("Mul", name, "cube", &[&square, x]);
                let bent = self.part("Mul", name, "bent", &[&cube, &cubic]);
                let sum = self.part("Add", name, "sum", &[x, &bent]);
                let scaled = self.part("Mul", name, "scaled", &[&sum, &scale]);
                let bell = self.part("Tanh", name, "bell", &[&scaled]);
                return self.gelu(name, x, &bell);
            }
        };
        self.node(op, name, &[x], Vec::new())
    }

    /// y = ½ x (1 + bell)
    fn gelu(&mut self, name: &str, x: &str, bell: &str) -> String {
        let (one, half) = (self.constant("gelu.one", 1.0), self.constant("gelu.half", 0.5));
        let risen = self.part("Add", name, "risen", &[bell, &one]);
        let twice = self.part("Mul", name, "twice", &[x, &risen]);
        self.node("Mul", name, &[&twice, &half], Vec::new())
    }

    /// A node inside a layer.
    fn part(&mut self, op: &str, layer: &str, part: &str, inputs: &[&str]) -> String {
        self.node(op, &format!("{layer}.{part}"), inputs, Vec::new())
    }
}

/// What a convolution or a pool is told of its square windows.
fn windows(kernel: u32, stride: u32, pad: u32) -> Vec<AttributeProto> {
    vec![ints("kernel_shape", &[kernel; 2]), ints("strides", &[stride; 2]), ints("pads", &[pad; 4])]
}
