// uses: conv2d_shared, strips, read, write
// variants: r8x8, r8x4, r4x8, r4x4
// 2-D convolution, NHWC, weights (O, KH, KW, I), as implicit matrix products: nothing is unfolded in memory.
//
// As in matmul.wgsl an invocation owns a register tile of 4·TM4 rows by 4·TN4 columns (constants of the variant file), entry points read and
// store by quads or by single floats (`_out1`, `_any`: channels are no multiples of 4), and the gradient of x takes in what belongs to it.

override WG: u32 = 8u;

// Four vectors; of A one a row (over k), of B one a k (over columns), so that (b·a)[r] is row r of the 4×4 product.
alias Block = mat4x4<f32>;
const STEP = vec4(0u, 1u, 2u, 3u);

var<private> acc: array<array<Block, TN4>, TM4>;

// First row and column of a tile, and which phase or part it belongs to.
struct Tile { row: u32, col: u32, slab: u32 }

fn tile_of(id: u32) -> Tile {
    for (var i = 0u; i < TM4; i++) { acc[i] = array<Block, TN4>(); }
    let turn = turn_of(id, dims.tiles_m, dims.tiles_n);
    return Tile(turn.row * TM4 * 4u, turn.col * TN4 * 4u, turn.slab);
}

// Four places in a map of pixels (0 where outside), and which are inside.
struct Places { at: vec4<u32>, inside: vec4<bool> }

fn places(p: Pixels, dy: i32, dx: i32, height: u32, width: u32) -> Places {
    // A negative coordinate is a huge one after the cast.
    let y = vec4<u32>(p.y + dy);
    let x = vec4<u32>(p.x + dx);
    let inside = (y < vec4(height)) & (x < vec4(width));
    return Places(select(vec4<u32>(), (p.image * height + y) * width + x, inside), inside);
}

fn kept(v: vec4<f32>, inside: bool) -> vec4<f32> {
    return select(vec4<f32>(), v, inside);
}

fn gather_a4(p: Places, at: vec4<u32>) -> Block {
    let v = p.inside;
    return Block(kept(a4(at.x), v.x), kept(a4(at.y), v.y), kept(a4(at.z), v.z), kept(a4(at.w), v.w));
}

fn gather_a1(p: Places, at: vec4<u32>) -> vec4<f32> {
    return select(vec4<f32>(), vec4(a1(at.x), a1(at.y), a1(at.z), a1(at.w)), p.inside);
}

fn outer(a: vec4<f32>, b: vec4<f32>) -> Block {
    return Block(b * a.x, b * a.y, b * a.z, b * a.w);
}

// ---- y[r, o] = Σ_{tap, i} x[window(r) + tap, i] · w[o, tap, i] (+ bias[o])

fn sum_conv_vec(t: Tile) {
    var begin: array<Pixels, TM4>;
    for (var i = 0u; i < TM4; i++) { begin[i] = windows(t.row + i * 4u); }
    let channels = dims.c_in / 4u;
    let taps = dims.kernel_y * dims.kernel_x;
    for (var tap = 0u; tap < taps; tap++) {
        var at: array<Places, TM4>;
        for (var i = 0u; i < TM4; i++) {
            at[i] = places(begin[i], i32(tap / dims.kernel_x), i32(tap % dims.kernel_x), dims.height, dims.width);
        }
        var b_at: array<vec4<u32>, TN4>;
        for (var j = 0u; j < TN4; j++) {
            b_at[j] = (min(t.col + j * 4u + STEP, vec4(dims.n - 1u)) * taps + tap) * channels;
        }
        for (var c = 0u; c < channels; c++) {
            var a: array<Block, TM4>;
            for (var i = 0u; i < TM4; i++) { a[i] = gather_a4(at[i], at[i].at * channels + c); }
            for (var j = 0u; j < TN4; j++) {
                let b_from = b_at[j] + c;
                let b = transpose(Block(b4(b_from.x), b4(b_from.y), b4(b_from.z), b4(b_from.w)));
                for (var i = 0u; i < TM4; i++) { acc[i][j] += b * a[i]; }
            }
        }
    }
}

