import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from spokeshave.data import cifar10
from spokeshave.data.sheets import read_sheets
from spokeshave.errors import SpokeshaveError

COUNT = 10  # in two sheets of 2 x 3 tiles, the last two tiles empty


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "spokeshave"


def tiles():
    return np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)


def write_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        for index, sheet in enumerate(tiles().reshape(2, 2, 3, 32, 32, 3)):
            buffer = io.BytesIO()
            Image.fromarray(sheet.swapaxes(1, 2).reshape(64, 96, 3)).save(buffer, "PNG")
            archive.writestr(f"sheet_{index}.png", buffer.getvalue())
        meta = {"tile_h": 32, "tile_w": 32, "rows": 2, "cols": 3, "count": COUNT}
        archive.writestr("meta.json", json.dumps(meta))
        buffer = io.BytesIO()
        np.save(buffer, np.arange(COUNT, dtype=np.uint8))
        archive.writestr("labels.npy", buffer.getvalue())
    return path


def test_tiles_come_out_in_order(tmp_path):
    images, labels = read_sheets(write_archive(tmp_path / "images.zip"))
    assert np.array_equal(images, tiles()[:COUNT])
    assert labels.tolist() == list(range(COUNT))


def test_the_second_read_comes_from_the_cache_and_a_damaged_cache_is_replaced(tmp_path, cache):
    path = write_archive(tmp_path / "images.zip")
    read_sheets(path)
    (cached,) = cache.iterdir()
    cached.write_bytes(cached.read_bytes()[:500])
    images, _ = read_sheets(path)
    assert np.array_equal(images, tiles()[:COUNT])
    assert np.array_equal(np.load(cached), images)


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path, cache):
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    images, _ = read_sheets(write_archive(tmp_path / "images.zip"))
    assert len(images) == COUNT


def test_a_truncated_archive_is_one_sentence(tmp_path):
    path = write_archive(tmp_path / "images.zip")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SpokeshaveError, match=r"images\.zip is damaged"):
        read_sheets(path)


def test_cifar10_reads_the_folder_that_the_variable_names(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        write_archive(folder / f"cifar10_{part}.zip")
    monkeypatch.setenv("SPOKESHAVE_DATA", str(tmp_path / "data"))
    data = cifar10(batch_size=4)
    inputs, labels = next(iter(data.held_out))
    expected = (torch.from_numpy(tiles()[:COUNT]).permute(0, 3, 1, 2) / 255 - 0.485) / 0.229
    assert torch.allclose(inputs[:, 0], expected[:, 0], atol=1e-5)
    assert labels.tolist() == list(range(COUNT))
    assert next(iter(data.train))[0].shape == (4, 3, 32, 32)
