"""Dictionaries of 3x3 patterns: those of the field by name, and those found in a weight."""

import re
import tomllib
from functools import cache
from importlib.resources import files

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.checks import check_count, check_finite, check_tensor
from spokeshave.schemes.ranking import keep_largest_per_row, score

OWNER = "patterns"
PATTERN = re.compile("[01]{3} [01]{3} [01]{3}")

Dictionary = tuple[str, ...]


@cache
def known_dictionaries() -> dict[str, Dictionary]:
    """Dictionaries by name."""
    text = files("spokeshave.schemes").joinpath("patterns.toml").read_text(encoding="utf-8")
    return {name: tuple(patterns) for name, patterns in tomllib.loads(text).items()}


def dictionary_of(entry: str | Dictionary) -> Dictionary:
    """The patterns that a name, or a list of texts such as "110 110 000", means.

    Raises SpokeshaveError for an unknown name, and for patterns that are none, that repeat, or differ in size.
    """
    if isinstance(entry, str):
        if entry not in known_dictionaries():
            raise SpokeshaveError(
                f"{OWNER}: there is no dictionary {entry!r}; known ones are {', '.join(known_dictionaries())}, "
                "and learned_dictionary(weight) finds one in a weight"
            )
        return known_dictionaries()[entry]
    patterns = tuple(entry) if isinstance(entry, list | tuple) else ()
    for pattern in patterns:
        if not isinstance(pattern, str) or not PATTERN.fullmatch(pattern):
            raise SpokeshaveError(f"{OWNER}: a pattern is a text such as '110 110 000', not {pattern!r}")
    sizes = {pattern.count("1") for pattern in patterns}
    if len(sizes) != 1 or sizes == {0} or len(set(patterns)) < len(patterns):
        raise SpokeshaveError(
            f"{OWNER}: a dictionary holds different patterns that keep equally many weights, not {entry!r}"
        )
    return patterns


def as_masks(dictionary: Dictionary) -> Tensor:
    """Bool `[patterns, 9]`.

    >>> as_masks(("110 110 000",)).int()
    tensor([[1, 1, 0, 1, 1, 0, 0, 0, 0]], dtype=torch.int32)
    """
    return torch.tensor([[cell == "1" for cell in pattern.replace(" ", "")] for pattern in dictionary])


def learned_dictionary(
    weight: Tensor, count: int = 8, entries: int = 4, saliency: Tensor | None = None
) -> Dictionary:
    """The most frequent natural patterns of a `[filters, channels, 3, 3]` weight.

    The natural pattern of a kernel is the set of its `entries` largest, or most salient, weights (PatDNN, arXiv
    2001.00138). Kernels of zeros have none. Fewer than `count` patterns come back where the weight has no more.
    """
    check_tensor(OWNER, "weight", weight)
    check_count(OWNER, "count", count)
    check_count(OWNER, "entries", entries)
    if weight.dim() != 4 or weight.shape[2:] != (3, 3) or entries > 9:
        raise SpokeshaveError(f"{OWNER}: only kernels of 3 x 3 have patterns, of 9 entries at most")
    check_finite(OWNER, "weight", weight)
    kernels = score(weight, saliency).reshape(-1, 9)
    kernels = kernels[kernels.any(1)]
    if not len(kernels):
        raise SpokeshaveError(f"{OWNER}: a weight of zeros has no natural patterns")
    natural = keep_largest_per_row(kernels, torch.full((len(kernels),), entries, device=kernels.device))
    found, frequency = natural.unique(dim=0, return_counts=True)
    best = found[frequency.argsort(descending=True, stable=True)[:count]]
    return tuple(_as_text(mask) for mask in best.int().tolist())


def _as_text(mask: list[int]) -> str:
    return " ".join("".join(map(str, mask[row : row + 3])) for row in (0, 3, 6))
