// uses: matmul_shared, strips, read, write
// variants: r8x8, r8x4, r4x8, r4x4
// C = op(A)·op(B), batched, the sum over k cut into `parts` where asked; with what belongs to it done on the way out:
//
//     matmul         C = op(A)·op(B)
//     linear         C = act(op(A)·op(B) + bias)
//     matmul_plus    C = op(A)·op(B) + D, then masked where asked: C ⊙ (Y > 0), the gradient of a ReLU
//     weight         C = Aᵀ·B, and the sums of A's columns: the gradients of a linear layer's weight and bias
//
// An invocation owns a register tile of 4·TM4 rows by 4·TN4 columns (constants of the variant file) and walks over k four at a time, so
// one loop iteration does 16·TM4·TN4 multiply-adds on TM4 + TN4 blocks of 4×4. Loops have constant bounds: drivers unroll them, and `acc`
// becomes registers. Entry points come in three kinds: reading and storing by quads, reading by quads and storing single floats (`_out1`: n
// is no multiple of 4), and single floats both ways, by strides (`_any`).

override WG: u32 = 8u;
// Whether A's columns are summed up as well.
override SUMS: bool = false;

// Four vectors; of A one a row (over k), of B one a k (over columns), so that (b·a)[r] is row r of the 4×4 product.
alias Block = mat4x4<f32>;
const STEP = vec4(0u, 1u, 2u, 3u);

var<private> acc: array<array<Block, TN4>, TM4>;
// The sums of op(A)'s rows over k.
var<private> a_sums: array<vec4<f32>, TM4>;

fn tile_of(id: u32) -> Tile {
    let turn = turn_of(id, dims.tiles_m, dims.tiles_n);
    let slab = turn.slab;
    let batch = slab / dims.parts;
    // Rounding k_part up may leave the last parts nothing.
    let k0 = min(slab % dims.parts * dims.k_part, dims.k);
    let k1 = min(k0 + dims.k_part, dims.k);
    return Tile(turn.row * TM4 * 4u, turn.col * TN4 * 4u, batch * dims.a_batch, batch * dims.b_batch, slab * dims.m * dims.n, k0, k1);
}

// acc = the tile's sums. Rows and columns past the edge repeat the last one and are not stored; k past the end counts as zero.
// Needs: the contiguous extents of A and B are multiples of 4.
fn sum_vec(t: Tile) {
    // Places (in vec4s) of the four vectors of a block, less what k adds to them.
    var a_at: array<vec4<u32>, TM4>;
    var b_at: array<vec4<u32>, TN4>;
    for (var i = 0u; i < TM4; i++) {
        acc[i] = array<Block, TN4>();
        a_sums[i] = vec4<f32>();
        let row = t.row + i * 4u;
        if TA {
            a_at[i] = (t.a + min(row, dims.m - 4u) + STEP * dims.m) / 4u;
        } else {
            a_at[i] = (t.a + min(row + STEP, vec4(dims.m - 1u)) * dims.k) / 4u;
        }
    }
    for (var j = 0u; j < TN4; j++) {
        let col = t.col + j * 4u;
        if TB {
            b_at[j] = (t.b + min(col + STEP, vec4(dims.n - 1u)) * dims.k) / 4u;
        } else {
            b_at[j] = (t.b + min(col, dims.n - 4u) + STEP * dims.n) / 4u;
        }
    }
    let a_step = select(1u, dims.m, TA);
    let b_step = select(dims.n, 1u, TB);
    let whole = t.k0 + (t.k1 - t.k0) / 4u * 4u;
    for (var k = t.k0; k < whole; k += 4u) {
        var a: array<Block, TM4>;
        let a_k = k / 4u * a_step;
        let b_k = k / 4u * b_step;
        for (var i = 0u; i < TM4; i++) {
            let at = a_at[i] + a_k;
            a[i] = Block(a4(at.x), a4(at.y), a4(at.z), a4(at.w));
            if SUMS { a_sums[i] += (a[i][0] + a[i][1]) + (a[i][2] + a[i][3]); }
            if TA { a[i] = transpose(a[i]); }
        }
        for (var j = 0u; j < TN4; j++) {
            let at = b_at[j] + b_k;
            var b = Block(b4(at.x), b4(at.y), b4(at.z), b4(at.w));
            if TB { b = transpose(b); }
            for (var i = 0u; i < TM4; i++) { acc[i][j] += b * a[i]; }
        }
    }
    // A rest of one to three, which only exists with A transposed and B not: k runs over whole vectors otherwise.
    if TA && !TB {
        for (var k = whole; k < t.k1; k++) {
            for (var i = 0u; i < TM4; i++) {
                let a = a4(a_at[i].x + k * dims.m / 4u);
                if SUMS { a_sums[i] += a; }
                for (var j = 0u; j < TN4; j++) {
                    let b = b4(b_at[j].x + k * dims.n / 4u);
                    acc[i][j] += Block(b * a.x, b * a.y, b * a.z, b * a.w);
                }
            }
        }
    }
}

