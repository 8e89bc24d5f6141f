"""Transposed convolutions as the ordinary ones that deployments in whole numbers make of them."""

from dataclasses import replace
from math import prod

from torch import Tensor

from spokeshave.compiler.importer.transposed import Axis, phase_kernels
from spokeshave.workload import Layer

ROWS_ARE_INPUTS = "the rows of its weight are inputs, and levels go by outputs"


def rows_reason(layer: Layer) -> str | None:
    """Why a device that multiplies with levels row by row cannot use a scheme in a layer's weight, or None."""
    return ROWS_ARE_INPUTS if layer.kind in ("transposed", "matmul") else None


def as_convolution(layer: Layer) -> Layer:
    """The ordinary convolution with the same outputs, phase by phase; every other layer as it is.

    Its rows are output channels of every phase, and its columns hold zeros where a phase has no tap. From a map of one
    position it is a linear layer to all elements.
    """
    if layer.kind != "transposed":
        return layer
    outputs = layer.output_shape[1]
    if prod(layer.input_shape[2:]) == 1:
        shape: tuple[int, ...] = (outputs * prod(layer.output_shape[2:]), layer.rows)
        return replace(
            layer, kind="linear", rows=shape[0], columns=shape[1], positions=1, groups=1, weight_shape=shape
        )
    axes = _axes(layer)
    rows, inputs = outputs * prod(layer.stride), layer.rows // layer.groups
    sizes = tuple(axis.size for axis in axes)
    return replace(
        layer,
        kind="convolution",
        rows=rows,
        columns=inputs * prod(sizes),
        positions=prod(axis.rows for axis in axes),
        weight_shape=(rows, inputs, *sizes),
        kernel=sizes,
        stride=(1,) * len(axes),
    )


def convolution_weight(layer: Layer, weight: Tensor) -> Tensor:
    """The weight of that convolution from one over sequences or maps, `[C, O / groups, ...]`."""
    axes = _axes(layer)
    if len(axes) == 1:
        axes, weight = (Axis(1, 1, 1, 1, 0, 1), *axes), weight.unsqueeze(2)
    return phase_kernels(weight, layer.groups, *axes)


def _axes(layer: Layer) -> tuple[Axis, ...]:
    sizes = zip(
        layer.input_shape[2:],
        layer.output_shape[2:],
        layer.kernel,
        layer.stride,
        layer.padding,
        layer.dilation,
        strict=True,
    )
    return tuple(Axis(*axis) for axis in sizes)
