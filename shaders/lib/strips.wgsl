// The order of a product's tiles, in which they are given out: strips of STRIP columns of tiles, each row by row. Tiles that are worked on
// one after the other, or at once, share rows of A and columns of B; and a strip's columns of B stay in a cache while A goes past them.

const STRIP: u32 = 8u;

// Which row and column of tiles, and which of the products (parts, phases), tile `id` belongs to.
struct Turn { row: u32, col: u32, slab: u32 }

fn turn_of(id: u32, tiles_m: u32, tiles_n: u32) -> Turn {
    let each = id % (tiles_m * tiles_n);
    let first = each / (STRIP * tiles_m) * STRIP;
    let width = min(STRIP, tiles_n - first);
    let i = each - first * tiles_m;
    return Turn(i / width, first + i % width, id / (tiles_m * tiles_n));
}
