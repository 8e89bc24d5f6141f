"""Columns of a weight's matrix in groups: neighbouring input channels of the same kernel position.

The columns of a convolution are (channel, position), so a group's columns lie a whole kernel apart; in the order of
`group_order`, (group of channels, position, channel of the group), they are neighbours.
"""

from math import prod

import torch
from torch import Tensor

from spokeshave.schemes.scheme import as_matrix


def group_order(shape: tuple[int, ...], size: int) -> Tensor:
    """The matrix's columns with those of each group side by side, `[columns]`.

    >>> group_order((1, 4, 2), 2)
    tensor([0, 2, 1, 3, 4, 6, 5, 7])
    """
    positions = prod(shape[2:])
    columns = torch.arange(shape[1] * positions)
    return columns.view(-1, size, positions).transpose(1, 2).reshape(-1)


def grouped(values: Tensor, size: int) -> Tensor:
    """What is said of each weight, `[out, in, ...]`, by group: `[out, groups, size]`."""
    matrix = as_matrix(values)
    return matrix[:, group_order(tuple(values.shape), size)].view(len(matrix), -1, size)


def spread(groups: Tensor, shape: tuple[int, ...], size: int) -> Tensor:
    """What is said of groups, `[out, groups]`, as said of each of their weights, of the weight's shape."""
    matrix = groups.new_zeros(len(groups), groups.shape[1] * size)
    matrix[:, group_order(shape, size)] = groups.repeat_interleave(size, 1)
    return matrix.view(shape)
