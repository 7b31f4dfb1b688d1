// uses: matmul_shared, strips, tiled, read, write
// variants: w128x128, w64x64, w32x32, w64x16, w16x64, d128x64, d64x64, d32x32
// The products of matmul.wgsl by workgroup tiles, for GPUs: same entry points, dims and bindings.
//
// An operand whose rows (columns) lie side by side is fetched by vec4s, one whose k lie side by side by scalars, four to a quad, so that
// neighbouring invocations read neighbouring numbers. Kinds: vec4 fetches and stores, vec4 fetches and scalar stores (`_out1`: n is no
// multiple of 4), and scalar fetches and stores by strides (`_any`).


fn tile_of(id: u32) -> Tile {
    // A workgroup too many: no rows, nothing to sum. It must not return, as barriers follow.
    if id >= dims.tiles { return Tile(dims.m, 0u, 0u, 0u, 0u, 0u, 0u); }
    let turn = turn_of(id, dims.tiles_m, dims.tiles_n);
    let slab = turn.slab;
    let batch = slab / dims.parts;
    // Rounding k_part up may leave the last parts nothing.
    let k0 = min(slab % dims.parts * dims.k_part, dims.k);
    let k1 = min(k0 + dims.k_part, dims.k);
    return Tile(turn.row * ROWS, turn.col * COLUMNS, batch * dims.a_batch, batch * dims.b_batch, slab * dims.m * dims.n, k0, k1);
}

// Places of a quad of rows of op(A), of columns of op(B); past the edge the last one's, which is not stored.
fn places_a(t: Tile, row: u32, k: u32) -> vec4<u32> {
    return t.a + min(row + STEP, vec4(dims.m - 1u)) * dims.a_row + k * dims.a_k;
}

fn places_b(t: Tile, col: u32, k: u32) -> vec4<u32> {
    return t.b + min(col + STEP, vec4(dims.n - 1u)) * dims.b_col + k * dims.b_k;
}

// Fetches the slices that begin at k; from t.k1 on they are zero. Needs: the contiguous extents of A and B are multiples of 4.
fn fetch_vec(t: Tile, lane: u32, from_k: u32) {
    for (var u = 0u; u < SHARE_A; u++) {
        let s = share_a(lane, u, !TA);
        let k = from_k + s.k;
        let row = t.row + s.quad * 4u;
        next_a[u] = vec4<f32>();
        if k < t.k1 {
            if TA {
                next_a[u] = a4((t.a + k * dims.m + min(row, dims.m - 4u)) / 4u);
            } else {
                let at = places_a(t, row, k);
                next_a[u] = vec4(number_1(at.x), number_1(at.y), number_1(at.z), number_1(at.w));
            }
        }
    }
    for (var u = 0u; u < SHARE_B; u++) {
        let s = share_b(lane, u, TB);
        let k = from_k + s.k;
        let col = t.col + s.quad * 4u;
        next_b[u] = vec4<f32>();
        if k < t.k1 {
            if TB {
                let at = places_b(t, col, k);
                next_b[u] = vec4(number_2(at.x), number_2(at.y), number_2(at.z), number_2(at.w));
            } else {
                next_b[u] = b4((t.b + k * dims.n + min(col, dims.n - 4u)) / 4u);
            }
        }
    }
}

// As fetch_vec, for any sizes.
fn fetch_any(t: Tile, lane: u32, from_k: u32) {
    for (var u = 0u; u < SHARE_A; u++) {
        let s = share_a(lane, u, !TA);
        let k = from_k + s.k;
        next_a[u] = vec4<f32>();
        if k < t.k1 {
            let at = places_a(t, t.row + s.quad * 4u, k);
            next_a[u] = vec4(a1(at.x), a1(at.y), a1(at.z), a1(at.w));
        }
    }
    for (var u = 0u; u < SHARE_B; u++) {
        let s = share_b(lane, u, TB);
        let k = from_k + s.k;
        next_b[u] = vec4<f32>();
        if k < t.k1 {
            let at = places_b(t, t.col + s.quad * 4u, k);
            next_b[u] = vec4(b1(at.x), b1(at.y), b1(at.z), b1(at.w));
        }
    }
}

fn sum_vec(t: Tile, lane: u32) {
    clear();
    fetch_vec(t, lane, t.k0);
    for (var k = t.k0; k < t.k1; k += DEPTH) {
        stage(lane, !TA, TB);
        fetch_vec(t, lane, k + DEPTH);
        multiply(lane);
    }
}

fn sum_any(t: Tile, lane: u32) {
    clear();
    fetch_any(t, lane, t.k0);
    for (var k = t.k0; k < t.k1; k += DEPTH) {
        stage(lane, !TA, TB);
        fetch_any(t, lane, k + DEPTH);
        multiply(lane);
    }
}

fn add_bias(t: Tile, lane: u32) {
    for (var j = 0u; j < TN4; j++) {
        let col = min(t.col + block_col(lane, j) + STEP, vec4(dims.n - 1u));
        let b = vec4(one_3(col.x), one_3(col.y), one_3(col.z), one_3(col.w));
        for (var i = 0u; i < TM4; i++) { acc[i][j] += Block(b, b, b, b); }
    }
}

