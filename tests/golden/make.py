#!/usr/bin/env python3
"""Makes every golden file of this folder with PyTorch. The files are committed, so PyTorch is not needed to run the tests.

    python3 tests/golden/make.py [ops|half|train|mixed|masked|heads|mobile|starts|encoders|crops]...

Everything is a function of the constants in this file: a second run writes the same bytes.

ops/FAMILY.safetensors holds the tensors of several cases, in Taper's layout (images NHWC, convolution weights (O, KH, KW, I)):
    CASE.input.K    the node's inputs in order (f32; labels and ids u32)
    CASE.output.K   its outputs (a scalar has the shape [1])
    CASE.upstream   the gradient that arrives at output 0
    CASE.grad.K     the gradient with respect to input K; absent where the op defines none
and in its metadata under `cases` a JSON object CASE -> {"op": name, attribute: value, ...}.

Inputs are rounded to f32 first, everything is computed in f64, results are rounded to f32 at the end: what a golden is off
by is one rounding, so a test's tolerance is all the kernel's.

half/FAMILY.safetensors holds the same cases with inputs and upstream gradients that f16 holds exactly: what the storage of results as f16
adds is then all that a kernel may be off by.

train.py, taught.py, mixed.py, masked.py, heads.py, mobile.py, starts.py, encoders.py and crops.py, beside this file, make the rest; mixed,
masked, heads and mobile are made on request.
"""

import json
import math
import os
import sys

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))


def store(path, tensors, metadata, finite=True):
    """Writes a safetensors file with sorted names; `metadata` values become JSON strings."""
    path = os.path.join(HERE, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    for name, tensor in tensors.items():
        assert not finite or np.isfinite(tensor).all(), f"{path}: {name} is not finite"
    arrays = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    meta = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    # safetensors writes the metadata in the order of a hash map, which differs from run to run: one key only is stable.
    assert len(meta) <= 1, "one metadata key keeps the file the same bytes"
    save_file(arrays, path, metadata=meta)
    os.chmod(path, 0o644)


def f32(tensor):
    """A tensor as the f32 (or u32) array that is stored."""
    array = tensor.detach().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)
    if array.dtype.kind in "iu":
        array = array.astype(np.uint32)
    else:
        array = array.astype(np.float32)
    return array.reshape(1) if array.ndim == 0 else array


# Whether inputs are rounded to f16, not only to f32.
HALF = False


def rounded(tensor):
    """The numbers of a floating-point tensor as an input holds them."""
    if not tensor.is_floating_point():
        return tensor
    return (tensor.half() if HALF else tensor.float()).double()


def normal(*shape, scale=1.0):
    """Gaussian numbers that an input holds exactly, as f64."""
    return rounded(torch.randn(*shape, dtype=torch.float64) * scale)


def ids(high, *shape):
    """Integers in 0..high."""
    return torch.randint(high, shape)


