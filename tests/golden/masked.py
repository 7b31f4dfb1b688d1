"""Ten losses of transformers' BertForMaskedLM with AdamW, from the same weights and batches: sequences of several lengths, two segments, labels at
some places.

train/masked-adamw.init.safetensors, train/masked-adamw.final.safetensors: the parameters before and after, by transformers' names; the decoder's
    table is that of the words and stands there once.
train/masked-adamw.run.safetensors: `tokens`, `segments` (10, batch, length; u32), `lengths` (10, batch), `places` (10, batch, places), `labels`
    (likewise; 4294967295 where nothing is asked), `losses` (10) and `scores` (batch, places, vocabulary) of the first batch before its step, and
    in the metadata under `case` the sizes, the optimiser, and what PyTorch itself is off by in f32: `f32_error` of a loss and
    `f32_score_error`, relative to 1 + |it|; `f32_weight_error` of a weight, absolute, the keys' biases left out.

Needs the package transformers; `python3 tests/golden/make.py masked`.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F

STEPS, PLACES, NONE = 10, 3, 2**32 - 1
SIZES = {"vocabulary": 37, "hidden": 16, "layers": 2, "heads": 2, "inner": 24, "length": 7, "positions": 9, "batch": 5, "places": PLACES}
LR, DECAY = 2e-3, 0.05


def model():
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=SIZES["vocabulary"],
        hidden_size=SIZES["hidden"],
        num_hidden_layers=SIZES["layers"],
        num_attention_heads=SIZES["heads"],
        intermediate_size=SIZES["inner"],
        max_position_embeddings=SIZES["positions"],
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        # transformers sets the row of the padding to zeros and leaves it there; a table of its own trains all of its rows.
        pad_token_id=None,
    )
    return BertForMaskedLM(config).train()


def scores(net, tokens, segments, lengths, places):
    there = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
    logits = net(input_ids=tokens, token_type_ids=segments, attention_mask=there).logits
    return logits.gather(1, places[..., None].expand(-1, -1, logits.shape[-1]))


def run(net, batches):
    """Losses before each step, and the scores of the first batch."""
    decays = [p for name, p in net.named_parameters() if not name.endswith("bias") and "LayerNorm" not in name]
    others = [p for name, p in net.named_parameters() if name.endswith("bias") or "LayerNorm" in name]
    groups = [{"params": decays, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    adam, losses, first = torch.optim.AdamW(groups, lr=LR, foreach=False), [], None
    for tokens, segments, lengths, places, labels in batches:
        adam.zero_grad()
        found = scores(net, tokens, segments, lengths, places)
        loss = F.cross_entropy(found.flatten(0, 1), torch.where(labels == NONE, -100, labels).flatten())
        loss.backward()
        adam.step()
        first = found.detach().double() if first is None else first
        losses.append(loss.item())
    return np.array(losses), first


def batch():
    size, length = SIZES["batch"], SIZES["length"]
    tokens = torch.randint(SIZES["vocabulary"], (size, length))
    lengths = torch.randint(2, length + 1, (size,))
    lengths[0] = length
    places = torch.stack([torch.randperm(int(n) if n > PLACES else length)[:PLACES] for n in lengths])
    labels = (tokens.gather(1, places) * 5 + 3) % SIZES["vocabulary"]
    labels = torch.where((torch.rand(size, PLACES) < 0.3) | (places >= lengths[:, None]), NONE, labels)
    labels[0, 0] = 4
    segments = (torch.arange(length) >= lengths[:, None] // 2).long()
    return tokens, segments, lengths, places, labels


def main(store):
    torch.manual_seed(43)
    net = model().float()
    for weight in net.parameters():
        # Away from 0, 1 and equal: a gradient that is wrong or in a wrong place shows.
        torch.nn.init.normal_(weight, 0.0, weight.shape[-1] ** -0.5 if weight.ndim == 2 else 0.3)
    for module in net.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
    exact = copy.deepcopy(net).double()
    state = lambda net: {name: p.detach().float().numpy().copy() for name, p in net.named_parameters()}
    store("train/masked-adamw.init.safetensors", state(net), {"format": "pt"})
    batches = [batch() for _ in range(STEPS)]
    single, single_scores = run(net, batches)
    losses, first = run(exact, batches)
    store("train/masked-adamw.final.safetensors", state(exact), {"format": "pt"})
    error = float(np.abs(single / losses - 1).max())
    score_error = ((single_scores - first).abs() / (1 + first.abs())).max().item()
    weight_error = 0.0
    for (name, a), b in zip(net.named_parameters(), exact.parameters()):
        # Softmax does not feel the keys' bias: its gradient is rounding, which Adam makes steps of.
        if not name.endswith("key.bias"):
            weight_error = max(weight_error, (a.double() - b).abs().max().item())
    print(f"masked-adamw: {losses.round(3)}, f32 off by {error:.1e}, scores by {score_error:.1e}, weights by {weight_error:.1e}")
    names = ("tokens", "segments", "lengths", "places", "labels")
    tensors = {name: torch.stack(all).numpy().astype(np.uint32) for name, all in zip(names, zip(*batches))}
    tensors |= {"losses": losses.astype(np.float32), "scores": first.float().numpy()}
    adam = {"op": "adamw", "lr": LR, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": DECAY}
    errors = {"f32_error": error, "f32_score_error": score_error, "f32_weight_error": weight_error}
    store("train/masked-adamw.run.safetensors", tensors, {"case": {**SIZES, "optimizer": adam, **errors}})
