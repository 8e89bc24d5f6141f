"""What an engine of binary lanes runs of a network in whole numbers: layers of signs that read signs."""

from collections.abc import Collection

from spokeshave.compiler.graph import Graph
from spokeshave.compiler.integers.signs import SIGNS
from spokeshave.compiler.operations import Convolution, Quantized
from spokeshave.errors import SpokeshaveError
from spokeshave.workload import Layer

ELSEWHERE = "its weights are not binary: it runs elsewhere"


def layer_reason(layer: Layer) -> str | None:
    """Why binary lanes cannot run a layer whatever its scheme, or None."""
    return "it reads states, which are no signs" if layer.kind == "recurrent" else None


def check_signs(graph: Graph, parameters: Collection[str]) -> None:
    """Raise SpokeshaveError where a layer with one of these weights reads anything but signs."""
    for node in graph.nodes:
        operation = node.operation
        if not isinstance(operation, Quantized) or f"{node.layer}.weight" not in parameters:
            continue
        padded = isinstance(operation.layer, Convolution) and any(operation.layer.padding)
        if padded or operation.input != SIGNS:
            raise SpokeshaveError(
                f"{node.layer}: binary lanes read -1 and 1 alone; put a Sign before it, and pad with 1"
            )
