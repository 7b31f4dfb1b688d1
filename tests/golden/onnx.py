"""Compares model.onnx with logits of ours, in ONNX Runtime.

    python onnx.py FOLDER…

Each folder has a model.onnx, `images.f32` (N, C, H, W) and `logits.f32` (N, classes): little-endian floats without a header. Or it has an
onnx/model.onnx of a model on text, `asked.json` with its three inputs, (N, L) each, and `logits.f32`: scores of words (N, L, vocabulary), and behind
them those of pairs (N, 2), if the model is asked for them; or of both ends of an answer (N, L, 2).
Models in whole numbers are computed as their nodes are written, and with ONNX Runtime's own operators on whole numbers, which may round to the next one.
Prints a line a folder; fails if ONNX's own checker refuses a model or a logit is off by more than 1e-4.
"""

import json
import sys
from pathlib import Path

# This file has the package's name, and Python looks here first.
sys.path.remove(str(Path(__file__).parent))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402

GATE = 1e-4
# Of the greatest logit, where what flows has 256 levels: operators on whole numbers may round to the next one.
WHOLE = 0.02


def start(path, fused=True):
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def told(folder, shape, off, most):
    print(f"{folder.name}: {shape}, logits up to {most:.3f}, off by {off:.1e}")
    return off <= GATE and most > 0.01


def answers(session, numbers, size, length):
    """What the model is to answer, by its outputs' names."""
    shapes = {answer.name: answer.shape for answer in session.get_outputs()}
    for name, shape in shapes.items():
        assert isinstance(shape[0], str) and (name == "seq_relationship_logits" or isinstance(shape[1], str)), (name, shape)
    if list(shapes) == ["start_logits", "end_logits"]:
        assert all(len(shape) == 2 for shape in shapes.values()), shapes
        both = numbers.reshape(size, length, 2)
        return {name: both[:, :, end] for end, name in enumerate(shapes)}
    assert list(shapes) in (["logits"], ["logits", "seq_relationship_logits"]), shapes
    words = size * length * shapes["logits"][2]
    found = {"logits": numbers[:words].reshape(size, length, -1)}
    if len(shapes) > 1:
        found["seq_relationship_logits"] = numbers[words:].reshape(size, 2)
    else:
        assert words == len(numbers), (words, len(numbers))
    return found


def texts(folder):
    session = start(folder / "onnx" / "model.onnx")
    asked = {name: np.array(rows, np.int64) for name, rows in json.loads((folder / "asked.json").read_text()).items()}
    assert {given.name: given.type for given in session.get_inputs()} == dict.fromkeys(asked, "tensor(int64)")
    assert all(isinstance(n, str) for given in session.get_inputs() for n in given.shape), "a fixed extent"
    size, length = asked["input_ids"].shape
    numbers = np.fromfile(folder / "logits.f32", "<f4")
    ours = answers(session, numbers, size, length)
    run = lambda inputs: dict(zip(ours, session.run(list(ours), inputs)))
    whole = run(asked)
    off = [np.abs(whole[name] - scores).max() for name, scores in ours.items()]
    # One by one without padding, so of other lengths; and with more of it than the network was made for.
    for row, tokens in enumerate(asked["attention_mask"].sum(1)):
        alone = {name: numbers[row : row + 1, :tokens] for name, numbers in asked.items()}
        padded = {name: np.pad(numbers, ((0, 0), (0, length + 2 - tokens))) for name, numbers in alone.items()}
        for inputs in (alone, padded):
            for name, found in run(inputs).items():
                part = slice(None) if name == "seq_relationship_logits" else slice(tokens)
                off.append(np.abs(found[0, part] - ours[name][row, part]).max())
    return told(folder, {name: scores.shape for name, scores in ours.items()}, np.max(off), float(np.abs(numbers).max()))


def compare(folder):
    if (folder / "asked.json").exists():
        return texts(folder)
    whole = any(node.op_type == "QuantizeLinear" for node in onnx.load(folder / "model.onnx").graph.node)
    session = start(folder / "model.onnx", fused=not whole)
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, answer.name) == ("input", "logits"), (given.name, answer.name)
    assert isinstance(given.shape[0], str), f"the batch is fixed: {given.shape}"
    images = np.fromfile(folder / "images.f32", "<f4").reshape(-1, *given.shape[1:])
    ours = np.fromfile(folder / "logits.f32", "<f4").reshape(len(images), answer.shape[1])
    # All at once, and one by one: the batch is any number.
    batch = session.run(["logits"], {"input": images})[0]
    single = np.concatenate([session.run(["logits"], {"input": image[None]})[0] for image in images])
    # By NumPy, whose maximum of a NaN is one.
    off = np.max([np.abs(found - ours).max() for found in (batch, single)])
    most = float(np.abs(ours).max())
    if whole:
        fused = start(folder / "model.onnx").run(["logits"], {"input": images})[0]
        assert np.abs(fused - ours).max() <= WHOLE * most, f"{folder}: {np.abs(fused - ours).max()} of {most}"
    return told(folder, images.shape, off, most)


def main():
    # A list, so that every folder is compared.
    if not all([compare(Path(folder)) for folder in sys.argv[1:]]):
        sys.exit(f"a logit is off by more than {GATE}")


main()
