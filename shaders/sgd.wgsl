// uses: step, grid, read
// Stochastic gradient descent, PyTorch's formulas, over a range of the flat buffers:
//
//     g ← factor dθ + weight_decay θ;   m ← momentum m + g;   θ ← θ − lr (g + momentum m) or θ − lr m
override NESTEROV: bool = false;

struct Dims {
    count: u32,  // vec4s
    momentum: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> params: array<vec4f>;  // θ, in place
fn grads(i: u32) -> vec4f { return quad_2(i); }  // dθ
@group(0) @binding(3) var<storage, read_write> velocity: array<vec4f>;  // m, in place
@group(0) @binding(4) var<storage, read> decays: array<u32>;  // 1 where weight decay applies, a word for each 64 floats
@group(0) @binding(5) var<storage, read> factor: array<f32>;  // (1), of gradient clipping
@group(0) @binding(5) var<storage, read> verdict: array<f32>;  // (3), of loss scaling: factor, 1 if the step is taken, steps skipped

fn update(i: u32, gradient: vec4f) {
    let p = params[i];
    let g = gradient + select(0.0, dims.weight_decay, decays[i / 16u] != 0u) * p;
    let m = dims.momentum * velocity[i] + g;
    velocity[i] = m;
    params[i] = p - live.lr * select(m, g + dims.momentum * m, NESTEROV);
}

// factor = 1
@compute @workgroup_size(WG)
fn step(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        update(i, grads(i));
    }
}

// factor read
@compute @workgroup_size(WG)
fn step_clipped(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        update(i, factor[0] * grads(i));
    }
}

// as the verdict says: a step that is skipped changes nothing
@compute @workgroup_size(WG)
fn step_scaled(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    if verdict[1] == 0.0 { return; }
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        update(i, verdict[0] * grads(i));
    }
}
