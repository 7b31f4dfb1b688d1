// uses: step, grid, read
// Adam, PyTorch's formulas, over a range of the flat buffers; with DECOUPLED it is AdamW:
//
//     Adam: g ← factor dθ + weight_decay θ        AdamW: g ← factor dθ, θ ← θ − lr weight_decay θ
//     m ← β₁ m + (1 − β₁) g;   v ← β₂ v + (1 − β₂) g²
//     θ ← θ − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
override DECOUPLED: bool = false;

struct Dims {
    count: u32,  // vec4s
    beta1: f32,
    beta2: f32,
    rest1: f32,  // 1 − β₁ and 1 − β₂, rounded once: 1 − f32(β₂) is off by 1e-5 of itself
    rest2: f32,
    log_beta1: f32,
    log_beta2: f32,
    eps: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> params: array<vec4f>;  // θ, in place
fn grads(i: u32) -> vec4f { return quad_2(i); }  // dθ
@group(0) @binding(3) var<storage, read_write> first: array<vec4f>;  // m, in place
@group(0) @binding(4) var<storage, read_write> second: array<vec4f>;  // v, in place
@group(0) @binding(5) var<storage, read> decays: array<u32>;  // 1 where weight decay applies, a word for each 64 floats
@group(0) @binding(6) var<storage, read> factor: array<f32>;  // (1), of gradient clipping
@group(0) @binding(6) var<storage, read> verdict: array<f32>;  // (3), of loss scaling: factor, 1 if the step is taken, steps skipped

// apart: θ, m and v before the step are inputs of their own, 1, 3 and 4
@group(0) @binding(6) var<storage, read_write> params_after: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> first_after: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> second_after: array<vec4f>;
@group(0) @binding(9) var<storage, read> factor_apart: array<f32>;  // (1)
@group(0) @binding(9) var<storage, read> verdict_apart: array<f32>;  // (3)

// Four parameters with their moments.
struct State { p: vec4f, m: vec4f, v: vec4f }

// 1 − exp(z) for z ≤ 0; near 0 by its series, where the difference would cancel
fn one_minus_exp(z: f32) -> f32 {
    var tail = 1.0;
    for (var k = 9.0; k > 1.5; k -= 1.0) { tail = 1.0 + z / k * tail; }
    return select(1.0 - exp(max(z, -80.0)), -z * tail, z > -0.5);
}

// `before` step t, and after it.
fn updated(before: State, gradient: vec4f, t: f32, decays: bool) -> State {
    let decay = select(0.0, dims.weight_decay, decays);
    var p = before.p;
    var g = gradient;
    if DECOUPLED { p -= live.lr * decay * p; } else { g += decay * p; }
    let m = dims.beta1 * before.m + dims.rest1 * g;
    let v = dims.beta2 * before.v + dims.rest2 * g * g;
    let correction1 = one_minus_exp(t * dims.log_beta1);
    let correction2 = sqrt(one_minus_exp(t * dims.log_beta2));
    return State(p - live.lr / correction1 * (m / (sqrt(v) / correction2 + dims.eps)), m, v);
}

fn update(i: u32, gradient: vec4f, t: f32) {
    let s = updated(State(params[i], first[i], second[i]), gradient, t, decays[i / 16u] != 0u);
    params[i] = s.p;
    first[i] = s.m;
    second[i] = s.v;
}

fn update_apart(i: u32, gradient: vec4f, t: f32) {
    let s = updated(State(quad_1(i), quad_3(i), quad_4(i)), gradient, t, decays[i / 16u] != 0u);
    params_after[i] = s.p;
    first_after[i] = s.m;
    second_after[i] = s.v;
}

// factor = 1
@compute @workgroup_size(WG)
fn step(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        update(i, grads(i), live.t);
    }
}

@compute @workgroup_size(WG)
fn step_apart(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        update_apart(i, grads(i), live.t);
    }
}

// factor read
@compute @workgroup_size(WG)
fn step_clipped(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        update(i, factor[0] * grads(i), live.t);
    }
}

// as the verdict says: a step that is skipped changes nothing, and t counts the others
@compute @workgroup_size(WG)
fn step_scaled(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    if verdict[1] == 0.0 { return; }
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        update(i, verdict[0] * grads(i), live.t - verdict[2]);
    }
}

@compute @workgroup_size(WG)
fn step_clipped_apart(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        update_apart(i, factor_apart[0] * grads(i), live.t);
    }
}

@compute @workgroup_size(WG)
fn step_scaled_apart(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    if verdict_apart[1] == 0.0 { return; }
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        update_apart(i, verdict_apart[0] * grads(i), live.t - verdict_apart[2]);
    }
}
