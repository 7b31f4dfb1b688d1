// What conv2d.wgsl and conv2d_tiled.wgsl share: dims, operands, what is read beside them, and which pixels meet.

struct Dims {
    images: u32, height: u32, width: u32, c_in: u32,
    out_height: u32, out_width: u32, c_out: u32,
    kernel_y: u32, kernel_x: u32, stride_y: u32, stride_x: u32, pad_y: u32, pad_x: u32,
    // Rows and columns of the product, its tiles in each direction and, with phases and parts, in all.
    m: u32, n: u32, tiles_m: u32, tiles_n: u32, tiles: u32,
    // dw: part p sums over output positions p·k_part .. (p+1)·k_part.
    parts: u32, k_part: u32,
    // dx: rows and columns of one phase, ⌈height / stride_y⌉ and ⌈width / stride_x⌉.
    phase_height: u32, phase_width: u32,
    // conv: 1 applies ReLU.
    relu: u32,
}

@group(0) @binding(0) var<uniform> dims: Dims;
// conv: x (images, height, width, c_in). dx, dw: dy (images, out_height, out_width, c_out).
fn a4(i: u32) -> vec4<f32> { return quad_1(i); }
fn a1(i: u32) -> f32 { return one_1(i); }
// conv, dx: w (c_out, kernel_y, kernel_x, c_in). dw: x.
fn b4(i: u32) -> vec4<f32> { return quad_2(i); }
fn b1(i: u32) -> f32 { return one_2(i); }
// Input 3 is of conv the bias (c_out), of dx_plus D, like x, and of dx_masked Y, like x. Input 4 is of conv_skip D, like y, and of
// dx_plus_masked Y.
// conv: y (images, out_height, out_width, c_out). dx: like x. dw: (parts, c_out, kernel_y, kernel_x, c_in).
fn put_c4(i: u32, v: vec4<f32>) { put_quad_5(i, v); }
fn put_c1(i: u32, v: f32) { put_one_5(i, v); }

fn activate(v: vec4<f32>) -> vec4<f32> {
    // As PyTorch: a NaN stays a NaN.
    return select(v, vec4<f32>(), (v < vec4<f32>()) & vec4(dims.relu != 0u));
}

// Four pixels: image, and row and column there, before a tap's shift.
struct Pixels { image: vec4<u32>, y: vec4<i32>, x: vec4<i32> }

// Where the windows of four output positions begin.
fn windows(row: u32) -> Pixels {
    let r = min(row + STEP, vec4(dims.images * dims.out_height * dims.out_width - 1u));
    let y = vec4<i32>(r / dims.out_width % dims.out_height * dims.stride_y) - i32(dims.pad_y);
    let x = vec4<i32>(r % dims.out_width * dims.stride_x) - i32(dims.pad_x);
    return Pixels(r / (dims.out_height * dims.out_width), y, x);
}

// acc + D, the fourth input after the bias; four numbers from `at` on, past the edge the last ones, which are not stored.
fn skip4(at: u32) -> vec4<f32> { return quad_4(min(at, dims.m * dims.n - 4u) / 4u); }

fn skip1(at: u32) -> vec4<f32> {
    let i = min(at + STEP, vec4(dims.m * dims.n - 1u));
    return vec4(one_4(i.x), one_4(i.y), one_4(i.z), one_4(i.w));
}

// Four rows of a phase as (image, t_y, t_x).
fn phase_rows(row: u32) -> Pixels {
    let r = min(row + STEP, vec4(dims.m - 1u));
    let y = r / dims.phase_width % dims.phase_height;
    return Pixels(r / (dims.phase_height * dims.phase_width), vec4<i32>(y), vec4<i32>(r % dims.phase_width));
}

// Rows of x.
fn inputs() -> u32 {
    return dims.images * dims.height * dims.width;
}

// The rows of x that four rows of a phase are; past the end where the phase overhangs the image.
fn input_rows(row: u32, phase: Phase) -> vec4<u32> {
    let p = phase_rows(row);
    let y = vec4<u32>(p.y) * dims.stride_y + phase.offset.x;
    let x = vec4<u32>(p.x) * dims.stride_x + phase.offset.y;
    let inside = (row + STEP < vec4(dims.m)) & (y < vec4(dims.height)) & (x < vec4(dims.width));
    return select(vec4(inputs()), (p.image * dims.height + y) * dims.width + x, inside);
}

// Four numbers of a tensor like x from `at` on; past the edge the last ones, which are not stored.
fn places_of(at: u32) -> vec4<u32> {
    return min(at + STEP, vec4(inputs() * dims.n - 1u));
}

fn third_vec(at: u32) -> vec4<f32> { return quad_3(min(at, inputs() * dims.n - 4u) / 4u); }
fn fourth_vec(at: u32) -> vec4<f32> { return quad_4(min(at, inputs() * dims.n - 4u) / 4u); }

fn third_any(at: u32) -> vec4<f32> {
    let i = places_of(at);
    return vec4(one_3(i.x), one_3(i.y), one_3(i.z), one_3(i.w));
}

fn fourth_any(at: u32) -> vec4<f32> {
    let i = places_of(at);
    return vec4(one_4(i.x), one_4(i.y), one_4(i.z), one_4(i.w));
}

// As PyTorch: where Y is not above zero there is no gradient, whatever came.
fn kept_where(v: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return select(vec4<f32>(), v, y > vec4<f32>());
}
