"""Makes verdicts.json: what PyTorch says of random outputs. The calibration error is that of Guo et al. 2017, as their own code has it
(https://github.com/gpleiss/temperature_scaling): 15 bins of equal width, each with its upper edge.

    python verdicts.py
"""

import json
import pathlib

import torch

torch.manual_seed(0)
COUNT, CLASSES, BINS = 60, 5, 15
labels = torch.randint(CLASSES, (COUNT,))
logits = torch.randn(COUNT, CLASSES) * 1.5
logits[torch.arange(COUNT), labels] += 1.0
probabilities = torch.softmax(logits.double(), 1)
confidences, said = probabilities.max(1)
right = said.eq(labels)

ece = torch.zeros(())
edges = torch.linspace(0, 1, BINS + 1)
counts = []
for lower, upper in zip(edges[:-1], edges[1:]):
    inside = confidences.gt(lower) & confidences.le(upper)
    counts.append(int(inside.sum()))
    if inside.any():
        gap = (confidences[inside].mean() - right[inside].double().mean()).abs()
        ece = ece + gap * inside.double().mean()

cells = torch.bincount(labels * CLASSES + said, minlength=CLASSES * CLASSES).reshape(CLASSES, CLASSES)
wrong = (~right).nonzero().flatten()
surest = wrong[confidences[wrong].argsort(descending=True)]
made = {
    "logits": logits.tolist(),
    "labels": labels.tolist(),
    "said": said.tolist(),
    "ece": 100 * ece.item(),
    "bins": counts,
    "confusion": cells.tolist(),
    "accuracy": (100 * cells.diagonal() / cells.sum(1)).tolist(),
    "mistakes": surest.tolist(),
}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(made) + "\n")
