// uses: grid, read, write
// variants: scalar, vec4
// Rows that count, and zeros in the place of the others. Its own gradient: applied to dy it leaves the same rows.
struct Dims {
    count: u32,  // packs of x
    packs: u32,  // packs of a row, C / PACK
    length: u32,  // by_length: rows of a sample, L
}

@group(0) @binding(0) var<uniform> dims: Dims;
fn x(i: u32) -> Pack { return pack_1(i); }  // (rows, C)
@group(0) @binding(2) var<storage, read> numbers: array<u32>;
fn put_y(i: u32, v: Pack) { put_3(i, v); }  // (rows, C)

// y[r] = x[r] where numbers[r], its label, is a class, one of C; else 0
@compute @workgroup_size(WG)
fn by_label(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_y(i, select(Pack(0.0), x(i), numbers[i / dims.packs] < dims.packs * PACK));
    }
}

// y[b, l] = x[b, l] where l < numbers[b], the sample's length; else 0
@compute @workgroup_size(WG)
fn by_length(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        let r = i / dims.packs;
        put_y(i, select(Pack(0.0), x(i), r % dims.length < numbers[r / dims.length]));
    }
}