fn sum_conv_any(t: Tile) {
    var begin: array<Pixels, TM4>;
    for (var i = 0u; i < TM4; i++) { begin[i] = windows(t.row + i * 4u); }
    let taps = dims.kernel_y * dims.kernel_x;
    for (var tap = 0u; tap < taps; tap++) {
        var at: array<Places, TM4>;
        for (var i = 0u; i < TM4; i++) {
            at[i] = places(begin[i], i32(tap / dims.kernel_x), i32(tap % dims.kernel_x), dims.height, dims.width);
        }
        for (var c = 0u; c < dims.c_in; c++) {
            var a: array<vec4<f32>, TM4>;
            for (var i = 0u; i < TM4; i++) { a[i] = gather_a1(at[i], at[i].at * dims.c_in + c); }
            for (var j = 0u; j < TN4; j++) {
                let b_at = (min(t.col + j * 4u + STEP, vec4(dims.n - 1u)) * taps + tap) * dims.c_in + c;
                let b = vec4(b1(b_at.x), b1(b_at.y), b1(b_at.z), b1(b_at.w));
                for (var i = 0u; i < TM4; i++) { acc[i][j] += outer(a[i], b); }
            }
        }
    }
}

fn add_bias(t: Tile) {
    for (var j = 0u; j < TN4; j++) {
        let col = min(t.col + j * 4u + STEP, vec4(dims.n - 1u));
        let b = vec4(one_3(col.x), one_3(col.y), one_3(col.z), one_3(col.w));
        for (var i = 0u; i < TM4; i++) { acc[i][j] += Block(b, b, b, b); }
    }
}

fn skip_vec(t: Tile) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            let at = (t.row + i * 4u) * dims.n + t.col + j * 4u;
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += skip4(at + r * dims.n); }
        }
    }
}

fn skip_any(t: Tile) {
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            let at = (t.row + i * 4u) * dims.n + t.col + j * 4u;
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += skip1(at + r * dims.n); }
        }
    }
}

// Stores four columns from `col` on to row `row` of a matrix of n columns; rows from `end` on are dropped.
fn put_vec(v: vec4<f32>, row: u32, col: u32, end: u32) {
    if row < end && col < dims.n { put_c4((row * dims.n + col) / 4u, v); }
}

fn put_any(v: vec4<f32>, row: u32, col: u32, end: u32) {
    if row >= end { return; }
    let at = row * dims.n + col;
    if col < dims.n { put_c1(at, v.x); }
    if col + 1u < dims.n { put_c1(at + 1u, v.y); }
    if col + 2u < dims.n { put_c1(at + 2u, v.z); }
    if col + 3u < dims.n { put_c1(at + 3u, v.w); }
}

fn store_vec(t: Tile) {
    let base = t.slab * dims.m;
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) {
                put_vec(activate(acc[i][j][r]), base + t.row + i * 4u + r, t.col + j * 4u, base + dims.m);
            }
        }
    }
}

fn store_any(t: Tile) {
    let base = t.slab * dims.m;
    for (var i = 0u; i < TM4; i++) {
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) {
                put_any(activate(acc[i][j][r]), base + t.row + i * 4u + r, t.col + j * 4u, base + dims.m);
            }
        }
    }
}

@compute @workgroup_size(WG)
fn conv(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_conv_vec(t);
    store_vec(t);
}

@compute @workgroup_size(WG)
fn conv_out1(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_conv_vec(t);
    store_any(t);
}

@compute @workgroup_size(WG)
fn conv_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_conv_any(t);
    store_any(t);
}

@compute @workgroup_size(WG)
fn conv_bias(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_conv_vec(t);
    add_bias(t);
    store_vec(t);
}

@compute @workgroup_size(WG)
fn conv_bias_out1(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_conv_vec(t);
    add_bias(t);
    store_any(t);
}

@compute @workgroup_size(WG)
fn conv_bias_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_conv_any(t);
    add_bias(t);
    store_any(t);
}

// y + D, where D is like y
@compute @workgroup_size(WG)
fn conv_skip(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_conv_vec(t);
    add_bias(t);
    skip_vec(t);
    store_vec(t);
}

