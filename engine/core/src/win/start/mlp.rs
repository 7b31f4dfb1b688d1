//! Starts of multi-layer perceptrons.

use super::{
    Probe,
    block::{BlockStart, correspondence},
};
use crate::nn::{Block, Layer, Network, NetworkError, layers::Linear};

/// A linear layer with its activation.
struct Dense<'n> {
    name: &'n str,
    /// Where its output after the activation is taken.
    tap: &'n str,
}

/// The layers of a block.
fn dense(network: &Network, block: usize) -> Result<Vec<Dense<'_>>, NetworkError> {
    let mut found: Vec<Dense<'_>> = Vec::new();
    for layer in &network.blocks[block].layers {
        match (layer, found.last_mut()) {
            (Layer::Flatten, None) => {}
            (Layer::Linear(Linear { name, bias: true, .. }), _) => {
                found.push(Dense { name, tap: name });
            }
            (Layer::Activation(act), Some(last)) if last.tap == last.name => last.tap = &act.name,
            _ => {
                let name = layer.name().unwrap_or("a pool");
                return Err(NetworkError::Unsupported(format!(
                    "block {} has {name}; a start of such a block knows linear layers with bias and their activations",
                    block + 1
                )));
            }
        }
    }
    Ok(found)
}

fn every(network: &Network) -> Result<Vec<Vec<Dense<'_>>>, NetworkError> {
    (0..network.blocks.len()).map(|block| dense(network, block)).collect()
}

/// Refuses a teacher that some block cannot start from.
pub(super) fn fits(student: &Network, teacher: &Network, map: &[u32]) -> Result<(), NetworkError> {
    let (thin, wide) = (names(&every(student)?), names(&every(teacher)?));
    (0..thin.len()).try_for_each(|block| correspondence(&thin, &wide, block, map).map(drop))
}

/// Sets a block and its lift.
pub(super) fn start<P: Probe>(start: &mut BlockStart<'_, P>, map: &[u32]) -> Result<(), P::Error> {
    let (student, teacher, block) = (start.student, start.teacher, start.block);
    let (thin, wide) = (every(student)?, every(teacher)?);
    let matched = correspondence(&names(&thin), &names(&wide), block, map)?;
    for (k, (layer, &q)) in thin[block].iter().zip(&matched).enumerate() {
        let from = &wide[block][q];
        let (m, of) = (start.width(layer.name)?, start.teacher_width(from.name)?);
        let picks = start.choose(layer.name, m, of, |start| {
            let t = start.teacher_rows(from.tap, 1)?;
            Ok(start.gram(&t))
        })?;
        let bias = (format!("{}.bias", layer.name), format!("{}.bias", from.name));
        if k == 0 {
            start.set_weight(layer.name, from.name, Some(&picks), None)?;
            start.set_vector(&bias.0, &bias.1, Some(&picks), None)?;
            continue;
        }
        let h = start.student_rows(thin[block][k - 1].tap)?;
        // The layer whose output the teacher's layer reads.
        let before = match q {
            0 => block.checked_sub(1).and_then(|before| wide[before].last()),
            _ => Some(&wide[block][q - 1]),
        };
        let (weight, shift) = match before {
            Some(before) => {
                let t = start.teacher_rows(before.tap, 1)?;
                let (reading, c) = start.affine(&h, &t, layer.name)?;
                let w = start.matrix(from.name)?.select_rows(&picks);
                (w.times(&reading), w.times_vector(&c))
            }
            None => {
                // It reads the network's input x, which has no name. Ridge is linear in what it maps to: the map to W x is W times the one to x.
                let t = start.part_rows(&first_product(teacher, from.name), from.name)?;
                let (product, c) = start.affine(&h, &t, layer.name)?;
                (product.select_rows(&picks), picks.iter().map(|&unit| c[unit]).collect())
            }
        };
        let shape = [weight.rows(), weight.cols()];
        let name = format!("{}.weight", layer.name);
        start.put(&name, from.name, &shape, &weight.to_f32(), true)?;
        start.set_vector(&bias.0, &bias.1, Some(&picks), Some(&shift))?;
    }
    let (last, target) = (&thin[block][thin[block].len() - 1], &wide[block][wide[block].len() - 1]);
    let h = start.student_rows(last.tap)?;
    let t = start.teacher_rows(target.tap, 1)?;
    let lift = start.map(&h, &t, "lift")?;
    start.set_lift(&lift)?;
    Ok(())
}

fn names<'n>(blocks: &[Vec<Dense<'n>>]) -> Vec<Vec<&'n str>> {
    blocks.iter().map(|block| block.iter().map(|layer| layer.name).collect()).collect()
}

/// The teacher's first linear layer alone, without bias and activation.
fn first_product(teacher: &Network, name: &str) -> Network {
    let layers = &teacher.blocks[0].layers;
    let end = layers.iter().position(|layer| layer.name() == Some(name)).map_or(0, |at| at + 1);
    let mut layers = layers[..end].to_vec();
    if let Some(Layer::Linear(linear)) = layers.last_mut() {
        linear.bias = false;
    }
    Network {
        input: teacher.input,
        blocks: vec![Block { layers, ..Block::default() }],
        head: Vec::new(),
        further: Vec::new(),
    }
}
