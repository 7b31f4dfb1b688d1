// uses: grid, read, write
// Multi-head self-attention of a packed projection qkv (B, L, 3, heads, d), for each sample and head:
//
//     P = softmax(q kᵀ / √d),   y = P v
//
// The softmax is over the sample's first lengths[b] columns: those behind are padding, which no row looks at. Rows of padding look as any other row
// does; whoever reads them leaves them out.
//
// P is never stored: an invocation owns ROWS rows of one head and walks over the columns four at a time, so a block of 4 × 4
// numbers that it loads serves 4·ROWS multiply-adds of each product. The gradient makes P again from log Σ exp of each row.
// The variant file says ROWS and GRAD_ROWS, and QUADS, the quads of a head's d numbers that there is room for. Its part says `kept`, what is left
// of probabilities: all of them (lib/attention_whole), or some, by dropout (lib/attention_dropout). Then y = (P ∘ M) v for a mask M that each of
// the kernels draws for itself, and with dP = M ∘ (dy vᵀ) the gradients keep their form.
@group(0) @binding(0) var<uniform> dims: Dims;

// The four vectors are what four neighbouring rows have at one quad.
alias Block = mat4x4f;
const STEP = vec4(0u, 1u, 2u, 3u);

const Q: u32 = 0u;
const K: u32 = 1u;
const V: u32 = 2u;

// The rows of one head of one sample that an invocation owns.
struct Tile {
    row: u32,  // the first of them
    sample: u32,  // the sample's first row among those of all samples
    head: u32,
    unit: u32,  // the head's first row among those of all heads of all samples
}

fn tile_of(id: u32, rows: u32) -> Tile {
    let one = id / dims.tiles;
    return Tile(id % dims.tiles * rows, one / dims.heads * dims.length, one % dims.heads, one * dims.length);
}

// Columns of a sample of so many tokens. An empty sample, which is padding of the batch, has one, so that its rows are numbers.
fn columns(length: u32) -> u32 {
    return clamp(length, 1u, dims.length);
}

// First number of the head in row `row` of y (B, L, heads, d), the last row standing in for those behind it.
fn at_y(t: Tile, row: u32) -> u32 {
    return ((t.sample + min(row, dims.length - 1u)) * dims.heads + t.head) * dims.head;
}

// The same of one part of qkv.
fn at_qkv(t: Tile, row: u32, part: u32) -> u32 {
    return (((t.sample + min(row, dims.length - 1u)) * 3u + part) * dims.heads + t.head) * dims.head;
}

// Four rows of a part of qkv, and of dy, at quad c.
fn qkv_block(t: Tile, row: u32, part: u32, c: u32) -> Block {
    return Block(
        qkv_quad(at_qkv(t, row, part), c),
        qkv_quad(at_qkv(t, row + 1u, part), c),
        qkv_quad(at_qkv(t, row + 2u, part), c),
        qkv_quad(at_qkv(t, row + 3u, part), c),
    );
}

fn dy_block(t: Tile, row: u32, c: u32) -> Block {
    return Block(
        dy_quad(at_y(t, row), c),
        dy_quad(at_y(t, row + 1u), c),
        dy_quad(at_y(t, row + 2u), c),
        dy_quad(at_y(t, row + 3u), c),
    );
}

// Those of four columns, or rows, that lie before the `end`.
fn present(column: u32, end: u32) -> vec4<bool> {
    return vec4(column) + STEP < vec4(end);
}

fn largest(v: vec4f) -> f32 {
    return max(max(v.x, v.y), max(v.z, v.w));
}

fn total(v: vec4f) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

// Below every score, and finite, so that no difference of two is a NaN.
const LOWEST: f32 = -3.4028234e38;

