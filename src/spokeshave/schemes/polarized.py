"""Weights of one sign in every fragment of a crossbar's column (FORMS, arXiv 2106.09144)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from spokeshave.schemes.bits import pack_bits, unpack_bits
from spokeshave.schemes.checks import check_choice, check_count, check_member, matrix_reason, shape_of
from spokeshave.schemes.masking import project_by
from spokeshave.schemes.scheme import Composable
from spokeshave.schemes.word_lines import ORDERS, Order, from_fragments, in_fragments


@dataclass(frozen=True)
class Magnitudes:
    """Sizes of all weights, of the weight's shape, and a bit for each fragment that says whether it is negative."""

    shape: tuple[int, ...]
    values: Tensor
    negative: Tensor
    fragment: int
    order: Order

    @property
    def nbytes(self) -> int:
        """Bytes of sizes and signs."""
        return self.values.nbytes + self.negative.nbytes

    def unpack(self) -> Tensor:
        """The weight, as it was packed."""
        sizes = in_fragments(self.values, self.fragment, self.order)
        negative = unpack_bits(self.negative, 1, sizes.shape[:2].numel()).bool().view(*sizes.shape[:2], 1)
        return from_fragments(torch.where(negative, -sizes, sizes), self.shape, self.order)


@dataclass(frozen=True)
class Polarized(Composable):
    """In every run of `fragment` positions of a row weights have one sign: `+ + 0 + | - 0 - -`.

    A row (output channel) is a column of a crossbar, its positions are word lines; conductances have no sign, so a
    fragment, at most a whole row, needs one bit beside its sizes. `order` says which axis of a kernel runs fastest
    along the word lines. With `by="energy"` a fragment keeps the sign with more squared weight, the nearest point; with
    "sum" the sign of its sum, which is cheaper.

    >>> Polarized(2).project(torch.tensor([[3.0, -1.0, -2.0, 1.0, 0.5, 4.0]]))
    tensor([[ 3.0000,  0.0000, -2.0000,  0.0000,  0.5000,  4.0000]])
    """

    fragment: int = 8
    order: Order = "width"
    by: Literal["energy", "sum"] = "energy"

    def __post_init__(self) -> None:
        check_count("polarized", "fragment", self.fragment, 2)
        check_choice("polarized", "order", self.order, ORDERS)
        check_choice("polarized", "by", self.by, ("energy", "sum"))

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Remove from every fragment the weights of the sign that is worth less."""
        return project_by(
            "polarized", self, weight, saliency, lambda worth: self._kept(weight.detach(), worth)
        )

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """Any matrix will do."""
        return matrix_reason(shape)

    def contains(self, weight: Tensor) -> bool:
        """Whether no fragment has weights of both signs."""
        if len(shape_of(weight)) < 2:
            return False
        fragments = in_fragments(weight.detach(), self.fragment, self.order)
        return not bool(((fragments > 0).any(2) & (fragments < 0).any(2)).any())

    def pack(self, weight: Tensor) -> Magnitudes:
        """Store sizes, and a sign a fragment; raises SpokeshaveError outside the set."""
        check_member("polarized", self, weight, "a fragment has both signs")
        weight = weight.detach().cpu()
        negative = (in_fragments(weight, self.fragment, self.order) < 0).any(2)
        return Magnitudes(
            tuple(weight.shape), weight.abs(), pack_bits(negative.int(), 1), self.fragment, self.order
        )

    def signs(self, weight: Tensor) -> Tensor:
        """The sign of each weight's fragment in a member, 1 or -1 and 1 where all is zero; of the weight's shape."""
        fragments = in_fragments(weight.detach(), self.fragment, self.order)
        signs = torch.where((fragments < 0).any(2, keepdim=True), -1, 1).to(weight.dtype)
        return from_fragments(signs.expand(fragments.shape), tuple(weight.shape), self.order)

    def _kept(self, weight: Tensor, worth: Tensor) -> Tensor:
        fragments = in_fragments(weight, self.fragment, self.order)
        worths = in_fragments(worth, self.fragment, self.order)
        worths = worths if self.by == "energy" else worths.clamp(min=0).sqrt()
        positive = (worths * fragments.sign()).sum(2, keepdim=True) >= 0
        kept = torch.where(positive, fragments >= 0, fragments <= 0)
        return from_fragments(kept, tuple(weight.shape), self.order)
