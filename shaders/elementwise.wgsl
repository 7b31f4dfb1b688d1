// uses: step, grid, read, write
// variants: scalar, vec4
// Arithmetic on flat tensors, and a bias over the last axis.
struct Dims {
    count: u32,  // packs of the result
    packs: u32,  // add_bias: packs of a row
    rows: u32,  // add_bias: rows
    chunk: u32,  // add_bias: rows an invocation
    factor: f32,  // scale: the factor; fill: the value; accumulate_mean: samples of the whole batch
}

@group(0) @binding(0) var<uniform> dims: Dims;
fn a(i: u32) -> Pack { return pack_1(i); }
fn b(i: u32) -> Pack { return pack_2(i); }  // as a; for add_bias: a row
fn put_y(i: u32, v: Pack) { put_3(i, v); }
fn put_unary(i: u32, v: Pack) { put_2(i, v); }
@group(0) @binding(2) var<storage, read_write> total: array<Pack>;  // accumulate: y, in place
@group(0) @binding(1) var<storage, read_write> y_constant: array<Pack>;
fn relu_y(i: u32) -> Pack { return pack_3(i); }  // what a ReLU gave
fn put_relu_dx(i: u32, v: Pack) { put_4(i, v); }

// y = a + b
@compute @workgroup_size(WG)
fn add(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_y(i, a(i) + b(i));
    }
}

// y = a − b
@compute @workgroup_size(WG)
fn sub(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_y(i, a(i) - b(i));
    }
}

// y = a b
@compute @workgroup_size(WG)
fn mul(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_y(i, a(i) * b(i));
    }
}

// y = max(a + b, 0): the end of a residual unit
@compute @workgroup_size(WG)
fn add_relu(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_y(i, max(a(i) + b(i), Pack(0.0)));
    }
}

// dx = a + b where y > 0, else 0
@compute @workgroup_size(WG)
fn add_relu_grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_relu_dx(i, select(Pack(0.0), a(i) + b(i), relu_y(i) > Pack(0.0)));
    }
}

// y[r, c] = a[r, c] + b[c]; an invocation keeps its b[c] for `chunk` rows
@compute @workgroup_size(WG)
fn add_bias(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let c = i % dims.packs;
    let begin = i / dims.packs * dims.chunk;
    if begin >= dims.rows { return; }
    let bias = b(c);
    let end = min(begin + dims.chunk, dims.rows);
    for (var r = begin; r < end; r++) {
        put_y(r * dims.packs + c, a(r * dims.packs + c) + bias);
    }
}

// y = factor a
@compute @workgroup_size(WG)
fn scale(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_unary(i, dims.factor * a(i));
    }
}

// y = a
@compute @workgroup_size(WG)
fn copy(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_unary(i, a(i));
    }
}

// What y has of the earlier micro-batches of a step; the first finds it as the last step left it.
fn earlier(i: u32) -> Pack {
    return select(total[i], Pack(0.0), live.part == 0u);
}

// What a micro-batch has of the samples of its batch.
fn share_of_samples() -> f32 {
    return f32(live.rows) / dims.factor;
}

// What it has of the labels or tokens that count.
fn share_of_counted() -> f32 {
    return live.counted / max(live.total, 1.0);
}

// y = live.rows / factor a
@compute @workgroup_size(WG)
fn weigh_mean(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let share = share_of_samples();
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_unary(i, share * a(i));
    }
}

// y = live.counted / live.total a
@compute @workgroup_size(WG)
fn weigh_share(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let share = share_of_counted();
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_unary(i, share * a(i));
    }
}

// y ← y + live.rows / factor a, in place: means over micro-batches become the mean over the batch
@compute @workgroup_size(WG)
fn accumulate_mean(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let share = share_of_samples();
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        total[i] = earlier(i) + share * a(i);
    }
}

// y ← y + live.counted / live.total a, in place: the same for means over labels or tokens
@compute @workgroup_size(WG)
fn accumulate_share(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let share = share_of_counted();
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        total[i] = earlier(i) + share * a(i);
    }
}

// y ← y + a, in place: counts over micro-batches become the count over the batch
@compute @workgroup_size(WG)
fn accumulate_count(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        total[i] = earlier(i) + a(i);
    }
}

// y = factor
@compute @workgroup_size(WG)
fn fill(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        y_constant[i] = Pack(dims.factor);
    }
}
