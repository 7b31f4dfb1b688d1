"""torchvision's RandomResizedCrop, for the tests of engine/train/src/data/transform.rs. Pillow's and torchvision's own code gives every answer; only the
random numbers are ours: `Stream` is that of engine/core/src/random.rs.

crops.json has two lists.
`windows`: `size` (height, width), `scale`, `ratio`, `windows`: (top, left, height, width) of RandomResizedCrop.get_params for the seeds 0, 1, 2, …, and
    `fallback`, whether no try fits for any of them.
`pixels`: `image` of `size` (height, width, channels), bytes; `window`; `to`; `how` (bilinear, area): `pixels` is resized_crop's answer.
"""

import json
import os

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
MASK, STEP = 2**64 - 1, 0x9E3779B97F4A7C15


def mix(bits):
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & MASK
    return bits ^ (bits >> 31)


class Stream:
    def __init__(self, *parts):
        self.counter = STEP
        for part in parts:
            self.counter = mix((self.counter + STEP & MASK) ^ mix(part + STEP & MASK))

    def bits(self):
        self.counter = self.counter + STEP & MASK
        return mix(self.counter)

    def unit(self):
        return (self.bits() >> 11) / 2**53

    def below(self, count):
        return self.bits() * count >> 64


class Drawn:
    """What torch.empty(1) is to get_params: a number that `uniform_` draws, without a rounding to f32."""

    def __init__(self, stream):
        self.stream = stream

    def uniform_(self, low, high):
        self.value = float(low) + (float(high) - float(low)) * self.stream.unit()
        return self

    def item(self):
        return self.value


class Whole:
    def __init__(self, value):
        self.item = lambda: value


def window(height, width, scale, ratio, seed):
    """get_params on our draws; (the window, how many numbers were drawn)."""
    stream = Stream(seed)
    before, drawn = stream.counter, []
    real = torch.empty, torch.randint, torch.exp, torch.log
    torch.empty = lambda *_: Drawn(stream)
    torch.randint = lambda low, high, size: Whole(stream.below(high))
    torch.exp = lambda drawn: Whole(float(np.exp(drawn.item())))
    torch.log = lambda ratio: [float(np.log(r)) for r in ratio.double().tolist()]
    torch_tensor, torch.tensor = torch.tensor, lambda data, **_: torch_tensor(data, dtype=torch.float64)
    try:
        top, left, h, w = RandomResizedCrop.get_params(Image.new("L", (width, height)), scale, ratio)
    finally:
        torch.empty, torch.randint, torch.exp, torch.log = real
        torch.tensor = torch_tensor
    count = ((stream.counter - before) * pow(STEP, -1, 2**64)) % 2**64
    return [top, left, h, w], count


def main(store=None):
    windows = []
    for height, width, scale, ratio in (
        (20, 31, (0.08, 1.0), (0.75, 4 / 3)),
        (224, 224, (0.08, 1.0), (0.75, 4 / 3)),
        (333, 500, (0.35, 1.0), (0.75, 4 / 3)),
        (7, 5, (0.08, 1.0), (0.75, 4 / 3)),
        (500, 37, (0.5, 1.0), (0.75, 4 / 3)),
        (30, 400, (0.9, 1.0), (0.9, 1.1)),
        (5, 2, (0.99, 1.0), (0.8, 0.8)),
        (64, 2, (0.9, 1.0), (0.8, 1.25)),
    ):
        found = [window(height, width, scale, ratio, seed) for seed in range(60)]
        # Two numbers a try, and two more where one fits.
        assert all(count == 20 or count % 2 == 0 for _, count in found)
        windows.append({"size": [height, width], "scale": scale, "ratio": ratio, "fallback": all(count == 20 for _, count in found), "windows": [w for w, _ in found]})
    random = np.random.RandomState(7)
    pixels = []
    for channels in (1, 3):
        for size, part, to in (((20, 31), (3, 5, 11, 17), 8), ((20, 31), (0, 0, 20, 31), 12), ((9, 9), (2, 1, 5, 7), 11), ((40, 30), (7, 3, 33, 27), 6), ((6, 50), (1, 10, 4, 40), 7), ((20, 31), (2, 4, 16, 24), 8), ((40, 30), (7, 3, 18, 24), 6)):
            smooth = np.add.outer(np.linspace(0, 160, size[0]), np.linspace(0, 60, size[1]))
            image = np.clip(smooth[..., None] + random.randint(0, 36, (*size, channels)), 0, 255).astype(np.uint8)
            picture = Image.fromarray(image[..., 0] if channels == 1 else image)
            for how, mode in (("bilinear", InterpolationMode.BILINEAR), ("area", InterpolationMode.BOX)):
                # Of a pixel that is covered in part Pillow's box takes all or nothing, and ours its share.
                if how == "area" and (part[2] % to or part[3] % to):
                    continue
                answer = np.asarray(F.resized_crop(picture, *part, [to, to], mode))
                pixels.append({"size": [*size, channels], "image": image.flatten().tolist(), "window": part, "to": to, "how": how, "pixels": answer.flatten().tolist()})
    with open(os.path.join(HERE, "crops.json"), "w") as file:
        json.dump({"windows": windows, "pixels": pixels}, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
