"""Lowers attention."""

from dataclasses import replace

import numpy as np

from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.program import Argument
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.kernels.activations import float_literal
from spokeshave.compiler.kernels.amx import TILE
from spokeshave.compiler.kernels.instances import AttentionKernel, ProductKernel
from spokeshave.compiler.layout import Flat, round_up
from spokeshave.compiler.operations import Attention

NO_MASK = (0, 0, 0, 0)
NEAR_BYTES = 36 << 10
"""Keys and values of a head, in bfloat16, up to which tiles of queries are one vector wide: 1.2 to 1.35 times as fast
as two there, likely since all that a tile works on then stays in a level-1 cache of 48 KiB. From 160 keys of 64
channels on, two vectors are faster (Sapphire Rapids)."""


def product_kernel(lowering: Lowering, half: bool = False) -> ProductKernel:
    """The widest register tile of the instruction set."""
    if half and lowering.isa.has_amx:
        return ProductKernel(TILE, 2, half, amx=True)
    return ProductKernel(*lowering.isa.rows_by_vectors[0], half)


def lower_attention(lowering: Lowering, node: Node) -> None:
    """One call; a mask lies as `[window, head, key, query]`."""
    operation = node.operation
    assert isinstance(operation, Attention)
    query, key, value, written = (lowering.layout(name) for name in (*node.inputs[:3], node.output))
    queries, keys = query.shape[0] // operation.windows, key.shape[0] // operation.windows
    mask, (window, head, each_key, each_query) = _mask(lowering, node, queries, keys)
    polynomial, product = operation.polynomial, product_kernel(lowering, operation.half)
    if product.amx and keys * 2 * (key.shape[1] + value.shape[1]) // operation.key_heads <= NEAR_BYTES:
        product = replace(product, vectors=1)
    kernel = AttentionKernel(product, written.shape[1] // operation.heads, polynomial is not None)
    counts = (operation.windows, operation.heads, operation.heads // operation.key_heads)
    sizes = (query.shape[1] // operation.heads, queries, keys)
    planes = (query.strides[1], key.strides[1], value.strides[1], written.strides[1])
    strides = (window, head, each_key, each_query)
    numbers = ", ".join(str(n) for n in (*counts, *sizes, *planes, *strides, int(operation.causal)))
    floats = f"{float_literal(operation.scale)}, {float_literal(1.0 if polynomial is None else polynomial)}"
    shape = f"(attention_shape){{{numbers}, {floats}}}"
    places = [lowering.place(name) for name in node.inputs[:3]]
    lowering.call_kernel(kernel, shape, *places, mask, lowering.place(node.output))


def attention_reason(graph: Graph, node: Node) -> str | None:
    """Attention reads token planes."""
    return None if all(len(graph.shape(name)) == 3 for name in node.inputs[:3]) else "attention reads tokens"


def _mask(
    lowering: Lowering, node: Node, queries: int, keys: int
) -> tuple[Argument, tuple[int, int, int, int]]:
    """The mask's place and its strides over windows, heads, keys and queries; 0 where it is the same for all."""
    operation = node.operation
    assert isinstance(operation, Attention)
    if operation.mask is not None:
        return _constant_mask(lowering, lowering.weight(operation.mask), queries)
    if len(node.inputs) == 3:
        return 0, NO_MASK
    layout, shape = lowering.layout(node.inputs[3]), lowering.graph.shape(node.inputs[3])
    place = lowering.place(node.inputs[3])
    sizes = (1, 1, 1, 1, *shape)[-4:]  # windows that are told apart have the sample's axis in front
    strides = (0, 0, 0, 0, *layout.strides)[-4:]
    if sizes[2] > 1:
        row = round_up(queries, lowering.isa.lanes)
        flat = Flat((sizes[0] * sizes[1] * sizes[3], row))
        temporary = lowering.temporary(flat)
        turned = (sizes[1] * sizes[3] * row, sizes[3] * row, 1, row)
        lowering.copy(place, strides, lowering.place(temporary), turned, sizes)
        place, strides = lowering.place(temporary), turned
    window, head, query, key = (
        stride if size > 1 else 0 for stride, size in zip(strides, sizes, strict=True)
    )
    return place, (window, head, key, query)


def _constant_mask(
    lowering: Lowering, mask: np.ndarray, queries: int
) -> tuple[Argument, tuple[int, int, int, int]]:
    """Queries side by side, rounded up to whole vectors, with room for a last whole vector."""
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape).swapaxes(2, 3)
    if mask.shape[3] > 1:
        row = round_up(queries, lowering.isa.lanes)
        mask = np.pad(mask, ((0, 0), (0, 0), (0, 0), (0, row - queries)))
    mask = np.ascontiguousarray(mask)
    strides = [
        stride // mask.itemsize if size > 1 else 0
        for stride, size in zip(mask.strides, mask.shape, strict=True)
    ]
    return lowering.constant(mask), (strides[0], strides[1], strides[2], strides[3])
