"""What a layer takes of a chip of crossbars, and what one vector of its inputs does there."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.devices.assignment import random_weight
from spokeshave.devices.crossbars.array import Array
from spokeshave.devices.crossbars.mapping import used_lines
from spokeshave.devices.transposed import as_convolution, convolution_weight
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.intersection import LEVELS, Intersection
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.word_lines import Order, word_lines
from spokeshave.workload import Layer


@dataclass(frozen=True)
class Occupancy:
    """Of one layer: `lines` and `columns` (bit lines) in use by each of `groups` matrices, and vectors for a sample.

    `bits`: input bits that a fragment needs on average.
    """

    name: str
    lines: int
    columns: int
    groups: int
    vectors: int
    bits: float
    array: Array

    @property
    def crossbars(self) -> int:
        """Crossbars that hold the layer once."""
        tall, wide = -(-self.lines // self.array.rows), -(-self.columns // self.array.columns)
        return self.groups * tall * wide

    @property
    def steps(self) -> float:
        """Fragments, bit by bit, that the fullest crossbar drives one after the other for a vector."""
        return -(-min(self.lines, self.array.rows) // self.array.rows_at_once) * self.bits

    @property
    def conversions(self) -> float:
        """Columns that are converted for a vector, in all crossbars."""
        return self.groups * -(-self.lines // self.array.rows_at_once) * self.columns * self.bits

    @property
    def driven(self) -> float:
        """Word lines that are driven for a vector, in all crossbars."""
        return self.groups * self.lines * -(-self.columns // self.array.columns) * self.bits


def occupancies(
    layers: tuple[Layer, ...],
    schemes: Mapping[str, Scheme],
    array: Array,
    bits: Mapping[str, float],
    usual: float,
) -> tuple[Occupancy, ...]:
    """Of every layer with weights, in the order of the network; `bits` by layer name, `usual` where none is given.

    `layers` are those that crossbars can hold (`unmapped_reason`), and products of activations, which are left out.

    Weights are random ones of the layer's scheme: costs hang on the structure.
    """
    found = []
    for layer in (layer for layer in layers if layer.weight_shape):
        lines, columns = used(layer, schemes.get(layer.parameter or ""), array)
        made = as_convolution(layer)
        found.append(
            Occupancy(
                layer.name, lines, columns * array.cells_per_weight, made.groups, made.positions,
                bits.get(layer.name, usual), array,
            )
        )  # fmt: skip
    return tuple(found)


def used(layer: Layer, scheme: Scheme | None, array: Array) -> tuple[int, int]:
    """Word lines and output channels of one group that hold weights."""
    made = as_convolution(layer)
    if made.kind != "convolution" and layer.kind == "transposed":
        return made.columns, made.rows
    if _keeps_all(scheme) and layer.kind != "transposed":
        return made.columns, made.rows // made.groups
    weight = random_weight(layer.weight_shape, scheme)
    if layer.kind == "transposed":
        weight = convolution_weight(layer, weight)
    elif layer.kind == "matmul":
        weight = weight.t()
    lines = word_lines(tuple(weight.shape), order_of(scheme))
    matrix = weight.flatten(1)[:, lines]
    return int(used_lines(matrix, array).sum()), max(1, int(matrix.any(1).sum()) // made.groups)


def _keeps_all(scheme: Scheme | None) -> bool:
    """Whether no word line and no output loses all its weights: levels and signs of fragments empty none."""
    parts = scheme.parts if isinstance(scheme, Intersection) else () if scheme is None else (scheme,)
    return all(isinstance(part, (*LEVELS, Polarized)) for part in parts)


def unmapped_reason(layer: Layer, scheme: Scheme | None, array: Array) -> str | None:
    """Why crossbars cannot hold the weight of a layer, or None."""
    if len(layer.kernel) > 2:
        return f"crossbars run convolutions over sequences and maps, not over {len(layer.kernel)} axes"
    if layer.kind == "matmul" and len(layer.weight_shape) != 2:
        return "crossbars hold a matrix, and its weight is a stack of them"
    if array.encoding == "polarized" and layer.kind in ("transposed", "matmul"):
        return (
            "fragments of its weight do not lie along word lines, as those of convolutions and nn.Linear do"
        )
    return polarized_reason(scheme, array)


def order_of(scheme: Scheme | None) -> Order:
    """How the positions of a weight of this scheme follow each other on word lines."""
    parts = scheme.parts if isinstance(scheme, Intersection) else (scheme,)
    return next((part.order for part in parts if isinstance(part, Polarized)), "width")


def polarized_reason(scheme: Scheme | None, array: Array) -> str | None:
    """Why weights of a scheme do not suit an array whose cells have no sign, or None."""
    if array.encoding != "polarized":
        return None
    parts = scheme.parts if isinstance(scheme, Intersection) else (scheme,)
    fragments = [part.fragment for part in parts if isinstance(part, Polarized)]
    if any(fragment % array.rows_at_once == 0 for fragment in fragments):
        return None
    return f"its weights need Polarized({array.rows_at_once}), for a fragment has one sign"


def replication(layers: tuple[Occupancy, ...], step_seconds: float, crossbars: int) -> tuple[int, ...]:
    """Copies of every layer with which a chip gives the most samples a second, every layer busy at once.

    Raises SpokeshaveError where the chip cannot hold the network once.
    """
    once = sum(layer.crossbars for layer in layers)
    if once > crossbars:
        raise SpokeshaveError(
            f"the network takes {once:,} crossbars and the chip has {crossbars:,}: {once / crossbars:.1f} times as "
            f"many; {_what_fits(layers, crossbars)}"
        )
    low, high = 0.0, crossbars / min(layer.vectors * layer.steps * step_seconds for layer in layers)
    for _ in range(80):
        rate = (low + high) / 2
        copies = _copies(layers, step_seconds, rate)
        fits = sum(n * layer.crossbars for n, layer in zip(copies, layers, strict=True)) <= crossbars
        low, high = (rate, high) if fits else (low, rate)
    return _copies(layers, step_seconds, low)


def _what_fits(layers: tuple[Occupancy, ...], crossbars: int) -> str:
    """How many weights would fit, and of how many there are."""
    array = layers[0].array
    there = sum(layer.groups * layer.lines * layer.columns for layer in layers) // array.cells_per_weight
    most = crossbars * array.rows * array.columns // array.cells_per_weight
    return (
        f"up to {most:,} weights of {array.weight_bits} bits would fit where they fill their crossbars, and these are "
        f"{there:,}: prune filters and word lines (crossbar_pruned), or name a chip of more crossbars"
    )


def _copies(layers: tuple[Occupancy, ...], step_seconds: float, rate: float) -> tuple[int, ...]:
    busy = (layer.vectors * layer.steps * step_seconds for layer in layers)
    return tuple(max(1, int(-(-rate * seconds // 1))) for seconds in busy)


def lockstep_bits(cycles: Tensor, array: Array) -> float:
    """Bits for a fragment when the crossbars of a layer wait for each other, from `[vectors, fragments]` of cycles.

    A crossbar goes through its fragments one after the other; the slowest crossbar of the layer decides.
    """
    each = array.rows // array.rows_at_once
    first, fragments = range(0, cycles.shape[1], each), min(each, cycles.shape[1])
    by_crossbar = torch.stack([cycles[:, start : start + each].sum(1) for start in first], 1)
    return float(by_crossbar.amax(1).double().mean()) / fragments
