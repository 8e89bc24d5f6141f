"""Pictures of tokens as SVG: images with what is left of them, and how many tokens images keep."""

import struct
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from spokeshave.report.chart import WIDTH, svg, text

Plain = Mapping[str, Any]
GAP, HEAD, FOOT, LARGEST = 8, 18, 18, 92
PANEL, PANEL_HEAD, AXIS = 56, 18, 34
STYLES = ("own", "warm", "peer")


def patches_chart(picture: Plain) -> str:
    """A row an image: the image itself, then behind each reducer, with what is gone covered."""
    images = picture["images"]
    stages = len(images[0]["stages"])
    side = min(LARGEST, (WIDTH - GAP * stages) / (stages + 1))
    pitch = side + FOOT + GAP
    heads = ["image", *(stage["name"] for stage in images[0]["stages"])]
    parts = [text(index * (side + GAP), 11, head, "small value") for index, head in enumerate(heads)]
    for row, image in enumerate(images):
        top, picture_of = HEAD + row * pitch, _embedded(image["pixels"])
        parts += [_placed(picture_of, 0, top, side), text(0, top + side + 12, image["label"], "small label")]
        for index, stage in enumerate(image["stages"], start=1):
            left = index * (side + GAP)
            parts += [_placed(picture_of, left, top, side), _covers(stage, left, top, side)]
            told = f"{sum(stage['kept'])} of {len(stage['kept'])}"
            parts.append(text(left, top + side + 12, told, "small value"))
    return svg(parts, HEAD + len(images) * pitch, picture["title"])


def histogram_chart(picture: Plain) -> str:
    """A panel for every series over one axis, which begins at nothing; heights are shares of the panel's largest."""
    step = WIDTH / (picture["most"] + 1)
    parts = []
    for index, (name, pairs) in enumerate(picture["panels"]):
        floor = (index + 1) * (PANEL + PANEL_HEAD)
        largest = max(samples for _, samples in pairs)
        parts += [
            text(0, floor - PANEL - 5, name, "label"),
            f'<path class="grid" d="M0 {floor}H{WIDTH}"/>',
        ]
        for count, samples in pairs:
            height = samples / largest * PANEL
            told = f"{count} tokens: {samples}"
            parts.append(
                f'<rect class="{STYLES[index % len(STYLES)]}" x="{count * step:.1f}" y="{floor - height:.1f}" '
                f'width="{max(1.0, step - 1):.1f}" height="{height:.1f}"><title>{told}</title></rect>'
            )
    bottom = len(picture["panels"]) * (PANEL + PANEL_HEAD)
    parts += [text(0, bottom + 14, "0", "value"), text(WIDTH, bottom + 14, str(picture["most"]), "value end")]
    parts.append(text(0, bottom + 30, picture["x_label"], "value"))
    return svg(parts, bottom + AXIS, picture["title"])


def png(pixels: Sequence[Sequence[Sequence[int]]]) -> bytes:
    """Rows of pixels of one or three levels as a PNG file (ISO/IEC 15948).

    >>> png([[[0], [255]]])[:4]
    b'\\x89PNG'
    """
    height, width, levels = len(pixels), len(pixels[0]), len(pixels[0][0])
    rows = b"".join(b"\0" + bytes(level for pixel in row for level in pixel) for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if levels == 1 else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _embedded(pixels: Sequence[Sequence[Sequence[int]]]) -> str:
    return f"data:image/png;base64,{b64encode(png(pixels)).decode()}"


def _placed(source: str, left: float, top: float, side: float) -> str:
    return (
        f'<image class="pixels" href="{source}" x="{left:.1f}" y="{top:.1f}" width="{side:.1f}" '
        f'height="{side:.1f}" preserveAspectRatio="none"/>'
    )


def _covers(stage: Plain, left: float, top: float, side: float) -> str:
    """A path over every patch that is gone."""
    columns, kept = stage["columns"], stage["kept"]
    rows = len(kept) // columns
    width, height = side / columns, side / rows
    squares = "".join(
        f"M{left + place % columns * width:.1f} {top + place // columns * height:.1f}"
        f"h{width:.1f}v{height:.1f}h-{width:.1f}z"
        for place, stays in enumerate(kept)
        if not stays
    )
    return f'<path class="gone" d="{squares}"/>'