// y = P v and log Σ exp of the rows of q kᵀ / √d. The sums are scaled down when a row's maximum rises.
@group(0) @binding(2) var<storage, read> lengths: array<u32>;  // (B)
@group(0) @binding(4) var<storage, read_write> log_sum_out: array<f32>;  // (B, heads, L)
@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let id = invocation(at, groups);
    if id >= dims.units { return; }
    let t = tile_of(id, ROWS);
    var q: array<array<vec4f, QUADS>, ROWS>;
    var sums: array<array<vec4f, QUADS>, ROWS>;  // Σ_j exp(s_j − best) v_j
    var best: array<f32, ROWS>;
    var sum: array<f32, ROWS>;  // Σ_j exp(s_j − best)
    for (var r = 0u; r < ROWS; r++) {
        best[r] = LOWEST;
        sum[r] = 0.0;
        let row = at_qkv(t, t.row + r, Q);
        for (var c = 0u; c < QUADS; c++) {
            q[r][c] = select(vec4f(), dims.scale * qkv_quad(row, c), c < dims.quads);
            sums[r][c] = vec4f();
        }
    }
    let end = columns(lengths[t.sample / dims.length]);
    let key = mask_key();
    for (var j = 0u; j < end; j += 4u) {
        var p: array<vec4f, ROWS>;
        for (var r = 0u; r < ROWS; r++) { p[r] = vec4f(); }
        for (var c = 0u; c < QUADS; c++) {
            let k = qkv_block(t, j, K, c);
            for (var r = 0u; r < ROWS; r++) { p[r] += q[r][c] * k; }
        }
        let there = present(j, end);
        var fade: array<f32, ROWS>;
        for (var r = 0u; r < ROWS; r++) {
            let s = select(vec4(LOWEST), p[r], there);
            let next = max(best[r], largest(s));
            fade[r] = exp(best[r] - next);
            p[r] = exp(s - next);
            sum[r] = sum[r] * fade[r] + total(p[r]);
            best[r] = next;
            p[r] = kept(p[r], key, vec4(t.unit + t.row + r), vec4(j) + STEP);
        }
        for (var c = 0u; c < QUADS; c++) {
            let v = qkv_block(t, j, V, c);
            for (var r = 0u; r < ROWS; r++) { sums[r][c] = fade[r] * sums[r][c] + v * p[r]; }
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        if t.row + r >= dims.length { continue; }
        let row = at_y(t, t.row + r);
        for (var c = 0u; c < QUADS; c++) { put_y(row, c, sums[r][c] / sum[r]); }
        log_sum_out[t.unit + t.row + r] = best[r] + log(sum[r]);
    }
}

// δ[b, h, i] = Σ_c y dy, which is Σ_j P dP of the row
@group(0) @binding(3) var<storage, read_write> delta_out: array<f32>;  // (B, heads, L)
@compute @workgroup_size(WG)
fn grad_rows(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let id = invocation(at, groups);
    if id >= dims.units { return; }
    let t = tile_of(id, 1u);
    let row = at_y(t, t.row);
    var sum = vec4f();
    for (var c = 0u; c < dims.quads; c++) { sum += y_quad(row, c) * dy_quad(row, c); }
    delta_out[id] = total(sum);
}

fn log_sum(i: u32) -> f32 { return one_3(i); }  // (B, heads, L)
fn delta(i: u32) -> f32 { return one_4(i); }  // (B, heads, L)
@group(0) @binding(5) var<storage, read> grad_lengths: array<u32>;  // (B)

// dq = dS k / √d,   dS = P (dP − δ),   dP = dy vᵀ where it is kept
fn grad_queries(t: Tile) {
    var q: array<array<vec4f, QUADS>, GRAD_ROWS>;
    var g: array<array<vec4f, QUADS>, GRAD_ROWS>;
    var dq: array<array<vec4f, QUADS>, GRAD_ROWS>;
    var log_sums: array<f32, GRAD_ROWS>;
    var deltas: array<f32, GRAD_ROWS>;
    for (var r = 0u; r < GRAD_ROWS; r++) {
        let row = min(t.row + r, dims.length - 1u);
        log_sums[r] = log_sum(t.unit + row);
        deltas[r] = delta(t.unit + row);
        for (var c = 0u; c < QUADS; c++) {
            q[r][c] = select(vec4f(), dims.scale * qkv_quad(at_qkv(t, row, Q), c), c < dims.quads);
            g[r][c] = select(vec4f(), dy_quad(at_y(t, row), c), c < dims.quads);
            dq[r][c] = vec4f();
        }
    }
    let end = columns(grad_lengths[t.sample / dims.length]);
    let key = mask_key();
    for (var j = 0u; j < end; j += 4u) {
        var k: array<Block, QUADS>;
        var s: array<vec4f, GRAD_ROWS>;
        var dp: array<vec4f, GRAD_ROWS>;
        for (var r = 0u; r < GRAD_ROWS; r++) {
            s[r] = vec4f();
            dp[r] = vec4f();
        }
        for (var c = 0u; c < QUADS; c++) {
            k[c] = qkv_block(t, j, K, c);
            let v = qkv_block(t, j, V, c);
            for (var r = 0u; r < GRAD_ROWS; r++) {
                s[r] += q[r][c] * k[c];
                dp[r] += g[r][c] * v;
            }
        }
        let there = present(j, end);
        for (var r = 0u; r < GRAD_ROWS; r++) {
            let p = select(vec4f(), exp(s[r] - log_sums[r]), there);
            let ds = p * (kept(dp[r], key, vec4(t.unit + t.row + r), vec4(j) + STEP) - deltas[r]);
            for (var c = 0u; c < QUADS; c++) { dq[r][c] += k[c] * ds; }
        }
    }
    for (var r = 0u; r < GRAD_ROWS; r++) {
        if t.row + r >= dims.length { continue; }
        let row = at_qkv(t, t.row + r, Q);
        for (var c = 0u; c < QUADS; c++) { put_dqkv(row, c, dims.scale * dq[r][c]); }
    }
}

