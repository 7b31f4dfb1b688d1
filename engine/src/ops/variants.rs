//! The built-in table: kind of adapter and shape of a product → tile.
//!
//! On a software adapter a register tile of R by C outputs costs R + C loads and R·C multiply-adds a step of k, so large tiles win, but only
//! until their sums no longer fit the processor's registers, and as long as every core has some. A GPU shares a tile of a workgroup through
//! its memory, and wants workgroups for all of its cores first.

use super::{AdapterKind, Kernel, matmul, narrow};

/// A tile of a product, and what works on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Name of the variant file, without the op's stem.
    pub variant: &'static str,
    /// Rows of C in a tile.
    pub rows: u32,
    /// Columns of C in a tile.
    pub columns: u32,
    /// Invocations a workgroup where each owns a tile; `None` where a whole workgroup shares one (files `<op>_tiled`).
    pub group: Option<u32>,
}

impl Tile {
    /// The entry point `entry` of the op with this stem, by these tiles.
    pub fn kernel(&self, stem: &str, entry: &str) -> Kernel {
        match self.group {
            Some(_) => Kernel::of(stem, entry).variant(self.variant),
            None => Kernel::of(&format!("{stem}_tiled"), entry).variant(self.variant),
        }
    }

    /// Workgroups for so many tiles.
    pub fn grid(&self, tiles: u64) -> [u32; 3] {
        matmul::grid(tiles, self.group.unwrap_or(1))
    }
}

/// The register tiles there are, largest first.
const REGISTER_TILES: [(&str, u32, u32); 4] =
    [("r8x8", 8, 8), ("r8x4", 8, 4), ("r4x8", 4, 8), ("r4x4", 4, 4)];

/// Lanes of a vector of a software adapter, and invocations a workgroup there: `override WG` of the shaders.
const LANES: u32 = 8;
/// Cores a software adapter is taken to have. With fewer the tiles are a little small, with more some cores are idle.
const CORES: u64 = 4;
/// What a vector's multiply-add costs, and the load of a number for each lane from a mirror: 0.45 and 1.9 ns on AVX2.
const FMA: u64 = 1;
/// See [`FMA`].
const LOAD: u64 = 4;

/// The workgroup tiles there are, largest first: rows, columns, invocations, and how many numbers one of these reads from workgroup memory
/// a step of k.
const WORKGROUP_TILES: [(&str, u32, u32, u64, u64); 5] = [
    ("w128x128", 128, 128, 256, 16),
    ("w64x64", 64, 64, 256, 8),
    ("w32x32", 32, 32, 64, 8),
    ("w64x16", 64, 16, 64, 8),
    ("w16x64", 16, 64, 64, 8),
];

/// Workgroups that a GPU is taken to run side by side at no more cost than one. With fewer the tiles are a little small, which costs less
/// than idle cores do.
const UNITS: u64 = 128;
/// What fetching a number into workgroup memory costs, where reading it there or a multiply-add costs one.
const FETCH: u64 = 4;

/// The tile for `slabs` products of m by n.
pub fn tile(on: AdapterKind, m: u32, n: u32, slabs: u64) -> Tile {
    let tiles = |rows: u32, columns: u32| {
        u64::from(m.div_ceil(rows)) * u64::from(n.div_ceil(columns)) * slabs
    };
    let register = |&(variant, rows, columns): &(&'static str, u32, u32)| {
        let tiles = tiles(rows, columns);
        let (loads, sums) = (u64::from(rows + columns), u64::from(rows * columns));
        let vectors = tiles.div_ceil(LANES.into());
        let cost = vectors.div_ceil(CORES) * (loads * LOAD + sums * FMA);
        (Tile { variant, rows, columns, group: Some(LANES) }, cost)
    };
    let workgroup = |&(variant, rows, columns, invocations, reads): &(_, u32, u32, u64, u64)| {
        let (fetches, sums) = (u64::from(rows + columns), u64::from(rows * columns));
        let cost = tiles(rows, columns).max(UNITS) * (sums + invocations * reads + fetches * FETCH);
        (Tile { variant, rows, columns, group: None }, cost)
    };
    // The first of equals, which is the larger tile.
    let best = match on {
        AdapterKind::Cpu => REGISTER_TILES.iter().map(register).min_by_key(|&(_, cost)| cost),
        AdapterKind::Gpu => WORKGROUP_TILES.iter().map(workgroup).min_by_key(|&(_, cost)| cost),
    };
    best.expect("there are tiles").0
}

/// Into how many parts a sum over k is cut, for `slabs` products of m by n: more than one only where the outputs are few and k is long.
/// It must not depend on the adapter, as the parts are a tensor's extent.
pub fn parts(m: u32, n: u32, k: u32, slabs: u64) -> u32 {
    let tiles = u64::from(m.div_ceil(16)) * u64::from(n.div_ceil(16)) * slabs;
    narrow((u64::from(k) / 512).min(64 / tiles)).max(1)
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