@compute @workgroup_size(WG)
fn conv_skip_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    sum_conv_any(t);
    add_bias(t);
    skip_any(t);
    store_any(t);
}

// ---- dx[p, i] = Σ_{tap, o} dy[(p + pad − tap) / stride, o] · w[o, tap, i] over the taps for which the division is exact.
//
// Input positions p that are equal modulo the stride (a phase) meet the same taps, so a tile stays in one phase and no tap is tried in
// vain: with p = stride·t + phase and phase + pad = stride·d + tap0, tap tap0 + stride·s comes from output position t + d − s.

// The phase's offset, its first tap, and the output position that meets tap0 at t = 0.
struct Phase { offset: vec2<u32>, tap: vec2<u32>, first: vec2<u32> }

fn phase_of(slab: u32) -> Phase {
    let stride = vec2(dims.stride_y, dims.stride_x);
    let offset = vec2(slab / stride.y, slab % stride.y);
    let padded = offset + vec2(dims.pad_y, dims.pad_x);
    return Phase(offset, padded % stride, padded / stride);
}

fn sum_dx_vec(t: Tile, phase: Phase) {
    var begin: array<Pixels, TM4>;
    for (var i = 0u; i < TM4; i++) { begin[i] = phase_rows(t.row + i * 4u); }
    let channels = dims.c_out / 4u;
    let taps = dims.kernel_y * dims.kernel_x;
    let first = vec2<i32>(phase.first);
    var s = vec2<i32>();
    for (var ky = phase.tap.x; ky < dims.kernel_y; ky += dims.stride_y) {
        s.y = 0;
        for (var kx = phase.tap.y; kx < dims.kernel_x; kx += dims.stride_x) {
            var at: array<Places, TM4>;
            for (var i = 0u; i < TM4; i++) {
                at[i] = places(begin[i], first.x - s.x, first.y - s.y, dims.out_height, dims.out_width);
            }
            var b_at: array<vec4<u32>, TN4>;
            for (var j = 0u; j < TN4; j++) {
                let col = min(t.col + j * 4u, dims.n - 4u);
                b_at[j] = ((STEP * taps + ky * dims.kernel_x + kx) * dims.c_in + col) / 4u;
            }
            for (var c = 0u; c < channels; c++) {
                var a: array<Block, TM4>;
                for (var i = 0u; i < TM4; i++) { a[i] = gather_a4(at[i], at[i].at * channels + c); }
                for (var j = 0u; j < TN4; j++) {
                    let b_from = b_at[j] + c * taps * dims.c_in;
                    let b = Block(b4(b_from.x), b4(b_from.y), b4(b_from.z), b4(b_from.w));
                    for (var i = 0u; i < TM4; i++) { acc[i][j] += b * a[i]; }
                }
            }
            s.y++;
        }
        s.x++;
    }
}

fn sum_dx_any(t: Tile, phase: Phase) {
    var begin: array<Pixels, TM4>;
    for (var i = 0u; i < TM4; i++) { begin[i] = phase_rows(t.row + i * 4u); }
    let taps = dims.kernel_y * dims.kernel_x;
    let first = vec2<i32>(phase.first);
    var s = vec2<i32>();
    for (var ky = phase.tap.x; ky < dims.kernel_y; ky += dims.stride_y) {
        s.y = 0;
        for (var kx = phase.tap.y; kx < dims.kernel_x; kx += dims.stride_x) {
            var at: array<Places, TM4>;
            for (var i = 0u; i < TM4; i++) {
                at[i] = places(begin[i], first.x - s.x, first.y - s.y, dims.out_height, dims.out_width);
            }
            for (var c = 0u; c < dims.c_out; c++) {
                var a: array<vec4<f32>, TM4>;
                for (var i = 0u; i < TM4; i++) { a[i] = gather_a1(at[i], at[i].at * dims.c_out + c); }
                for (var j = 0u; j < TN4; j++) {
                    let b_at = (c * taps + ky * dims.kernel_x + kx) * dims.c_in + min(t.col + j * 4u + STEP, vec4(dims.n - 1u));
                    let b = vec4(b1(b_at.x), b1(b_at.y), b1(b_at.z), b1(b_at.w));
                    for (var i = 0u; i < TM4; i++) { acc[i][j] += outer(a[i], b); }
                }
            }
            s.y++;
        }
        s.x++;
    }
}

