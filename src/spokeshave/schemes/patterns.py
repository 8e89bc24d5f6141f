"""3x3 kernels that keep one of a few patterns, and kernels that go altogether: PatDNN, ClickTrain."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.schemes.budgets import Budget, budget_of, is_within_budget, keep_within_budget, kinds_of
from spokeshave.schemes.checks import (
    check_count,
    check_fraction,
    check_member,
    check_shape,
    empty_reason,
    shape_of,
)
from spokeshave.schemes.dictionaries import Dictionary, as_masks, dictionary_of
from spokeshave.schemes.masking import project_by
from spokeshave.schemes.pattern_groups import PatternGroups, by_filters, pattern_numbers
from spokeshave.schemes.ranking import support
from spokeshave.schemes.scheme import Composable

NAME = "patterns"


@dataclass(frozen=True)
class Patterns(Composable):
    """Each 3x3 kernel has one of a few shapes, or is gone: `x x . / x x . / . . .` beside `. x . / . x x / . x .`.

    `kernel_sparsity` is the fraction of the kernels that is removed (connectivity pruning); of those that stay no
    weight outside the pattern does, so patterns of 4 entries make a layer 2.25 / (1 - kernel_sparsity) times smaller.
    `dictionary` is a name (ClickTrain's, arXiv 2011.10170: clicktrain_4, clicktrain_8, clicktrain_12) or a list of
    texts such as "110 110 000"; `learned_dictionary` finds one in a weight. Groups of `filters_sharing` neighbouring
    filters, or all where there are fewer, have the same pattern for each input channel, or remove its kernels together:
    rows that share their columns are computed together, so 4 or 8 are far quicker than 1.
    """

    kernel_sparsity: float = 0.0
    dictionary: str | Dictionary = "clicktrain_8"
    filters_sharing: int = 1

    def __post_init__(self) -> None:
        check_fraction(NAME, "kernel_sparsity", self.kernel_sparsity)
        check_count(NAME, "filters_sharing", self.filters_sharing)
        if dictionary_of(self.dictionary) and not isinstance(self.dictionary, str):
            object.__setattr__(self, "dictionary", tuple(self.dictionary))

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Give each kernel the pattern worth most and remove the kernels then worth least: the nearest point."""
        return project_by(NAME, self, weight, saliency, self._keep)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """Only convolutions with kernels of 3 x 3, of which the sparsity leaves one."""
        check_shape(shape)
        if len(shape) != 4 or shape[2:] != (3, 3):
            return f"only convolutions with kernels of 3 x 3 have patterns, not a weight of shape {shape}"
        kept, least = self._budget(shape).most, int(self._prices(shape).min())
        return empty_reason(kept, self.kernel_sparsity, least, shape[0] * shape[1], "kernel")

    def contains(self, weight: Tensor) -> bool:
        """Whether each kernel lies in a pattern, shared as it must be, and few enough kernels are in use."""
        if self.supports(shape_of(weight)):
            return False
        used = by_filters(support(weight).flatten(2).int(), self._sharing(tuple(weight.shape))).any(1)
        numbers = pattern_numbers(used, self._masks())
        prices = self._prices(tuple(weight.shape))
        in_use = (numbers >= 0).flatten().cpu()
        fits = is_within_budget(in_use, prices.flatten(), self._budget(tuple(weight.shape)))
        return fits and bool((numbers < len(self._masks())).all())

    def pack(self, weight: Tensor) -> PatternGroups:
        """Store kernels by pattern; raises SpokeshaveError outside the set."""
        check_member(NAME, self, weight, "a kernel has no pattern of the dictionary, or too many are in use")
        return PatternGroups.of(weight, self._masks(), self._sharing(tuple(weight.shape)))

    def _masks(self) -> Tensor:
        return as_masks(dictionary_of(self.dictionary))

    def _prices(self, shape: tuple[int, ...]) -> Tensor:
        """Filters of each group, which is how many kernels a channel of it has: `[groups, channels]`."""
        sharing = self._sharing(shape)
        filters = torch.arange(0, shape[0], sharing)
        return (shape[0] - filters).clamp(max=sharing)[:, None].repeat(1, shape[1])

    def _sharing(self, shape: tuple[int, ...]) -> int:
        return min(self.filters_sharing, shape[0])

    def _budget(self, shape: tuple[int, ...]) -> Budget:
        wanted = shape[0] * shape[1] * (1 - self.kernel_sparsity)
        return budget_of(kinds_of(self._prices(shape).flatten()), wanted)

    def _keep(self, worth: Tensor) -> Tensor:
        masks = self._masks().to(worth.device)
        sharing = self._sharing(tuple(worth.shape))
        by_group = by_filters(worth.flatten(2), sharing).sum(1)
        best, pattern = (by_group @ masks.T.to(worth.dtype)).max(-1)
        prices, budget = self._prices(tuple(worth.shape)), self._budget(tuple(worth.shape))
        kept = keep_within_budget(best.flatten(), prices.flatten().to(worth.device), budget).view(best.shape)
        mask = masks[pattern] & kept[..., None]
        return mask.repeat_interleave(sharing, dim=0)[: len(worth)].view(worth.shape)
