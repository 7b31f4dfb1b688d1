"""Networks on images in folders as transformers and timm write them, and folders of ours in transformers, timm and PyTorch.

    python vision.py make
    python vision.py timm FOLDER
    python vision.py check FOLDER…

`make` writes hub/resnet-KIND/, a folder of `ResNetForImageClassification` with its image processor, and hub/resnet-KIND.expected.safetensors: `pixels`
(N, H, W, 3; u32), pictures, and the `logits` (N, classes) of transformers, computed in f64.

`timm` writes a folder as timm's `save_for_hf` does, and expected.safetensors of the same kind in it: a network of timm's stem is too large to be committed.

`check` loads folders that Taper wrote, prepares the pictures of `FOLDER.json` beside each as the folder says, and compares the logarithms of the classes'
probabilities with ours there. Those for transformers are loaded by `from_pretrained`, which must miss nothing and find nothing too much; `pipeline` and, for
onnx/model.onnx, ONNX Runtime are asked as well. Those for timm are loaded by `create_model`, those with a model.py by it. Fails if a score is off by more than
1e-4. Needs torch and Pillow, and for their folders transformers (4.57 when it was written), onnxruntime and timm (1.0.31).
"""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file

HERE = Path(__file__).parent / "hub"
GATE = 1e-4
LABELS = ["apple", "pear", "fig"]
KINDS = {
    "basic": dict(embedding_size=4, hidden_sizes=[4, 8], depths=[2, 1], layer_type="basic"),
    "bottleneck": dict(embedding_size=4, hidden_sizes=[16, 32], depths=[1, 2], layer_type="bottleneck"),
}


def settle(net):
    """Puts batch norms away from 0 and 1: a tensor in a wrong place shows."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, mean in [(module.weight, 1), (module.bias, 0), (module.running_mean, 0)]:
                torch.nn.init.normal_(tensor, mean, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)


def make():
    from transformers import BitImageProcessor, ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    for name, sizes in KINDS.items():
        labels = {k: label for k, label in enumerate(LABELS)}
        config = ResNetConfig(**sizes, id2label=labels, label2id={v: k for k, v in labels.items()})
        net = ResNetForImageClassification(config).eval()
        settle(net)
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


def make_timm(folder):
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    args = dict(layers=[1, 1, 1, 1], num_classes=3)
    net = timm.create_model("wide_resnet50_2", **args).eval()
    settle(net)
    # One edge of a resize that timm rounds down; the picture has that size already.
    net.pretrained_cfg = {**net.pretrained_cfg, "label_names": LABELS}
    cfg = dict(input_size=(3, 32, 32), interpolation="bilinear", crop_pct=0.95, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
    save_for_hf(net, folder, model_config=dict(model_args=args, label_names=LABELS, pretrained_cfg=cfg), safe_serialization=True)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 33, 40, 3), dtype=np.uint8)
    prepare = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=cfg), is_training=False)
    given = torch.stack([prepare(Image.fromarray(p)) for p in pixels])
    with torch.no_grad():
        logits = net.double()(given.double())
    expected = {"pixels": pixels.astype(np.uint32), "logits": logits.float().numpy()}
    save_file(expected, Path(folder) / "expected.safetensors")


def by_transformers(folder, pictures, best, compare):
    import onnxruntime
    from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

    net, told = AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    for kind in ["missing_keys", "unexpected_keys", "mismatched_keys"]:
        assert not told[kind], (kind, told[kind])
    given = AutoImageProcessor.from_pretrained(folder, use_fast=False)(pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        compare("transformers", net.eval()(given).logits)
    session = onnxruntime.InferenceSession(f"{folder}/onnx/model.onnx")
    compare("onnxruntime", session.run(["logits"], {"pixel_values": given.numpy()})[0])
    answers = pipeline("image-classification", folder, use_fast=False)(pictures)
    assert [answer[0]["label"] for answer in answers] == best, answers


def by_timm(folder, pictures, best, compare):
    import timm

    net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert not net.training
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(net), is_training=False)
    with torch.no_grad():
        logits = net(torch.stack([prepare(picture) for picture in pictures]))
    compare("timm", logits)
    assert [net.pretrained_cfg["label_names"][k] for k in logits.argmax(1)] == best


def by_its_own(folder, pictures, best, compare):
    spec = importlib.util.spec_from_file_location("model", f"{folder}/model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net, config = module.load()
    assert not net.training
    with torch.no_grad():
        logits = net(torch.stack([module.preprocess(picture, config) for picture in pictures]))
    compare("model.py", logits)
    assert [config["labels"][k] for k in logits.argmax(1)] == best


def check(folder):
    asked = json.loads(Path(f"{folder}.json").read_text())
    pictures = [Image.open(Path(folder).parent / name).convert("RGB") for name in asked["pictures"]]
    ours, most = np.array(asked["logs"]), 0

    def compare(what, theirs):
        nonlocal most
        theirs = torch.log_softmax(torch.as_tensor(theirs).float(), 1).numpy()
        off = np.max(np.abs(theirs - ours) / (1 + np.abs(ours)))
        assert off <= GATE, f"{folder}: {what} is off by {off}"
        most = max(most, off)

    config = json.loads((Path(folder) / "config.json").read_text())
    way = by_transformers if "model_type" in config else by_timm if "pretrained_cfg" in config else by_its_own
    way(folder, pictures, [asked["labels"][k] for k in ours.argmax(1)], compare)
    print(f"{folder}: {most:.1e}")


match sys.argv[1:]:
    case ["make"]:
        make()
    case ["timm", folder]:
        make_timm(folder)
    case ["check", *folders]:
        for folder in folders:
            check(folder)
