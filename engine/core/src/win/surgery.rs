//! Widen, bridge, merge: networks in, networks out (`DERIVATION.md`, *Widening* and *The merge*).

use crate::{
    config::Widen,
    nn::{Block, Extent, Layer, Network, NetworkError, Pair, Shapes, Tensor, Weights, layers},
};

/// The teacher's architecture: the student's with `factor` times as many neurons (MLP), mid channels (`mid`) or channels (`all`).
#[must_use]
pub fn widen(student: &Network, factor: u32, how: Widen) -> Network {
    let blocks = student.blocks.iter().map(|block| Block {
        lower: None,
        layers: layers::widened(&block.layers, factor, how),
        lift: None,
    });
    Network { blocks: blocks.collect(), ..student.clone() }
}

/// S̄: a `lift` to the teacher's width after each block and, if `lower` is asked for, an explicit map back before the next. Of blocks that are
/// bottlenecks it is S itself, whose own linear maps are in the pairs' place.
///
/// # Errors
/// If the networks have not the same number of blocks, or the same resolution at each boundary, or a pair could not be
/// folded into what follows it, or bottlenecks have another width than the teacher's blocks; the error names the block.
pub fn bridge(student: &Network, teacher: &Network, lower: bool) -> Result<Network, NetworkError> {
    let (n, m) = (student.blocks.len(), teacher.blocks.len());
    if n != m {
        return Err(NetworkError::Mismatch(format!("the student has {n} blocks, the teacher {m}")));
    }
    let (thin, wide) = (student.shapes()?, teacher.shapes()?);
    (1..=n).try_for_each(|block| same_resolution(&thin, &wide, block))?;
    if student.has_bottlenecks() {
        return bottlenecks(student, &thin, &wide);
    }
    let mut bridged = student.clone();
    for (k, (s, b)) in thin.blocks.iter().zip(&wide.blocks).enumerate() {
        let number = k + 1;
        readers_after(student, k)?;
        bridged.blocks[k].lift = Some(Pair { name: format!("lift.{number}"), out: b.width() });
        if lower && k + 1 < n {
            bridged.blocks[k + 1].lower =
                Some(Pair { name: format!("lower.{number}"), out: s.width() });
        }
    }
    Ok(bridged)
}

/// S̄ of a student whose blocks are bottlenecks, which is S.
fn bottlenecks(student: &Network, thin: &Shapes, wide: &Shapes) -> Result<Network, NetworkError> {
    for (block, (s, b)) in (1..).zip(thin.blocks.iter().zip(&wide.blocks)) {
        let [own, theirs] = [s, b].map(|extent| extent.width());
        if own != theirs {
            return Err(NetworkError::Mismatch(format!(
                "block {block} of the student ends in {own} features, of the teacher in {theirs}; a bottleneck imitates what is as wide as itself: set model.bottleneck={theirs}"
            )));
        }
    }
    Ok(student.clone())
}

/// Refuses a teacher whose block `block` (from 1) does not end in as many positions as the student's: then nothing there can be compared.
///
/// # Errors
/// [`NetworkError::Mismatch`] that names the block.
pub fn same_resolution(thin: &Shapes, wide: &Shapes, block: usize) -> Result<(), NetworkError> {
    let of =
        |shapes: &Shapes| block.checked_sub(1).and_then(|place| shapes.blocks.get(place)).copied();
    let (Some(s), Some(b)) = (of(thin), of(wide)) else {
        return Err(NetworkError::Mismatch(format!(
            "block {block} of the student has none to follow: the student has {} blocks, the teacher {}",
            thin.blocks.len(),
            wide.blocks.len()
        )));
    };
    let same = match (s, b) {
        (Extent::Map(h, w, _), Extent::Map(bh, bw, _)) => (h, w) == (bh, bw),
        (Extent::Flat(_), Extent::Flat(_)) => true,
        (Extent::Sequence(length, _), Extent::Sequence(other, _)) => length == other,
        _ => false,
    };
    match same {
        true => Ok(()),
        false => Err(NetworkError::Mismatch(format!(
            "block {block} of the student ends in {s}, of the teacher in {b}; the resolutions must agree"
        ))),
    }
}

