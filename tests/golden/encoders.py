"""How block i of an encoder of transformers starts (greedy), straightforwardly in f64: the golden that the engine's start is tested against.

encoders/inputs.safetensors: `tokens`, `segments` (inputs, length), `lengths` (inputs), `places` (inputs, places), all u32: the start inputs.
encoders/CASE.teacher.safetensors: a teacher's parameters by transformers' names; `bert.embeddings_project` is P, and the decoder's table is that of the
    words and stands there once.
encoders/CASE.start.safetensors: S̄ after the starts 1..n and that of the head, without any training between them; `lift.I.weight` included.
encoders/CASE.run.safetensors: `pick.KEY` (u32), `scores` of S̄ at the places, and in the metadata under `case` the sizes of student and teacher, `apart`,
    the mean squared error of what S̄ puts out after each block over the variance of what the teacher puts out there, and `margin`, as in starts.py.

KEY of a pick: stream, bert.encoder.layer.K.attention.self (heads) and bert.encoder.layer.K.intermediate (inner units), K the student's.

Decisions, where the method leaves freedom (the engine follows them), beside those of starts.py:
 1. Rows are the positions of all inputs that are no padding. (The engine takes at most four for each column of the widest Gram matrix of a block;
    the goldens have no more.)
 2. A teacher whose tables are narrower than itself has P = [I; P2] and a bias that begins with zeros: S is 0..h, the tables and their norm are copied, and
    in block 1 queries, keys and values read s0 by P itself: W P and b + W p. A teacher as wide as its tables: S is picked from the sum of the Gram
    matrices of what its embeddings and all its layers put out, the tables are columns S, their norm is fitted as any other, and in block 1 queries,
    keys and values read s0 through ridge with intercept.
 3. Heads: the covariance is of the contexts' rows. In the Schur complement given a head, its columns are eliminated one after the other, that of the
    largest variance left first, as long as it is above 1e-6 of the largest variance of all columns. A head is not taken if its gain is below 1e-6 of the
    first one's; ties go to the lower index.
 4. Order within a layer: queries, keys, values; measure contexts; O and its bias; measure x̂; the first norm; measure y; the inner layer; measure z;
    W2 and its bias; measure x̂; the second norm.
 5. x̂ is what a norm puts out with γ = 1 and β = 0. Its slope is 1 where x̂ is constant (variance below 1e-12).
 6. Two teacher layers for one of the student's, by default the first and the last of its run: the block's layers are cut at round(k · large / small),
    halves up.
 7. The head of a teacher whose transform is as wide as the student's is copied. Else it takes rows S of the dense map, and its norm is fitted to
    Rᵀ t, where t is what the teacher's norm puts out and R the ridge map without intercept from the columns S of the words' table to all of them: the
    decoder then gives E_S Rᵀ t, which is nearest to E t. It is fitted on all positions that are no padding.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from starts import STOP, pick, ridge

EPS = 1e-12
VOCABULARY, LENGTH, POSITIONS, SEGMENTS, INPUTS, PLACES = 23, 7, 9, 2, 24, 2
BODY, HEAD, TABLES = "bert.encoder.layer.", "cls.predictions.", ("word", "position", "token_type")


def norm(w, name, x):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
    return w[name + ".weight"] * (x - mean) / torch.sqrt(variance + EPS) + w[name + ".bias"]


def linear(w, name, x):
    return F.linear(x, w[name + ".weight"], w[name + ".bias"])


def embeddings(w, tokens, segments):
    word, position, kind = (w[f"bert.embeddings.{table}_embeddings.weight"] for table in TABLES)
    x = norm(w, "bert.embeddings.LayerNorm", word[tokens] + position[: tokens.shape[1]] + kind[segments])
    return linear(w, "bert.embeddings_project", x) if "bert.embeddings_project.weight" in w else x


def contexts(w, name, read, size, there):
    """Of all heads, one beside the other."""
    q, k, v = (linear(w, f"{name}.attention.self.{part}", read).unflatten(-1, (-1, size)).transpose(1, 2) for part in ("query", "key", "value"))
    scores = (q @ k.transpose(-1, -2) / math.sqrt(size)).masked_fill(~there[:, None, None, :], -math.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def layer(w, k, skip, read, size, there):
    """All that a layer computes, by the method's names."""
    name = f"{BODY}{k}"
    c = contexts(w, name, read, size, there)
    pre1 = skip + linear(w, name + ".attention.output.dense", c)
    y = norm(w, name + ".attention.output.LayerNorm", pre1)
    z = F.gelu(linear(w, name + ".intermediate.dense", y))
    pre2 = y + linear(w, name + ".output.dense", z)
    return {"X": skip, "C": c, "pre1": pre1, "Y": y, "Z": z, "pre2": pre2, "out": norm(w, name + ".output.LayerNorm", pre2)}


