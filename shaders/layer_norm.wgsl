// uses: grid, reduce, read, write
// variants: scalar, vec4
// Layer normalisation of the rows of x (rows, C), LANES invocations a row:
//
//     y = γ x̂ + β,   x̂ = (x − μ) ρ,   μ = mean x,   ρ = 1 / √(mean (x − μ)² + ε)
struct Dims {
    rows: u32,
    packs: u32,  // packs of a row
    period: u32,  // forward_add: rows of the skip, which repeats
    chunk: u32,  // grad_sums: rows of a part
    parts: u32,  // grad_sums, grad_finish: ⌈rows / chunk⌉
    eps: f32,
}

@group(0) @binding(0) var<uniform> dims: Dims;
fn x(i: u32) -> Pack { return pack_1(i); }  // (rows, C)
fn gamma(i: u32) -> Pack { return pack_2(i); }  // (C)

// Mean and Σ (x − mean)² of the packs seen so far, each component by itself, updated as each comes (Welford): x is read once.
struct Seen {
    count: f32,
    mean: Pack,
    square: Pack,
}

fn see(seen: Seen, v: Pack) -> Seen {
    let count = seen.count + 1.0;
    let d = v - seen.mean;
    let mean = seen.mean + d * (1.0 / count);
    return Seen(count, mean, seen.square + d * (v - mean));
}

struct Row {
    mean: f32,
    rstd: f32,
}

// Components and lanes put together (Chan).
fn together(seen: Seen, i: u32) -> Row {
    let count = f32(dims.packs * PACK);
    let mean = lanes_sum(seen.count * pack_sum(seen.mean), i) / count;
    let d = seen.mean - mean;
    let square = lanes_sum(pack_sum(seen.square + seen.count * d * d), i);
    return Row(mean, inverseSqrt(square / count + dims.eps));
}

fn beta(i: u32) -> Pack { return pack_3(i); }  // (C)
fn put_y(i: u32, v: Pack) { put_5(i, v); }  // (rows, C)
@group(0) @binding(7) var<storage, read_write> mean_out: array<f32>;  // (rows)
@group(0) @binding(8) var<storage, read_write> rstd_out: array<f32>;  // (rows)

// y, and for the gradients μ and ρ
@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let inside = i / LANES < dims.rows;
    let r = min(i / LANES, dims.rows - 1u);
    let begin = r * dims.packs;
    var seen = Seen(0.0, Pack(0.0), Pack(0.0));
    for (var c = i % LANES; c < dims.packs; c += LANES) { seen = see(seen, x(begin + c)); }
    let row = together(seen, i);
    if !inside { return; }
    for (var c = i % LANES; c < dims.packs; c += LANES) {
        put_y(begin + c, gamma(c) * ((x(begin + c) - row.mean) * row.rstd) + beta(c));
    }
    if i % LANES == 0u {
        mean_out[r] = row.mean;
        rstd_out[r] = row.rstd;
    }
}

// The same of s = x + skip, and s, which stands in for x in the gradients
fn skip(i: u32) -> Pack { return pack_4(i); }  // (period, C)
fn put_s(i: u32, v: Pack) { put_6(i, v); }  // (rows, C)
@compute @workgroup_size(WG)
fn forward_add(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let inside = i / LANES < dims.rows;
    let r = min(i / LANES, dims.rows - 1u);
    let begin = r * dims.packs;
    let other = r % dims.period * dims.packs;
    var seen = Seen(0.0, Pack(0.0), Pack(0.0));
    for (var c = i % LANES; c < dims.packs; c += LANES) {
        let v = x(begin + c) + skip(other + c);
        if inside { put_s(begin + c, v); }
        seen = see(seen, v);
    }
    let row = together(seen, i);
    if !inside { return; }
    for (var c = i % LANES; c < dims.packs; c += LANES) {
        let v = x(begin + c) + skip(other + c);
        put_y(begin + c, gamma(c) * ((v - row.mean) * row.rstd) + beta(c));
    }
    if i % LANES == 0u {
        mean_out[r] = row.mean;
        rstd_out[r] = row.rstd;
    }
}

// dx = ρ (g − mean g − x̂ mean(g x̂)),   g = γ dy,   means over the row
@group(0) @binding(3) var<storage, read> mean: array<f32>;  // (rows)
@group(0) @binding(4) var<storage, read> rstd: array<f32>;  // (rows)
fn dy(i: u32) -> Pack { return pack_5(i); }  // (rows, C)
fn put_dx(i: u32, v: Pack) { put_6(i, v); }  // (rows, C)
@compute @workgroup_size(WG)
fn grad_input(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let inside = i / LANES < dims.rows;
    let r = min(i / LANES, dims.rows - 1u);
    let begin = r * dims.packs;
    let count = f32(dims.packs * PACK);
    let mu = mean[r];
    let rho = rstd[r];
    var plain = Pack(0.0);
    var scaled = Pack(0.0);
    for (var c = i % LANES; c < dims.packs; c += LANES) {
        let g = gamma(c) * dy(begin + c);
        plain += g;
        scaled += g * ((x(begin + c) - mu) * rho);
    }
    let mean_plain = lanes_sum(pack_sum(plain), i) / count;
    let mean_scaled = lanes_sum(pack_sum(scaled), i) / count;
    if !inside { return; }
    for (var c = i % LANES; c < dims.packs; c += LANES) {
        let normal = (x(begin + c) - mu) * rho;
        put_dx(begin + c, rho * (gamma(c) * dy(begin + c) - mean_plain - normal * mean_scaled));
    }
}

// dsums[p, 0, c] = Σ dy x̂,   dsums[p, 1, c] = Σ dy   over the rows of part p
@group(0) @binding(2) var<storage, read> row_mean: array<f32>;  // (rows)
@group(0) @binding(3) var<storage, read> row_rstd: array<f32>;  // (rows)
fn row_dy(i: u32) -> Pack { return pack_4(i); }  // (rows, C)
@group(0) @binding(5) var<storage, read_write> dsums: array<Pack>;  // (parts, 2, C)
@compute @workgroup_size(WG)
fn grad_sums(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    if i >= dims.parts * dims.packs { return; }
    let c = i % dims.packs;
    let p = i / dims.packs;
    let begin = p * dims.chunk;
    let end = min(begin + dims.chunk, dims.rows);
    var scaled = Pack(0.0);
    var plain = Pack(0.0);
    for (var r = begin; r < end; r++) {
        let d = row_dy(r * dims.packs + c);
        scaled += d * ((x(r * dims.packs + c) - row_mean[r]) * row_rstd[r]);
        plain += d;
    }
    dsums[2u * p * dims.packs + c] = scaled;
    dsums[(2u * p + 1u) * dims.packs + c] = plain;
}

// dγ = Σₚ dsums[p, 0],   dβ = Σₚ dsums[p, 1]
fn part_dsums(i: u32) -> Pack { return pack_1(i); }  // (parts, 2, C)
@group(0) @binding(2) var<storage, read_write> dgamma: array<Pack>;  // (C)
@group(0) @binding(3) var<storage, read_write> dbeta: array<Pack>;  // (C)
@compute @workgroup_size(WG)
fn grad_finish(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let c = invocation(at, groups);
    if c >= dims.packs { return; }
    var scaled = Pack(0.0);
    var plain = Pack(0.0);
    for (var p = 0u; p < dims.parts; p++) {
        scaled += part_dsums(2u * p * dims.packs + c);
        plain += part_dsums((2u * p + 1u) * dims.packs + c);
    }
    dgamma[c] = scaled;
    dbeta[c] = plain;
}
