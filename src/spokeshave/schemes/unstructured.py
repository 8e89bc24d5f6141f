"""Any single weight may be zero."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.checks import check_fraction, check_weight
from spokeshave.schemes.packed import Coordinates
from spokeshave.schemes.ranking import keep_largest, kept_count, score, support


@dataclass(frozen=True)
class Unstructured:
    """At most a fraction 1 - `sparsity` of the weights is not zero, wherever they lie: `x . . x . . x .`.

    >>> Unstructured(sparsity=0.5).project(torch.tensor([[1.0, -3.0], [2.0, 0.5]]))
    tensor([[ 0., -3.],
            [ 2.,  0.]])
    """

    sparsity: float

    def __post_init__(self) -> None:
        check_fraction("unstructured", "sparsity", self.sparsity)

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Keep the largest weights, or the most salient; of equal ones the first."""
        check_weight("unstructured", weight, saliency)
        if self.contains(weight):
            return weight.detach().clone()
        kept = keep_largest(score(weight, saliency).flatten(), kept_count(weight.numel(), self.sparsity))
        return torch.where(kept.view(weight.shape), weight.detach(), 0)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """Any matrix will do."""
        return None if len(shape) > 1 else f"{shape} is not a matrix"

    def contains(self, weight: Tensor) -> bool:
        """Whether no more than floor((1 - sparsity) * size) weights are non-zero."""
        return int(support(weight).sum()) <= kept_count(weight.numel(), self.sparsity)

    def pack(self, weight: Tensor) -> Coordinates:
        """Store as coordinates; raises SpokeshaveError when too many weights are non-zero."""
        check_weight("unstructured", weight)
        if not self.contains(weight):
            found = (
                f"a weight of shape {tuple(weight.shape)} has {int(support(weight).sum())} non-zero values"
            )
            allowed = kept_count(weight.numel(), self.sparsity)
            raise SpokeshaveError(f"{found}, {self} allows {allowed}; project it first")
        return Coordinates.of(weight)
