// uses: grid
// Batch normalisation of x (rows, C) over its rows, rows = N·H·W:
//
//     y = γ x̂ + β,   x̂ = (x − μ) ρ,   ρ = 1 / √(σ² + ε),   then ReLU if RELU is set
//
// Column sums take two dispatches: `parts` parts of `chunk` rows each, then their sum. The gradients of a
// fused ReLU recompute its mask from γ x̂ + β, so that y need not be read. The *_add kernels end a residual unit:
// y = γ x̂ + β + skip, then ReLU.
override RELU: bool = false;

struct Dims {
    rows: u32,
    packs: u32,  // packs of a row
    chunk: u32,  // rows of a part; in apply and grad_input: rows an invocation
    parts: u32,  // ⌈rows / chunk⌉
    eps: f32,
    momentum: f32,
}

@group(0) @binding(0) var<uniform> dims: Dims;

// μ and σ² of a part are found from sums about its first row: stable where the mean is large.
// sums[p, 0, c] = mean of part p, sums[p, 1, c] = Σ (x − mean)²
@group(0) @binding(1) var<storage, read> x: array<Pack>;  // (rows, C)
@group(0) @binding(2) var<storage, read_write> sums: array<Pack>;  // (parts, 2, C)
@compute @workgroup_size(WG)
fn statistics(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    if i >= dims.parts * dims.packs { return; }
    let c = i % dims.packs;
    let p = i / dims.packs;
    let begin = p * dims.chunk;
    let end = min(begin + dims.chunk, dims.rows);
    let shift = x[begin * dims.packs + c];
    var sum = Pack(0.0);
    var square = Pack(0.0);
    for (var r = begin; r < end; r++) {
        let d = x[r * dims.packs + c] - shift;
        sum += d;
        square += d * d;
    }
    let mean = sum / f32(end - begin);
    sums[2u * p * dims.packs + c] = shift + mean;
    sums[(2u * p + 1u) * dims.packs + c] = max(square - sum * mean, Pack(0.0));
}

// μ = Σ nₚ μₚ / rows,   rows σ² = Σ (M₂ₚ + nₚ (μₚ − μ)²),   running ← (1 − momentum) running + momentum (μ, σ² rows / (rows − 1))
@group(0) @binding(1) var<storage, read> part_sums: array<Pack>;  // (parts, 2, C)
@group(0) @binding(2) var<storage, read_write> running_mean_out: array<Pack>;  // (C), in place
@group(0) @binding(3) var<storage, read_write> running_var_out: array<Pack>;  // (C), in place
@group(0) @binding(4) var<storage, read_write> moments_out: array<Pack>;  // (2, C): μ, ρ
@compute @workgroup_size(WG)
fn finish(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let c = invocation(at, groups);
    if c >= dims.packs { return; }
    let n = f32(dims.rows);
    var mean = Pack(0.0);
    for (var p = 0u; p < dims.parts; p++) {
        mean += part_rows(p) * part_sums[2u * p * dims.packs + c];
    }
    mean /= n;
    var square = Pack(0.0);
    for (var p = 0u; p < dims.parts; p++) {
        let d = part_sums[2u * p * dims.packs + c] - mean;
        square += part_sums[(2u * p + 1u) * dims.packs + c] + part_rows(p) * d * d;
    }
    moments_out[c] = mean;
    moments_out[dims.packs + c] = inverseSqrt(square / n + dims.eps);
    let keep = 1.0 - dims.momentum;
    running_mean_out[c] = keep * running_mean_out[c] + dims.momentum * mean;
    running_var_out[c] = keep * running_var_out[c] + dims.momentum * square / max(n - 1.0, 1.0);
}

fn part_rows(p: u32) -> f32 {
    return f32(min(dims.chunk, dims.rows - p * dims.chunk));
}

