"""Several schemes at once: `a & b`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.budgets import TOLERANCE
from spokeshave.schemes.checks import check_member, check_weight
from spokeshave.schemes.coded import CodedStructure
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.packed import Bitmap
from spokeshave.schemes.quantizers import Binary, Codebook, FixedPoint, PowerOfTwo, RowQuantizer
from spokeshave.schemes.ranking import density, lifted, score
from spokeshave.schemes.scheme import Composable, Packed, Scheme

NAME = "intersection"
ROUNDS = 20
LEVELS = (
    Binary,
    PowerOfTwo,
    MixedRows,
    Codebook,
    FixedPoint,
)  # the narrower first; other schemes remove weights


@dataclass(frozen=True)
class Intersection(Composable):
    """Weights that lie in all parts: `BlockColumnRow(0.9) & FixedPoint(8)` is sparse in blocks and has 255 levels.

    The projection goes from part to part until the point lies in all: first through those that remove weights, in the
    order of them that keeps what is worth most, for what blocks do to single weights is not what single weights do to
    blocks; then through levels, which leave removed what is removed. The point is near, not always the nearest, and
    two patterns that have little in common may keep less than either's budget: `short_of_budget` says so.
    """

    parts: tuple[Scheme, ...]

    def __post_init__(self) -> None:
        parts = tuple(self.parts) if isinstance(self.parts, list | tuple) else ()
        if len(parts) < 2 or not all(isinstance(part, Scheme) for part in parts):
            raise SpokeshaveError(f"{NAME}: parts must be two schemes or more, not {self.parts!r}")
        nested = (part.parts if isinstance(part, Intersection) else (part,) for part in parts)
        object.__setattr__(self, "parts", tuple(part for inner in nested for part in inner))
        for first, second in combinations(self.parts, 2):
            _check_pair(first, second)

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """A near point of all parts, the same for every order of them; raises SpokeshaveError where none is found."""
        check_weight(NAME, self, weight, saliency)
        weight, worth = weight.detach(), score(weight, saliency)
        if self.contains(weight):
            return weight.clone()
        removing = [part for part in self.parts if not isinstance(part, LEVELS)]
        levels = [part for kind in LEVELS for part in self.parts if isinstance(part, kind)]
        order_alone = None if saliency is None else lifted(saliency)
        points = (_through(order, weight, order_alone) for order in permutations(removing))
        best = max(points, key=lambda point: float(worth[point != 0].sum()))
        return _through([*removing, *levels], best, saliency)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """What the first part says that has something against it."""
        return next((reason for part in self.parts if (reason := part.supports(shape))), None)

    def contains(self, weight: Tensor) -> bool:
        """Whether all parts hold the weight."""
        return all(part.contains(weight) for part in self.parts)

    def pack(self, weight: Tensor) -> Packed:
        """The smallest packed form of any part, or a bit a weight, with codes for values where a part has levels.

        Raises SpokeshaveError outside the set.
        """
        check_member(NAME, self, weight, "a part does not hold it")
        structures = [part for part in self.parts if not isinstance(part, LEVELS)]
        forms: list[Packed] = [part.pack(weight) for part in self.parts]
        for quantizer in self.parts:
            if isinstance(quantizer, RowQuantizer | Codebook) and quantizer.encode(weight).zero is not None:
                coded = quantizer.encode(weight)
                codes = coded.codes.to(weight.dtype)
                sparse = [part.pack(codes) for part in structures if part.contains(codes)]
                forms += [CodedStructure.of(form, coded) for form in (*sparse, Bitmap.of(codes))]
        return min(forms, key=lambda form: form.nbytes)


def removing_part(scheme: Scheme) -> Scheme | None:
    """What removes weights in an intersection that has levels too; None for other schemes.

    >>> from spokeshave.schemes.unstructured import Unstructured
    >>> removing_part(Unstructured(0.5) & FixedPoint(8)), removing_part(FixedPoint(8))
    (Unstructured(sparsity=0.5), None)
    """
    if not isinstance(scheme, Intersection):
        return None
    parts = tuple(part for part in scheme.parts if not isinstance(part, LEVELS))
    if not parts or len(parts) == len(scheme.parts):
        return None
    return parts[0] if len(parts) == 1 else Intersection(parts)


def short_of_budget(schemes: Mapping[str, Scheme], weights: Mapping[str, Tensor]) -> str | None:
    """What intersections' weights keep where that is 1 % less than the strictest of their parts keeps alone, or None.

    >>> from spokeshave.schemes.block_column_row import BlockColumnRow
    >>> from spokeshave.schemes.patterns import Patterns
    >>> both = Patterns(0.5) & BlockColumnRow(0.8, (4, 8))
    >>> weight = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    >>> point = both.project(weight)
    >>> (short_of_budget({"a": both, "b": both}, {"a": point, "b": point}) or "")[:48]
    'a, b: 11.5 % of the weights are left, of 20.1 % '
    """
    found = {name: short for name in schemes if (short := _shortfall(schemes[name], weights[name]))}
    if not found:
        return None
    kept, alone, parts = zip(*found.values(), strict=True)
    strictest = parts[0] if len(set(parts)) == 1 else "the strictest part of each"
    return (
        f"{', '.join(found)}: {_percents(kept)} % of the weights are left, of {_percents(alone)} % that {strictest} "
        "keeps alone: the nearest that was found, for the parts have little in common; lower sparsities keep more"
    )


def _shortfall(scheme: Scheme, weight: Tensor) -> tuple[float, float, str] | None:
    """What is left, what the strictest part keeps alone, and that part."""
    if not isinstance(scheme, Intersection):
        return None
    full = torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) + 1
    alone = {str(part): density(part.project(full)) for part in scheme.parts if not isinstance(part, LEVELS)}
    if not alone or density(weight) >= (1 - TOLERANCE) * min(alone.values()):
        return None
    strictest = min(alone, key=alone.__getitem__)
    return density(weight), alone[strictest], strictest


def _percents(shares: Sequence[float]) -> str:
    """
    >>> _percents((0.5, 0.25)), _percents((0.125, 0.125))
    ('25.0 to 50.0', '12.5')
    """
    least, most = (f"{100 * share:.1f}" for share in (min(shares), max(shares)))
    return least if least == most else f"{least} to {most}"


def _through(parts: Sequence[Scheme], point: Tensor, saliency: Tensor | None) -> Tensor:
    """From part to part until the point lies in all."""
    for _ in range(ROUNDS):
        if all(part.contains(point) for part in parts):
            return point
        for part in parts:
            left = None if saliency is None else torch.where(point != 0, saliency, 0)
            point = part.project(point, left)
    raise SpokeshaveError(f"{NAME}: no point of all of {', '.join(map(str, parts))} was found")


def _check_pair(first: Scheme, second: Scheme) -> None:
    """Raise SpokeshaveError for two schemes that have hardly more than zeros in common."""
    for one, other in ((first, second), (second, first)):
        if reason := _apart(one, other):
            raise SpokeshaveError(f"{NAME}: {reason}")


def _apart(one: Scheme, other: Scheme) -> str | None:
    """What keeps a scheme from being combined with another, or None."""
    if isinstance(one, Binary) and not isinstance(other, LEVELS):
        return (
            "binary levels have no 0, so nothing is removed beside them; fixed_point with 2 bits has -1 0 1"
        )
    by_row = isinstance(other, MixedRows) or (isinstance(other, RowQuantizer) and other.per == "row")
    if isinstance(one, Codebook) and by_row:
        return f"{one} is shared by all rows, {other} has a scale a row; per='tensor' or one of them alone will do"
    if _strangers(one, other):
        return f"{one} and {other} share hardly a level; take one of them, or mixed_rows for rows of both"
    return None


def _strangers(one: Scheme, other: Scheme) -> bool:
    """Whether powers of two are asked to be multiples of a scale that cannot be so large."""
    if isinstance(one, MixedRows):
        return any(_strangers(part, other) for part in (one.first, one.second))
    if isinstance(other, MixedRows):
        return any(_strangers(one, part) for part in (other.first, other.second))
    if not isinstance(one, PowerOfTwo) or not isinstance(other, FixedPoint):
        return False
    return not (other.per in ("row", one.per) and other.contains(one.table[None]))
