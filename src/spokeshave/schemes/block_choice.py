"""Which rows and columns every block of a matrix keeps.

`score` `[blocks, rows, columns]` is what keeping each weight is worth, 0 where the last blocks stick out.
Given the rows, ranking finds the best columns, and given the columns the best rows; both together are a hard
selection problem, so they are found in turn, which can only add to what the kept weights are worth.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from spokeshave.schemes.ranking import keep_largest, keep_largest_per_row, keep_within_budget
from spokeshave.schemes.tiling import Kept, Tiling, column_scores, row_scores

ROUNDS = 10


def balanced(score: Tensor, row_counts: Tensor, column_counts: Tensor, rounds: int = ROUNDS) -> Kept:
    """Keep `row_counts[i]` rows and `column_counts[i]` columns of block i."""
    return _in_turn(
        score,
        lambda worth: keep_largest_per_row(worth, row_counts),
        lambda worth: keep_largest_per_row(worth, column_counts),
        rounds,
    )


def together(score: Tensor, tiling: Tiling, prices: Tensor, budget: int, rounds: int = ROUNDS) -> Kept:
    """Keep `prices[i]` rows of each block in strip i, and the columns of all blocks that the budget allows."""
    row_counts = prices.repeat_interleave(tiling.wide)

    def columns(worth: Tensor) -> Tensor:
        return tiling.by_block(best_segments(tiling.by_strip(worth), prices, budget))

    return _in_turn(score, lambda worth: keep_largest_per_row(worth, row_counts), columns, rounds)


def whole_rows(
    score: Tensor, tiling: Tiling, row_count: int, column_counts: Tensor, rounds: int = ROUNDS
) -> Kept:
    """Keep `row_count` rows of the whole matrix, and `column_counts[i]` columns of block i."""

    def rows(worth: Tensor) -> Tensor:
        by_row = worth.view(tiling.tall, tiling.wide, -1).sum(1).flatten()
        return (
            (keep_largest(by_row, row_count) & (by_row != 0))
            .view(tiling.tall, 1, -1)
            .expand(-1, tiling.wide, -1)
            .reshape(worth.shape)
        )

    return _in_turn(score, rows, lambda worth: keep_largest_per_row(worth, column_counts), rounds)


def best_segments(worth: Tensor, prices: Tensor, budget: int) -> Tensor:
    """Keep the segments of most worth within the budget: exact.

    `worth` is `[strips, columns]`; a segment of strip i costs `prices[i]`, the same in all but the last.
    """
    by_segment = prices[:, None].expand(worth.shape).flatten()
    return keep_within_budget(worth.flatten(), by_segment, budget).view(worth.shape)


def _in_turn(
    score: Tensor,
    choose_rows: Callable[[Tensor], Tensor],
    choose_columns: Callable[[Tensor], Tensor],
    rounds: int,
) -> Kept:
    rows = torch.ones(score.shape[:2], dtype=torch.bool, device=score.device)
    kept = Kept(rows, choose_columns(column_scores(score, rows)))
    for _ in range(rounds):
        rows = choose_rows(row_scores(score, kept.columns))
        if torch.equal(rows, kept.rows):
            break
        kept = Kept(rows, choose_columns(column_scores(score, rows)))
    return kept
