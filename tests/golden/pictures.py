"""Tiny pictures of every kind that is read, and the RGB that Pillow makes of them.

    python3 -m venv target/pillow && target/pillow/bin/pip install pillow==13.0.0 numpy
    target/pillow/bin/python tests/golden/pictures.py

Writes pictures/NAME and pictures/expected.txt: a line each, NAME TOLERANCE HEIGHT WIDTH and the pixels in hexadecimal.
The tolerance is 0 but where a decoder's rounding is its own: JPEG.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

OUT = Path(__file__).parent / "pictures"
H, W = 5, 7


def scene(height, width):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([(x * 19 + y * 3) % 256, (y * 23 + x * 2) % 256, (x * y * 3 + 40) % 256], -1).astype(np.uint8)


RGB = scene(H, W)
GREY = RGB[..., 0].copy()
ALPHA = (np.add.outer(np.arange(H) * 29, np.arange(W) * 37) % 256).astype(np.uint8)
WIDE = RGB.astype(np.uint16) * 255 + np.arange(H, dtype=np.uint16)[:, None, None] * 37
WIDE_ALPHA = ALPHA.astype(np.uint16)[..., None] * 257

colour, grey = Image.fromarray(RGB), Image.fromarray(GREY)
alpha = Image.fromarray(ALPHA)
grey_alpha = Image.merge("LA", (grey, alpha))
colour_alpha = Image.merge("RGBA", (*colour.split(), alpha))
ink = Image.merge("CMYK", (*colour.split(), alpha))
palette = colour.quantize(16)
one_bit = grey.convert("1")
photo = Image.fromarray(scene(11, 17))


def png(kind, depth, samples):
    """A PNG as Pillow does not write it: `samples` are the bytes of its rows."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", W, H, depth, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row for row in samples)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def wide_rows(samples):
    return [row.astype(">u2").tobytes() for row in samples.reshape(H, -1)]


