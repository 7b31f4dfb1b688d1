"""Ten steps of every stage that a teacher drives: narrow, FitNets' hint, knowledge distillation, and tuning on the teacher's logits.

train/KIND.teacher.safetensors: the teachers' state dicts as PyTorch saves them. train/CASE.init.safetensors, train/CASE.final.safetensors: of what the
    stage trains alone: narrow i has blocks 1..i with their lifts and no head, the hint `regressor.weight`.
train/CASE.run.safetensors: `images`, `labels`, `losses` as in train.py, and in the metadata under `case` the specifications of student and teacher,
    `teacher_file`, the optimiser, `f32_error` and `f32_weight_error` as in train.py, and `task`: `narrow` or `hint` (then `block`, the number of blocks,
    `discrepancy` of relative_mse, mse, kl, output and relative_mse+output, `scale` of the squared error, `output_weight` of the last, `freeze`), or `distill` (then `alpha`, `temperature`).

The teacher is in eval mode always, the student in train mode but for the blocks that `freeze` leaves as they are: their batch norms are in eval
mode, and no optimiser touches them. A loss is that of engine/core/src/win/DERIVATION.md, *The losses*: the squared error's mean times `scale`, 1 / variance of what the teacher
puts out over all images for relative_mse; KL over the channels, mean over positions; of outputs KL of the logits, mean over the batch, of the teacher and of
the teacher with its first blocks replaced; (1 − α) CE + α T² KL(teacher ‖ student at T).
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F

import nets
from starts import narrow_mlp, narrow_resnet, trained
from train import STEPS, state


def objective(task, student, teacher):
    """The loss of a batch, as a function of images and labels."""
    if task["task"] == "distill":
        alpha, t = task["alpha"], task["temperature"]

        def loss(x, y):
            logits = student(x)
            with torch.no_grad():
                wanted = F.log_softmax(teacher(x) / t, -1)
            soft = F.kl_div(F.log_softmax(logits / t, -1), wanted, reduction="batchmean", log_target=True)
            return (1 - alpha) * F.cross_entropy(logits, y) + alpha * t * t * soft

        return loss
    blocks, scale = task["block"], task["scale"]

    def loss(x, _):
        found = student.prefix(x, blocks)
        with torch.no_grad():
            wanted = teacher.prefix(x, blocks)
        if task["discrepancy"] == "kl":
            q, p = F.log_softmax(found, 1), F.log_softmax(wanted, 1)
            return F.kl_div(q, p, reduction="none", log_target=True).sum(1).mean()
        if task["discrepancy"] in ("output", "relative_mse+output"):
            # The rest of the teacher is frozen by having no place among what is trained; gradients pass through it.
            q, p = F.log_softmax(teacher.rest(found, blocks), -1), F.log_softmax(teacher(x).detach(), -1)
            soft = F.kl_div(q, p, reduction="batchmean", log_target=True)
            if task["discrepancy"] == "output":
                return soft
            return scale * F.mse_loss(found, wanted) + task["output_weight"] * soft
        return scale * F.mse_loss(found, wanted)

    return loss


def members(net, task):
    """Names of the tensors that the stage's network has."""
    names = list(net.state_dict())
    if task["task"] == "distill":
        return names
    later = [f"layer{i + 1}." for i in range(task["block"], getattr(net, "stages", 0))]
    later += [f"lift.{i + 1}." for i in range(task["block"], len(net.lift))] + ["head.", "fc."]
    if isinstance(net, nets.Mlp):
        later += [f"layers.{k}." for k in range(sum(net.blocks[: task["block"]]), len(net.layers))]
    return [name for name in names if not name.startswith(tuple(later))]


def last_block(net, task):
    """Prefixes of the names of what block `block` is made of."""
    i, names = task["block"], [f"lift.{task['block']}."]
    if isinstance(net, nets.Mlp):
        first = sum(net.blocks[: i - 1])
        return tuple(names + [f"layers.{k}." for k in range(first, first + net.blocks[i - 1])])
    return tuple(names + [f"layer{i}."])


def run(net, teacher, task, make, images, labels):
    net.train()
    names = set(members(net, task))
    weights = [(name, weight) for name, weight in net.named_parameters() if name in names]
    if task.get("freeze"):
        last = last_block(net, task)
        for name, module in net.named_modules():
            if isinstance(module, torch.nn.BatchNorm2d) and not name.startswith(last):
                module.eval()
        weights = [(name, weight) for name, weight in weights if name.startswith(last)]
    steps, loss_of, found = make([weight for _, weight in weights]), objective(task, net, teacher), []
    for x, y in zip(images, labels):
        steps.zero_grad()
        loss = loss_of(x, y)
        loss.backward()
        steps.step()
        found.append(loss.item())
    return np.array(found)


