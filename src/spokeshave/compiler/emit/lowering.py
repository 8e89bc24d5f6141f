"""What every lowering needs: places of values, constants, temporary buffers, and the list of calls so far."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np

from spokeshave.compiler.count import Count
from spokeshave.compiler.emit.program import (
    AROUND,
    UNITS,
    Along,
    Argument,
    Buffer,
    Call,
    Constant,
    Place,
    Port,
    Program,
    Step,
)
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.kernels.instances import Kernel, PointwiseKernel
from spokeshave.compiler.layout import FLOAT_BYTES, Flat, Layout, Planes, round_up
from spokeshave.compiler.operations import Activation, SelectTokens
from spokeshave.compiler.schedule import Chooser, Schedule
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.scheme import Packed


@dataclass
class Lowering:
    """The state of turning one segment into a program; lowering functions append calls to it."""

    graph: Graph
    isa: InstructionSet
    layouts: Mapping[str, Layout]
    packed: Mapping[str, Packed]  # by weight name, for weights that a plan put into a scheme
    choose: Chooser
    patterns: Mapping[str, str]  # how values are written, by name, where not as most kernels do
    ports: dict[str, Port] = field(default_factory=dict)  # values that lie where the caller has them
    views: dict[str, Place] = field(default_factory=dict)  # values that are parts of others
    added: dict[str, Constant] = field(
        default_factory=dict
    )  # constants that are residuals, as these are read
    made: set[str] = field(default_factory=set)  # values of nodes to come that a call makes already
    buffers: dict[str, Buffer] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    done: tuple[int, ...] = ()  # units after each band, of the node at hand; empty where it runs as a whole

    def call(self, function: str, *arguments: Argument) -> None:
        """Append a call of a library function."""
        self.calls.append(Call(function, arguments, done=self.done))

    def call_kernel(self, kernel: Kernel, *arguments: Argument, schedule: Schedule | None = None) -> None:
        """Append a call of a generated kernel."""
        self.calls.append(Call(kernel.name, arguments, kernel, schedule, self.done))

    def along(self, start: Place | Constant, floats: int | None = None) -> Place | Constant | Along:
        """Where the node at hand goes on in each band: `floats` elements a unit, a vector of lanes by default."""
        return Along(start, self.isa.lanes if floats is None else floats) if self.done else start

    def units(self, whole: int, each: int = 1) -> int | str:
        """How much the node at hand does in each band, `each` for a unit; all of it where there are no bands."""
        if not self.done:
            return whole
        return UNITS if each == 1 else f"{UNITS} * {each}"

    def finish_step(self, layer: str, operation: str, run: int = 0) -> None:
        """Close the step made of the calls since the last one."""
        if self.calls:
            self.steps.append(Step(layer, operation, tuple(self.calls), run))
        self.calls = []

    def layout(self, value: str) -> Layout:
        """Layout of a value of the graph."""
        return self.layouts[value]

    @property
    def step(self) -> int:
        """Number of the step being made, from 1."""
        return len(self.steps) + 1

    def place(self, value: str) -> Place:
        """First true element of a value of the graph, or of a temporary buffer."""
        if value in self.views:
            return self.views[value]
        if value not in self.buffers:
            self.buffers[value] = Buffer(self.layouts[value], self.patterns.get(value, ""))
        return Place(value, self.buffers[value].layout.origin)

    def residual(self, value: str) -> Place | Constant:
        """First element of what a kernel adds to its sums."""
        return self.added[value] if value in self.added else self.place(value)

    def temporary(self, layout: Layout, pattern: str = "") -> str:
        """A buffer of its own for intermediate results."""
        name = f"temporary{len(self.buffers)}"
        self.buffers[name] = Buffer(layout, pattern)
        return name

    def fill_gaps(self, buffer: str, zero_byte: int) -> None:
        """Write a zero point into every byte of a buffer; gaps of 0 are there from the start and stay."""
        if zero_byte:
            layout = self.buffers[buffer].layout
            self.call("fill_bytes", Place(buffer), zero_byte, layout.floats * FLOAT_BYTES)

    def constant(self, array: np.ndarray) -> Constant:
        """A packed tensor of the program; equal tensors are stored once."""
        array = np.ascontiguousarray(array)
        digest = sha256(array.tobytes() + str((array.dtype, array.shape)).encode()).hexdigest()[:16]
        self.constants[digest] = array
        return Constant(digest)

    def weight(self, name: str) -> np.ndarray:
        """A weight of the graph as float32."""
        return self.graph.weights[name].detach().cpu().numpy().astype(np.float32)

    def mask(self, layout: Planes) -> Constant:
        """-1 for each lane that is a true position, 0 for gaps and rounding.

        Where the number of rows changes, or that of tokens in the only row, the greatest number of them and then zeros
        are read from further on the fewer there are.
        """
        height, width = layout.height, layout.width
        if isinstance(width, Count) and height == 1:
            height, width, pitch = width, 1, 1
        else:
            pitch = layout.pitch
        if isinstance(width, Count):
            raise SpokeshaveError(
                "a map whose width changes has no layout; only lengths of sequences may change"
            )
        if isinstance(height, Count):
            row = np.repeat(np.array([-1, 0], np.int32), [width, pitch - width])
            rows = np.concatenate([np.tile(row, int(height)), np.zeros(int(layout.lanes), np.int32)])
            return replace(self.constant(rows), offset=(int(height) - height) * pitch)
        lane = np.arange(layout.lanes)
        inside = (lane % layout.pitch < layout.width) & (lane < layout.height * layout.pitch)
        return self.constant(-inside.astype(np.int32))

    def copy(
        self,
        source: Place | Port | Constant,
        from_strides: tuple[int, ...],
        target: Place | Port,
        to_strides: tuple[int, ...],
        shape: tuple[int, ...],
    ) -> None:
        """Append the strided copy of `shape` elements."""
        self.call("copy", source, target, *axes(shape, from_strides, to_strides))

    def row_major(self, value: str) -> Place:
        """A value where it lies row-major, else room for such a copy of it."""
        layout = self.layout(value)
        return self.place(value if isinstance(layout, Flat) else self.temporary(Flat(layout.shape)))

    def fetch_rows(self, value: str, rows: Place) -> None:
        """Append the copy of a value into its row-major room, where it does not lie there itself."""
        layout = self.layout(value)
        if rows != self.place(value):
            self.copy(self.place(value), layout.strides, rows, Flat(layout.shape).strides, layout.shape)

    def store_rows(self, rows: Place, value: str) -> None:
        """Append the copy the other way."""
        layout = self.layout(value)
        if rows != self.place(value):
            self.copy(rows, Flat(layout.shape).strides, self.place(value), layout.strides, layout.shape)

    def pointwise(self, activation: Activation, source: str, output: str) -> None:
        """Append an activation over every element of a value (in place when both are the same)."""
        extent = self.extent(self.layout(output))
        self.call_kernel(PointwiseKernel(activation), self.place(source), self.place(output), *extent)

    def extent(self, layout: Layout) -> tuple[Argument, ...]:
        """Channels, plane stride, lanes and mask over which element-wise functions run."""
        if isinstance(layout, Planes):
            return layout.channels, layout.plane, layout.lanes, self.mask(layout)
        lanes = round_up(max(1, int(np.prod(layout.shape))), self.isa.lanes)
        return 1, 0, lanes, self.constant(np.full(lanes, -1, np.int32))

    def program(self, input_floats: tuple[int, ...], output_floats: tuple[int, ...]) -> Program:
        """The finished program."""
        found = sum(
            isinstance(node.operation, SelectTokens) and node.operation.length is not None
            for node in self.graph.nodes
        )
        return Program(tuple(self.steps), self.buffers, self.constants, input_floats, output_floats, found)


def zero_pattern(zero_byte: int) -> str:
    """The pattern of planes whose gaps hold a zero point; they share no memory with planes of other gaps."""
    return f"{AROUND}{zero_byte}" if zero_byte else ""


LoweringFunction = Callable[[Lowering, Node], None]
ReasonFunction = Callable[[Graph, Node], str | None]


MOST_AXES = 4


def axes(shape: tuple[int, ...], *strides: tuple[int, ...]) -> tuple[int, ...]:
    """Count and strides per axis, filled up to four axes; innermost where the target's elements lie side by side.

    Before it comes the axis along which the source's do so, if that is another one.

    >>> axes((3, 4), (1, 3), (4, 1))
    (1, 0, 0, 1, 0, 0, 3, 1, 4, 4, 3, 1)
    >>> axes((3, 4), (4, 1), (1, 3))
    (1, 0, 0, 1, 0, 0, 4, 1, 3, 3, 4, 1)
    """
    rows = sorted(zip(shape, *strides, strict=True), key=lambda row: (-row[-1], -row[1]))
    before = next((row for row in rows[:-1] if row[1] == 1 and row[0] > 1), None)
    if before is not None:
        rows.remove(before)
        rows.insert(len(rows) - 1, before)
    rows = [(1, *(0 for _ in strides))] * (MOST_AXES - len(shape)) + rows
    return tuple(number if isinstance(number, Count) else int(number) for row in rows for number in row)
