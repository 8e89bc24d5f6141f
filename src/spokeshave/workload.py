"""What a network asks of a device: its layers as matrix products, with names and shapes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from spokeshave.batch import sample_axes
from spokeshave.export import export_network
from spokeshave.uncounted import called_in, multiply_adds_of, reads_matrix
from spokeshave.weights import weights_of

aten = torch.ops.aten

Number = TypeVar("Number", int, float)
Kind = Literal["convolution", "transposed", "linear", "recurrent", "matmul"]

CONVOLUTIONS = {
    *(aten.conv1d.default, aten.conv2d.default, aten.conv3d.default),
    *(aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding),
}
TRANSPOSED = {aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input}
RECURRENT = {aten.gru.input, aten.lstm.input, aten.rnn_tanh.input, aten.rnn_relu.input}
PRODUCTS = {  # the names of their operands
    aten.matmul.default: ("self", "other"),
    aten.mm.default: ("self", "mat2"),
    aten.bmm.default: ("self", "mat2"),
    aten.addmm.default: ("mat1", "mat2"),
    aten.baddbmm.default: ("batch1", "batch2"),
}


@dataclass(frozen=True)
class Layer:
    """A `[rows, columns]` matrix times `[columns, positions]`, for one sample.

    Of a convolution the rows are output channels, the columns (input channel of the group, kernel position),
    the positions those of the output map; of a transposed convolution the rows are input channels, the columns (output
    channel of the group, kernel position), the positions those of the input map. A recurrent layer has one entry for
    each weight; its positions are time steps. A "matmul" is a product of two activations, or of one and a
    `[columns, rows]` parameter; attention is two of them. `name` is the innermost module, `parameter` and `bias` are
    names in `named_parameters()`. Shapes have the batch axis, which is 1. `kernel` to `dilation` have one number for
    each spatial axis, `padding` that before it.
    """

    name: str
    kind: Kind
    rows: int
    columns: int
    positions: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    dtype: str
    parameter: str | None = None
    weight_shape: tuple[int, ...] = ()
    bias: str | None = None
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one sample, dense."""
        return self.rows * self.columns * self.positions

    @property
    def weight_count(self) -> int:
        """Weights of the parameter, without bias; 0 where there is none."""
        return prod(self.weight_shape) if self.weight_shape else 0


@dataclass(frozen=True)
class Workload:
    """The layers of a network in the order in which they run; a layer that runs twice is listed twice.

    `unseen`: what else multiplies matrices, `(layer, operator)`: nobody here knows its sizes.
    """

    layers: tuple[Layer, ...]
    unseen: tuple[tuple[str, str], ...] = ()

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one sample, dense."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def weight_count(self) -> int:
        """Weights of all layers, each parameter once."""
        return sum(self.once([layer.weight_count for layer in self.layers]))

    def once(self, by_layer: Sequence[Number]) -> tuple[Number, ...]:
        """What is given for each layer's weight, of a weight that several layers share once."""
        shared: dict[str | int, int] = {
            place if layer.parameter is None else layer.parameter: place
            for place, layer in enumerate(self.layers)
        }
        return tuple(by_layer[place] for place in shared.values())


def trace(network: nn.Module | ExportedProgram, example: Tensor | tuple[Tensor, ...]) -> Workload:
    """List the work of a network on one sample of `example`, wherever the network has its batch.

    Raises SpokeshaveError when the network cannot be exported.

    >>> (layer,) = trace(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1)), torch.zeros(1, 3, 16, 16)).layers
    >>> layer.name, layer.rows, layer.columns, layer.positions, layer.multiply_adds
    ('0', 8, 27, 256, 55296)
    """
    program = export_network(network, example, sample_axes(network, example))
    reader = _Reader(program, network)
    layers, unseen = list[Layer](), list[tuple[str, str]]()
    for node in program.graph.nodes:
        found = tuple(reader.layers(node))
        layers.extend(found)
        unseen.extend(() if found else reader.unseen(node))
    return Workload(tuple(layers), tuple(unseen))


