"""What the import functions share: names of values and weights, and the nodes made so far."""

import json
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from spokeshave.compiler.graph import Node, Value
from spokeshave.compiler.operations import Foreign, Operation
from spokeshave.errors import SpokeshaveError


class NotTypedError(Exception):
    """An operator that has no typed operation in this form; the text says why."""


@dataclass
class Importing:
    """The graph under construction. `values` and `weights` name what each FX node became."""

    nodes: list[Node] = field(default_factory=list)
    table: dict[str, Value] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[fx.Node, str] = field(default_factory=dict)
    weights: dict[fx.Node, str] = field(default_factory=dict)

    def value(self, node: Any) -> str:
        """Name of the value that a node became; raises NotTypedError for a weight or a number."""
        if not isinstance(node, fx.Node) or node not in self.values:
            raise NotTypedError("an operand is not a value of the network")
        return self.values[node]

    def weight(self, node: Any) -> str:
        """Name of the weight that a node became; raises NotTypedError for anything else."""
        if not isinstance(node, fx.Node) or node not in self.weights:
            raise NotTypedError("its weight is computed from the input")
        return self.weights[node]

    def optional_weight(self, node: Any) -> str | None:
        """The same, None for None."""
        return None if node is None else self.weight(node)

    def constant(self, node: fx.Node, tensor: Tensor) -> str:
        """A new weight named after the node that needs it."""
        name = f"{node.name}.constant{len(self.tensors)}"
        self.tensors[name] = tensor
        return name

    def declare(self, node: fx.Node, name: str | None = None, meta: Any = None) -> str:
        """Declare the value that a node (or one of its outputs) makes."""
        tensor = node.meta["val"] if meta is None else meta
        name = name or node.name
        dtype = str(tensor.dtype).removeprefix("torch.")
        self.table[name] = Value(name, tuple(int(size) for size in tensor.shape), dtype)
        return name

    def add(self, node: fx.Node, operation: Operation, *inputs: str) -> None:
        """Append an operation with one output."""
        self.values[node] = self.declare(node)
        self.nodes.append(Node(layer_name(node), operation, inputs, (node.name,)))

    def append(self, node: fx.Node, operation: Operation, source: str, output: str) -> None:
        """Append an operation between values that were declared before."""
        self.nodes.append(Node(layer_name(node), operation, (source,), (output,)))

    def same(self, node: fx.Node, source: fx.Node) -> None:
        """A node that changes nothing is its source."""
        table = self.values if source in self.values else self.weights
        table[node] = table[source]

    def add_foreign(self, node: fx.Node, reason: str) -> None:
        """Append an operator for PyTorch to run; raises SpokeshaveError where it is not one of ATen's."""
        target = str(node.target)
        if not target.startswith("aten."):
            raise SpokeshaveError(
                f"layer {layer_name(node)!r} uses the operator {target}, which is not one of PyTorch's own"
            )
        inputs: dict[str, None] = {}
        arguments = json.dumps(
            [
                [self._plain(a, inputs) for a in node.args],
                {k: self._plain(v, inputs) for k, v in node.kwargs.items()},
            ]
        )
        meta = node.meta["val"]
        if isinstance(meta, torch.Tensor):
            self.values[node] = self.declare(node)
            outputs: tuple[str, ...] = (node.name,)
        else:
            outputs = tuple(self.declare(node, f"{node.name}.{i}", entry) for i, entry in enumerate(meta))
        self.nodes.append(Node(layer_name(node), Foreign(target, arguments, reason), tuple(inputs), outputs))

    def _plain(self, argument: Any, inputs: dict[str, None]) -> Any:
        """An argument as JSON; the values it names are collected in order."""
        if isinstance(argument, fx.Node):
            if argument in self.weights:
                return {"weight": self.weights[argument]}
            inputs[self.values[argument]] = None
            return {"value": self.values[argument]}
        if isinstance(argument, list | tuple):
            return [self._plain(entry, inputs) for entry in argument]
        if isinstance(argument, torch.dtype):
            return {"dtype": str(argument).removeprefix("torch.")}
        if isinstance(argument, torch.device):
            return {"device": "cpu"}
        if isinstance(argument, torch.layout | torch.memory_format):
            return None
        return argument


def layer_name(node: fx.Node) -> str:
    """Qualified name of the module that a node came from; the node's own name outside of all modules."""
    stack = node.meta.get("nn_module_stack")
    names = [path for path, _ in stack.values() if path] if stack else []
    return names[-1] if names else node.name


def rank(node: fx.Node) -> int:
    """Number of axes of a node's tensor, the batch axis included."""
    return len(node.meta["val"].shape)


def axis_of(node: fx.Node, axis: int) -> int:
    """An axis counted from the front; raises NotTypedError for the batch axis."""
    axis %= rank(node)
    if axis == 0:
        raise NotTypedError("it works along the batch axis")
    return axis