def transform(w, x):
    return norm(w, HEAD + "transform.LayerNorm", F.gelu(linear(w, HEAD + "transform.dense", x)))


def scores(w, x):
    return F.linear(transform(w, x), w["bert.embeddings.word_embeddings.weight"], w[HEAD + "bias"])


def teach(w, sizes, tokens, segments, there):
    """What each of the teacher's layers computes."""
    x, found = embeddings(w, tokens, segments), []
    for k in range(sizes["layers"]):
        found.append(layer(w, k, x, x, sizes["head"], there))
        x = found[-1]["out"]
    return found


def corpus(count, generator):
    """Sequences of a Markov chain, ragged, in two segments."""
    chain = (3 * torch.randn(VOCABULARY, VOCABULARY, generator=generator)).softmax(-1)
    tokens = torch.randint(VOCABULARY, (count, LENGTH), generator=generator)
    for t in range(1, LENGTH):
        tokens[:, t] = torch.multinomial(chain[tokens[:, t - 1]], 1, generator=generator)[:, 0]
    lengths = torch.randint(3, LENGTH + 1, (count,), generator=generator)
    there = torch.arange(LENGTH) < lengths[:, None]
    cut = torch.randint(1, 4, (count, 1), generator=generator)
    segments = (torch.arange(LENGTH) >= cut).long()
    return torch.where(there, tokens, 0), segments, lengths, there


def trained(sizes, seed):
    """A teacher after some steps on hidden words of a Markov chain, f32 values."""
    generator = torch.Generator().manual_seed(seed)
    h, heads, inner, e = sizes["hidden"], sizes["heads"] * sizes["head"], sizes["inner"], sizes["tables"]
    normal = lambda *shape: 0.3 * torch.randn(*shape, generator=generator, dtype=torch.float64)
    w = {}

    def add(name, out, fan):
        w[name + ".weight"], w[name + ".bias"] = normal(out, fan), 0.3 * normal(out)

    def add_norm(name, width):
        w[name + ".weight"], w[name + ".bias"] = 1 + 0.3 * normal(width), 0.3 * normal(width)

    for table, rows in zip(TABLES, (VOCABULARY, POSITIONS, SEGMENTS)):
        w[f"bert.embeddings.{table}_embeddings.weight"] = normal(rows, e)
    add_norm("bert.embeddings.LayerNorm", e)
    if e < h:
        add("bert.embeddings_project", h, e)
    for k in range(sizes["layers"]):
        name = f"{BODY}{k}"
        for part in ("query", "key", "value"):
            add(f"{name}.attention.self.{part}", heads, h)
        add(name + ".attention.output.dense", h, heads)
        add_norm(name + ".attention.output.LayerNorm", h)
        add(name + ".intermediate.dense", inner, h)
        add(name + ".output.dense", h, inner)
        add_norm(name + ".output.LayerNorm", h)
    add(HEAD + "transform.dense", e, h)
    add_norm(HEAD + "transform.LayerNorm", e)
    w[HEAD + "bias"] = torch.zeros(VOCABULARY, dtype=torch.float64)

    def hold():
        if e < h:
            w["bert.embeddings_project.weight"].data[:e] = torch.eye(e)
            w["bert.embeddings_project.bias"].data[:e] = 0

    hold()
    for tensor in w.values():
        tensor.requires_grad_()
    optimizer = torch.optim.Adam(w.values(), lr=4e-3, foreach=False)
    tokens, segments, _, there = corpus(512, generator)
    for _ in range(120):
        optimizer.zero_grad()
        hidden = there & (torch.rand(tokens.shape, generator=generator) < 0.25)
        out = teach(w, sizes, torch.where(hidden, VOCABULARY - 1, tokens), segments, there)[-1]["out"]
        loss = F.cross_entropy(scores(w, out)[hidden], tokens[hidden])
        loss.backward()
        optimizer.step()
        hold()
    print(f"a teacher of {sizes}: loss {loss.item():.3f} of {math.log(VOCABULARY):.3f}")
    return {name: tensor.detach().float().double() for name, tensor in w.items()}


