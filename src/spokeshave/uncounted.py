"""What an operator of an exported program multiplies, asked of PyTorch: for operators that nobody here knows."""

from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten
BESIDE_PYTORCHS = (
    aten.mv,
    aten.addmv,
    aten.dot,
    aten._trilinear,
    aten._grouped_mm,
)  # it has no count for these


def multiply_adds_of(node: fx.Node) -> int:
    """Multiply-adds that PyTorch's own counter finds in the call of an operator; 0 where there are no matrices.

    The operator runs on shapes alone, as it did while it was exported.
    """
    if not isinstance(node.target, torch._ops.OpOverload) or torch.Tag.pointwise in node.target.tags:
        return 0
    arguments, named = fx.map_arg((node.args, node.kwargs), lambda read: read.meta.get("val"))
    counts = dict.fromkeys(BESIDE_PYTORCHS, _once_for_each_element)
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=counts) as counter:
        node.target(*arguments, **named)
    return int(counter.get_total_flops()) // 2


def _once_for_each_element(*shapes: Any, out_shape: Any = None, **others: Any) -> int:
    """Flop of an operator that takes each element of its largest operand once, at least."""
    return 2 * max(prod(shape) for shape in shapes if isinstance(shape, tuple | torch.Size))


def reads_matrix(node: fx.Node, parameters: set[str]) -> bool:
    """Whether an operator that is not PyTorch's own reads one of these parameters, one with two axes or more."""
    if not isinstance(node.target, torch._ops.OpOverload) or node.target.namespace in ("aten", "prims"):
        return False
    return any(
        read.name in parameters and isinstance(value := read.meta.get("val"), Tensor) and value.dim() > 1
        for read in node.all_input_nodes
    )


def called_in(node: fx.Node) -> Iterator[fx.Node]:
    """Nodes of the graphs that a node calls: branches, and regions with gradients switched on or off."""
    owner = node.graph.owning_module
    for read in node.all_input_nodes:
        inner = getattr(owner, str(read.target), None) if read.op == "get_attr" else None
        if isinstance(inner, fx.GraphModule):
            yield from inner.graph.nodes
