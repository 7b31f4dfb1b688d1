//! The host's linear algebra in f64: what the starts and the merge need, and no more.
//!
//! Sums run in an order that depends on the shapes alone, never on the number of cores: the same inputs give the same bits everywhere.

mod matrix;
mod products;

use crate::random::Stream;
pub use matrix::Matrix;
use matrix::{add_scaled, dot};
pub use products::{Part, Workers, cross, gram, with_ones};

/// [`pick`] stops before a pivot that is smaller than this share of the first one.
pub const PICK_STOP: f64 = 1e-6;

/// [`ridge`]'s λ as a share of the mean of diag(HᵀH).
pub const RIDGE_LAMBDA: f64 = 1e-3;

/// What [`ridge`] can fail with.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum LinalgError {
    /// Infinite or NaN activations, or λ = 0 on dependent columns.
    #[error(
        "the Gram matrix of the student's activations has the pivot {pivot} in column {column}; pivots must be positive and finite"
    )]
    NotPositiveDefinite {
        /// The column where the factorisation stopped.
        column: usize,
        /// What stood on its diagonal.
        pivot: f64,
    },
}

/// The columns of T that span it best: pivoted Cholesky of `gram` = TᵀT, which are the pivots of a pivoted QR of T.
///
/// `m` times the unpicked column of the largest residual is taken, ties go to the lower index. It stops before a residual below `stop` (see
/// [`PICK_STOP`]) of the first pivot, and before one that is zero: the answer may be shorter than `m`. It is in the order of the picks.
///
/// # Panics
/// If `gram` is not square.
pub fn pick(gram: &Matrix, m: usize, stop: f64) -> Vec<usize> {
    let size = gram.rows;
    assert_eq!(size, gram.cols, "a Gram matrix is square");
    let mut residual: Vec<f64> = (0..size).map(|i| gram[(i, i)]).collect();
    let first = residual.iter().copied().fold(0.0, f64::max);
    let mut free = vec![true; size];
    let mut picked = Vec::new();
    // Row k is column k of the Cholesky factor.
    let mut factor: Vec<Vec<f64>> = Vec::new();
    while picked.len() < m.min(size) {
        // Rounding makes residuals negative and NaN compares false: neither is ever picked.
        let (mut best, mut largest) = (None, 0.0);
        for (i, &r) in residual.iter().enumerate() {
            if free[i] && r > largest {
                (best, largest) = (Some(i), r);
            }
        }
        let Some(best) = best.filter(|_| largest >= stop * first) else { break };
        let mut column = gram.row(best).to_vec();
        for before in &factor {
            add_scaled(&mut column, -before[best], before);
        }
        let root = largest.sqrt();
        for (r, c) in residual.iter_mut().zip(&mut column) {
            *c /= root;
            *r -= *c * *c;
        }
        free[best] = false;
        picked.push(best);
        factor.push(column);
    }
    picked
}

/// The groups of neighbouring columns of C that add most, one after the other, to a sum over the groups of a linear map of each.
///
/// `covariance` is that of C up to a factor, and `gains` has for each group O_kᵀO_k of its map O_k. `m` times the group with the largest
/// tr(O_k R_kk O_kᵀ) is taken, where R is the Schur complement of the covariance given the groups taken so far, that is, what they do not tell of the
/// others. Ties, end and order are those of [`pick`], with that trace for the residual; inside of a group, columns of which less than `stop` of the
/// largest variance is left count as told.
///
/// # Panics
/// If `covariance` is not square, or `gains` are not groups of equal size that make up its columns.
pub fn pick_groups(covariance: &Matrix, gains: &[Matrix], m: usize, stop: f64) -> Vec<usize> {
    let size = covariance.rows;
    let each = gains.first().map_or(0, |gain| gain.rows);
    assert!(size == covariance.cols && size == each * gains.len(), "groups of equal size");
    let mut residual = covariance.clone();
    let least = stop * (0..size).map(|i| covariance[(i, i)]).fold(0.0, f64::max);
    let (mut first, mut picked) = (None, Vec::new());
    while picked.len() < m.min(gains.len()) {
        let gain = |k: usize| -> f64 {
            let of_row =
                |i: usize| dot(gains[k].row(i), &residual.row(k * each + i)[k * each..][..each]);
            (0..each).map(of_row).sum()
        };
        let (mut best, mut largest) = (None, 0.0);
        for k in (0..gains.len()).filter(|k| !picked.contains(k)) {
            let gain = gain(k);
            if gain > largest {
                (best, largest) = (Some(k), gain);
            }
        }
        let first = *first.get_or_insert(largest);
        let Some(best) = best.filter(|_| largest >= stop * first) else { break };
        picked.push(best);
        let mut left: Vec<usize> = (best * each..(best + 1) * each).collect();
        loop {
            let mut next: Option<usize> = None;
            for (place, &column) in left.iter().enumerate() {
                let variance = residual[(column, column)];
                let more = |place: usize| variance > residual[(left[place], left[place])];
                if variance > least && next.is_none_or(more) {
                    next = Some(place);
                }
            }
            let Some(next) = next else { break };
            let column = left.remove(next);
            let (row, pivot) = (residual.row(column).to_vec(), residual[(column, column)]);
            for (i, &x) in row.iter().enumerate() {
                add_scaled(residual.row_mut(i), -x / pivot, &row);
            }
        }
    }
    picked
}

