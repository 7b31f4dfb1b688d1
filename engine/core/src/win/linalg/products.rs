//! Products of activation matrices, by register tiles. Who calls says who works on them, as this crate has no threads.

use super::matrix::Matrix;

/// A part of a product. Parts do not depend on each other.
pub type Part<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Who works on the parts of a product, whose bits are the same whoever it is.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    /// How many parts are worked on at once.
    pub count: usize,
    /// Runs all parts, in any order, and returns when all of them are done.
    pub run: fn(Vec<Part<'_>>),
}

impl Workers {
    /// The calling thread alone.
    pub const ONE: Self = Self { count: 1, run: one_by_one };
}

fn one_by_one(parts: Vec<Part<'_>>) {
    parts.into_iter().for_each(|part| part());
}

/// `XᵀX` of activations (rows × `cols`, row-major).
///
/// # Panics
/// If `x` is no whole number of rows.
pub fn gram(x: &[f32], cols: usize, workers: Workers) -> Matrix {
    products(x, cols, None, workers)
}

/// `TᵀH` (`t_cols` × `h_cols`) of two activation matrices over the same rows.
///
/// # Panics
/// If one of them is no whole number of rows, or if their numbers of rows differ.
pub fn cross(t: &[f32], t_cols: usize, h: &[f32], h_cols: usize, workers: Workers) -> Matrix {
    products(t, t_cols, Some((h, h_cols)), workers)
}

/// H with a column of ones behind its own: what `ridge_with_intercept`'s Gram matrices are made of.
///
/// # Panics
/// If `h` is no whole number of rows.
pub fn with_ones(h: &[f32], cols: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(h.len() + row_count(h, cols));
    for row in h.chunks_exact(cols) {
        out.extend_from_slice(row);
        out.push(1.0);
    }
    out
}

fn row_count(x: &[f32], cols: usize) -> usize {
    assert!(cols > 0 && x.len().is_multiple_of(cols), "{} numbers are no rows of {cols}", x.len());
    x.len() / cols
}

/// Columns that a register tile takes from either side.
const TILE: usize = 4;

/// Rows that are widened to f64 at a time: a panel of 512 columns is 512 KiB and stays in the second cache.
const PANEL: usize = 128;

/// Multiply-adds below which cutting the work into parts costs more than it saves.
const WORTH_PARTS: usize = 1 << 21;

