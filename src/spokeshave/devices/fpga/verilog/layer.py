"""Layers of a network in whole numbers as products for the engine."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.compiler.operations import Convolution, Quantized
from spokeshave.compiler.quantization.arithmetic import whole_bounds
from spokeshave.devices.fpga.engine import LARGEST_SHIFT, Engine, LaneKind
from spokeshave.devices.fpga.verilog.product import Numbers
from spokeshave.errors import SpokeshaveError


def reason_against(operation: Quantized) -> str | None:
    """Why the engine cannot compute a layer, or None."""
    if operation.rescale is None:
        return "it is rescaled by float32 numbers: the form needs rescale='multiplier' or 'shift'"
    if operation.output is None:
        return "its sums stay float32"
    if operation.rescale.rounding == "twice":
        return "its requantizer rounds twice, and the engine's once"
    if operation.residual is not None:
        return "a residual is joined to its sums: the form needs joins='separate'"
    if operation.output.high - operation.output.low > 255:
        return "its outputs need more than 8 bits"
    if isinstance(operation.layer, Convolution) and operation.layer.groups > 1:
        return (
            f"it is a convolution of {operation.layer.groups} groups, each of which is a product of its own"
        )
    return None


def numbers_of(engine: Engine, operation: Quantized, weights: Mapping[str, Tensor], x: Tensor) -> Numbers:
    """A layer on one sample's levels `x`, `[1, ...]`, as a product; the input's zero point goes into the bias.

    An engine for int8 reads levels of 0 to 255 less 128, which is their highest bit turned round, and the other way.

    Rows go to the cheapest lanes that the engine has and that hold them. Raises SpokeshaveError for layers that it
    cannot compute.
    """
    reason = reason_against(operation)
    if reason is not None or operation.rescale is None or operation.output is None:
        raise SpokeshaveError(f"the engine cannot compute this layer: {reason}")
    matrix, rescale = weights[operation.weight].flatten(1).long(), operation.rescale
    bias = weights[rescale.bias] if rescale.bias is not None else torch.zeros(len(matrix), dtype=torch.int64)
    offset = offset_of(engine, operation)
    low, high = whole_bounds(operation.output, operation.layer.activation)
    zero_point = operation.output.zero_point
    return Numbers(
        weights=matrix,
        kinds=tuple(kind_of(engine, row) for row in matrix),
        inputs=columns_of(operation, weights[operation.weight], x) - offset,
        bias=bias - (operation.input.zero_point - offset) * matrix.sum(1),
        multiplier=weights[rescale.multiplier],
        shift=weights[rescale.shift],
        low=low - zero_point,
        high=high - zero_point,
        zero_point=zero_point,
    )


def offset_of(engine: Engine, operation: Quantized) -> int:
    """What is taken off the input's levels so that they have the sign, or none, that the engine's have."""
    if engine.signed:
        return 128 if operation.input.high > 127 else 0
    return -128 if operation.input.low < 0 else 0


def kind_of(engine: Engine, row: Tensor) -> LaneKind:
    """The lanes for a row of whole numbers: shifts, then 4 bits, then 8; where lanes are binary, these.

    >>> from spokeshave.devices.fpga.engine import Lanes
    >>> engine = Engine(Lanes(int8=2, shift=2), columns=4)
    >>> kind_of(engine, torch.tensor([0, -4, 64])), kind_of(engine, torch.tensor([3, 4, 0]))
    ('shift', 'int8')
    """
    if engine.lanes.binary:
        return "binary"
    size = row.abs()
    powers = bool(((size & (size - 1)) == 0).all()) and int(size.max()) <= 1 << LARGEST_SHIFT
    if engine.lanes.shift and powers:
        return "shift"
    return "int4" if engine.lanes.int4 and int(size.max()) <= 7 else "int8"


def columns_of(operation: Quantized, weight: Tensor, x: Tensor) -> Tensor:
    """What each position multiplies with, `[columns, positions]`, padded with the input's zero point."""
    layer = operation.layer
    if not isinstance(layer, Convolution):
        return x.long().reshape(-1, x.shape[-1]).T
    top, left, bottom, right = layer.padding
    padded = F.pad(x.double(), (left, right, top, bottom), value=operation.input.zero_point)
    height, width = weight.shape[2:]
    return F.unfold(padded, (height, width), layer.dilation, 0, layer.stride)[0].long()
