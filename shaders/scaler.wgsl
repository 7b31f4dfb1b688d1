// uses: grid, reduce, read
// Dynamic loss scaling, as GradScaler of torch.amp: gradients are those of S times the loss, so that small ones do not vanish in f16. A step
// whose gradients are not all finite is skipped and halves S; 2000 steps that were taken in a row double it.
struct Dims {
    count: u32,  // check: packs of the gradients; decide: flags
    parts: u32,  // check: flags; decide: partial sums of squares
    max_norm: f32,  // decide_clipped: the norm above which gradients are scaled down to it
}

const GROWTH: f32 = 2.0;
const BACKOFF: f32 = 0.5;
const INTERVAL: f32 = 2000.0;

@group(0) @binding(0) var<uniform> dims: Dims;

// ±∞ and NaN have all bits of the exponent set. A comparison of floats may be compiled by a compiler that takes them all for finite.
fn is_finite(v: vec4f) -> vec4<bool> {
    return (bitcast<vec4u>(v) & vec4(0x7f800000u)) != vec4(0x7f800000u);
}

// flags[p] = 1 where a gradient among the packs p, p + parts, p + 2 parts, … is not finite, else 0
fn grads(i: u32) -> vec4f { return quad_1(i); }
@group(0) @binding(2) var<storage, read_write> flags_out: array<f32>;  // (parts)
@compute @workgroup_size(WG)
fn check(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let p = invocation(at, groups);
    if p >= dims.parts { return; }
    var fine = true;
    for (var i = p; i < dims.count; i += dims.parts) { fine = fine && all(is_finite(grads(i))); }
    flags_out[p] = select(1.0, 0.0, fine);
}

@group(0) @binding(1) var<storage, read> flags: array<f32>;  // (count)
@group(0) @binding(2) var<storage, read_write> state: array<f32>;  // (4), in place: S, steps taken since S changed, steps skipped, unused
@group(0) @binding(3) var<storage, read> squares: array<f32>;  // (parts): partial sums of squares of the gradients
@group(0) @binding(4) var<storage, read_write> verdict: array<f32>;  // (3): factor of the gradients, 1 if the step is taken, steps skipped
@group(0) @binding(5) var<storage, read_write> scale_out: array<f32>;  // (1): S of the next step
@group(0) @binding(6) var<storage, read_write> skipped_out: array<f32>;  // (1): steps skipped

// Σ flags, by one workgroup
fn flagged(i: u32) -> f32 {
    var sum = 0.0;
    for (var k = i; k < dims.count; k += WG) { sum += flags[k]; }
    return lanes_sum(sum, i);
}

fn conclude(is_taken: bool, factor: f32) {
    var scale = state[0];
    var taken = state[1];
    let skipped = state[2] + select(1.0, 0.0, is_taken);
    if is_taken {
        taken += 1.0;
        if taken >= INTERVAL {
            // As GradScaler: a scale that would be infinite stays.
            if scale < 1e38 { scale *= GROWTH; }
            taken = 0.0;
        }
    } else {
        scale *= BACKOFF;
        taken = 0.0;
    }
    state[0] = scale;
    state[1] = taken;
    state[2] = skipped;
    verdict[0] = factor;
    verdict[1] = select(0.0, 1.0, is_taken);
    verdict[2] = skipped;
    scale_out[0] = scale;
    skipped_out[0] = skipped;
}

// factor = 1 / S; one workgroup, LANES = WG
@compute @workgroup_size(WG)
fn decide(@builtin(global_invocation_id) at: vec3u) {
    let is_taken = flagged(at.x) == 0.0;
    if at.x == 0u { conclude(is_taken, 1.0 / state[0]); }
}

// factor = min(1, max_norm / (norm + 1e-6)) / S,   norm = √Σ squares / S: clipping acts on what the gradients are without S
@compute @workgroup_size(WG)
fn decide_clipped(@builtin(global_invocation_id) at: vec3u) {
    let is_taken = flagged(at.x) == 0.0;
    var sum = 0.0;
    for (var k = at.x; k < dims.parts; k += WG) { sum += squares[k]; }
    let norm = sqrt(lanes_sum(sum, at.x)) / state[0];
    if at.x == 0u { conclude(is_taken, min(1.0, dims.max_norm / (norm + 1e-6)) / state[0]); }
}
