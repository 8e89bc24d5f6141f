"""A matrix of whole numbers -> levels of cells, and what makes its products of what columns give.

    product[n] = sum over chunks and groups of  coefficient[chunk, group, n] * column sum
               + sum over chunks of             offset[chunk, n] * sum of the chunk's inputs

A chunk is the word lines that are driven together, a group one bit line of every output channel (a slice of a weight).
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.devices.crossbars.array import Array
from spokeshave.errors import SpokeshaveError


@dataclass(frozen=True)
class Mapped:
    """`lines`: inputs on the word lines, `[lines]`, and `outputs` on the bit lines, `[outputs]`: those without weights
    are left out. `levels` of all cells `[chunks, rows at once, groups, outputs]`; `coefficient` `[chunks, groups,
    outputs]`; `offset` `[chunks, outputs]`.
    """

    lines: Tensor
    outputs: Tensor
    levels: Tensor
    coefficient: Tensor
    offset: Tensor


def map_weight(weight: Tensor, array: Array, lines: Tensor | None = None) -> Mapped:
    """Levels of the cells for a weight of whole numbers, `[outputs, inputs]`.

    `lines`: the input of each word line (`schemes.word_lines`). Runs of word lines without weights are left out: single
    ones, or whole fragments of polarized weights; so are outputs without weights. Raises SpokeshaveError for weights
    that are too large, and for fragments with two signs.
    """
    if int(weight.abs().max()) > array.largest_weight:
        most = f"the crossbar holds {array.weight_bits} bits, up to {array.largest_weight}"
        raise SpokeshaveError(f"a weight is {int(weight.abs().max())} units and {most}")
    lines = torch.arange(weight.shape[1]) if lines is None else lines
    lines = lines[used_lines(weight[:, lines], array)]
    outputs = (weight != 0).any(1).nonzero().flatten()
    chunks = _chunks(weight[outputs][:, lines].int(), array.rows_at_once)
    sizes, signs, offset = _ENCODINGS[array.encoding](chunks, array)
    shifts = torch.arange(array.slices, dtype=torch.int32) * array.cell_bits
    levels = (sizes[..., None, :] >> shifts[:, None]) & ((1 << array.cell_bits) - 1)
    coefficient = signs[..., None, :] * (1 << shifts)[:, None]
    mapped = Mapped(lines, outputs, levels.flatten(2, 3), coefficient.flatten(1, 2).float(), offset.double())
    return _flipped(mapped, array) if array.flipped else mapped


def used_lines(weight: Tensor, array: Array) -> Tensor:
    """Which word lines stay, bool `[inputs]`: those with weights, in whole fragments where signs are by fragment."""
    used = (weight != 0).any(0)
    if array.encoding == "polarized":
        runs = F.pad(used, (0, -len(used) % array.rows_at_once)).view(-1, array.rows_at_once).any(1)
        used = runs.repeat_interleave(array.rows_at_once)[: len(used)]
    return used if bool(used.any()) else torch.ones_like(used)


def _chunks(weight: Tensor, rows_at_once: int) -> Tensor:
    """`[outputs, lines]` -> `[chunks, rows at once, outputs]`, zeros on the word lines that are left over."""
    padded = F.pad(weight, (0, -weight.shape[1] % rows_at_once))
    return padded.unflatten(1, (-1, rows_at_once)).permute(1, 2, 0)


Encoded = tuple[
    Tensor, Tensor, Tensor
]  # sizes [chunks, rows, sets, outputs], signs [chunks, sets, outputs], offset


def _pairs(chunks: Tensor, array: Array) -> Encoded:
    sizes = torch.stack([chunks.clamp(min=0), -chunks.clamp(max=0)], 2)
    signs = torch.tensor([1, -1])[:, None].expand(len(chunks), 2, chunks.shape[2])
    return sizes, signs, torch.zeros(len(chunks), chunks.shape[2])


def _offset(chunks: Tensor, array: Array) -> Encoded:
    added = 1 << array.weight_bits - 1
    signs = torch.ones(len(chunks), 1, chunks.shape[2], dtype=torch.int32)
    return (chunks + added)[:, :, None], signs, -added * signs[:, 0]


def _polarized(chunks: Tensor, array: Array) -> Encoded:
    negative = (chunks < 0).any(1)
    mixed = int((negative & (chunks > 0).any(1)).sum())
    if mixed:
        raise SpokeshaveError(
            f"{mixed} of {negative.numel()} fragments of {array.rows_at_once} have weights of both signs; "
            f"bring the weight into Polarized({array.rows_at_once}) first"
        )
    signs = torch.where(negative, -1, 1)
    return chunks.abs()[:, :, None], signs[:, None], torch.zeros(signs.shape)


_ENCODINGS = {"pairs": _pairs, "offset": _offset, "polarized": _polarized}


def _flipped(mapped: Mapped, array: Array) -> Mapped:
    """Complements in the columns whose levels add up to more than half of the most."""
    most = (1 << array.cell_bits) - 1
    flip = 2 * mapped.levels.sum(1) > most * array.rows_at_once
    levels = torch.where(flip[:, None], most - mapped.levels, mapped.levels)
    taken = torch.where(flip, most * mapped.coefficient, 0).sum(1).double()
    coefficient = torch.where(flip, -mapped.coefficient, mapped.coefficient)
    return replace(mapped, levels=levels, coefficient=coefficient, offset=mapped.offset + taken)
