"""How block i starts (greedy and sample), straightforwardly in f64: the golden that the engine's starts are tested against.

starts/images.safetensors: `vectors` (200, 30) for the MLPs and `images` (100, 8, 8, 3; NHWC) for the ResNets: the start inputs, un-augmented.
    The images are (`pixels` / 255 − MEAN) / STD, so that they can be read as pictures.
starts/NET.teacher.safetensors: a teacher's state dict as PyTorch saves it.
starts/CASE.start.safetensors: S̄ after the starts 1..n without any training between them (`start_only`), `lift.I.weight` included, as PyTorch saves it.
starts/CASE.run.safetensors: `pick.KEY` (u32; what pick found, or for `sample` what the test must use instead of its own draw), `logits` of S̄
    on the start inputs, eval mode; in the metadata under `case`: the student's specification (S̄: first layers at the teacher's width, lifts),
    the teacher's specification and file, `start`, and `margin` (see below).
starts/linalg.safetensors: CASE.T, CASE.H (rows × columns) with CASE.pick, CASE.R and, where the case has one, CASE.c.

KEY of a pick: layers.K (MLP), stem, layerI (the one channel set of a stage), layerI.U.conv1, layerI.U.conv2 (by the *student's* unit).

Decisions, where the method leaves freedom (the engine follows them):
 1. pick stops *before* a pivot whose residual is below 1e-6 of the first pivot. If the first pivot is 0 nothing is picked.
 2. Residuals come from the plain right-looking update d_j -= l_j², and a residual that rounding made negative counts as 0.
 3. The column of ones is an ordinary column of H: it counts in mean diag(HᵀH) and λ acts on the intercept too.
 4. R = 0 where H = 0: dead columns of H get zero columns in R by themselves; only if all of H is 0 (λ = 0) R is set to 0.
 5. Picked units come in the order of the picks, the first pivot first. Fresh units follow behind them.
 6. BN of picked channels: γ, β, running mean and variance are copied; the statistics are not measured anew on the student's activations.
 7. Order within a unit: conv1, bn1, measure; conv2, bn2, measure; conv3, bn3, downsample; then the whole unit runs and gives the stream for the
    next. Every measurement is of the student as set so far, in eval mode, its input S̄(i−1) as trained; the teacher reads its own activations.
 8. The stage's channel set is picked from the *sum of the Gram matrices* of the teacher's unit outputs (after the addition and the last ReLU).
    If stage 1 opens with an identity shortcut (`all` only) the stem's Gram matrix (after ReLU and pooling) is added, and the key is `stem`.
 9. `mid` means that the stem and every stage's output have the teacher's widths. With equal depths in a stage its units read the stream without a
    ridge map and lift is the identity, stored as a matrix; with other depths (in that stage only) unit k > 0 reads through ridge and lift is ridge.
10. q(k) = round(k(d_t−1)/(d_s−1)), halves up.
11. Unit k > 0 may copy a teacher's unit 0 (a student deeper than its teacher) whose input has a larger resolution: then every s-th row and
    column of the teacher's stream (and of its activations after bn1) stand against the student's, s being that unit's stride.
12. The teacher's MLP layers are cut at round(L_t · (student layers up to here) / L_s), halves up: equal depths give the student's own grouping.
13. In a deeper MLP, layer k > 0 reads ridge with intercept, from the student's layer k−1 to what the teacher's layer q(k) reads (the block's input if q(k) = 0).
14. Sums run over all rows here; the engine's subset of 65,536 rows is larger than every golden.

`margin`: the least (best − second residual) / first pivot over all picks. Activations in f32 move residuals by about 1e-7 of it, so picks are safe
above 1e-5; the seeds are chosen so.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

import nets

STOP = 1e-6
LAMBDA = 1e-3
MEAN, STD = 0.5, 0.25


def half_up(x):
    return math.floor(x + 0.5)


def pick(gram, m):
    """Pivoted Cholesky of a Gram matrix: (indices, margin)."""
    residual = gram.diagonal().copy()
    columns, chosen, margin, first = [], [], math.inf, residual.max()
    while len(chosen) < min(m, len(residual)):
        left = np.where(np.isin(np.arange(len(residual)), chosen), -np.inf, np.maximum(residual, 0))
        best = int(left.argmax())  # argmax answers the lowest index among equals
        if left[best] <= 0 or left[best] < STOP * first:
            break
        second = np.delete(left, best).max()
        if np.isfinite(second):
            margin = min(margin, (left[best] - second) / first)
        column = gram[:, best] - sum((c * c[best] for c in columns), np.zeros(len(residual)))
        column = column / math.sqrt(left[best])
        columns.append(column)
        residual = residual - column**2
        chosen.append(best)
    return chosen, margin


def ridge(h, t, intercept=False):
    """R = TᵀH(HᵀH + λI)⁻¹ of two activation matrices with equal rows; with an intercept (R, c)."""
    if intercept:
        h = np.concatenate([h, np.ones((len(h), 1))], 1)
    gram = h.T @ h
    if not gram.any():
        r = np.zeros((t.shape[1], h.shape[1]))
    else:
        penalty = LAMBDA * gram.diagonal().mean()
        r = np.linalg.solve(gram + penalty * np.eye(len(gram)), h.T @ t).T
    return (r[:, :-1], r[:, -1]) if intercept else r


def rows(x):
    """Activations as a matrix (rows = inputs or inputs × positions, channels)."""
    return (x if x.ndim == 2 else x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])).numpy()


def gram(*activations):
    return sum(rows(x).T @ rows(x) for x in activations)


class Picker:
    """Answers which units a layer takes: by pivots, or from a given list."""

    def __init__(self, given):
        self.given, self.found, self.margin = given, {}, math.inf

    def __call__(self, key, m, *activations):
        if self.given is not None:
            chosen = self.given[key]
        else:
            chosen, margin = pick(gram(*activations), m)
            self.margin = min(self.margin, margin)
        assert len(chosen) == m, f"{key}: a golden has no fresh units, since random numbers differ"
        self.found[key] = np.array(chosen, np.uint32)
        return list(chosen)


def assign(parameter, value):
    assert parameter.shape == value.shape, (parameter.shape, value.shape)
    parameter.data.copy_(value)


def proportion(student, teacher):
    """q(k) for k in 0..student."""
    return [half_up(k * (teacher - 1) / (student - 1)) if student > 1 else 0 for k in range(student)]


def start_mlp(teacher, student, inputs, choose):
    cuts, done = [0], 0
    for size in student.blocks:
        done += size
        cuts.append(half_up(len(teacher.layers) * done / len(student.layers)))
    reads = [inputs]  # reads[k] is what the teacher's layer k reads
    for layer in teacher.layers:
        reads.append(F.relu(layer(reads[-1])))
    x, number = inputs, 0
    for i, size in enumerate(student.blocks):
        depth = cuts[i + 1] - cuts[i]
        for k, q in enumerate(proportion(size, depth)):
            at, layer = cuts[i] + q, student.block(i)[k]
            source = teacher.layers[at]
            idx = choose(f"layers.{number}", layer.out_features, reads[at + 1])
            w, b = source.weight[idx], source.bias[idx]
            if k > 0:
                r, c = (torch.tensor(v) for v in ridge(rows(x), rows(reads[at]), intercept=True))
                w, b = w @ r, b + w @ c
            assign(layer.weight, w)
            assign(layer.bias, b)
            x, number = F.relu(layer(x)), number + 1
        lift = student.lift[str(i + 1)]
        assign(lift.weight, torch.tensor(ridge(rows(x), rows(reads[cuts[i + 1]]))))
        x = lift(x)
    student.head.load_state_dict(teacher.head.state_dict())


def set_conv(conv, source, out, reading):
    """conv = source's picked output channels, its input channels through the map `reading` (None: as they are; out None: all)."""
    w = source.weight if out is None else source.weight[out]
    assign(conv.weight, w if reading is None else torch.einsum("ochw,cj->ojhw", w, torch.tensor(reading)))


