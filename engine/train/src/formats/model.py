"""A network that Taper trained, for PyTorch. `config.json` beside this file says how it is built; `model.safetensors` has its weights.

    python model.py PICTURE…

prints the likeliest classes of each picture. From Python:

    from model import load, preprocess

    network, config = load()
    logits = network(preprocess("picture.jpg", config)[None])  # (1, classes)

Needs torch and safetensors, and NumPy and Pillow for pictures.
"""

import json
import math
import sys
from pathlib import Path

import torch
from torch import nn

ACTIVATIONS = {
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "gelu_tanh": lambda x: nn.functional.gelu(x, approximate="tanh"),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class Mlp(nn.Module):
    """Linear layers with an activation between them."""

    def __init__(self, inputs, hidden, activation, classes):
        super().__init__()
        widths = [inputs, *hidden]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(widths, hidden))
        self.head = nn.Linear(widths[-1], classes)
        self.activation = ACTIVATIONS[activation]

    def forward(self, images):
        x = images.flatten(1)
        for layer in self.layers:
            x = self.activation(layer(x))
        return self.head(x)


class Unit(nn.Module):
    """A residual unit: two convolutions of 3 × 3, or one between two of 1 × 1."""

    def __init__(self, before, inner, out, stride, projects, bottleneck):
        super().__init__()
        if bottleneck:
            convolutions = [(before, inner, 1, 1), (inner, inner, 3, stride), (inner, out, 1, 1)]
        else:
            convolutions = [(before, inner, 3, stride), (inner, out, 3, 1)]
        self.count = len(convolutions)
        for k, (i, o, kernel, step) in enumerate(convolutions, 1):
            self.add_module(f"conv{k}", nn.Conv2d(i, o, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{k}", nn.BatchNorm2d(o))
        if projects:
            self.downsample = nn.Sequential(nn.Conv2d(before, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        y = x
        for k in range(1, self.count + 1):
            y = getattr(self, f"bn{k}")(getattr(self, f"conv{k}")(y))
            if k < self.count:
                y = torch.relu(y)
        return torch.relu(y + self.downsample(x))


class ResNet(nn.Module):
    """A stem, stages of units, the mean over all places, and a linear layer."""

    def __init__(self, channels, stem, large, stages, classes):
        super().__init__()
        kernel, stride = (7, 2) if large else (3, 1)
        self.conv1 = nn.Conv2d(channels, stem, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        self.stages = [f"layer{k}" for k in range(1, len(stages) + 1)]
        for name, units in zip(self.stages, stages):
            self.add_module(name, nn.Sequential(*(Unit(**unit) for unit in units)))
        self.fc = nn.Linear(stages[-1][-1]["out"], classes)

    def forward(self, images):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(images))))
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))


KINDS = {"mlp": Mlp, "resnet": ResNet}


def build(config):
    """The network of a `config.json`, with fresh weights."""
    sizes = dict(config["network"])
    return KINDS[sizes.pop("kind")](**sizes)


def load(folder=Path(__file__).parent):
    """The trained network of a folder, ready to answer, and its `config.json`."""
    from safetensors.torch import load_file

    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    network = build(config)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval(), config


def preprocess(picture, config):
    """A picture, or the path of one, as the network reads it: (C, H, W), normalised."""
    import numpy
    from PIL import Image

    if not isinstance(picture, Image.Image):
        picture = Image.open(picture)
    channels, size = config["channels"], config["size"]
    pixels = numpy.asarray(picture.convert("L" if channels == 1 else "RGB"), numpy.float32)
    pixels = pixels.reshape(picture.height, picture.width, channels)
    if pixels.shape[:2] != (size, size) or config["crop"] != 1:
        # The shorter side becomes size / crop; the centre of size × size is cut out.
        short, least = math.floor(size / config["crop"] + 0.5), min(pixels.shape[:2])
        full = [short * side // least for side in pixels.shape[:2]]
        rows, columns = (
            _taps(side, to, round((to - size) / 2), size, config["interpolation"])
            for side, to in zip(pixels.shape[:2], full)
        )
        pixels = numpy.einsum("xw,hwc->hxc", columns, pixels)
        pixels = numpy.einsum("yh,hxc->yxc", rows, pixels)
        pixels = numpy.floor(numpy.clip(pixels + 0.5, 0, 255))
    mean, std = (numpy.array(config[key]) for key in ("mean", "std"))
    numbers = (pixels / 255 - mean) / std
    return torch.from_numpy(numbers.astype(numpy.float32).transpose(2, 0, 1).copy())


def _taps(side, to, start, count, how):
    """How much each of `side` pixels counts in pixels `start` to `start + count` of the `to` that they become; (count, side)."""
    import numpy

    scale = side / to
    target, pixel = numpy.arange(start, start + count)[:, None], numpy.arange(side)[None]
    if how == "area":
        # As much as the two overlap.
        weights = numpy.minimum(pixel + 1, (target + 1) * scale) - numpy.maximum(pixel, target * scale)
    else:
        # A triangle around the target's centre, wider where the picture shrinks.
        weights = 1 - abs(pixel + 0.5 - (target + 0.5) * scale) / max(scale, 1)
    weights = numpy.maximum(weights, 0)
    return (weights / weights.sum(1, keepdims=True)).astype(numpy.float32)


def main(pictures):
    network, config = load()
    for picture in pictures:
        with torch.no_grad():
            shares = network(preprocess(picture, config)[None]).softmax(1)[0]
        best = shares.topk(min(3, len(shares)))
        answers = [f"{config['labels'][k]} {share:.1%}" for share, k in zip(best.values.tolist(), best.indices.tolist())]
        print(f"{picture}: {', '.join(answers)}")


if __name__ == "__main__":
    main(sys.argv[1:])
