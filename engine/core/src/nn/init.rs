//! Fresh weights: a function of (seed, name of the tensor), nothing else.

use super::{Fill, Network, NetworkError, ParamSpec, Tensor, Weights};
use crate::random::{self, Stream};

/// Fresh weights and statistics for a whole network.
///
/// # Errors
/// If a layer does not take what flows into it.
pub fn fresh(network: &Network, seed: u64) -> Result<Weights, NetworkError> {
    Ok(network
        .shapes()?
        .params
        .iter()
        .map(|spec| (spec.name.clone(), fresh_tensor(spec, seed)))
        .collect())
}

/// A fresh tensor.
pub fn fresh_tensor(spec: &ParamSpec, seed: u64) -> Tensor {
    let mut stream = Stream::new(&[seed, random::name(&spec.name)]);
    let ends = (spec.shape.first(), spec.shape.last());
    let (rows, columns) = (ends.0.map_or(0, |&n| n), ends.1.map_or(1, |&n| n));
    let identity = match spec.fill {
        Fill::BelowIdentity { .. } => rows.min(columns) * columns,
        _ => 0,
    };
    let mut draw = |at: usize| match spec.fill {
        Fill::BelowIdentity { .. } if at < identity => f32::from(at / columns == at % columns),
        Fill::Constant(value) => value,
        Fill::Uniform { fan } => {
            let bound = 1.0 / f64::from(fan.max(1)).sqrt();
            stream.between(-bound, bound) as f32
        }
        Fill::Normal { std } | Fill::BelowIdentity { std } => (stream.normal() * std) as f32,
        Fill::He { fan } => (stream.normal() * (2.0 / f64::from(fan.max(1))).sqrt()) as f32,
    };
    let data = (0..spec.shape.iter().product::<usize>()).map(&mut draw).collect();
    Tensor { shape: spec.shape.clone(), data }
}