def set_bn(bn, source, out):
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = getattr(source, name)
        assign(getattr(bn, name), value if out is None else value[out])


def start_resnet(teacher, student, inputs, choose):
    all_channels = student.conv1.weight.shape[0] != teacher.conv1.weight.shape[0]
    bottleneck = hasattr(teacher.stage(0)[0], "conv3")
    stem = teacher.stem(inputs)
    streams = []  # streams[i][u] is what the teacher's unit u of stage i reads; the last one is the stage's output
    for i in range(teacher.stages):
        at = [streams[-1][-1] if streams else stem]
        for unit in teacher.stage(i):
            at.append(unit(at[-1]))
        streams.append(at)

    # The stem.
    shared = all_channels and student.stage(0)[0].downsample is None
    idx0 = None
    if all_channels:
        idx0 = choose("stem", student.conv1.out_channels, stem, *(streams[0][1:] if shared else []))
    set_conv(student.conv1, teacher.conv1, idx0, None)
    set_bn(student.bn1, teacher.bn1, idx0)
    x = student.stem(inputs)

    for i in range(student.stages):
        units, sources = student.stage(i), teacher.stage(i)
        same_depth = len(units) == len(sources)
        idx = None
        if all_channels:
            width = units[0].downsample[0].out_channels if units[0].downsample else student.conv1.out_channels
            idx = idx0 if shared and i == 0 else choose(f"layer{i + 1}", width, *streams[i][1:])
        for k, q in enumerate(proportion(len(units), len(sources))):
            unit, source, reads = units[k], sources[q], streams[i][q]
            # A student's unit k > 0 has stride 1; what the teacher's strided unit reads is thinned to the student's resolution.
            step = reads.shape[2] // x.shape[2]
            thin = lambda t: t[:, :, ::step, ::step]
            if k == 0:
                reading = ridge(rows(x), rows(reads)) if i == 0 and all_channels else None
            else:
                reading = None if same_depth and not all_channels else ridge(rows(x), rows(thin(reads)))
            mids = source.mids(reads)
            # conv1
            idx1 = choose(f"layer{i + 1}.{k}.conv1", unit.conv1.out_channels, mids[0])
            set_conv(unit.conv1, source.conv1, idx1, reading)
            set_bn(unit.bn1, source.bn1, idx1)
            own = F.relu(unit.bn1(unit.conv1(x)))
            r1 = ridge(rows(own), rows(thin(mids[0]) if mids[0].shape[2] != own.shape[2] else mids[0]))
            if bottleneck:
                idx2 = choose(f"layer{i + 1}.{k}.conv2", unit.conv2.out_channels, mids[1])
                set_conv(unit.conv2, source.conv2, idx2, r1)
                set_bn(unit.bn2, source.bn2, idx2)
                own = F.relu(unit.bn2(unit.conv2(own)))
                set_conv(unit.conv3, source.conv3, idx, ridge(rows(own), rows(mids[1])))
                set_bn(unit.bn3, source.bn3, idx)
            else:
                set_conv(unit.conv2, source.conv2, idx, r1)
                set_bn(unit.bn2, source.bn2, idx)
            if unit.downsample:
                set_conv(unit.downsample[0], source.downsample[0], idx, reading)
                set_bn(unit.downsample[1], source.downsample[1], idx)
            x = unit(x)
        if same_depth and not all_channels:
            r = np.eye(x.shape[1])
        else:
            r = ridge(rows(x), rows(streams[i][-1]))
        lift = student.lift[str(i + 1)]
        assign(lift.weight, torch.tensor(r)[:, :, None, None])
        x = lift(x)
    student.fc.load_state_dict(teacher.fc.state_dict())