class Family:
    """Collects the cases of one file."""

    def __init__(self, name):
        self.name, self.tensors, self.cases = name, {}, {}
        # A family does not depend on the ones before it, so adding a case elsewhere leaves this file alone.
        torch.manual_seed(sum(ord(c) << (i % 16) for i, c in enumerate(name)))

    def keep(self, case, op, attributes, inputs, outputs, upstream=None, grads=None):
        """Stores one case; `grads` maps an input's index to its gradient."""
        assert case not in self.cases, case
        self.cases[case] = {"op": op, **attributes}
        for k, x in enumerate(inputs):
            self.tensors[f"{case}.input.{k}"] = f32(x)
        for k, y in enumerate(outputs):
            self.tensors[f"{case}.output.{k}"] = f32(y)
        if upstream is not None:
            self.tensors[f"{case}.upstream"] = f32(upstream)
        for k, g in (grads or {}).items():
            self.tensors[f"{case}.grad.{k}"] = f32(g)

    def case(self, case, op, attributes, inputs, function, differentiable=None):
        """Runs `function(*inputs)` forward and backward. It returns the output, or a tuple whose first member has the gradient."""
        inputs = [rounded(x) for x in inputs]
        if differentiable is None:
            differentiable = [k for k, x in enumerate(inputs) if x.is_floating_point()]
        leaves = [x.clone().requires_grad_(k in differentiable) if x.is_floating_point() else x for k, x in enumerate(inputs)]
        outputs = function(*leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        upstream = normal(*outputs[0].shape) if outputs[0].ndim else torch.tensor(0.75, dtype=torch.float64)
        grads = torch.autograd.grad(outputs[0], [leaves[k] for k in differentiable], upstream)
        self.keep(case, op, attributes, inputs, outputs, upstream, dict(zip(differentiable, grads)))

    def save(self, finite=True):
        store(f"{'half' if HALF else 'ops'}/{self.name}.safetensors", self.tensors, {"cases": self.cases}, finite)


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def matmul():
    f = Family("matmul")
    for ta in (False, True):
        for tb in (False, True):
            name = ("t" if ta else "n") + ("t" if tb else "n")
            shapes = {"2d": ((), 13, 7, 9), "big": ((), 65, 18, 67) if name == "nn" else ((), 34, 9, 37), "batched": ((3,), 5, 11, 7), "thin": ((), 1, 37, 3)}
            for label, (batch, m, k, n) in shapes.items():
                a = normal(*batch, *((k, m) if ta else (m, k)))
                b = normal(*batch, *((n, k) if tb else (k, n)))

                def run(a, b, ta=ta, tb=tb):
                    return (a.transpose(-1, -2) if ta else a) @ (b.transpose(-1, -2) if tb else b)

                f.case(f"{name}_{label}", "matmul", {"trans_a": ta, "trans_b": tb}, [a, b], run)
    f.save()


def linear():
    f = Family("linear")
    for rows, fan_in, fan_out in ((5, 7, 3), (17, 19, 35), (1, 13, 10)):
        for bias in (False, True):
            for relu in (False, True):
                x, w, b = normal(rows, fan_in), normal(fan_out, fan_in, scale=fan_in**-0.5), normal(fan_out)

                def run(x, w, b=None, relu=relu):
                    y = F.linear(x, w, b)
                    return F.relu(y) if relu else y

                name = f"{rows}x{fan_in}x{fan_out}{'_bias' if bias else ''}{'_relu' if relu else ''}"
                f.case(name, "linear", {"bias": bias, "relu": relu}, [x, w] + [b] * bias, run)
    f.save()


def conv2d():
    f = Family("conv2d")
    # name: (images, height, width, in, out, (kh, kw), (sh, sw), (ph, pw), bias)
    cases = {
        "k1": (2, 5, 7, 3, 5, (1, 1), (1, 1), (0, 0), False),
        "k1_one_channel": (1, 5, 3, 1, 1, (1, 1), (1, 1), (0, 0), True),
        "k1_stride2": (2, 7, 5, 8, 5, (1, 1), (2, 2), (0, 0), False),
        "k1_stride2_even": (3, 6, 4, 4, 8, (1, 1), (2, 2), (0, 0), False),
        "k3": (2, 7, 5, 3, 4, (3, 3), (1, 1), (1, 1), False),
        "k3_bias": (1, 6, 9, 4, 3, (3, 3), (1, 1), (1, 1), True),
        "k3_valid": (2, 5, 6, 5, 8, (3, 3), (1, 1), (0, 0), True),
        "k3_stride2": (2, 9, 7, 8, 5, (3, 3), (2, 2), (1, 1), False),
        "k3_stride2_even": (2, 8, 6, 4, 4, (3, 3), (2, 2), (1, 1), False),
        "k3_stride3": (1, 10, 11, 3, 8, (3, 3), (3, 3), (0, 0), True),
        "k3_wide": (1, 9, 7, 12, 17, (3, 3), (1, 1), (1, 1), False),
        "k3_smaller_than_kernel": (3, 2, 2, 8, 4, (3, 3), (1, 1), (1, 1), False),
        "k7_stem": (2, 11, 9, 3, 6, (7, 7), (2, 2), (3, 3), False),
        "k7_one_channel": (1, 9, 9, 1, 5, (7, 7), (1, 1), (3, 3), True),
        "k3x1": (2, 7, 6, 4, 5, (3, 1), (1, 1), (1, 0), False),
        "k1x3_stride1x2": (2, 5, 9, 5, 3, (1, 3), (1, 2), (0, 1), True),
        "k2": (2, 5, 5, 3, 3, (2, 2), (2, 2), (0, 0), False),
    }
    for name, (n, h, w, cin, cout, k, stride, pad, bias) in cases.items():
        x, b = normal(n, h, w, cin), normal(cout)
        weight = normal(cout, *k, cin, scale=(cin * k[0] * k[1]) ** -0.5)

        def run(x, weight, b=None, stride=stride, pad=pad):
            return nhwc(F.conv2d(nchw(x), nchw(weight), b, stride, pad))

        f.case(name, "conv2d", {"stride": stride, "pad": pad, "bias": bias}, [x, weight] + [b] * bias, run)
    f.save()


def pool():
    f = Family("pool")
    cases = {
        "max_3_2_1": ((2, 9, 7, 5), 3, 2, 1, 0.0),
        "max_3_2_1_even": ((1, 8, 6, 3), 3, 2, 1, 0.0),
        # All values negative: padding must not win.
        "max_3_2_1_negative": ((2, 7, 5, 4), 3, 2, 1, -9.0),
        "max_2_2_0": ((2, 6, 8, 3), 2, 2, 0, 0.0),
        "max_2_2_0_odd": ((2, 7, 5, 1), 2, 2, 0, 0.0),
        "max_3_1_1_overlapping": ((1, 5, 6, 3), 3, 1, 1, 0.0),
    }
    for name, (shape, kernel, stride, pad, shift) in cases.items():
        attributes = {"kernel": [kernel] * 2, "stride": [stride] * 2, "pad": [pad] * 2}
        x = (normal(*shape) + shift).float().double()
        f.case(name, "max_pool", attributes, [x], lambda x: nhwc(F.max_pool2d(nchw(x), kernel, stride, pad)))
    for shape in ((3, 5, 7, 6), (2, 1, 1, 5), (5, 4, 4, 33)):
        name = "global_avg_" + "x".join(map(str, shape))
        f.case(name, "global_avg_pool", {}, [normal(*shape)], lambda x: x.mean((1, 2)))
    f.save()


def norm():
    f = Family("norm")
    eps = 1e-5
    for shape in ((3, 5, 3, 7), (11, 6), (3, 1, 2, 35)):
        c, label = shape[-1], "x".join(map(str, shape))
        for relu in (False, True):
            # A mean of several deviations shows a variance that is computed as E[x²] − E[x]².
            x = (normal(*shape) * torch.linspace(0.3, 2, c, dtype=torch.float64) + torch.linspace(-3, 5, c, dtype=torch.float64)).float().double()
            gamma, beta = normal(c), normal(c)
            mean, var = normal(c), (normal(c).abs() + 0.5).float().double()

            def train(x, gamma, beta, mean, var, relu=relu):
                mean, var = mean.detach().clone(), var.detach().clone()
                rows = x.reshape(-1, x.shape[-1])
                y = F.batch_norm(rows, mean, var, gamma, beta, True, 0.1, eps).reshape(x.shape)
                return (F.relu(y) if relu else y), mean, var

            def evaluate(x, gamma, beta, mean, var, relu=relu):
                y = F.batch_norm(x.reshape(-1, x.shape[-1]), mean, var, gamma, beta, False, 0.1, eps).reshape(x.shape)
                return F.relu(y) if relu else y

            inputs, suffix = [x, gamma, beta, mean, var], "_relu" if relu else ""
            f.case(f"batch_norm_train_{label}{suffix}", "batch_norm_train", {"eps": eps, "momentum": 0.1, "relu": relu}, inputs, train, [0, 1, 2])
            f.case(f"batch_norm_eval_{label}{suffix}", "batch_norm_eval", {"eps": eps, "relu": relu}, inputs, evaluate, [0, 1, 2])
    for shape, ln_eps in (((5, 7), 1e-5), ((3, 11, 33), 1e-5), ((2, 3, 130), 1e-12)):
        c = shape[-1]
        x = (normal(*shape) * 2 + 1).float().double()
        run = lambda x, g, b: F.layer_norm(x, (c,), g, b, ln_eps)
        f.case("layer_norm_" + "x".join(map(str, shape)), "layer_norm", {"eps": ln_eps}, [x, normal(c), normal(c)], run)
    # With a skip connection, which may lack leading axes.
    for shape, skip in (((5, 7), (5, 7)), ((3, 5, 12), (3, 5, 12)), ((3, 11, 33), (11, 33)), ((2, 3, 5, 8), (5, 8)), ((7, 36), (36,))):
        c = shape[-1]
        run = lambda x, g, b, skip: F.layer_norm(x + skip, (c,), g, b, eps)
        name = f"layer_norm_{'x'.join(map(str, shape))}_skip_{'x'.join(map(str, skip))}"
        f.case(name, "layer_norm", {"eps": eps}, [normal(*shape), normal(c), normal(c), (normal(*skip) * 2 + 1).float().double()], run)
    # One outlier a row, which a variance by sums shifted by the first number would feel.
    x = normal(5, 36)
    x[:, 0] = 4000.0
    f.case("layer_norm_outlier", "layer_norm", {"eps": eps}, [x, normal(36), normal(36)], lambda x, g, b: F.layer_norm(x, (36,), g, b, eps))
    f.save()


def elementwise():
    f = Family("elementwise")
    functions = {
        "relu": F.relu,
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
    }
    for op, function in functions.items():
        for shape in ((7, 5), (3, 2, 5, 3), (1, 133)):
            f.case(f"{op}_{'x'.join(map(str, shape))}", op, {}, [normal(*shape)], function)
        # Where exp overflows f32, and where the function is flat.
        large = torch.tensor([-200.0, -100, -89, -50, -20, -10, -6, -1e-3, 1e-3, 6, 10, 20, 50, 89, 100, 200, 1e4], dtype=torch.float64)
        f.case(f"{op}_large", op, {}, [large], function)
    for shape in ((5, 7), (2, 3, 5, 3), (1, 133)):
        label = "x".join(map(str, shape))
        f.case(f"add_{label}", "add", {}, [normal(*shape), normal(*shape)], lambda a, b: a + b)
        f.case(f"mul_{label}", "mul", {}, [normal(*shape), normal(*shape)], lambda a, b: a * b)
        f.case(f"add_relu_{label}", "add_relu", {}, [normal(*shape), normal(*shape)], lambda a, b: F.relu(a + b))
        f.case(f"scale_{label}", "scale", {"scale": -0.375}, [normal(*shape)], lambda a: a * -0.375)
        f.case(f"add_bias_{label}", "add_bias", {}, [normal(*shape), normal(shape[-1])], lambda a, b: a + b)
    f.save()


def softmax():
    f = Family("softmax")
    for shape, scale in (((5, 7), 1.0), ((3, 11, 33), 0.25), ((2, 131), 1.0), ((4, 3), 30.0)):
        name = f"softmax_{'x'.join(map(str, shape))}"
        f.case(name, "softmax", {"scale": scale}, [normal(*shape, scale=3.0)], lambda x: torch.softmax(x * scale, -1))
    f.case("softmax_large", "softmax", {"scale": 1.0}, [normal(3, 5, scale=200.0)], lambda x: torch.softmax(x, -1))
    f.save()


def attention():
    f = Family("attention")
    # name: (tokens of each sample, of which there is room for the first number, heads, d, scale of qkv)
    cases = {
        "one_head": (5, (5, 5), 1, 4, 1.0),
        "odd_head": (7, (7, 4), 3, 5, 1.0),
        "one_token": (1, (1, 1, 1), 2, 8, 1.0),
        "ragged": (19, (19,), 2, 12, 1.0),
        "full": (13, (13, 6), 2, 32, 1.0),
        "wide": (9, (8,), 3, 36, 1.0),
        "wider": (6, (5,), 2, 72, 1.0),
        "steep": (11, (11, 11), 2, 8, 2.0),
        "padded": (19, (3, 18, 1, 9), 2, 12, 1.0),
    }
    for name, (length, lengths, heads, d, scale) in cases.items():

        def run(qkv, lengths, heads=heads, length=length):
            # As nn.MultiheadAttention packs them: all queries, all keys, all values. No row looks at padding.
            q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
            there = torch.arange(length) < lengths[:, None]
            return F.scaled_dot_product_attention(q, k, v, there[:, None, None]).transpose(1, 2).flatten(2)

        qkv = normal(len(lengths), length, 3 * heads * d, scale=scale)
        f.case(f"attention_{name}", "attention", {"heads": heads}, [qkv, torch.tensor(lengths)], run)
    f.save()


def random_u32(seed, stream, index):
    """The numbers of shaders/lib/random.wgsl (PCG3D of Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 2020)."""
    x, y, z = np.broadcast_arrays(*(np.asarray(v, np.uint32) for v in (seed, stream, index)))
    with np.errstate(over="ignore"):
        x, y, z = (v * np.uint32(1664525) + np.uint32(1013904223) for v in (x, y, z))
        x = x + y * z
        y = y + z * x
        z = z + x * y
        x, y, z = (v ^ (v >> np.uint32(16)) for v in (x, y, z))
        return x + y * z


def kept(draws, p, scale):
    """Factors: 0 with probability p, by draws of which there are `scale`, else 1 / (1 − p); p as f32, as a plan has it."""
    p = float(np.float32(p))
    return torch.from_numpy(np.where(draws >= int(p * scale), 1 / (1 - p), 0.0))


def dropout():
    f = Family("dropout")
    for shape, p, stream, seed, step in (((3, 5, 7), 0.3, 5, 11, 2), ((6, 8), 0.5, 2**32 - 3, 0, 0), ((4, 12), 0.1, 0, 7, 2**20)):
        index = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
        mask = kept(random_u32(random_u32(seed, 0, step), stream, index) >> np.uint32(8), p, 2**24)
        attributes = {"p": p, "stream": stream, "seed": seed, "step": step}
        f.case(f"dropout_{'x'.join(map(str, shape))}", "dropout", attributes, [normal(*shape)], lambda x, mask=mask: x * mask)
    # name: (tokens of each sample, of which there is room for the first number, heads, d, p, stream, seed, step)
    cases = {
        "odd_head": (7, (7, 4), 3, 5, 0.25, 3, 1, 2),
        "ragged": (19, (19, 3), 2, 12, 0.1, 2**31 + 9, 5, 77),
        "full": (13, (13, 6), 2, 32, 0.5, 0, 2**32 - 1, 0),
        "wide": (9, (8,), 3, 36, 0.2, 12, 0, 5),
        "wider": (6, (5,), 2, 72, 0.4, 4, 9, 1),
    }
    for name, (length, lengths, heads, d, p, stream, seed, step) in cases.items():
        # By the row, counted through the heads of all samples, and the column.
        rows = np.arange(len(lengths) * heads * length, dtype=np.uint32).reshape(len(lengths), heads, length, 1)
        mask = kept(random_u32(random_u32(seed, stream, step), rows, np.arange(length, dtype=np.uint32)), p, 2**32)

        def run(qkv, lengths, heads=heads, length=length, mask=mask):
            q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
            there = torch.arange(length) < lengths[:, None]
            scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~there[:, None, None], -torch.inf)
            return (scores.softmax(-1) * mask @ v).transpose(1, 2).flatten(2)

        attributes = {"heads": heads, "p": p, "stream": stream, "seed": seed, "step": step}
        qkv = normal(len(lengths), length, 3 * heads * d)
        f.case(f"attention_dropout_{name}", "attention_dropout", attributes, [qkv, torch.tensor(lengths)], run)
    f.save()


