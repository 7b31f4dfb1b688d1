// uses: grid, read
// Sums of several tensors that lie in one flat buffer as parts, into their places in another: as many as `pieces` holds.
struct Dims {
    pieces: array<vec4u, 16>,  // 64 floats before the parts, 64 floats before the sum, floats of the sum, parts
}

@group(0) @binding(0) var<uniform> dims: Dims;
fn parts(i: u32) -> f32 { return one_1(i); }  // of each piece (parts, floats)
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;  // of each piece (floats); what lies between is left alone

// sums[i] = Σ_s parts(s, i), in the order of s; a row of workgroups for each piece
@compute @workgroup_size(WG)
fn add_pieces(@builtin(global_invocation_id) at: vec3u, @builtin(workgroup_id) group: vec3u) {
    let piece = dims.pieces[group.y];
    let floats = piece.z;
    if at.x >= floats { return; }
    let first = 64u * piece.x + at.x;
    var sum = 0.0;
    for (var s = 0u; s < piece.w; s++) { sum += parts(first + s * floats); }
    sums[64u * piece.y + at.x] = sum;
}
