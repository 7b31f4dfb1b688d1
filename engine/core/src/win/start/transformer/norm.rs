//! Layer norms of a student, fitted to what the teacher's give.

use super::super::{Probe, Rows, block::BlockStart};
use crate::nn::NetworkError;

/// Variance under which a normalised feature counts as constant: no line can be fitted to it.
const CONSTANT: f64 = 1e-12;

/// Sets a layer norm, whose output is taken at `tap`, to the line of each feature that is nearest to the target: γ = cov(t, x̂) / var x̂ and
/// β = mean t − γ mean x̂, where x̂ is what it normalises.
pub(super) fn fit_norm<P: Probe>(
    start: &mut BlockStart<'_, P>,
    norm: &str,
    tap: &str,
    target: &Rows,
) -> Result<(), P::Error> {
    let width = target.width;
    let [gamma, beta] = ["weight", "bias"].map(|part| format!("{norm}.{part}"));
    start.put(&gamma, tap, &[width], &vec![1.0; width], false)?;
    start.put(&beta, tap, &[width], &vec![0.0; width], false)?;
    let normal = start.student_rows(tap)?;
    start.same_rows(&normal, target, norm)?;
    let (slopes, shifts) = lines(&normal, target);
    if !slopes.iter().chain(&shifts).all(|x| x.is_finite()) {
        let number = start.block + 1;
        let problem =
            format!("block {number} cannot start at {norm}: its activations are not finite");
        return Err(NetworkError::Weights(problem).into());
    }
    start.put(&gamma, tap, &[width], &slopes, false)?;
    start.put(&beta, tap, &[width], &shifts, false)?;
    Ok(())
}

/// Slope and shift of the line from each column of `x` to that of `t` with the least squared error; a slope of 1 where the column is constant.
pub(super) fn lines(x: &Rows, t: &Rows) -> (Vec<f32>, Vec<f32>) {
    let width = x.width;
    let count = (x.data.len() / width.max(1)) as f64;
    let means = |rows: &Rows| {
        let mut sums = vec![0.0; width];
        for row in rows.data.chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        sums.iter().map(|sum| sum / count).collect::<Vec<f64>>()
    };
    let (own, theirs) = (means(x), means(t));
    let (mut variance, mut covariance) = (vec![0.0; width], vec![0.0; width]);
    for (row, wanted) in x.data.chunks_exact(width).zip(t.data.chunks_exact(width)) {
        for at in 0..width {
            let apart = f64::from(row[at]) - own[at];
            variance[at] += apart * apart;
            covariance[at] += apart * (f64::from(wanted[at]) - theirs[at]);
        }
    }
    let slope = |at: usize| match variance[at] > CONSTANT * count {
        true => covariance[at] / variance[at],
        false => 1.0,
    };
    let slopes: Vec<f64> = (0..width).map(slope).collect();
    let shifts = (0..width).map(|at| (theirs[at] - slopes[at] * own[at]) as f32).collect();
    (slopes.iter().map(|&x| x as f32).collect(), shifts)
}
