"""Imports convolutions and products with a weight."""

from collections.abc import Sequence
from math import prod
from typing import Any

from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.maps import map_shape, over_both_axes, to_maps
from spokeshave.compiler.importer.operands import Flow, NotTypedError
from spokeshave.compiler.importer.products import matrices
from spokeshave.compiler.importer.transposed import transposed_convolution
from spokeshave.compiler.operations import Convolution, Linear


def convolution(context: Context, call: Call) -> Flow:
    """A 1-D or 2-D convolution; the 1-D one becomes a 2-D one over maps of one row."""
    if call.get("transposed"):
        return transposed_convolution(context, call)
    source, weight = call.flow("input"), call.weight("weight")
    spatial = weight.tensor.dim() - 2
    if spatial not in (1, 2):
        raise NotTypedError(f"{spatial}-D convolutions have no kernel")
    matrix = weight.name
    if spatial == 1:
        matrix = context.constant(f"{weight.name}.one_row", weight.tensor.unsqueeze(2))
    dilation = over_both_axes(call["dilation"], spatial, 1)
    operation = Convolution(
        weight=matrix,
        bias=call.weight_name("bias"),
        stride=over_both_axes(call["stride"], spatial, 1),
        padding=_padding(call["padding"], spatial, tuple(weight.tensor.shape[2:]), dilation),
        dilation=dilation,
        groups=call["groups"],
    )
    maps = to_maps(context, call, source, spatial)
    return context.result(call, context.add(call, operation, (maps,), map_shape(call.shape, spatial)))


def _padding(
    padding: Any, spatial: int, kernel: tuple[int, ...], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    """(top, left, bottom, right); what "same" cannot share out evenly goes to the end."""
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        sizes = over_both_axes(kernel, spatial, 1)
        top, left = ((size - 1) * step for size, step in zip(sizes, dilation, strict=True))
        return (top // 2, left // 2, top - top // 2, left - left // 2)
    top, left = over_both_axes(padding, spatial, 0)
    return (top, left, top, left)


def linear(context: Context, call: Call) -> Flow:
    """A linear layer over the last axis."""
    source, weight = call.flow("input"), call.weight("weight")
    if weight.tensor.dim() != 2:
        raise NotTypedError("a linear layer to a single number has no kernel")
    return _linear(context, call, source, Linear(weight.name, call.weight_name("bias")))


def matrix_product(context: Context, call: Call) -> Flow:
    """`x @ weight` is a linear layer with the weight transposed."""
    first, second = (
        ("mat1", "mat2")
        if call.operator == "addmm"
        else ("self", "other" if "other" in call.arguments else "mat2")
    )
    if isinstance(call[second], Flow):
        return matrices(context, call, call[first], call[second])
    source = call.flow(first)
    return _linear(context, call, source, Linear(_transposed(context, call, second), _addend(call)))


def _transposed(context: Context, call: Call, name: str) -> str:
    weight = call.weight(name)
    if weight.tensor.dim() != 2:
        raise NotTypedError(f"a product with a weight of {weight.tensor.dim()} axes has no kernel")
    return context.constant(f"{weight.name}.transposed", weight.tensor.t().contiguous())


def _addend(call: Call) -> str | None:
    if call.operator != "addmm":
        return None
    if call["alpha"] != 1 or call["beta"] != 1 or call.weight("self").tensor.dim() != 1:
        raise NotTypedError("a scaled addmm has no kernel")
    return call.weight("self").name


def _linear(context: Context, call: Call, source: Flow, operation: Linear) -> Flow:
    tokens = context.reshaped(call, source.name, token_shape(source.value_shape))
    output = context.add(call, operation, (tokens,), (*context.values[tokens].shape[:-1], call.shape[-1]))
    return context.result(call, output)


def token_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape `[1, T, F]`, or `[1, F]`, under which operations over the last axis run.

    >>> token_shape((1, 7, 5)), token_shape((1, 4, 4, 5)), token_shape((1, 1, 1, 5)), token_shape((1, 5))
    ((1, 7, 5), (1, 16, 5), (1, 5), (1, 5))
    """
    if len(shape) in (2, 3):
        return tuple(shape)
    tokens = prod(shape[:-1])
    return (1, shape[-1]) if tokens == 1 else (1, tokens, shape[-1])


OPERATORS: dict[str, ImportFunction] = {
    **dict.fromkeys(("conv1d", "conv2d", "convolution"), convolution),
    "linear": linear,
    **dict.fromkeys(("addmm", "mm", "matmul"), matrix_product),
}
