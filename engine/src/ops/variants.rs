//! The built-in table: kind of adapter and shape of a product → register tile.
//!
//! A software adapter pays for every load lane by lane, so a tile of R by C outputs costs R + C loads and R·C multiply-adds a step of k:
//! large tiles win as long as every core has some. A GPU wants many invocations first.

use super::{AdapterKind, narrow};

/// A register tile and how its invocations are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Name of the variant file, without the op's stem.
    pub variant: &'static str,
    /// Rows of C that an invocation owns.
    pub rows: u32,
    /// Columns of C that an invocation owns.
    pub columns: u32,
    /// Invocations a workgroup.
    pub group: u32,
}

/// The register tiles there are, largest first.
const TILES: [(&str, u32, u32); 7] = [
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

/// The tile for `slabs` products of m by n.
pub fn tile(on: AdapterKind, m: u32, n: u32, slabs: u64) -> Tile {
    let of = |&(variant, rows, columns): &(&'static str, u32, u32)| {
        let tiles = u64::from(m.div_ceil(rows)) * u64::from(n.div_ceil(columns)) * slabs;
        let group = match on {
            AdapterKind::Cpu => tiles.div_ceil(CORES).clamp(1, LANES),
            AdapterKind::Gpu => 64,
        };
        let tile = Tile { variant, rows, columns, group: narrow(group) };
        let (loads, sums) = (u64::from(rows + columns), u64::from(rows * columns));
        let cost = match on {
            AdapterKind::Cpu => {
                tiles.div_ceil(group).div_ceil(CORES) * (group * loads * LOAD + sums * FMA)
            }
            // More registers than this spill; fewer invocations than this leave a GPU idle.
            AdapterKind::Gpu if sums > 64 => u64::MAX,
            AdapterKind::Gpu => tiles.max(16_384) * (loads * 4 + sums),
        };
        (tile, cost)
    };
    // The first of equals, which is the larger tile.
    let (tile, _) = TILES.iter().map(of).min_by_key(|&(_, cost)| cost).expect("there are tiles");
    tile
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
    fn large_products_take_large_tiles_on_a_cpu_and_small_ones_on_a_gpu() {
        assert_eq!(tile(AdapterKind::Cpu, 512, 512, 1).variant, "r32x16");
        assert_eq!(tile(AdapterKind::Gpu, 4096, 4096, 1).variant, "r8x8");
        assert!(tile(AdapterKind::Cpu, 64, 10, 1).group < 8);
    }

    #[test]
    fn a_sum_is_cut_only_if_long_and_of_few_outputs() {
        assert_eq!(parts(512, 512, 4096, 1), 1);
        assert_eq!(parts(32, 32, 256, 1), 1);
        assert_eq!(parts(16, 16, 65_536, 1), 64);
        assert_eq!(parts(16, 16, 65_536, 200), 1);
    }
}
