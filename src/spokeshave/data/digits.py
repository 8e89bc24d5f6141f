"""Handwritten digits that ship inside scikit-learn: 1,797 grey images of 8 x 8."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.data.augment import random_shift
from spokeshave.data.data import Batches, Data
from spokeshave.data.extras import import_extra

SIDE = 16
HELD_OUT_EVERY = 5


def digits(batch_size: int = 64) -> Data:
    """The digits at 16 x 16: inputs `[N, 1, 16, 16]` of mean 0 and deviation 1, four fifths to train on.

    Every fifth image of each class is held out. Raises SpokeshaveError when scikit-learn is not installed.
    """
    datasets = import_extra("sklearn.datasets", "digits", "the digits data")
    pixels, targets = datasets.load_digits(return_X_y=True)
    labels = torch.from_numpy(targets).long()
    held_out = _every_fifth_of_each_class(labels)
    images = _prepare(torch.from_numpy(pixels).float().view(-1, 1, 8, 8), ~held_out)
    shift = partial(random_shift, reach=1)
    return Data(
        train=Batches(images[~held_out], labels[~held_out], batch_size, shuffle=True, augment=shift),
        held_out=Batches(images[held_out], labels[held_out], 256),
        classes=10,
        name="digits",
    )


def _every_fifth_of_each_class(labels: Tensor) -> Tensor:
    place = F.one_hot(labels).cumsum(0).gather(1, labels[:, None])[:, 0]
    return place % HELD_OUT_EVERY == 0


def _prepare(pixels: Tensor, training: Tensor) -> Tensor:
    """Upsample, then shift and scale by the statistics of the training images."""
    images = F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return (images - images[training].mean()) / images[training].std()
