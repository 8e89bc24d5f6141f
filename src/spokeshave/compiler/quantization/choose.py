"""Which layers run in integers: all that can, less those that cost too much, by measurement on calibration data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spokeshave.compiler.count import Count
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.operations import (
    Convolution,
    Linear,
    Quantization,
    Quantized,
    QuantizedRecurrent,
    QuantizedSelected,
    Recurrent,
    SelectedLinear,
    SelectTokens,
)
from spokeshave.compiler.quantization.attention import attention_in_bfloat16
from spokeshave.compiler.quantization.calibrate import (
    Sample,
    check_shapes,
    observe,
    quantizations,
    samples_of,
    shapes_blamed,
)
from spokeshave.compiler.quantization.integers import integer_layers, to_integers
from spokeshave.compiler.quantization.observers import OBSERVERS
from spokeshave.compiler.quantization.record import LayerPrecision
from spokeshave.compiler.quantization.weights import rounded_again
from spokeshave.compiler.reference import run_values
from spokeshave.errors import SpokeshaveError

ERROR_SAMPLES = 4  # of the calibration samples, spread over them

Pieces = tuple[Graph | Node, ...]


@dataclass(frozen=True, eq=False)
class Int8:
    """Integers for every layer that has an integer kernel, within an error budget.

    `calibration`: batches, each a tensor of inputs or a tuple that begins with them; the first `samples` samples are
    used. `observer`: `min_max`, `percentile` or `mean_squared_error`. `error_budget`: largest relative root mean
    square error of the network's outputs on calibration data; layers that cost most stay float32 until it is met.
    None sets no limit.
    """

    calibration: Iterable[Any]
    samples: int = 64
    observer: str = "mean_squared_error"
    error_budget: float | None = 0.1

    def __post_init__(self) -> None:
        if self.observer not in OBSERVERS:
            raise SpokeshaveError(
                f"there is no observer {self.observer!r}; known ones are {', '.join(OBSERVERS)}"
            )


def lower_precision(
    graph: Graph, pieces: Pieces, settings: Int8, isa: InstructionSet
) -> tuple[Pieces, tuple[LayerPrecision, ...]]:
    """The segments with integer layers, and what became of every layer."""
    samples = samples_of(settings.calibration, settings.samples)
    pieces = tuple(
        attention_in_bfloat16(piece, isa) if isinstance(piece, Graph) else piece for piece in pieces
    )
    if any(isinstance(size, Count) for name in graph.inputs for size in graph.shape(name)):
        check_shapes(graph, samples)
    segments = [piece for piece in pieces if isinstance(piece, Graph)]
    reasons = {name: reason for segment in segments for name, reason in integer_layers(segment, isa).items()}
    able = frozenset(name for name, reason in reasons.items() if reason is None)
    touched = {
        name
        for node in graph.nodes
        if able.intersection(node.outputs)
        for name in (*node.inputs, *node.outputs)
    }
    with shapes_blamed(graph, samples):
        ranges = quantizations(observe(graph, samples, touched), OBSERVERS[settings.observer])
    convert = partial(_converted, pieces, ranges)
    error = _error(graph, convert, _spread_out(samples, ERROR_SAMPLES))
    chosen, costs = _within(able, error, settings.error_budget)
    lost = f"with it in integers the outputs' error was above the budget of {settings.error_budget}"
    reasons |= {name: f"{lost} (alone it costs {costs[name]:.2g})" for name in able - chosen}
    again = {
        node.layer: reason
        for segment in segments
        for node in segment.nodes
        if (reason := _again(segment, node))
    }
    return convert(chosen), _records(convert(chosen), reasons, again)


def _again(graph: Graph, node: Node) -> str:
    """Why a layer's weights would be rounded a second time."""
    layer = node.operation
    if isinstance(layer, Recurrent):
        names: tuple[str, ...] = (layer.input_weight, layer.hidden_weight)
    else:
        names = (layer.weight,) if isinstance(layer, Convolution | Linear | SelectedLinear) else ()
    weights = (graph.weights[name] for name in names)
    stacked = isinstance(layer, SelectedLinear)
    return next(
        filter(None, (rounded_again(weight.flatten(0, 1) if stacked else weight) for weight in weights)), ""
    )


