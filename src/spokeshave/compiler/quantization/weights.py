"""float32 weights -> int8, symmetric, with a scale for each output row."""

import torch
from torch import Tensor

from spokeshave.compiler.quantization.arithmetic import LARGEST_WEIGHT

PROBED = 16  # values of a row that rule out nearly every grid before the whole row is looked at
FEW = 0.5  # of a layer's weights that are not zero: so many different ones, row by row, are few
FEWEST_OF_AN_INPUT = 4  # weights, on average: a single one is a multiple of any step
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


def rounded_again(weight: Tensor) -> str:
    """Why int8 changes weights of few levels a row (codes of a scheme); "" where it keeps them, or they are many.

    >>> powers = torch.tensor([[1.0, 2.0**-9, 1.0, 2.0**-9, 1.0, 1.0]])
    >>> rounded_again(powers)[:58], rounded_again(powers.clamp(min=0.125))
    ('its weights have few levels a row that are no multiples of', '')
    """
    rows = weight.detach().flatten(1)
    ordered = rows.sort(1).values
    different = 1 + (ordered.diff(dim=1) != 0).sum(1)
    levels, used = int((different - (rows == 0).any(1).int()).sum()), int(rows.count_nonzero())
    if not used:
        return ""
    if levels > FEW * used:
        return _levels_by_inputs(weight.detach(), used)
    if (lost := _lost(rows)) <= OFF_GRID:
        return ""
    return (
        "its weights have few levels a row that are no multiples of one step (a codebook, or powers of two of more "
        f"than 4 bits), so int8 rounded them again, by up to {lost:.2%} of a row's largest"
    )


def _levels_by_inputs(weight: Tensor, used: int) -> str:
    """The same for levels that every input has of its own: rows of a transposed convolution, or of a `Conv1D`."""
    columns = weight.transpose(0, 1).flatten(1)
    if used < FEWEST_OF_AN_INPUT * len(columns) or _lost(columns) > OFF_GRID:
        return ""
    lost = _lost(weight.flatten(1))
    return (
        "its weights have levels by inputs (those of a transposed convolution or a Conv1D are stored so) and int8 has "
        f"a step for each output, so they were rounded again, by up to {lost:.2%} of a row's largest"
    )


def _lost(rows: Tensor) -> float:
    """The most that rounding to int8 moves a weight, relative to the largest of its row."""
    largest = rows.abs().amax(1).clamp_min(torch.finfo(rows.dtype).tiny)
    integers, scale = quantize_rows(rows)
    return float(((integers * scale[:, None] - rows).abs() / largest[:, None]).max())


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
