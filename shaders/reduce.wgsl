// uses: grid, reduce, read
// variants: scalar, vec4
// Sums in a fixed order. Long ones take two steps: parts, then the sum of the parts.
struct Dims {
    rows: u32,  // sum_rows: rows; total, squares: packs of x
    packs: u32,  // sum_rows: packs of a row
    chunk: u32,  // sum_rows: rows of a part
    parts: u32,  // sum_rows: ⌈rows / chunk⌉; squares: numbers written
}

@group(0) @binding(0) var<uniform> dims: Dims;
fn x(i: u32) -> Pack { return pack_1(i); }  // (rows, C)
@group(0) @binding(2) var<storage, read_write> y: array<Pack>;  // (parts, C)
@group(0) @binding(2) var<storage, read_write> numbers: array<f32>;  // (parts)

// y[p, c] = Σ x(r, c) over the rows r of part p
@compute @workgroup_size(WG)
fn sum_rows(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    if i >= dims.parts * dims.packs { return; }
    let c = i % dims.packs;
    let begin = i / dims.packs * dims.chunk;
    let end = min(begin + dims.chunk, dims.rows);
    var sum = Pack(0.0);
    for (var r = begin; r < end; r++) { sum += x(r * dims.packs + c); }
    y[i] = sum;
}

// numbers[0] = Σ x; one workgroup, LANES = WG
@compute @workgroup_size(WG)
fn total(@builtin(global_invocation_id) at: vec3u) {
    var sum = Pack(0.0);
    for (var i = at.x; i < dims.rows; i += WG) { sum += x(i); }
    let all = lanes_sum(pack_sum(sum), at.x);
    if at.x == 0u { numbers[0] = all; }
}

// numbers[p] = Σ x² over the packs p, p + parts, p + 2 parts, …
@compute @workgroup_size(WG)
fn squares(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let p = invocation(at, groups);
    if p >= dims.parts { return; }
    var sum = Pack(0.0);
    for (var i = p; i < dims.rows; i += dims.parts) { sum += x(i) * x(i); }
    numbers[p] = pack_sum(sum);
}
