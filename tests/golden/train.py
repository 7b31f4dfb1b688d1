"""Ten losses of an MLP (SGD, Adam) and of a small bottleneck ResNet with batch norm, from the same weights and batches.

train/CASE.init.safetensors, train/CASE.final.safetensors: a state dict before and after, names and layouts as PyTorch saves them
    ((O, I, KH, KW), num_batches_tracked as i64, {"format": "pt"}): the tests read them by the import path.
train/CASE.run.safetensors: `images` (10, batch, …; images NHWC), `labels` (10, batch; u32), `losses` (10, f32), and in the
    metadata under `case` the network's specification, the optimiser, `micro_batches` where there are several, and `f32_error` and `f32_weight_error`: the largest relative error of a loss and absolute
    error of a weight that PyTorch itself makes in f32. The networks are those of nets.py.

A loss is the mean cross entropy *before* the step that it drives. Weight decay acts on every parameter, biases and batch norm included.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F

import nets

STEPS = 10


def losses(net, optimizer, images, labels, parts=1):
    """The batch in `parts` micro-batches, whose gradients are added up: batch norm sees one of them at a time."""
    found = []
    net.train()
    for x, y in zip(images, labels):
        optimizer.zero_grad()
        whole = 0.0
        for x, y in zip(x.chunk(parts), y.chunk(parts)):
            loss = F.cross_entropy(net(x), y) / parts
            loss.backward()
            whole += loss.item()
        optimizer.step()
        found.append(whole)
    return np.array(found)


def state(net):
    """A state dict as arrays: f32, counters i64."""
    return {k: (v.numpy() if v.dtype == torch.int64 else v.float().numpy()) for k, v in net.state_dict().items()}


def case(store, name, spec, images, labels, optimizer, make, parts=1):
    net = nets.build(spec).float()
    for weight in net.parameters():
        # He weights: with PyTorch's default ones the deep layers hardly matter, and a wrong gradient there would not show.
        if weight.ndim == 2:
            torch.nn.init.kaiming_normal_(weight, nonlinearity="relu")
    for key, weight in net.named_parameters():
        # Away from 1 and 0, and units that are mostly alive: otherwise one ReLU that flips by rounding moves the losses by per cents.
        if key.endswith(("bn1.bias", "bn2.bias")):
            torch.nn.init.constant_(weight, 0.5)
        if key.endswith("bn3.weight"):
            torch.nn.init.constant_(weight, 0.5)
    exact = copy.deepcopy(net).double()
    store(f"train/{name}.init.safetensors", state(net), {"format": "pt"})
    nchw = images.permute(0, 1, 4, 2, 3) if images.ndim == 5 else images
    single = losses(net, make(net.parameters()), nchw.float(), labels, parts)
    found = losses(exact, make(exact.parameters()), nchw.double(), labels, parts)
    store(f"train/{name}.final.safetensors", state(exact), {"format": "pt"})
    error = float(np.abs(single / found - 1).max())
    tensors = {"images": images.float().numpy(), "labels": labels.numpy().astype(np.uint32), "losses": found.astype(np.float32)}
    weights = max((a.double() - b).abs().max().item() for a, b in zip(net.state_dict().values(), exact.state_dict().values()) if b.is_floating_point())
    print(f"{name}: {found.round(3)}, f32 off by {error:.1e}, weights by {weights:.1e}")
    micro = {"micro_batches": parts} if parts > 1 else {}
    store(f"train/{name}.run.safetensors", tensors, {"case": {"net": spec, "optimizer": optimizer, "f32_error": error, "f32_weight_error": weights, **micro}})


def main(store):
    torch.manual_seed(11)
    # Labels by a random linear map: the losses fall, so every weight moves.
    mlp = {"kind": "mlp", "layers": [[20, 16]] + [[16, 16]] * 4, "blocks": [5], "lifts": [], "head": [16, 7]}
    images = torch.randn(STEPS, 9, 20)
    labels = (images @ torch.randn(20, 7)).argmax(-1)
    sgd = {"op": "sgd", "lr": 0.02, "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4}
    case(store, "mlp-sgd", mlp, images, labels, sgd, lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=5e-4, foreach=False))
    adam = {"op": "adam", "lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    case(store, "mlp-adam", mlp, images, labels, adam, lambda p: torch.optim.Adam(p, lr=1e-2, foreach=False))

    # Of a few seeds the one whose losses, weights perturbed by 1e-6, stay within 2e-6: a kernel that sums in another order passes.
    torch.manual_seed(25)
    resnet = nets.resnet_spec("bottleneck", [1, 2, 1, 1], 3, [3, 6, 12, 24], [12, 24, 48, 96], 10)
    images = torch.randn(STEPS, 8, 12, 12, 3) + 0.7 * torch.randn(STEPS, 8, 1, 1, 3)
    labels = (images.mean((2, 3)) @ torch.randn(3, 10)).argmax(-1)
    sgd = {"op": "sgd", "lr": 0.004, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4}
    case(store, "resnet-sgd", resnet, images, labels, sgd, lambda p: torch.optim.SGD(p, lr=0.004, momentum=0.9, weight_decay=1e-4, foreach=False))

    torch.manual_seed(25)
    case(store, "resnet-micro", resnet, images, labels, sgd, lambda p: torch.optim.SGD(p, lr=0.004, momentum=0.9, weight_decay=1e-4, foreach=False), parts=2)
