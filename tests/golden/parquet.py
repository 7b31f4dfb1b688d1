"""Small data sets of pictures in Parquet, as Hugging Face's `datasets` and Arrow write them.

    python parquet.py

It writes parquet/: train-00000-of-00002.parquet (snappy) and train-00001-of-00002.parquet (zstd) in row groups of three, as `datasets` wrote them before it
left pictures as they are, and test-00000-of-00001.parquet, by today's `datasets`. The others are by Arrow alone, and the tests read or refuse them: plain.parquet
has no metadata of Hugging Face's, and data pages of the second version without dictionaries; null.parquet a label that is missing, path.parquet a picture that is
only a path, far.parquet a label beyond the classes, hidden.parquet labels of -1. Picture k has the red 10 · k and the class k modulo 3. Needs datasets (5.2 when it
was written), pyarrow and Pillow.
"""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Pillow

HERE = Path(__file__).parent / "parquet"
NAMES = ["cat", "dog", "hen"]


def picture(k):
    file = io.BytesIO()
    Pillow.new("RGB", (4, 4), (10 * k, 90, 90)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": f"{k}.png"}


def by_datasets(name, numbers):
    features = Features({"image": Image(), "label": ClassLabel(names=NAMES)})
    rows = {"image": [picture(k) for k in numbers], "label": [k % 3 for k in numbers]}
    Dataset.from_dict(rows, features=features).to_parquet(HERE / name, batch_size=3)


def by_arrow(name, labels, pictures=None, metadata=True, **how):
    images = pictures or [picture(k) for k in range(len(labels))]
    inner = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, inner), "label": pa.array(labels, pa.int64())})
    if metadata:
        features = Features({"image": Image(), "label": ClassLabel(names=NAMES)})
        table = table.replace_schema_metadata(features.arrow_schema.metadata)
    pq.write_table(table, HERE / name, **how)


def main():
    HERE.mkdir(exist_ok=True)
    for name, numbers, compression in [
        ("train-00000-of-00002.parquet", range(0, 7), "snappy"),
        ("train-00001-of-00002.parquet", range(7, 12), "zstd"),
    ]:
        labels = [k % 3 for k in numbers]
        by_arrow(name, labels, [picture(k) for k in numbers], compression=compression, row_group_size=3)
    by_datasets("test-00000-of-00001.parquet", range(12, 17))
    by_arrow(
        "plain.parquet", [0, 1, 2, 1], metadata=False, use_dictionary=False, data_page_version="2.0", row_group_size=2, compression="zstd"
    )
    by_arrow("null.parquet", [0, None, 2])
    by_arrow("path.parquet", [0, 1, 2], [picture(0), {"bytes": None, "path": "1.png"}, picture(2)])
    by_arrow("far.parquet", [0, 3, 2])
    by_arrow("hidden.parquet", [-1, -1, -1])


if __name__ == "__main__":
    main()
