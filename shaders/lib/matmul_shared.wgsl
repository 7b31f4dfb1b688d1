// What matmul.wgsl and matmul_tiled.wgsl share: dims, operands, and what is read beside them.

struct Dims {
    // Sizes of one product: C is (m, n), op(A) is (m, k), op(B) is (k, n).
    m: u32, n: u32, k: u32,
    // Tiles of one product in each direction, and of all products and parts together.
    tiles_m: u32, tiles_n: u32, tiles: u32,
    // Part p sums over k in p·k_part .. (p+1)·k_part; C is (batch, parts, m, n). k_part is a multiple of 4.
    parts: u32, k_part: u32,
    // Elements from one product's A (B) to the next one's; 0 shares it.
    a_batch: u32, b_batch: u32,
    // Strides of op(A) and op(B), read by the `_any` kinds only.
    a_row: u32, a_k: u32, b_k: u32, b_col: u32,
    // 1 applies ReLU.
    relu: u32,
}

@group(0) @binding(0) var<uniform> dims: Dims;
// A: (batch, m, k), or (batch, k, m) with TA.
fn a4(i: u32) -> vec4<f32> { return quad_1(i); }
fn a1(i: u32) -> f32 { return one_1(i); }
// B: (batch, k, n), or (batch, n, k) with TB.
fn b4(i: u32) -> vec4<f32> { return quad_2(i); }
fn b1(i: u32) -> f32 { return one_2(i); }
// Input 3 is of linear the bias (n), of matmul_plus D, like C, and of matmul_masked Y, like C. Input 4 is of linear_skip D, and of
// matmul_plus_masked Y.
// C: (batch, parts, m, n).
fn put_c4(i: u32, v: vec4<f32>) { put_quad_5(i, v); }
fn put_c1(i: u32, v: f32) { put_one_5(i, v); }
// weight: Σ over k of A's columns, (parts, m).
@group(0) @binding(6) var<storage, read_write> sums: array<f32>;

override TA: bool = false;
override TB: bool = false;

struct Tile {
    // First row and column of the tile, first elements of A, B and C, range of k.
    row: u32, col: u32, a: u32, b: u32, c: u32, k0: u32, k1: u32,
}

// Four numbers from `at` on; past the edge the last ones, which are not stored.
fn places(at: u32) -> vec4<u32> {
    return min(at + STEP, vec4(dims.m * dims.n - 1u));
}

fn third_vec(at: u32) -> vec4<f32> { return quad_3(min(at, dims.m * dims.n - 4u) / 4u); }
fn fourth_vec(at: u32) -> vec4<f32> { return quad_4(min(at, dims.m * dims.n - 4u) / 4u); }

fn third_any(at: u32) -> vec4<f32> {
    let i = places(at);
    return vec4(one_3(i.x), one_3(i.y), one_3(i.z), one_3(i.w));
}

fn fourth_any(at: u32) -> vec4<f32> {
    let i = places(at);
    return vec4(one_4(i.x), one_4(i.y), one_4(i.z), one_4(i.w));
}

// As PyTorch: where Y is not above zero there is no gradient, whatever came.
fn kept(v: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return select(vec4<f32>(), v, y > vec4<f32>());
}

fn activate(v: vec4<f32>) -> vec4<f32> {
    // As PyTorch: a NaN stays a NaN.
    return select(v, vec4<f32>(), (v < vec4<f32>()) & vec4(dims.relu != 0u));
}
