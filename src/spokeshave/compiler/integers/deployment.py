"""A network in whole numbers as a deployment: called, costed, saved and loaded like every other."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spokeshave.compiler.graph import Graph
from spokeshave.compiler.graph_folder import Tensors, cost_from, input_records, pairs, read_graph, write_graph
from spokeshave.compiler.importer import OutputStructure
from spokeshave.compiler.integers.batched import Products, at_least_one, run_batch
from spokeshave.compiler.integers.network import WholeNetwork
from spokeshave.compiler.integers.ranges import AccumulatorRange, accumulator_ranges
from spokeshave.compiler.integers.settings import IntegerForm
from spokeshave.compiler.manifest import ValueRecord
from spokeshave.compiler.native import check_inputs
from spokeshave.deployment import Cost
from spokeshave.nesting import flattened

MARKER = "integers.json"
SAMPLES_AT_ONCE = 16  # so that values stay in the cache


@dataclass(frozen=True)
class IntegerManifest:
    """How a deployment computes: its form, its inputs, the sums of every layer, what stays float32 and why."""

    device: str
    form: IntegerForm
    inputs: tuple[ValueRecord, ...]
    accumulators: tuple[AccumulatorRange, ...]
    floats: tuple[tuple[str, str], ...]


class IntegerDeployment:
    """A network as hardware in whole numbers computes it, bit for bit; callable with batches of its inputs.

    `products` makes the sums of layers in a device's own way (see `run_batch`); devices save theirs themselves.
    """

    def __init__(
        self,
        network: WholeNetwork,
        form: IntegerForm,
        cost: Cost,
        device: str = "integers",
        products: Products | None = None,
    ) -> None:
        self.network, self.cost, self._products = network, cost, products
        ranges = tuple(accumulator_ranges(network.graph))
        self.manifest = IntegerManifest(device, form, input_records(network.graph), ranges, network.floats)
        self._structure = OutputStructure.from_json(network.structure)

    @property
    def graph(self) -> Graph:
        """The graph in whole numbers."""
        return self.network.graph

    def __call__(self, *inputs: Any) -> Any:
        """Run the network on a batch; returns what the network returns."""
        tensors: tuple[Any, ...] = inputs
        if not all(isinstance(tensor, Tensor) for tensor in inputs):
            tensors = tuple(flattened(inputs)[0])
        samples = check_inputs(tensors, self.manifest.inputs)
        tensors = at_least_one(tensors, samples)
        with torch.inference_mode():
            parts = [
                run_batch(
                    self.graph,
                    [tensor[start : start + SAMPLES_AT_ONCE] for tensor in tensors],
                    self._products,
                )
                for start in range(0, len(tensors[0]), SAMPLES_AT_ONCE)
            ]
        constant = [name in self.graph.weights for name in self.graph.outputs]
        columns = zip(constant, zip(*parts, strict=True), strict=True)
        return self._structure.build(
            [column[0] if same else torch.cat(column)[:samples] for same, column in columns]
        )

    def save(self, folder: Path | str) -> None:
        """Write graph, weights, form and cost to a folder, which must be new, empty or such a deployment."""
        write_graph(folder, MARKER, self.graph, self.facts())

    def facts(self) -> dict[str, Any]:
        """Everything but the graph, as plain data; `network_of` and `IntegerForm` read it."""
        return {
            "device": self.manifest.device,
            "form": asdict(self.manifest.form),
            "accumulators": [asdict(entry) for entry in self.manifest.accumulators],
            "floats": self.manifest.floats,
            "cost": asdict(self.cost),
            "structure": self.network.structure,
        }


def load_integer_deployment(folder: Path | str) -> IntegerDeployment:
    """Load a saved deployment; raises SpokeshaveError when the folder is none, or is damaged."""

    def made(document: dict[str, Any], graph: Graph, _: Tensors) -> IntegerDeployment:
        form, cost = IntegerForm(**document["form"]), cost_from(document["cost"])
        return IntegerDeployment(network_of(document, graph), form, cost, document["device"])

    return read_graph(folder, MARKER, "deployment in integers", made)


def network_of(document: dict[str, Any], graph: Graph) -> WholeNetwork:
    """The network of a saved deployment."""
    return WholeNetwork(graph, document["structure"], pairs(document["floats"]))
