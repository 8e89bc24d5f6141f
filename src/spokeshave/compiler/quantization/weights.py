"""float32 weights -> int8, symmetric, with a scale for each output row."""

import torch
from torch import Tensor

from spokeshave.compiler.quantization.arithmetic import LARGEST_WEIGHT

PROBED = 16  # values of a row that rule out nearly every grid before the whole row is looked at
OFF_GRID = 1e-4  # steps; what folding a batch norm into float32 weights moves them by is a tenth of it


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 weight of the same shape and float32 scales `[rows]`; zeros stay zeros, a row of zeros has scale 1.

    Rows that are whole multiples of a scale already (fixed point, powers of two, two levels) keep it: nothing is
    rounded a second time.
    """
    weight = weight.detach()
    rows = weight.flatten(1)
    largest = rows.abs().amax(1)
    scale = torch.where(largest > 0, largest / steps_to_largest(rows), torch.ones_like(largest))
    levels = (rows / scale[:, None]).round()
    return levels.clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT).to(torch.int8).view(weight.shape), scale.float()


def steps_to_largest(rows: Tensor) -> Tensor:
    """How many steps of its grid each row's largest value is, `[rows]`: LARGEST_WEIGHT where the row lies on no grid.

    >>> steps_to_largest(torch.tensor([[0.5, -1.5, 0.0], [0.1, 0.2371, 1.0]]))
    tensor([  3., 127.])
    """
    absolute = rows.abs()
    parts = [part.amax(1) for part in absolute.tensor_split(min(PROBED, rows.shape[1]), 1)]
    largest = absolute.amax(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny).double()
    probes = torch.stack(parts, 1) / largest
    steps = torch.full(rows.shape[:1], float(LARGEST_WEIGHT), dtype=rows.dtype, device=rows.device)
    open_rows = torch.ones_like(steps, dtype=torch.bool)
    for count in range(1, LARGEST_WEIGHT):
        candidates = (open_rows & _on_grid(probes, count)).nonzero().flatten()
        found = candidates[_on_grid(rows[candidates] / largest[candidates], count)]
        steps[found], open_rows[found] = count, False
    return steps


def _on_grid(relative: Tensor, count: int) -> Tensor:
    """Which rows hold nothing but multiples of 1 / count."""
    units = relative * count
    return ((units - units.round()).abs() <= OFF_GRID).all(1)
