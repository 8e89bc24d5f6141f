"""A network in whole numbers as a deployment: called, costed, saved and loaded like every other."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from spokeshave.compiler.folder import write_folder
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.importer import OutputStructure
from spokeshave.compiler.integers.batched import Products, run_batch
from spokeshave.compiler.integers.document import graph_document, graph_from
from spokeshave.compiler.integers.network import WholeNetwork
from spokeshave.compiler.integers.ranges import AccumulatorRange, accumulator_ranges
from spokeshave.compiler.integers.settings import IntegerForm
from spokeshave.compiler.manifest import ValueRecord, check_files, file_record
from spokeshave.compiler.native import check_inputs
from spokeshave.compiler.verify import GraphError, verify
from spokeshave.deployment import Cost
from spokeshave.errors import SpokeshaveError
from spokeshave.nesting import flattened

FORMAT, MARKER, WEIGHTS = 1, "integers.json", "weights.safetensors"
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

    `products` makes the sums of layers in a device's own way (see `run_batch`); it is not saved.
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
        records = tuple(_record(network.graph, name) for name in network.graph.inputs)
        self.manifest = IntegerManifest(device, form, records, ranges, network.floats)
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
        with torch.inference_mode():
            parts = [
                run_batch(
                    self.graph,
                    [tensor[start : start + SAMPLES_AT_ONCE] for tensor in tensors],
                    self._products,
                )
                for start in range(0, samples, SAMPLES_AT_ONCE)
            ]
        constant = [name in self.graph.weights for name in self.graph.outputs]
        columns = zip(constant, zip(*parts, strict=True), strict=True)
        return self._structure.build([column[0] if same else torch.cat(column) for same, column in columns])

    def save(self, folder: Path | str) -> None:
        """Write graph, weights, form and cost to a folder, which must be new, empty or such a deployment."""
        write_folder(Path(folder), "deployment", MARKER, self._write)

    def _write(self, whole: Path) -> None:
        weights = {name: tensor.detach().clone().contiguous() for name, tensor in self.graph.weights.items()}
        save_file(weights, whole / WEIGHTS)
        document = {
            "format": FORMAT,
            "device": self.manifest.device,
            "form": asdict(self.manifest.form),
            "accumulators": [asdict(entry) for entry in self.manifest.accumulators],
            "floats": self.manifest.floats,
            "cost": asdict(self.cost),
            "structure": self.network.structure,
            "graph": graph_document(self.graph),
            "files": {WEIGHTS: file_record(whole / WEIGHTS)},
        }
        (whole / MARKER).write_text(json.dumps(document, indent=1))


def load_integer_deployment(folder: Path | str) -> IntegerDeployment:
    """Load a saved deployment; raises SpokeshaveError when the folder is none, or is damaged."""
    path = Path(folder) / MARKER
    if not path.is_file():
        raise SpokeshaveError(f"{folder} is no deployment in integers: it holds no {MARKER}")
    try:
        document = json.loads(path.read_text())
        if document["format"] != FORMAT:
            raise SpokeshaveError(
                f"{path} has format {document['format']}, this version reads format {FORMAT}; deploy again"
            )
        check_files(Path(folder), document["files"], (WEIGHTS,))
        graph = verify(graph_from(document["graph"], load_file(Path(folder) / WEIGHTS)))
        floats = _pairs(document["floats"])
        cost = Cost(**document["cost"])
        cost = replace(cost, by_layer=_pairs(cost.by_layer), left_out=_pairs(cost.left_out))
        network = WholeNetwork(graph, document["structure"], floats)
        return IntegerDeployment(network, IntegerForm(**document["form"]), cost, document["device"])
    except (ValueError, KeyError, TypeError, AttributeError, GraphError) as error:
        raise SpokeshaveError(f"{path} is damaged: {error}; save the deployment again") from error


def _pairs(entries: Any) -> tuple[tuple[Any, Any], ...]:
    """Lists of two, as JSON has them, in tuples."""
    return tuple((first, second) for first, second in entries)


def _record(graph: Graph, name: str) -> ValueRecord:
    value = graph.values[name]
    return ValueRecord(name, tuple(int(size) for size in value.shape), value.dtype)
