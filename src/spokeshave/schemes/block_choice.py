"""Which rows and columns every block of a matrix keeps.

`score` `[blocks, rows, columns]` is what keeping each weight is worth, 0 where the last blocks stick out.
Given the rows, ranking finds the best columns, and given the columns the best rows; both together are a hard
selection problem, so they are found in turn, which can only add to what the kept weights are worth.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.schemes.budgets import (
    TOLERANCE,
    Budget,
    budget_of,
    is_within_budget,
    keep_within_budget,
    kinds_of,
)
from spokeshave.schemes.ranking import keep_largest, keep_largest_per_row
from spokeshave.schemes.tiling import Kept, Tiling, column_scores, row_scores, used

ROUNDS = 10


@dataclass(frozen=True)
class EvenColumns:
    """Every block keeps the same share of its columns, rounded down, and some blocks one more, so that a budget is met.

    `least`, `most`: columns of each block rounded down and up; `prices`: rows that each block keeps, which is what a
    column of it costs; `further`: what the columns beyond the least ones may cost together. All `[blocks]`.
    """

    least: Tensor
    most: Tensor
    prices: Tensor
    further: Budget

    @classmethod
    def of(cls, tiling: Tiling, by_strip: Tensor, wanted: float) -> "EvenColumns":
        """For so many weights, where the blocks of each strip keep `by_strip` rows, `[tall]`."""
        least, most = tiling.even_columns(wanted / (int(by_strip.sum()) * tiling.width))
        prices = by_strip.repeat_interleave(tiling.wide)
        left = max(0.0, wanted - int((least * prices).sum()))
        open_ = kinds_of(prices[most > least])
        further = budget_of(open_, left, TOLERANCE * wanted) if open_ else Budget(0, 0)
        return cls(least, most, prices, further)

    def choose(self, worth: Tensor) -> Tensor:
        """The columns of most worth, `[blocks, columns]`: exact."""
        least, most, prices = (values.to(worth.device) for values in (self.least, self.most, self.prices))
        open_, counts = most > least, least.clone()
        chosen = keep_within_budget(next_best(worth, least)[open_], prices[open_], self.further)
        counts[open_] += chosen
        return keep_largest_per_row(worth, counts)

    def holds(self, columns: Tensor) -> bool:
        """Whether blocks may use so many columns, `[blocks]`."""
        open_ = self.most > self.least
        beyond = (columns > self.least)[open_]
        within = is_within_budget(beyond, self.prices[open_], self.further)
        return bool((columns <= self.most).all()) and within

    def size(self) -> int:
        """Weights that are kept."""
        return int((self.least * self.prices).sum()) + self.further.most


def next_best(worth: Tensor, counts: Tensor) -> Tensor:
    """What the best column that is not among the `counts[i]` best is worth, for each row of `[n, m]`."""
    ordered = worth.sort(dim=1, descending=True).values
    return ordered.gather(1, counts[:, None].clamp(max=worth.shape[1] - 1))[:, 0]


def balanced(score: Tensor, row_counts: Tensor, columns: EvenColumns, rounds: int = ROUNDS) -> Kept:
    """Keep `row_counts[i]` rows of block i, and columns evenly."""
    return _in_turn(
        score,
        lambda worth: keep_largest_per_row(worth, row_counts),
        lambda worth, _: columns.choose(worth),
        rounds,
    )


def together(score: Tensor, tiling: Tiling, prices: Tensor, budget: Budget, rounds: int = ROUNDS) -> Kept:
    """Keep `prices[i]` rows of each block in strip i, and the columns of all blocks that the budget allows."""
    row_counts = prices.repeat_interleave(tiling.wide)

    def columns(worth: Tensor, _: Tensor) -> Tensor:
        return tiling.by_block(best_segments(tiling.by_strip(worth), prices, budget))

    return _in_turn(score, lambda worth: keep_largest_per_row(worth, row_counts), columns, rounds)


def competing(score: Tensor, tiling: Tiling, prices: Tensor, budget: Budget, rounds: int = ROUNDS) -> Kept:
    """Keep rows of all blocks, and columns of all, by what they are worth for each weight that they then keep.

    There are as many rows as blocks in use have where each in strip i keeps `prices[i]`, and columns that cost what the
    budget allows. Begins with what `together` finds, and with the columns that it begins with; goes on while that adds
    worth: what is kept is never worth less than where all blocks keep equally many rows.
    """
    best = together(score, tiling, prices, budget, rounds)
    for start in (best, together(score, tiling, prices, budget, 0)):
        kept, worth = start, best.worth(score) if start is best else 0.0
        for _ in range(rounds):
            kept = _ranked_alike(score, tiling, kept.columns, prices, budget)
            if kept.size() < budget.least or kept.worth(score) <= worth:
                break
            worth = kept.worth(score)
            best = max(best, kept, key=lambda each: each.worth(score))
    return best


def _ranked_alike(score: Tensor, tiling: Tiling, columns: Tensor, prices: Tensor, budget: Budget) -> Kept:
    """Rows by their mean over the columns, then columns by their mean over these rows."""
    whole = used(tiling.split(score.new_ones(tiling.height, tiling.width, dtype=torch.bool)))
    lengths = columns.sum(1, keepdim=True)
    by_row = torch.where(whole.rows & (lengths > 0), row_scores(score, columns) / lengths.clamp(min=1), -1.0)
    count = int(prices.repeat_interleave(tiling.wide)[lengths[:, 0] > 0].sum())
    rows = keep_largest(by_row.flatten(), count).view(by_row.shape)
    by_column = torch.where(whole.columns, column_scores(score, rows), -1.0)
    return Kept(rows, _affordable(by_column, rows.sum(1), budget.most))


def _affordable(worth: Tensor, prices: Tensor, most: int) -> Tensor:
    """Columns of blocks, `[blocks, columns]`, those worth most for their price first, while any fits.

    A column of block i costs `prices[i]`; a price of 0 or a negative worth keeps it out.
    """
    price = prices[:, None].expand(worth.shape).flatten()
    value = torch.where(price > 0, worth.flatten() / price.clamp(min=1), -1.0)
    order = value.argsort(descending=True, stable=True)
    order = order[value[order] >= 0]
    kept, left = torch.zeros_like(price, dtype=torch.bool), most
    while len(order := order[price[order] <= left]):
        taken = price[order].cumsum(0) <= left
        kept[order[taken]] = True
        left -= int(price[order[taken]].sum())
        order = order[~taken]
    return kept.view(worth.shape)


def whole_rows(score: Tensor, tiling: Tiling, row_count: int, wanted: float, rounds: int = ROUNDS) -> Kept:
    """Keep `row_count` rows of the whole matrix, and of all blocks the same share of columns, `wanted` weights in all.

    A column costs the rows that its block keeps, so columns beyond the share rounded down go to the blocks where they
    are worth most a weight, until one more would lead further away from what is wanted.
    """
    least, most = (
        counts.to(score.device) for counts in tiling.even_columns(wanted / (row_count * tiling.width))
    )

    def rows(worth: Tensor) -> Tensor:
        by_row = worth.view(tiling.tall, tiling.wide, -1).sum(1).flatten()
        kept = keep_largest(by_row, row_count) & (by_row != 0)
        return kept.view(tiling.tall, 1, -1).expand(-1, tiling.wide, -1).reshape(worth.shape)

    def columns(worth: Tensor, rows: Tensor) -> Tensor:
        prices = rows.sum(1)
        left = wanted - int((least * prices).sum())
        open_ = (most > least) & (prices > 0)
        further = torch.zeros_like(least)
        further[open_] += _nearest_to(next_best(worth, least)[open_], prices[open_], left)
        return keep_largest_per_row(worth, least + further)

    return _in_turn(score, rows, columns, rounds)


def _nearest_to(worth: Tensor, prices: Tensor, wanted: float) -> Tensor:
    """Bool mask of the entries worth most for their price, as many as come nearest to what is wanted together."""
    order = (worth / prices).argsort(descending=True, stable=True)
    spent = torch.cat([prices.new_zeros(1), prices[order].cumsum(0)])
    count = int((spent.double() - wanted).abs().argmin()) if len(prices) else 0
    kept = torch.zeros_like(prices, dtype=torch.bool)
    kept[order[:count]] = True
    return kept


def best_segments(worth: Tensor, prices: Tensor, budget: Budget) -> Tensor:
    """Keep the segments of most worth within the budget: exact.

    `worth` is `[strips, columns]`; a segment of strip i costs `prices[i]`, the same in all but the last.
    """
    by_segment = prices[:, None].expand(worth.shape).flatten()
    return keep_within_budget(worth.flatten(), by_segment, budget).view(worth.shape)


def _in_turn(
    score: Tensor,
    choose_rows: Callable[[Tensor], Tensor],
    choose_columns: Callable[[Tensor, Tensor], Tensor],
    rounds: int,
) -> Kept:
    rows = torch.ones(score.shape[:2], dtype=torch.bool, device=score.device)
    kept = Kept(rows, choose_columns(column_scores(score, rows), rows))
    for _ in range(rounds):
        rows = choose_rows(row_scores(score, kept.columns))
        if torch.equal(rows, kept.rows):
            break
        kept = Kept(rows, choose_columns(column_scores(score, rows), rows))
    return kept
