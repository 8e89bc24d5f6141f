"""Matrices of one tensor, each in a scheme of its own: the experts of a mixture."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.checks import check_member, check_shape, check_weight, shape_of
from spokeshave.schemes.scheme import Composable, Packed, Scheme

NAME = "stacked"


@dataclass(frozen=True)
class PackedStack:
    """Packed matrices, one behind the other."""

    matrices: tuple[Packed, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of matrices, rows and columns."""
        return (len(self.matrices), *self.matrices[0].shape)

    @property
    def nbytes(self) -> int:
        """Of all matrices together."""
        return sum(matrix.nbytes for matrix in self.matrices)

    def unpack(self) -> Tensor:
        """The tensor, as it was packed."""
        return torch.stack([matrix.unpack() for matrix in self.matrices])


@dataclass(frozen=True)
class Stacked(Composable):
    """Every matrix of a tensor `[count, rows, columns]` lies in `each`: experts do not compete for what is kept.

    A plan's scheme for the fused experts of a mixture is taken so by itself.

    >>> import torch
    >>> from spokeshave.schemes.n_of_m import NOfM
    >>> Stacked(NOfM(1, 2)).project(torch.tensor([[[1.0, 3.0]], [[9.0, 8.0]]]))
    tensor([[[0., 3.]],
    <BLANKLINE>
            [[9., 0.]]])
    """

    each: Scheme

    def __post_init__(self) -> None:
        if not isinstance(self.each, Scheme) or isinstance(self.each, Stacked):
            raise SpokeshaveError(f"{NAME}: each must be the scheme of one matrix, not {self.each!r}")

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """The nearest point of every matrix."""
        check_weight(NAME, self, weight, saliency)
        worth = weight.new_empty(len(weight), 0) if saliency is None else saliency
        return torch.stack(
            [
                self.each.project(matrix, None if saliency is None else share)
                for matrix, share in zip(weight, worth, strict=True)
            ]
        )

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """Three axes, of which the last two suit the scheme of one matrix."""
        check_shape(shape)
        return self.each.supports(shape[1:]) if len(shape) == 3 else f"{shape} is not a stack of matrices"

    def contains(self, weight: Tensor) -> bool:
        """Whether every matrix lies in the scheme."""
        return not self.supports(shape_of(weight)) and all(self.each.contains(matrix) for matrix in weight)

    def pack(self, weight: Tensor) -> PackedStack:
        """Every matrix packed; raises SpokeshaveError outside the set."""
        check_member(NAME, self, weight, "a matrix does not lie in it")
        return PackedStack(tuple(self.each.pack(matrix) for matrix in weight))
