// uses: grid, read, write
// What finds a span among the tokens of a sample: the scores of its first and of its last token, as rows of their own.
struct Dims {
    count: u32,  // numbers of the result
    length: u32,  // L
}

@group(0) @binding(0) var<uniform> dims: Dims;

// A score below all others, and the lowest number that f16 has, so that no difference of two is a NaN.
const NEVER: f32 = -65504.0;

// Where in (B, L, 2) the number i of (B, 2, L) lies.
fn place(i: u32) -> u32 {
    let row = i / dims.length;
    return (row / 2u * dims.length + i % dims.length) * 2u + row % 2u;
}

// y[b, k, l] = x[b, l, k] for the lengths[b] tokens that there are; never, for those behind
fn x(i: u32) -> f32 { return one_1(i); }  // (B, L, 2)
@group(0) @binding(2) var<storage, read> lengths: array<u32>;  // (B)
fn put(i: u32, v: f32) { put_one_3(i, v); }  // (B, 2, L); grad: (B, L, 2)
@compute @workgroup_size(WG)
fn scores(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put(i, select(NEVER, x(place(i)), i % dims.length < lengths[i / (2u * dims.length)]));
    }
}

// dx[b, l, k] = dy[b, k, l] for the tokens that there are, else 0
@compute @workgroup_size(WG)
fn grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put(place(i), select(0.0, x(i), i % dims.length < lengths[i / (2u * dims.length)]));
    }
}

// labels[b] = (starts[b], ends[b]) if both are tokens of the sample, else none
@group(0) @binding(1) var<storage, read> starts: array<u32>;  // (B)
@group(0) @binding(2) var<storage, read> ends: array<u32>;  // (B)
@group(0) @binding(3) var<storage, read> tokens: array<u32>;  // (B)
@group(0) @binding(4) var<storage, read_write> labels_out: array<u32>;  // (B, 2)
@compute @workgroup_size(WG)
fn labels(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        let b = i / 2u;
        let end = min(tokens[b], dims.length);
        let label = select(starts[b], ends[b], i % 2u == 1u);
        labels_out[i] = select(0xffffffffu, label, max(starts[b], ends[b]) < end);
    }
}
