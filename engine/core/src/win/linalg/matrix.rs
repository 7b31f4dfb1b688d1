//! A dense matrix.

use std::ops::{AddAssign, Index, IndexMut};

/// A dense matrix, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) data: Vec<f64>,
}

impl Matrix {
    /// A matrix over `data`, row after row.
    ///
    /// # Panics
    /// If `data` has not `rows · cols` numbers.
    pub fn new(rows: usize, cols: usize, data: Vec<f64>) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows} × {cols} matrix");
        Self { rows, cols, data }
    }

    /// All zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// Ones on the diagonal.
    pub fn identity(size: usize) -> Self {
        let mut matrix = Self::zeros(size, size);
        for i in 0..size {
            matrix[(i, i)] = 1.0;
        }
        matrix
    }

    /// Widens f32 numbers, row after row.
    ///
    /// # Panics
    /// If `data` has not `rows · cols` numbers.
    pub fn from_f32(rows: usize, cols: usize, data: &[f32]) -> Self {
        Self::new(rows, cols, data.iter().map(|&x| f64::from(x)).collect())
    }

    /// Rounds to f32, row after row.
    pub fn to_f32(&self) -> Vec<f32> {
        self.data.iter().map(|&x| x as f32).collect()
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All numbers, row after row.
    pub fn data(&self) -> &[f64] {
        &self.data
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.data[row * self.cols..(row + 1) * self.cols]
    }

    /// One row, to be changed.
    pub fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.data[row * self.cols..(row + 1) * self.cols]
    }

    /// The rows `at`, in that order; a row may be named twice.
    pub fn select_rows(&self, at: &[usize]) -> Self {
        Self {
            rows: at.len(),
            cols: self.cols,
            data: at.iter().flat_map(|&row| self.row(row)).copied().collect(),
        }
    }

    /// The transpose.
    pub fn transposed(&self) -> Self {
        let mut out = Self::zeros(self.cols, self.rows);
        for i in 0..self.rows {
            for (j, &x) in self.row(i).iter().enumerate() {
                out[(j, i)] = x;
            }
        }
        out
    }

    /// `self · right`.
    ///
    /// # Panics
    /// If `self` has not as many columns as `right` has rows.
    pub fn times(&self, right: &Self) -> Self {
        assert_eq!(
            self.cols, right.rows,
            "{} × {} times {} × {}",
            self.rows, self.cols, right.rows, right.cols
        );
        let mut out = Self::zeros(self.rows, right.cols);
        for i in 0..self.rows {
            for (k, &x) in self.row(i).iter().enumerate() {
                add_scaled(&mut out.data[i * right.cols..][..right.cols], x, right.row(k));
            }
        }
        out
    }

    /// `self · vector`.
    ///
    /// # Panics
    /// If `self` has not as many columns as `vector` has numbers.
    pub fn times_vector(&self, vector: &[f64]) -> Vec<f64> {
        assert_eq!(
            self.cols,
            vector.len(),
            "{} × {} times a vector of {}",
            self.rows,
            self.cols,
            vector.len()
        );
        (0..self.rows).map(|i| dot(self.row(i), vector)).collect()
    }
}

impl Index<(usize, usize)> for Matrix {
    type Output = f64;

    fn index(&self, (row, col): (usize, usize)) -> &f64 {
        &self.data[row * self.cols + col]
    }
}

impl IndexMut<(usize, usize)> for Matrix {
    fn index_mut(&mut self, (row, col): (usize, usize)) -> &mut f64 {
        &mut self.data[row * self.cols + col]
    }
}

impl AddAssign<&Matrix> for Matrix {
    /// Gram matrices of further rows add up.
    fn add_assign(&mut self, other: &Matrix) {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols), "sizes of a sum");
        add_scaled(&mut self.data, 1.0, &other.data);
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

pub(super) fn add_scaled(to: &mut [f64], factor: f64, from: &[f64]) {
    for (y, x) in to.iter_mut().zip(from) {
        *y += factor * x;
    }
}
