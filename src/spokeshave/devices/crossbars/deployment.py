"""A network in whole numbers whose layers' sums are those of crossbars."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.graph_folder import Tensors, cost_from, read_graph, write_graph
from spokeshave.compiler.integers import IntegerDeployment, IntegerForm, WholeNetwork
from spokeshave.compiler.integers.batched import batch_values
from spokeshave.compiler.integers.deployment import network_of
from spokeshave.compiler.integers.recurrent import each_product
from spokeshave.compiler.operations import Convolution, Quantized
from spokeshave.deployment import Cost
from spokeshave.devices.crossbars.array import Array
from spokeshave.devices.crossbars.occupancy import lockstep_bits, order_of
from spokeshave.devices.crossbars.programmed import Programmed, program, restored
from spokeshave.devices.crossbars.skipping import effective_cycles
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.word_lines import word_lines

MARKER = "crossbars.json"


class CrossbarDeployment(IntegerDeployment):
    """A network as crossbars compute it, converters and variation of cells included.

    `bits`: input bits that fragments of each layer needed on calibration data; None where none are skipped.
    """

    def __init__(
        self,
        network: WholeNetwork,
        form: IntegerForm,
        cost: Cost,
        device: str,
        products: "CrossbarProducts",
        bits: Mapping[str, float] | None,
    ) -> None:
        super().__init__(network, form, cost, device, products)
        self.bits, self.crossbars = bits, products

    def save(self, folder: Path | str) -> None:
        """Write graph, weights and cells as they are, to a folder, which must be new, empty or such a deployment."""
        array = next(iter(self.crossbars.layers.values())).groups[0].array
        facts = self.facts() | {"array": asdict(array), "bits": self.bits}
        write_graph(folder, MARKER, self.graph, facts, self.crossbars.state())


def load_crossbar_deployment(folder: Path | str) -> CrossbarDeployment:
    """Load a saved deployment, its cells as they were; raises SpokeshaveError when it is none, or is damaged."""

    def made(document: dict[str, Any], graph: Graph, state: Tensors) -> CrossbarDeployment:
        form, cost = IntegerForm(**document["form"]), cost_from(document["cost"])
        products = restored_products(graph, Array(**document["array"]), state)
        network = network_of(document, graph)
        return CrossbarDeployment(network, form, cost, document["device"], products, document["bits"])

    return read_graph(folder, MARKER, "deployment on crossbars", made)


@dataclass(frozen=True)
class OnCrossbars:
    """One layer's matrices, one for each group of a convolution, and the shape of its weight."""

    groups: tuple[Programmed, ...]
    shape: tuple[int, ...]

    def vectors(self, operation: Quantized, x: Tensor) -> tuple[Tensor, ...]:
        """What is put on word lines, whole numbers from 0: `[vectors, inputs]` for each group."""
        shifted = x.int() - operation.input.low
        layer = operation.layer
        if not isinstance(layer, Convolution):
            return (shifted.reshape(-1, self.shape[1]),)
        top, left, bottom, right = layer.padding
        nothing = float(operation.input.zero_point - operation.input.low)
        padded = F.pad(shifted.float(), (left, right, top, bottom), value=nothing)
        patches = F.unfold(padded, self.shape[2:], layer.dilation, 0, layer.stride)
        return patches.transpose(1, 2).flatten(0, 1).chunk(layer.groups, 1)

    def as_output(self, operation: Quantized, sums: Tensor, x: Tensor) -> Tensor:
        """`[vectors, outputs]` in the shape of the layer's output."""
        layer = operation.layer
        if not isinstance(layer, Convolution):
            return sums.view(*x.shape[:-1], -1)
        top, left, bottom, right = layer.padding
        tall, wide = (
            (length + pad - dilation * (kernel - 1) - 1) // stride + 1
            for length, pad, dilation, kernel, stride in zip(
                x.shape[2:],
                (top + bottom, left + right),
                layer.dilation,
                self.shape[2:],
                layer.stride,
                strict=True,
            )
        )
        return sums.view(len(x), tall, wide, -1).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class CrossbarProducts:
    """The sums of every layer of a graph by crossbars; `layers` by the name of their weight."""

    layers: Mapping[str, OnCrossbars]

    def __call__(self, node: Node, x: Tensor) -> Tensor:
        """Sums of a layer, zero points taken off, float64."""
        operation = node.operation
        assert isinstance(operation, Quantized)
        layer = self.layers[operation.weight]
        nothing = operation.input.zero_point - operation.input.low  # stands for 0 on the word lines
        shares = [
            group.products(vectors) - nothing * group.weight.double().sum(1)
            for group, vectors in zip(layer.groups, layer.vectors(operation, x), strict=True)
        ]
        return layer.as_output(operation, torch.cat(shares, 1), x)

    def state(self) -> dict[str, Tensor]:
        """Word lines of every matrix, and its conductances where cells vary."""
        found = {}
        for name, layer in self.layers.items():
            for place, group in enumerate(layer.groups):
                found[f"{name}.{place}.lines"] = group.mapped.lines
                if group.array.variation:
                    found[f"{name}.{place}.conductances"] = group.conductances
        return found

    def bits(self, graph: Graph, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Input bits that fragments of each layer (no recurrent ones) need on these values, crossbars in lockstep."""
        found = {}
        for node in graph.nodes:
            if isinstance(node.operation, Quantized):
                layer = self.layers[node.operation.weight]
                group, vectors = layer.groups[0], layer.vectors(node.operation, values[node.inputs[0]])[0]
                cycles = effective_cycles(vectors, group.array.rows_at_once, group.mapped.lines)
                found[node.layer] = lockstep_bits(cycles, group.array)
        return found


def program_graph(
    graph: Graph, array: Array, schemes: Mapping[str, Scheme], generator: torch.Generator
) -> CrossbarProducts:
    """Write the weights of all layers in whole numbers to crossbars; `schemes` by parameter say the order of lines.

    Raises SpokeshaveError, with the layer's name, for weights that the array cannot hold.
    """
    layers = {}
    for node, name, shape, groups in _matrices(graph):
        lines = word_lines(shape, order_of(schemes.get(f"{node.layer}.weight", schemes.get(node.layer))))
        try:
            programmed = tuple(program(group, array, generator, lines) for group in groups)
        except SpokeshaveError as reason:
            raise SpokeshaveError(f"{node.layer}: {reason}") from reason
        layers[name] = OnCrossbars(programmed, shape)
    return CrossbarProducts(layers)


def restored_products(graph: Graph, array: Array, state: Tensors) -> CrossbarProducts:
    """The same from what `CrossbarProducts.state` gave."""
    layers = {}
    for _, name, shape, groups in _matrices(graph):
        keys = [f"{name}.{place}" for place in range(len(groups))]
        programmed = tuple(
            restored(group, array, state[f"{key}.lines"], state.get(f"{key}.conductances"))
            for key, group in zip(keys, groups, strict=True)
        )
        layers[name] = OnCrossbars(programmed, shape)
    return CrossbarProducts(layers)


def _matrices(graph: Graph) -> Iterator[tuple[Node, str, tuple[int, ...], tuple[Tensor, ...]]]:
    """Every layer in whole numbers: its node, its weight's name and shape, and the matrix of each group."""
    for node in each_product(graph):
        if isinstance(node.operation, Quantized):
            name, layer = node.operation.weight, node.operation.layer
            weight = graph.weights[name]
            groups = weight.flatten(1).chunk(layer.groups if isinstance(layer, Convolution) else 1)
            yield node, name, tuple(weight.shape), groups


def measured_bits(graph: Graph, products: CrossbarProducts, inputs: tuple[Tensor, ...]) -> dict[str, float]:
    """Input bits that fragments need on a batch, by layer."""
    with torch.inference_mode():
        return products.bits(graph, batch_values(graph, inputs, products))