def embedding():
    f = Family("embedding")
    for vocabulary, width, shape in ((11, 5, (3, 7)), (37, 9, (5,)), (3, 4, (2, 13))):
        name = f"embedding_{vocabulary}x{width}_{'x'.join(map(str, shape))}"
        f.case(name, "embedding", {}, [normal(vocabulary, width), ids(vocabulary, *shape)], lambda table, at: table[at])
    f.case("embedding_all_the_same", "embedding", {}, [normal(5, 3), torch.full((17,), 2)], lambda table, at: table[at])
    # More ids than invocations share them, most of them absent.
    f.case("embedding_sparse", "embedding", {}, [normal(2051, 8), ids(2051, 3, 11)], lambda table, at: table[at])
    f.save()


def spans():
    f = Family("spans")
    for batch, length, lengths in ((2, 5, (5, 3)), (3, 8, (1, 8, 6))):
        # Tokens that are not there have the lowest score that f16 holds.
        run = lambda x, n, length=length: torch.where((torch.arange(length) < n[:, None])[..., None], x, -65504.0).transpose(1, 2)
        f.case(f"span_scores_{batch}x{length}", "span_scores", {}, [normal(batch, length, 2), torch.tensor(lengths)], run)
    for shape in ((3, 5, 7), (2, 4, 8), (4, 1, 3)):
        f.case(f"first_token_{'x'.join(map(str, shape))}", "first_token", {}, [normal(*shape)], lambda x: x[:, 0])
    x = normal(9, 2, 3)
    y = x.argmax(-1)
    y[::2, 0] = (y[::2, 0] + 1) % 3
    y[1, 1] = 2**32 - 1
    f.keep("accuracy_of_samples", "accuracy_of_samples", {}, [x, y], [(x.argmax(-1) == y).all(-1).double().mean()])
    f.save()


