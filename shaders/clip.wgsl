// uses: grid, reduce
// Clipping by the global norm: what the gradients are multiplied by, as clip_grad_norm_ of PyTorch.
struct Dims {
    count: u32,  // partial sums
    max_norm: f32,
}

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> squares: array<f32>;  // (count): partial sums of squares
@group(0) @binding(2) var<storage, read_write> factor: array<f32>;  // (1)
@group(0) @binding(3) var<storage, read_write> norm: array<f32>;  // (1)

// norm = √Σ squares,   factor = min(1, max_norm / (norm + 1e-6)); one workgroup, LANES = WG
@compute @workgroup_size(WG)
fn clip(@builtin(global_invocation_id) at: vec3u) {
    var sum = 0.0;
    for (var i = at.x; i < dims.count; i += WG) { sum += squares[i]; }
    let all = sqrt(lanes_sum(sum, at.x));
    if at.x == 0u {
        norm[0] = all;
        factor[0] = min(1.0, dims.max_norm / (all + 1e-6));
    }
}