def narrow_mlp(layers, blocks, teacher):
    """The specification of S̄: layers [[in, out], …] of the student, first layers of blocks 2… at the teacher's width."""
    layers, lifts, at = [list(layer) for layer in layers], [], 0
    width = teacher["layers"][0][1]
    for i, size in enumerate(blocks):
        if i > 0:
            layers[at][0] = width
        at += size
        lifts.append([layers[at - 1][1], width])
    return {"kind": "mlp", "layers": layers, "blocks": blocks, "lifts": lifts, "head": teacher["head"]}


def narrow_resnet(student, teacher):
    stages, lifts = [[list(unit) for unit in stage] for stage in student["stages"]], []
    for i, stage in enumerate(stages):
        if i > 0:
            stage[0][0] = teacher["stages"][i - 1][-1][2]
        lifts.append([stage[-1][2], teacher["stages"][i][-1][2]])
    return {**student, "stages": stages, "lifts": lifts, "head": teacher["head"]}


def trained(spec, inputs, seed):
    """A teacher that a few steps on labels of a linear map have made unlike its initialisation (dead units, running statistics), f32 values."""
    torch.manual_seed(seed)
    net = nets.build(spec)
    for weight in net.parameters():
        if weight.ndim > 1:
            torch.nn.init.kaiming_normal_(weight, nonlinearity="relu")
    flat = inputs if inputs.ndim == 2 else inputs.mean((2, 3))
    labels = (flat @ torch.randn(flat.shape[1], spec["head"][1], dtype=torch.float64)).argmax(1)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3, foreach=False)
    net.train()
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(net(inputs), labels).backward()
        optimizer.step()
    for value in net.state_dict().values():
        if value.is_floating_point():
            value.copy_(value.float().double())
    return net.eval()