/// Folds every pair into the linear layers behind it: S̄ with its weights → S with its weights, in f64.
///
/// W′ = W · lower · lift for every linear map W that reads the pair; a 1×1 pair without bias commutes with padding and with the
/// average pool, so kernels of any size fold position by position.
///
/// # Errors
/// [`NetworkError::NotMergeable`] where a path behind a pair is not linear; [`NetworkError::Weights`] if a tensor is missing.
pub fn merge(bridged: &Network, weights: &Weights) -> Result<(Network, Weights), NetworkError> {
    let (mut network, mut merged) = (bridged.clone(), weights.clone());
    for k in 0..bridged.blocks.len() {
        let lift = network.blocks[k].lift.take();
        let lower = network.blocks.get_mut(k + 1).and_then(|block| block.lower.take());
        let Some(lift) = lift else {
            if let Some(lower) = lower {
                return Err(NetworkError::Mismatch(format!(
                    "{} has no lift before it",
                    lower.name
                )));
            }
            continue;
        };
        let mut map = Map::of(&mut merged, &lift.name)?;
        if let Some(lower) = lower {
            map = Map::of(&mut merged, &lower.name)?.after(&map)?;
        }
        for reader in readers_after(bridged, k)? {
            let name = format!("{reader}.weight");
            let weight = merged.get_mut(&name).ok_or_else(|| NetworkError::missing(&name))?;
            *weight = map.fold_into(weight, &name)?;
        }
    }
    Ok((network, merged))
}

/// A linear map between widths, in f64: (out, in), row-major.
struct Map {
    out: usize,
    inn: usize,
    data: Vec<f64>,
}

impl Map {
    /// Takes a pair's matrix out of the weights.
    fn of(weights: &mut Weights, pair: &str) -> Result<Self, NetworkError> {
        let name = format!("{pair}.weight");
        let Tensor { shape, data } =
            weights.remove(&name).ok_or_else(|| NetworkError::missing(&name))?;
        let ([out, 1, 1, inn] | [out, inn]) = shape[..] else {
            return Err(NetworkError::Weights(format!(
                "parameter {name} has shape {shape:?}, not that of a pair"
            )));
        };
        Ok(Self { out, inn, data: data.into_iter().map(f64::from).collect() })
    }

    /// self ∘ first
    fn after(&self, first: &Map) -> Result<Map, NetworkError> {
        let rows = fold(&self.data, self.inn, first)?;
        Ok(Map { out: self.out, inn: first.inn, data: rows })
    }

    /// W · self, for a weight whose innermost axis reads the map's output, position by position.
    fn fold_into(&self, weight: &Tensor, name: &str) -> Result<Tensor, NetworkError> {
        let mut shape = weight.shape.clone();
        let last = shape.last_mut().ok_or_else(|| NetworkError::missing(name))?;
        if self.out == 0 || *last % self.out != 0 {
            return Err(NetworkError::Weights(format!(
                "parameter {name} reads {last} features, the pair gives {}",
                self.out
            )));
        }
        *last = *last / self.out * self.inn;
        let wide: Vec<f64> = weight.data.iter().map(|&w| f64::from(w)).collect();
        let data = fold(&wide, self.out, self)?.into_iter().map(|w| w as f32).collect();
        Ok(Tensor { shape, data })
    }
}

/// rows (·, width) times the map (width, in), in f64.
fn fold(rows: &[f64], width: usize, map: &Map) -> Result<Vec<f64>, NetworkError> {
    if width != map.out {
        return Err(NetworkError::Mismatch(format!(
            "a map of {} features meets one of {width}",
            map.out
        )));
    }
    let mut folded = Vec::with_capacity(rows.len() / width * map.inn);
    for row in rows.chunks_exact(width) {
        let mut sum = vec![0.0; map.inn];
        for (w, column) in row.iter().zip(map.data.chunks_exact(map.inn)) {
            for (s, p) in sum.iter_mut().zip(column) {
                *s += w * p;
            }
        }
        folded.extend(sum);
    }
    Ok(folded)
}

