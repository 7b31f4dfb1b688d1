//! A graph of a network on images, computed by the CPU as ONNX defines its operators, a picture at a time: what a graph with other numbers is worth is
//! measured on the graph itself.

use std::collections::BTreeMap;

use super::proto::{FLOAT, FLOAT16, GraphProto, INT8, INT32, ModelProto, NodeProto, TensorProto};
use crate::formats::safetensors::from_half;
use crate::nn::NetworkError;

/// Numbers with their extents; of what flows, those behind the batch.
#[derive(Debug, Clone, PartialEq)]
struct Array {
    dims: Vec<usize>,
    data: Vec<f32>,
}

/// A graph that is ready to answer.
#[derive(Debug)]
pub struct Cpu {
    nodes: Vec<NodeProto>,
    /// Weights, those that nodes make of weights among them.
    weights: BTreeMap<String, Array>,
    input: String,
    extents: Vec<usize>,
    output: String,
}

impl Cpu {
    /// Of a model with one input and one output.
    ///
    /// # Errors
    /// It has numbers, or among what it makes of its weights an operator, that networks on images have not.
    pub fn new(model: &ModelProto) -> Result<Self, NetworkError> {
        let none = || unsupported("a file without a graph of one input and one output");
        let graph = model.graph.as_ref().ok_or_else(none)?;
        let ([input], [output]) = (&graph.input[..], &graph.output[..]) else { return Err(none()) };
        let mut weights = BTreeMap::new();
        for tensor in &graph.initializer {
            weights.insert(tensor.name().to_owned(), decoded(tensor)?);
        }
        let mut nodes = Vec::new();
        for node in &graph.node {
            let given: Option<Vec<&Array>> =
                node.input.iter().map(|name| weights.get(name)).collect();
            match given {
                Some(given) => {
                    let made = answer(node, &given)?;
                    weights.insert(name(node)?.to_owned(), made);
                }
                None => nodes.push(node.clone()),
            }
        }
        let extents = extents(graph).ok_or_else(none)?;
        let (input, output) = (input.name().to_owned(), output.name().to_owned());
        Ok(Self { nodes, weights, input, extents, output })
    }

    /// The scores of a picture, (C, H, W). `seen` is told each value that flows, by its name.
    ///
    /// # Errors
    /// An operator that networks on images have not, or numbers that it does not take.
    pub fn scores(
        &self,
        picture: Vec<f32>,
        seen: &mut dyn FnMut(&str, &[f32]),
    ) -> Result<Vec<f32>, NetworkError> {
        if picture.len() != self.extents.iter().product::<usize>() {
            let (found, wanted) = (picture.len(), &self.extents);
            return Err(unsupported(&format!("a picture of {found} numbers, not {wanted:?}")));
        }
        seen(&self.input, &picture);
        let first = Array { dims: self.extents.clone(), data: picture };
        let mut flowing = BTreeMap::from([(self.input.as_str(), first)]);
        for node in &self.nodes {
            let given = node.input.iter().map(|name| {
                let found = flowing.get(name.as_str()).or_else(|| self.weights.get(name));
                found.ok_or_else(|| unsupported(&format!("{name}, which nothing makes")))
            });
            let made = answer(node, &given.collect::<Result<Vec<_>, _>>()?)?;
            let name = name(node)?;
            seen(name, &made.data);
            flowing.insert(name, made);
        }
        let scores = flowing.remove(self.output.as_str());
        scores.map(|array| array.data).ok_or_else(|| unsupported("an output that nothing makes"))
    }
}

fn unsupported(what: &str) -> NetworkError {
    NetworkError::Unsupported(format!("ONNX with {what}"))
}

fn name(node: &NodeProto) -> Result<&str, NetworkError> {
    node.output.first().map(String::as_str).ok_or_else(|| unsupported("a node without an output"))
}

/// What the input has behind the batch.
fn extents(graph: &GraphProto) -> Option<Vec<usize>> {
    let shape = graph.input.first()?.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?;
    shape.dim.iter().skip(1).map(|dim| dim.dim_value.map(|n| n as usize)).collect()
}

/// The numbers of a tensor, as reals.
fn decoded(tensor: &TensorProto) -> Result<Array, NetworkError> {
    let bytes = tensor.raw_data();
    let data = match tensor.data_type() {
        FLOAT => words(bytes).map(f32::from_le_bytes).collect(),
        INT32 => words(bytes).map(|word| i32::from_le_bytes(word) as f32).collect(),
        FLOAT16 => bytes
            .chunks_exact(2)
            .map(|half| from_half(u16::from_le_bytes([half[0], half[1]])))
            .collect(),
        INT8 => bytes.iter().map(|&byte| f32::from(byte as i8)).collect(),
        other => return Err(unsupported(&format!("numbers of type {other}"))),
    };
    Ok(Array { dims: tensor.dims.iter().map(|&n| n as usize).collect(), data })
}

fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    bytes.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]])
}

