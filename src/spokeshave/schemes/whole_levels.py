"""Weights of few levels as whole numbers, one scale a row: what integer hardware multiplies with."""

import torch
from torch import Tensor

from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.quantizers import RowQuantizer
from spokeshave.schemes.scheme import Scheme


def whole_levels(scheme: Scheme, weight: Tensor) -> tuple[Tensor, Tensor] | None:
    """Whole numbers of the weight's shape (int16) and float64 scales `[rows]` whose products are the weight.

    A power of two counts in its smallest power, so every weight is one shift. None for schemes whose levels are not
    multiples of a scale, and for those without levels.

    >>> from spokeshave.schemes.quantizers import PowerOfTwo
    >>> whole_levels(PowerOfTwo(3), torch.tensor([[0.5, -0.125, 0.0]]))
    (tensor([[ 4, -1,  0]], dtype=torch.int16), tensor([0.1250], dtype=torch.float64))
    """
    if isinstance(scheme, Intersection):
        return next((found for part in scheme.parts if (found := whole_levels(part, weight))), None)
    if isinstance(scheme, MixedRows):
        return _mixed(scheme, weight)
    return _levels(scheme, weight) if isinstance(scheme, RowQuantizer) else None


def _levels(quantizer: RowQuantizer, weight: Tensor) -> tuple[Tensor, Tensor]:
    coded, table = quantizer.encode(weight), quantizer.table
    step = table[table != 0].abs().min()
    whole = (table / step).round().to(torch.int16)
    scales = (coded.scales.double() * step).expand(weight.shape[0])
    return whole[coded.codes.long() + (coded.zero or 0)], scales.clone()


def _mixed(scheme: MixedRows, weight: Tensor) -> tuple[Tensor, Tensor]:
    """A row that both formats hold has the same values in either."""
    in_first = scheme.first.member_rows(weight)
    levels = torch.zeros(weight.shape, dtype=torch.int16)
    scales = torch.zeros(len(weight), dtype=torch.float64)
    for quantizer, rows in ((scheme.first, in_first), (scheme.second, ~in_first)):
        if bool(rows.any()):
            levels[rows], scales[rows] = _levels(quantizer, weight[rows])
    return levels, scales
