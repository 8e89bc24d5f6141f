"""Rows of two formats at a fixed ratio: Auto-ViT-Acc (arXiv 2208.05163), Quasar-ViT's row-wise bit widths."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.bits import pack_bits
from spokeshave.schemes.checks import (
    check_count,
    check_fraction,
    check_member,
    check_weight,
    matrix_reason,
    shape_of,
)
from spokeshave.schemes.coded import MixedLevels, smallest
from spokeshave.schemes.levels import importance_of
from spokeshave.schemes.quantizers import RowQuantizer
from spokeshave.schemes.ranking import keep_largest_per_row
from spokeshave.schemes.scheme import Composable, as_matrix

NAME = "mixed_rows"


@dataclass(frozen=True)
class MixedRows(Composable):
    """A share of the rows has the second format, all others the first: `fixed fixed 2^k fixed` above each other.

    Formats are quantizers with a scale a row: `MixedRows(FixedPoint(4), PowerOfTwo(4))` is the mix of Auto-ViT-Acc,
    `MixedRows(FixedPoint(8), FixedPoint(4))` has rows of two bit widths. Each of `parts` equal parts of the rows (heads
    of attention) has the same number of rows of each format, so that hardware that runs both stays busy. The rows that
    lose least by it get the second format, which is what small variance stands for in the papers.
    """

    first: RowQuantizer
    second: RowQuantizer
    share: float = 0.5
    parts: int = 1

    def __post_init__(self) -> None:
        for field in ("first", "second"):
            quantizer = getattr(self, field)
            if not isinstance(quantizer, RowQuantizer) or quantizer.per != "row":
                raise SpokeshaveError(
                    f"{NAME}: {field} must be a quantizer with a scale a row, not {quantizer!r}"
                )
        check_fraction(NAME, "share", self.share)
        check_count(NAME, "parts", self.parts)

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Each row becomes its nearest point in its format, and the formats are given out so that all is nearest."""
        check_weight(NAME, self, weight, saliency)
        weight = weight.detach()
        if self.contains(weight):
            return weight.clone()
        points = [quantizer.project(weight, saliency) for quantizer in (self.first, self.second)]
        importance = importance_of(weight, saliency)
        errors = [as_matrix(importance * (point.double() - weight).square()).sum(1) for point in points]
        second = self._second_rows(errors[0] - errors[1])
        return torch.where(second.view(-1, *[1] * (weight.dim() - 1)), points[1], points[0])

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """The parts must divide the rows."""
        if reason := matrix_reason(shape):
            return reason
        return f"{self.parts} parts do not divide {shape[0]} rows" if shape[0] % self.parts else None

    def contains(self, weight: Tensor) -> bool:
        """Whether the rows can be given out as the share says."""
        if self.supports(shape_of(weight)):
            return False
        first, second = (quantizer.member_rows(weight) for quantizer in (self.first, self.second))
        count = self._count(weight.shape[0])
        only_first, only_second = (
            (a & ~b).view(self.parts, -1).sum(1) for a, b in ((first, second), (second, first))
        )
        rows = weight.shape[0] // self.parts
        return bool(((first | second).all() & (only_first <= rows - count) & (only_second <= count)).all())

    def pack(self, weight: Tensor) -> MixedLevels:
        """Store the rows of each format together, without zeros where that is less.

        Raises SpokeshaveError outside the set.
        """
        check_member(NAME, self, weight, "its rows are not of the two formats at that share")
        first, second = (quantizer.member_rows(weight) for quantizer in (self.first, self.second))
        in_second = self._second_rows(second.double() - first.double()).cpu()
        parts = [
            smallest(quantizer.encode(weight.detach().cpu()[rows])) if rows.any() else None
            for quantizer, rows in ((self.first, ~in_second), (self.second, in_second))
        ]
        return MixedLevels(tuple(weight.shape), pack_bits(in_second, 1), (parts[0], parts[1]))

    def _count(self, rows: int) -> int:
        """Rows of the second format in each part."""
        return round(self.share * (rows // self.parts))

    def _second_rows(self, gain: Tensor) -> Tensor:
        """The rows of each part that gain most by the second format, bool `[rows]`."""
        counts = torch.full((self.parts,), self._count(len(gain)), device=gain.device)
        return keep_largest_per_row(gain.view(self.parts, -1), counts).flatten()