def state(net):
    return {k: (v.numpy() if v.dtype == torch.int64 else v.float().numpy()) for k, v in net.state_dict().items()}


@torch.no_grad()
def case(store, name, start, teacher_name, teacher, teacher_spec, student_spec, inputs, picks=None):
    student = nets.build(student_spec).eval()
    choose = Picker(picks)
    (start_mlp if student_spec["kind"] == "mlp" else start_resnet)(teacher, student, inputs, choose)
    logits = student(inputs)
    truth = teacher(inputs)
    error = ((logits - truth).norm() / truth.norm()).item()
    agree = (logits.argmax(1) == truth.argmax(1)).double().mean().item()
    # json has no infinity
    margin = None if math.isinf(choose.margin) else choose.margin
    print(f"{name}: relative error of the logits {error:.3f}, same class {agree:.2f}, margin {margin}")
    assert margin is None or margin > 1e-5, "take another seed"
    store(f"starts/{name}.start.safetensors", state(student), {"format": "pt"})
    tensors = {f"pick.{key}": value for key, value in choose.found.items()}
    tensors["logits"] = logits.float().numpy()
    meta = {"start": start, "net": student_spec, "teacher": teacher_spec, "teacher_file": f"{teacher_name}.teacher.safetensors", "margin": margin}
    store(f"starts/{name}.run.safetensors", tensors, {"case": meta})


def linalg(store):
    """pick and ridge by themselves: what a net's activations do not show is a rank that ends early, dead columns, H = 0."""
    generator = np.random.RandomState(5)
    tensors = {}

    def keep(name, t, h, m, intercept):
        t, h = (a.astype(np.float32).astype(np.float64) for a in (t, h))
        chosen, margin = pick(t.T @ t, m)
        assert margin > 1e-5, (name, margin)
        r = ridge(h, t, intercept)
        tensors.update({f"{name}.T": t.astype(np.float32), f"{name}.H": h.astype(np.float32), f"{name}.pick": np.array(chosen, np.uint32)})
        tensors.update({f"{name}.R": r[0], f"{name}.c": r[1]} if intercept else {f"{name}.R": r})
        return chosen

    t = np.maximum(generator.randn(83, 13) @ generator.randn(13, 13), 0)
    keep("plain", t, t[:, [2, 5, 7]] + 0.1 * generator.randn(83, 3), 7, False)
    keep("intercept", t, t[:, [1, 4]], 13, True)
    # Rank 4 of 9 columns and ten picks wanted: pick stops after four. Small integers, so that f32 and every order of sums are exact.
    low = generator.randint(-3, 4, (57, 4)) @ generator.randint(-2, 3, (4, 9))
    chosen = keep("rank", low.astype(float), np.zeros((57, 3)), 10, False)
    assert len(chosen) == np.linalg.matrix_rank(low) == 4
    dead = t.copy()
    dead[:, [0, 3]] = 0
    keep("dead", dead, dead[:, :5], 11, True)
    store("starts/linalg.safetensors", tensors, {})