/// What a node makes of what it reads.
fn answer(node: &NodeProto, given: &[&Array]) -> Result<Array, NetworkError> {
    let op = node.op_type();
    let wrong = || unsupported(&format!("the operator {op} on such numbers"));
    let x = *given.first().ok_or_else(wrong)?;
    let each = |f: &dyn Fn(f32) -> f32| Array {
        dims: x.dims.clone(),
        data: x.data.iter().map(|&x| f(x)).collect(),
    };
    Ok(match op {
        "Relu" => each(&|x| x.max(0.0)),
        "Tanh" => each(&f32::tanh),
        "Sigmoid" => each(&|x| 1.0 / (1.0 + (-x).exp())),
        "Erf" => each(&erf),
        // Numbers are reals already.
        "Cast" => x.clone(),
        "Add" | "Mul" => {
            let y = given.get(1).ok_or_else(wrong)?;
            let (long, short) = if y.data.len() > x.data.len() { (*y, x) } else { (x, *y) };
            if short.data.len() != long.data.len() && short.data.len() != 1 {
                return Err(wrong());
            }
            let pairs = long.data.iter().zip(short.data.iter().cycle());
            let data = match op {
                "Add" => pairs.map(|(a, b)| a + b).collect(),
                _ => pairs.map(|(a, b)| a * b).collect(),
            };
            Array { dims: long.dims.clone(), data }
        }
        "QuantizeLinear" => {
            let [_, scale, zero] = given else { return Err(wrong()) };
            let (&scale, &zero) = scale.data.first().zip(zero.data.first()).ok_or_else(wrong)?;
            each(&|x| ((x / scale).round_ties_even() + zero).clamp(-128.0, 127.0))
        }
        "DequantizeLinear" => {
            let [_, scale, zero] = given else { return Err(wrong()) };
            let rows = scale.data.len();
            if zero.data.len() != rows || rows == 0 || x.data.len() % rows != 0 {
                return Err(wrong());
            }
            let row = (x.data.len() / rows).max(1);
            let of = |(k, x): (usize, &f32)| (x - zero.data[k / row]) * scale.data[k / row];
            Array { dims: x.dims.clone(), data: x.data.iter().enumerate().map(of).collect() }
        }
        "BatchNormalization" => {
            let [_, scale, shift, mean, variance] = given else { return Err(wrong()) };
            let channels = scale.data.len();
            let parts = [shift, mean, variance];
            if channels == 0 || parts.iter().any(|part| part.data.len() != channels) {
                return Err(wrong());
            }
            let eps = node.attribute.iter().find(|attribute| attribute.name() == "epsilon");
            let eps = eps.and_then(|attribute| attribute.f).unwrap_or(1e-5);
            let map = (x.data.len() / channels).max(1);
            let of = |(k, map): (usize, &[f32])| {
                let scale = scale.data[k] / (variance.data[k] + eps).sqrt();
                let (mean, shift) = (mean.data[k], shift.data[k]);
                map.iter().map(move |x| (x - mean) * scale + shift).collect::<Vec<_>>()
            };
            let data = x.data.chunks(map).take(channels).enumerate().flat_map(of).collect();
            Array { dims: x.dims.clone(), data }
        }
        "Flatten" => Array { dims: vec![x.data.len()], data: x.data.clone() },
        "GlobalAveragePool" => {
            let [channels, height, width] = x.dims[..] else { return Err(wrong()) };
            let mean = |map: &[f32]| map.iter().sum::<f32>() / (height * width) as f32;
            let data = x.data.chunks_exact((height * width).max(1)).map(mean).collect();
            Array { dims: vec![channels, 1, 1], data }
        }
        "Gemm" => {
            linear(x, given.get(1).ok_or_else(wrong)?, given.get(2).copied()).ok_or_else(wrong)?
        }
        "Conv" => {
            let (weight, bias) = (given.get(1).ok_or_else(wrong)?, given.get(2).copied());
            convolution(x, weight, bias, &Windows::of(node)).ok_or_else(wrong)?
        }
        "MaxPool" => max_pool(x, &Windows::of(node)).ok_or_else(wrong)?,
        _ => return Err(wrong()),
    })
}

/// y = W x + b, W (out, in).
fn linear(x: &Array, weight: &Array, bias: Option<&Array>) -> Option<Array> {
    let [out, inner] = weight.dims[..] else { return None };
    if x.data.len() != inner || bias.is_some_and(|bias| bias.data.len() != out) {
        return None;
    }
    let row = |(k, row): (usize, &[f32])| {
        let dot: f32 = row.iter().zip(&x.data).map(|(w, x)| w * x).sum();
        dot + bias.map_or(0.0, |bias| bias.data[k])
    };
    let data = weight.data.chunks_exact(inner.max(1)).enumerate().map(row).collect();
    Some(Array { dims: vec![out], data })
}

/// Square windows that slide.
struct Windows {
    kernel: usize,
    stride: usize,
    pad: usize,
}

