"""What mixed precision costs PyTorch: the networks of train.py once more, from the same weights and batches, by torch.amp in f16.

train/CASE.mixed.safetensors: `losses` (10, f32) of autocast and GradScaler on the CPU; `first.NAME`, every tensor after the first step in f64;
    and in the metadata under `case`, all the largest of RUNS runs, of which all but the first begin with weights that are perturbed by 1e-4 of
    themselves (far less than what comes out, but other roundings):
    `loss_error`    relative error of a loss against train.py's f64
    `weight_error`  by tensor, ‖step in f16 − step in f64‖ / ‖step in f64‖ of the first step; a tensor that is not trained at all has 1. Later
                    steps say less: a ReLU that flips by a rounding changes them by as much as they are.
    `untrained`     relative difference of the losses to those of the weights before the first step: what `loss_error` has to be below
"""

import copy
import json
import os

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.numpy import load_file

import nets
import train

RUNS = 8
HERE = os.path.dirname(os.path.abspath(__file__))


def run(net, optimizer, scaler, images, labels):
    net.train()
    found = []
    for x, y in zip(images, labels):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = F.cross_entropy(net(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        found.append(loss.item())
    return np.array(found, np.float32)


def step_of(net, before):
    """How far every tensor has moved from `before`, in f64."""
    return {k: v.double().numpy() - before[k].double().numpy() for k, v in net.state_dict().items() if v.is_floating_point()}


def case(store, name, make):
    path = os.path.join(HERE, "train", name)
    with safe_open(f"{path}.run.safetensors", "np") as file:
        about = json.loads(file.metadata()["case"])
    golden, start = (load_file(f"{path}.{part}.safetensors") for part in ("run", "init"))
    images, labels = torch.from_numpy(golden["images"]), torch.from_numpy(golden["labels"].astype(np.int64))
    images = images.permute(0, 1, 4, 2, 3) if images.ndim == 5 else images
    torch.manual_seed(5)
    losses, first, loss_error, weight_error = None, None, 0.0, {}
    for attempt in range(RUNS):
        net = nets.build(about["net"]).float()
        net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in start.items()})
        if attempt:
            for weight in net.parameters():
                weight.data *= 1 + 1e-4 * torch.randn_like(weight)
        before, exact = {k: v.clone() for k, v in net.state_dict().items()}, copy.deepcopy(net).double()
        train.losses(exact, make(exact.parameters()), images[:1].double(), labels[:1])
        # PyTorch stores the gradients of weights as f16 too, which the first scale of 65536 makes overflow; here no step is skipped.
        scaler, optimizer = torch.amp.GradScaler("cpu", init_scale=1024.0), make(net.parameters())
        found = run(net, optimizer, scaler, images[:1], labels[:1])
        step, wanted = step_of(net, before), step_of(exact, before)
        found = np.concatenate([found, run(net, optimizer, scaler, images[1:], labels[1:])])
        assert scaler.get_scale() == 1024.0, "no step was skipped"
        for k, moved in wanted.items():
            error = float(np.linalg.norm(step[k] - moved) / np.linalg.norm(moved))
            weight_error[k] = max(weight_error.get(k, 0.0), error)
        loss_error = max(loss_error, float(np.abs(found / golden["losses"] - 1).max()))
        if not attempt:
            losses, first = found, exact.state_dict()
    net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in start.items()})
    still = train.losses(net, torch.optim.SGD(net.parameters(), lr=0.0, foreach=False), images, labels)
    untrained = float(np.abs(still / golden["losses"] - 1).max())
    worst, mean = max(weight_error.values()), sum(weight_error.values()) / len(weight_error)
    print(f"{name}: {losses.round(3)}, losses off by {loss_error:.1e}, untrained by {untrained:.1e}, a step by {worst:.1e}, {mean:.1e} in the mean")
    tensors = {"losses": losses} | {f"first.{k}": first[k].float().numpy() for k in weight_error}
    meta = {"loss_error": loss_error, "weight_error": weight_error, "untrained": untrained}
    store(f"train/{name}.mixed.safetensors", tensors, {"case": meta})


def main(store):
    case(store, "mlp-sgd", lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=5e-4, foreach=False))
    case(store, "mlp-adam", lambda p: torch.optim.Adam(p, lr=1e-2, foreach=False))
    case(store, "resnet-sgd", lambda p: torch.optim.SGD(p, lr=0.004, momentum=0.9, weight_decay=1e-4, foreach=False))