/// The map from what the student has (H) to what the teacher has (T): `R = TᵀH (HᵀH + λI)⁻¹`, R of T's width × H's width.
///
/// `hth` = HᵀH, `tth` = TᵀH, λ = `lambda` (see [`RIDGE_LAMBDA`]) · mean diag(HᵀH). A dead column of H has a zero column in R; R = 0 if H = 0.
///
/// # Errors
/// [`LinalgError::NotPositiveDefinite`] if the Gram matrix has a number that is not finite, or if λ = 0 and columns of H depend on each other.
///
/// # Panics
/// If the sizes do not fit.
pub fn ridge(hth: &Matrix, tth: &Matrix, lambda: f64) -> Result<Matrix, LinalgError> {
    let size = hth.rows;
    assert_eq!((size, size), (hth.cols, tth.cols), "sizes of HᵀH and TᵀH");
    // The diagonal holds the squares' sums: if it is zero, all is.
    if (0..size).all(|i| hth[(i, i)] == 0.0) {
        return Ok(Matrix::zeros(tth.rows, size));
    }
    let penalty = lambda * (0..size).map(|i| hth[(i, i)]).sum::<f64>() / size as f64;
    let mut system = hth.clone();
    for i in 0..size {
        system[(i, i)] += penalty;
    }
    let lower = cholesky(system)?;
    let mut map = tth.clone();
    for row in 0..map.rows {
        solve(&lower, map.row_mut(row));
    }
    Ok(map)
}

/// [`ridge`] with an intercept: both Gram matrices were made with H's column of ones behind it ([`with_ones`]), which counts as any other
/// column, in λ as well. The result is (R, c).
///
/// # Errors
/// As [`ridge`].
///
/// # Panics
/// If the sizes do not fit.
pub fn ridge_with_intercept(
    hth: &Matrix,
    tth: &Matrix,
    lambda: f64,
) -> Result<(Matrix, Vec<f64>), LinalgError> {
    let both = ridge(hth, tth, lambda)?;
    let width = both.cols.checked_sub(1).expect("a column of ones");
    let map = (0..both.rows).flat_map(|i| &both.row(i)[..width]).copied().collect();
    let intercept = (0..both.rows).map(|i| both[(i, width)]).collect();
    Ok((Matrix::new(both.rows, width, map), intercept))
}

