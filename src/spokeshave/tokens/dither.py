"""An ordered dither over patches: a fixed pattern that spreads choices evenly, where noise cannot be drawn.

Probabilities alone keep neighbours together, for neighbours look alike; what Gumbel noise draws in training is spread
over the image. As in halftoning, a pattern in which near places have far values does the same without noise.
"""

import math

import torch
from torch import Tensor

GOLDEN = 1.6180339887498949  # solves x^2 = x + 1: steps of its inverse fill a line most evenly
PLASTIC = 1.3247179572447460  # solves x^3 = x + 1: steps of its inverse powers fill a plane evenly


def place_odds(patches: int, strength: float) -> Tensor:
    """By what a patch's odds of being kept are multiplied, `[patches]`.

    Their logarithms are logistic quantiles, times `strength`. A square number of patches lies in rows, others in one
    line.

    >>> place_odds(4, 1.0).sort().values
    tensor([0.1429, 0.6000, 1.6667, 7.0000])
    """
    ranks = _pattern(patches).argsort().argsort()
    quantiles = (ranks.double() + 0.5) / patches
    return (strength * quantiles.logit()).exp().float()


def dithered(probabilities: Tensor, odds: Tensor) -> Tensor:
    """Probabilities of any floating type, whose odds are multiplied by numbers of 32 bits.

    >>> dithered(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([3.0, 3.0, 3.0]))
    tensor([0.0000, 0.7500, 1.0000])
    """
    favoured = probabilities * odds
    return (favoured / (favoured + (1 - probabilities))).to(probabilities.dtype)


def _pattern(patches: int) -> Tensor:
    """Numbers from 0 to 1, no two alike (additive recurrences)."""
    side, places = math.isqrt(patches), torch.arange(patches, dtype=torch.float64)
    if side * side != patches:
        return places / GOLDEN % 1
    rows, columns = places.div(side, rounding_mode="floor"), places % side
    return (columns / PLASTIC + rows / PLASTIC**2) % 1