def rows():
    f = Family("rows")
    # Some rows of each sample; a place outside of it reads zeros. The same place may be asked for twice.
    for batch, length, width, places in ((2, 5, 3, 4), (3, 7, 8, 2), (1, 1, 4, 3), (2, 33, 12, 7)):

        def run(x, at):
            there = (at < x.shape[1])[..., None]
            index = at.clamp(max=x.shape[1] - 1)[..., None].expand(-1, -1, x.shape[2])
            return torch.where(there, x.gather(1, index), 0.0)

        f.case(f"positions_{batch}x{length}x{width}_{places}", "positions", {}, [normal(batch, length, width), ids(length + 1, batch, places)], run)
    for shape in ((2, 5, 3), (3, 7, 8)):
        name = "x".join(map(str, shape))
        lengths = torch.arange(shape[0]) + 2
        run = lambda x, n: torch.where((torch.arange(x.shape[1]) < n[:, None])[..., None], x, 0.0)
        f.case(f"mask_by_length_{name}", "mask_by_length", {}, [normal(*shape), lengths], run)
        run = lambda x, y: torch.where((y < x.shape[-1])[..., None], x, 0.0)
        f.case(f"mask_by_label_{name}", "mask_by_label", {}, [normal(*shape), ids(2 * shape[-1], *shape[:-1])], run)
    # Means over what counts: a label that is no class does not.
    for shape, scale in (((7, 5), 2.0), ((2, 3, 12), 4.0)):
        name = "x".join(map(str, shape))
        logits, other = normal(*shape, scale=scale), normal(*shape, scale=scale)
        labels = ids(2 * shape[-1], *shape[:-1])
        labels.view(-1)[0] = 1
        there = labels < shape[-1]
        counted = {"counted": int(there.sum())}
        flat = lambda x, y: (x.flatten(0, -2), torch.where(y < x.shape[-1], y, -100).flatten())
        for smoothing in (0.0, 0.1):
            run = lambda x, y: F.cross_entropy(*flat(x, y), label_smoothing=smoothing)
            attributes = {"label_smoothing": smoothing, **counted}
            f.case(f"cross_entropy_by_label_{name}_{smoothing}", "cross_entropy_by_label", attributes, [logits, labels], run)
        run = lambda s, t, y: 4 * F.kl_div(F.log_softmax(s / 2, -1)[there], F.log_softmax(t / 2, -1)[there], reduction="batchmean", log_target=True)
        f.case(f"kl_by_label_{name}", "kl_by_label", {"temperature": 2.0, **counted}, [logits, other, labels], run, [0])
    shape, lengths = (3, 5, 8), torch.tensor([5, 2, 3])
    there = torch.arange(5) < lengths[:, None]
    run = lambda y, t, n: F.mse_loss(y[there], t[there])
    f.case("mse_by_length", "mse_by_length", {"counted": 10}, [normal(*shape), normal(*shape), lengths], run, [0])
    # Zeros in the first rows, of a vector as well.
    for shape, zeros in (((7, 5), 3), ((6, 8), 4), ((9,), 2), ((4, 3), 0)):
        there = (torch.arange(shape[0]) >= zeros).view(-1, *[1] * (len(shape) - 1))
        name = f"behind_{'x'.join(map(str, shape))}_{zeros}"
        f.case(name, "behind", {"rows": zeros}, [normal(*shape)], lambda x, there=there: torch.where(there, x, 0.0))
    f.save()


