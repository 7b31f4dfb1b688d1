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

// apart: θ and m before the step are inputs of their own, 1 and 3
@group(0) @binding(5) var<storage, read_write> params_after: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> velocity_after: array<vec4f>;
@group(0) @binding(7) var<storage, read> factor_apart: array<f32>;  // (1)
@group(0) @binding(7) var<storage, read> verdict_apart: array<f32>;  // (3)

// Four parameters with their momentum.
struct State { p: vec4f, m: vec4f }

// `before` a step, and after it.
fn updated(before: State, gradient: vec4f, decays: bool) -> State {
    let g = gradient + select(0.0, dims.weight_decay, decays) * before.p;
    let m = dims.momentum * before.m + g;
    return State(before.p - live.lr * select(m, g + dims.momentum * m, NESTEROV), m);
}

fn update(i: u32, gradient: vec4f) {
    let s = updated(State(params[i], velocity[i]), gradient, decays[i / 16u] != 0u);
    velocity[i] = s.m;
    params[i] = s.p;
}

fn update_apart(i: u32, gradient: vec4f) {
    let s = updated(State(quad_1(i), quad_3(i)), gradient, decays[i / 16u] != 0u);
    velocity_after[i] = s.m;
    params_after[i] = s.p;
}

// factor = 1
@compute @workgroup_size(WG)
fn step(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        update(i, grads(i));
    }
}

@compute @workgroup_size(WG)
fn step_apart(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        update_apart(i, grads(i));
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

@compute @workgroup_size(WG)
fn step_clipped_apart(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        update_apart(i, factor_apart[0] * grads(i));
    }
}

@compute @workgroup_size(WG)
fn step_scaled_apart(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    if verdict_apart[1] == 0.0 { return; }
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        update_apart(i, verdict_apart[0] * grads(i));
    }
}
