"""Residual networks in folders as transformers writes them, and folders of ours in transformers.

    python vision.py make
    python vision.py check FOLDER…

`make` writes hub/resnet-KIND/, a folder of `ResNetForImageClassification` with its image processor, and hub/resnet-KIND.expected.safetensors: `pixels`
(N, H, W, 3; u32), pictures, and the `logits` (N, classes) of transformers, computed in f64.

`check` loads folders that Taper wrote by `from_pretrained`, which must miss nothing and find nothing too much, prepares the pictures of
`FOLDER.json` beside each by its image processor, and compares the logarithms of the classes' probabilities with ours there; asks `pipeline` as well, and ONNX Runtime for
onnx/model.onnx. Fails if a score is off by more than 1e-4. Needs transformers (4.57 when it was written), torch, Pillow and onnxruntime.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    BitImageProcessor,
    ResNetConfig,
    ResNetForImageClassification,
    pipeline,
)

HERE = Path(__file__).parent / "hub"
GATE = 1e-4
LABELS = ["apple", "pear", "fig"]
KINDS = {
    "basic": dict(embedding_size=4, hidden_sizes=[4, 8], depths=[2, 1], layer_type="basic"),
    "bottleneck": dict(embedding_size=4, hidden_sizes=[16, 32], depths=[1, 2], layer_type="bottleneck"),
}


def make():
    torch.manual_seed(0)
    for name, sizes in KINDS.items():
        labels = {k: label for k, label in enumerate(LABELS)}
        config = ResNetConfig(**sizes, id2label=labels, label2id={v: k for k, v in labels.items()})
        net = ResNetForImageClassification(config).eval()
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                # Away from 0 and 1: a tensor in a wrong place shows.
                for tensor, mean in [(module.weight, 1), (module.bias, 0), (module.running_mean, 0)]:
                    torch.nn.init.normal_(tensor, mean, 0.3)
                torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
        folder = HERE / f"resnet-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        net.save_pretrained(folder)
        processor = BitImageProcessor(
            size={"shortest_edge": 40},
            crop_size={"height": 32, "width": 32},
            resample=Image.Resampling.BILINEAR,
            image_mean=[0.5, 0.4, 0.3],
            image_std=[0.2, 0.3, 0.25],
        )
        processor.save_pretrained(folder)
        pixels = np.random.default_rng(1).integers(0, 256, (3, 48, 40, 3), dtype=np.uint8)
        given = processor([Image.fromarray(p) for p in pixels], return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            logits = net.double()(given.double()).logits
        expected = {"pixels": pixels.astype(np.uint32), "logits": logits.float().numpy()}
        save_file(expected, HERE / f"resnet-{name}.expected.safetensors")


def check(folder):
    asked = json.loads(Path(f"{folder}.json").read_text())
    pictures = [Image.open(Path(folder).parent / name).convert("RGB") for name in asked["pictures"]]
    net, told = AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    for kind in ["missing_keys", "unexpected_keys", "mismatched_keys"]:
        assert not told[kind], (kind, told[kind])
    given = AutoImageProcessor.from_pretrained(folder, use_fast=False)(pictures, return_tensors="pt")["pixel_values"]
    ours = np.array(asked["logs"])
    with torch.no_grad():
        theirs = net.eval()(given).logits.numpy()

    def compare(what, theirs):
        theirs = torch.log_softmax(torch.tensor(theirs), 1).numpy()
        off = np.max(np.abs(theirs - ours) / (1 + np.abs(ours)))
        assert off <= GATE, f"{folder}: {what} is off by {off}"
        return off

    off = compare("transformers", theirs)
    import onnxruntime

    session = onnxruntime.InferenceSession(f"{folder}/onnx/model.onnx")
    off = max(off, compare("onnxruntime", session.run(["logits"], {"pixel_values": given.numpy()})[0]))
    best = [answer[0]["label"] for answer in pipeline("image-classification", folder, use_fast=False)(pictures)]
    assert best == [asked["labels"][k] for k in ours.argmax(1)], best
    print(f"{folder}: {off:.1e}")


if sys.argv[1] == "make":
    make()
else:
    for folder in sys.argv[2:]:
        check(folder)
