"""What a scheme is: a set of weights that a device can exploit."""

from typing import Protocol, cast, runtime_checkable

from torch import Tensor

from spokeshave.errors import SpokeshaveError


class Packed(Protocol):
    """A weight stored the way its scheme allows; `unpack` gives back the values that were packed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight that was packed."""

    @property
    def nbytes(self) -> int:
        """True size of the packed weight, indices included, in bytes."""

    def unpack(self) -> Tensor:
        """Return the weight as it was packed, exactly; only a -0.0 may come back as 0.0."""


@runtime_checkable
class Scheme(Protocol):
    """A set of tensors. Schemes are frozen dataclasses; they know nothing of networks, devices or training.

    A weight of any rank is seen as the matrix `[shape[0], product of the rest]` (see `as_matrix`): rows are
    output channels, columns are (input channel, kernel row, kernel column) positions. Weights that are stored the other
    way round, of transposed convolutions and of GPT-2's `Conv1D`, have input channels for rows.
    """

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Return the point of the set nearest to `weight`; `saliency` (same shape) replaces its square.

        Of a saliency with negative values only the order counts, and schemes that fit levels refuse it.
        """

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """Why no weight of this shape can lie in the set, or None."""

    def contains(self, weight: Tensor) -> bool:
        """Whether `weight` lies in the set."""

    def pack(self, weight: Tensor) -> Packed:
        """Store a weight of the set compactly; raises SpokeshaveError when `weight` is not in the set."""


def check_scheme(owner: str, scheme: object) -> None:
    """Raise SpokeshaveError unless this is a scheme, or None, which leaves a weight alone.

    >>> check_scheme("the rule 'head'", "x")
    Traceback (most recent call last):
    spokeshave.errors.SpokeshaveError: the rule 'head' needs a scheme, such as BlockColumnRow(0.9), or None, not 'x'
    """
    if scheme is not None and (isinstance(scheme, type) or not isinstance(scheme, Scheme)):
        raise SpokeshaveError(f"{owner} needs a scheme, such as BlockColumnRow(0.9), or None, not {scheme!r}")


class Composable:
    """Gives schemes the operator of intersection: `a & b` holds the weights that lie in both."""

    def __and__(self, other: Scheme) -> Scheme:
        from spokeshave.schemes.intersection import Intersection  # is a scheme itself

        return Intersection((cast(Scheme, self), other))


def as_matrix(weight: Tensor) -> Tensor:
    """View a weight as the matrix `[shape[0], product of the rest]`.

    >>> import torch
    >>> as_matrix(torch.zeros(8, 4, 3, 3)).shape
    torch.Size([8, 36])
    """
    return weight.reshape(weight.shape[0], -1)
