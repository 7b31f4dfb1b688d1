// uses: step, random, grid
// Dropout of a flat tensor. Its own gradient: applied to dy in the same step and stream it draws the same mask.
struct Dims {
    count: u32,  // packs
    stream: u32,  // differs between the dropouts of a network
    p: f32,  // probability of a zero, below 1
}

@group(0) @binding(0) var<uniform> dims: Dims;

// y = x / (1 − p) with probability 1 − p, else 0
@compute @workgroup_size(WG)
fn dropout(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let key = random_u32(live.seed, 0u, live.step);
    let keep = 1.0 / (1.0 - dims.p);
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_y(i, select(Pack(0.0), keep * x(i), draw(key, dims.stream, i) >= Pack(dims.p)));
    }
}
