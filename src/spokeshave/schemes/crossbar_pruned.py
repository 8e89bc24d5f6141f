"""Pruning that empties whole crossbars: filters, or runs of word lines (FORMS, arXiv 2106.09144)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from spokeshave.schemes.block_packing import dense_blocks
from spokeshave.schemes.budgets import Budget, keep_within_budget
from spokeshave.schemes.checks import (
    check_choice,
    check_count,
    check_fraction,
    check_member,
    matrix_reason,
    shape_of,
)
from spokeshave.schemes.masking import project_by
from spokeshave.schemes.packed import DenseBlocks
from spokeshave.schemes.ranking import support
from spokeshave.schemes.scheme import Composable
from spokeshave.schemes.word_lines import ORDERS, Order, from_fragments, in_fragments


@dataclass(frozen=True)
class CrossbarPruned(Composable):
    """Whole filters, or runs of positions of all filters, are gone; what stays fills whole crossbars: `x x . . x x`.

    `sparsity` is the fraction of filters or positions to remove; how many stay is rounded up to a multiple of
    `crossbar`, the filters or word lines of one crossbar, for nothing else saves hardware. Positions go in runs of
    `run` word lines (see `Polarized.order`), so that fragments of that length stay whole when the others close ranks.

    >>> CrossbarPruned(0.7, "positions", crossbar=2, run=2).project(torch.tensor([[1.0, 0, 3, 3, 2, 2]]))
    tensor([[0., 0., 3., 3., 0., 0.]])
    """

    sparsity: float
    along: Literal["filters", "positions"] = "positions"
    crossbar: int = 128
    run: int = 8
    order: Order = "width"

    def __post_init__(self) -> None:
        check_fraction("crossbar_pruned", "sparsity", self.sparsity)
        check_choice("crossbar_pruned", "along", self.along, ("filters", "positions"))
        check_choice("crossbar_pruned", "order", self.order, ORDERS)
        check_count("crossbar_pruned", "crossbar", self.crossbar)
        check_count("crossbar_pruned", "run", self.run)

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Keep the filters, or runs, with the largest sums of squared weights, or of saliency: the nearest point."""
        return project_by("crossbar_pruned", self, weight, saliency, self._kept)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """Any matrix will do; one that fits a single crossbar keeps all."""
        return matrix_reason(shape)

    def contains(self, weight: Tensor) -> bool:
        """Whether as few filters, or positions, are in use as the budget says."""
        if len(shape_of(weight)) < 2:
            return False
        used = self._by_unit(support(weight)).any(1)
        return int(self._sizes(weight)[used.cpu()].sum()) <= self._budget(weight)

    def pack(self, weight: Tensor) -> DenseBlocks:
        """Store what stays as one dense block; raises SpokeshaveError outside the set."""
        check_member("crossbar_pruned", self, weight, f"it uses too many {self.along}")
        return dense_blocks(weight, (weight.shape[0], weight[0].numel()))

    def in_use(self, weight: Tensor) -> Tensor:
        """True in the filters, or runs, that hold a weight; of the weight's shape."""
        return self._spread(self._by_unit(support(weight)).any(1), weight)

    def unit_numbers(self, shape: tuple[int, ...]) -> Tensor:
        """Which filter, or run, each weight belongs to, from 0; of that shape."""
        weight = torch.empty(shape)
        return self._spread(torch.arange(len(self._sizes(weight))), weight)

    def _kept(self, worth: Tensor) -> Tensor:
        budget = Budget(0, self._budget(worth))
        kept = keep_within_budget(self._by_unit(worth).sum(1), self._sizes(worth).to(worth.device), budget)
        return self._spread(kept, worth)

    def _by_unit(self, weight: Tensor) -> Tensor:
        """`[filters or runs, weights of one]`."""
        if self.along == "filters":
            return weight.flatten(1)
        return in_fragments(weight, self._run(weight), self.order).transpose(0, 1).flatten(1)

    def _sizes(self, weight: Tensor) -> Tensor:
        """Filters or positions in each unit: the last run may be short."""
        if self.along == "filters":
            return torch.ones(weight.shape[0], dtype=torch.long)
        positions, run = weight[0].numel(), self._run(weight)
        return (positions - torch.arange(0, positions, run)).clamp(max=run)

    def _budget(self, weight: Tensor) -> int:
        total = int(self._sizes(weight).sum())
        unit = int(self._sizes(weight).max())  # never less than one filter, or run
        wanted = max(unit, int(total * (1 - self.sparsity) + 1e-6))
        return -(-wanted // self.crossbar) * self.crossbar

    def _spread(self, units: Tensor, weight: Tensor) -> Tensor:
        """What is said of every unit, for every weight."""
        if self.along == "filters":
            return units.view(-1, *[1] * (weight.dim() - 1)).expand(weight.shape)
        runs = units[None, :, None].expand(weight.shape[0], -1, self._run(weight))
        return from_fragments(runs, tuple(weight.shape), self.order)

    def _run(self, weight: Tensor) -> int:
        """Word lines of a run: a longer one is the whole row."""
        return min(self.run, weight[0].numel())
