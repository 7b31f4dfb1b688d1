"""pytorch.py [--cuda] WORK…: the works of `taper bench` in PyTorch on the CPU or on a GPU, a line of the same JSON each.

Shapes, counts of operations and the rule of timing are those of benches/src/lib.rs. On a GPU nothing is computed in TF32.
"""

import json
import resource
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

WARM_UP, RUNS, ENOUGH, LONGEST = 3, 10, 3.0, 40.0
# So small a learning rate that no number of steps leaves the finite numbers.
LR = 1e-6


def matmul(n):
    """C = A B, n × n."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    return lambda: a @ b


def conv(c, size):
    """y = x ∗ w with 3×3 kernels over 32 images, and dx, dw from a given dy."""
    x = torch.randn(32, c, size, size, requires_grad=True)
    w = torch.randn(c, c, 3, 3, requires_grad=True)
    dy = torch.randn(32, c, size, size)
    return lambda: torch.autograd.grad(F.conv2d(x, w, padding=1), (x, w), dy)


def training(model, params, optimizer, loss):
    """A step: forward, loss, backward, optimiser, the loss read back."""
    assert sum(p.numel() for p in model.parameters()) == params

    def step():
        optimizer.zero_grad()
        value = loss(model)
        value.backward()
        optimizer.step()
        assert value.item() == value.item(), "the loss is not a number"

    return step


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)


def mlp():
    """784 → 16 × 32 → 10, batch 256."""
    layers = []
    for width in [784] + [32] * 15:
        layers += [nn.Linear(width, 32), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(32, 10))
    x, labels = torch.randn(256, 784), torch.arange(256) % 10
    return training(model, 41_290, sgd(model), lambda model: F.cross_entropy(model(x), labels))


def conv_norm(before, out, kernel, stride=1):
    conv = nn.Conv2d(before, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out))


class Bottleneck(nn.Module):
    """1×1, 3×3 with the stride, 1×1; a projection where the shape changes."""

    def __init__(self, before, width, stride):
        super().__init__()
        out = 4 * width
        self.body = nn.Sequential(
            conv_norm(before, width, 1),
            nn.ReLU(),
            conv_norm(width, width, 3, stride),
            nn.ReLU(),
            conv_norm(width, out, 1),
        )
        same = stride == 1 and before == out
        self.shortcut = nn.Identity() if same else conv_norm(before, out, 1, stride)

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


def residual(stem, before, stages, classes):
    """Bottlenecks on a stem of `before` channels; a stage is its width, its units and the stride of the first."""
    layers = list(stem)
    for width, units, first in stages:
        for stride in [first] + [1] * (units - 1):
            layers.append(Bottleneck(before, width, stride))
            before = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


def pictures(model, params, size):
    """A step on 64 pictures of ten classes."""
    x, labels = torch.randn(64, 3, size, size), torch.arange(64) % 10
    return training(model, params, sgd(model), lambda model: F.cross_entropy(model(x), labels))


def resnet():
    """A stem of 16 channels, four stages of two bottlenecks of 8, 16, 32, 64, batch 64."""
    stages = [(8, 2, 1), (16, 2, 2), (32, 2, 2), (64, 2, 2)]
    return pictures(residual([conv_norm(3, 16, 3), nn.ReLU()], 16, stages, 10), 224_474, 32)


def resnet50():
    """torchvision's ResNet-50: 64 pictures of 224×224, 1000 classes."""
    stem = [conv_norm(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    stages = [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]
    return pictures(residual(stem, 64, stages, 1000), 25_557_032, 224)


class Attention(nn.Module):
    """Four heads over (N, 128, 128)."""

    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (
            nn.Linear(hidden, hidden) for _ in range(4)
        )

    def forward(self, x):
        split = lambda y: y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.output(y.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Post-LN: attention, then GELU's feed-forward layers."""

    def __init__(self, hidden, inner, heads):
        super().__init__()
        self.attention, self.norm1 = Attention(hidden, heads), nn.LayerNorm(hidden)
        self.forward1, self.forward2 = nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.norm2 = nn.LayerNorm(hidden)

    def forward(self, x):
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.forward2(F.gelu(self.forward1(x))))


class Bert(nn.Module):
    """BERT's encoder with the head that finds masked words, whose table is that of the tokens; it answers at each position."""

    def __init__(self, vocabulary, hidden, length):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, hidden), nn.Embedding(length, hidden)
        self.segments = nn.Embedding(2, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.layers = nn.Sequential(*(Layer(hidden, 512, 4) for _ in range(4)))
        self.transform = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden))
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, tokens, segments):
        x = self.norm(self.tokens(tokens) + self.segments(segments) + self.positions.weight)
        return F.linear(self.transform(self.layers(x)), self.tokens.weight, self.bias)


