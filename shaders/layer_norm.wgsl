// uses: grid, reduce
// Layer normalisation of the rows of x (rows, C), LANES invocations a row:
//
//     y = γ x̂ + β,   x̂ = (x − μ) ρ,   μ = mean x,   ρ = 1 / √(mean (x − μ)² + ε)
struct Dims {
    rows: u32,
    packs: u32,  // packs of a row
    chunk: u32,  // grad_sums: rows of a part
    parts: u32,  // grad_sums, grad_finish: ⌈rows / chunk⌉
    eps: f32,
}

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<Pack>;  // (rows, C)

// y, and for the gradients μ and ρ
@group(0) @binding(2) var<storage, read> gamma: array<Pack>;  // (C)
@group(0) @binding(3) var<storage, read> beta: array<Pack>;  // (C)
@group(0) @binding(4) var<storage, read_write> y: array<Pack>;  // (rows, C)
@group(0) @binding(5) var<storage, read_write> mean_out: array<f32>;  // (rows)
@group(0) @binding(6) var<storage, read_write> rstd_out: array<f32>;  // (rows)
@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let inside = i / LANES < dims.rows;
    let r = min(i / LANES, dims.rows - 1u);
    let begin = r * dims.packs;
    let count = f32(dims.packs * PACK);
    var sum = Pack(0.0);
    for (var c = i % LANES; c < dims.packs; c += LANES) { sum += x[begin + c]; }
    let mean = lanes_sum(pack_sum(sum), i) / count;
    var square = Pack(0.0);
    for (var c = i % LANES; c < dims.packs; c += LANES) {
        let d = x[begin + c] - mean;
        square += d * d;
    }
    let rstd = inverseSqrt(lanes_sum(pack_sum(square), i) / count + dims.eps);
    if !inside { return; }
    for (var c = i % LANES; c < dims.packs; c += LANES) {
        y[begin + c] = gamma[c] * ((x[begin + c] - mean) * rstd) + beta[c];
    }
    if i % LANES == 0u {
        mean_out[r] = mean;
        rstd_out[r] = rstd;
    }
}

// dx = ρ (g − mean g − x̂ mean(g x̂)),   g = γ dy,   means over the row
@group(0) @binding(3) var<storage, read> mean: array<f32>;  // (rows)
@group(0) @binding(4) var<storage, read> rstd: array<f32>;  // (rows)
@group(0) @binding(5) var<storage, read> dy: array<Pack>;  // (rows, C)
@group(0) @binding(6) var<storage, read_write> dx: array<Pack>;  // (rows, C)
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
        let g = gamma[c] * dy[begin + c];
        plain += g;
        scaled += g * ((x[begin + c] - mu) * rho);
    }
    let mean_plain = lanes_sum(pack_sum(plain), i) / count;
    let mean_scaled = lanes_sum(pack_sum(scaled), i) / count;
    if !inside { return; }
    for (var c = i % LANES; c < dims.packs; c += LANES) {
        let normal = (x[begin + c] - mu) * rho;
        dx[begin + c] = rho * (gamma[c] * dy[begin + c] - mean_plain - normal * mean_scaled);
    }
}

// dsums[p, 0, c] = Σ dy x̂,   dsums[p, 1, c] = Σ dy   over the rows of part p
@group(0) @binding(2) var<storage, read> row_mean: array<f32>;  // (rows)
@group(0) @binding(3) var<storage, read> row_rstd: array<f32>;  // (rows)
@group(0) @binding(4) var<storage, read> row_dy: array<Pack>;  // (rows, C)
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
        let d = row_dy[r * dims.packs + c];
        scaled += d * ((x[r * dims.packs + c] - row_mean[r]) * row_rstd[r]);
        plain += d;
    }
    dsums[2u * p * dims.packs + c] = scaled;
    dsums[(2u * p + 1u) * dims.packs + c] = plain;
}

// dγ = Σₚ dsums[p, 0],   dβ = Σₚ dsums[p, 1]
@group(0) @binding(1) var<storage, read> part_dsums: array<Pack>;  // (parts, 2, C)
@group(0) @binding(2) var<storage, read_write> dgamma: array<Pack>;  // (C)
@group(0) @binding(3) var<storage, read_write> dbeta: array<Pack>;  // (C)
@compute @workgroup_size(WG)
fn grad_finish(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let c = invocation(at, groups);
    if c >= dims.packs { return; }
    var scaled = Pack(0.0);
    var plain = Pack(0.0);
    for (var p = 0u; p < dims.parts; p++) {
        scaled += part_dsums[2u * p * dims.packs + c];
        plain += part_dsums[(2u * p + 1u) * dims.packs + c];
    }
    dgamma[c] = scaled;
    dbeta[c] = plain;
}