def loss():
    f = Family("loss")
    for rows, classes, scale in ((5, 7, 2.0), (13, 3, 2.0), (1, 10, 2.0), (5, 101, 2.0), (7, 5, 60.0)):
        label = f"{rows}x{classes}" + ("_large" if scale > 10 else "")
        logits, labels = normal(rows, classes, scale=scale), ids(classes, rows)
        for smoothing in (0.0, 0.1):
            run = lambda x, y: F.cross_entropy(x, y, label_smoothing=smoothing)
            f.case(f"cross_entropy_{label}_smoothing_{smoothing}", "cross_entropy", {"label_smoothing": smoothing}, [logits, labels], run)
        for t in (1.0, 4.0):
            # T² · KL(teacher ‖ student), mean over the rows; the teacher (input 1) is a constant.
            def run(student, teacher):
                return t * t * F.kl_div(F.log_softmax(student / t, -1), F.log_softmax(teacher / t, -1), reduction="batchmean", log_target=True)

            f.case(f"kl_{label}_t{int(t)}", "kl", {"temperature": t}, [logits, normal(rows, classes, scale=scale)], run, [0])
        # The share of the rows whose largest logit is at the label.
        best = logits.argmax(1)
        mixed = torch.where(torch.arange(rows) % 3 == 0, best, labels)
        share = (best == mixed).double().mean()
        f.keep(f"accuracy_{label}", "accuracy", {}, [logits, mixed], [share])
    for shape in ((5, 7), (3, 2, 5, 3), (1, 133)):
        label = "x".join(map(str, shape))
        f.case(f"mse_{label}", "mse", {}, [normal(*shape), normal(*shape)], lambda y, target: F.mse_loss(y, target), [0])
    # Loss, and its gradient in one; rows of more than one axis.
    for shape, scale in (((5, 7), 2.0), ((3, 2, 12), 2.0), ((7, 36), 60.0), ((2, 3, 260), 4.0)):
        for smoothing in (0.0, 0.1):
            logits, labels = normal(*shape, scale=scale).requires_grad_(), ids(shape[-1], *shape[:-1])
            found = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), label_smoothing=smoothing)
            name = f"cross_entropy_and_grad_{'x'.join(map(str, shape))}_smoothing_{smoothing}"
            f.keep(name, "cross_entropy_and_grad", {"label_smoothing": smoothing}, [logits, labels], [found, *torch.autograd.grad(found, logits)])
    f.save()


