// Workgroup tiles of a matrix product C = A·B.
//
// WG_N by WG_M invocations share a tile of ROWS by COLUMNS outputs; each sums 4·TM4 by 4·TN4 of them (constants of the variant file).
// They walk over k in slices of DEPTH, which lie in workgroup memory as quads (vec4s) of rows of A and of columns of B. Each invocation
// fetches its share of the next slices while it multiplies the present ones:
//
//   clear(); fetch(k0); for each slice { stage(); fetch(k + DEPTH); multiply(); }
//
// Workgroup memory has SLOTS slots for a slice of A and one of B. With one, a slice is written once nobody reads the last one any more:
// two barriers a slice. With two, one is written while others still read the other: one barrier, which also ensures that nobody still reads the slice before the last.
//
// `stage` holds the barriers: every invocation of the workgroup must come there, so the loop's bounds hang on the workgroup alone.

const INVOCATIONS: u32 = WG_M * WG_N;
// Quads of a tile's rows and columns.
const QUADS_M: u32 = WG_M * TM4;
const QUADS_N: u32 = WG_N * TN4;
const ROWS: u32 = QUADS_M * 4u;
const COLUMNS: u32 = QUADS_N * 4u;
// Quads of a slice of A, and of B, that an invocation fetches; the variants divide without a rest.
const SHARE_A: u32 = QUADS_M * DEPTH / INVOCATIONS;
const SHARE_B: u32 = QUADS_N * DEPTH / INVOCATIONS;
// Quads from one k of a slice to the next; the odd one spreads neighbouring k over the banks of workgroup memory.
const PITCH_A: u32 = QUADS_M + 1u;
const PITCH_B: u32 = QUADS_N + 1u;

var<workgroup> slice_a: array<vec4<f32>, PITCH_A * DEPTH * SLOTS>;
var<workgroup> slice_b: array<vec4<f32>, PITCH_B * DEPTH * SLOTS>;
// Which slot was written last, as its first k.
var<private> slot: u32;

// What the invocation fetched for the next slices.
var<private> next_a: array<vec4<f32>, SHARE_A>;
var<private> next_b: array<vec4<f32>, SHARE_B>;

// Four rows of an invocation's outputs: [r] is row r, four columns.
alias Block = mat4x4<f32>;
const STEP = vec4(0u, 1u, 2u, 3u);

// Block (i, j) begins at row 4·(y + i·WG_M) and column 4·(x + j·WG_N) of the tile, for invocation (x, y).
var<private> acc: array<array<Block, TN4>, TM4>;
// The sums of A's rows over k, if SUMS is set.
var<private> a_sums: array<vec4<f32>, TM4>;
override SUMS: bool = false;

// Which quad of a slice, and which k of it.
struct Share { quad: u32, k: u32 }

// The u-th that invocation `lane` fetches. Neighbours take neighbours in memory: along k, or else along the rows (columns).
fn share_a(lane: u32, u: u32, along_k: bool) -> Share {
    let id = lane + u * INVOCATIONS;
    if along_k { return Share(id / DEPTH, id % DEPTH); }
    return Share(id % QUADS_M, id / QUADS_M);
}

fn share_b(lane: u32, u: u32, along_k: bool) -> Share {
    let id = lane + u * INVOCATIONS;
    if along_k { return Share(id / DEPTH, id % DEPTH); }
    return Share(id % QUADS_N, id / QUADS_N);
}

fn clear() {
    for (var i = 0u; i < TM4; i++) {
        acc[i] = array<Block, TN4>();
        a_sums[i] = vec4<f32>();
    }
}

// Puts what was fetched in workgroup memory, for all to read.
fn stage(lane: u32, a_along_k: bool, b_along_k: bool) {
    if SLOTS == 1u {
        // Until then others read the last slices.
        workgroupBarrier();
    } else {
        slot = DEPTH - slot;
    }
    for (var u = 0u; u < SHARE_A; u++) {
        let s = share_a(lane, u, a_along_k);
        slice_a[(slot + s.k) * PITCH_A + s.quad] = next_a[u];
    }
    for (var u = 0u; u < SHARE_B; u++) {
        let s = share_b(lane, u, b_along_k);
        slice_b[(slot + s.k) * PITCH_B + s.quad] = next_b[u];
    }
    workgroupBarrier();
}

// acc += A·B over the staged slices.
fn multiply(lane: u32) {
    for (var k = 0u; k < DEPTH; k++) {
        var a: array<vec4<f32>, TM4>;
        for (var i = 0u; i < TM4; i++) {
            a[i] = slice_a[(slot + k) * PITCH_A + lane / WG_N + i * WG_M];
            if SUMS { a_sums[i] += a[i]; }
        }
        for (var j = 0u; j < TN4; j++) {
            let b = slice_b[(slot + k) * PITCH_B + lane % WG_N + j * WG_N];
            for (var i = 0u; i < TM4; i++) { acc[i][j] += Block(b * a[i].x, b * a[i].y, b * a[i].z, b * a[i].w); }
        }
    }
}

// First row (column) of the tile's blocks (i, j) of an invocation.
fn block_row(lane: u32, i: u32) -> u32 { return (lane / WG_N + i * WG_M) * 4u; }
fn block_col(lane: u32, j: u32) -> u32 { return (lane % WG_N + j * WG_N) * 4u; }
