"""Ten losses of transformers' BertForPreTraining and BertForQuestionAnswering with AdamW, of a BertForMaskedLM with our dropout, and of what a
teacher drives: knowledge distillation, tuning on its outputs, and narrow. mobile.py has the same of MobileBERT, by the functions here.

train/CASE.init.safetensors, train/CASE.final.safetensors: the parameters before and after, by transformers' names, the pairs as `lift.K`; of what
    the stage trains alone. train/CASE.teacher.safetensors: the teacher's.
train/CASE.run.safetensors: `tokens`, `segments` (10, batch, length; u32), `lengths` (10, batch), `losses` (10), and what the task asks for: `places`,
    `labels` (10, batch, places), `next` (10, batch); or `starts`, `ends` (10, batch). 4294967295 is no label. In the metadata under `case` the sizes
    of student and `teacher`, the optimiser, `dropout`, `attention_dropout` and `seed` where there is dropout, what a teacher does: `alpha` and
    `temperature`, or the number of `blocks` that imitate it; and what PyTorch itself is off by in f32, as in masked.py.

Spans: the softmax is over the tokens of a sample, not over its padding, and the loss is the mean of both cross entropies over the samples that count.
Without padding that is the loss of BertForQuestionAnswering.

Needs the package transformers; `python3 tests/golden/make.py heads`.
"""

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F

import make
from masked import DECAY, LR, NONE, PLACES, SIZES, STEPS

WIDE = {**SIZES, "hidden": 24, "heads": 3, "inner": 40}
ALPHA, TEMPERATURE = 0.4, 3.0
SEED, DROPOUT, ATTENTION_DROPOUT = 77, 0.2, 0.3


def model(kind, sizes, dropout=0.0, attention_dropout=0.0):
    import transformers

    family, config = ("Bert", transformers.BertConfig)
    more = {"layer_norm_eps": sizes.get("eps", 1e-12)}
    if "bottleneck" in sizes:
        family, config = ("MobileBert", transformers.MobileBertConfig)
        more |= dict(embedding_size=sizes["bottleneck"], intra_bottleneck_size=sizes["hidden"], hidden_act="gelu", trigram_input=False)
        more |= dict(use_bottleneck_attention=True, key_query_shared_bottleneck=False, num_feedforward_networks=1, normalization_type="layer_norm")
    config = config(
        vocab_size=sizes["vocabulary"],
        hidden_size=sizes.get("bottleneck", sizes["hidden"]),
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["inner"],
        max_position_embeddings=sizes["positions"],
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=attention_dropout,
        attn_implementation="eager",
        # transformers sets the row of the padding to zeros and leaves it there; a table of its own trains all of its rows.
        pad_token_id=None,
        **more,
    )
    head = {"words": "MaskedLM", "pretrain": "PreTraining", "spans": "QuestionAnswering"}[kind]
    return getattr(transformers, f"{family}For{head}")(config).float().train()


def drawn(net):
    """Weights away from 0, 1 and equal: a gradient that is wrong or in a wrong place shows."""
    for weight in net.parameters():
        torch.nn.init.normal_(weight, 0.0, weight.shape[-1] ** -0.5 if weight.ndim == 2 else 0.3)
    for module in net.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
    return net


def bridged(net, wide):
    """Pairs behind all blocks; what is linear behind one reads what it gives."""
    thin, linear = net.config.hidden_size, lambda out, width, bias=True: torch.nn.Linear(width, out, bias)
    layers = net.bert.encoder.layer
    net.lift = torch.nn.ModuleDict({str(k + 1): linear(wide, thin, bias=False) for k in range(len(layers))})
    for layer in layers[1:]:
        for part in ("query", "key", "value"):
            setattr(layer.attention.self, part, linear(thin, wide))
    net.bert.pooler.dense = linear(thin, wide)
    net.cls.predictions.transform.dense = linear(thin, wide)
    return net


def present(x):
    return torch.arange(x["tokens"].shape[1]) < x["lengths"][:, None]


def model_of(net):
    """The network without its heads."""
    return getattr(net, net.base_model_prefix)