/// The lower factor L of `LLᵀ`; what stands above the diagonal is left as it was.
fn cholesky(mut a: Matrix) -> Result<Matrix, LinalgError> {
    let size = a.rows;
    for i in 0..size {
        let (above, below) = a.data.split_at_mut(i * size);
        let row = &mut below[..size];
        for (j, l) in above.chunks_exact(size).enumerate() {
            row[j] = (row[j] - dot(&row[..j], &l[..j])) / l[j];
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        if !(pivot > 0.0 && pivot.is_finite()) {
            return Err(LinalgError::NotPositiveDefinite { column: i, pivot });
        }
        row[i] = pivot.sqrt();
    }
    Ok(a)
}

/// Overwrites `x` with `(LLᵀ)⁻¹ x`.
fn solve(lower: &Matrix, x: &mut [f64]) {
    for i in 0..x.len() {
        let l = lower.row(i);
        x[i] = (x[i] - dot(&l[..i], &x[..i])) / l[i];
    }
    for i in (0..x.len()).rev() {
        let l = lower.row(i);
        let (before, rest) = x.split_at_mut(i);
        rest[0] /= l[i];
        add_scaled(before, -rest[0], &l[..i]);
    }
}

/// A random matrix with orthonormal columns (`rows` ≥ `cols`) or rows: QR of Gaussian numbers, R's diagonal positive, so that the
/// distribution is the uniform one. A function of the sizes and of `seed`.
pub fn semi_orthogonal(rows: usize, cols: usize, seed: u64) -> Matrix {
    let (count, length) = (rows.min(cols), rows.max(cols));
    let mut stream = Stream::new(&[seed]);
    let mut basis =
        Matrix::new(count, length, (0..count * length).map(|_| stream.normal()).collect());
    for k in 0..count {
        let (before, rest) = basis.data.split_at_mut(k * length);
        let vector = &mut rest[..length];
        // Twice is enough: the second round removes what rounding left of the first.
        for _ in 0..2 {
            for unit in before.chunks_exact(length) {
                add_scaled(vector, -dot(unit, vector), unit);
            }
        }
        let norm = dot(vector, vector).sqrt();
        vector.iter_mut().for_each(|x| *x /= norm);
    }
    if rows < cols { basis } else { basis.transposed() }
}

#[cfg(test)]
mod tests {
    use super::{
        products::tests::{assert_close, numbers},
        *,
    };

    #[test]
    fn ties_go_to_the_lower_index() {
        assert_eq!(pick(&Matrix::identity(4), 3, PICK_STOP), [0, 1, 2]);
        // Columns 1 and 2 are the same: after one of them nothing is left of the other.
        let twins = Matrix::new(3, 3, vec![1.0, 0.0, 0.0, 0.0, 2.0, 2.0, 0.0, 2.0, 2.0]);
        assert_eq!(pick(&twins, 3, PICK_STOP), [1, 0]);
    }

    #[test]
    fn pick_stops_where_nothing_is_left() {
        assert_eq!(pick(&Matrix::zeros(3, 3), 2, PICK_STOP), [0; 0]);
        let mut small = Matrix::identity(3);
        small[(1, 1)] = 0.9e-6;
        small[(2, 2)] = 1.1e-6;
        assert_eq!(pick(&small, 3, PICK_STOP), [0, 2]);
        assert_eq!(pick(&Matrix::identity(2), 5, PICK_STOP), [0, 1]);
    }

    #[test]
    fn groups_are_picked_by_what_the_others_do_not_tell() {
        // Four groups of two columns; the third is the first one again but for a little, the last has no gain.
        let (rows, each) = (500, 2);
        let free = numbers(rows * 7, 11);
        let mut c = Vec::new();
        for row in free.chunks_exact(7) {
            let twin = [row[0] + row[1] + 0.01 * row[4], row[1] - 2.0 * row[0] + 0.01 * row[5]];
            c.extend([
                row[0],
                row[1],
                0.5 * row[2],
                0.5 * row[3],
                twin[0],
                twin[1],
                row[6],
                row[6],
            ]);
        }
        let covariance = gram(&c, 8, Workers::ONE);
        let gain = |x: f64| Matrix::new(each, each, vec![x, 0.0, 0.0, x]);
        let gains = [gain(4.0), gain(1.0), gain(1.0), gain(0.0)];
        assert_eq!(pick_groups(&covariance, &gains, 2, PICK_STOP), [0, 1]);
        assert_eq!(pick_groups(&covariance, &gains, 4, PICK_STOP), [0, 1, 2]);
        // Of two that are equal the first.
        let gains = [gain(1.0), gain(1.0), gain(0.0), gain(0.0)];
        let twins: Vec<f32> = c
            .chunks_exact(8)
            .flat_map(|r| [r[0], r[1], r[0], r[1], r[2], r[3], r[4], r[5]])
            .collect();
        assert_eq!(pick_groups(&gram(&twins, 8, Workers::ONE), &gains, 4, PICK_STOP), [0]);
        assert_eq!(pick_groups(&Matrix::zeros(8, 8), &gains, 4, PICK_STOP), [0; 0]);
        assert_eq!(pick_groups(&Matrix::zeros(0, 0), &[], 4, PICK_STOP), [0; 0]);
    }

    #[test]
    fn ridge_without_penalty_recovers_the_map() {
        let h = numbers(200 * 6, 5);
        let map = Matrix::from_f32(4, 6, &numbers(24, 6));
        let hm = Matrix::from_f32(200, 6, &h);
        let hth = gram(&h, 6, Workers::ONE);
        let tth = map.times(&hm.transposed().times(&hm));
        assert_close(ridge(&hth, &tth, 0.0).unwrap().data(), map.data(), 1e-12);
    }

    #[test]
    fn ridge_is_zero_where_the_student_is_dead() {
        assert_eq!(
            ridge(&Matrix::zeros(3, 3), &Matrix::zeros(2, 3), RIDGE_LAMBDA).unwrap(),
            Matrix::zeros(2, 3)
        );
        // One dead column out of three.
        let h: Vec<f32> = numbers(150, 7)
            .iter()
            .enumerate()
            .map(|(i, x)| if i % 3 == 1 { 0.0 } else { *x })
            .collect();
        let map = ridge(
            &gram(&h, 3, Workers::ONE),
            &cross(&numbers(100, 8), 2, &h, 3, Workers::ONE),
            RIDGE_LAMBDA,
        )
        .unwrap();
        assert!((0..2).all(|i| map[(i, 1)] == 0.0 && map[(i, 0)] != 0.0));
    }

    #[test]
    fn ridge_refuses_what_has_no_factor() {
        let mut bad = Matrix::identity(2);
        bad[(1, 1)] = f64::NAN;
        assert!(matches!(
            ridge(&bad, &Matrix::zeros(1, 2), RIDGE_LAMBDA),
            Err(LinalgError::NotPositiveDefinite { .. })
        ));
        let twins = Matrix::new(2, 2, vec![1.0; 4]);
        let error = ridge(&twins, &Matrix::zeros(1, 2), 0.0).unwrap_err();
        assert_eq!(error, LinalgError::NotPositiveDefinite { column: 1, pivot: 0.0 });
    }

    #[test]
    fn semi_orthogonal_is() {
        for (rows, cols) in [(7, 3), (3, 7), (40, 40), (1, 5)] {
            let q = semi_orthogonal(rows, cols, 9);
            assert_eq!((q.rows(), q.cols()), (rows, cols));
            let product =
                if rows < cols { q.times(&q.transposed()) } else { q.transposed().times(&q) };
            assert_close(product.data(), Matrix::identity(rows.min(cols)).data(), 1e-14);
        }
        assert_eq!(semi_orthogonal(4, 2, 1), semi_orthogonal(4, 2, 1));
        assert_ne!(semi_orthogonal(4, 2, 1), semi_orthogonal(4, 2, 2));
    }

    /// The NumPy numbers of tests/golden/starts.py.
    #[test]
    fn pick_and_ridge_agree_with_numpy() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/starts/linalg.safetensors");
        let bytes = std::fs::read(path).expect("golden file");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("golden file");
        let single = |name: &str| -> (Vec<f32>, usize) {
            let tensor = file.tensor(name).expect(name);
            let data = tensor
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            (data, tensor.shape()[1])
        };
        let double = |name: &str| -> Vec<f64> {
            file.tensor(name)
                .expect(name)
                .data()
                .chunks_exact(8)
                .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
                .collect()
        };
        for (case, m, intercept) in
            [("plain", 7, false), ("intercept", 13, true), ("rank", 10, false), ("dead", 11, true)]
        {
            let (t, t_cols) = single(&format!("{case}.T"));
            let (mut h, mut h_cols) = single(&format!("{case}.H"));
            let picks = file.tensor(&format!("{case}.pick")).unwrap();
            let picks: Vec<_> = picks
                .data()
                .chunks_exact(4)
                .map(|b| u32::from_le_bytes(b.try_into().unwrap()) as usize)
                .collect();
            assert_eq!(pick(&gram(&t, t_cols, Workers::ONE), m, PICK_STOP), picks, "{case}");
            if intercept {
                h = with_ones(&h, h_cols);
                h_cols += 1;
                let (map, c) = ridge_with_intercept(
                    &gram(&h, h_cols, Workers::ONE),
                    &cross(&t, t_cols, &h, h_cols, Workers::ONE),
                    RIDGE_LAMBDA,
                )
                .unwrap();
                assert_close(map.data(), &double(&format!("{case}.R")), 1e-11);
                assert_close(&c, &double(&format!("{case}.c")), 1e-11);
            } else {
                let map = ridge(
                    &gram(&h, h_cols, Workers::ONE),
                    &cross(&t, t_cols, &h, h_cols, Workers::ONE),
                    RIDGE_LAMBDA,
                )
                .unwrap();
                assert_close(map.data(), &double(&format!("{case}.R")), 1e-11);
            }
        }
    }
}