impl Windows {
    fn of(node: &NodeProto) -> Self {
        let first = |name: &str, none: i64| {
            let found = node.attribute.iter().find(|attribute| attribute.name() == name);
            found.and_then(|attribute| attribute.ints.first().copied()).unwrap_or(none) as usize
        };
        Self {
            kernel: first("kernel_shape", 1),
            stride: first("strides", 1).max(1),
            pad: first("pads", 0),
        }
    }

    /// How many places they have along an axis.
    fn places(&self, extent: usize) -> Option<usize> {
        Some((extent + 2 * self.pad).checked_sub(self.kernel)? / self.stride + 1)
    }

    /// The places of which the part at `offset` lies within an axis of `extent`, and where it lies for the first of these.
    fn within(&self, offset: usize, extent: usize, places: usize) -> (usize, usize, usize) {
        let first = self.pad.saturating_sub(offset).div_ceil(self.stride).min(places);
        let end = match (extent + self.pad).checked_sub(offset + 1) {
            Some(last) => (last / self.stride + 1).min(places),
            None => 0,
        };
        (first, end.max(first), (first * self.stride + offset).saturating_sub(self.pad))
    }
}

fn convolution(x: &Array, weight: &Array, bias: Option<&Array>, at: &Windows) -> Option<Array> {
    let ([channels, h, w], [out, inner, kernel, same]) = (&x.dims[..], &weight.dims[..]) else {
        return None;
    };
    let (channels, h, w, out, kernel) = (*channels, *h, *w, *out, *kernel);
    if *inner != channels || *same != kernel || at.kernel != kernel {
        return None;
    }
    let (rows, columns) = (at.places(h)?, at.places(w)?);
    let mut data = vec![0.0; out * rows * columns];
    let kernels = weight.data.chunks_exact((channels * kernel * kernel).max(1));
    for (k, (map, of)) in data.chunks_exact_mut((rows * columns).max(1)).zip(kernels).enumerate() {
        map.fill(bias.map_or(Some(0.0), |bias| bias.data.get(k).copied())?);
        for (place, &weight) in of.iter().enumerate() {
            let (channel, i, j) =
                (place / (kernel * kernel), place / kernel % kernel, place % kernel);
            let (top, bottom, mut source) = at.within(i, h, rows);
            let (left, right, start) = at.within(j, w, columns);
            for row in map.chunks_exact_mut(columns.max(1)).take(bottom).skip(top) {
                let from = &x.data[(channel * h + source) * w..][..w];
                source += at.stride;
                let from = from.get(start..).unwrap_or_default().iter().step_by(at.stride);
                for (sum, x) in row[left..right].iter_mut().zip(from) {
                    *sum += weight * x;
                }
            }
        }
    }
    Some(Array { dims: vec![out, rows, columns], data })
}

fn max_pool(x: &Array, at: &Windows) -> Option<Array> {
    let [channels, h, w] = x.dims[..] else { return None };
    let (rows, columns) = (at.places(h)?, at.places(w)?);
    let mut data = vec![f32::NEG_INFINITY; channels * rows * columns];
    for (map, of) in
        data.chunks_exact_mut((rows * columns).max(1)).zip(x.data.chunks_exact((h * w).max(1)))
    {
        for (i, j) in (0..at.kernel).flat_map(|i| (0..at.kernel).map(move |j| (i, j))) {
            let (top, bottom, mut source) = at.within(i, h, rows);
            let (left, right, start) = at.within(j, w, columns);
            for row in map.chunks_exact_mut(columns.max(1)).take(bottom).skip(top) {
                let from = of[source * w..][..w].get(start..).unwrap_or_default();
                source += at.stride;
                for (most, x) in row[left..right].iter_mut().zip(from.iter().step_by(at.stride)) {
                    *most = most.max(*x);
                }
            }
        }
    }
    Some(Array { dims: vec![channels, rows, columns], data })
}

/// The error function: its series, whose terms are below e¹⁶ where it is taken.
fn erf(x: f32) -> f32 {
    let x = f64::from(x);
    if x.abs() >= 4.0 {
        return x.signum() as f32;
    }
    let (mut sum, mut power, mut n) = (0.0, x, 0.0);
    while f64::abs(power) > 1e-18 {
        sum += power / (2.0 * n + 1.0);
        n += 1.0;
        power *= -x * x / n;
    }
    (sum * std::f64::consts::FRAC_2_SQRT_PI) as f32
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn the_error_function_is_that_of_tables() {
        for (x, y) in [
            (0.0, 0.0),
            (0.5, 0.520_499_9),
            (1.0, 0.842_700_8),
            (2.0, 0.995_322_3),
            (3.5, 0.999_999_3),
        ] {
            assert!((erf(x) - y).abs() < 1e-7 && (erf(-x) + y).abs() < 1e-7, "{x}");
        }
        assert_eq!((erf(9.0), erf(-9.0)), (1.0, -1.0));
    }
}
