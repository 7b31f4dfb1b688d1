// Sums and maxima over the LANES neighbouring invocations that share a row, in a fixed order.
// LANES divides WG, both are powers of two. Every invocation of the workgroup must take part.
override LANES: u32 = 1u;

var<workgroup> lane_values: array<f32, WG>;

// Σ v over the lanes of the invocation's row; `i` is the linear index of the invocation.
fn lanes_sum(v: f32, i: u32) -> f32 {
    if LANES == 1u { return v; }
    let local = i % WG;
    lane_values[local] = v;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if local % LANES < half { lane_values[local] += lane_values[local + half]; }
        workgroupBarrier();
    }
    let result = lane_values[local - local % LANES];
    workgroupBarrier();
    return result;
}

// max v over the lanes of the invocation's row.
fn lanes_max(v: f32, i: u32) -> f32 {
    if LANES == 1u { return v; }
    let local = i % WG;
    lane_values[local] = v;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if local % LANES < half {
            lane_values[local] = max(lane_values[local], lane_values[local + half]);
        }
        workgroupBarrier();
    }
    let result = lane_values[local - local % LANES];
    workgroupBarrier();
    return result;
}
