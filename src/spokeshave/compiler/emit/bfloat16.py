"""Lowers layers in bfloat16, and the conversions between float32 and bfloat16."""

from typing import Literal

import numpy as np
import torch

from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.words import planes_of, word_panels
from spokeshave.compiler.graph import Node
from spokeshave.compiler.kernels.instances import BFloat16PanelKernel
from spokeshave.compiler.layout import CHANNELS_PER_WORD
from spokeshave.compiler.operations import Rounded

PER_WORD = CHANNELS_PER_WORD["bfloat16"]


def lower_round(lowering: Lowering, node: Node) -> None:
    """float32 planes -> bfloat16 planes, unless what makes the floats has done it."""
    if node.output not in lowering.made:
        _convert(lowering, "round_planes", node, node.inputs[0])


def lower_widen(lowering: Lowering, node: Node) -> None:
    """bfloat16 planes -> float32 planes."""
    _convert(lowering, "widen_planes", node, node.output)


def _convert(lowering: Lowering, function: str, node: Node, in_floats: str) -> None:
    extent = lowering.extent(planes_of(lowering, in_floats))
    lowering.call(function, lowering.place(node.inputs[0]), lowering.place(node.output), *extent)


def lower_rounded(lowering: Lowering, node: Node) -> None:
    """A convolution over positions, or a linear layer over tokens."""
    operation = node.operation
    assert isinstance(operation, Rounded)
    layer, weights = operation.layer, lowering.graph.weights
    weight = weights[operation.weight].contiguous().view(torch.int16).numpy()
    bias = weights[operation.bias].detach().numpy() if operation.bias else np.zeros(len(weight), np.float32)
    target, residual_unit = (PER_WORD if rounded else 1 for rounded in (operation.output, operation.residual))
    packed, source = word_panels(lowering, node, layer, weight, max(target, residual_unit))
    written, output = planes_of(lowering, node.output), lowering.place(node.output)
    schedule, activation = packed.schedule, layer.activation
    kernel = BFloat16PanelKernel(
        schedule.rows,
        schedule.vectors,
        _residual_type(operation),
        activation,
        operation.output,
        schedule.amx,
        schedule.left,
        schedule.changes,
    )
    lowering.call_kernel(
        kernel,
        *packed.weights,
        packed.per_row(bias.reshape(-1).astype(np.float32)),
        packed.targets(target, written),
        packed.targets(residual_unit, written),
        *packed.extent(written),
        source,
        output,
        lowering.residual(node.inputs[1]) if layer.residual else output,
        *packed.in_tiles,
        schedule=schedule,
    )


def _residual_type(operation: Rounded) -> Literal["bfloat16", "float32"] | None:
    if not operation.layer.residual:
        return None
    return "bfloat16" if operation.residual else "float32"
