"""Residual networks of two-convolution blocks (He et al., arXiv 1512.03385), sized for small images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut: `[N, C, H, W]` to `[N, width, H / stride, W / stride]`."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            projection = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, images: Tensor) -> Tensor:
        """Add the block's correction to its shortcut."""
        correction = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(images)))))
        return F.relu(correction + self.shortcut(images))


class ResidualNetwork(nn.Module):
    """A stem, one block per entry of `widths` and `strides`, the mean over positions and a linear head.

    `[N, channels, H, W]` to class scores `[N, classes]`.
    """

    def __init__(self, channels: int, classes: int, widths: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        inputs = [widths[0], *widths[:-1]]
        self.blocks = nn.Sequential(*(Block(*shape) for shape in zip(inputs, widths, strides, strict=True)))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Score every class."""
        return self.head(torch.mean(self.blocks(self.stem(images)), dim=(2, 3)))


def digits_network() -> ResidualNetwork:
    """The demo's network for `[N, 1, 16, 16]` digits: 38 million multiply-adds, nearly all on 8 x 8 maps."""
    return ResidualNetwork(channels=1, classes=10, widths=(64, 128, 128), strides=(2, 1, 1))


def small_digits_network() -> ResidualNetwork:
    """A network for `[N, 1, 16, 16]` digits that simulated devices run in seconds: 0.8 million multiply-adds."""
    return ResidualNetwork(channels=1, classes=10, widths=(16, 32, 32), strides=(2, 2, 1))


def cifar_wide() -> ResidualNetwork:
    """A network for `[N, 3, 32, 32]` CIFAR images with wide layers: 50 million multiply-adds."""
    return ResidualNetwork(channels=3, classes=10, widths=(64, 128, 256), strides=(2, 2, 2))
