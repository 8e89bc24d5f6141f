"""Networks whose activations are -1 and 1, for devices that compute with directions of currents."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (x,) = context.saved_tensors
        return gradient * (x.abs() <= 1)


class Sign(nn.Module):
    """-1 below `threshold` and 1 from it up; the gradient goes straight through where the distance is at most 1."""

    def __init__(self, threshold: float = 0.0) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """Signs, of the shape of `x`."""
        return _Sign.apply(x - self.threshold)


def binary_perceptron(
    inputs: int, widths: Sequence[int], classes: int, threshold: float = 0.5
) -> nn.Sequential:
    """Layers of signs: `[N, ...]` with `inputs` numbers a sample, cut at `threshold`, to scores `[N, classes]`.

    Weights are ordinary ones: give the linear layers the scheme `Binary` by training.
    """
    sizes = [inputs, *widths]
    layers: list[nn.Module] = [nn.Flatten(), Sign(threshold)]
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), Sign()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], classes, bias=False), nn.BatchNorm1d(classes))


def binary_convolutional(
    channels: int, side: int, widths: Sequence[int], classes: int, threshold: float = 0.0
) -> nn.Sequential:
    """3 x 3 convolutions of signs, each second one pooled: `[N, channels, side, side]` to scores `[N, classes]`.

    Maps are padded with 1, for signs have no zero; the largest of signs is an OR gate.
    """
    layers: list[nn.Module] = [Sign(threshold)]
    for place, (before, after) in enumerate(zip([channels, *widths[:-1]], widths, strict=True)):
        layers += [
            nn.ConstantPad2d(1, 1.0),
            nn.Conv2d(before, after, 3, bias=False),
            nn.BatchNorm2d(after),
            Sign(),
        ]
        if place % 2:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    size = widths[-1] * side * side
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(size, classes, bias=False), nn.BatchNorm1d(classes))


def binary_digits_network() -> nn.Sequential:
    """Layers of signs for `[N, 1, 16, 16]` digits of mean 0."""
    return binary_perceptron(256, (256, 128), 10, threshold=0.0)