/// `AᵀB`, or `AᵀA` if there is no `B`. A 4 × 4 tile of the result belongs to one part, which adds up the panels from the first to the last.
fn products(a: &[f32], a_cols: usize, b: Option<(&[f32], usize)>, workers: Workers) -> Matrix {
    let rows = row_count(a, a_cols);
    let b_cols = b.map_or(a_cols, |(_, cols)| cols);
    if let Some((b, cols)) = b {
        assert_eq!(row_count(b, cols), rows, "rows of both factors");
    }
    let symmetric = b.is_none();
    let mut tiles = Vec::new();
    for i in 0..a_cols.div_ceil(TILE) {
        for j in if symmetric { i } else { 0 }..b_cols.div_ceil(TILE) {
            tiles.push((i, j));
        }
    }
    let count = if rows * tiles.len() * TILE * TILE < WORTH_PARTS { 1 } else { workers.count };
    let share = tiles.len().div_ceil(count).max(1);
    let work = |mine: &[(usize, usize)], sums: &mut [[[f64; TILE]; TILE]]| {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for start in (0..rows).step_by(PANEL) {
            let count = PANEL.min(rows - start);
            pack(&mut left, &a[start * a_cols..][..count * a_cols], a_cols);
            if let Some((b, cols)) = b {
                pack(&mut right, &b[start * cols..][..count * cols], cols);
            }
            let right = if symmetric { &left } else { &right };
            for (sum, &(i, j)) in sums.iter_mut().zip(mine) {
                let width = count * TILE;
                add_tile(sum, &left[i * width..][..width], &right[j * width..][..width]);
            }
        }
    };
    let mut sums = vec![[[0.0; TILE]; TILE]; tiles.len()];
    if count == 1 {
        work(&tiles, &mut sums);
    } else {
        let work = &work;
        let parts = tiles.chunks(share).zip(sums.chunks_mut(share));
        (workers.run)(
            parts.map(|(mine, sums)| Box::new(|| work(mine, sums)) as Part<'_>).collect(),
        );
    }
    let mut out = Matrix::zeros(a_cols, b_cols);
    for (&(i, j), sum) in tiles.iter().zip(&sums) {
        for (r, sums) in (i * TILE..a_cols).zip(sum) {
            for (c, &x) in (j * TILE..b_cols).zip(sums) {
                out[(r, c)] = x;
                if symmetric {
                    out[(c, r)] = x;
                }
            }
        }
    }
    out
}

/// Widens a panel and lays it out as groups of `TILE` columns, rows of a group in sequence, missing columns as zeros.
fn pack(to: &mut Vec<f64>, panel: &[f32], cols: usize) {
    to.clear();
    for at in (0..cols).step_by(TILE) {
        let width = TILE.min(cols - at);
        for row in panel.chunks_exact(cols) {
            let mut group = [0.0; TILE];
            for (g, &x) in group.iter_mut().zip(&row[at..at + width]) {
                *g = f64::from(x);
            }
            to.extend_from_slice(&group);
        }
    }
}

/// `sum += LᵀR` over one panel. The panel's own sum starts at zero: shorter chains of additions lose less.
fn add_tile(sum: &mut [[f64; TILE]; TILE], left: &[f64], right: &[f64]) {
    let mut tile = [[0.0; TILE]; TILE];
    for (l, r) in left.as_chunks::<TILE>().0.iter().zip(right.as_chunks::<TILE>().0) {
        for (t, &x) in tile.iter_mut().zip(l) {
            for (t, &y) in t.iter_mut().zip(r) {
                *t += x * y;
            }
        }
    }
    for (s, t) in sum.iter_mut().flatten().zip(tile.iter().flatten()) {
        *s += t;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::random::Stream;

    pub(in super::super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut stream = Stream::new(&[seed]);
        (0..count).map(|_| stream.normal() as f32).collect()
    }

    pub(in super::super) fn assert_close(found: &[f64], wanted: &[f64], tolerance: f64) {
        assert_eq!(found.len(), wanted.len());
        let scale = wanted.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
        for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
            assert!((f - w).abs() <= tolerance * scale, "number {i}: {f} instead of {w}");
        }
    }

    #[test]
    fn products_are_sums_over_rows() {
        for (rows, t_cols, h_cols) in [(1, 1, 1), (5, 3, 9), (129, 7, 4), (300, 13, 22)] {
            let (t, h) = (numbers(rows * t_cols, 1), numbers(rows * h_cols, 2));
            let (tm, hm) = (Matrix::from_f32(rows, t_cols, &t), Matrix::from_f32(rows, h_cols, &h));
            assert_close(
                cross(&t, t_cols, &h, h_cols, Workers::ONE).data(),
                tm.transposed().times(&hm).data(),
                1e-13,
            );
            assert_close(
                gram(&h, h_cols, Workers::ONE).data(),
                hm.transposed().times(&hm).data(),
                1e-13,
            );
        }
    }

    #[test]
    fn products_do_not_depend_on_who_works_on_them() {
        let (rows, cols) = (3000, 45);
        assert!(rows * cols * cols / 2 > WORTH_PARTS, "large enough for parts");
        let x = numbers(rows * cols, 3);
        let y = numbers(rows * 30, 4);
        let from_last = |parts: Vec<Part<'_>>| parts.into_iter().rev().for_each(|part| part());
        for count in [2, 3, 7, 200] {
            let workers = Workers { count, run: from_last };
            assert_eq!(gram(&x, cols, Workers::ONE), gram(&x, cols, workers));
            assert_eq!(cross(&x, cols, &y, 30, Workers::ONE), cross(&x, cols, &y, 30, workers));
        }
    }
}
