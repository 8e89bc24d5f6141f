"""Calibration: running the float32 graph on a few samples and observing every value."""

from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import islice
from typing import Any

from torch import Tensor

from spokeshave.compiler.graph import Graph
from spokeshave.compiler.operations import Quantization
from spokeshave.compiler.quantization.observers import Histogram, Observer, add, empty, quantization_of
from spokeshave.compiler.reference import run_operation
from spokeshave.errors import SpokeshaveError

Sample = tuple[Tensor, ...]


def samples_of(batches: Iterable[Any], most: int) -> list[Sample]:
    """The first samples of batches: tensors, or tuples whose first entry is the inputs (a tensor or a tuple of them).

    Raises SpokeshaveError where there is none.
    """
    found = list(islice(_samples(batches), most))
    if not found:
        raise SpokeshaveError("the calibration data is empty; give at least one batch of inputs")
    return found


def _samples(batches: Iterable[Any]) -> Iterator[Sample]:
    for batch in batches:
        first = batch[0] if isinstance(batch, tuple | list) else batch
        inputs = tuple(first) if isinstance(first, tuple | list) else (first,)
        for index in range(len(inputs[0])):
            yield tuple(tensor[index : index + 1] for tensor in inputs)


def observe(graph: Graph, samples: Iterable[Sample], names: Set[str]) -> dict[str, Histogram]:
    """Histograms of the named values over all samples."""
    histograms = {name: empty() for name in names}
    for sample in samples:
        for name, value in run_values(graph, sample).items():
            if name in histograms:
                histograms[name] = add(histograms[name], value)
    return histograms


def run_values(graph: Graph, sample: Sample) -> dict[str, Tensor]:
    """Every value of a graph on one sample."""
    values = dict(zip(graph.inputs, sample, strict=True))
    for node in graph.nodes:
        read, shape = [values[name] for name in node.inputs], graph.shape(node.outputs[0])
        made = run_operation(node.operation, read, graph.weights, shape, values)
        values.update(zip(node.outputs, made, strict=True))
    return values


def quantizations(histograms: Mapping[str, Histogram], observer: Observer) -> dict[str, Quantization]:
    """Scale and zero point of every observed value."""
    return {name: quantization_of(observer(histogram)) for name, histogram in histograms.items()}
