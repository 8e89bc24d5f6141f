"""Augmentations of image batches `[N, C, H, W]`, without a Python step per image."""

import torch
import torch.nn.functional as F
from torch import Tensor


def random_shift(images: Tensor, reach: int) -> Tensor:
    """Move every image by up to `reach` pixels in each direction, zeros coming in from outside.

    >>> random_shift(torch.ones(5, 3, 8, 8), reach=2).shape
    torch.Size([5, 3, 8, 8])
    """
    count, _, height, width = images.shape
    padded = F.pad(images, (reach,) * 4)
    top, left = torch.randint(0, 2 * reach + 1, (2, count, 1))
    rows = (top + torch.arange(height))[:, :, None]
    columns = (left + torch.arange(width))[:, None, :]
    picked = padded.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows, columns]
    return picked.permute(0, 3, 1, 2).contiguous()


def random_flip(images: Tensor) -> Tensor:
    """Mirror about half of the images left to right."""
    flipped = torch.rand(len(images)) < 0.5
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def shift_and_flip(images: Tensor) -> Tensor:
    """Shifts of up to 4 pixels and mirroring: the usual augmentation of CIFAR images."""
    return random_flip(random_shift(images, 4))
