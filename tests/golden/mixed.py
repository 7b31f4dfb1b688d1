"""What mixed precision costs PyTorch: the networks of train.py once more, from the same weights and batches, by torch.amp in f16.

train/CASE.mixed.safetensors: `losses` (10, f32) of autocast and GradScaler on the CPU, and in the metadata under `case` `loss_error` and
    `weight_error`: the largest relative error of a loss and absolute error of a weight against train.py's f64, in RUNS runs. All but the
    first begin with weights that are perturbed by 1e-4 of themselves: far less than what comes out, but other roundings.
"""

import json
import os

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.numpy import load_file

import nets

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


def case(store, name, make):
    path = os.path.join(HERE, "train", name)
    with safe_open(f"{path}.run.safetensors", "np") as file:
        about = json.loads(file.metadata()["case"])
    golden, start, end = (load_file(f"{path}.{part}.safetensors") for part in ("run", "init", "final"))
    images, labels = torch.from_numpy(golden["images"]), torch.from_numpy(golden["labels"].astype(np.int64))
    images = images.permute(0, 1, 4, 2, 3) if images.ndim == 5 else images
    torch.manual_seed(5)
    first, errors = None, []
    for attempt in range(RUNS):
        net = nets.build(about["net"]).float()
        net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in start.items()})
        if attempt:
            for weight in net.parameters():
                weight.data *= 1 + 1e-4 * torch.randn_like(weight)
        # PyTorch stores the gradients of weights as f16 too, which the first scale of 65536 makes overflow; here no step is skipped.
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        losses = run(net, make(net.parameters()), scaler, images, labels)
        assert scaler.get_scale() == 1024.0, "no step was skipped"
        state = net.state_dict()
        weights = max(float(np.abs(state[k].double().numpy() - v).max()) for k, v in end.items() if v.dtype == np.float32)
        errors.append((float(np.abs(losses / golden["losses"] - 1).max()), weights))
        first = losses if first is None else first
    loss, weight = (max(column) for column in zip(*errors))
    print(f"{name}: {first.round(3)}, off by {[f'{a:.1e} {b:.1e}' for a, b in errors]}")
    store(f"train/{name}.mixed.safetensors", {"losses": first}, {"case": {"loss_error": loss, "weight_error": weight}})


def main(store):
    case(store, "mlp-sgd", lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=5e-4, foreach=False))
    case(store, "mlp-adam", lambda p: torch.optim.Adam(p, lr=1e-2, foreach=False))
    case(store, "resnet-sgd", lambda p: torch.optim.SGD(p, lr=0.004, momentum=0.9, weight_decay=1e-4, foreach=False))
