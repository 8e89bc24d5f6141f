"""Calibration: running the float32 graph on a few samples and observing every value."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from copy import copy
from itertools import islice, tee
from typing import Any

import torch
from torch import Tensor

from spokeshave.compiler.graph import Graph
from spokeshave.compiler.operations import Quantization
from spokeshave.compiler.quantization.observers import Histogram, Observer, add, empty, quantization_of
from spokeshave.compiler.reference import run_values
from spokeshave.errors import SpokeshaveError, check_kind, naming
from spokeshave.nesting import flattened

Sample = tuple[Tensor, ...]


class Replayed:
    """Batches that are read as often as asked, though what they come from may be a stream."""

    def __init__(self, batches: Iterable[Any]) -> None:
        (self._stream,) = tee(batches, 1)

    def __iter__(self) -> Iterator[Any]:
        return copy(self._stream)


def samples_of(batches: Iterable[Any], most: int) -> list[Sample]:
    """The first samples of batches: tensors, or tuples whose first entry is the inputs (a tensor, or nested).

    Raises SpokeshaveError where there is none.
    """
    check_kind("the calibration data", batches, Iterable, "batches of inputs")
    found = list(islice(_samples(batches), most))
    if not found:
        raise SpokeshaveError("the calibration data is empty; give at least one batch of inputs")
    return found


def check_shapes(graph: Graph, samples: Iterable[Sample]) -> None:
    """Raise SpokeshaveError for samples, or batches of them, that the graph does not take (at its greatest lengths)."""
    wanted = [tuple(map(int, graph.shape(name)[1:])) for name in graph.inputs]
    for sample in samples:
        given = [tuple(tensor.shape[1:]) for tensor in sample]
        if given != wanted:
            raise SpokeshaveError(
                f"a calibration sample has shape {_told(given)}, the network was compiled for {_told(wanted)}"
            )


@contextmanager
def shapes_blamed(graph: Graph, samples: Iterable[Sample]) -> Iterator[None]:
    """Where the block fails, and samples have other shapes than the graph's inputs, that is said (`check_shapes`)."""
    try:
        yield
    except RuntimeError:
        check_shapes(graph, samples)
        raise


def _told(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join("x".join(map(str, shape)) or "1" for shape in shapes)


def _samples(batches: Iterable[Any]) -> Iterator[Sample]:
    for batch in batches:
        inputs = _inputs(batch)
        for index in range(len(inputs[0])):
            yield tuple(tensor[index : index + 1] for tensor in inputs)


def batch_first(batches: Iterable[Any], axes: Sequence[int]) -> Iterable[Any]:
    """Batches with the samples of every input along axis 0 instead of along `axes`."""
    if not any(axes):
        return batches
    return (
        (tuple(tensor.movedim(axis, 0) for tensor, axis in zip(inputs, axes, strict=True)),)
        for inputs in map(_inputs, batches)
    )


def _inputs(batch: Any) -> tuple[Tensor, ...]:
    """The tensors of a batch's inputs, float64 as float32; raises SpokeshaveError for others, and for NaN."""
    found = flattened(batch[0] if isinstance(batch, tuple | list) and batch else batch)[0]
    for tensor in found or (batch,):
        check_kind(
            "a calibration batch", tensor, Tensor, "a tensor of inputs, or a tuple that begins with them"
        )
        if tensor.is_floating_point() and bool(tensor.isnan().any()):
            raise SpokeshaveError("the calibration data holds NaN; give samples as the network will see them")
    return tuple(tensor.float() if tensor.dtype == torch.float64 else tensor for tensor in found)


def observe(graph: Graph, samples: Iterable[Sample], names: Set[str]) -> dict[str, Histogram]:
    """Histograms of the named values over all samples."""
    histograms = {name: empty() for name in names}
    for sample in samples:
        for name, value in run_values(graph, sample).items():
            if name in histograms:
                with naming(name):
                    histograms[name] = add(histograms[name], value)
    return histograms


def quantizations(histograms: Mapping[str, Histogram], observer: Observer) -> dict[str, Quantization]:
    """Scale and zero point of every observed value."""
    return {name: quantization_of(observer(histogram)) for name, histogram in histograms.items()}
