"""How the positions of a weight's rows follow each other on the word lines of a crossbar, and their fragments."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.schemes.scheme import as_matrix

Order = Literal["width", "height", "channel"]
ORDERS: tuple[Order, ...] = ("width", "height", "channel")  # which axis of a kernel runs fastest


def word_lines(shape: tuple[int, ...], order: Order) -> Tensor:
    """Column of the matrix view on each word line: `[columns]`.

    >>> word_lines((1, 2, 1, 2), "width").tolist(), word_lines((1, 2, 1, 2), "channel").tolist()
    ([0, 1, 2, 3], [0, 2, 1, 3])
    """
    columns = torch.arange(torch.Size(shape[1:]).numel()).view(shape[1:])
    if order == "channel":
        columns = columns.movedim(0, -1)
    elif order == "height" and columns.dim() > 2:
        columns = columns.transpose(-1, -2)
    return columns.flatten()


def in_fragments(weight: Tensor, fragment: int, order: Order) -> Tensor:
    """`[rows, fragments, fragment]`: runs of word lines, at most a whole row, the last one filled with zeros."""
    matrix = as_matrix(weight)[:, word_lines(tuple(weight.shape), order).to(weight.device)]
    fragment = min(fragment, matrix.shape[1])
    beyond = -matrix.shape[1] % fragment
    return F.pad(matrix, (0, beyond)).view(len(matrix), -1, fragment)


def from_fragments(fragments: Tensor, shape: tuple[int, ...], order: Order) -> Tensor:
    """Undoes `in_fragments`."""
    lines = word_lines(shape, order).to(fragments.device)
    matrix = fragments.new_zeros(shape[0], len(lines))
    matrix[:, lines] = fragments.flatten(1)[:, : len(lines)]
    return matrix.view(shape)
