//! The built-in table: kind of adapter and shape of a product → tile.
//!
//! A software adapter pays for every load lane by lane, so a register tile of R by C outputs costs R + C loads and R·C multiply-adds a step
//! of k: large tiles win as long as every core has some. A GPU shares a tile of a workgroup through its memory, and wants workgroups for all
//! of its cores first.

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
            Some(group) => {
                Kernel::of(stem, entry).variant(self.variant).constant("WG", group.into())
            }
            None => Kernel::of(&format!("{stem}_tiled"), entry).variant(self.variant),
        }
    }

    /// Workgroups for so many tiles.
    pub fn grid(&self, tiles: u64) -> [u32; 3] {
        matmul::grid(tiles, self.group.unwrap_or(1))
    }
}

/// The register tiles there are, largest first.
const REGISTER_TILES: [(&str, u32, u32); 7] = [
    ("r32x16", 32, 16),
    ("r16x16", 16, 16),
    ("r8x16", 8, 16),
    ("r8x8", 8, 8),
    ("r16x4", 16, 4),
    ("r4x16", 4, 16),
    ("r4x4", 4, 4),
];

/// Lanes of a vector of a software adapter.
const LANES: u64 = 8;
/// Cores a software adapter is taken to have. With fewer the tiles are a little small, with more some cores are idle.
const CORES: u64 = 4;
/// What a vector's multiply-add costs, and what one lane's load of one number costs. The ratio was measured as 29 on AVX2, where the
/// driver's lane-wise inserts stall, and inferred as about 4 on AVX-512; the table must serve both.
const FMA: u64 = 1;
/// See [`FMA`].
const LOAD: u64 = 8;

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
        let group = tiles.div_ceil(CORES).clamp(1, LANES);
        let (loads, sums) = (u64::from(rows + columns), u64::from(rows * columns));
        let cost = tiles.div_ceil(group).div_ceil(CORES) * (group * loads * LOAD + sums * FMA);
        (Tile { variant, rows, columns, group: Some(narrow(group)) }, cost)
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
        assert_eq!(tile(AdapterKind::Cpu, 512, 512, 1).variant, "r32x16");
        assert_eq!(tile(AdapterKind::Gpu, 4096, 4096, 1).variant, "w128x128");
    }

    #[test]
    fn small_and_thin_products_leave_no_core_idle() {
        assert!(tile(AdapterKind::Cpu, 64, 10, 1).group.is_some_and(|group| group < 8));
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
