// uses: grid, read, write
// variants: scalar, vec4
// Activations of flat tensors, and their gradients: from the output y where it says enough, else from x.
struct Dims {
    count: u32,  // packs
}

@group(0) @binding(0) var<uniform> dims: Dims;
fn x(i: u32) -> Pack { return pack_1(i); }  // input of the activation; for *_grad of relu, tanh, sigmoid: its output y
fn dy(i: u32) -> Pack { return pack_2(i); }
fn put_y(i: u32, v: Pack) { put_2(i, v); }
fn put_dx(i: u32, v: Pack) { put_3(i, v); }

// Beyond ±10 tanh is ±1 in f32; some drivers overflow in exp(2x) long before they say so.
fn safe_tanh(v: Pack) -> Pack {
    return tanh(clamp(v, Pack(-10.0), Pack(10.0)));
}

// Φ(x) = ½ erfc(−x/√2), with the rational Chebyshev fit of erfc in Numerical Recipes §6.2
// (relative error 1.2e-7 everywhere, so that the small left tail keeps its digits).
fn normal_cdf(v: Pack) -> Pack {
    let z = min(abs(v) * 0.70710678118654752, Pack(12.0));
    let t = 1.0 / (1.0 + 0.5 * z);
    var p = Pack(0.17087277);
    p = p * t - 0.82215223;
    p = p * t + 1.48851587;
    p = p * t - 1.13520398;
    p = p * t + 0.27886807;
    p = p * t - 0.18628806;
    p = p * t + 0.09678418;
    p = p * t + 0.37409196;
    p = p * t + 1.00002368;
    p = p * t - 1.26551223;
    let tail = 0.5 * t * exp(p - z * z);
    return select(1.0 - tail, tail, v < Pack(0.0));
}

// φ(x) = exp(−x²/2) / √(2π)
fn normal_density(v: Pack) -> Pack {
    let z = min(abs(v), Pack(15.0));
    return 0.39894228040143268 * exp(-0.5 * z * z);
}

const SQRT_2_OVER_PI: f32 = 0.79788456080286536;

// y = max(x, 0)
@compute @workgroup_size(WG)
fn relu(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_y(i, max(x(i), Pack(0.0)));
    }
}

// dx = dy where y > 0, else 0
@compute @workgroup_size(WG)
fn relu_grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_dx(i, select(Pack(0.0), dy(i), x(i) > Pack(0.0)));
    }
}

// y = x Φ(x)
@compute @workgroup_size(WG)
fn gelu(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        let v = x(i);
        put_y(i, v * normal_cdf(v));
    }
}

// dx = dy (Φ(x) + x φ(x))
@compute @workgroup_size(WG)
fn gelu_grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        let v = x(i);
        put_dx(i, dy(i) * (normal_cdf(v) + v * normal_density(v)));
    }
}

// y = ½ x (1 + tanh u),  u = √(2/π) (x + 0.044715 x³)
@compute @workgroup_size(WG)
fn gelu_tanh(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        let v = x(i);
        put_y(i, 0.5 * v * (1.0 + safe_tanh(SQRT_2_OVER_PI * (v + 0.044715 * v * v * v))));
    }
}

// dx = dy (½ (1 + tanh u) + ½ x (1 − tanh² u) u′),  u′ = √(2/π) (1 + 0.134145 x²)
@compute @workgroup_size(WG)
fn gelu_tanh_grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        let v = x(i);
        let th = safe_tanh(SQRT_2_OVER_PI * (v + 0.044715 * v * v * v));
        let du = SQRT_2_OVER_PI * (1.0 + 0.134145 * v * v);
        put_dx(i, dy(i) * (0.5 * (1.0 + th) + 0.5 * v * (1.0 - th * th) * du));
    }
}

// y = tanh x
@compute @workgroup_size(WG)
fn tanh_forward(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_y(i, safe_tanh(x(i)));
    }
}

// dx = dy (1 − y²)
@compute @workgroup_size(WG)
fn tanh_grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        let v = x(i);
        put_dx(i, dy(i) * (1.0 - v * v));
    }
}

// y = 1 / (1 + exp(−x))
@compute @workgroup_size(WG)
fn sigmoid(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_y(i, 1.0 / (1.0 + exp(min(-x(i), Pack(80.0)))));
    }
}

// dx = dy y (1 − y)
@compute @workgroup_size(WG)
fn sigmoid_grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        let v = x(i);
        put_dx(i, dy(i) * v * (1.0 - v));
    }
}
