"""Says what Python's readers make of a file: Pillow of a picture, tomllib of TOML, tarfile and zipfile of an archive.

A request is a line, KIND TAB PATH; the answer is a line of JSON, with the key "refused" where there is no other.
"""

import json
import math
import sys
import tarfile
import tomllib
import warnings
import zipfile

# Pictures of more pixels are not sent.
MOST = 1 << 20


def picture(path):
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        width, height = image.size
        answer = {"mode": image.mode, "format": image.format, "size": [height, width]}
        if width * height <= MOST:
            answer["pixels"] = image.convert("RGB").tobytes().hex()
        return answer


def plain(value):
    """JSON has no dates and no infinities."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value) or not isinstance(value, bool | int | float | str):
        return str(value)
    return value


def toml(path):
    with open(path, "rb") as file:
        return {"table": plain(tomllib.load(file))}


def archive(path):
    files = []
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as opened:
            for entry in opened.infolist():
                if not entry.is_dir():
                    files.append([entry.filename, opened.read(entry).hex()])
        return {"files": files}
    with tarfile.open(path, errorlevel=2) as opened:
        for entry in opened:
            if entry.isreg() or entry.islnk():
                read = opened.extractfile(entry)
                if read is not None:
                    bytes = read.read()
                    # tarfile gives what is there of a file that is cut.
                    if entry.isreg() and len(bytes) != entry.size:
                        raise tarfile.ReadError("cut")
                    # Bytes that are no UTF-8 are shown as such.
                    name = entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                    files.append([name, bytes.hex()])
    return {"files": files}


def main():
    # What Pillow only warns of it reads all the same.
    warnings.simplefilter("ignore")
    kinds = {"picture": picture, "toml": toml, "archive": archive}
    for line in sys.stdin:
        kind, path = line.rstrip("\n").split("\t")
        try:
            answer = kinds[kind](path)
        except Exception as error:
            answer = {"refused": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
