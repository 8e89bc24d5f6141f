"""What the import functions share: the operator at hand, and the graph made so far."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from spokeshave.compiler.graph import Node, Value
from spokeshave.compiler.importer.operands import Flow, NotTypedError, Selected, Weight, dtype_name
from spokeshave.compiler.operations import Constant, Convert, Expand, Operation, Reshape


@dataclass(frozen=True)
class Call:
    """One operator of the exported program.

    `arguments` holds its arguments by their names in ATen's schema, defaults included, tensors as `Flow` or
    `Weight`; `shape` is that of its (first) result, as the network sees it.
    """

    node: fx.Node
    layer: str
    arguments: Mapping[str, Any]
    shape: tuple[int, ...]

    @property
    def operator(self) -> str:
        """Name without namespace and overload: `conv2d`."""
        return str(self.node.target).split(".")[1]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument that not every overload has."""
        return self.arguments.get(name, default)

    def flow(self, name: str) -> Flow:
        """An argument that must depend on the input."""
        if not isinstance(self.arguments[name], Flow):
            raise NotTypedError(f"its {name} does not depend on the input")
        return self.arguments[name]

    def weight(self, name: str) -> Weight:
        """An argument that must be a float32 weight."""
        operand = self.arguments[name]
        if not isinstance(operand, Weight):
            raise NotTypedError(f"its {name} is not a constant")
        if operand.tensor.dtype != torch.float32:
            raise NotTypedError(f"its {name} is {dtype_name(operand.tensor)}, not float32")
        return operand

    def weight_name(self, name: str) -> str | None:
        """Name of a float32 weight, or None where the argument is None."""
        return None if self.arguments[name] is None else self.weight(name).name


@dataclass
class Context:
    """The graph under construction; import functions append to it."""

    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    additive: dict[str, str] = field(default_factory=dict)  # masks, by name, as numbers to add

    def declare(self, base: str, shape: Sequence[int], dtype: str = "float32") -> str:
        """Declare a value under a name of its own."""
        name = _unused(base, self.values)
        self.values[name] = Value(name, tuple(shape), dtype)
        return name

    def constant(self, base: str, tensor: Tensor) -> str:
        """Add a weight under a name of its own."""
        name = _unused(base, self.weights)
        self.weights[name] = tensor.detach()
        return name

    def add(
        self,
        call: Call,
        operation: Operation,
        inputs: Sequence[str],
        shape: Sequence[int],
        dtype: str = "float32",
    ) -> str:
        """Append an operation and return the name of what it makes."""
        output = self.declare(call.node.name, shape, dtype)
        self.nodes.append(Node(call.layer, operation, tuple(inputs), (output,)))
        return output

    def reshaped(self, call: Call, value: str, shape: Sequence[int]) -> str:
        """The value under another shape."""
        return self.under(value, shape, call.layer, call.node.name)

    def under(self, value: str, shape: Sequence[int], layer: str = "", base: str | None = None) -> str:
        """The value under another shape, for no operator in particular."""
        if self.values[value].shape == tuple(shape):
            return value
        output = self.declare(base or value, shape, self.values[value].dtype)
        self.nodes.append(Node(layer, Reshape(), (value,), (output,)))
        return output

    def result(self, call: Call, value: str, dtype: str = "float32") -> Flow:
        """A value as the operator's result."""
        flow = Flow(value, call.shape)
        return Flow(self.reshaped(call, value, flow.value_shape), call.shape, dtype)

    def flow(self, call: Call, operand: Flow | Weight) -> Flow:
        """An operand as a value: a float32 weight becomes one."""
        if isinstance(operand, Flow):
            return operand
        if operand.tensor.dtype != torch.float32:
            raise NotTypedError(f"constants of {dtype_name(operand.tensor)} have no kernel")
        flow = Flow("", tuple(operand.tensor.shape))
        self.weights.setdefault(operand.name, operand.tensor)
        return Flow(self.add(call, Constant(operand.name), (), flow.value_shape), flow.shape)

    def number(self, call: Call, flow: Flow) -> str:
        """A value as float32: truth values are 0 and 1 already, whole numbers are converted."""
        if self.values[flow.name].dtype == "float32":
            return flow.name
        if self.values[flow.name].dtype != "int64":
            raise NotTypedError(f"{flow.dtype} values are not compiled")
        return self.add(call, Convert(), (flow.name,), flow.value_shape)

    def truth(self, call: Call, flow: Flow) -> str:
        """A value as 0 and 1."""
        if flow.dtype == "bool":
            return self.number(call, flow)
        if flow.dtype == "int64" and self.values[flow.name].dtype == "int64":
            return self.add(call, Convert(truth=True), (flow.name,), flow.value_shape)
        raise NotTypedError(f"{flow.dtype} values as truth values are not compiled")

    def unexpanded(self, value: str) -> str:
        """What was repeated to make a value, else the value itself."""
        maker = next((node for node in reversed(self.nodes) if value in node.outputs), None)
        return maker.inputs[0] if maker and isinstance(maker.operation, Expand) else value


def _unused(base: str, taken: Mapping[str, Any]) -> str:
    name, count = base, 0
    while name in taken:
        count += 1
        name = f"{base}.{count}"
    return name


ImportFunction = Callable[[Context, Call], Flow | Selected | tuple[Flow | None, ...]]
