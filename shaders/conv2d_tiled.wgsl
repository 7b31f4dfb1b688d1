// uses: conv2d_shared, strips, tiled, read, write
// variants: w128x128, w64x64, w32x32, w64x16, w16x64, d128x64, d64x64, d32x32
// The convolutions of conv2d.wgsl by workgroup tiles, for GPUs: same entry points, dims and bindings.
//
// What lies side by side along k is fetched by scalars, so that neighbouring invocations read neighbouring numbers; what lies side by side
// along rows or columns by vec4s, where channels are multiples of 4. Kinds differ in stores: vec4 or scalar (`_out1`, `_any`).

// First row and column of a tile, and which phase or part it belongs to.
struct Tile { row: u32, col: u32, slab: u32 }

fn tile_of(id: u32) -> Tile {
    // A workgroup too many stores no rows. It must not return, as barriers follow.
    if id >= dims.tiles { return Tile(dims.m, 0u, 0u); }
    let turn = turn_of(id, dims.tiles_m, dims.tiles_n);
    return Tile(turn.row * ROWS, turn.col * COLUMNS, turn.slab);
}

// The rows that the invocation fetches.
var<private> begin: array<Pixels, SHARE_A>;

// Four numbers of A, those `channel` of `channels` at four pixels shifted by a tap; 0 outside the map.
fn gather(p: Pixels, dy: i32, dx: i32, height: u32, width: u32, channels: u32, channel: u32) -> vec4<f32> {
    // A negative coordinate is a huge one after the cast.
    let y = vec4<u32>(p.y + dy);
    let x = vec4<u32>(p.x + dx);
    let inside = (y < vec4(height)) & (x < vec4(width));
    let at = select(vec4<u32>(), (p.image * height + y) * width + x, inside) * channels + channel;
    return select(vec4<f32>(), vec4(a1(at.x), a1(at.y), a1(at.z), a1(at.w)), inside);
}

fn gather_a(at: vec4<u32>) -> vec4<f32> {
    return vec4(a1(at.x), a1(at.y), a1(at.z), a1(at.w));
}

fn gather_b(at: vec4<u32>) -> vec4<f32> {
    return vec4(b1(at.x), b1(at.y), b1(at.z), b1(at.w));
}

// Stores row r of block (i, j) to row `row` of a matrix of n columns; rows from `end` on are dropped.
fn put_any(t: Tile, lane: u32, i: u32, j: u32, r: u32, row: u32, end: u32) {
    let col = t.col + block_col(lane, j);
    let v = activate(acc[i][j][r]);
    if row >= end { return; }
    let at = row * dims.n + col;
    if col < dims.n { put_c1(at, v.x); }
    if col + 1u < dims.n { put_c1(at + 1u, v.y); }
    if col + 2u < dims.n { put_c1(at + 2u, v.z); }
    if col + 3u < dims.n { put_c1(at + 3u, v.w); }
}

fn put_vec(t: Tile, lane: u32, i: u32, j: u32, r: u32, row: u32, end: u32) {
    let col = t.col + block_col(lane, j);
    if row < end && col < dims.n { put_c4((row * dims.n + col) / 4u, activate(acc[i][j][r])); }
}

fn store_vec(t: Tile, lane: u32) {
    let base = t.slab * dims.m;
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { put_vec(t, lane, i, j, r, base + t.row + block_row(lane, i) + r, base + dims.m); }
        }
    }
}

fn store_any(t: Tile, lane: u32) {
    let base = t.slab * dims.m;
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { put_any(t, lane, i, j, r, base + t.row + block_row(lane, i) + r, base + dims.m); }
        }
    }
}

// ---- y[r, o] = Σ_{tap, i} x[window(r) + tap, i] · w[o, tap, i] (+ bias[o]); k is (tap, i).

fn fetch_conv(t: Tile, lane: u32, from_k: u32, k1: u32) {
    for (var u = 0u; u < SHARE_A; u++) {
        let k = from_k + share_a(lane, u, true).k;
        next_a[u] = vec4<f32>();
        if k < k1 {
            let tap = k / dims.c_in;
            let y = i32(tap / dims.kernel_x);
            let x = i32(tap % dims.kernel_x);
            next_a[u] = gather(begin[u], y, x, dims.height, dims.width, dims.c_in, k % dims.c_in);
        }
    }
    for (var u = 0u; u < SHARE_B; u++) {
        let s = share_b(lane, u, true);
        let k = from_k + s.k;
        next_b[u] = vec4<f32>();
        if k < k1 { next_b[u] = gather_b(min(t.col + s.quad * 4u + STEP, vec4(dims.n - 1u)) * k1 + k); }
    }
}

