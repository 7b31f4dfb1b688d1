// uses: step, grid, reduce, read, write
// Kullback-Leibler divergence of a student s from a teacher t (rows, C) at temperature T; LANES invocations a row.
//
//     loss = factor/n Σ_r Σ_c p (log p − log q),   p = softmax(t / T),   q = softmax(s / T)
//
// A class of p = 0 costs nothing, even where log p and log q are −∞; one of p > 0 that the student has at −∞ costs ∞.
// The mean is over the n = live.rows · per_sample rows that there are; the others lose nothing. BY_COUNT: it is over n = live.counted of them,
// and those that do not count are equal in s and t, so that they lose nothing.
struct Dims {
    rows: u32,
    columns: u32,  // C
    per_sample: u32,  // rows of one sample of the batch
    inverse_temperature: f32,  // 1 / T
    factor: f32,
    d: f32,  // forward_grad: the gradient of the loss
}

override BY_COUNT: bool = false;

@group(0) @binding(0) var<uniform> dims: Dims;
fn s(i: u32) -> f32 { return one_1(i); }  // (rows, C)
fn t(i: u32) -> f32 { return one_2(i); }  // (rows, C)

// Rows that are no padding of the batch.
fn there() -> u32 {
    return clamp(live.rows * dims.per_sample, 1u, dims.rows);
}

// n
fn counted() -> f32 {
    return select(f32(there()), max(live.counted, 1.0), BY_COUNT);
}

// What a row's gradient needs, log Σ exp(s/T) and log Σ exp(t/T); and Σ_c p (log p − log q).
struct Row { log_s: f32, log_t: f32, loss: f32 }

// Of row r, for invocation i, which is one of its lanes.
fn row_of(r: u32, i: u32) -> Row {
    let begin = r * dims.columns;
    let k = dims.inverse_temperature;
    var best_s = s(begin);
    var best_t = t(begin);
    for (var c = i % LANES; c < dims.columns; c += LANES) {
        best_s = max(best_s, s(begin + c));
        best_t = max(best_t, t(begin + c));
    }
    best_s = lanes_max(best_s, i);
    best_t = lanes_max(best_t, i);
    var sum_s = 0.0;
    var sum_t = 0.0;
    for (var c = i % LANES; c < dims.columns; c += LANES) {
        sum_s += exp(k * (s(begin + c) - best_s));
        sum_t += exp(k * (t(begin + c) - best_t));
    }
    let log_s = log(lanes_sum(sum_s, i));
    let log_t = log(lanes_sum(sum_t, i));
    var loss = 0.0;
    for (var c = i % LANES; c < dims.columns; c += LANES) {
        let log_p = k * (t(begin + c) - best_t) - log_t;
        let log_q = k * (s(begin + c) - best_s) - log_s;
        let p = exp(log_p);
        loss += select(p * (log_p - log_q), 0.0, p == 0.0);
    }
    return Row(k * best_s + log_s, k * best_t + log_t, lanes_sum(loss, i));
}

// losses[r] = factor/n Σ_c p (log p − log q), whose sum is the loss; and for the gradient log Σ exp(s/T), log Σ exp(t/T)
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;  // (rows)
@group(0) @binding(4) var<storage, read_write> log_sums_out: array<f32>;  // (rows, 2)
@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let r = min(i / LANES, dims.rows - 1u);
    let row = row_of(r, i);
    if i / LANES >= dims.rows || i % LANES != 0u { return; }
    losses[r] = select(0.0, dims.factor * row.loss / counted(), r < there());
    log_sums_out[2u * r] = row.log_s;
    log_sums_out[2u * r + 1u] = row.log_t;
}

// losses[r] as in forward, and ds = d factor / (n T) (q − p)
fn put_slope(i: u32, v: f32) { put_one_4(i, v); }  // (rows, C)
@compute @workgroup_size(WG)
fn forward_grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let r = min(i / LANES, dims.rows - 1u);
    let row = row_of(r, i);
    if i / LANES >= dims.rows { return; }
    let begin = r * dims.columns;
    let k = dims.inverse_temperature;
    let scale = dims.d * dims.factor * k / counted();
    for (var c = i % LANES; c < dims.columns; c += LANES) {
        let difference = exp(k * s(begin + c) - row.log_s) - exp(k * t(begin + c) - row.log_t);
        put_slope(begin + c, select(0.0, scale * difference, r < there()));
    }
    if i % LANES != 0u { return; }
    losses[r] = select(0.0, dims.factor * row.loss / counted(), r < there());
}

// ds = d factor / (n T) (q − p)
fn log_sums(i: u32) -> f32 { return one_3(i); }  // (rows, 2)
@group(0) @binding(4) var<storage, read> d: array<f32>;  // (1)
fn put_ds(i: u32, v: f32) { put_one_5(i, v); }  // (rows, C)
@compute @workgroup_size(WG)
fn grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let k = dims.inverse_temperature;
    let scale = d[0] * dims.factor * k / counted();
    for (var i = invocation(at, groups); i < dims.rows * dims.columns; i += invocations(groups)) {
        let r = i / dims.columns;
        let difference = exp(k * s(i) - log_sums(2u * r)) - exp(k * t(i) - log_sums(2u * r + 1u));
        put_ds(i, select(0.0, scale * difference, r < there()));
    }
}
