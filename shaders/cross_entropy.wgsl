// uses: step, grid, reduce, read, write
// variants: scalar, vec4
// Cross entropy of logits x (rows, C) with labels, smoothed by ε as in PyTorch; LANES invocations a row.
//
//     loss = 1/n Σ_r −Σ_c q[r, c] log p[r, c],   p = softmax(x),   q = (1 − ε) [c = label] + ε / C
//
// The mean is over the n = live.rows · per_sample rows that there are; the others lose nothing. BY_LABEL: it is over the n = live.counted of
// them whose label is a class.
struct Dims {
    rows: u32,
    packs: u32,  // packs of a row, C / PACK
    per_sample: u32,  // rows of one sample of the batch
    smoothing: f32,  // ε
    d: f32,  // forward_grad: the gradient of the loss
}

override BY_LABEL: bool = false;

@group(0) @binding(0) var<uniform> dims: Dims;
fn x(i: u32) -> Pack { return pack_1(i); }  // (rows, C)
@group(0) @binding(2) var<storage, read> labels: array<u32>;  // (rows)

fn classes() -> u32 {
    return dims.packs * PACK;
}

// Rows that are no padding of the batch.
fn there() -> u32 {
    return clamp(live.rows * dims.per_sample, 1u, dims.rows);
}

// n
fn counted() -> f32 {
    return select(f32(there()), max(live.counted, 1.0), BY_LABEL);
}

// What is known of the logits seen so far: each is read once, and the sum is scaled down when the maximum rises.
struct Seen {
    best: f32,  // max x
    sum: f32,  // Σ exp(x − best)
    distance: f32,  // Σ (best − x)
    count: f32,
}

// Nothing seen. The maximum begins at the lowest finite number, so that −∞ among the logits is no NaN.
fn nothing() -> Seen {
    return Seen(-3.4028234e38, 0.0, 0.0, 0.0);
}

fn see(seen: Seen, v: Pack) -> Seen {
    let best = max(seen.best, pack_max(v));
    let rise = best - seen.best;
    let sum = seen.sum * exp(-rise) + pack_sum(exp(v - best));
    return Seen(best, sum, seen.distance + seen.count * rise + pack_sum(best - v), seen.count + f32(PACK));
}

// What all lanes of the row have seen.
fn together(seen: Seen, i: u32) -> Seen {
    let best = lanes_max(seen.best, i);
    let rise = best - seen.best;
    let sum = lanes_sum(seen.sum * exp(-rise), i);
    return Seen(best, sum, lanes_sum(seen.distance + seen.count * rise, i), f32(classes()));
}

fn counts(r: u32, label: u32) -> bool {
    return r < there() && label < classes();
}

// 1/n Σ_c q (log Σ exp x − x) for a row whose logit at the label is `at_label`. A share of nothing is nothing, also of the infinite distance of
// a logit of −∞.
fn loss_of(row: Seen, at_label: f32) -> f32 {
    let excess = log(row.sum);  // log Σ exp x − max x
    var loss = (1.0 - dims.smoothing) * (excess + (row.best - at_label));
    if dims.smoothing != 0.0 {
        loss += dims.smoothing * (excess + row.distance / f32(classes()));
    }
    return loss / counted();
}

// 1 at the label, else 0, for the classes of pack c.
fn one_hot(c: u32, label: u32) -> Pack {
    return select(Pack(0.0), Pack(1.0), pack_index(c) == PackIndex(label));
}

// (p − q) / n of pack c
fn slope(v: Pack, log_sum: f32, c: u32, label: u32) -> Pack {
    let q = (1.0 - dims.smoothing) * one_hot(c, label) + dims.smoothing / f32(classes());
    return (exp(v - log_sum) - q) / counted();
}

// losses[r], whose sum is the loss; and for the gradient log Σ exp x
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;  // (rows)
@group(0) @binding(4) var<storage, read_write> log_sum_out: array<f32>;  // (rows)
@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let inside = i / LANES < dims.rows;
    let r = min(i / LANES, dims.rows - 1u);
    let begin = r * dims.packs;
    var seen = nothing();
    for (var c = i % LANES; c < dims.packs; c += LANES) { seen = see(seen, x(begin + c)); }
    let row = together(seen, i);
    if !inside || i % LANES != 0u { return; }
    let label = labels[r];
    var loss = 0.0;
    if counts(r, label) { loss = loss_of(row, pack_at(x(begin + label / PACK), label % PACK)); }
    losses[r] = loss;
    log_sum_out[r] = row.best + log(row.sum);
}

// dx = d (p − q) / n
@group(0) @binding(3) var<storage, read> log_sum: array<f32>;  // (rows)
@group(0) @binding(4) var<storage, read> d: array<f32>;  // (1)
fn put_dx(i: u32, v: Pack) { put_5(i, v); }  // (rows, C)
@compute @workgroup_size(WG)
fn grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let r = i / LANES;
    if r >= dims.rows { return; }
    let begin = r * dims.packs;
    let label = labels[r];
    let all = log_sum[r];
    let scale = d[0];
    let valid = counts(r, label);
    for (var c = i % LANES; c < dims.packs; c += LANES) {
        put_dx(begin + c, select(Pack(0.0), scale * slope(x(begin + c), all, c, label), valid));
    }
}

// losses[r] as in forward, and dx = d (p − q) / n
fn put_slope(i: u32, v: Pack) { put_4(i, v); }  // (rows, C)
@compute @workgroup_size(WG)
fn forward_grad(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = invocation(at, groups);
    let inside = i / LANES < dims.rows;
    let r = min(i / LANES, dims.rows - 1u);
    let begin = r * dims.packs;
    var seen = nothing();
    for (var c = i % LANES; c < dims.packs; c += LANES) { seen = see(seen, x(begin + c)); }
    let row = together(seen, i);
    if !inside { return; }
    let label = labels[r];
    let valid = counts(r, label);
    let all = row.best + log(row.sum);
    for (var c = i % LANES; c < dims.packs; c += LANES) {
        put_slope(begin + c, select(Pack(0.0), dims.d * slope(x(begin + c), all, c, label), valid));
    }
    if i % LANES != 0u { return; }
    var loss = 0.0;
    if valid { loss = loss_of(row, pack_at(x(begin + label / PACK), label % PACK)); }
    losses[r] = loss;
}