class _Reader:
    """Turns the nodes of an exported program into layers."""

    def __init__(self, program: ExportedProgram, network: nn.Module | ExportedProgram) -> None:
        first_name = {name: weight.parameter for weight in weights_of(network) for name in weight.names}
        parameters = program.graph_signature.inputs_to_parameters
        self.parameters = {node: first_name.get(name, name) for node, name in parameters.items()}

    def layers(self, node: fx.Node) -> Iterable[Layer]:
        """The layers that a node stands for, none for most."""
        if node.target in CONVOLUTIONS:
            return (self.convolution(node),)
        if node.target in TRANSPOSED:
            return (self.transposed(node),)
        if node.target == aten.linear.default:
            return (self.linear(node),)
        if node.target in RECURRENT:
            return self.recurrent(node)
        if node.target in PRODUCTS:
            return (self.product(node, *PRODUCTS[node.target]),)
        if node.target == aten.scaled_dot_product_attention.default:
            return self.attention(node)
        return ()

    def unseen(self, node: fx.Node) -> Iterator[tuple[str, str]]:
        """What a node that is no layer multiplies all the same: its module, and the operator."""
        if node.op != "call_function":
            return
        if reads_matrix(node, set(self.parameters)) or multiply_adds_of(node):
            yield module_of(node), str(node.target).rpartition(".")[0].removeprefix("aten.")
        for inner in called_in(node):
            if inner.op == "call_function" and (self._is_layer(inner) or multiply_adds_of(inner)):
                yield module_of(inner), f"{inner.target} in {node.target}"

    def _is_layer(self, node: fx.Node) -> bool:
        return next(iter(self.layers(node)), None) is not None

    def convolution(self, node: fx.Node) -> Layer:
        given = arguments_of(node)
        axes = len(_shape(given["weight"])) - 2
        kernel, dilation = _shape(given["weight"])[2:], _per_axis(given["dilation"], axes)
        return replace(
            self.weighted(node, "convolution", given),
            kernel=kernel,
            stride=_per_axis(given["stride"], axes),
            padding=_padding(given["padding"], kernel, dilation),
            dilation=dilation,
            groups=given["groups"],
        )

    def transposed(self, node: fx.Node) -> Layer:
        layer = self.convolution(node)
        return replace(layer, kind="transposed", positions=prod(layer.input_shape[2:]))

    def linear(self, node: fx.Node) -> Layer:
        return self.weighted(node, "linear", arguments_of(node))

    def weighted(self, node: fx.Node, kind: Kind, given: Mapping[str, Any]) -> Layer:
        shape = _shape(given["weight"])
        return self.layer(
            node,
            kind,
            (shape[0], prod(shape[1:]), prod(_shape(node)) // shape[0]),
            parameter=self.parameters.get(given["weight"].name),
            weight_shape=shape,
            input_shape=_shape(given["input"]),
            bias=self.parameters.get(given["bias"].name) if given["bias"] is not None else None,
        )

    def recurrent(self, node: fx.Node) -> Iterator[Layer]:
        given = arguments_of(node)
        steps = prod(_shape(given["input"])[:-1])
        known = set(self.parameters.values())
        for weight in given["params"]:
            parameter, shape = self.parameters.get(weight.name), _shape(weight)
            if len(shape) == 2:
                bias = parameter.replace("weight", "bias") if parameter else ""
                yield self.layer(
                    node,
                    "recurrent",
                    (*shape, steps),
                    parameter=parameter,
                    weight_shape=shape,
                    input_shape=(1, steps, shape[1]),
                    output_shape=(1, steps, shape[0]),
                    bias=bias if bias in known else None,
                )

    def product(self, node: fx.Node, left_name: str, right_name: str) -> Layer:
        given = arguments_of(node)
        left, right = given[left_name], given[right_name]
        rows = _shape(right)[-1] if len(_shape(right)) > 1 else 1
        parameter = self.parameters.get(right.name)
        return self.layer(
            node,
            "matmul",
            (rows, _shape(left)[-1], prod(_shape(node)) // rows),
            parameter=parameter,
            weight_shape=_shape(right) if parameter else (),
            input_shape=_shape(left),
        )

    def attention(self, node: fx.Node) -> Iterator[Layer]:
        given = arguments_of(node)
        query, key, value = (_shape(given[name]) for name in ("query", "key", "value"))
        scores = (*query[:-1], key[-2])
        rows = prod(query[:-1])
        yield self.layer(node, "matmul", (key[-2], query[-1], rows), input_shape=query, output_shape=scores)
        yield self.layer(node, "matmul", (value[-1], key[-2], rows), input_shape=scores)

    def layer(self, node: fx.Node, kind: Kind, size: tuple[int, int, int], **fields: Any) -> Layer:
        rows, columns, positions = size
        value = node.meta["val"]
        value = value[0] if isinstance(value, tuple | list) else value
        own = {"output_shape": tuple(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        return Layer(module_of(node), kind, rows, columns, positions, **(own | fields))


def module_of(node: fx.Node) -> str:
    """Qualified name of the innermost module that a node came from."""
    stack = node.meta.get("nn_module_stack")
    return str(list(stack.values())[-1][0]) if stack else ""


def arguments_of(node: fx.Node) -> dict[str, Any]:
    """A node's arguments by name, with the operator's own defaults."""
    assert isinstance(node.target, torch._ops.OpOverload)
    names = node.target._schema.arguments
    given = {argument.name: argument.default_value for argument in names}
    return given | dict(zip((argument.name for argument in names), node.args, strict=False)) | node.kwargs


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _per_axis(value: Sequence[int], axes: int) -> tuple[int, ...]:
    """One number for each spatial axis; an operator takes one for all as well."""
    return tuple(value) * axes if len(value) == 1 else tuple(value)


def _padding(
    value: Sequence[int] | str, kernel: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[int, ...]:
    """Padding before each spatial axis."""
    if value == "valid":
        return (0,) * len(kernel)
    if value == "same":
        return tuple(step * (size - 1) // 2 for size, step in zip(kernel, dilation, strict=True))
    assert not isinstance(value, str)
    return _per_axis(value, len(kernel))
