//! The shapes of values between nodes, of networks on vectors and maps: readers that look at a graph show them.

use std::collections::BTreeMap;

use super::proto::{AttributeProto, GraphProto, NodeProto};

/// Extents behind the batch.
pub(super) type Extents = Vec<i64>;

/// The extents of what each node of a graph puts out, by its name, where `input` are those of what it is given. They end at an operator that no network on
/// vectors or maps has.
pub(super) fn inferred(graph: &GraphProto, input: Extents) -> BTreeMap<String, Extents> {
    let mut weights: BTreeMap<&str, &[i64]> =
        graph.initializer.iter().map(|tensor| (tensor.name(), &tensor.dims[..])).collect();
    let mut known = BTreeMap::new();
    for given in &graph.input {
        known.insert(given.name().to_owned(), input.clone());
    }
    for node in &graph.node {
        // Weights that come out of other numbers have no batch.
        let first = node.input.first().and_then(|name| weights.get(name.as_str())).copied();
        if let (Some(dims), "DequantizeLinear" | "Cast") = (first, node.op_type()) {
            weights.extend(node.output.iter().map(|name| (name.as_str(), dims)));
            continue;
        }
        let Some(out) = out(node, &known, &weights) else { break };
        for name in &node.output {
            known.insert(name.clone(), out.clone());
        }
    }
    for given in &graph.input {
        known.remove(given.name());
    }
    known
}

/// What one node puts out.
fn out(
    node: &NodeProto,
    known: &BTreeMap<String, Extents>,
    weights: &BTreeMap<&str, &[i64]>,
) -> Option<Extents> {
    let of = |k: usize| node.input.get(k).and_then(|name| known.get(name));
    let weight = |k: usize| weights.get(node.input.get(k)?.as_str()).copied();
    let x = of(0).or_else(|| of(1))?;
    Some(match node.op_type() {
        "Conv" => {
            let [_, h, w] = x[..] else { return None };
            let [out, _, rows, columns] = *weight(1)? else { return None };
            let slid = slide(node);
            vec![out, slid(h, rows), slid(w, columns)]
        }
        "MaxPool" => {
            let [c, h, w] = x[..] else { return None };
            let [rows, columns] = *ints(node, "kernel_shape")? else { return None };
            let slid = slide(node);
            vec![c, slid(h, rows), slid(w, columns)]
        }
        "GlobalAveragePool" => vec![*x.first()?, 1, 1],
        "Flatten" => vec![x.iter().product()],
        "Gemm" => vec![*weight(1)?.first()?],
        "Add" | "Mul" => of(1).filter(|y| y.len() > x.len()).unwrap_or(x).clone(),
        "BatchNormalization" | "Relu" | "Tanh" | "Sigmoid" | "Erf" | "QuantizeLinear"
        | "DequantizeLinear" => x.clone(),
        _ => return None,
    })
}

fn ints<'n>(node: &'n NodeProto, name: &str) -> Option<&'n [i64]> {
    let found = |attribute: &&AttributeProto| attribute.name() == name;
    node.attribute.iter().find(found).map(|attribute| &attribute.ints[..])
}

/// How many places a window has along an axis of so many.
fn slide(node: &NodeProto) -> impl Fn(i64, i64) -> i64 {
    let first =
        |name: &str, none: i64| ints(node, name).and_then(|n| n.first().copied()).unwrap_or(none);
    let (stride, pad) = (first("strides", 1), first("pads", 0));
    move |extent, kernel| (extent + 2 * pad - kernel) / stride + 1
}
