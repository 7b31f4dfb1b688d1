"""Compares model.onnx with logits of ours, in ONNX Runtime.

    python onnx.py FOLDER…

Each folder has a model.onnx, `images.f32` (N, C, H, W) and `logits.f32` (N, classes): little-endian floats without a header.
Prints a line a folder; fails if ONNX's own checker refuses a model or a logit is off by more than 1e-4.
"""

import sys
from pathlib import Path

# This file has the package's name, and Python looks here first.
sys.path.remove(str(Path(__file__).parent))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402

GATE = 1e-4


def compare(folder):
    path = folder / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, answer.name) == ("input", "logits"), (given.name, answer.name)
    assert isinstance(given.shape[0], str), f"the batch is fixed: {given.shape}"
    images = np.fromfile(folder / "images.f32", "<f4").reshape(-1, *given.shape[1:])
    ours = np.fromfile(folder / "logits.f32", "<f4").reshape(len(images), answer.shape[1])
    # All at once, and one by one: the batch is any number.
    whole = session.run(["logits"], {"input": images})[0]
    single = np.concatenate([session.run(["logits"], {"input": image[None]})[0] for image in images])
    # By NumPy, whose maximum of a NaN is one.
    off = np.max([np.abs(found - ours).max() for found in (whole, single)])
    most = float(np.abs(ours).max())
    print(f"{folder.name}: {len(images)} × {given.shape[1:]}, logits up to {most:.3f}, off by {off:.1e}")
    return off <= GATE and most > 0.01


def main():
    # A list, so that every folder is compared.
    if not all([compare(Path(folder)) for folder in sys.argv[1:]]):
        sys.exit(f"a logit is off by more than {GATE}")


main()