def infinite():
    """Losses of logits of −∞, which say that a class cannot be; a family of its own, as its answers are not all finite.

    The divergence is torch.distributions', where a class of probability 0 costs nothing whatever the student says of it. F.kl_div says so too,
    wherever it says a number: with both logits at −∞ it has 0 · ∞, which is none.
    """
    f = Family("infinite")
    inf = math.inf
    for classes in (7, 8, 40):
        # Rows: none; at a wrong class; at the label; the first class; four that a kernel reads at once; all but the label; all of them.
        lost = [[], [2], [5], [0], [0, 1, 2, 3], [c for c in range(classes) if c != 5], range(classes)]
        for name, lost in zip(("none", "wrong", "label", "first", "four", "all_but_label", "all"), lost):
            logits = normal(3, classes, scale=2.0)
            logits[1, list(lost)] = -inf
            labels = torch.tensor([1, 5, 3])
            for smoothing in (0.0, 0.1):
                run = lambda x, y: F.cross_entropy(x, y, label_smoothing=smoothing)
                f.case(f"cross_entropy_{classes}_{name}_smoothing_{smoothing}", "cross_entropy", {"label_smoothing": smoothing}, [logits, labels], run)
            for t in (1.0, 4.0):
                for side in ("student", "teacher", "both"):
                    student, teacher = normal(3, classes, scale=2.0), normal(3, classes, scale=2.0)
                    for logits in [student] * (side != "teacher") + [teacher] * (side != "student"):
                        logits[1, list(lost)] = -inf

                    def run(student, teacher):
                        q, p = F.log_softmax(student / t, -1), F.log_softmax(teacher / t, -1)
                        terms = torch.where(p.exp() == 0, 0.0, p.exp() * (p - q))
                        # The same by two of PyTorch's own.
                        theirs = torch.distributions.kl_divergence(*(torch.distributions.Categorical(logits=x, validate_args=False) for x in (p, q)))
                        assert torch.allclose(terms.sum(-1).detach(), theirs.detach(), equal_nan=True) or name == "all"
                        again = F.kl_div(q, p.exp(), reduction="none").sum(-1).detach()
                        assert ((again - terms.sum(-1).detach()).abs().nan_to_num(0.0, 0.0) < 1e-9).all()
                        return t * t * terms.sum() / len(student)

                    f.case(f"kl_{classes}_{name}_{side}_t{int(t)}", "kl", {"temperature": t}, [student, teacher], run, [0])
    f.save(finite=False)