def bert():
    """Vocabulary 8192, hidden 128, length 128, batch 16, Adam."""
    model = Bert(8192, 128, 128)
    tokens = torch.arange(16 * 128) * 7919 % 8192
    targets, tokens = tokens.flip(0), tokens.view(16, 128)
    segments = torch.zeros_like(tokens)
    loss = lambda model: F.cross_entropy(model(tokens, segments).flatten(0, 1), targets)
    return training(model, 1_883_520, torch.optim.Adam(model.parameters(), lr=LR), loss)


# Each with its GFLOP.
WORKS = {
    "matmul_256": (0.033_554, lambda: matmul(256)),
    "matmul_512": (0.268_435, lambda: matmul(512)),
    "matmul_1024": (2.147_484, lambda: matmul(1024)),
    "conv_n32_c16_hw32_k3_fb": (0.453, lambda: conv(16, 32)),
    "conv_n32_c64_hw16_k3_fb": (1.812, lambda: conv(64, 16)),
    "mlp_784_32x16_10_b256_sgdm": (0.0626, mlp),
    "resnet_bottleneck_b64_sgdm": (4.650, resnet),
    "bert_h128_l4_s128_b16_adam": (24.16, bert),
    "matmul_4096": (137.438_953, lambda: matmul(4096)),
    "resnet50_n64_hw224_sgdm": (1_570.247, resnet50),
}
# What takes minutes on a CPU, so only when it is named.
LARGE = ("matmul_4096", "resnet50_n64_hw224_sgdm")


def peak_bytes(cuda):
    """On a GPU of its memory; else of the process as a whole, interpreter and libraries included, which Linux counts in KiB."""
    if cuda:
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device(cuda):
    """What it runs on."""
    return torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"


def timing(name, cuda):
    """Makes a work, steps once, warms up, then times steps, each to the end of what the device does for it."""
    gflop, make = WORKS[name]
    begun = time.perf_counter()
    step = make()

    def timed_step():
        begun = time.perf_counter()
        step()
        if cuda:
            torch.cuda.synchronize()
        return (time.perf_counter() - begun) * 1e3

    timed_step()
    first_step_ms = (time.perf_counter() - begun) * 1e3
    for _ in range(WARM_UP):
        timed_step()
    begun, times = time.perf_counter(), []
    since = lambda: time.perf_counter() - begun
    while since() < LONGEST and (len(times) < RUNS or since() < ENOUGH):
        times.append(timed_step())
    median_ms = statistics.median_high(times)
    return {
        "work": name,
        "median_ms": median_ms,
        "min_ms": min(times),
        "runs": len(times),
        "gflops": gflop / (median_ms / 1e3),
        "launches": None,
        "first_step_ms": first_step_ms,
        "peak_bytes": peak_bytes(cuda),
        "adapter": f"PyTorch {device(cuda)}",
    }


if __name__ == "__main__":
    cuda, names = "--cuda" in sys.argv[1:], [name for name in sys.argv[1:] if name != "--cuda"]
    unknown = [name for name in names if name not in WORKS]
    if unknown:
        sys.exit(f"error: unknown work `{unknown[0]}`; there are {', '.join(WORKS)}")
    if cuda:
        if not torch.cuda.is_available():
            sys.exit("error: this PyTorch finds no GPU")
        torch.set_default_device("cuda")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for name in names or [name for name in WORKS if name not in LARGE]:
        print(json.dumps(timing(name, cuda), separators=(",", ":")), flush=True)
