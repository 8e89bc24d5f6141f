"""3x3 kernels that keep one of a few patterns, and kernels that go altogether: PatDNN, ClickTrain."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.schemes.checks import check_count, check_fraction, check_member
from spokeshave.schemes.dictionaries import Dictionary, as_masks, dictionary_of
from spokeshave.schemes.masking import project_by
from spokeshave.schemes.pattern_groups import PatternGroups, by_filters, pattern_numbers
from spokeshave.schemes.ranking import keep_within_budget, kept_count, support
from spokeshave.schemes.scheme import Composable

NAME = "patterns"


@dataclass(frozen=True)
class Patterns(Composable):
    """Each 3x3 kernel has one of a few shapes, or is gone: `x x . / x x . / . . .` beside `. x . / . x x / . x .`.

    `kernel_sparsity` is the fraction of the kernels that is removed (connectivity pruning); of those that stay no
    weight outside the pattern does, so patterns of 4 entries make a layer 2.25 / (1 - kernel_sparsity) times smaller.
    `dictionary` is a name (ClickTrain's, arXiv 2011.10170: clicktrain_4, clicktrain_8, clicktrain_12) or a list of
    texts such as "110 110 000"; `learned_dictionary` finds one in a weight. Groups of `filters_sharing` neighbouring
    filters have the same pattern for each input channel, or remove its kernels together: rows that share their columns
    are computed together, so 4 or 8 are far quicker than 1.
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
        """Only convolutions with kernels of 3 x 3."""
        if len(shape) == 4 and shape[2:] == (3, 3):
            return None
        return f"only convolutions with kernels of 3 x 3 have patterns, not a weight of shape {shape}"

    def contains(self, weight: Tensor) -> bool:
        """Whether each kernel lies in a pattern, shared as it must be, and few enough kernels are in use."""
        if self.supports(tuple(weight.shape)):
            return False
        used = by_filters(support(weight).flatten(2).int(), self.filters_sharing).any(1)
        numbers = pattern_numbers(used, self._masks())
        in_use = int((self._prices(weight) * (numbers >= 0)).sum())
        fits = in_use <= kept_count(weight.shape[:2].numel(), self.kernel_sparsity)
        return fits and bool((numbers < len(self._masks())).all())

    def pack(self, weight: Tensor) -> PatternGroups:
        """Store kernels by pattern; raises SpokeshaveError outside the set."""
        check_member(NAME, self, weight, "a kernel has no pattern of the dictionary, or too many are in use")
        return PatternGroups.of(weight, self._masks(), self.filters_sharing)

    def _masks(self) -> Tensor:
        return as_masks(dictionary_of(self.dictionary))

    def _prices(self, weight: Tensor) -> Tensor:
        """Filters of each group, which is how many kernels a channel of it has: `[groups, channels]`."""
        filters = torch.ones(weight.shape[0], weight.shape[1], 1, dtype=torch.long, device=weight.device)
        return by_filters(filters, self.filters_sharing).sum((1, 3))

    def _keep(self, worth: Tensor) -> Tensor:
        masks = self._masks().to(worth.device)
        by_group = by_filters(worth.flatten(2), self.filters_sharing).sum(1)
        best, pattern = (by_group @ masks.T.to(worth.dtype)).max(-1)
        budget = kept_count(worth.shape[:2].numel(), self.kernel_sparsity)
        kept = keep_within_budget(best.flatten(), self._prices(worth).flatten(), budget).view(best.shape)
        mask = masks[pattern] & kept[..., None]
        return mask.repeat_interleave(self.filters_sharing, dim=0)[: len(worth)].view(worth.shape)