fn store_vec(t: Tile, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            let col = t.col + block_col(lane, j);
            for (var r = 0u; r < 4u; r++) {
                let row = t.row + block_row(lane, i) + r;
                if row < dims.m && col < dims.n { put_c4((t.c + row * dims.n + col) / 4u, activate(acc[i][j][r])); }
            }
        }
    }
}

fn store_any(t: Tile, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            let col = t.col + block_col(lane, j);
            for (var r = 0u; r < 4u; r++) {
                let row = t.row + block_row(lane, i) + r;
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

// The first number of row r of block (i, j) in a product of (m, n).
fn place(t: Tile, lane: u32, i: u32, j: u32, r: u32) -> u32 {
    return (t.row + block_row(lane, i) + r) * dims.n + t.col + block_col(lane, j);
}

// acc + D, acc ⊙ (Y > 0); Y is the third input, or the fourth after D.
fn plus_vec(t: Tile, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += third_vec(place(t, lane, i, j, r)); }
        }
    }
}

// acc + D, the fourth input after the bias.
fn skip_vec(t: Tile, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += fourth_vec(place(t, lane, i, j, r)); }
        }
    }
}

fn skip_any(t: Tile, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += fourth_any(place(t, lane, i, j, r)); }
        }
    }
}

fn mask_by_third_vec(t: Tile, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept(acc[i][j][r], third_vec(place(t, lane, i, j, r))); }
        }
    }
}

fn mask_by_fourth_vec(t: Tile, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept(acc[i][j][r], fourth_vec(place(t, lane, i, j, r))); }
        }
    }
}

fn plus_any(t: Tile, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += third_any(place(t, lane, i, j, r)); }
        }
    }
}

fn mask_by_third_any(t: Tile, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept(acc[i][j][r], third_any(place(t, lane, i, j, r))); }
        }
    }
}

fn mask_by_fourth_any(t: Tile, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept(acc[i][j][r], fourth_any(place(t, lane, i, j, r))); }
        }
    }
}

// The tiles of the first column hold the sums of all of A.
fn store_sums(t: Tile, lane: u32) {
    if t.col != 0u || lane % WG_N != 0u { return; }
    let first = t.c / (dims.m * dims.n) * dims.m;
    for (var i = 0u; i < TM4; i++) {
        for (var r = 0u; r < 4u; r++) {
            let row = t.row + block_row(lane, i) + r;
            if row < dims.m { sums[first + row] = a_sums[i][r]; }
        }
    }
}

// C[b, p] = Σ_{k in part p} op(A[b])[:, k] · op(B[b])[k, :]
@compute @workgroup_size(INVOCATIONS)
fn matmul(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_vec(t, lane);
    store_vec(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn matmul_out1(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_vec(t, lane);
    store_any(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn matmul_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_any(t, lane);
    store_any(t, lane);
}

// C = act(op(A)·op(B) + bias)
@compute @workgroup_size(INVOCATIONS)
fn linear(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_vec(t, lane);
    add_bias(t, lane);
    store_vec(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn linear_out1(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_vec(t, lane);
    add_bias(t, lane);
    store_any(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn linear_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_any(t, lane);
    add_bias(t, lane);
    store_any(t, lane);
}

// C = act(op(A)·op(B) + bias + D)
@compute @workgroup_size(INVOCATIONS)
fn linear_skip(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_vec(t, lane);
    add_bias(t, lane);
    skip_vec(t, lane);
    store_vec(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn linear_skip_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_any(t, lane);
    add_bias(t, lane);
    skip_any(t, lane);
    store_any(t, lane);
}

// C = op(A)·op(B) + D
@compute @workgroup_size(INVOCATIONS)
fn matmul_plus(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_vec(t, lane);
    plus_vec(t, lane);
    store_vec(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn matmul_plus_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_any(t, lane);
    plus_any(t, lane);
    store_any(t, lane);
}

// C = op(A)·op(B) ⊙ (Y > 0)
@compute @workgroup_size(INVOCATIONS)
fn matmul_masked(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_vec(t, lane);
    mask_by_third_vec(t, lane);
    store_vec(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn matmul_masked_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_any(t, lane);
    mask_by_third_any(t, lane);
    store_any(t, lane);
}

// C = (op(A)·op(B) + D) ⊙ (Y > 0)
@compute @workgroup_size(INVOCATIONS)
fn matmul_plus_masked(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_vec(t, lane);
    plus_vec(t, lane);
    mask_by_fourth_vec(t, lane);
    store_vec(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn matmul_plus_masked_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_any(t, lane);
    plus_any(t, lane);
    mask_by_fourth_any(t, lane);
    store_any(t, lane);
}

// C = Aᵀ·B and sums = Σ_k A[k, :], in parts as C is
@compute @workgroup_size(INVOCATIONS)
fn weight(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_vec(t, lane);
    store_vec(t, lane);
    store_sums(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn weight_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_any(t, lane);
    store_any(t, lane);
    store_sums(t, lane);
}
