// uses: step, grid, reduce
// Cross entropy of logits x (rows, C) with labels, smoothed by ε as in PyTorch; LANES invocations a row.
//
//     loss = 1/n Σ_r −Σ_c q[r, c] log p[r, c],   p = softmax(x),   q = (1 − ε) [c = label] + ε / C
//
// The mean is over the n = live.rows · per_sample rows that count; the others lose nothing.
struct Dims {
    rows: u32,
    classes: u32,  // C
    per_sample: u32,  // rows of one sample of the batch
    smoothing: f32,  // ε
}

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;  // (rows, C)
@group(0) @binding(2) var<storage, read> labels: array<u32>;  // (rows)

fn counted() -> u32 {
    return clamp(live.rows * dims.per_sample, 1u, dims.rows);
}

// losses[r] = 1/n Σ_c q (log Σ exp x − x), whose sum is the loss; and for the gradient log Σ exp x
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;  // (rows)
@group(0) @binding(4) var<storage, read_write> log_sum_out: array<f32>;  // (rows)
@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let inside = i / LANES < dims.rows;
    let r = min(i / LANES, dims.rows - 1u);
    let begin = r * dims.classes;
    var best = x[begin];
    for (var c = i % LANES; c < dims.classes; c += LANES) { best = max(best, x[begin + c]); }
    best = lanes_max(best, i);
    var sum = 0.0;
    var distance = 0.0;  // Σ_c (max x − x)
    for (var c = i % LANES; c < dims.classes; c += LANES) {
        sum += exp(x[begin + c] - best);
        distance += best - x[begin + c];
    }
    let excess = log(lanes_sum(sum, i));  // log Σ exp x − max x
    distance = lanes_sum(distance, i);
    if !inside || i % LANES != 0u { return; }
    let label = labels[r];
    var loss = 0.0;
    if r < counted() && label < dims.classes {
        loss = (1.0 - dims.smoothing) * (excess + (best - x[begin + label]))
            + dims.smoothing * (excess + distance / f32(dims.classes));
    }
    losses[r] = loss / f32(counted());
    log_sum_out[r] = best + excess;
}

// dx = d (p − q) / n
@group(0) @binding(3) var<storage, read> log_sum: array<f32>;  // (rows)
@group(0) @binding(4) var<storage, read> d: array<f32>;  // (1)
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;  // (rows, C)
@compute @workgroup_size(WG)
fn grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.rows * dims.classes; i += invocations(groups)) {
        let r = i / dims.classes;
        let c = i % dims.classes;
        let label = labels[r];
        let q = select(0.0, 1.0 - dims.smoothing, c == label) + dims.smoothing / f32(dims.classes);
        let counts = r < counted() && label < dims.classes;
        dx[i] = select(0.0, d[0] * (exp(x[i] - log_sum[r]) - q) / f32(counted()), counts);
    }
}
