// uses: grid, reduce
// Softmax of the rows of x (rows, C) times a scale, LANES invocations a row.
struct Dims {
    rows: u32,
    columns: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> dims: Dims;

// y = exp(s x − max(s x)) / Σ exp(s x − max(s x))
@group(0) @binding(1) var<storage, read> x: array<f32>;  // (rows, C)
@group(0) @binding(2) var<storage, read_write> y_out: array<f32>;  // (rows, C)
@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let inside = i / LANES < dims.rows;
    let begin = min(i / LANES, dims.rows - 1u) * dims.columns;
    var best = dims.scale * x[begin];
    for (var c = i % LANES; c < dims.columns; c += LANES) { best = max(best, dims.scale * x[begin + c]); }
    best = lanes_max(best, i);
    var sum = 0.0;
    for (var c = i % LANES; c < dims.columns; c += LANES) { sum += exp(dims.scale * x[begin + c] - best); }
    sum = lanes_sum(sum, i);
    if !inside { return; }
    for (var c = i % LANES; c < dims.columns; c += LANES) {
        y_out[begin + c] = exp(dims.scale * x[begin + c] - best) / sum;
    }
}

// dx = s y (dy − Σ dy y)
@group(0) @binding(1) var<storage, read> y: array<f32>;  // (rows, C)
@group(0) @binding(2) var<storage, read> dy: array<f32>;  // (rows, C)
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;  // (rows, C)
@compute @workgroup_size(WG)
fn grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let inside = i / LANES < dims.rows;
    let begin = min(i / LANES, dims.rows - 1u) * dims.columns;
    var sum = 0.0;
    for (var c = i % LANES; c < dims.columns; c += LANES) { sum += dy[begin + c] * y[begin + c]; }
    sum = lanes_sum(sum, i);
    if !inside { return; }
    for (var c = i % LANES; c < dims.columns; c += LANES) {
        dx[begin + c] = dims.scale * y[begin + c] * (dy[begin + c] - sum);
    }
}