// As sum_vec, for any sizes and strides.
fn sum_any(t: Tile) {
    var a_at: array<vec4<u32>, TM4>;
    var b_at: array<vec4<u32>, TN4>;
    for (var i = 0u; i < TM4; i++) {
        acc[i] = array<Block, TN4>();
        a_sums[i] = vec4<f32>();
        a_at[i] = t.a + min(t.row + i * 4u + STEP, vec4(dims.m - 1u)) * dims.a_row;
    }
    for (var j = 0u; j < TN4; j++) {
        b_at[j] = t.b + min(t.col + j * 4u + STEP, vec4(dims.n - 1u)) * dims.b_col;
    }
    for (var k = t.k0; k < t.k1; k++) {
        var a: array<vec4<f32>, TM4>;
        for (var i = 0u; i < TM4; i++) {
            let at = a_at[i] + k * dims.a_k;
            a[i] = vec4(a1(at.x), a1(at.y), a1(at.z), a1(at.w));
            if SUMS { a_sums[i] += a[i]; }
        }
        for (var j = 0u; j < TN4; j++) {
            let at = b_at[j] + k * dims.b_k;
            let b = vec4(b1(at.x), b1(at.y), b1(at.z), b1(at.w));
            for (var i = 0u; i < TM4; i++) { acc[i][j] += Block(b * a[i].x, b * a[i].y, b * a[i].z, b * a[i].w); }
        }
    }
}

// The first number of row r of block (i, j) in a product of (m, n).
fn place(t: Tile, i: u32, j: u32, r: u32) -> u32 {
    return (t.row + i * 4u + r) * dims.n + t.col + j * 4u;
}

fn add_bias(t: Tile) {
    for (var j = 0u; j < TN4; j++) {
        let col = min(t.col + j * 4u + STEP, vec4(dims.n - 1u));
        let b = vec4(one_3(col.x), one_3(col.y), one_3(col.z), one_3(col.w));
        for (var i = 0u; i < TM4; i++) { acc[i][j] += Block(b, b, b, b); }
    }
}

// acc + D, acc ⊙ (Y > 0); Y is the third input, or the fourth after D.
fn plus_vec(t: Tile) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += third_vec(place(t, i, j, r)); }
        }
    }
}

// acc + D, the fourth input after the bias.
fn skip_vec(t: Tile) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += fourth_vec(place(t, i, j, r)); }
        }
    }
}

fn skip_any(t: Tile) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += fourth_any(place(t, i, j, r)); }
        }
    }
}

fn mask_by_third_vec(t: Tile) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept(acc[i][j][r], third_vec(place(t, i, j, r))); }
        }
    }
}

fn mask_by_fourth_vec(t: Tile) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept(acc[i][j][r], fourth_vec(place(t, i, j, r))); }
        }
    }
}

fn plus_any(t: Tile) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += third_any(place(t, i, j, r)); }
        }
    }
}

fn mask_by_third_any(t: Tile) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept(acc[i][j][r], third_any(place(t, i, j, r))); }
        }
    }
}

fn mask_by_fourth_any(t: Tile) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept(acc[i][j][r], fourth_any(place(t, i, j, r))); }
        }
    }
}

fn store_vec(t: Tile) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            let col = t.col + j * 4u;
            for (var r = 0u; r < 4u; r++) {
                let row = t.row + i * 4u + r;
                if row < dims.m && col < dims.n { put_c4((t.c + row * dims.n + col) / 4u, activate(acc[i][j][r])); }
            }
        }
    }
}

