"""CIFAR-10: 60,000 colour images of 32 x 32 in ten classes (Krizhevsky 2009)."""

import numpy as np
import torch
from torch import Tensor

from spokeshave.data.augment import shift_and_flip
from spokeshave.data.data import Batches, Data
from spokeshave.data.sheets import Pixels, read_sheets
from spokeshave.locate import data_folder

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def cifar10(batch_size: int = 128) -> Data:
    """CIFAR-10: inputs `[N, 3, 32, 32]` normalised per channel; the 10,000 test images are held out.

    The sheets `cifar10_train.zip` and `cifar10_test.zip` are looked for by `data_folder("cifar10")`. Raises
    SpokeshaveError when they are not there, or when pillow is not installed.
    """
    folder = data_folder("cifar10")
    train_images, train_labels = read_sheets(folder / "cifar10_train.zip")
    test_images, test_labels = read_sheets(folder / "cifar10_test.zip")
    return Data(
        train=Batches(
            _read(train_images),
            torch.from_numpy(train_labels),
            batch_size,
            shuffle=True,
            augment=shift_and_flip,
        ),
        held_out=Batches(_read(test_images), torch.from_numpy(test_labels), 500),
        classes=10,
        name="cifar10",
    )


def normalised(images: Tensor) -> Tensor:
    """Bytes `[N, 3, H, W]` to float32, each channel with its mean and deviation over ImageNet's pixels."""
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    return images.float().div_(255).sub_(mean).div_(deviation)


def _read(images: Pixels) -> Tensor:
    """`[N, H, W, 3]` bytes to `[N, 3, H, W]` float32."""
    return normalised(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))
