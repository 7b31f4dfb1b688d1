//! Networks that were trained elsewhere: the architecture is read off the names and shapes of their tensors.

use super::{mlp, resnet};
use crate::{
    config::{Activation, Mlp},
    nn::{
        Block, Extent, FileLayout, Layer, Network, NetworkError, Weights, layers::Unit, parameter,
    },
};

/// Outputs of a linear layer.
fn linear(weights: &Weights, name: &str) -> Result<u32, NetworkError> {
    match parameter(weights, &format!("{name}.weight"))?.shape[..] {
        [out, _] => Ok(out as u32),
        ref other => Err(NetworkError::Weights(format!(
            "parameter {name}.weight has shape {other:?}, not that of a linear layer"
        ))),
    }
}

/// Extents out and kernel of a convolution.
fn conv(weights: &Weights, name: &str) -> Result<(u32, u32), NetworkError> {
    let shape = &parameter(weights, &format!("{name}.weight"))?.shape;
    match FileLayout::Kernel.here(shape)[..] {
        [out, kernel, same, _] if kernel == same => Ok((out as u32, kernel as u32)),
        _ => Err(NetworkError::Weights(format!(
            "parameter {name}.weight has shape {shape:?}, not that of a square convolution"
        ))),
    }
}

/// How many of `prefix0`, `prefix1`, … there are.
fn count(weights: &Weights, name: impl Fn(usize) -> String) -> usize {
    (0..).take_while(|&k| weights.contains_key(&name(k))).count()
}

/// The network whose parameters these are, as a file has them, for inputs of this extent: a ResNet with torchvision's or timm's names, of any
/// depth and width, or an MLP (`layers.K`, `head`) as a single block with `activation`.
///
/// # Errors
/// If the names are of neither, or a shape is not what such a network has.
pub fn infer(
    weights: &Weights,
    input: Extent,
    activation: Activation,
) -> Result<Network, NetworkError> {
    if weights.contains_key("conv1.weight") && weights.contains_key("layer1.0.conv1.weight") {
        return infer_resnet(weights, input);
    }
    let depth = count(weights, |k| format!("layers.{k}.weight"));
    if depth > 0 && weights.contains_key("head.weight") {
        let hidden = (0..depth)
            .map(|k| linear(weights, &format!("layers.{k}")))
            .collect::<Result<Vec<_>, NetworkError>>()?;
        let classes = linear(weights, "head")?;
        let config = Mlp { hidden, activation, blocks: vec![depth as u32] };
        return Ok(mlp::network(&config, input, classes));
    }
    let names: Vec<&str> = weights.keys().take(3).map(String::as_str).collect();
    Err(NetworkError::Unsupported(format!(
        "these weights are neither a ResNet's (conv1, layer1.0.conv1, …, fc) nor an MLP's (layers.0, …, head); they begin with {}",
        names.join(", ")
    )))
}

fn infer_resnet(weights: &Weights, input: Extent) -> Result<Network, NetworkError> {
    use resnet::{norm, relu};
    let layer = |name: String, stride: u32| -> Result<Layer, NetworkError> {
        let (out, kernel) = conv(weights, &name)?;
        Ok(resnet::conv(name, out, kernel, stride))
    };

    // A 7×7 stem is ImageNet's, with stride and pooling; a 3×3 one is CIFAR's.
    let large = conv(weights, "conv1")?.1 == 7;
    let mut stem = vec![
        layer("conv1".into(), if large { 2 } else { 1 })?,
        norm("bn1".into()),
        relu("relu".into()),
    ];
    if large {
        stem.push(resnet::max_pool());
    }
    let stages = count(weights, |k| format!("layer{}.0.conv1.weight", k + 1));
    let mut blocks = Vec::with_capacity(stages);
    for stage in 1..=stages {
        let mut layers = if stage == 1 { std::mem::take(&mut stem) } else { Vec::new() };
        for unit in 0..count(weights, |k| format!("layer{stage}.{k}.conv1.weight")) {
            let name = format!("layer{stage}.{unit}");
            let stride = if stage > 1 && unit == 0 { 2 } else { 1 };
            let bottleneck = weights.contains_key(&format!("{name}.conv3.weight"));
            let convs = if bottleneck { 3 } else { 2 };
            // torchvision and timm put the stride on the 3×3 that comes first.
            let strided = if bottleneck { 2 } else { 1 };
            let mut body = Vec::new();
            for k in 1..=convs {
                body.push(layer(format!("{name}.conv{k}"), if k == strided { stride } else { 1 })?);
                body.push(norm(format!("{name}.bn{k}")));
                if k < convs {
                    body.push(relu(format!("{name}.relu{k}")));
                }
            }
            let down = format!("{name}.downsample");
            let shortcut = if weights.contains_key(&format!("{down}.0.weight")) {
                vec![layer(format!("{down}.0"), stride)?, norm(format!("{down}.1"))]
            } else {
                Vec::new()
            };
            layers.push(Layer::Unit(Unit { name, body, shortcut }));
        }
        blocks.push(Block { layers, ..Block::default() });
    }
    let classes = linear(weights, "fc")?;
    Ok(Network { input, blocks, head: resnet::head(classes), further: Vec::new() })
}