def encoded(net, x, blocks=None):
    """What linear maps read behind so many blocks."""
    there = present(x)[:, None, None]
    s = u = model_of(net).embeddings(input_ids=x["tokens"], token_type_ids=x["segments"])
    for k, layer in enumerate(model_of(net).encoder.layer[:blocks]):
        if hasattr(layer, "bottleneck"):
            s = u = layer(s, torch.zeros_like(there, dtype=s.dtype).masked_fill(~there, -torch.inf))
            continue
        at = layer.attention.self
        q, k_, v = (part(u).unflatten(-1, (net.config.num_attention_heads, -1)).transpose(1, 2) for part in (at.query, at.key, at.value))
        p = (q @ k_.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(~there, -torch.inf).softmax(-1)
        y = layer.attention.output((p @ v).transpose(1, 2).flatten(2), s)
        s = layer.output(layer.intermediate(y), y)
        u = net.lift[str(k + 1)](s) if hasattr(net, "lift") else s
    return u


def of_places(x, scores):
    return scores.gather(1, x["places"][..., None].expand(-1, -1, scores.shape[-1]))


def outputs(net, kind, x):
    """Of each part its rows of logits and their labels, −100 where nothing is asked."""
    u = encoded(net, x)
    known = lambda labels: torch.where(labels == NONE, -100, labels)
    if kind == "spans":
        logits = net.qa_outputs(u).masked_fill(~present(x)[..., None], -torch.inf)
        return [(logits[..., 0], known(x["starts"])), (logits[..., 1], known(x["ends"]))]
    parts = [(of_places(x, net.cls.predictions(u)).flatten(0, 1), known(x["labels"]).flatten())]
    if kind == "pretrain":
        parts.append((net.cls.seq_relationship(model_of(net).pooler(u)), x["next"]))
    return parts


def both(kind, losses):
    """The loss of all parts."""
    return sum(losses) / (2 if kind == "spans" else 1)


def labelled(net, kind, x):
    """The loss of transformers itself, but for spans among padding."""
    there = present(x).long()
    inputs = {"input_ids": x["tokens"], "token_type_ids": x["segments"], "attention_mask": there}
    if kind == "spans":
        loss = both(kind, [F.cross_entropy(*part) for part in outputs(net, kind, x)])
        if there.all():
            known = lambda labels: torch.where(labels == NONE, there.shape[1], labels)
            theirs = net(**inputs, start_positions=known(x["starts"]), end_positions=known(x["ends"])).loss
            assert abs(theirs.item() - loss.item()) < 1e-6, (theirs, loss)
        return loss
    labels = torch.full_like(x["tokens"], -100).scatter(1, x["places"], torch.where(x["labels"] == NONE, -100, x["labels"]))
    of_next = {"next_sentence_label": x["next"]} if kind == "pretrain" else {}
    loss = net(**inputs, labels=labels, **of_next).loss
    if not torch.is_grad_enabled() or net.config.hidden_dropout_prob == 0:
        ours = both(kind, [F.cross_entropy(*part) for part in outputs(net, kind, x)])
        assert abs(ours.item() - loss.item()) < 1e-5, (ours, loss)
    return loss


def distilled(net, teacher, kind, x, alpha, temperature):
    hard, soft = [], []
    with torch.no_grad():
        wanted = outputs(teacher, kind, x)
    for (s, labels), (t, _) in zip(outputs(net, kind, x), wanted):
        hard.append(F.cross_entropy(s, labels))
        # Where nothing is asked, nothing is compared; a token that is not there has the probability 0 in both.
        there = s > -torch.inf
        q, p = ((y / temperature).log_softmax(-1) for y in (s, t))
        rows = torch.where(there, p.exp() * (torch.where(there, p, 0.0) - torch.where(there, q, 0.0)), 0.0).sum(-1)
        soft.append(rows[labels != -100].mean())
    return (1 - alpha) * both(kind, hard) + alpha * temperature**2 * both(kind, soft)


def imitated(net, teacher, x, blocks):
    with torch.no_grad():
        wanted = encoded(teacher, x, blocks)
    return F.mse_loss(encoded(net, x, blocks)[present(x)], wanted[present(x)])


def stream(name):
    """As `Builder::dropout` has it: FNV-1a, then a key by SplitMix64."""
    bits, step = 2**64 - 1, 0x9E3779B97F4A7C15

    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & bits
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & bits
        return x ^ (x >> 31)

    fnv = 0xCBF29CE484222325
    for byte in name.encode():
        fnv = (fnv ^ byte) * 0x100000001B3 & bits
    return mix((step + step & bits) ^ mix(fnv + step & bits)) & 0xFFFFFFFF


class Drops:
    """Stands in for torch.nn.functional.dropout: our masks, in the order in which a BERT asks for them."""

    def __init__(self, layers, parts):
        layer = lambda k: [f"bert.encoder.layer.{k}.{part}.dropout" for part in parts]
        self.names = ["bert.embeddings.dropout"] + [name for k in range(layers) for name in layer(k)]
        self.step, self.next = 0, 0

    def __call__(self, x, p=0.5, training=True, inplace=False):
        name = self.names[self.next]
        self.next += 1
        assert (x.ndim == 4) == name.endswith("self.dropout") and p > 0, name
        if x.ndim == 4:
            rows = np.arange(math.prod(x.shape[:3]), dtype=np.uint32).reshape(*x.shape[:3], 1)
            key = make.random_u32(SEED, stream(name), self.step)
            mask = make.kept(make.random_u32(key, rows, np.arange(x.shape[3], dtype=np.uint32)), p, 2**32)
        else:
            index = np.arange(x.numel(), dtype=np.uint32).reshape(x.shape)
            key = make.random_u32(SEED, 0, self.step)
            mask = make.kept(make.random_u32(key, stream(name), index) >> np.uint32(8), p, 2**24)
        return x * mask.to(x.dtype)


def run(net, batches, loss_of, dropped):
    """Losses before each step."""
    skips = lambda name: name.endswith("bias") or "LayerNorm" in name
    of = lambda which: [p for name, p in net.named_parameters() if skips(name) == which]
    groups = [{"params": of(False), "weight_decay": DECAY}, {"params": of(True), "weight_decay": 0.0}]
    adam, losses = torch.optim.AdamW(groups, lr=LR, foreach=False), []
    mobile = net.base_model_prefix == "mobilebert"
    parts = ("attention.self", "output.bottleneck") if mobile else ("attention.self", "attention.output", "output")
    plain, drops = F.dropout, Drops(net.config.num_hidden_layers, parts)
    for step, x in enumerate(batches):
        adam.zero_grad()
        drops.step, drops.next = step, 0
        F.dropout = drops if dropped else plain
        loss = loss_of(net, x)
        F.dropout = plain
        loss.backward()
        adam.step()
        losses.append(loss.item())
    return np.array(losses)


def batch(kind, k):
    size, length = SIZES["batch"], SIZES["length"]
    tokens = torch.randint(SIZES["vocabulary"], (size, length))
    lengths = torch.randint(2, length + 1, (size,)) if k else torch.full((size,), length)
    lengths[0] = length
    segments = (torch.arange(length) >= lengths[:, None] // 2).long()
    x = {"tokens": tokens, "segments": segments, "lengths": lengths}
    if kind == "spans":
        starts = (torch.rand(size) * lengths).long()
        ends = starts + (torch.rand(size) * (lengths - starts)).long()
        # Where the answer lies outside of the window.
        outside = torch.arange(size) == k % size
        return {**x, "starts": torch.where(outside, NONE, starts), "ends": torch.where(outside, NONE, ends)}
    places = torch.stack([torch.randperm(int(n) if n > PLACES else length)[:PLACES] for n in lengths])
    labels = (tokens.gather(1, places) * 5 + 3) % SIZES["vocabulary"]
    labels = torch.where((torch.rand(size, PLACES) < 0.3) | (places >= lengths[:, None]), NONE, labels)
    labels[0, 0] = 4
    x |= {"places": places, "labels": labels}
    return {**x, "next": torch.randint(2, (size,))} if kind == "pretrain" else x


def case(store, name, kind, net, loss_of, teacher=None, sizes=SIZES, wide=WIDE, **about):
    # MobileBERT has a map behind its tables, which nothing reads where they are as wide as the state.
    names = [n for n, p in net.named_parameters() if p.numel() and "embedding_transformation" not in n]
    ours = lambda n: n.removeprefix("mobile")
    if "blocks" in about:
        # Only what the prefix has.
        at = net.base_model_prefix
        later = [f"{at}.encoder.layer.{k}." for k in range(about["blocks"], SIZES["layers"])] + ["cls.", f"{at}.pooler."]
        later += [f"lift.{k + 1}." for k in range(about["blocks"], SIZES["layers"])]
        names = [n for n in names if not n.startswith(tuple(later))]
    for n, p in net.named_parameters():
        p.requires_grad_(n in names)
    state = lambda net: {ours(n): p.detach().float().numpy().copy() for n, p in net.named_parameters() if n in names}
    exact, dropped = copy.deepcopy(net).double(), "seed" in about
    store(f"train/{name}.init.safetensors", state(net), {"format": "pt"})
    if teacher is not None:
        whole = {n: p.detach().float().numpy().copy() for n, p in teacher.named_parameters()}
        store(f"train/{name}.teacher.safetensors", whole, {"format": "pt"})
        about["teacher"] = wide
    batches = [batch(kind, k) for k in range(STEPS)]
    single = run(net, batches, lambda n, x: loss_of(n, teacher, x), dropped)
    teacher = copy.deepcopy(teacher).double() if teacher is not None else None
    losses = run(exact, batches, lambda n, x: loss_of(n, teacher, x), dropped)
    store(f"train/{name}.final.safetensors", state(exact), {"format": "pt"})
    error, weight_error = float(np.abs(single / losses - 1).max()), 0.0
    for (n, a), b in zip(net.named_parameters(), exact.parameters()):
        # Softmax does not feel what is the same for all keys, or for all tokens: its gradient is rounding, which Adam makes steps of.
        last = f"layer.{SIZES['layers'] - 1}.output.LayerNorm.bias" if kind == "spans" else "key.bias"
        if a.numel() and not n.endswith(("key.bias", "qa_outputs.bias", last)):
            weight_error = max(weight_error, (a.double() - b).abs().max().item())
    print(f"{name}: {losses.round(3)}, f32 off by {error:.1e}, weights by {weight_error:.1e}")
    tensors = {key: torch.stack([x[key] for x in batches]).numpy().astype(np.uint32) for key in batches[0]}
    adam = {"op": "adamw", "lr": LR, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": DECAY}
    errors = {"f32_error": error, "f32_weight_error": weight_error}
    about = {**sizes, "kind": kind, "optimizer": adam, **errors, **about}
    store(f"train/{name}.run.safetensors", {**tensors, "losses": losses.astype(np.float32)}, {"case": about})


def main(store):
    torch.manual_seed(47)
    by_labels = lambda kind: lambda net, _, x: labelled(net, kind, x)
    drops = {"dropout": DROPOUT, "attention_dropout": ATTENTION_DROPOUT}
    case(store, "dropout-adamw", "words", drawn(model("words", SIZES, **drops)), by_labels("words"), seed=SEED, **drops)
    for kind in ("pretrain", "spans"):
        case(store, f"{kind}-adamw", kind, drawn(model(kind, SIZES)), by_labels(kind))
        kd = lambda net, teacher, x, kind=kind: distilled(net, teacher, kind, x, ALPHA, TEMPERATURE)
        teacher = drawn(model(kind, WIDE))
        case(store, f"{kind}-kd", kind, drawn(model(kind, SIZES)), kd, teacher, alpha=ALPHA, temperature=TEMPERATURE)
    student = drawn(bridged(model("pretrain", SIZES), WIDE["hidden"]))
    tune = lambda net, teacher, x: distilled(net, teacher, "pretrain", x, 1.0, 1.0)
    case(store, "pretrain-tune", "pretrain", student, tune, drawn(model("pretrain", WIDE)), alpha=1.0, temperature=1.0, bridged=True)
    for blocks in (1, 2):
        student = drawn(bridged(model("pretrain", SIZES), WIDE["hidden"]))
        narrow = lambda net, teacher, x, blocks=blocks: imitated(net, teacher, x, blocks)
        case(store, f"pretrain-narrow{blocks}", "pretrain", student, narrow, drawn(model("pretrain", WIDE)), blocks=blocks, bridged=True)
