"""Operators without a typed operation: kept by name, with their arguments as JSON (see `operations.Foreign`)."""

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from spokeshave.compiler.graph import Node
from spokeshave.compiler.importer.context import Context
from spokeshave.compiler.importer.operands import Flow, Operand, dtype_name, with_sample_axis
from spokeshave.compiler.operations import Foreign
from spokeshave.errors import SpokeshaveError

Bound = Callable[[fx.Node], Any]


def add_foreign(
    context: Context, node: fx.Node, layer: str, bound: Bound, reason: str
) -> Flow | tuple[Flow, ...]:
    """Append an operator for PyTorch to run; returns what it makes."""
    inputs: dict[str, None] = {}

    def plain(argument: Any) -> Any:
        return _plain(argument, real, inputs, f"{node.target} in layer {layer!r}")

    def real(source: fx.Node) -> Any:
        return materialised(context, layer, bound(source))

    positional = [plain(argument) for argument in node.args]
    keywords = {name: plain(argument) for name, argument in node.kwargs.items()}
    operation = Foreign(str(node.target), json.dumps([positional, keywords]), reason)
    single = isinstance(node.meta["val"], Tensor)
    results = [node.meta["val"]] if single else node.meta["val"]
    if not all(isinstance(result, Tensor) for result in results):
        raise SpokeshaveError(
            f"layer {layer!r} takes a number out of a tensor ({node.target}), and what follows cannot be compiled; "
            "keep the computation in tensors"
        )
    flows = tuple(_declare(context, node, result) for result in results)
    context.nodes.append(Node(layer, operation, tuple(inputs), tuple(flow.name for flow in flows)))
    return flows[0] if single else flows


def _declare(context: Context, node: fx.Node, result: Tensor) -> Flow:
    shape, dtype = tuple(int(size) for size in result.shape), dtype_name(result)
    return Flow(context.declare(node.name, with_sample_axis(shape), dtype), shape, dtype)


def _plain(argument: Any, bound: Bound, inputs: dict[str, None], where: str) -> Any:
    """An argument as JSON; the values that it names are collected in order."""
    if isinstance(argument, fx.Node):
        return _named(bound(argument), inputs)
    if isinstance(argument, list | tuple):
        return [_plain(entry, bound, inputs, where) for entry in argument]
    if isinstance(argument, torch.dtype):
        return {"dtype": str(argument).removeprefix("torch.")}
    if isinstance(argument, torch.device):
        return {"device": "cpu"}
    if isinstance(argument, torch.layout | torch.memory_format):
        return None
    if argument is None or isinstance(argument, bool | int | float | str):
        return argument
    raise SpokeshaveError(f"{where} has an argument of type {type(argument).__name__}, which cannot be saved")


def _named(operand: Operand, inputs: dict[str, None]) -> dict[str, Any]:
    if not isinstance(operand, Flow):
        return {"weight": operand.name}
    inputs[operand.name] = None
    return {"value": operand.name, "unbatched": True} if operand.unbatched else {"value": operand.name}


def materialised(context: Context, layer: str, operand: Operand) -> Operand:
    """An operand as PyTorch knows it: truth values, 0 and 1 inside the graph, become booleans."""
    if not isinstance(operand, Flow) or context.values[operand.name].dtype == operand.dtype:
        return operand
    arguments = json.dumps([[{"value": operand.name}], {"dtype": {"dtype": operand.dtype}}])
    output = context.declare(operand.name, operand.value_shape, operand.dtype)
    operation = Foreign("aten._to_copy.default", arguments, f"{operand.dtype} values are not compiled")
    context.nodes.append(Node(layer, operation, (operand.name,), (output,)))
    return Flow(output, operand.shape, operand.dtype)