def _converted(pieces: Pieces, ranges: Mapping[str, Quantization], chosen: frozenset[str]) -> Pieces:
    return tuple(
        to_integers(piece, chosen, ranges) if isinstance(piece, Graph) else piece for piece in pieces
    )


def joined(graph: Graph, pieces: Pieces) -> Graph:
    """The whole network again, from its pieces."""
    segments = [piece for piece in pieces if isinstance(piece, Graph)]
    nodes = tuple(
        node for piece in pieces for node in (piece.nodes if isinstance(piece, Graph) else (piece,))
    )
    values, weights = dict(graph.values), dict(graph.weights)
    for segment in segments:
        values |= segment.values
        weights |= segment.weights
    return replace(graph, nodes=nodes, values=values, weights=weights)


def _error(
    graph: Graph, convert: Callable[[frozenset[str]], Pieces], samples: Sequence[Sample]
) -> Callable[[frozenset[str]], float]:
    """Relative root mean square error of the outputs with the given layers in integers."""
    expected = [run_values(graph, sample) for sample in samples]
    names = [
        name for name in graph.outputs if name in expected[0] and _is_measured(graph, name, expected[0][name])
    ]

    def error(chosen: frozenset[str]) -> float:
        quantized, squares, total = joined(graph, convert(chosen)), 0.0, 0.0
        for sample, right in zip(samples, expected, strict=True):
            made = run_values(quantized, sample)
            squares += sum(float((made[name] - right[name]).double().square().sum()) for name in names)
            total += sum(float(right[name].double().square().sum()) for name in names)
        return (squares / total) ** 0.5 if total > 0 else float(squares > 0)

    return error


def _is_measured(graph: Graph, name: str, value: Tensor) -> bool:
    """Whether an error of this output says anything: numbers of tokens are no results."""
    maker = graph.maker(name)
    return value.is_floating_point() and not (maker and isinstance(maker.operation, SelectTokens))


def _within(
    able: frozenset[str], error: Callable[[frozenset[str]], float], budget: float | None
) -> tuple[frozenset[str], dict[str, float]]:
    """As many layers as the budget allows, the worst left out first; and what each costs alone, if that was needed."""
    if budget is None or error(able) <= budget:
        return able, {}
    costs = {name: error(frozenset({name})) for name in sorted(able)}
    ranked = sorted(costs, key=lambda name: costs[name])
    fewest, most = 0, len(ranked)  # `fewest` layers are within the budget, `most` are not
    while most - fewest > 1:
        middle = (fewest + most) // 2
        fewest, most = (middle, most) if error(frozenset(ranked[:middle])) <= budget else (fewest, middle)
    return frozenset(ranked[:fewest]), costs


def _spread_out(samples: Sequence[Sample], count: int) -> list[Sample]:
    chosen = torch.linspace(0, len(samples) - 1, min(count, len(samples))).long().tolist()
    return [samples[index] for index in chosen]


def _records(
    pieces: Pieces, reasons: Mapping[str, str | None], again: Mapping[str, str]
) -> tuple[LayerPrecision, ...]:
    records = []
    for segment in (piece for piece in pieces if isinstance(piece, Graph)):
        for node in segment.nodes:
            operation, note = node.operation, again.get(node.layer, "")
            if isinstance(operation, Quantized | QuantizedSelected):
                output = operation.output if isinstance(operation, Quantized) else None
                scales = tuple(segment.weights[operation.weight_scale].tolist())
                records.append(LayerPrecision(node.layer, "int8", note, operation.input, output, scales))
            elif isinstance(operation, QuantizedRecurrent):
                names = operation.input_scale, operation.hidden_scale
                scales = tuple(scale for name in names for scale in segment.weights[name].tolist())
                records.append(
                    LayerPrecision(node.layer, "int8", note, operation.input, operation.state, scales)
                )
            elif isinstance(operation, Convolution | Linear | Recurrent | SelectedLinear):
                records.append(LayerPrecision(node.layer, "float32", reasons[node.outputs[0]] or ""))
    return tuple(records)
