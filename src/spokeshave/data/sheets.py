"""Images stored as sheets: a zip of large pictures, each a grid of tiles, with `meta.json` and `labels.npy`.

Decoding costs seconds, so the decoded pixels are kept in the user's cache folder under the archive's digest.
"""

import io
import json
import os
import tempfile
import zipfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spokeshave.data.extras import import_extra
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import cache_folder

Pixels = NDArray[np.uint8]


def read_sheets(path: Path) -> tuple[Pixels, NDArray[np.int64]]:
    """Images `[N, H, W, 3]` and labels `[N]` of an archive; raises SpokeshaveError when it is damaged."""
    if not path.is_file():
        raise SpokeshaveError(f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            labels = np.load(io.BytesIO(archive.read("labels.npy")), allow_pickle=False)
            images = _cached(path, archive)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise SpokeshaveError(f"{path} is damaged or holds no image sheets: {error}") from error
    if len(images) != len(labels):
        raise SpokeshaveError(f"{path} is damaged: {len(images)} images but {len(labels)} labels")
    return images, labels.astype(np.int64)


def _cached(path: Path, archive: zipfile.ZipFile) -> Pixels:
    with path.open("rb") as file:
        digest = sha256(file.read()).hexdigest()[:16]
    cached = cache_folder() / f"{path.stem}-{digest}.npy"
    with suppress(OSError, ValueError, EOFError):
        return np.load(cached, allow_pickle=False)
    images = _decode(archive)
    with suppress(OSError):  # a cache that cannot be written only costs time
        _write_atomically(cached, images)
    return images


def _decode(archive: zipfile.ZipFile) -> Pixels:
    meta = json.loads(archive.read("meta.json"))
    names = sorted(name for name in archive.namelist() if name.startswith("sheet_"))
    tiles = [_tiles(archive.read(name), meta) for name in names]
    return np.concatenate(tiles)[: meta["count"]]


def _tiles(encoded: bytes, meta: dict[str, Any]) -> Pixels:
    """Cut one sheet into `[rows * columns, H, W, 3]`."""
    image = import_extra("PIL.Image", "images", "reading image sheets")
    sheet = np.asarray(image.open(io.BytesIO(encoded)).convert("RGB"))
    height, width = meta["tile_h"], meta["tile_w"]
    grid = sheet.reshape(meta["rows"], height, meta["cols"], width, 3)
    return grid.swapaxes(1, 2).reshape(-1, height, width, 3)


def _write_atomically(path: Path, images: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, images, allow_pickle=False)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
