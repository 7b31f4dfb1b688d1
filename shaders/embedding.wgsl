// uses: grid
// Rows of a table. An id outside the vocabulary V reads zeros and teaches nothing.
struct Dims {
    rows: u32,  // ids
    packs: u32,  // packs of a table row
    vocabulary: u32,  // V
}

@group(0) @binding(0) var<uniform> dims: Dims;

// y[r] = table[ids[r]]
@group(0) @binding(1) var<storage, read> table: array<Pack>;  // (V, D)
@group(0) @binding(2) var<storage, read> ids: array<u32>;  // (rows)
@group(0) @binding(3) var<storage, read_write> y: array<Pack>;  // (rows, D)
@compute @workgroup_size(WG)
fn gather(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.rows * dims.packs; i += invocations(groups)) {
        let id = ids[i / dims.packs];
        var value = Pack(0.0);
        if id < dims.vocabulary { value = table[id * dims.packs + i % dims.packs]; }
        y[i] = value;
    }
}

// Bit k of hits[l] says whether the id at base + k·WG + l is this workgroup's v.
var<workgroup> hits: array<u32, WG>;

// dtable[v] = Σ dy[r] over the rows r with ids[r] = v.
// A workgroup owns one v and WG packs of its row (grid: pack tiles, then v over y and z): it marks the hits among
// 32·WG ids together, then each invocation adds the marked rows of its pack, always in the same order.
@group(0) @binding(1) var<storage, read> grad_ids: array<u32>;  // (rows)
@group(0) @binding(2) var<storage, read> dy: array<Pack>;  // (rows, D)
@group(0) @binding(3) var<storage, read_write> dtable: array<Pack>;  // (V, D)
@compute @workgroup_size(WG)
fn grad(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) l: u32,
) {
    let v = group.y + group.z * groups.y;
    let c = group.x * WG + l;
    var sum = Pack(0.0);
    for (var base = 0u; base < dims.rows; base += 32u * WG) {
        var mask = 0u;
        for (var k = 0u; k < 32u && base + k * WG < dims.rows; k++) {
            let r = base + k * WG + l;
            if r < dims.rows && grad_ids[min(r, dims.rows - 1u)] == v { mask |= 1u << k; }
        }
        hits[l] = mask;
        workgroupBarrier();
        if c < dims.packs {
            for (var m = 0u; m < WG; m++) {
                var left = hits[m];
                // 32 bits at most, one fewer each time round.
                while left != 0u {
                    let r = base + firstTrailingBit(left) * WG + m;
                    sum += dy[r * dims.packs + c];
                    left &= left - 1u;
                }
            }
        }
        workgroupBarrier();
    }
    if v < dims.vocabulary && c < dims.packs { dtable[v * dims.packs + c] = sum; }
}
