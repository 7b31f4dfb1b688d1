// uses: grid, read, write
// variants: scalar, vec4
// Rows of a table. An id outside the vocabulary V reads zeros and teaches nothing.
struct Dims {
    rows: u32,  // ids
    packs: u32,  // packs of a table row
    vocabulary: u32,  // V
    span: u32,  // link: ids an invocation; grad_parts: rows of a part
}

@group(0) @binding(0) var<uniform> dims: Dims;

// y[r] = table[ids[r]]
fn table(i: u32) -> Pack { return pack_1(i); }  // (V, D)
@group(0) @binding(2) var<storage, read> ids: array<u32>;  // (rows)
fn put_y(i: u32, v: Pack) { put_3(i, v); }  // (rows, D)
@compute @workgroup_size(WG)
fn gather(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.rows * dims.packs; i += invocations(groups)) {
        let id = ids[i / dims.packs];
        var value = Pack(0.0);
        if id < dims.vocabulary { value = table(id * dims.packs + i % dims.packs); }
        put_y(i, value);
    }
}

// No row: where a list ends.
const NONE: u32 = 0xffffffffu;

// The rows of each id, in rising order, as lists: first[v] is the first of id v, next[r] the one after r.
// An invocation owns `span` ids and walks over all rows from the last, so that it alone writes what belongs to them.
@group(0) @binding(1) var<storage, read> all_ids: array<u32>;  // (rows)
@group(0) @binding(2) var<storage, read_write> first_out: array<u32>;  // (V)
@group(0) @binding(3) var<storage, read_write> next_out: array<u32>;  // (rows)
@compute @workgroup_size(WG)
fn link(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let begin = invocation(at, groups) * dims.span;
    if begin >= dims.vocabulary { return; }
    let end = min(begin + dims.span, dims.vocabulary);
    for (var v = begin; v < end; v++) { first_out[v] = NONE; }
    for (var r = dims.rows; r > 0u; r--) {
        let id = all_ids[r - 1u];
        if id >= begin && id < end {
            next_out[r - 1u] = first_out[id];
            first_out[id] = r - 1u;
        }
    }
}

// dtable[v] = Σ dy[r] over the rows r with ids[r] = v, in their order
@group(0) @binding(1) var<storage, read> first: array<u32>;  // (V)
@group(0) @binding(2) var<storage, read> next: array<u32>;  // (rows)
fn dy(i: u32) -> Pack { return pack_3(i); }  // (rows, D)
@group(0) @binding(4) var<storage, read_write> dtable: array<Pack>;  // (V, D)
@compute @workgroup_size(WG)
fn grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.vocabulary * dims.packs; i += invocations(groups)) {
        var sum = Pack(0.0);
        var r = first[i / dims.packs];
        while r < dims.rows {
            sum += dy(r * dims.packs + i % dims.packs);
            r = next[r];
        }
        dtable[i] = sum;
    }
}

// dparts[p, v] = Σ dy[r] over the rows r of part p with ids[r] = v, in their order: for tables so small that a list would have a large share of
// all rows
fn part_dy(i: u32) -> Pack { return pack_2(i); }  // (rows, D)
@group(0) @binding(3) var<storage, read_write> dparts: array<Pack>;  // (parts, V, D)
@compute @workgroup_size(WG)
fn grad_parts(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let begin = i / (dims.vocabulary * dims.packs) * dims.span;
    if begin >= dims.rows { return; }
    let v = i / dims.packs % dims.vocabulary;
    let end = min(begin + dims.span, dims.rows);
    var sum = Pack(0.0);
    for (var r = begin; r < end; r++) {
        if all_ids[r] == v { sum += part_dy(r * dims.packs + i % dims.packs); }
    }
    dparts[i] = sum;
}