// y = γ x̂ + β
@group(0) @binding(2) var<storage, read> moments: array<Pack>;  // (2, C): μ, ρ
@group(0) @binding(3) var<storage, read> gamma: array<Pack>;  // (C)
@group(0) @binding(4) var<storage, read> beta: array<Pack>;  // (C)
@group(0) @binding(5) var<storage, read_write> y: array<Pack>;  // (rows, C)
@compute @workgroup_size(WG)
fn apply(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let c = i % dims.packs;
    let begin = i / dims.packs * dims.chunk;
    if begin >= dims.rows { return; }
    let mean = moments[c];
    let rstd = moments[dims.packs + c];
    let g = gamma[c];
    let b = beta[c];
    let end = min(begin + dims.chunk, dims.rows);
    for (var r = begin; r < end; r++) {
        let j = r * dims.packs + c;
        let z = g * ((x[j] - mean) * rstd) + b;
        y[j] = select(z, max(z, Pack(0.0)), RELU);
    }
}

// y = γ x̂ + β + skip
@group(0) @binding(5) var<storage, read> skip: array<Pack>;  // (rows, C)
@group(0) @binding(6) var<storage, read_write> sum_y: array<Pack>;  // (rows, C)
@compute @workgroup_size(WG)
fn apply_add(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let c = i % dims.packs;
    let begin = i / dims.packs * dims.chunk;
    if begin >= dims.rows { return; }
    let mean = moments[c];
    let rstd = moments[dims.packs + c];
    let g = gamma[c];
    let b = beta[c];
    let end = min(begin + dims.chunk, dims.rows);
    for (var r = begin; r < end; r++) {
        let j = r * dims.packs + c;
        let z = g * ((x[j] - mean) * rstd) + b + skip[j];
        sum_y[j] = select(z, max(z, Pack(0.0)), RELU);
    }
}

// y = γ (x − running mean) / √(running var + ε) + β
@group(0) @binding(2) var<storage, read> running_mean: array<Pack>;  // (C)
@group(0) @binding(3) var<storage, read> running_var: array<Pack>;  // (C)
@group(0) @binding(4) var<storage, read> eval_gamma: array<Pack>;  // (C)
@group(0) @binding(5) var<storage, read> eval_beta: array<Pack>;  // (C)
@group(0) @binding(6) var<storage, read_write> eval_y: array<Pack>;  // (rows, C)
@compute @workgroup_size(WG)
fn eval_apply(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let c = i % dims.packs;
    let begin = i / dims.packs * dims.chunk;
    if begin >= dims.rows { return; }
    let mean = running_mean[c];
    let rstd = inverseSqrt(running_var[c] + dims.eps);
    let g = eval_gamma[c];
    let b = eval_beta[c];
    let end = min(begin + dims.chunk, dims.rows);
    for (var r = begin; r < end; r++) {
        let j = r * dims.packs + c;
        let z = g * ((x[j] - mean) * rstd) + b;
        eval_y[j] = select(z, max(z, Pack(0.0)), RELU);
    }
}

// y = γ (x − running mean) / √(running var + ε) + β + skip
@group(0) @binding(6) var<storage, read> eval_skip: array<Pack>;  // (rows, C)
@group(0) @binding(7) var<storage, read_write> eval_sum_y: array<Pack>;  // (rows, C)
@compute @workgroup_size(WG)
fn eval_apply_add(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let c = i % dims.packs;
    let begin = i / dims.packs * dims.chunk;
    if begin >= dims.rows { return; }
    let mean = running_mean[c];
    let rstd = inverseSqrt(running_var[c] + dims.eps);
    let g = eval_gamma[c];
    let b = eval_beta[c];
    let end = min(begin + dims.chunk, dims.rows);
    for (var r = begin; r < end; r++) {
        let j = r * dims.packs + c;
        let z = g * ((x[j] - mean) * rstd) + b + eval_skip[j];
        eval_sum_y[j] = select(z, max(z, Pack(0.0)), RELU);
    }
}

// The moments of eval mode, for its gradients: μ = running mean, ρ = 1 / √(running var + ε)
@group(0) @binding(1) var<storage, read> eval_mean: array<Pack>;  // (C)
@group(0) @binding(2) var<storage, read> eval_var: array<Pack>;  // (C)
@group(0) @binding(3) var<storage, read_write> eval_moments: array<Pack>;  // (2, C)
@compute @workgroup_size(WG)
fn running_moments(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let c = invocation(at, groups);
    if c >= dims.packs { return; }
    eval_moments[c] = eval_mean[c];
    eval_moments[dims.packs + c] = inverseSqrt(eval_var[c] + dims.eps);
}

