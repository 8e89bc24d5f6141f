"""Several schemes at once: `a & b`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.checks import check_member, check_weight
from spokeshave.schemes.coded import CodedStructure
from spokeshave.schemes.packed import Bitmap
from spokeshave.schemes.quantizers import Codebook, RowQuantizer
from spokeshave.schemes.scheme import Composable, Packed, Scheme

NAME = "intersection"
ROUNDS = 20


@dataclass(frozen=True)
class Intersection(Composable):
    """Weights that lie in all parts: `BlockColumnRow(0.9) & FixedPoint(8)` is sparse in blocks and has 255 levels.

    The projection goes from part to part until the point lies in all. What one removes quantizers leave removed, so
    sparsity first and levels then takes one round; the point is near, not always the nearest.
    """

    parts: tuple[Scheme, ...]

    def __post_init__(self) -> None:
        parts = tuple(self.parts) if isinstance(self.parts, list | tuple) else ()
        if len(parts) < 2 or not all(isinstance(part, Scheme) for part in parts):
            raise SpokeshaveError(f"{NAME}: parts must be two schemes or more, not {self.parts!r}")
        nested = (part.parts if isinstance(part, Intersection) else (part,) for part in parts)
        object.__setattr__(self, "parts", tuple(part for inner in nested for part in inner))

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """A near point of all parts; raises SpokeshaveError where none is found."""
        check_weight(NAME, self, weight, saliency)
        point = weight.detach().clone()
        for _ in range(ROUNDS):
            if self.contains(point):
                return point
            for part in self.parts:
                left = None if saliency is None else torch.where(point != 0, saliency, 0)
                point = part.project(point, left)
        raise SpokeshaveError(f"{NAME}: no point of all of {', '.join(map(str, self.parts))} was found")

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
        structures = [part for part in self.parts if not isinstance(part, RowQuantizer | Codebook)]
        forms: list[Packed] = [part.pack(weight) for part in self.parts]
        for quantizer in self.parts:
            if isinstance(quantizer, RowQuantizer | Codebook) and quantizer.encode(weight).zero is not None:
                coded = quantizer.encode(weight)
                codes = coded.codes.to(weight.dtype)
                sparse = [part.pack(codes) for part in structures if part.contains(codes)]
                forms += [CodedStructure.of(form, coded) for form in (*sparse, Bitmap.of(codes))]
        return min(forms, key=lambda form: form.nbytes)
