// uses: grid, read, write
// variants: scalar, vec4
// Some rows of each sample. A place outside of the sample reads zeros and teaches nothing.
struct Dims {
    count: u32,  // packs of y; grad: of dx
    packs: u32,  // packs of a row, C / PACK
    length: u32,  // L; rows: packs of x that there are
    places: u32,  // M
}

@group(0) @binding(0) var<uniform> dims: Dims;

// y[b, m] = x[b, places[b, m]]
fn x(i: u32) -> Pack { return pack_1(i); }  // (B, L, C)
@group(0) @binding(2) var<storage, read> places: array<u32>;  // (B, M)
fn put_y(i: u32, v: Pack) { put_3(i, v); }  // (B, M, C)
@compute @workgroup_size(WG)
fn gather(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        let r = i / dims.packs;
        let l = places[r];
        var value = Pack(0.0);
        if l < dims.length { value = x((r / dims.places * dims.length + l) * dims.packs + i % dims.packs); }
        put_y(i, value);
    }
}

// dx[b, l] = Σ_m [places[b, m] = l] dy[b, m]
fn dy(i: u32) -> Pack { return pack_1(i); }  // (B, M, C)
fn put_dx(i: u32, v: Pack) { put_3(i, v); }  // (B, L, C)
@compute @workgroup_size(WG)
fn grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        let r = i / dims.packs;
        let first = r / dims.length * dims.places;
        var sum = Pack(0.0);
        for (var m = first; m < first + dims.places; m++) {
            if places[m] == r % dims.length { sum += dy(m * dims.packs + i % dims.packs); }
        }
        put_dx(i, sum);
    }
}

// y = the first rows of x, or x and zeros behind it
fn put_rows(i: u32, v: Pack) { put_2(i, v); }
@compute @workgroup_size(WG)
fn rows(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_rows(i, select(Pack(0.0), x(min(i, dims.length - 1u)), i < dims.length));
    }
}

// y[b] = x[b, 0]
@compute @workgroup_size(WG)
fn leading(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        put_rows(i, x(i / dims.packs * dims.length * dims.packs + i % dims.packs));
    }
}

// dx[b, l] = dy[b] where l is 0, else 0
@compute @workgroup_size(WG)
fn leading_grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.count; i += invocations(groups)) {
        let r = i / dims.packs;
        var value = Pack(0.0);
        if r % dims.length == 0u { value = dy(r / dims.length * dims.packs + i % dims.packs); }
        put_rows(i, value);
    }
}