class Picks:
    """Which units are taken, and how near a choice was."""

    def __init__(self):
        self.found, self.margin = {}, math.inf

    def units(self, key, m, gram):
        chosen, margin = pick(gram, m)
        return self.keep(key, m, chosen, margin)

    def heads(self, key, m, c, o, size):
        """Groups of columns of c by what each adds to the sum of o's columns times it."""
        c = c - c.mean(0)
        left, count = c.T @ c, c.shape[1] // size
        least = STOP * left.diagonal().max()
        chosen, margin, first = [], math.inf, None
        while len(chosen) < min(m, count):
            at = [slice(k * size, (k + 1) * size) for k in range(count)]
            gains = np.array([-math.inf if k in chosen else np.trace(o[:, s] @ left[s, s] @ o[:, s].T) for k, s in enumerate(at)])
            best = int(gains.argmax())
            first = gains[best] if first is None else first
            if gains[best] <= 0 or gains[best] < STOP * first:
                break
            others = np.delete(gains, best).max()
            if np.isfinite(others):
                margin = min(margin, (gains[best] - others) / first)
            chosen.append(best)
            columns = list(range(best * size, (best + 1) * size))
            while columns:
                column = max(columns, key=lambda j: left[j, j])
                columns.remove(column)
                if left[column, column] <= least:
                    break
                left = left - np.outer(left[column], left[column]) / left[column, column]
        return self.keep(key, m, chosen, margin)

    def keep(self, key, m, chosen, margin):
        assert len(chosen) == m, f"{key}: a golden has no fresh units, since random numbers differ"
        self.margin = min(self.margin, margin)
        self.found[key] = np.array(chosen, np.uint32)
        return list(chosen)


def start(t, teacher, student, inputs):
    """S̄'s weights, its lifted states after each block and what was picked."""
    tokens, segments, lengths, there = inputs
    rows = lambda x: x[there].numpy()
    gram = lambda *all: sum(rows(x).T @ rows(x) for x in all)
    tensor = torch.tensor
    found = teach(t, teacher, tokens, segments, there)
    picks, w = Picks(), {}
    h, size = student["hidden"], student["head"]

    def fit(name, normal, target):
        x, y = rows(normal), rows(target)
        xs, ys = x - x.mean(0), y - y.mean(0)
        variance = (xs**2).mean(0)
        slope = np.where(variance > 1e-12, (xs * ys).mean(0) / np.where(variance > 1e-12, variance, 1), 1)
        w[name + ".weight"], w[name + ".bias"] = tensor(slope), tensor(y.mean(0) - slope * x.mean(0))

    def plain(name, width):
        w[name + ".weight"], w[name + ".bias"] = torch.ones(width).double(), torch.zeros(width).double()

    def affine(name, x, y):
        r, c = ridge(rows(x), rows(y), intercept=True)
        w[name + ".weight"], w[name + ".bias"] = tensor(r), tensor(c)

    # The embeddings, and what stands for the teacher's behind them.
    projected = teacher["tables"] < teacher["hidden"]
    stream = list(range(h)) if projected else picks.units("stream", h, gram(found[0]["X"], *(of["out"] for of in found)))
    for table in TABLES:
        w[f"bert.embeddings.{table}_embeddings.weight"] = t[f"bert.embeddings.{table}_embeddings.weight"][:, stream]
    if projected:
        for part in ("weight", "bias"):
            w[f"bert.embeddings.LayerNorm.{part}"] = t[f"bert.embeddings.LayerNorm.{part}"]
        s = embeddings(w, tokens, segments)
        assert torch.equal(s, found[0]["X"][..., :h])
        reading = t["bert.embeddings_project.weight"], t["bert.embeddings_project.bias"]
    else:
        plain("bert.embeddings.LayerNorm", h)
        fit("bert.embeddings.LayerNorm", embeddings(w, tokens, segments), found[0]["X"][..., stream])
        s = embeddings(w, tokens, segments)
        reading = tuple(tensor(v) for v in ridge(rows(s), rows(found[0]["X"]), intercept=True))

    u, states = s, []
    cut = lambda k: math.floor(k * teacher["layers"] / student["layers"] + 0.5)
    for k in range(student["layers"]):
        first, last = cut(k), cut(k + 1) - 1
        name, a, b = f"{BODY}{k}", f"{BODY}{first}", f"{BODY}{last}"
        run = lambda: layer(w, k, s, u, size, there)
        # Heads.
        o = t[a + ".attention.output.dense.weight"].numpy()
        heads = picks.heads(name + ".attention.self", student["heads"], rows(found[first]["C"]), o, size)
        units = [head * size + unit for head in heads for unit in range(size)]
        for part in ("query", "key", "value"):
            m, v = (t[f"{a}.attention.self.{part}.{kind}"][units] for kind in ("weight", "bias"))
            if k == 0:
                m, v = m @ reading[0], v + m @ reading[1]
            w[f"{name}.attention.self.{part}.weight"], w[f"{name}.attention.self.{part}.bias"] = m, v
        c = contexts(w, name, u, size, there)
        affine(name + ".attention.output.dense", c, found[last]["pre1"][..., stream] - s)
        attended = s + linear(w, name + ".attention.output.dense", c)
        # The first norm.
        plain(name + ".attention.output.LayerNorm", h)
        fit(name + ".attention.output.LayerNorm", norm(w, name + ".attention.output.LayerNorm", attended), found[last]["Y"][..., stream])
        y = norm(w, name + ".attention.output.LayerNorm", attended)
        # The inner layer.
        r, shift = (tensor(v) for v in ridge(rows(y), rows(found[last]["Y"]), intercept=True))
        units = picks.units(name + ".intermediate", student["inner"], gram(found[last]["Z"]))
        m, v = (t[f"{b}.intermediate.dense.{kind}"][units] for kind in ("weight", "bias"))
        w[name + ".intermediate.dense.weight"], w[name + ".intermediate.dense.bias"] = m @ r, v + m @ shift
        z = F.gelu(linear(w, name + ".intermediate.dense", y))
        affine(name + ".output.dense", z, found[last]["pre2"][..., stream] - y)
        # The second norm.
        plain(name + ".output.LayerNorm", h)
        fit(name + ".output.LayerNorm", run()["out"], found[last]["out"][..., stream])
        s = run()["out"]
        w[f"lift.{k + 1}.weight"] = tensor(ridge(rows(s), rows(found[last]["out"])))
        u = s @ w[f"lift.{k + 1}.weight"].T
        states.append((rows(u), rows(found[last]["out"])))

    # The head.
    kept = stream if teacher["tables"] != h else slice(None)
    for part in ("transform.dense.weight", "transform.dense.bias", "transform.LayerNorm.weight", "transform.LayerNorm.bias"):
        w[HEAD + part] = t[HEAD + part][kept]
    w[HEAD + "bias"] = t[HEAD + "bias"]
    if teacher["tables"] != h:
        table = t["bert.embeddings.word_embeddings.weight"].numpy()
        r = tensor(ridge(table[:, stream], table))
        plain(HEAD + "transform.LayerNorm", h)
        fit(HEAD + "transform.LayerNorm", transform(w, u), transform(t, found[-1]["out"]) @ r)
    return w, u, states, picks, found