// dz = dy, or 0 where a fused ReLU cut z = γ x̂ + β
fn masked(dy: Pack, z: Pack) -> Pack {
    return select(dy, select(Pack(0.0), dy, z > Pack(0.0)), RELU);
}

// dsums[p, 0, c] = Σ dz x̂,   dsums[p, 1, c] = Σ dz   over the rows of part p
@group(0) @binding(5) var<storage, read> dy: array<Pack>;  // (rows, C)
@group(0) @binding(6) var<storage, read_write> dsums: array<Pack>;  // (parts, 2, C)
@compute @workgroup_size(WG)
fn grad_sums(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    if i >= dims.parts * dims.packs { return; }
    let c = i % dims.packs;
    let p = i / dims.packs;
    let mean = moments[c];
    let rstd = moments[dims.packs + c];
    let g = gamma[c];
    let b = beta[c];
    let begin = p * dims.chunk;
    let end = min(begin + dims.chunk, dims.rows);
    var scaled = Pack(0.0);
    var plain = Pack(0.0);
    for (var r = begin; r < end; r++) {
        let j = r * dims.packs + c;
        let normal = (x[j] - mean) * rstd;
        let dz = masked(dy[j], g * normal + b);
        scaled += dz * normal;
        plain += dz;
    }
    dsums[2u * p * dims.packs + c] = scaled;
    dsums[(2u * p + 1u) * dims.packs + c] = plain;
}

// dγ = Σₚ dsums[p, 0],   dβ = Σₚ dsums[p, 1]
@group(0) @binding(1) var<storage, read> part_dsums: array<Pack>;  // (parts, 2, C)
@group(0) @binding(2) var<storage, read_write> dgamma_out: array<Pack>;  // (C)
@group(0) @binding(3) var<storage, read_write> dbeta_out: array<Pack>;  // (C)
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
    dgamma_out[c] = scaled;
    dbeta_out[c] = plain;
}

// dx = γ ρ (dz − (dβ + x̂ dγ) / rows)
@group(0) @binding(6) var<storage, read> dgamma: array<Pack>;  // (C)
@group(0) @binding(7) var<storage, read> dbeta: array<Pack>;  // (C)
@group(0) @binding(8) var<storage, read_write> dx: array<Pack>;  // (rows, C)
@compute @workgroup_size(WG)
fn grad_input(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let c = i % dims.packs;
    let begin = i / dims.packs * dims.chunk;
    if begin >= dims.rows { return; }
    let mean = moments[c];
    let rstd = moments[dims.packs + c];
    let g = gamma[c];
    let b = beta[c];
    let n = f32(dims.rows);
    let dg = dgamma[c] / n;
    let db = dbeta[c] / n;
    let end = min(begin + dims.chunk, dims.rows);
    for (var r = begin; r < end; r++) {
        let j = r * dims.packs + c;
        let normal = (x[j] - mean) * rstd;
        let dz = masked(dy[j], g * normal + b);
        dx[j] = g * rstd * (dz - db - normal * dg);
    }
}

// dx = γ ρ dz: in eval mode the moments are constants
@group(0) @binding(6) var<storage, read_write> eval_dx: array<Pack>;  // (rows, C)
@compute @workgroup_size(WG)
fn eval_grad_input(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let c = i % dims.packs;
    let begin = i / dims.packs * dims.chunk;
    if begin >= dims.rows { return; }
    let mean = moments[c];
    let rstd = moments[dims.packs + c];
    let g = gamma[c];
    let b = beta[c];
    let end = min(begin + dims.chunk, dims.rows);
    for (var r = begin; r < end; r++) {
        let j = r * dims.packs + c;
        let z = g * ((x[j] - mean) * rstd) + b;
        eval_dx[j] = g * rstd * masked(dy[j], z);
    }
}