/// Gives a network a head for so many classes: the linear layer that makes the logits. Its tensors are taken out of `weights`.
///
/// # Errors
/// Its head has no such layer.
pub fn new_head(
    network: &mut Network,
    weights: &mut Weights,
    classes: u32,
) -> Result<(), NetworkError> {
    let linear = network.head.iter_mut().rev().find_map(|layer| match layer {
        Layer::Linear(linear) => Some(linear),
        _ => None,
    });
    let Some(linear) = linear else {
        let message = "its head has no linear layer, which a new one would take the place of";
        return Err(NetworkError::Unsupported(message.into()));
    };
    linear.out = classes;
    for part in ["weight", "bias"] {
        weights.remove(&format!("{}.{part}", linear.name));
    }
    Ok(())
}

/// Checks that the weights are exactly the network's; PyTorch's `num_batches_tracked` is passed over.
///
/// # Errors
/// The first tensor that is missing, superfluous or of another shape, by its block and name.
pub fn check(network: &Network, weights: &Weights) -> Result<(), NetworkError> {
    let params = network.shapes().map_err(|error| in_its_block(network, error))?.params;
    for spec in &params {
        let place = place(spec.block, network.blocks.len());
        let name = &spec.name;
        let found = match weights.get(name) {
            Some(tensor) => &tensor.shape,
            None => {
                let missing = NetworkError::missing(name);
                return Err(NetworkError::Weights(format!("{place}: {missing}")));
            }
        };
        if *found != spec.shape {
            // As the user's file has them.
            let (found, wanted) = (spec.file.there(found), spec.file.there(&spec.shape));
            return Err(NetworkError::Weights(format!(
                "{place}: parameter {name} has shape {found:?}, the network wants {wanted:?}"
            )));
        }
    }
    let known: std::collections::BTreeSet<&str> = params.iter().map(|p| p.name.as_str()).collect();
    match weights
        .keys()
        .find(|n| !known.contains(n.as_str()) && !n.ends_with("num_batches_tracked"))
    {
        Some(name) => {
            Err(NetworkError::Weights(format!("parameter {name} is not one of the network's")))
        }
        None => Ok(()),
    }
}

/// A block (0-based) in words; the index behind the last block is the head.
fn place(block: usize, blocks: usize) -> String {
    if block < blocks { format!("block {}", block + 1) } else { "the head".into() }
}

/// An error about a layer, with the block that the layer is of.
fn in_its_block(network: &Network, error: NetworkError) -> NetworkError {
    let NetworkError::Layer { layer, got } = error else { return error };
    let inside = |of: &Layer| match of.name() {
        Some(name) => {
            layer == name || layer.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
        }
        None => false,
    };
    let block = network.blocks.iter().position(|block| block.layers.iter().any(inside));
    let place = place(block.unwrap_or(network.blocks.len()), network.blocks.len());
    NetworkError::Layer { layer: format!("{layer} of {place}"), got }
}

/// An MLP or encoder of a teacher cut into as many blocks as the student has, in proportion to the student's layers (`win/DERIVATION.md`,
/// *Widening*).
pub fn regroup(teacher: Network, student: &Network) -> Network {
    let opens = |layer: &Layer| {
        matches!(layer, Layer::Linear(_) | Layer::Transformer(_) | Layer::Bottleneck(_))
    };
    let linear = |block: &Block| block.layers.iter().filter(|layer| opens(layer)).count();
    if teacher.blocks.len() == student.blocks.len() || student.blocks.iter().any(|b| linear(b) == 0)
    {
        return teacher;
    }
    let all: Vec<Layer> = teacher.blocks.iter().flat_map(|b| b.layers.clone()).collect();
    let depth = all.iter().filter(|layer| opens(layer)).count();
    let total: usize = student.blocks.iter().map(linear).sum();
    if depth == 0 {
        return teacher;
    }
    let (mut blocks, mut layers, mut done, mut at) = (Vec::new(), all.into_iter().peekable(), 0, 0);
    for block in &student.blocks {
        done += linear(block);
        // Halves up.
        let cut = (2 * depth * done + total) / (2 * total);
        let mut group = Vec::new();
        while let Some(layer) = layers.peek() {
            if opens(layer) && at == cut {
                break;
            }
            at += usize::from(opens(layer));
            group.extend(layers.next());
        }
        blocks.push(Block { layers: group, ..Block::default() });
    }
    Network { blocks, ..teacher }
}