fn sum_conv(t: Tile, lane: u32) {
    for (var u = 0u; u < SHARE_A; u++) { begin[u] = windows(t.row + share_a(lane, u, true).quad * 4u); }
    let k1 = dims.kernel_y * dims.kernel_x * dims.c_in;
    clear();
    fetch_conv(t, lane, 0u, k1);
    for (var k = 0u; k < k1; k += DEPTH) {
        stage(lane, true, true);
        fetch_conv(t, lane, k + DEPTH, k1);
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

fn skip_vec(t: Tile, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            let at = (t.row + block_row(lane, i)) * dims.n + t.col + block_col(lane, j);
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += skip4(at + r * dims.n); }
        }
    }
}

fn skip_any(t: Tile, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            let at = (t.row + block_row(lane, i)) * dims.n + t.col + block_col(lane, j);
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += skip1(at + r * dims.n); }
        }
    }
}

@compute @workgroup_size(INVOCATIONS)
fn conv(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_conv(t, lane);
    store_vec(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn conv_out1(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_conv(t, lane);
    store_any(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn conv_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_conv(t, lane);
    store_any(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn conv_bias(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_conv(t, lane);
    add_bias(t, lane);
    store_vec(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn conv_bias_out1(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_conv(t, lane);
    add_bias(t, lane);
    store_any(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn conv_bias_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_conv(t, lane);
    add_bias(t, lane);
    store_any(t, lane);
}

// y + D, where D is like y
@compute @workgroup_size(INVOCATIONS)
fn conv_skip(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_conv(t, lane);
    add_bias(t, lane);
    skip_vec(t, lane);
    store_vec(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn conv_skip_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    sum_conv(t, lane);
    add_bias(t, lane);
    skip_any(t, lane);
    store_any(t, lane);
}

// ---- dx[p, i] = Σ_{tap, o} dy[(p + pad − tap) / stride, o] · w[o, tap, i] over the taps for which the division is exact; k is (tap, o).
//
// Input positions p that are equal modulo the stride (a phase) meet the same taps, so a tile stays in one phase and no tap is tried in
// vain: with p = stride·t + phase and phase + pad = stride·d + tap0, tap tap0 + stride·s comes from output position t + d − s.

// The phase's offset, its first tap, the output position that meets tap0 at t = 0, and how many taps it meets (down, right).
struct Phase { offset: vec2<u32>, tap: vec2<u32>, first: vec2<u32>, taps: vec2<u32> }

fn phase_of(slab: u32) -> Phase {
    let stride = vec2(dims.stride_y, dims.stride_x);
    let offset = vec2(slab / stride.y, slab % stride.y);
    let padded = offset + vec2(dims.pad_y, dims.pad_x);
    let tap = padded % stride;
    let taps = (vec2(dims.kernel_y, dims.kernel_x) + stride - 1u - tap) / stride;
    return Phase(offset, tap, padded / stride, taps);
}

// The s of the tap of a k (down, right).
fn tap_of(k: u32, phase: Phase) -> vec2<u32> {
    let s = k / dims.c_out;
    return vec2(s / phase.taps.y, s % phase.taps.y);
}

// Where w begins for a k.
fn weight_row(k: u32, phase: Phase) -> u32 {
    let tap = phase.tap + tap_of(k, phase) * vec2(dims.stride_y, dims.stride_x);
    return ((k % dims.c_out * dims.kernel_y + tap.x) * dims.kernel_x + tap.y) * dims.c_in;
}

fn fetch_dx_a(phase: Phase, lane: u32, from_k: u32, k1: u32) {
    for (var u = 0u; u < SHARE_A; u++) {
        let k = from_k + share_a(lane, u, true).k;
        next_a[u] = vec4<f32>();
        if k < k1 {
            let by = vec2<i32>(phase.first) - vec2<i32>(tap_of(k, phase));
            next_a[u] = gather(begin[u], by.x, by.y, dims.out_height, dims.out_width, dims.c_out, k % dims.c_out);
        }
    }
}

fn fetch_dx_vec(t: Tile, phase: Phase, lane: u32, from_k: u32, k1: u32) {
    fetch_dx_a(phase, lane, from_k, k1);
    for (var u = 0u; u < SHARE_B; u++) {
        let s = share_b(lane, u, false);
        let k = from_k + s.k;
        next_b[u] = vec4<f32>();
        if k < k1 { next_b[u] = b4((weight_row(k, phase) + min(t.col + s.quad * 4u, dims.n - 4u)) / 4u); }
    }
}

fn fetch_dx_any(t: Tile, phase: Phase, lane: u32, from_k: u32, k1: u32) {
    fetch_dx_a(phase, lane, from_k, k1);
    for (var u = 0u; u < SHARE_B; u++) {
        let s = share_b(lane, u, false);
        let k = from_k + s.k;
        next_b[u] = vec4<f32>();
        if k < k1 { next_b[u] = gather_b(weight_row(k, phase) + min(t.col + s.quad * 4u + STEP, vec4(dims.n - 1u))); }
    }
}

fn sum_dx_vec(t: Tile, phase: Phase, lane: u32) {
    for (var u = 0u; u < SHARE_A; u++) { begin[u] = phase_rows(t.row + share_a(lane, u, true).quad * 4u); }
    let k1 = phase.taps.x * phase.taps.y * dims.c_out;
    clear();
    fetch_dx_vec(t, phase, lane, 0u, k1);
    for (var k = 0u; k < k1; k += DEPTH) {
        stage(lane, true, false);
        fetch_dx_vec(t, phase, lane, k + DEPTH, k1);
        multiply(lane);
    }
}

fn sum_dx_any(t: Tile, phase: Phase, lane: u32) {
    for (var u = 0u; u < SHARE_A; u++) { begin[u] = phase_rows(t.row + share_a(lane, u, true).quad * 4u); }
    let k1 = phase.taps.x * phase.taps.y * dims.c_out;
    clear();
    fetch_dx_any(t, phase, lane, 0u, k1);
    for (var k = 0u; k < k1; k += DEPTH) {
        stage(lane, true, false);
        fetch_dx_any(t, phase, lane, k + DEPTH, k1);
        multiply(lane);
    }
}

// acc + D, acc ⊙ (Y > 0); Y is the third input, or the fourth after D.
fn plus_vec(t: Tile, phase: Phase, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + block_row(lane, i), phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += third_vec(rows[r] * dims.n + t.col + block_col(lane, j)); }
        }
    }
}

fn mask_by_third_vec(t: Tile, phase: Phase, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + block_row(lane, i), phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept_where(acc[i][j][r], third_vec(rows[r] * dims.n + t.col + block_col(lane, j))); }
        }
    }
}

fn mask_by_fourth_vec(t: Tile, phase: Phase, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + block_row(lane, i), phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept_where(acc[i][j][r], fourth_vec(rows[r] * dims.n + t.col + block_col(lane, j))); }
        }
    }
}

