"""A program: the calls that run one segment of a graph for one sample, and the constant tensors they read."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spokeshave.compiler.count import Count
from spokeshave.compiler.kernels.instances import (
    IntegerVectorKernel,
    Kernel,
    PointwiseKernel,
    RecurrentKernel,
    VectorKernel,
)
from spokeshave.compiler.layout import Layout, Planes
from spokeshave.compiler.schedule import Schedule

AROUND = " around "  # in a pattern: gaps hold the number that follows


@dataclass(frozen=True)
class Place:
    """A buffer's element, `offset` floats behind its start."""

    buffer: str
    offset: int = 0


@dataclass(frozen=True)
class Constant:
    """A packed tensor of the program, by name, from its int32 or float element `offset` on."""

    name: str
    offset: int = 0


@dataclass(frozen=True)
class Port:
    """An input or output of the segment: row-major floats given by the caller, from element `offset` on."""

    direction: str  # "in" or "out"
    index: int
    offset: int = 0


@dataclass(frozen=True)
class Buffer:
    """Room for a value.

    `pattern` says what kernels write of planes: "" whole rows of lanes, zeros in their gaps; "copied" true elements
    alone; anything else, only some of the elements that the layout has room for. With AROUND in it, the gaps are not
    zeros, and who writes the planes fills them.
    """

    layout: Layout
    pattern: str = ""

    @property
    def needs_zeros(self) -> bool:
        """Whether readers take zeros for granted that no kernel writes."""
        return isinstance(self.layout, Planes) and AROUND not in self.pattern


@dataclass(frozen=True)
class Along:
    """What moves on from band to band: `floats` elements for each unit that the call has done before."""

    start: Place | Constant
    floats: int


UNITS = "(to - from)"  # as an argument: how many units a call does in this band
Argument = Place | Constant | Along | Port | int | float | str

# C names of how many samples are worked on together, and of the floats between what belongs to one and to the next. A
# call that is given both does its work for all of them.
GROUP = "group", "APART"
MOST_TOGETHER = 8  # samples for which the vector kernels load a weight once
VECTORS = {VectorKernel, IntegerVectorKernel}


@dataclass(frozen=True)
class Call:
    """One call of a C function; `kernel` is the instance it needs generated, None for a library function.

    `done` says how many units of its work it has done after each band, in steps that run band by band.
    """

    function: str
    arguments: tuple[Argument, ...]
    kernel: Kernel | None = None
    schedule: Schedule | None = None
    done: tuple[int, ...] = ()

    @property
    def places(self) -> tuple[Place, ...]:
        """Where it reads and writes."""
        starts = [argument.start if isinstance(argument, Along) else argument for argument in self.arguments]
        return tuple(start for start in starts if isinstance(start, Place))


@dataclass(frozen=True)
class Step:
    """The calls that do one node's work (or move a value between layouts).

    Neighbouring steps of the same `run` take turns, band by band (`bands.py`); 0 is none.
    """

    layer: str
    operation: str
    calls: tuple[Call, ...]
    run: int = 0


@dataclass(frozen=True)
class Program:
    """Steps in order, the buffers, the packed tensors, and the sizes of inputs and outputs (floats).

    `found` lengths are not the caller's: steps find them, sample by sample, and write them into the arena. Where a
    single step is timed, lengths are `constant`.
    """

    steps: tuple[Step, ...]
    buffers: Mapping[str, Buffer]
    constants: Mapping[str, np.ndarray]
    input_floats: tuple[int, ...]
    output_floats: tuple[int, ...]
    found: int = 0
    constant: tuple[int, ...] = ()

    @property
    def together(self) -> int:
        """For how many samples at a time the calls are made: some where loading weights is what takes the time."""
        if self.found:
            return 1
        recurrent = any(isinstance(kernel, RecurrentKernel) for kernel in self.kernels)
        vectors = {type(kernel) for kernel in self.kernels} - {PointwiseKernel}
        return MOST_TOGETHER if recurrent or (vectors and vectors <= VECTORS) else 1

    @property
    def changes(self) -> bool:
        """Whether sizes follow a length that the caller gives."""
        return any(isinstance(floats, Count) for floats in (*self.input_floats, *self.output_floats))

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The kernel instances to generate, sorted by name."""
        found = {call.kernel for step in self.steps for call in step.calls if call.kernel}
        return tuple(sorted(found, key=lambda kernel: kernel.name))