// dk = dSᵀ q / √d,   dv = Pᵀ dy where P is kept; both are 0 where nobody looks
fn grad_keys(t: Tile) {
    var k: array<array<vec4f, QUADS>, GRAD_ROWS>;
    var v: array<array<vec4f, QUADS>, GRAD_ROWS>;
    var dk: array<array<vec4f, QUADS>, GRAD_ROWS>;
    var dv: array<array<vec4f, QUADS>, GRAD_ROWS>;
    for (var r = 0u; r < GRAD_ROWS; r++) {
        let row_k = at_qkv(t, t.row + r, K);
        let row_v = at_qkv(t, t.row + r, V);
        for (var c = 0u; c < QUADS; c++) {
            k[r][c] = select(vec4f(), dims.scale * qkv_quad(row_k, c), c < dims.quads);
            v[r][c] = select(vec4f(), qkv_quad(row_v, c), c < dims.quads);
            dk[r][c] = vec4f();
            dv[r][c] = vec4f();
        }
    }
    let end = columns(grad_lengths[t.sample / dims.length]);
    let key = mask_key();
    // All rows, by a bound that is no uniform alone, as no tile begins at the last of all numbers: see lib/heads_vec4.
    let last = select(dims.length, 0u, t.row == 0xffffffffu);
    for (var i = 0u; i < last; i += 4u) {
        var q: array<Block, QUADS>;
        var g: array<Block, QUADS>;
        var s: array<vec4f, GRAD_ROWS>;
        var dp: array<vec4f, GRAD_ROWS>;
        for (var r = 0u; r < GRAD_ROWS; r++) {
            s[r] = vec4f();
            dp[r] = vec4f();
        }
        for (var c = 0u; c < QUADS; c++) {
            q[c] = qkv_block(t, i, Q, c);
            g[c] = dy_block(t, i, c);
            for (var r = 0u; r < GRAD_ROWS; r++) {
                s[r] += k[r][c] * q[c];
                dp[r] += v[r][c] * g[c];
            }
        }
        let there = present(i, dims.length);
        let rows = t.unit + min(vec4(i) + STEP, vec4(dims.length - 1u));
        let log_sums = vec4(log_sum(rows.x), log_sum(rows.y), log_sum(rows.z), log_sum(rows.w));
        let deltas = vec4(delta(rows.x), delta(rows.y), delta(rows.z), delta(rows.w));
        for (var r = 0u; r < GRAD_ROWS; r++) {
            let p = select(vec4f(), exp(s[r] - log_sums), there & vec4(t.row + r < end));
            let column = vec4(t.row + r);
            let ds = p * (kept(dp[r], key, rows, column) - deltas);
            let p_kept = kept(p, key, rows, column);
            for (var c = 0u; c < QUADS; c++) {
                dk[r][c] += q[c] * ds;
                dv[r][c] += g[c] * p_kept;
            }
        }
    }
    for (var r = 0u; r < GRAD_ROWS; r++) {
        if t.row + r >= dims.length { continue; }
        let row_k = at_qkv(t, t.row + r, K);
        let row_v = at_qkv(t, t.row + r, V);
        for (var c = 0u; c < QUADS; c++) {
            put_dqkv(row_k, c, dims.scale * dk[r][c]);
            put_dqkv(row_v, c, dv[r][c]);
        }
    }
}

// dqkv. Half of the grid, along z, owns rows of q, the other half rows of k and v.
@compute @workgroup_size(WG)
fn grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let id = invocation(at, groups);
    if id >= dims.units { return; }
    let t = tile_of(id, GRAD_ROWS);
    if at.z == 0u { grad_queries(t); } else { grad_keys(t); }
}
