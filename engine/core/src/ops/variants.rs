//! The built-in table: kind of adapter and shape of a product → tile; and what other tiles there are, for those who time them.
//!
//! On a software adapter a register tile of R by C outputs costs R + C loads and R·C multiply-adds a step of k, so large tiles win, but only
//! until their sums no longer fit the processor's registers, and as long as every core has some. A GPU shares a tile of a workgroup through
//! its memory, and wants workgroups for all of its cores first.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AdapterKind, Kernel, Launch, grid, to_u32};

/// The matrix product that a launch is: what its tile is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Product {
    /// Rows of C.
    pub m: u32,
    /// Columns of C.
    pub n: u32,
    /// Terms of a sum, of all parts together.
    pub k: u32,
    /// How many of them: products of a batch, parts of the sum, phases of a convolution.
    pub slabs: u64,
    /// Where a launch's `Dims` has `tiles_m`, `tiles_n`, `tiles`, which follow from the tile.
    pub words: usize,
}

/// A tile of a product, and what works on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Name of the file in `shaders/variants/`.
    pub variant: &'static str,
    /// Rows of C in a tile.
    pub rows: u32,
    /// Columns of C in a tile.
    pub columns: u32,
    /// Who computes it.
    work: Work,
    /// Whether only the autotuner may take it: the table has no estimate of its cost.
    pub timed: bool,
}

/// Who computes a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// An invocation, in its registers; a workgroup has [`LANES`] of them.
    Invocation,
    /// A workgroup, by way of its shared memory (files `<op>_tiled`).
    Workgroup {
        /// Invocations of the workgroup.
        invocations: u64,
        /// Numbers that an invocation reads from workgroup memory for each step of k.
        reads: u64,
    },
}

impl Tile {
    /// The entry point `entry` of the op with this stem, in the variant of this tile.
    pub fn kernel(&self, stem: &str, entry: &str) -> Kernel {
        match self.work {
            Work::Invocation => Kernel::of(stem, entry).variant(self.variant),
            Work::Workgroup { .. } => {
                Kernel::of(&format!("{stem}_tiled"), entry).variant(self.variant)
            }
        }
    }

    /// Cuts a product into these tiles: sets the words of `dims` that count them, and returns the grid in workgroups.
    pub fn lay(&self, product: &Product, dims: &mut [u32]) -> [u32; 3] {
        let Product { m, n, slabs, words, .. } = *product;
        let (tiles_m, tiles_n) = (m.div_ceil(self.rows), n.div_ceil(self.columns));
        let tiles = u64::from(tiles_m) * u64::from(tiles_n) * slabs;
        dims[words..words + 3].copy_from_slice(&[tiles_m, tiles_n, to_u32(tiles)]);
        let group = if self.work == Work::Invocation { LANES } else { 1 };
        grid(tiles, group)
    }

    /// The tile for adapters of a kind whose variant file has this name, if there is one.
    pub fn named(on: AdapterKind, variant: &str) -> Option<Self> {
        tiles(on).find(|tile| tile.variant == variant)
    }
}

/// The launch of a product by the table's tile; `dims` has anything in the product's words.
pub(super) fn launch(
    on: AdapterKind,
    [stem, entry]: [&str; 2],
    product: Product,
    mut dims: Vec<u32>,
) -> Launch {
    let tile = tile(on, product.m, product.n, product.slabs);
    let grid = tile.lay(&product, &mut dims);
    Launch { product: Some(product), ..Launch::new(tile.kernel(stem, entry)) }.dims(dims).grid(grid)
}

/// Lanes of a vector of a software adapter, and invocations a workgroup there: `override WG` of the shaders.
const LANES: u32 = 8;
/// Cores a software adapter is taken to have. With fewer the tiles are a little small, with more some cores are idle.
const CORES: u64 = 4;
/// Relative cost of a multiply-add of one vector, and of a load of one vector from a mirror: 0.45 and 1.9 ns on AVX2.
const FMA: u64 = 1;
/// See [`FMA`].
const LOAD: u64 = 4;