@torch.no_grad()
def case(store, name, t, teacher, student, inputs, places):
    w, u, states, picks, found = start(t, teacher, student, inputs)
    at = lambda x: x.gather(1, places[..., None].expand(-1, -1, x.shape[-1]))
    own, truth = at(scores(w, u)), at(scores(t, found[-1]["out"]))
    apart = [float(((a - b) ** 2).mean() / b.var()) for a, b in states]
    error = ((own - truth).norm() / truth.norm()).item()
    print(f"{name}: states apart {np.round(apart, 3)}, scores {error:.3f}, margin {picks.margin:.1e}")
    assert picks.margin > 1e-5, "take another seed"
    store(f"encoders/{name}.start.safetensors", {key: value.float().numpy() for key, value in w.items()}, {"format": "pt"})
    tensors = {f"pick.{key}": value for key, value in picks.found.items()} | {"scores": own.float().numpy()}
    meta = {"teacher": teacher, "student": student, "apart": apart, "margin": picks.margin}
    store(f"encoders/{name}.run.safetensors", tensors, {"case": meta})


def main(store):
    generator = torch.Generator().manual_seed(91)
    inputs = corpus(INPUTS, generator)
    tokens, segments, lengths, there = inputs
    places = (torch.rand(INPUTS, PLACES, generator=generator) * lengths[:, None]).long()
    assert there.sum() <= 4 * 40, int(there.sum())
    arrays = {"tokens": tokens, "segments": segments, "lengths": lengths, "places": places}
    store("encoders/inputs.safetensors", {key: value.numpy().astype(np.uint32) for key, value in arrays.items()}, {})
    small = {"hidden": 8, "layers": 3, "heads": 2, "head": 4, "inner": 16}
    cases = {
        # Ours, of twice the width; one from elsewhere, one and a half times as wide; and one of twice the depth.
        "ours": ({"hidden": 16, "tables": 8, "layers": 3, "heads": 4, "head": 4, "inner": 40}, small, 92),
        "foreign": ({"hidden": 12, "tables": 12, "layers": 3, "heads": 3, "head": 4, "inner": 40}, small, 93),
        "deep": ({"hidden": 12, "tables": 12, "layers": 4, "heads": 5, "head": 4, "inner": 40}, {**small, "layers": 2}, 94),
    }
    for name, (teacher, student, seed) in cases.items():
        t = trained(teacher, seed)
        store(f"encoders/{name}.teacher.safetensors", {key: value.float().numpy() for key, value in t.items()}, {"format": "pt"})
        case(store, name, t, teacher, student, inputs, places)