def packed_rows(samples, bits):
    rows = []
    for row in samples:
        number = 0
        for sample in row:
            number = number << bits | int(sample)
        spare = -len(row) * bits % 8
        rows.append((number << spare).to_bytes((len(row) * bits + 7) // 8, "big"))
    return rows


def tiff(depth, samples, photometric, data, end="<", planar=1, extra=()):
    """A TIFF of one strip a plane, as Pillow does not write it."""
    planes = samples if planar == 2 else 1
    tags = [(256, 3, [W]), (257, 3, [H]), (258, 3, [depth] * samples), (259, 3, [1]), (262, 3, [photometric])]
    tags += [(273, 4, [0] * planes), (277, 3, [samples]), (278, 3, [H]), (279, 4, [len(data) // planes] * planes)]
    tags = sorted([*tags, (284, 3, [planar]), *extra])
    encode = lambda kind, values: b"".join(struct.pack(end + {3: "H", 4: "I"}[kind], value) for value in values)
    behind = 8 + 2 + 12 * len(tags) + 4
    start = behind + sum(len(encode(*tag[1:])) for tag in tags if len(encode(*tag[1:])) > 4)
    directory, values = b"", b""
    for tag, kind, value in tags:
        if tag == 273:
            value = [start + plane * (len(data) // planes) for plane in range(planes)]
        encoded = encode(kind, value)
        place = encoded.ljust(4, b"\0")
        if len(encoded) > 4:
            place = struct.pack(end + "I", behind + len(values))
            values += encoded
        directory += struct.pack(end + "HHI", tag, kind, len(value)) + place
    head = (b"II*\0" if end == "<" else b"MM\0*") + struct.pack(end + "I", 8) + struct.pack(end + "H", len(tags))
    return head + directory + struct.pack(end + "I", 0) + values + data


def bmp(depth, rows, colours=b"", height=H):
    data = b"".join(row + b"\0" * (-len(row) % 4) for row in rows)
    offset = 54 + len(colours)
    header = struct.pack("<IiiHHIIiiII", 40, W, height, 1, depth, 0, len(data), 2835, 2835, len(colours) // 4, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + header + colours + data


def text(*numbers):
    return " ".join(str(int(number)) for number in numbers)


table = np.array(palette.getpalette()[: 16 * 3]).reshape(16, 3)
indices = np.array(palette)
rgba = np.concatenate([RGB, ALPHA[..., None]], -1)
saved = {
    "grey.jpg": (grey, {}),
    "colour.jpg": (photo, {"quality": 90}),
    "chroma.JPEG": (photo, {"subsampling": 0}),
    "progressive.jpg": (photo, {"progressive": True}),
    "restarts.jpg": (photo, {"restart_marker_blocks": 1}),
    "ink.jpg": (ink, {"quality": 95}),
    "colour.png": (colour, {}),
    "alpha.png": (colour_alpha, {}),
    "grey_alpha.png": (grey_alpha, {}),
    "grey.png": (grey, {}),
    "palette.png": (palette, {"transparency": 3}),
    "one_bit.png": (one_bit, {}),
    "colour.bmp": (colour, {}),
    "grey.bmp": (grey, {}),
    "palette.bmp": (palette, {}),
    "one_bit.bmp": (one_bit, {}),
    "alpha.bmp": (colour_alpha, {}),
    "colour.ppm": (colour, {}),
    "grey.pgm": (grey, {}),
    "lossy.webp": (photo, {"quality": 80}),
    "lossy_alpha.webp": (colour_alpha, {}),
    "lossless.webp": (colour, {"lossless": True}),
    "lossless_alpha.webp": (colour_alpha, {"lossless": True, "exact": True}),
    "animation.webp": (colour, {"save_all": True, "append_images": [colour.rotate(180)], "lossless": True}),
    "raw.tif": (colour, {}),
    "lzw.tiff": (colour, {"compression": "tiff_lzw"}),
    "predictor.tif": (colour, {"compression": "tiff_lzw", "tiffinfo": {317: 2}}),
    "deflate.tif": (colour, {"compression": "tiff_adobe_deflate"}),
    "packbits.tif": (colour, {"compression": "packbits"}),
    "alpha.tif": (colour_alpha, {}),
    "grey_alpha.tif": (grey_alpha, {}),
    "grey.tif": (grey, {}),
    "palette.tif": (palette, {"compression": "tiff_lzw"}),
    "one_bit.tif": (one_bit, {}),
    "fax.tif": (one_bit, {"compression": "group4"}),
    "ink.tif": (ink, {}),
    "jpeg.tif": (photo, {"compression": "jpeg"}),
    "pages.tif": (colour, {"save_all": True, "append_images": [grey]}),
}
made = {
    "colour16.png": png(2, 16, wide_rows(WIDE)),
    "alpha16.png": png(6, 16, wide_rows(np.concatenate([WIDE, WIDE_ALPHA], -1))),
    "grey_alpha16.png": png(4, 16, wide_rows(np.concatenate([WIDE[..., :1], WIDE_ALPHA], -1))),
    "grey2.png": png(0, 2, packed_rows(indices % 4, 2)),
    "grey4.png": png(0, 4, packed_rows(indices, 4)),
    "top_down.bmp": bmp(24, [row.tobytes() for row in RGB[..., ::-1]], height=-H),
    "colour32.bmp": bmp(32, [row.tobytes() for row in rgba[::-1][..., [2, 1, 0, 3]]]),
    "palette4.bmp": bmp(4, packed_rows(indices[::-1], 4), b"".join(bytes([*c[::-1], 0]) for c in table.tolist())),
    "plain.ppm": f"P3\n# plain\n{W} {H} 255\n{text(*RGB.ravel())}\n".encode(),
    "plain.pgm": f"P2 {W} {H} 255 {text(*GREY.ravel())}\n".encode(),
    "bits.pgm": f"P1 {W} {H} {text(*(indices % 2).ravel())}\n".encode(),
    "maximum.ppm": f"P6 {W} {H} 31\n".encode() + (RGB >> 3).tobytes(),
    "colour16.ppm": f"P6 {W} {H} 65535\n".encode() + WIDE.astype(">u2").tobytes(),
    "colour16.tif": tiff(16, 3, 2, WIDE.astype("<u2").tobytes()),
    "big_endian.tif": tiff(16, 3, 2, WIDE.astype(">u2").tobytes(), ">"),
    "planes.tif": tiff(8, 3, 2, RGB.transpose(2, 0, 1).tobytes(), planar=2),
    "grey4.tif": tiff(4, 1, 1, b"".join(packed_rows(indices, 4))),
    "white_is_zero.tif": tiff(8, 1, 0, GREY.tobytes()),
    "associated.tif": tiff(8, 4, 2, rgba.tobytes(), extra=[(338, 3, [1])]),
    "palette4.tif": tiff(4, 1, 3, b"".join(packed_rows(indices, 4)), extra=[(320, 3, [int(v) * 257 for v in table.T.ravel()])]),
}
# What Pillow refuses: sums that are wrong.
body = bytearray(zlib.compress(b"".join(b"\0" + row.tobytes() for row in RGB)))
body[-1] ^= 1
whole = png(2, 8, [row.tobytes() for row in RGB])
chunk = b"IDAT" + bytes(body)
refused = {
    "wrong_adler.png": whole[:33] + struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[-12:],
    "wrong_text.png": whole[:33] + struct.pack(">I", 3) + b"tEXta\0b" + b"\0\0\0\0" + whole[33:],
}

OUT.mkdir(exist_ok=True)
for old in OUT.iterdir():
    old.unlink()
for name, (picture, how) in saved.items():
    kind = {"jpg": "JPEG", "JPEG": "JPEG", "tif": "TIFF", "pgm": "PPM"}.get(name.split(".")[1])
    picture.save(OUT / name, kind, **how)
for name, data in (made | refused).items():
    (OUT / name).write_bytes(data)

lines = []
for path in sorted(OUT.iterdir()):
    assert path.stat().st_size < 2048, path
    try:
        pixels = np.array(Image.open(path).convert("RGB"))
    except OSError:
        assert path.name in refused, path
        lines.append(f"{path.name} refused\n")
        continue
    assert path.name not in refused, path
    jpeg = path.suffix in (".jpg", ".JPEG") or path.name == "jpeg.tif"
    lines.append(f"{path.name} {2 if jpeg else 0} {pixels.shape[0]} {pixels.shape[1]} {pixels.tobytes().hex()}\n")
(OUT / "expected.txt").write_text("".join(lines))
