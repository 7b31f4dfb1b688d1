// uses: step, grid, read, write
// variants: scalar, vec4
// Mean squared error of y against a target t of the same shape, times a constant scale:
//
//     loss = scale/n Σ (y − t)²
//
// over the n elements of the live.rows samples that there are; the others lose nothing. BY_COUNT: over those of live.counted rows of the last
// axis, and what does not count is equal in y and t, so that it loses nothing.
struct Dims {
    count: u32,  // packs of y
    per_sample: u32,  // packs of one sample of the batch; BY_COUNT: of one row
    parts: u32,
    scale: f32,
    d: f32,  // forward_grad: the gradient of the loss
}

override BY_COUNT: bool = false;

@group(0) @binding(0) var<uniform> dims: Dims;
fn y(i: u32) -> Pack { return pack_1(i); }
fn t(i: u32) -> Pack { return pack_2(i); }

// Packs that are no padding of the batch.
fn there() -> u32 {
    return select(clamp(live.rows * dims.per_sample, 1u, dims.count), dims.count, BY_COUNT);
}

// n
fn counted() -> f32 {
    return select(f32(there() * PACK), max(live.counted, 1.0) * f32(dims.per_sample * PACK), BY_COUNT);
}

// losses[p] = scale/n Σ (y − t)² over the packs p, p + parts, p + 2 parts, …; their sum is the loss
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;  // (parts)
@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let p = invocation(at, groups);
    if p >= dims.parts { return; }
    var sum = Pack(0.0);
    for (var i = p; i < there(); i += dims.parts) {
        let e = y(i) - t(i);
        sum += e * e;
    }
    losses[p] = dims.scale * pack_sum(sum) / counted();
}

// dy = d 2 scale / n (y − t)
@group(0) @binding(3) var<storage, read> d: array<f32>;  // (1)
fn put_dy(i: u32, v: Pack) { put_4(i, v); }
@compute @workgroup_size(WG)
fn grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let factor = d[0] * 2.0 * dims.scale / counted();
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_dy(i, select(Pack(0.0), factor * (y(i) - t(i)), i < there()));
    }
}

// losses[p] as in forward, and dy = d 2 scale / n (y − t)
fn put_slope(i: u32, v: Pack) { put_4(i, v); }
@compute @workgroup_size(WG)
fn forward_grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let p = invocation(at, groups);
    if p >= dims.parts { return; }
    let factor = dims.d * 2.0 * dims.scale / counted();
    var sum = Pack(0.0);
    for (var i = p; i < dims.count; i += dims.parts) {
        var slope = Pack(0.0);
        if i < there() {
            let e = y(i) - t(i);
            sum += e * e;
            slope = factor * e;
        }
        put_slope(i, slope);
    }
    losses[p] = dims.scale * pack_sum(sum) / counted();
}
