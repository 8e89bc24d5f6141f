"""Batch norm and sign as one comparison of a whole number (SupeRBNN's batch-norm matching).

sign(scale * s + shift)   with  s = (2 count - most) / stream
= direction * sign(count - threshold), the direction that of the scale
"""

from dataclasses import dataclass

import torch
from torch import Tensor


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


def match(scale: Tensor, shift: Tensor, columns: int, stream: int) -> Thresholds:
    """The comparison that a batch norm, `scale * s + shift` (float64 `[outputs]`), and a sign make of counts.

    Counts are those of `columns` streams.
    """
    most = columns * stream
    zero = -shift / torch.where(scale == 0, 1.0, scale)
    exact = (most + stream * zero) / 2
    always = torch.where(shift >= 0, 0.0, most + 1.0)  # a scale of 0 leaves the sign of the shift
    threshold = torch.where(scale > 0, exact.ceil(), exact.floor())
    direction = torch.where(scale == 0, 1.0, scale.sign())
    return Thresholds(torch.where(scale == 0, always, threshold), direction)