def main(store):
    linalg(store)
    torch.manual_seed(31)
    vectors = (torch.randn(200, 30) @ torch.randn(30, 30) * 30**-0.5).double()
    images = F.interpolate(torch.randn(100, 3, 4, 4), scale_factor=2, mode="bilinear") + 0.3 * torch.randn(100, 3, 8, 8)
    pixels = (60 * images + 128).round().clamp(0, 255).to(torch.uint8)
    images = ((pixels.double() / 255 - MEAN) / STD).float().double()
    nhwc = lambda tensor: tensor.permute(0, 2, 3, 1)
    arrays = {"vectors": vectors.float().numpy(), "images": nhwc(images).float().numpy(), "pixels": nhwc(pixels).numpy()}
    store("starts/images.safetensors", arrays, {})

    # MLP 30 → [6, 6, 6, 6] in 2 blocks, teacher × 3; and a teacher of 7 layers.
    layers = [[30, 6], [6, 6], [6, 6], [6, 6]]
    for name, depth in (("mlp", 4), ("mlp-depth", 7)):
        spec = {"kind": "mlp", "layers": [[30, 18]] + [[18, 18]] * (depth - 1), "blocks": [depth], "lifts": [], "head": [18, 10]}
        teacher = trained(spec, vectors, 41)
        store(f"starts/{name}.teacher.safetensors", state(teacher), {"format": "pt"})
        student = narrow_mlp(layers, [2, 2], spec)
        case(store, f"{name}-greedy", "greedy", name, teacher, spec, student, vectors)
        if depth == 4:
            picks = {f"layers.{k}": torch.randperm(18)[:6].tolist() for k in range(4)}
            case(store, f"{name}-sample", "sample", name, teacher, spec, student, vectors, picks)

    # ResNets of two stages, base width 3 (of three stages, base width 2, for the other depths); teachers × 2.
    mids, outs = [3, 6], [12, 24]
    deep, wide = [2, 4, 8], [8, 16, 32]
    double = lambda widths: [2 * w for w in widths]
    plans = {
        # name: (kind, student (units, stem, mids, outs), teacher, seed)
        "resnet-mid": ("bottleneck", ([1, 2], 3, mids, outs), ([1, 2], 3, double(mids), outs), 51),
        "resnet-depth": ("bottleneck", ([1, 3, 2], 2, deep, wide), ([3, 2, 1], 2, double(deep), wide), 52),
        "resnet-all": ("bottleneck", ([2, 1], 3, mids, outs), ([2, 1], 6, double(mids), double(outs)), 53),
        # Equal widths of stem and stage 1: an identity shortcut, so both share one channel set.
        "basic-all": ("basic", ([2, 1], 3, mids, mids), ([2, 1], 6, double(mids), double(mids)), 54),
        "basic-mid": ("basic", ([1, 2], 3, mids, mids), ([1, 2], 3, double(mids), mids), 55),
    }
    for name, (kind, small, large, seed) in plans.items():
        teacher_spec = nets.resnet_spec(kind, *large, 10)
        teacher = trained(teacher_spec, images, seed)
        store(f"starts/{name}.teacher.safetensors", state(teacher), {"format": "pt"})
        student = narrow_resnet(nets.resnet_spec(kind, *small, 10), teacher_spec)
        case(store, f"{name}-greedy", "greedy", name, teacher, teacher_spec, student, images)
        if name == "resnet-all":
            picks, randoms = {"stem": (6, 3)}, torch.Generator().manual_seed(61)
            for i, units in enumerate(student["stages"]):
                picks[f"layer{i + 1}"] = (double(outs)[i], outs[i])
                for u in range(len(units)):
                    picks |= {f"layer{i + 1}.{u}.conv{c}": (double(mids)[i], mids[i]) for c in (1, 2)}
            drawn = {key: torch.randperm(high, generator=randoms)[:m].tolist() for key, (high, m) in picks.items()}
            case(store, f"{name}-sample", "sample", name, teacher, teacher_spec, student, images, drawn)
