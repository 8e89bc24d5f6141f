"""Any single weight may be zero."""

from dataclasses import dataclass
from math import prod

from torch import Tensor

from spokeshave.schemes.checks import (
    check_fraction,
    check_member,
    check_weight,
    empty_reason,
    matrix_reason,
    shape_of,
)
from spokeshave.schemes.masking import project_by
from spokeshave.schemes.packed import Coordinates
from spokeshave.schemes.ranking import keep_largest, kept_count, support
from spokeshave.schemes.scheme import Composable

NAME = "unstructured"


@dataclass(frozen=True)
class Unstructured(Composable):
    """At most a fraction 1 - `sparsity` of the weights is not zero, wherever they lie: `x . . x . . x .`.

    >>> import torch
    >>> Unstructured(sparsity=0.5).project(torch.tensor([[1.0, -3.0], [2.0, 0.5]]))
    tensor([[ 0., -3.],
            [ 2.,  0.]])
    """

    sparsity: float

    def __post_init__(self) -> None:
        check_fraction(NAME, "sparsity", self.sparsity)

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Keep the largest weights, or the most salient; of equal ones the first."""
        return project_by(NAME, self, weight, saliency, self._keep)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """Any matrix will do of which the sparsity leaves a weight."""
        if reason := matrix_reason(shape):
            return reason
        total = prod(shape)
        return empty_reason(kept_count(total, self.sparsity), self.sparsity, 1, total, "weight")

    def contains(self, weight: Tensor) -> bool:
        """Whether no more weights are non-zero than (1 - sparsity) * size, rounded (`kept_count`)."""
        if self.supports(shape_of(weight)):
            return False
        return int(support(weight).sum()) <= kept_count(weight.numel(), self.sparsity)

    def pack(self, weight: Tensor) -> Coordinates:
        """Store as coordinates; raises SpokeshaveError when too many weights are non-zero."""
        check_weight(NAME, self, weight)
        found, allowed = int(support(weight).sum()), kept_count(weight.numel(), self.sparsity)
        check_member(NAME, self, weight, f"it has {found} non-zero values where {allowed} may be")
        return Coordinates.of(weight)

    def _keep(self, worth: Tensor) -> Tensor:
        count = kept_count(worth.numel(), self.sparsity)
        return keep_largest(worth.flatten(), count).view(worth.shape)
