"""Layers of signs whose sums are made piece by piece, as columns of crossbars are high, and read as bits."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.superconducting import Columns

Read = Callable[[Tensor], Tensor]  # sums of all columns, [vectors, outputs, columns] -> [vectors, outputs]
SMALLEST = 1e-12
SUMS = 2.5  # deviations of a sum of signs: the width through which gradients pass


def reading(layer: nn.Module, name: str, read: Read, height: int) -> Callable[[Tensor], Tensor]:
    """What replaces the layer's `forward`: products of signs in pieces of `height` inputs, and `read` of them.

    Sizes of weights do not count, only their signs. Raises SpokeshaveError for layers that cannot lie on crossbars.
    """
    if isinstance(layer, nn.Linear) and layer.bias is None:
        return lambda x: linear_sums(x, signs(layer.weight), read, height)
    if isinstance(layer, nn.Conv2d) and layer.bias is None and layer.groups == 1 and not any(layer.padding):
        return lambda x: convolved_sums(x, signs(layer.weight), layer.stride, layer.dilation, read, height)
    raise SpokeshaveError(
        f"{name}: columns of signs run linear layers and convolutions of one group without bias or zero padding "
        "(pad with 1), followed by a batch norm"
    )


def signs(weight: Tensor) -> Tensor:
    """-1 and 1 (of 0 as well); gradients pass as if a weight were its sign times its size."""
    size = weight.detach().abs().clamp(min=SMALLEST)
    return torch.where(weight == 0, 1.0, weight / size)


def noisy(columns: Columns) -> Read:
    """Sums of streams while training: normal with the true mean and variance.

    Differentiated straight through, by the mean of a grey zone as wide as sums are: that of a narrow one is flat nearly
    everywhere.
    """
    wide = replace(
        columns, grey_zone=columns.grey_zone * max(1.0, SUMS * sqrt(columns.height) / columns.width)
    )

    def read(sums: Tensor) -> Tensor:
        through, exact = wide.expectation(sums), columns.expectation(sums.detach())
        mean = through + (exact - through).detach()
        variance = (1 - mean.detach().square()).sum(2) / columns.stream
        total = mean.sum(2)
        return total + torch.randn_like(total) * variance.sqrt()

    return read


def pieces(matrix: Tensor, height: int) -> Tensor:
    """`[rows, inputs]` -> `[columns, rows, height]`; cells left over add nothing (pairs of -1 and 1)."""
    padded = F.pad(matrix, (0, -matrix.shape[1] % height))
    return padded.view(len(matrix), -1, height).transpose(0, 1)


def linear_sums(x: Tensor, weight: Tensor, read: Read, height: int) -> Tensor:
    """What columns give for a linear layer: `[..., inputs]` and signs `[outputs, inputs]` to `[..., outputs]`."""
    flat = x.reshape(-1, x.shape[-1])
    sums = torch.bmm(pieces(flat, height), pieces(weight, height).transpose(1, 2))
    return read(sums.permute(1, 2, 0)).view(*x.shape[:-1], len(weight))


def convolved_sums(
    x: Tensor, weight: Tensor, stride: Sequence[int], dilation: Sequence[int], read: Read, height: int
) -> Tensor:
    """The same for a convolution over maps without padding, signs `[outputs, channels, tall, wide]`."""
    tall, wide = weight.shape[2:]
    patches = F.unfold(x, (tall, wide), tuple(dilation), 0, tuple(stride)).transpose(1, 2)
    made = linear_sums(patches, weight.flatten(1), read, height).transpose(1, 2)
    rows = (x.shape[2] - dilation[0] * (tall - 1) - 1) // stride[0] + 1
    return made.reshape(len(x), len(weight), rows, -1)


def rectified_bound(weight: Tensor, tau: float) -> Tensor:
    """The size below which the share `tau` of a Laplace distribution of this mean size lies, for each row.

    ReCU (ICCV 2021): weights far out, which keep their sign for ever, are brought back to it.
    """
    mean = weight.detach().flatten(1).abs().mean(1)
    return (-mean * torch.log(torch.tensor(2 - 2 * tau))).view(-1, *[1] * (weight.dim() - 1))
