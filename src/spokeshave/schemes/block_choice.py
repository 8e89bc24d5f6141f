"""Which rows and columns every block of a matrix keeps.

`score` `[blocks, rows, columns]` is what keeping each weight is worth, 0 where the last blocks stick out.
Given the rows, ranking finds the best columns, and given the columns the best rows; both together are a hard
selection problem, so they are found in turn, which can only add to what the kept weights are worth.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from spokeshave.schemes.ranking import keep_largest, keep_largest_per_row
from spokeshave.schemes.tiling import Kept, Tiling, column_scores, row_scores

ROUNDS = 10


def balanced(score: Tensor, row_counts: Tensor, column_counts: Tensor, rounds: int = ROUNDS) -> Kept:
    """Keep `row_counts[i]` rows and `column_counts[i]` columns of block i."""
    return _in_turn(score, row_counts, lambda worth: keep_largest_per_row(worth, column_counts), rounds)


def together(score: Tensor, tiling: Tiling, prices: Tensor, budget: int, rounds: int = ROUNDS) -> Kept:
    """Keep `prices[i]` rows of each block in strip i, and the columns of all blocks that the budget allows."""

    def columns(worth: Tensor) -> Tensor:
        return tiling.by_block(best_segments(tiling.by_strip(worth), prices, budget))

    return _in_turn(score, prices.repeat_interleave(tiling.wide), columns, rounds)


def best_segments(worth: Tensor, prices: Tensor, budget: int) -> Tensor:
    """Keep the segments of most worth within the budget: exact.

    `worth` is `[strips, columns]`; a segment of strip i costs `prices[i]`, the same in all but the last.
    Where the last strip is cheaper, every number of its segments is tried with what then fits of the others.
    """
    common, last_price = int(prices[0]), int(prices[-1])
    if common == last_price:
        return keep_largest(worth.flatten(), budget // common).view(worth.shape)
    others, last = worth[:-1].flatten(), worth[-1]
    from_last = torch.arange(min(len(last), budget // last_price) + 1, device=worth.device)
    from_others = ((budget - from_last * last_price) // common).clamp(max=len(others))
    best = int((_prefix_sums(others)[from_others] + _prefix_sums(last)[from_last]).argmax())
    parts = keep_largest(others, int(from_others[best])), keep_largest(last, best)
    return torch.cat(parts).view(worth.shape)


def _in_turn(score: Tensor, row_counts: Tensor, columns: Callable[[Tensor], Tensor], rounds: int) -> Kept:
    rows = torch.ones(score.shape[:2], dtype=torch.bool, device=score.device)
    kept = Kept(rows, columns(column_scores(score, rows)))
    for _ in range(rounds):
        rows = keep_largest_per_row(row_scores(score, kept.columns), row_counts)
        if torch.equal(rows, kept.rows):
            break
        kept = Kept(rows, columns(column_scores(score, rows)))
    return kept


def _prefix_sums(values: Tensor) -> Tensor:
    """Sums of the k largest values for k = 0, 1, ..."""
    ordered = values.double().sort(descending=True).values
    return torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
