"""Rows and columns in turn: each step helps, and neither side alone can be bettered."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from spokeshave.schemes.block_choice import EvenColumns, balanced, best_segments, together
from spokeshave.schemes.budgets import Budget
from spokeshave.schemes.tiling import Kept, Tiling, column_scores, row_scores


def scores(tiling: Tiling, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return tiling.split(
        torch.rand(tiling.height, tiling.width, generator=generator, dtype=torch.float64) ** 4
    )


def value(score: Tensor, kept: Kept) -> float:
    return (score * kept.mask()).sum().item()


def choose(budget: str, tiling: Tiling, score: Tensor, rounds: int) -> Kept:
    prices = (tiling.heights() + 1) // 2
    if budget == "block":
        columns = EvenColumns.of(tiling, prices, tiling.height * tiling.width / 6)
        return balanced(score, prices.repeat_interleave(tiling.wide), columns, rounds)
    return together(score, tiling, prices, Budget(0, tiling.height * tiling.width // 6), rounds)


@pytest.mark.parametrize("budget", ["layer", "block"])
@pytest.mark.parametrize("size", [(32, 60), (20, 31)])
def test_further_rounds_only_help(budget, size) -> None:
    tiling = Tiling(*size, (8, 10))
    gains = []
    for seed in range(10):
        score = scores(tiling, seed)
        values = [value(score, choose(budget, tiling, score, rounds)) for rounds in range(1, 8)]
        assert values == sorted(values)
        gains.append(values[-1] - values[0])
    assert max(gains) > 0


@pytest.mark.parametrize("budget", ["layer", "block"])
def test_neither_rows_nor_columns_can_be_bettered(budget) -> None:
    tiling = Tiling(14, 23, (4, 5))
    for seed in range(10):
        score = scores(tiling, seed)
        kept = choose(budget, tiling, score, rounds=100)
        by_row, by_column = row_scores(score, kept.columns), column_scores(score, kept.rows)
        for block in range(len(score)):
            assert value_of_best(by_row[block], int(kept.rows[block].sum())) == pytest.approx(
                by_row[block][kept.rows[block]].sum().item()
            )
        if budget == "layer":
            prices = (tiling.heights() + 1) // 2
            budget = Budget(0, tiling.height * tiling.width // 6)
            best = best_segments(tiling.by_strip(by_column), prices, budget)
            assert tiling.by_strip(by_column)[best].sum().item() == pytest.approx(value(score, kept))


def value_of_best(values: Tensor, count: int) -> float:
    return max(values[list(chosen)].sum().item() for chosen in combinations(range(len(values)), count))


@pytest.mark.parametrize("prices", [[3, 3], [3, 2], [3, 1], [5, 4]])
def test_segments_against_every_choice(prices) -> None:
    for seed in range(20):
        worth = torch.rand(2, 4, generator=torch.Generator().manual_seed(seed))
        cost = torch.tensor(prices)[:, None].expand(2, 4)
        for budget in range(0, int(cost.sum()) + 1, 2):
            best = 0.0
            for bits in range(256):
                chosen = torch.tensor([bool(bits >> bit & 1) for bit in range(8)]).view(2, 4)
                if int(cost[chosen].sum()) <= budget:
                    best = max(best, worth[chosen].sum().item())
            kept = best_segments(worth, torch.tensor(prices), Budget(0, budget))
            assert int(cost[kept].sum()) <= budget
            assert worth[kept].sum().item() == pytest.approx(best)
        if seed == 2:
            break