fn store_any(t: Tile) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            let col = t.col + j * 4u;
            for (var r = 0u; r < 4u; r++) {
                let row = t.row + i * 4u + r;
                if row >= dims.m { continue; }
                let at = t.c + row * dims.n + col;
                let v = activate(acc[i][j][r]);
                if col < dims.n { put_c1(at, v.x); }
                if col + 1u < dims.n { put_c1(at + 1u, v.y); }
                if col + 2u < dims.n { put_c1(at + 2u, v.z); }
                if col + 3u < dims.n { put_c1(at + 3u, v.w); }
            }
        }
    }
}

// The tiles of the first column hold the sums of all of A.
fn store_sums(t: Tile) {
    if t.col != 0u { return; }
    let first = t.c / (dims.m * dims.n) * dims.m;
    for (var i = 0u; i < TM4; i++) {
        for (var r = 0u; r < 4u; r++) {
            let row = t.row + i * 4u + r;
            if row < dims.m { sums[first + row] = a_sums[i][r]; }
        }
    }
}

// C[b, p] = Σ_{k in part p} op(A[b])[:, k] · op(B[b])[k, :]
@compute @workgroup_size(WG)
fn matmul(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_vec(t);
    store_vec(t);
}

@compute @workgroup_size(WG)
fn matmul_out1(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_vec(t);
    store_any(t);
}

@compute @workgroup_size(WG)
fn matmul_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_any(t);
    store_any(t);
}

// C = act(op(A)·op(B) + bias)
@compute @workgroup_size(WG)
fn linear(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_vec(t);
    add_bias(t);
    store_vec(t);
}

@compute @workgroup_size(WG)
fn linear_out1(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_vec(t);
    add_bias(t);
    store_any(t);
}

@compute @workgroup_size(WG)
fn linear_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_any(t);
    add_bias(t);
    store_any(t);
}

// C = act(op(A)·op(B) + bias + D)
@compute @workgroup_size(WG)
fn linear_skip(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_vec(t);
    add_bias(t);
    skip_vec(t);
    store_vec(t);
}

@compute @workgroup_size(WG)
fn linear_skip_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_any(t);
    add_bias(t);
    skip_any(t);
    store_any(t);
}

// C = op(A)·op(B) + D
@compute @workgroup_size(WG)
fn matmul_plus(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_vec(t);
    plus_vec(t);
    store_vec(t);
}

@compute @workgroup_size(WG)
fn matmul_plus_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_any(t);
    plus_any(t);
    store_any(t);
}

// C = op(A)·op(B) ⊙ (Y > 0)
@compute @workgroup_size(WG)
fn matmul_masked(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_vec(t);
    mask_by_third_vec(t);
    store_vec(t);
}

@compute @workgroup_size(WG)
fn matmul_masked_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_any(t);
    mask_by_third_any(t);
    store_any(t);
}

// C = (op(A)·op(B) + D) ⊙ (Y > 0)
@compute @workgroup_size(WG)
fn matmul_plus_masked(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_vec(t);
    plus_vec(t);
    mask_by_fourth_vec(t);
    store_vec(t);
}

@compute @workgroup_size(WG)
fn matmul_plus_masked_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_any(t);
    plus_any(t);
    mask_by_fourth_any(t);
    store_any(t);
}

// C = Aᵀ·B and sums = Σ_k A[k, :], in parts as C is
@compute @workgroup_size(WG)
fn weight(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_vec(t);
    store_vec(t);
    store_sums(t);
}

@compute @workgroup_size(WG)
fn weight_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_any(t);
    store_any(t);
    store_sums(t);
}

// y[i] = Σ_s parts[s, i], in the order of s; here A is (parts, m·n) and C is (m, n).
@compute @workgroup_size(WG)
fn sum_parts(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = at.x + at.y * groups.x * WG;
    let n = dims.m * dims.n;
    if i >= n { return; }
    var sum = 0.0;
    for (var s = 0u; s < dims.parts; s++) { sum += a1(s * n + i); }
    put_c1(i, sum);
}
