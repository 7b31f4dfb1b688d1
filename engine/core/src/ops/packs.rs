//! How the kernels of this folder cut their work: one float or four at a time, rows in chunks, lanes a row.

use super::{AdapterKind, Kernel, Launch, count, to_u32};

/// One float or four at a time, as the innermost extent allows; the variants `scalar` and `vec4` of a shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packs {
    /// Floats of a pack.
    size: u32,
}

impl Packs {
    /// The largest pack that divides `extent`.
    pub(super) fn of(extent: u64) -> Self {
        Self { size: if extent.is_multiple_of(4) { 4 } else { 1 } }
    }

    /// `floats` in packs.
    pub(super) fn count(self, floats: u64) -> u32 {
        to_u32(floats / u64::from(self.size))
    }

    /// An entry point of the variant that works with these packs.
    pub(super) fn kernel(self, file: &str, entry: &str) -> Kernel {
        Kernel::of(file, entry).variant(if self.size == 4 { "vec4" } else { "scalar" })
    }
}

/// A launch over the packs of a flat tensor of `floats`, and how many packs these are. The kernel loops in strides of
/// the grid, about four packs an invocation: a copy of one vec4 an invocation reaches half the bandwidth.
pub(super) fn flat(file: &str, entry: &str, floats: u64) -> (Launch, u32) {
    let packs = Packs::of(floats);
    let n = packs.count(floats);
    (Launch::new(packs.kernel(file, entry)).each(u64::from(n).div_ceil(4)), n)
}

/// A tensor as a matrix of its last axis: (rows, columns), neither of them 0. `None` for no axis or an empty tensor.
pub(super) fn matrix(shape: &[u32]) -> Option<(u32, u32)> {
    let (&columns, rest) = shape.split_last()?;
    let rows = u32::try_from(count(rest)).ok()?;
    (rows > 0 && columns > 0).then_some((rows, columns))
}

/// Rows of a matrix that belong to one sample, the first axis of the tensor.
pub(super) fn rows_per_sample(shape: &[u32]) -> u32 {
    to_u32(count(&shape[1..shape.len().max(2) - 1]))
}

/// How a sum over rows is cut: (rows of a part, parts). Enough parts that the device is busy, few enough that adding them
/// up is nothing; a part has `least` rows at least.
pub(super) fn parts(rows: u32, packs: u32, least: u32) -> (u32, u32) {
    let most = (8192 / packs.max(1)).clamp(1, 128);
    let chunk = rows.div_ceil(most).max(least).min(rows).max(1);
    (chunk, rows.div_ceil(chunk))
}

/// Rows that an invocation of a column-wise kernel treats, so that it reads its column's parameters once.
pub(super) fn chunk(rows: u32, packs: u32) -> u32 {
    to_u32((u64::from(rows) * u64::from(packs) / 16_384).clamp(1, 16))
}

/// Invocations that share a row of `columns`: a CPU adapter runs rows side by side, a GPU wants coalesced loads.
pub(super) fn lanes(columns: u32, on: AdapterKind) -> u32 {
    match on {
        AdapterKind::Cpu => 1,
        AdapterKind::Gpu => (columns / 4).next_power_of_two().clamp(1, 64),
    }
}

#[cfg(test)]
mod tests {
    use super::{Packs, lanes, matrix, parts, rows_per_sample};
    use crate::ops::AdapterKind;

    #[test]
    fn parts_hold_every_row_once_and_none_is_empty() {
        for rows in (1..200).chain([4096, 32_768, 131_073]) {
            for packs in [1, 3, 16, 512, 10_000] {
                for least in [1, 32, 256] {
                    let (chunk, parts) = parts(rows, packs, least);
                    assert!(
                        (parts - 1) * chunk < rows && rows <= parts * chunk,
                        "{rows} {packs} {least}"
                    );
                }
            }
        }
    }

    #[test]
    fn shapes_are_read_from_the_right() {
        assert_eq!(matrix(&[2, 3, 5, 7]), Some((30, 7)));
        assert_eq!(matrix(&[7]), Some((1, 7)));
        assert_eq!((matrix(&[]), matrix(&[3, 0]), matrix(&[0, 3])), (None, None, None));
        assert_eq!([&[2, 3, 5, 7][..], &[2, 7], &[7]].map(rows_per_sample), [15, 1, 1]);
        assert_eq!((Packs::of(8).count(8), Packs::of(6).count(6)), (2, 6));
    }

    #[test]
    fn lanes_divide_a_workgroup() {
        for columns in [1, 3, 10, 33, 1000, 30_522] {
            assert!(lanes(columns, AdapterKind::Gpu).is_power_of_two());
            assert!(lanes(columns, AdapterKind::Gpu) <= crate::ops::WG);
            assert_eq!(lanes(columns, AdapterKind::Cpu), 1);
        }
    }
}