// acc + D, acc ⊙ (Y > 0); Y is the third input, or the fourth after D.
fn plus_vec(t: Tile, phase: Phase) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + i * 4u, phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += third_vec(rows[r] * dims.n + t.col + j * 4u); }
        }
    }
}

fn mask_by_third_vec(t: Tile, phase: Phase) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + i * 4u, phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept_where(acc[i][j][r], third_vec(rows[r] * dims.n + t.col + j * 4u)); }
        }
    }
}

fn mask_by_fourth_vec(t: Tile, phase: Phase) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + i * 4u, phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept_where(acc[i][j][r], fourth_vec(rows[r] * dims.n + t.col + j * 4u)); }
        }
    }
}

fn plus_any(t: Tile, phase: Phase) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + i * 4u, phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] += third_any(rows[r] * dims.n + t.col + j * 4u); }
        }
    }
}

fn mask_by_third_any(t: Tile, phase: Phase) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + i * 4u, phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept_where(acc[i][j][r], third_any(rows[r] * dims.n + t.col + j * 4u)); }
        }
    }
}

fn mask_by_fourth_any(t: Tile, phase: Phase) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + i * 4u, phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { acc[i][j][r] = kept_where(acc[i][j][r], fourth_any(rows[r] * dims.n + t.col + j * 4u)); }
        }
    }
}

fn store_dx_vec(t: Tile, phase: Phase) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + i * 4u, phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { put_vec(acc[i][j][r], rows[r], t.col + j * 4u, inputs()); }
        }
    }
}

fn store_dx_any(t: Tile, phase: Phase) {
    for (var i = 0u; i < TM4; i++) {
        let rows = input_rows(t.row + i * 4u, phase);
        for (var j = 0u; j < TN4; j++) {
            for (var r = 0u; r < 4u; r++) { put_any(acc[i][j][r], rows[r], t.col + j * 4u, inputs()); }
        }
    }
}

@compute @workgroup_size(WG)
fn dx(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    let phase = phase_of(t.slab);
    sum_dx_vec(t, phase);
    store_dx_vec(t, phase);
}

@compute @workgroup_size(WG)
fn dx_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    let phase = phase_of(t.slab);
    sum_dx_any(t, phase);
    store_dx_any(t, phase);
}

// dx + D
@compute @workgroup_size(WG)
fn dx_plus(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    let phase = phase_of(t.slab);
    sum_dx_vec(t, phase);
    plus_vec(t, phase);
    store_dx_vec(t, phase);
}

@compute @workgroup_size(WG)
fn dx_plus_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    let phase = phase_of(t.slab);
    sum_dx_any(t, phase);
    plus_any(t, phase);
    store_dx_any(t, phase);
}

// dx ⊙ (Y > 0)
@compute @workgroup_size(WG)
fn dx_masked(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    let phase = phase_of(t.slab);
    sum_dx_vec(t, phase);
    mask_by_third_vec(t, phase);
    store_dx_vec(t, phase);
}

@compute @workgroup_size(WG)
fn dx_masked_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    let phase = phase_of(t.slab);
    sum_dx_any(t, phase);
    mask_by_third_any(t, phase);
    store_dx_any(t, phase);
}

// (dx + D) ⊙ (Y > 0)
@compute @workgroup_size(WG)
fn dx_plus_masked(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    let phase = phase_of(t.slab);
    sum_dx_vec(t, phase);
    plus_vec(t, phase);
    mask_by_fourth_vec(t, phase);
    store_dx_vec(t, phase);
}

@compute @workgroup_size(WG)
fn dx_plus_masked_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    let phase = phase_of(t.slab);
    sum_dx_any(t, phase);
    plus_any(t, phase);
    mask_by_fourth_any(t, phase);
    store_dx_any(t, phase);
}

