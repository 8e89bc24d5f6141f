"""A binary network whose layers are read by superconducting columns and compared with whole thresholds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spokeshave.batch import sample_axes
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.graph_folder import Tensors, cost_from, input_records, read_graph, write_graph
from spokeshave.compiler.importer import OutputStructure, import_program
from spokeshave.compiler.integers.batched import at_least_one, run_node
from spokeshave.compiler.manifest import ValueRecord
from spokeshave.compiler.native import check_inputs
from spokeshave.compiler.operations import Activate, Affine, Convolution, Linear
from spokeshave.compiler.passes.eliminate_dead import eliminate_dead
from spokeshave.compiler.passes.recognise_signs import SIGN, recognise_signs
from spokeshave.deployment import Cost
from spokeshave.devices.crossbars.thresholds import match
from spokeshave.errors import SpokeshaveError
from spokeshave.export import export_network
from spokeshave.methods.columns import convolved_sums, linear_sums, signs
from spokeshave.schemes.scheme import Scheme
from spokeshave.superconducting import Columns

MARKER = "columns.json"
ADVICE = (
    "; put a Sign (spokeshave.networks.Sign) where another activation is, as the built-in digits-binary has them, or "
    "leave the layer dense"
)
Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AQFPManifest:
    """How a deployment computes: its columns, where its random bits begin, its binary weights, its inputs."""

    device: str
    columns: Columns
    seed: int
    binary: tuple[str, ...]
    inputs: tuple[ValueRecord, ...]


class AQFPDeployment:
    """Callable like the network; two calls differ by the random bits, which begin from the seed."""

    def __init__(
        self,
        graph: Graph,
        structure: dict[str, Any],
        columns: Columns,
        binary: tuple[str, ...],
        cost: Cost,
        device: str,
        seed: int,
    ) -> None:
        self.graph, self.cost, self._plain_structure = graph, cost, structure
        self.manifest = AQFPManifest(device, columns, seed, binary, input_records(graph))
        self._structure = OutputStructure.from_json(structure)
        self._steps = dict(_steps(graph, columns, binary, torch.Generator().manual_seed(seed)))

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """Layers that are not binary, and run in float32."""
        return tuple(layer for layer, _ in self.cost.left_out)

    def __call__(self, *inputs: Any) -> Any:
        """Run a batch."""
        samples = check_inputs(inputs, self.manifest.inputs)
        tensors = at_least_one(inputs, samples)
        values: dict[str, Tensor] = dict(zip(self.graph.inputs, tensors, strict=True))
        with torch.inference_mode():
            for node in self.graph.nodes:
                step = self._steps.get(node.outputs[0])
                made = run_node(self.graph, node, values) if step is None else [step(values[node.inputs[0]])]
                values.update(zip(node.outputs, made, strict=True))
        constants = self.graph.weights
        outputs = [
            values[name][:samples] if name in values else constants[name] for name in self.graph.outputs
        ]
        return self._structure.build(outputs)

    def save(self, folder: Path | str) -> None:
        """Write graph, weights, columns and seed to a folder, which must be new, empty or such a deployment."""
        facts = asdict(self.manifest) | {"cost": asdict(self.cost), "structure": self._plain_structure}
        write_graph(folder, MARKER, self.graph, facts)


def load_aqfp_deployment(folder: Path | str) -> AQFPDeployment:
    """Load a saved deployment, its random bits from their beginning; raises SpokeshaveError when it is none."""

    def made(document: dict[str, Any], graph: Graph, _: Tensors) -> AQFPDeployment:
        columns, cost = Columns(**document["columns"]), cost_from(document["cost"])
        settings = columns, tuple(document["binary"]), cost, document["device"], document["seed"]
        return AQFPDeployment(graph, document["structure"], *settings)

    return read_graph(folder, MARKER, "deployment on superconducting columns", made)


def deploy_binary(
    network: Any,
    example: Any,
    schemes: Mapping[str, Scheme],
    columns: Columns,
    cost: Cost,
    device: str,
    seed: int,
) -> AQFPDeployment:
    """The network with its planned layers (`schemes`, by parameter) on columns; see `AQFPDevice.deploy`."""
    if any(
        sample_axes(network, example) or ()
    ):  # signs of sums near 0 depend on rounding: None says nothing here
        raise SpokeshaveError(f"{device} runs networks whose batch is in front")
    imported = import_program(export_network(network, example))
    graph = eliminate_dead(recognise_signs(imported.graph))
    for name, scheme in schemes.items():
        if not scheme.contains(graph.weights[name]):
            raise SpokeshaveError(f"{name} is not binary yet; train it with RandomizedBinary, or project it")
    binary = tuple(schemes)
    return AQFPDeployment(graph, imported.structure.to_json(), columns, binary, cost, device, seed)


def _steps(
    graph: Graph, columns: Columns, binary: tuple[str, ...], generator: torch.Generator
) -> Iterator[tuple[str, Step]]:
    """What binary layers and the batch norms behind them make, by the value; all else computes as it does anywhere."""

    def counted(sums: Tensor) -> Tensor:
        return columns.counts(sums, generator).sum(2)

    for node in graph.nodes:
        layer = node.operation
        if isinstance(layer, Linear | Convolution) and layer.weight in binary:
            norm, compared = _behind(graph, node)
            weight = signs(graph.weights[layer.weight])
            pieces = -(-weight[0].numel() // columns.height)
            yield node.output, _sums(node, weight, counted, columns.height)
            yield norm.output, _normed(graph, norm, pieces, columns.stream, compared)


def _sums(node: Node, weight: Tensor, counted: Step, height: int) -> Step:
    layer, name = node.operation, node.layer
    assert isinstance(layer, Linear | Convolution)
    plain = not (layer.bias or layer.residual or layer.activation)
    if isinstance(layer, Convolution):
        plain = plain and layer.groups == 1 and not any(layer.padding)
    if not plain:
        raise SpokeshaveError(
            f"{name}: columns of signs run linear layers and convolutions of one group without bias or zero padding "
            "(pad with 1), followed by a batch norm"
        )

    def run(x: Tensor) -> Tensor:
        if not bool((x.abs() == 1).all()):
            raise SpokeshaveError(
                f"{name}: it reads numbers other than -1 and 1; put a Sign before it, and pad with 1"
            )
        if isinstance(layer, Convolution):
            return convolved_sums(x, weight, layer.stride, layer.dilation, counted, height)
        return linear_sums(x, weight, counted, height)

    return run


def _normed(graph: Graph, norm: Node, pieces: int, stream: int, compared: bool) -> Step:
    """Counts against thresholds; in the last layer as sums of streams, normed in floating point outside of the cold."""
    assert isinstance(norm.operation, Affine)
    scale, shift = graph.weights[norm.operation.scale], graph.weights[norm.operation.shift]
    thresholds = match(scale.double(), shift.double(), pieces, stream)

    def signed(counts: Tensor) -> Tensor:
        return thresholds.signs(counts.movedim(1, -1)).movedim(-1, 1)

    def normed(counts: Tensor) -> Tensor:
        channels = (-1, *(1 for _ in counts.shape[2:]))
        return (2 * counts - pieces * stream) / stream * scale.view(channels) + shift.view(channels)

    return signed if compared else normed


def _behind(graph: Graph, node: Node) -> tuple[Node, bool]:
    """The batch norm that alone reads a layer, and whether a sign follows it; else nothing reads it at all."""
    readers = graph.readers(node.output)
    if len(readers) != 1 or not isinstance(readers[0].operation, Affine):
        raise SpokeshaveError(
            f"{node.layer}: a binary layer needs a batch norm with running statistics right behind it{ADVICE}"
        )
    norm = readers[0]
    behind = graph.readers(norm.output)
    if behind and [one.operation for one in behind] != [Activate(SIGN)]:
        raise SpokeshaveError(
            f"{node.layer}: its batch norm needs a sign right behind it, or nothing at all{ADVICE}"
        )
    return norm, bool(behind)
