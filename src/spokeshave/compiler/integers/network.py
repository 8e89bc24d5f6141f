"""From a network and calibration data to a graph in whole numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spokeshave.batch import find_batch_axes
from spokeshave.compiler.following import adaptive
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.importer import Imported, import_program
from spokeshave.compiler.integers.choices import Choices
from spokeshave.compiler.integers.convert import in_whole_numbers
from spokeshave.compiler.integers.grids import choose_grids, observed, touched
from spokeshave.compiler.integers.plan import Division, divide, modules, operator_name
from spokeshave.compiler.integers.ranges import check_accumulators
from spokeshave.compiler.integers.settings import IntegerForm
from spokeshave.compiler.integers.weights import whole_weights, with_room_for_biases
from spokeshave.compiler.operations import (
    Attention,
    Lookup,
    Quantize,
    Quantized,
    QuantizedAttention,
    QuantizedMean,
    QuantizedSum,
)
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.quantization.calibrate import samples_of, shapes_blamed
from spokeshave.compiler.quantization.observers import Histogram
from spokeshave.errors import SpokeshaveError
from spokeshave.export import export_network
from spokeshave.plan import Plan

SAMPLES, BATCH = 64, 16


@dataclass(frozen=True)
class WholeNetwork:
    """A graph in whole numbers, how its outputs are nested, and what stayed float32: `(layer, reason)`."""

    graph: Graph
    structure: dict[str, Any]
    floats: tuple[tuple[str, str], ...]


def whole_network(
    network: Any,
    example: Tensor | tuple[Any, ...],
    calibration: Iterable[Any],
    form: IntegerForm | None = None,
    plan: Plan | None = None,
    samples: int = SAMPLES,
) -> WholeNetwork:
    """A network in whole numbers; weights that lie in a scheme of levels keep their levels.

    `calibration`: batches, each a tensor of inputs or a tuple that begins with them, of which the first `samples`
    samples show what values there are. Raises SpokeshaveError where there is none, where the network cannot be
    exported, where a scale is impossible, and where sums may overflow the accumulators.
    """
    form = form or IntegerForm()
    imported = import_batch_first(network, example)
    if adaptive(imported.graph):
        raise SpokeshaveError(
            "tokens that are selected by a threshold differ from sample to sample, which whole networks in integers "
            'cannot; compile_network(..., precision="int8") can'
        )
    graph = modules(optimise(imported.graph), form)
    division = divide(graph, form)
    batches = batched(calibration, samples)
    if len(batches[0]) != len(graph.inputs):
        raise SpokeshaveError(
            f"the network has {len(graph.inputs)} inputs, the calibration data {len(batches[0])}: give batches "
            "((first, second, ...),)"
        )
    check_varied(graph, batches)
    with shapes_blamed(graph, batches):
        histograms = observed(graph, batches, touched(graph, division))
    schemes = plan.resolve(network) if plan is not None else {}
    grids = choose_grids(graph, division, histograms, form)
    weights = whole_weights(graph, imported.graph.weights, schemes, form)
    if form.rescale == "multiplier":
        weights = with_room_for_biases(graph, weights, grids, form)
    choices = Choices(grids, weights, largest=_reaches(histograms))
    whole = in_whole_numbers(graph, division, choices, form)
    check_accumulators(whole, form.accumulator_bits)
    return WholeNetwork(whole, imported.structure.to_json(), stayed_float(graph, division))


def _reaches(histograms: Mapping[str, Histogram]) -> dict[str, float]:
    return {name: max(-found.smallest, found.largest) for name, found in histograms.items()}


def import_batch_first(network: Any, example: Any) -> Imported:
    """A network imported for one sample; raises SpokeshaveError unless its inputs' first axis is the batch."""
    axes = find_batch_axes(network, example)
    if not axes.in_front:
        raise SpokeshaveError(
            f"the batch axes of the network's inputs are {axes.inputs}; a network in whole numbers needs its batch "
            "in front"
        )
    return import_program(export_network(network, example), axes)


def batched(calibration: Iterable[Any], samples: int) -> list[tuple[Tensor, ...]]:
    """The first samples of calibration data in batches."""
    found = samples_of(calibration, samples)
    return [
        tuple(torch.cat(column) for column in zip(*found[start : start + BATCH], strict=True))
        for start in range(0, len(found), BATCH)
    ]


def check_varied(graph: Graph, batches: list[tuple[Tensor, ...]]) -> None:
    """Raise SpokeshaveError where every input is one number throughout: that shows no range of values."""
    numbers = [torch.cat([tensor.flatten() for tensor in column]) for column in zip(*batches, strict=True)]
    if all(bool((number == number[:1]).all()) for number in numbers):
        same = ", ".join(
            f"{name} is always {number[0].item():g}"
            for name, number in zip(graph.inputs, numbers, strict=True)
            if len(number)
        )
        raise SpokeshaveError(
            f"the calibration data shows no range of values: {same}; give samples as the network will see them"
        )


def stayed_float(graph: Graph, division: Division) -> tuple[tuple[str, str], ...]:
    """What is not in whole numbers, and why."""
    found = []
    for node in graph.nodes:
        if node.outputs[0] in division.reasons:
            found.append(
                (f"{node.layer} ({operator_name(node.operation)})", division.reasons[node.outputs[0]])
            )
        elif isinstance(node.operation, Attention):
            found.append((f"{node.layer} (Softmax)", "it stands between the two products of attention"))
    return tuple(found)


def quantization_operations(graph: Graph) -> int:
    """How many operations round numbers to levels: conversions, and whatever has levels of its own at its end."""
    return sum(
        isinstance(node.operation, Quantize | QuantizedSum | QuantizedMean | QuantizedAttention | Lookup)
        or (isinstance(node.operation, Quantized) and node.operation.output is not None)
        for node in graph.nodes
    )