// ---- dw[part, o, tap, i] = Σ_{r in part} dy[r, o] · x[window(r) + tap, i]; rows are o, columns (tap, i), the sum runs over positions r.

// An output position that is counted up, so that no division stands in the loop.
struct Position { image: u32, y: u32, x: u32 }

fn position(r: u32) -> Position {
    return Position(r / (dims.out_height * dims.out_width), r / dims.out_width % dims.out_height, r % dims.out_width);
}

fn next(p: Position) -> Position {
    let x = select(p.x + 1u, 0u, p.x + 1u == dims.out_width);
    let y_up = p.y + select(0u, 1u, x == 0u);
    let y = select(y_up, 0u, y_up == dims.out_height);
    return Position(p.image + select(0u, 1u, x == 0u && y == 0u), y, x);
}

// Four columns as (tap's row, tap's column, channel).
struct Columns { y: vec4<u32>, x: vec4<u32>, channel: vec4<u32> }

fn columns(col: u32) -> Columns {
    let c = min(col + STEP, vec4(dims.n - 1u));
    let tap = c / dims.c_in;
    return Columns(tap / dims.kernel_x, tap % dims.kernel_x, c % dims.c_in);
}

@compute @workgroup_size(WG)
fn dw(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    var taps: array<vec3<u32>, TN4>;
    for (var j = 0u; j < TN4; j++) {
        let c = columns(min(t.col + j * 4u, dims.n - 4u));
        taps[j] = vec3(c.y.x, c.x.x, c.channel.x / 4u);
    }
    let k0 = t.slab * dims.k_part;
    let k1 = min(k0 + dims.k_part, dims.images * dims.out_height * dims.out_width);
    var p = position(k0);
    for (var k = k0; k < k1; k++) {
        var a: array<vec4<f32>, TM4>;
        for (var i = 0u; i < TM4; i++) { a[i] = a4((k * dims.c_out + min(t.row + i * 4u, dims.m - 4u)) / 4u); }
        for (var j = 0u; j < TN4; j++) {
            let y = p.y * dims.stride_y + taps[j].x - dims.pad_y;
            let x = p.x * dims.stride_x + taps[j].y - dims.pad_x;
            let inside = y < dims.height && x < dims.width;
            let at = ((p.image * dims.height + y) * dims.width + x) * (dims.c_in / 4u) + taps[j].z;
            let b = kept(b4(select(0u, at, inside)), inside);
            for (var i = 0u; i < TM4; i++) { acc[i][j] += outer(a[i], b); }
        }
        p = next(p);
    }
    store_vec(t);
}

@compute @workgroup_size(WG)
fn dw_any(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id = at.x + at.y * groups.x * WG;
    if id >= dims.tiles { return; }
    let t = tile_of(id);
    var taps: array<Columns, TN4>;
    for (var j = 0u; j < TN4; j++) { taps[j] = columns(t.col + j * 4u); }
    let k0 = t.slab * dims.k_part;
    let k1 = min(k0 + dims.k_part, dims.images * dims.out_height * dims.out_width);
    var p = position(k0);
    for (var k = k0; k < k1; k++) {
        var a: array<vec4<f32>, TM4>;
        for (var i = 0u; i < TM4; i++) {
            let at = k * dims.c_out + min(t.row + i * 4u + STEP, vec4(dims.m - 1u));
            a[i] = vec4(a1(at.x), a1(at.y), a1(at.z), a1(at.w));
        }
        for (var j = 0u; j < TN4; j++) {
            let y = p.y * dims.stride_y + taps[j].y - dims.pad_y;
            let x = p.x * dims.stride_x + taps[j].x - dims.pad_x;
            let inside = (y < vec4(dims.height)) & (x < vec4(dims.width));
            let at = select(vec4<u32>(), ((p.image * dims.height + y) * dims.width + x) * dims.c_in + taps[j].channel, inside);
            let b = select(vec4<f32>(), vec4(b1(at.x), b1(at.y), b1(at.z), b1(at.w)), inside);
            for (var i = 0u; i < TM4; i++) { acc[i][j] += outer(a[i], b); }
        }
        p = next(p);
    }
    store_any(t);
}
