"""`meta.mat` as ILSVRC's development kit has it, of four classes and two of their ancestors, by SciPy's writer of MAT-files.

    python ilsvrc.py

It writes ilsvrc/meta.mat, packed as the real one is, and ilsvrc/plain.mat, which is not. The numbers of the classes are in another order than their WNIDs, as
in the real one. Needs scipy (1.17 when it was written).
"""

from pathlib import Path

import numpy as np
from scipy.io import savemat

HERE = Path(__file__).parent / "ilsvrc"
# ILSVRC2012_ID, WNID, words, number of children.
SYNSETS = [
    (1, "n02119789", "kit fox, Vulpes macrotis", 0),
    (2, "n02100735", "English setter", 0),
    (3, "n01440764", "tench, Tinca tinca", 0),
    (4, "n02110185", "Siberian husky", 0),
    (1001, "n00001740", "entity", 1),
    (1002, "n02084071", "dog, domestic dog, Canis familiaris", 2),
]

FIELDS = [
    ("ILSVRC2012_ID", object),
    ("WNID", object),
    ("words", object),
    ("gloss", object),
    ("num_children", object),
    ("children", object),
    ("wordnet_height", object),
    ("num_train_images", object),
]


def main():
    HERE.mkdir(exist_ok=True)
    synsets = np.zeros((len(SYNSETS), 1), dtype=FIELDS)
    for at, (number, wnid, words, children) in enumerate(SYNSETS):
        inner = np.arange(children, dtype=np.float64)
        synsets[at, 0] = (float(number), wnid, words, f"what {wnid} is", float(children), inner, 1.0, 1300.0)
    for name, packed in [("meta.mat", True), ("plain.mat", False)]:
        savemat(HERE / name, {"other": np.eye(2), "synsets": synsets}, do_compression=packed)


if __name__ == "__main__":
    main()
