"""Batch norm and sign as one comparison of a whole number (SupeRBNN's batch-norm matching).

sign(gamma (s - mean) / deviation + beta)   with  s = (2 count - most) / stream
= direction * sign(count - threshold), the direction that of gamma
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Thresholds:
    """Of every output: 1 where `direction > 0` and `count >= threshold`, or `direction < 0` and `count <= threshold`.

    float64 `[outputs]`, thresholds whole numbers.
    """

    threshold: Tensor
    direction: Tensor

    def signs(self, counts: Tensor) -> Tensor:
        """-1 and 1 of counts `[..., outputs]`."""
        up = torch.where(self.direction > 0, counts >= self.threshold, counts <= self.threshold)
        return torch.where(up, 1.0, -1.0)


def match(norm: nn.modules.batchnorm._BatchNorm, columns: int, stream: int) -> Thresholds:
    """The comparison that a batch norm (of running statistics) and a sign make of counts of `columns` streams."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, deviation = norm.running_mean.double(), (norm.running_var.double() + norm.eps).sqrt()
    gamma = torch.ones_like(mean) if norm.weight is None else norm.weight.detach().double()
    beta = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach().double()
    most = columns * stream
    zero = mean - beta * deviation / torch.where(gamma == 0, 1.0, gamma)
    exact = (most + stream * zero) / 2
    always = torch.where(beta >= 0, 0.0, most + 1.0)  # a scale of 0 leaves the sign of the shift
    threshold = torch.where(gamma > 0, exact.ceil(), exact.floor())
    direction = torch.where(gamma == 0, 1.0, gamma.sign())
    return Thresholds(torch.where(gamma == 0, always, threshold), direction)
