"""So many weights in each segment of a row: N:M sparsity, bank-balanced sparsity, block-max masking."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.checks import check_choice, check_count, check_member, matrix_reason, shape_of
from spokeshave.schemes.masking import project_by
from spokeshave.schemes.ranking import keep_largest_per_row, support
from spokeshave.schemes.scheme import Composable
from spokeshave.schemes.segments import Along, Segments, as_rows, from_rows

NAME = "n_of_m"


@dataclass(frozen=True)
class NOfM(Composable):
    """At most `kept` of every `length` weights in a row are not zero: 2:4 is `x . x . | . . x x`.

    Segments run along the input channels, at one kernel position of a convolution, or along the columns of the matrix
    view; where `length` does not divide the row the last one is shorter and keeps its share, rounded. 2:4 is
    `NOfM(2, 4)`; a long segment along the columns is a bank (bank-balanced sparsity, arXiv 1811.00206); one weight a
    segment is the block-max masking of DARB (arXiv 1911.08020).

    >>> import torch
    >>> NOfM(1, 2).project(torch.tensor([[1.0, -3.0, 2.0, 0.5]]))
    tensor([[ 0., -3.,  2.,  0.]])
    """

    kept: int = 2
    length: int = 4
    along: Along = "channels"

    def __post_init__(self) -> None:
        check_count(NAME, "kept", self.kept)
        check_count(NAME, "length", self.length)
        if self.kept > self.length:
            raise SpokeshaveError(f"{NAME}: kept {self.kept} must not be above length {self.length}")
        check_choice(NAME, "along", self.along, ("channels", "columns"))

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Keep the largest weights of each segment, or the most salient: the nearest point."""
        return project_by(NAME, self, weight, saliency, self._keep)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """A segment must not be longer than the row that it is cut from."""
        if reason := matrix_reason(shape):
            return reason
        width = shape[1] if self.along == "channels" else torch.Size(shape[1:]).numel()
        if self.length <= width:
            return None
        longer = f"segments of {self.length} are longer than the {width} {self.along} of the weight"
        return f"{longer}; length can be {width} at most"

    def contains(self, weight: Tensor) -> bool:
        """Whether no segment has more than `kept` non-zeros, and no shorter one more than its share."""
        if self.supports(shape_of(weight)):
            return False
        whole, tail = self._segments(as_rows(support(weight).int(), self.along))
        return bool((whole.sum(1) <= self.kept).all() and (tail.sum(1) <= self._tail_kept(tail)).all())

    def pack(self, weight: Tensor) -> Segments:
        """Store `kept` values a segment and their places; raises SpokeshaveError outside the set."""
        check_member(
            NAME,
            self,
            weight,
            f"a segment has more than {self.kept} non-zeros, or a shorter one more than its share",
        )
        return Segments.of(weight, self.along, self.length, self.kept)

    def _keep(self, worth: Tensor) -> Tensor:
        rows = as_rows(worth, self.along)
        parts = self._segments(rows)
        counts = (self.kept, self._tail_kept(parts[1]))
        kept = [
            keep_largest_per_row(part, torch.full((len(part),), count, device=worth.device)).view(
                len(rows), -1
            )
            for part, count in zip(parts, counts, strict=True)
        ]
        return from_rows(torch.cat(kept, dim=1), tuple(worth.shape), self.along)

    def _segments(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Whole segments, `[n, length]`, and the shorter ones at the ends of rows, `[rows, columns]`."""
        end = rows.shape[1] // self.length * self.length
        return rows[:, :end].reshape(-1, self.length), rows[:, end:]

    def _tail_kept(self, tail: Tensor) -> int:
        """The share of a shorter segment, rounded, halves up."""
        return (2 * self.kept * tail.shape[1] + self.length) // (2 * self.length)
