"""Ten losses of a small encoder with Adam, from the same weights and batches, and the gradients of the first step.

train/bert-adam.init.safetensors, train/bert-adam.final.safetensors: the parameters before and after, by the names of
    benches/src/bert.rs, which for a layer are PyTorch's own.
train/bert-adam.run.safetensors: `ids`, `labels` (10, batch, length; u32), `losses` (10), `grad.NAME` of the first step, and in
    the metadata under `case` the sizes, the optimiser, and what PyTorch itself is off by in f32: `f32_error` of a loss and
    `f32_grad_error` of a gradient, relative to 1 + |it|; `f32_weight_error` of a weight, absolute, the keys' biases left out.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

STEPS = 10
SIZES = {"vocabulary": 37, "hidden": 16, "layers": 2, "heads": 2, "inner": 24, "length": 7, "batch": 3}


class Encoder(nn.Module):
    def __init__(self, vocabulary, hidden, layers, heads, inner, length, batch):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, hidden)
        self.position_embeddings = nn.Embedding(length, hidden)
        self.norm = nn.LayerNorm(hidden, eps=1e-12)
        layer = lambda: nn.TransformerEncoderLayer(hidden, heads, inner, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True)
        self.layers = nn.ModuleList(layer() for _ in range(layers))
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, ids):
        x = self.norm(self.word_embeddings(ids) + self.position_embeddings.weight)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def run(net, ids, labels):
    """Losses before each step, and the gradients of the first."""
    adam, losses, grads = torch.optim.Adam(net.parameters(), lr=2e-3, foreach=False), [], {}
    for x, y in zip(ids, labels):
        adam.zero_grad()
        loss = F.cross_entropy(net(x).flatten(0, 1), y.flatten())
        loss.backward()
        grads = grads or {name: p.grad.clone().double() for name, p in net.named_parameters()}
        adam.step()
        losses.append(loss.item())
    return np.array(losses), grads


def main(store):
    torch.manual_seed(41)
    net = Encoder(**SIZES).float()
    for weight in net.parameters():
        # Away from 0, 1 and equal: a gradient that is wrong or in a wrong place shows.
        nn.init.normal_(weight, 0.0, weight.shape[-1] ** -0.5 if weight.ndim == 2 else 0.3)
    for module in net.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, 0.2)
    exact = copy.deepcopy(net).double()
    state = lambda net: {name: p.detach().float().numpy().copy() for name, p in net.named_parameters()}
    store("train/bert-adam.init.safetensors", state(net), {"format": "pt"})
    shape = (STEPS, SIZES["batch"], SIZES["length"])
    ids = torch.randint(SIZES["vocabulary"], shape)
    labels = (ids * 5 + 3) % SIZES["vocabulary"]
    single, single_grads = run(net, ids, labels)
    losses, grads = run(exact, ids, labels)
    store("train/bert-adam.final.safetensors", state(exact), {"format": "pt"})
    error = float(np.abs(single / losses - 1).max())
    grad_error = max(((a - b).abs() / (1 + b.abs())).max().item() for a, b in zip(single_grads.values(), grads.values()))
    weight_error = 0.0
    for (name, a), b in zip(net.named_parameters(), exact.parameters()):
        off = (a.double() - b).abs().detach()
        if name.endswith("in_proj_bias"):
            # Softmax does not feel the keys' bias: its gradient is rounding, which Adam makes steps of.
            off[SIZES["hidden"] : 2 * SIZES["hidden"]] = 0.0
        weight_error = max(weight_error, off.max().item())
    print(f"bert-adam: {losses.round(3)}, f32 off by {error:.1e}, gradients by {grad_error:.1e}, weights by {weight_error:.1e}")
    u32 = lambda x: x.numpy().astype(np.uint32)
    tensors = {"ids": u32(ids), "labels": u32(labels), "losses": losses.astype(np.float32)}
    tensors |= {f"grad.{name}": grad.float().numpy() for name, grad in grads.items()}
    adam = {"op": "adam", "lr": 2e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    errors = {"f32_error": error, "f32_grad_error": grad_error, "f32_weight_error": weight_error}
    store("train/bert-adam.run.safetensors", tensors, {"case": {**SIZES, "optimizer": adam, **errors}})
