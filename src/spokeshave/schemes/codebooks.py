"""k-means on a line, with one value that stays 0."""

import torch
from torch import Tensor

ROUNDS = 50


def fit_codebook(values: Tensor, importance: Tensor, count: int) -> Tensor:
    """`count` values, ascending and 0 among them, with little weighted squared distance to `values`: `[count]`.

    Sorted values make every cluster a span, so a round takes two look-ups in running sums.
    """
    order = values.argsort()
    values, importance = values[order], importance[order]
    mass = torch.cat([values.new_zeros(1), importance.cumsum(0)])
    moment = torch.cat([values.new_zeros(1), (importance * values).cumsum(0)])
    table = _with_zero(
        values[0] + (values[-1] - values[0]) * (torch.arange(count, device=values.device) + 0.5) / count
    )
    for _ in range(ROUNDS):
        edges = torch.searchsorted(values, (table[1:] + table[:-1]) / 2)
        spans = torch.cat([edges.new_zeros(1), edges, edges.new_full((1,), len(values))])
        inside = mass[spans].diff()
        means = torch.where(inside > 0, moment[spans].diff() / torch.where(inside > 0, inside, 1), table)
        moved = torch.where(table == 0, 0, means).sort().values
        if torch.equal(moved, table):
            break
        table = moved
    return table


def _with_zero(table: Tensor) -> Tensor:
    """The value nearest to 0 becomes 0."""
    table = table.clone()
    table[table.abs().argmin()] = 0
    return table
