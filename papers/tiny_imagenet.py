"""Tiny-ImageNet-50: 10,000 training and 2,500 validation images of 64 x 64 in 50 classes, enlarged."""

import io
import zipfile
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from spokeshave.data import Batches, Data
from spokeshave.data.augment import random_flip
from spokeshave.data.cifar10 import normalised
from spokeshave.data.extras import import_extra
from spokeshave.locate import data_folder

SIDE = 112
LEAST_CROP = 0.6  # of either side
ASPECT = 0.17  # by how much one side of a crop may be longer than the other
ARCHIVE = "tiny_imagenet50.zip"


def tiny_imagenet(side: int = SIDE, batch: int = 64) -> Data:
    """Images as bytes `[N, 3, 64, 64]`, enlarged and normalised batch by batch; the validation images are held out.

    Raises SpokeshaveError where the data is not to be found.
    """
    path = data_folder("tiny_imagenet50") / ARCHIVE
    with zipfile.ZipFile(path) as archive:
        labels = {name: label for label, name in enumerate(_classes(archive))}
        train, validation = (_part(archive, labels, part) for part in ("train", "val"))
    return Data(
        Batches(*train, batch, shuffle=True, augment=partial(cropped, side=side)),
        Batches(*validation, 250, augment=partial(enlarged, side=side)),
        len(labels),
        "tiny-imagenet-50",
    )


def classes() -> list[str]:
    """WordNet ids in the order of the labels."""
    with zipfile.ZipFile(data_folder("tiny_imagenet50") / ARCHIVE) as archive:
        return _classes(archive)


def enlarged(images: Tensor, side: int = SIDE) -> Tensor:
    """Bytes `[N, 3, S, S]` to what a network sees."""
    return F.interpolate(normalised(images), size=(side, side), mode="bilinear", align_corners=False)


def cropped(images: Tensor, side: int = SIDE) -> Tensor:
    """The same of a random crop, mirrored about half of the time: how training images are seen."""
    count = len(images)
    draw = partial(torch.rand, count)
    size = LEAST_CROP + (1 - LEAST_CROP) * draw()
    wider = (1 + ASPECT) ** (draw() - 0.5)
    sides = torch.stack((size * wider, size / wider), 1).clamp(max=1)
    centres = (2 * torch.rand(count, 2) - 1) * (1 - sides)
    window = torch.cat((torch.diag_embed(sides), centres[:, :, None]), 2)
    grid = F.affine_grid(window, [count, 3, side, side], align_corners=False)
    return random_flip(
        F.grid_sample(normalised(images), grid, align_corners=False, padding_mode="reflection")
    )


def _classes(archive: zipfile.ZipFile) -> list[str]:
    return [line.split("\t")[0] for line in archive.read("classes.tsv").decode().splitlines()]


def _part(archive: zipfile.ZipFile, labels: dict[str, int], part: str) -> tuple[Tensor, Tensor]:
    names = sorted(name for name in archive.namelist() if name.startswith(f"{part}/") and name[-1] != "/")
    images = np.stack([_pixels(archive.read(name)) for name in names])
    found = torch.tensor([labels[name.split("/")[1]] for name in names])
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), found


def _pixels(encoded: bytes) -> NDArray[Any]:
    image = import_extra("PIL.Image", "images", "reading Tiny-ImageNet")
    return np.asarray(image.open(io.BytesIO(encoded)).convert("RGB"))