OPTIMIZERS = {
    "sgd": ({"op": "sgd", "lr": 0.02, "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4}, lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=5e-4, foreach=False)),
    "adam": ({"op": "adam", "lr": 5e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}, lambda p: torch.optim.Adam(p, lr=5e-3, foreach=False)),
}


def case(store, name, task, student, teacher_spec, teacher, images, labels, optimizer):
    net = nets.build(student).float()
    for key, weight in net.named_parameters():
        if weight.ndim == 2:
            torch.nn.init.kaiming_normal_(weight, nonlinearity="relu")
        # As in train.py: away from 1 and 0, and units that are mostly alive.
        if key.endswith(("bn1.bias", "bn2.bias")):
            torch.nn.init.constant_(weight, 0.5)
        if key.endswith("bn3.weight"):
            torch.nn.init.constant_(weight, 0.5)
    for key, value in net.state_dict().items():
        # Statistics that are not those of a fresh layer: a frozen batch norm normalises by them.
        if key.endswith("running_mean"):
            value.copy_(0.3 * torch.randn_like(value))
        if key.endswith("running_var"):
            value.copy_(0.5 + torch.rand_like(value))
    exact = copy.deepcopy(net).double()
    nchw = images.permute(0, 1, 4, 2, 3) if images.ndim == 5 else images
    task = dict(task)
    if task["task"] != "distill":
        task.setdefault("freeze", False)
        with torch.no_grad():
            output = teacher.prefix(nchw.flatten(0, 1).double(), task["block"])
        relative = task["discrepancy"].startswith("relative_mse")
        task["scale"] = float(np.float32(1 / output.var(correction=0).item())) if relative else 1.0
    kept = members(net, task)
    of = lambda net: {key: value for key, value in state(net).items() if key in kept}
    store(f"train/{name}.init.safetensors", of(net), {"format": "pt"})
    about, make = OPTIMIZERS[optimizer]
    single = run(net, copy.deepcopy(teacher).float(), task, make, nchw.float(), labels)
    found = run(exact, teacher, task, make, nchw.double(), labels)
    store(f"train/{name}.final.safetensors", of(exact), {"format": "pt"})
    error = float(np.abs(single / found - 1).max())
    a, b = net.state_dict(), exact.state_dict()
    weights = max((a[key].double() - b[key]).abs().max().item() for key in kept if b[key].is_floating_point())
    print(f"{name}: {found.round(4)}, f32 off by {error:.1e}, weights by {weights:.1e}")
    tensors = {"images": images.float().numpy(), "labels": labels.numpy().astype(np.uint32), "losses": found.astype(np.float32)}
    meta = {"net": student, "teacher": teacher_spec, "teacher_file": f"{teacher_spec['kind']}.teacher.safetensors", "optimizer": about, "f32_error": error, "f32_weight_error": weights, **task}
    store(f"train/{name}.run.safetensors", tensors, {"case": meta})


def main(store):
    torch.manual_seed(71)
    layers, blocks = [[20, 6], [6, 6], [6, 6], [6, 6]], [2, 2]
    wide = {"kind": "mlp", "layers": [[20, 18]] + [[18, 18]] * 3, "blocks": blocks, "lifts": [], "head": [18, 7]}
    vectors = torch.randn(STEPS, 9, 20)
    labels = (vectors @ torch.randn(20, 7)).argmax(-1)
    teacher = trained(wide, vectors.flatten(0, 1).double(), 72)
    store("train/mlp.teacher.safetensors", state(teacher), {"format": "pt"})
    plain = {"kind": "mlp", "layers": layers, "blocks": blocks, "lifts": [], "head": [6, 7]}
    bridged = narrow_mlp(layers, blocks, wide)
    narrow = {"task": "narrow", "block": 2, "discrepancy": "relative_mse"}
    run = lambda name, task, net, optimizer: case(store, name, task, net, wide, teacher, vectors, labels, optimizer)
    run("mlp-narrow", narrow, bridged, "adam")
    run("mlp-narrow-freeze", {**narrow, "discrepancy": "mse", "freeze": True}, bridged, "sgd")
    run("mlp-narrow-kl", {**narrow, "discrepancy": "kl"}, bridged, "sgd")
    run("mlp-hint", {"task": "hint", "block": 1, "discrepancy": "relative_mse"}, {**plain, "regressor": [6, 18]}, "adam")
    run("mlp-kd", {"task": "distill", "alpha": 0.3, "temperature": 4.0}, plain, "sgd")
    run("mlp-tune", {"task": "distill", "alpha": 1.0, "temperature": 1.0}, bridged, "adam")

    torch.manual_seed(73)
    small = nets.resnet_spec("bottleneck", [1, 2], 3, [3, 6], [12, 24], 10)
    large = nets.resnet_spec("bottleneck", [1, 2], 3, [6, 12], [12, 24], 10)
    images = torch.randn(STEPS, 6, 8, 8, 3) + 0.7 * torch.randn(STEPS, 6, 1, 1, 3)
    classes = (images.mean((2, 3)) @ torch.randn(3, 10)).argmax(-1)
    taught = trained(large, images.flatten(0, 1).permute(0, 3, 1, 2).double(), 74)
    store("train/bottleneck.teacher.safetensors", state(taught), {"format": "pt"})
    run = lambda name, task, net, optimizer: case(store, name, task, net, large, taught, images, classes, optimizer)
    run("resnet-narrow", narrow, narrow_resnet(small, large), "sgd")
    run("resnet-narrow-freeze", {**narrow, "freeze": True}, narrow_resnet(small, large), "sgd")
    run("resnet-hint", {"task": "hint", "block": 1, "discrepancy": "relative_mse"}, {**small, "regressor": [12, 12]}, "sgd")
    run("resnet-kd", {"task": "distill", "alpha": 0.5, "temperature": 4.0}, small, "sgd")

    # What of the earlier blocks the rest of the teacher reads: through a layer and a head, a bottleneck stage with folded batch norms, a head alone.
    torch.manual_seed(75)
    first = {**narrow, "block": 1, "discrepancy": "output"}
    run = lambda name, task, net, optimizer: case(store, name, task, net, wide, teacher, vectors, labels, optimizer)
    run("mlp-narrow-output", first, bridged, "sgd")
    run("mlp-narrow-both", {**first, "discrepancy": "relative_mse+output", "output_weight": 0.5}, bridged, "adam")
    run("mlp-narrow-output-last", {**first, "block": 2}, bridged, "sgd")
    run("mlp-tune-mixed", {"task": "distill", "alpha": 0.7, "temperature": 2.0}, bridged, "adam")
    run = lambda name, task, net, optimizer: case(store, name, task, net, large, taught, images, classes, optimizer)
    run("resnet-narrow-output", first, narrow_resnet(small, large), "sgd")