def optimizer():
    """CASE.input: 0 the parameters, 1 the decay mask (1 where weight decay acts), 2..4 the gradients of three steps; `lr` is a list, one a step.
    CASE.output: 0..2 the parameters after each step, then the state after the last (sgd: velocity if momentum > 0; adam: m, v)."""
    f = Family("optimizer")
    count, decayed, lrs = 53, 37, [0.1, 0.05, 0.2]

    def run(case, op, attributes, make, scale):
        p, grads = normal(count), [normal(count) for _ in range(3)]
        mask = (torch.arange(count) < decayed).double()
        split = lambda x: [x[:decayed].clone(), x[decayed:].clone()]
        parts = [x.requires_grad_() for x in split(p)]
        steps = make([{"params": [parts[0]]}, {"params": [parts[1]], "weight_decay": 0.0}])
        lr_list, after = [lr * scale for lr in lrs], []
        for lr, g in zip(lr_list, grads):
            for group in steps.param_groups:
                group["lr"] = lr
            for part, piece in zip(parts, split(g)):
                part.grad = piece
            steps.step()
            after.append(torch.cat([x.detach().clone() for x in parts]))
        state = [steps.state[x] for x in parts]
        keys = [k for k in ("momentum_buffer", "exp_avg", "exp_avg_sq") if state[0].get(k) is not None]
        f.keep(case, op, {"lr": lr_list, **attributes}, [p, mask, *grads], after + [torch.cat([s[k] for s in state]) for k in keys])

    for momentum in (0.0, 0.9):
        for nesterov in (False, True) if momentum else (False,):
            for wd in (0.0, 0.05):
                a = {"momentum": momentum, "nesterov": nesterov, "weight_decay": wd}
                name = f"sgd_m{momentum}{'_nesterov' if nesterov else ''}_wd{wd}"
                run(name, "sgd", a, lambda groups: torch.optim.SGD(groups, lr=1.0, foreach=False, **a), 1.0)
    for op, make in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        for wd, eps in ((0.0, 1e-8), (0.05, 1e-8), (0.05, 1e-3)):
            a = {"beta1": 0.9, "beta2": 0.999, "eps": eps, "weight_decay": wd}
            name = f"{op}_wd{wd}_eps{eps}"
            run(name, op, a, lambda groups: make(groups, lr=1.0, betas=(0.9, 0.999), eps=eps, weight_decay=wd, foreach=False), 0.1)
    for name, scale in (("clip_above", 3.0), ("clip_below", 0.01)):
        g = normal(517, scale=scale)
        x = torch.zeros_like(g).requires_grad_()
        x.grad = g.clone()
        total = torch.nn.utils.clip_grad_norm_([x], 1.0, foreach=False)
        f.keep(name, "clip_grad_norm", {"max_norm": 1.0}, [g], [x.grad, total])
    f.save()


def ops():
    for family in (matmul, linear, conv2d, pool, norm, elementwise, softmax, attention, dropout, embedding, rows, spans, loss) + (() if HALF else (infinite, optimizer)):
        family()


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    what = sys.argv[1:] or ["ops", "half", "train", "starts", "encoders", "crops"]
    if "ops" in what:
        ops()
    if "half" in what:
        global HALF
        HALF = True
        ops()
        HALF = False
    if "masked" in what:
        import masked

        masked.main(store)
    if "heads" in what:
        import heads

        heads.main(store)
    if "mobile" in what:
        import mobile

        mobile.main(store)
    if "train" in what:
        import bert
        import mixed
        import taught
        import train

        train.main(store)
        taught.main(store)
        bert.main(store)
        mixed.main(store)
    if "mixed" in what:
        import mixed

        mixed.main(store)
    if "starts" in what:
        import starts

        starts.main(store)
    if "encoders" in what:
        import encoders

        encoders.main(store)
    if "crops" in what:
        import crops

        crops.main()


if __name__ == "__main__":
    main()
