"""The shapes that an operation gives, found by running it on tensors without data.

What was found is remembered, since most passes leave most operations as they are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.compiler.operations import Operation
from spokeshave.compiler.reference import run_operation

Shape = tuple[int, ...]
Kind = tuple[Shape, torch.dtype]
"""Shape and element type of a tensor: all that a tensor without data has."""

MOST_REMEMBERED = 1 << 14


@dataclass(frozen=True)
class _Given:
    """The shapes, and the weights that they followed from: those that were read, or looked for in vain."""

    shapes: tuple[Shape, ...]
    weights: Mapping[str, Kind | None]


_remembered: dict[tuple[Operation, tuple[Kind, ...], Shape], _Given] = {}


def shapes_given(
    operation: Operation, inputs: tuple[Kind, ...], weights: Mapping[str, Tensor], declared: Shape
) -> tuple[Shape, ...]:
    """Shapes of all outputs; `declared` is that of the first, which some operations are told.

    Raises what the operation raises where it cannot run on such inputs and weights.
    """
    key = operation, inputs, declared
    known = _remembered.get(key)
    if known and all(_kind(weights.get(name)) == kind for name, kind in known.weights.items()):
        return known.shapes
    without_data = [torch.empty(shape, dtype=dtype, device="meta") for shape, dtype in inputs]
    watched = _WithoutData(weights)
    results = run_operation(operation, without_data, watched, declared, {})
    if len(_remembered) >= MOST_REMEMBERED:
        _remembered.clear()
    given = _Given(tuple(tuple(result.shape) for result in results), watched.looked_for)
    _remembered[key] = given
    return given.shapes


def _kind(weight: Tensor | None) -> Kind | None:
    return None if weight is None else (tuple(weight.shape), weight.dtype)


class _WithoutData(Mapping[str, Tensor]):
    """Weights as tensors of the meta device; tells which were looked for."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights
        self.looked_for: dict[str, Kind | None] = {}

    def __getitem__(self, name: str) -> Tensor:
        self.looked_for[name] = _kind(self._weights.get(name))
        return self._weights[name].to("meta")

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)
