"""Runs operations that move elements."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.compiler.operations import (
    Concatenate,
    Constant,
    Expand,
    Interleave,
    Pad,
    Patches,
    Permute,
    Reshape,
    Slice,
    Take,
)
from spokeshave.compiler.reference.runner import Runner, Weights, prefix


def _slice(op: Slice, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    return inputs[0][(slice(None),) * op.axis + (slice(op.start, op.stop, op.step),)]


def _pad(op: Pad, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    widths = [width for pair in zip(reversed(op.before), reversed(op.after), strict=True) for width in pair]
    return F.pad(inputs[0], widths, value=op.value)


def _patches(op: Patches, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    _, channels, rows, columns = inputs[0].shape
    grid = inputs[0].reshape(-1, channels, rows // op.height, op.height, columns // op.width, op.width)
    return F.pad(grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2), (0, 0, op.before, 0))


def _interleave(op: Interleave, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    _, _, height, width = inputs[0].shape
    phases = inputs[0].reshape(-1, op.groups, op.rows, op.columns, shape[1] // op.groups, height, width)
    whole = phases.permute(0, 1, 4, 5, 2, 6, 3).reshape(-1, shape[1], height * op.rows, width * op.columns)
    return whole[..., : shape[2], : shape[3]]


def _take(op: Take, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    """Elements at constant places of one axis."""
    return inputs[0].index_select(op.axis, weights[op.indices])


def _constant(op: Constant, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    weight = weights[op.weight]
    return (
        prefix(weight, shape).reshape(shape)
        if op.start is None
        else weight.narrow(op.axis, int(op.start), int(shape[op.axis]))
    )


RUNNERS: Mapping[type, Runner] = {
    Concatenate: lambda op, inputs, weights, shape: torch.cat(inputs, op.axis),
    Reshape: lambda op, inputs, weights, shape: inputs[0].reshape(shape),
    Permute: lambda op, inputs, weights, shape: inputs[0].permute(op.axes),
    Slice: _slice,
    Pad: _pad,
    Patches: _patches,
    Take: _take,
    Constant: _constant,
    Interleave: _interleave,
    Expand: lambda op, inputs, weights, shape: inputs[0].expand(shape),
}
