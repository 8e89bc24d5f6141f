"""Rows and columns in turn: each step helps, and neither side alone can be bettered."""

from itertools import combinations, product

import pytest
import torch
from torch import Tensor

from spokeshave.schemes.block_choice import EvenColumns, balanced, best_segments, competing, together
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


@pytest.mark.parametrize("size", [(32, 60), (20, 31)])
def test_competing_rows_keep_more_than_equally_many(size) -> None:
    tiling = Tiling(*size, (8, 10))
    prices = (tiling.heights() + 1) // 2
    most = tiling.height * tiling.width // 6
    gains = []
    for seed in range(10):
        score = scores(tiling, seed)
        equal, found = (choose(score, tiling, prices, Budget(0, most)) for choose in (together, competing))
        assert int(found.rows.sum()) <= int(prices.sum()) * tiling.wide
        assert found.size() <= most
        gains.append(value(score, found) / value(score, equal) - 1)
    assert min(gains) >= 0
    assert sum(gains) / len(gains) > 0.01


@pytest.mark.parametrize("seed", range(10))
def test_competing_rows_are_near_the_best_of_all_choices(seed) -> None:
    """Every choice of rows and columns of two blocks of 3 x 4, two rows of three on average, 11 weights at most."""
    tiling = Tiling(6, 4, (3, 4))
    score = scores(tiling, seed)
    sets = [torch.tensor(list(product([False, True], repeat=length))) for length in (3, 4)]
    worth = torch.einsum("ri,bij,cj->brc", sets[0].double(), score, sets[1].double()).flatten(1)
    rows = sets[0].sum(1)[:, None].expand(-1, len(sets[1])).flatten()
    sizes = (sets[0].sum(1)[:, None] * sets[1].sum(1)).flatten()
    fits = (rows[:, None] + rows <= 4) & (sizes[:, None] + sizes <= 11)
    best = torch.where(fits, worth[0][:, None] + worth[1], 0).max().item()
    found = competing(score, tiling, torch.tensor([2, 2]), Budget(0, 11))
    assert 0.85 * best <= value(score, found) <= best + 1e-12


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
