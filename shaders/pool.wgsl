// uses: grid, read, write
// variants: scalar, vec4
// Pooling of images x (N, H, W, C) to y (N, P, Q, C). A window covers the inputs h = p·stride + kh − pad, w likewise.
struct Dims {
    images: u32,
    height: u32,
    width: u32,
    packs: u32,  // packs of a pixel
    out_height: u32,  // P
    out_width: u32,  // Q
    kernel_h: u32,
    kernel_w: u32,
    stride_h: u32,
    stride_w: u32,
    pad_h: u32,  // below the kernel's size, so that each window holds an input
    pad_w: u32,
}

@group(0) @binding(0) var<uniform> dims: Dims;

// y = the largest input of the window, where[…] = its h·W + w, the first in reading order among equals; padding never wins
fn x(i: u32) -> Pack { return pack_1(i); }  // (N, H, W, C)
fn put_y(i: u32, v: Pack) { put_2(i, v); }  // (N, P, Q, C)
@group(0) @binding(3) var<storage, read_write> where_out: array<PackIndex>;  // (N, P, Q, C)
@compute @workgroup_size(WG)
fn max_pool(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    if i >= dims.images * dims.out_height * dims.out_width * dims.packs { return; }
    let c = i % dims.packs;
    let q = i / dims.packs % dims.out_width;
    let p = i / (dims.packs * dims.out_width) % dims.out_height;
    let n = i / (dims.packs * dims.out_width * dims.out_height);
    let h_begin = max(p * dims.stride_h, dims.pad_h) - dims.pad_h;
    let w_begin = max(q * dims.stride_w, dims.pad_w) - dims.pad_w;
    let h_end = min(p * dims.stride_h + dims.kernel_h - dims.pad_h, dims.height);
    let w_end = min(q * dims.stride_w + dims.kernel_w - dims.pad_w, dims.width);
    let image = n * dims.height * dims.width;
    let first = h_begin * dims.width + w_begin;
    var best = x((image + first) * dims.packs + c);
    var best_at = PackIndex(first);
    for (var h = h_begin; h < h_end; h++) {
        for (var w = w_begin; w < w_end; w++) {
            let pixel = h * dims.width + w;
            let value = x((image + pixel) * dims.packs + c);
            best_at = select(best_at, PackIndex(pixel), value > best);
            best = max(best, value);
        }
    }
    put_y(i, best);
    where_out[i] = best_at;
}

// dx[n, h, w] = Σ dy over the windows p, q that chose (h, w): gathered, so no two invocations write one place
@group(0) @binding(1) var<storage, read> chosen: array<PackIndex>;  // (N, P, Q, C)
fn dy(i: u32) -> Pack { return pack_2(i); }  // (N, P, Q, C)
fn put_dx(i: u32, v: Pack) { put_3(i, v); }  // (N, H, W, C)
@compute @workgroup_size(WG)
fn max_pool_grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    if i >= dims.images * dims.height * dims.width * dims.packs { return; }
    let c = i % dims.packs;
    let w = i / dims.packs % dims.width;
    let h = i / (dims.packs * dims.width) % dims.height;
    let n = i / (dims.packs * dims.width * dims.height);
    // p·stride ≤ h + pad < p·stride + kernel
    let p_begin = (max(h + dims.pad_h + dims.stride_h, dims.kernel_h) - dims.kernel_h) / dims.stride_h;
    let q_begin = (max(w + dims.pad_w + dims.stride_w, dims.kernel_w) - dims.kernel_w) / dims.stride_w;
    let p_end = min((h + dims.pad_h) / dims.stride_h + 1u, dims.out_height);
    let q_end = min((w + dims.pad_w) / dims.stride_w + 1u, dims.out_width);
    let pixel = PackIndex(h * dims.width + w);
    var sum = Pack(0.0);
    for (var p = p_begin; p < p_end; p++) {
        for (var q = q_begin; q < q_end; q++) {
            let j = ((n * dims.out_height + p) * dims.out_width + q) * dims.packs + c;
            sum += select(Pack(0.0), dy(j), chosen[j] == pixel);
        }
    }
    put_dx(i, sum);
}

// y[n, c] = mean of x(n, h, w, c) over h, w
@compute @workgroup_size(WG)
fn global_avg_pool(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    if i >= dims.images * dims.packs { return; }
    let pixels = dims.height * dims.width;
    let begin = i / dims.packs * pixels * dims.packs + i % dims.packs;
    var sum = Pack(0.0);
    for (var k = 0u; k < pixels; k++) { sum += x(begin + k * dims.packs); }
    put_y(i, sum / f32(pixels));
}

// dx[n, h, w, c] = dy(n, c) / (H W)
fn mean_dy(i: u32) -> Pack { return pack_1(i); }  // (N, C)
fn put_mean_dx(i: u32, v: Pack) { put_2(i, v); }  // (N, H, W, C)
@compute @workgroup_size(WG)
fn global_avg_pool_grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    if i >= dims.images * dims.packs { return; }
    let pixels = dims.height * dims.width;
    let begin = i / dims.packs * pixels * dims.packs + i % dims.packs;
    let d = mean_dy(i) / f32(pixels);
    for (var k = 0u; k < pixels; k++) { put_mean_dx(begin + k * dims.packs, d); }
}
