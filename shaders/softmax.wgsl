// uses: grid, reduce, read, write
// variants: scalar, vec4
// Softmax of the rows of x (rows, C) times a scale, LANES invocations a row.
struct Dims {
    rows: u32,
    packs: u32,  // packs of a row
    scale: f32,
}

@group(0) @binding(0) var<uniform> dims: Dims;

// y = exp(s x − max(s x)) / Σ exp(s x − max(s x)). The maximum and the sum take one pass, in which the sum is scaled down
// when the maximum rises; the maximum begins at the lowest finite number, so that −∞ among the x is no NaN.
fn x(i: u32) -> Pack { return pack_1(i); }  // (rows, C)
fn put_y(i: u32, v: Pack) { put_2(i, v); }  // (rows, C)
@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let inside = i / LANES < dims.rows;
    let begin = min(i / LANES, dims.rows - 1u) * dims.packs;
    var own = -3.4028234e38;
    var sum = 0.0;
    for (var c = i % LANES; c < dims.packs; c += LANES) {
        let v = dims.scale * x(begin + c);
        let next = max(own, pack_max(v));
        sum = sum * exp(own - next) + pack_sum(exp(v - next));
        own = next;
    }
    let best = lanes_max(own, i);
    let all = lanes_sum(sum * exp(own - best), i);
    if !inside { return; }
    for (var c = i % LANES; c < dims.packs; c += LANES) {
        put_y(begin + c, exp(dims.scale * x(begin + c) - best) / all);
    }
}

// dx = s y (dy − Σ dy y)
fn y(i: u32) -> Pack { return pack_1(i); }  // (rows, C)
fn dy(i: u32) -> Pack { return pack_2(i); }  // (rows, C)
fn put_dx(i: u32, v: Pack) { put_3(i, v); }  // (rows, C)
@compute @workgroup_size(WG)
fn grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let inside = i / LANES < dims.rows;
    let begin = min(i / LANES, dims.rows - 1u) * dims.packs;
    var own = Pack(0.0);
    for (var c = i % LANES; c < dims.packs; c += LANES) { own += dy(begin + c) * y(begin + c); }
    let sum = lanes_sum(pack_sum(own), i);
    if !inside { return; }
    for (var c = i % LANES; c < dims.packs; c += LANES) {
        put_dx(begin + c, dims.scale * y(begin + c) * (dy(begin + c) - sum));
    }
}
