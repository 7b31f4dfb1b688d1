"""The two networks of the goldens, described by a specification that is also what the tests read.

Parameter names are torchvision's for the ResNet (conv1, bn1, layer1.0.conv1, layer1.0.downsample.0, fc) and layers.K, head for the MLP.
A network between narrow and merge (S̄) has `lift.I.weight` after block I (1-based), without bias. `regressor: [in, out]` in a specification
is FitNets' map after the last block that `prefix` runs, without bias.
"""

import torch.nn.functional as F
from torch import nn


class Mlp(nn.Module):
    """spec: {"kind": "mlp", "layers": [[in, out], …], "blocks": [layers of each block], "lifts": [[in, out], …] or [], "head": [in, out]}"""

    def __init__(self, spec):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*shape) for shape in spec["layers"])
        self.lift = nn.ModuleDict({str(i + 1): nn.Linear(*shape, bias=False) for i, shape in enumerate(spec["lifts"])})
        self.regressor = nn.Linear(*spec["regressor"], bias=False) if "regressor" in spec else None
        self.head = nn.Linear(*spec["head"])
        self.blocks = spec["blocks"]

    def block(self, i):
        """The layers of block i (0-based)."""
        start = sum(self.blocks[:i])
        return self.layers[start : start + self.blocks[i]]

    def prefix(self, x, blocks):
        """What the first blocks put out, lifted."""
        for i in range(blocks):
            for layer in self.block(i):
                x = F.relu(layer(x))
            if self.lift:
                x = self.lift[str(i + 1)](x)
        return self.regressor(x) if self.regressor else x

    def rest(self, x, blocks):
        """The logits, from what the first blocks put out."""
        for i in range(blocks, len(self.blocks)):
            for layer in self.block(i):
                x = F.relu(layer(x))
        return self.head(x)

    def forward(self, x):
        return self.head(self.prefix(x, len(self.blocks)))


def conv(cin, cout, kernel=1, stride=1):
    return nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)


class Unit(nn.Module):
    """A residual unit: bottleneck 1×1, 3×3 (stride here, as torchvision), 1×1; basic 3×3 (stride), 3×3."""

    def __init__(self, kind, cin, mid, cout, stride, downsample):
        super().__init__()
        if kind == "bottleneck":
            self.conv1, self.conv2, self.conv3 = conv(cin, mid), conv(mid, mid, 3, stride), conv(mid, cout)
            self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(mid), nn.BatchNorm2d(mid), nn.BatchNorm2d(cout)
        else:
            self.conv1, self.conv2 = conv(cin, mid, 3, stride), conv(mid, cout, 3)
            self.bn1, self.bn2 = nn.BatchNorm2d(mid), nn.BatchNorm2d(cout)
        self.downsample = nn.Sequential(conv(cin, cout, 1, stride), nn.BatchNorm2d(cout)) if downsample else None

    def mids(self, x):
        """The activations inside: [after bn1 + ReLU] and, for a bottleneck, [after bn2 + ReLU]."""
        first = F.relu(self.bn1(self.conv1(x)))
        return [first, F.relu(self.bn2(self.conv2(first)))] if hasattr(self, "conv3") else [first]

    def forward(self, x):
        inside = self.mids(x)[-1]
        y = self.bn3(self.conv3(inside)) if hasattr(self, "conv3") else self.bn2(self.conv2(inside))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class ResNet(nn.Module):
    """A CIFAR-stem ResNet. spec: {"kind": "bottleneck" | "basic", "stem": width, "stages": [[[in, mid, out, stride, downsample], …], …],
    "lifts": [[in, out], …] or [], "head": [in, out]}"""

    def __init__(self, spec):
        super().__init__()
        self.conv1, self.bn1 = conv(3, spec["stem"], 3), nn.BatchNorm2d(spec["stem"])
        self.stages = len(spec["stages"])
        for i, units in enumerate(spec["stages"]):
            self.add_module(f"layer{i + 1}", nn.Sequential(*(Unit(spec["kind"], *unit) for unit in units)))
        self.lift = nn.ModuleDict({str(i + 1): conv(*shape) for i, shape in enumerate(spec["lifts"])})
        self.regressor = conv(*spec["regressor"]) if "regressor" in spec else None
        self.fc = nn.Linear(*spec["head"])

    def stem(self, x):
        return F.relu(self.bn1(self.conv1(x)))

    def stage(self, i):
        """The units of stage i (0-based)."""
        return getattr(self, f"layer{i + 1}")

    def prefix(self, x, blocks):
        """What the first stages put out, lifted."""
        x = self.stem(x)
        for i in range(blocks):
            x = self.stage(i)(x)
            if self.lift:
                x = self.lift[str(i + 1)](x)
        return self.regressor(x) if self.regressor else x

    def rest(self, x, blocks):
        """The logits, from what the first stages put out."""
        for i in range(blocks, self.stages):
            x = self.stage(i)(x)
        return self.fc(x.mean((2, 3)))

    def forward(self, x):
        return self.fc(self.prefix(x, self.stages).mean((2, 3)))


def resnet_spec(kind, units, stem, mids, outs, classes):
    """The specification of a plain ResNet: stage i has units[i] units of inner width mids[i] and output width outs[i]."""
    stages, width = [], stem
    for i, count in enumerate(units):
        stage = []
        for k in range(count):
            stride = 2 if i and not k else 1
            stage.append([width, mids[i], outs[i], stride, bool(stride > 1 or width != outs[i])])
            width = outs[i]
        stages.append(stage)
    return {"kind": kind, "stem": stem, "stages": stages, "lifts": [], "head": [width, classes]}


def build(spec):
    """The network of a specification, in f64."""
    return (Mlp(spec) if spec["kind"] == "mlp" else ResNet(spec)).double()
