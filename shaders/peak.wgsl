// uses: grid
// Multiply-adds without loads: the most that an adapter computes, against which other kernels are held.
struct Dims {
    count: u32,  // packs of y
    rounds: u32,
    factor: f32,  // below 1, so that the chains stay finite
}

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

// y[i] = a + b + c after `rounds` rounds of 8 steps v ← factor v + factor: 12 chains that do not wait for each other, 96 multiply-adds a round
@compute @workgroup_size(WG)
fn multiply_add(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    if i >= dims.count { return; }
    let f = vec4f(dims.factor);
    var a = vec4f(f32(i));
    var b = a + 1.0;
    var c = a + 2.0;
    for (var round = 0u; round < dims.rounds; round++) {
        // Written out: a loop costs a CPU adapter as much as ten multiply-adds.
        a = fma(a, f, f);  b = fma(b, f, f);  c = fma(c, f, f);
        a = fma(a, f, f);  b = fma(b, f, f);  c = fma(c, f, f);
        a = fma(a, f, f);  b = fma(b, f, f);  c = fma(c, f, f);
        a = fma(a, f, f);  b = fma(b, f, f);  c = fma(c, f, f);
        a = fma(a, f, f);  b = fma(b, f, f);  c = fma(c, f, f);
        a = fma(a, f, f);  b = fma(b, f, f);  c = fma(c, f, f);
        a = fma(a, f, f);  b = fma(b, f, f);  c = fma(c, f, f);
        a = fma(a, f, f);  b = fma(b, f, f);  c = fma(c, f, f);
    }
    y[i] = a + b + c;
}