/// Paths of the linear maps that read the output of block `k`: all of them, on every way.
///
/// # Errors
/// [`NetworkError::NotMergeable`] if something else reads it.
pub fn readers_after(network: &Network, k: usize) -> Result<Vec<String>, NetworkError> {
    let (next, block): (Vec<&[Layer]>, _) = match network.blocks.get(k + 1) {
        Some(next) => (vec![&next.layers], (k + 2).to_string()),
        // A prefix has none: that is the end of the network.
        None => (network.heads().collect(), "head".to_owned()),
    };
    let next = if next.is_empty() { vec![&[][..]] } else { next };
    let readers: Result<Vec<_>, String> = next.into_iter().map(layers::readers).collect();
    let readers = readers.map_err(|obstacle| NetworkError::NotMergeable { block, obstacle })?;
    Ok(readers.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Mlp, Model, Resnet, Stem, Unit},
        models, nn,
    };

    fn counts(model: &Model, factor: u32) -> (f64, f64, f64, f64) {
        let student = models::network(model, Extent::Map(224, 224, 3), 1000);
        let teacher = widen(&student, factor, Widen::Mid);
        let (s, b) = (student.shapes().unwrap(), teacher.shapes().unwrap());
        let millions = |n: u64| (n as f64 / 1e4).round() / 100.0;
        (
            millions(s.param_count()),
            millions(b.param_count()),
            s.total_macs() as f64 / 1e9,
            b.total_macs() as f64 / 1e9,
        )
    }

    #[test]
    fn table_1_of_the_paper() {
        let resnet = |third, width| {
            Model::Resnet(Resnet {
                width,
                base: 64,
                unit: Unit::Bottleneck,
                stem: Stem::Imagenet,
                blocks: vec![3, 4, third, 3],
            })
        };
        // (units of conv4_x, width, student and teacher: millions of parameters, billions of multiply-adds as printed there)
        let rows = [
            (6, 1.0, 25.56, 68.88, 4.1, 11.0),
            (6, 0.5, 6.92, 17.75, 1.1, 2.9),
            (6, 0.25, 1.99, 4.70, 0.29, 0.75),
            (23, 1.0, 44.55, 126.89, 7.9, 23.0),
            (23, 0.5, 11.68, 32.27, 2.0, 5.8),
            (23, 0.25, 3.19, 8.34, 0.53, 1.5),
        ];
        for (third, width, student, teacher, student_macs, teacher_macs) in rows {
            let (s, t, sm, tm) = counts(&resnet(third, width), 2);
            assert_eq!((s, t), (student, teacher), "parameters at {third}, {width}");
            assert!((sm / student_macs - 1.0).abs() < 0.05, "student of {third}, {width}: {sm}");
            assert!((tm / teacher_macs - 1.0).abs() < 0.05, "teacher of {third}, {width}: {tm}");
        }
    }

    fn mlp() -> Network {
        let config = Mlp { hidden: vec![11, 17, 9, 5], blocks: vec![1, 2, 1], ..Mlp::default() };
        models::network(&Model::Mlp(config), Extent::Flat(7), 3)
    }

    #[test]
    fn merging_what_was_bridged_gives_the_student_back() {
        for lower in [false, true] {
            let student = mlp();
            let bridged = bridge(&student, &widen(&student, 3, Widen::Mid), lower).unwrap();
            assert!(bridged.is_bridged());
            let weights = nn::fresh(&bridged, 1).unwrap();
            let (merged, merged_weights) = merge(&bridged, &weights).unwrap();
            assert_eq!(merged, student);
            let shapes: Vec<_> =
                student.shapes().unwrap().params.into_iter().map(|p| (p.name, p.shape)).collect();
            assert_eq!(merged_weights.len(), shapes.len());
            for (name, shape) in shapes {
                assert_eq!(merged_weights[&name].shape, shape, "{name}");
            }
        }
    }

    #[test]
    fn an_identity_shortcut_at_the_door_is_refused_by_name() {
        let config = Resnet { blocks: vec![1, 1], base: 4, stem: Stem::Cifar, ..Resnet::default() };
        let mut student = models::network(&Model::Resnet(config), Extent::Map(8, 8, 3), 10);
        let nn::Layer::Unit(unit) = &mut student.blocks[1].layers[0] else {
            panic!("layer2.0 is a unit")
        };
        unit.shortcut.clear();
        let refusal = readers_after(&student, 0).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "block 2 cannot be merged: the pair before it meets the identity shortcut of layer2.0, which is not linear on every path"
        );
    }
}
