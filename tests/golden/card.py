"""Runs the Python of model cards as it stands, and compares its logits with ours.

    python card.py FOLDER…

Each folder is a model folder with its card, and has `images.f32` (N, C, H, W) and `logits.f32` (N, classes) beside it: little-endian floats without
a header. The first snippet prepares pictures, the second is PyTorch's, the third ONNX Runtime's, which is passed over, and said, where that is not installed. Prints a line a
folder; fails if a snippet does, if its `images` have another shape than ours, or a logit is off by more than 1e-4.

`TAPER_TORCH=VENV/bin/python cargo test -p taper-tests --test onnx` makes the folders and runs this; VENV has torch, torchvision and safetensors
from PyPI (2.15, 0.29 and 0.8 when it was written).
"""

import os
import re
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

GATE = 1e-4


def run(code, folder, images):
    """What a snippet leaves, with `images` in place of the zeros that it makes."""
    place = {}
    os.chdir(folder)
    exec(compile(code, str(folder / "README.md"), "exec"), place)
    assert tuple(place["images"].shape[1:]) == images.shape[1:], place["images"].shape
    assert place["logits"].shape[0] == 1, place["logits"].shape
    return place


def compare(folder):
    snippets = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    assert len(snippets) == 3, f"{folder}: {len(snippets)} snippets"
    prepare, *snippets = snippets
    exec(compile(prepare, str(folder / "README.md"), "exec"), place := {})
    ours = np.fromfile(folder / "logits.f32", "<f4")
    size = re.search(r"torch\.zeros\(1, (\d+), (\d+), (\d+)\)", snippets[0])
    images = np.fromfile(folder / "images.f32", "<f4").reshape(-1, *map(int, size.groups()))
    ours = ours.reshape(len(images), -1)
    # A grey level of the picture is the same in all of its places, whatever its size.
    side = images.shape[2]
    Image.new("RGB", (side, side), (51, 102, 204)).save(folder / "picture.png")
    pixels = place["prepare"](folder / "picture.png")
    assert (pixels.shape, pixels.dtype) == ((1, *images.shape[1:]), np.float32), (pixels.shape, pixels.dtype)
    assert np.ptp(pixels, (2, 3)).max() == 0
    place = run(snippets[0], folder, images)
    assert not place["model"].training, "batch norm would use the batch's statistics"
    with torch.no_grad():
        answers = [place["model"](torch.from_numpy(images)).numpy()]
    try:
        import onnxruntime  # noqa: F401

        place = run(snippets[1], folder, images)
        answers.append(place["session"].run(["logits"], {"input": images})[0])
        engines = "both engines"
    except ImportError:
        engines = "PyTorch; ONNX Runtime is not installed"
    off = np.max([np.abs(answer - ours).max() for answer in answers])
    most = np.abs(ours).max()
    print(f"{folder.name}: {images.shape}, logits up to {most:.3f}, off by {off:.1e} in {engines}")
    return off <= GATE and most > 0.01


def main():
    torch.set_num_threads(1)
    # A list, so that every folder is compared.
    if not all([compare(Path(folder).resolve()) for folder in sys.argv[1:]]):
        sys.exit(f"a logit is off by more than {GATE}")


main()