/// Workgroups that a GPU is taken to run side by side at no more cost than one. With fewer the tiles are a little small, which costs less
/// than idle cores do.
const UNITS: u64 = 128;
/// What fetching a number into workgroup memory costs, where reading it there or a multiply-add costs one.
const FETCH: u64 = 4;

/// Every tile for adapters of a kind, larger ones first: what the table chooses from, and what a timing may find better.
pub fn tiles(on: AdapterKind) -> impl Iterator<Item = Tile> {
    let register = |variant, rows, columns| Tile {
        variant,
        rows,
        columns,
        work: Work::Invocation,
        timed: false,
    };
    let workgroup = |variant, [rows, columns]: [u32; 2], invocations, reads, timed| {
        let work = Work::Workgroup { invocations, reads };
        Tile { variant, rows, columns, work, timed }
    };
    match on {
        AdapterKind::Cpu => vec![
            register("r8x8", 8, 8),
            register("r8x4", 8, 4),
            register("r4x8", 4, 8),
            register("r4x4", 4, 4),
        ],
        AdapterKind::Gpu => vec![
            workgroup("w128x128", [128, 128], 256, 16, false),
            workgroup("w64x64", [64, 64], 256, 8, false),
            workgroup("w32x32", [32, 32], 64, 8, false),
            workgroup("w64x16", [64, 16], 64, 8, false),
            workgroup("w16x64", [16, 64], 64, 8, false),
            // Two slices in workgroup memory: fewer barriers, for twice the memory.
            workgroup("d128x64", [128, 64], 128, 16, true),
            workgroup("d64x64", [64, 64], 64, 16, true),
            workgroup("d32x32", [32, 32], 64, 8, true),
        ],
    }
    .into_iter()
}

/// The tile for `slabs` products of m by n.
pub fn tile(on: AdapterKind, m: u32, n: u32, slabs: u64) -> Tile {
    let cost = |tile: &Tile| {
        let (rows, columns) = (u64::from(tile.rows), u64::from(tile.columns));
        let tiles = u64::from(m).div_ceil(rows) * u64::from(n).div_ceil(columns) * slabs;
        match tile.work {
            Work::Invocation => {
                let vectors = tiles.div_ceil(LANES.into());
                vectors.div_ceil(CORES) * ((rows + columns) * LOAD + rows * columns * FMA)
            }
            Work::Workgroup { invocations, reads } => {
                let step = rows * columns + invocations * reads + (rows + columns) * FETCH;
                tiles.max(UNITS) * step
            }
        }
    };
    // Of equally cheap tiles the first is taken, which is the larger one.
    tiles(on).filter(|tile| !tile.timed).min_by_key(cost).expect("there are tiles")
}

/// Into how many parts a sum over k is cut, for `slabs` products of m by n: more than one only where the outputs are few and k is long.
/// It must not depend on the adapter, as the parts are a tensor's extent.
pub fn parts(m: u32, n: u32, k: u32, slabs: u64) -> u32 {
    let tiles = u64::from(m.div_ceil(16)) * u64::from(n.div_ceil(16)) * slabs;
    to_u32((u64::from(k) / 512).min(64 / tiles)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_products_take_large_tiles() {
        assert_eq!(tile(AdapterKind::Cpu, 512, 512, 1).variant, "r8x8");
        assert_eq!(tile(AdapterKind::Gpu, 4096, 4096, 1).variant, "w128x128");
    }

    #[test]
    fn small_and_thin_products_leave_no_core_idle() {
        assert_eq!(tile(AdapterKind::Cpu, 16, 10, 1).variant, "r4x4");
        assert_eq!(tile(AdapterKind::Gpu, 256, 256, 1).variant, "w32x32");
        assert_eq!(tile(AdapterKind::Gpu, 32_768, 16, 1).variant, "w64x16");
        assert_eq!(tile(AdapterKind::Gpu, 16, 32_768, 1).variant, "w16x64");
    }

    #[test]
    fn a_sum_is_cut_only_if_long_and_of_few_outputs() {
        assert_eq!(parts(512, 512, 4096, 1), 1);
        assert_eq!(parts(32, 32, 256, 1), 1);
        assert_eq!(parts(16, 16, 65_536, 1), 64);
        assert_eq!(parts(16, 16, 65_536, 200), 1);
    }
}