fn plus_any(t: Tile, phase: Phase, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + block_row(lane, i), phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += third_any(rows[r] * dims.n + t.col + block_col(lane, j)); }
        }
    }
}

fn mask_by_third_any(t: Tile, phase: Phase, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + block_row(lane, i), phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept_where(acc[i][j][r], third_any(rows[r] * dims.n + t.col + block_col(lane, j))); }
        }
    }
}

fn mask_by_fourth_any(t: Tile, phase: Phase, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + block_row(lane, i), phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept_where(acc[i][j][r], fourth_any(rows[r] * dims.n + t.col + block_col(lane, j))); }
        }
    }
}

fn store_dx_vec(t: Tile, phase: Phase, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + block_row(lane, i), phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { put_vec(t, lane, i, j, r, rows[r], inputs()); }
        }
    }
}

fn store_dx_any(t: Tile, phase: Phase, lane: u32) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + block_row(lane, i), phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { put_any(t, lane, i, j, r, rows[r], inputs()); }
        }
    }
}

@compute @workgroup_size(INVOCATIONS)
fn dx(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    let phase = phase_of(t.slab);
    sum_dx_vec(t, phase, lane);
    store_dx_vec(t, phase, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn dx_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    let phase = phase_of(t.slab);
    sum_dx_any(t, phase, lane);
    store_dx_any(t, phase, lane);
}

// dx + D
@compute @workgroup_size(INVOCATIONS)
fn dx_plus(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    let phase = phase_of(t.slab);
    sum_dx_vec(t, phase, lane);
    plus_vec(t, phase, lane);
    store_dx_vec(t, phase, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn dx_plus_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    let phase = phase_of(t.slab);
    sum_dx_any(t, phase, lane);
    plus_any(t, phase, lane);
    store_dx_any(t, phase, lane);
}

// dx ⊙ (Y > 0)
@compute @workgroup_size(INVOCATIONS)
fn dx_masked(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    let phase = phase_of(t.slab);
    sum_dx_vec(t, phase, lane);
    mask_by_third_vec(t, phase, lane);
    store_dx_vec(t, phase, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn dx_masked_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    let phase = phase_of(t.slab);
    sum_dx_any(t, phase, lane);
    mask_by_third_any(t, phase, lane);
    store_dx_any(t, phase, lane);
}

// (dx + D) ⊙ (Y > 0)
@compute @workgroup_size(INVOCATIONS)
fn dx_plus_masked(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    let phase = phase_of(t.slab);
    sum_dx_vec(t, phase, lane);
    plus_vec(t, phase, lane);
    mask_by_fourth_vec(t, phase, lane);
    store_dx_vec(t, phase, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn dx_plus_masked_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    let phase = phase_of(t.slab);
    sum_dx_any(t, phase, lane);
    plus_any(t, phase, lane);
    mask_by_fourth_any(t, phase, lane);
    store_dx_any(t, phase, lane);
}

// ---- dw[part, o, tap, i] = Σ_{r in part} dy[r, o] · x[window(r) + tap, i]; rows are o, columns (tap, i), the sum runs over positions r.

// Four columns as (tap's row, tap's column, channel).
struct Columns { y: vec4<u32>, x: vec4<u32>, channel: vec4<u32> }

// The columns that the invocation fetches.
var<private> taps: array<Columns, SHARE_B>;

fn columns(col: u32) -> Columns {
    let c = min(col + STEP, vec4(dims.n - 1u));
    let tap = c / dims.c_in;
    return Columns(tap / dims.kernel_x, tap % dims.kernel_x, c % dims.c_in);
}

fn fetch_dw_vec(t: Tile, lane: u32, from_k: u32, k1: u32) {
    for (var u = 0u; u < SHARE_A; u++) {
        let s = share_a(lane, u, false);
        let k = from_k + s.k;
        next_a[u] = vec4<f32>();
        if k < k1 { next_a[u] = a4((k * dims.c_out + min(t.row + s.quad * 4u, dims.m - 4u)) / 4u); }
    }
    for (var u = 0u; u < SHARE_B; u++) {
        let k = from_k + share_b(lane, u, false).k;
        let y = k / dims.out_width % dims.out_height * dims.stride_y + taps[u].y.x - dims.pad_y;
        let x = k % dims.out_width * dims.stride_x + taps[u].x.x - dims.pad_x;
        next_b[u] = vec4<f32>();
        if k < k1 && y < dims.height && x < dims.width {
            let image = k / (dims.out_height * dims.out_width);
            next_b[u] = b4((((image * dims.height + y) * dims.width + x) * dims.c_in + taps[u].channel.x) / 4u);
        }
    }
}

fn fetch_dw_any(t: Tile, lane: u32, from_k: u32, k1: u32) {
    for (var u = 0u; u < SHARE_A; u++) {
        let s = share_a(lane, u, false);
        let k = from_k + s.k;
        next_a[u] = vec4<f32>();
        if k < k1 { next_a[u] = gather_a(k * dims.c_out + min(t.row + s.quad * 4u + STEP, vec4(dims.m - 1u))); }
    }
    for (var u = 0u; u < SHARE_B; u++) {
        let k = from_k + share_b(lane, u, false).k;
        let y = k / dims.out_width % dims.out_height * dims.stride_y + taps[u].y - dims.pad_y;
        let x = k % dims.out_width * dims.stride_x + taps[u].x - dims.pad_x;
        let inside = (y < vec4(dims.height)) & (x < vec4(dims.width)) & vec4(k < k1);
        let image = k / (dims.out_height * dims.out_width);
        let at = select(vec4<u32>(), ((image * dims.height + y) * dims.width + x) * dims.c_in + taps[u].channel, inside);
        next_b[u] = select(vec4<f32>(), gather_b(at), inside);
    }
}

@compute @workgroup_size(INVOCATIONS)
fn dw(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    for (var u = 0u; u < SHARE_B; u++) { taps[u] = columns(min(t.col + share_b(lane, u, false).quad * 4u, dims.n - 4u)); }
    let k0 = t.slab * dims.k_part;
    let k1 = min(k0 + dims.k_part, dims.images * dims.out_height * dims.out_width);
    clear();
    fetch_dw_vec(t, lane, k0, k1);
    for (var k = k0; k < k1; k += DEPTH) {
        stage(lane, false, false);
        fetch_dw_vec(t, lane, k + DEPTH, k1);
        multiply(lane);
    }
    store_vec(t, lane);
}

@compute @workgroup_size(INVOCATIONS)
fn dw_any(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let t = tile_of(at.x + at.y * groups.x);
    for (var u = 0u; u < SHARE_B; u++) { taps[u] = columns(t.col + share_b(lane, u, false).quad * 4u); }
    let k0 = t.slab * dims.k_part;
    let k1 = min(k0 + dims.k_part, dims.images * dims.out_height * dims.out_width);
    clear();
    fetch_dw_any(t, lane, k0, k1);
    for (var k = k0; k < k1; k += DEPTH) {
        stage(lane, false, false);
        fetch_dw_any(t, lane, k + DEPTH, k1);
        multiply(lane);
    }
    store_any(t, lane);
}
