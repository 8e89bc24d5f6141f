"""MNIST as it is on disk, and with values from 0 to 1."""

import numpy as np
import torch
from torch import Tensor

from spokeshave.data import Batches, Data
from spokeshave.locate import data_folder


def read_mnist() -> dict[str, tuple[Tensor, Tensor]]:
    """Bytes `[N, 1, 28, 28]` and labels of `train` and `test`; raises SpokeshaveError where they are absent."""
    file = np.load(data_folder("mnist") / "mnist.npz")
    return {
        part: (torch.from_numpy(file[f"x_{part}"])[:, None], torch.from_numpy(file[f"y_{part}"]).long())
        for part in ("train", "test")
    }


def mnist(size: int, tested: int) -> Data:
    """Images from 0 to 1, in batches of `size`; the first `tested` test images are held out.

    Raises SpokeshaveError where they are absent.
    """
    parts = read_mnist()
    (images, labels), (judging, wanted) = parts["train"], parts["test"]
    return Data(
        Batches(images.float() / 255, labels, size, shuffle=True),
        Batches(judging[:tested].float() / 255, wanted[:tested], 250),
        10,
        "mnist",
    )
