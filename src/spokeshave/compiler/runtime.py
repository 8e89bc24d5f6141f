"""How the stages of a deployment run: compiled segments by one native call, everything else by PyTorch.

The path of a call is kept short, because a small pruned network takes no longer than a few dozen lines of Python.
"""

import ctypes
import mmap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, empty_like

from spokeshave.compiler.dynamic import Extent, at_lengths, extents_of
from spokeshave.compiler.layout import FLOAT_BYTES
from spokeshave.compiler.manifest import ForeignStage, SegmentStage
from spokeshave.compiler.reference import run_operation
from spokeshave.errors import SpokeshaveError

ALIGNMENT_BYTES = 64
HUGE_PAGE_BYTES = 2 << 20  # of x86-64 and aarch64 with 4 KiB pages; a wrong size costs nothing but their use
REMEMBERED = 256  # calls of different sizes

Values = list[Tensor]
Places = Mapping[str, int]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Sizes:
    """How large the values of a call are: its samples, and the caller's lengths where they may change."""

    samples: int
    lengths: tuple[int, ...] = ()


class _Memory:
    """What one thread needs to run a segment: arenas, and the arguments of the call, made for some sizes and threads.

    They are made ahead, and as ctypes passes them on, because to convert them takes longer than to call.
    """

    def __init__(self, stage: SegmentStage, constants: ctypes.Array[ctypes.c_void_p], lengths: int) -> None:
        self._stage, self._constants = stage, constants
        self._lengths = (ctypes.c_int * lengths)()
        self.inputs = (ctypes.c_void_p * (len(stage.inputs) + 1))()
        self.inputs[len(stage.inputs)] = ctypes.addressof(self._lengths)
        self.outputs = (ctypes.c_void_p * max(1, len(stage.outputs)))()
        self.sizes: Sizes | None = None
        self._reserve(1)

    def fit(self, sizes: Sizes, threads: int, like: tuple[Tensor, ...]) -> None:
        """Make ready for calls of these sizes, on so many threads, with outputs like those given."""
        if self._arenas < threads <= -(-sizes.samples // self._stage.together):
            self._reserve(threads)  # the library then shares out groups of samples
        self._lengths[:] = list(sizes.lengths)
        self.sizes, self.threads, self.like = sizes, threads, like
        self.arguments = self.timed_by(None)

    def timed_by(self, clock: ctypes.Array[ctypes.c_double] | None) -> tuple[Any, ...]:
        """The arguments of a call that adds each step's time to a clock, if there is one."""
        assert self.sizes is not None
        return (
            *(ctypes.byref(self._constants), ctypes.c_void_p.from_param(self._arena.data_ptr())),
            *(ctypes.byref(self.inputs), ctypes.byref(self.outputs)),
            *(ctypes.c_long.from_param(self.sizes.samples), clock, ctypes.c_int.from_param(self.threads)),
        )

    def _reserve(self, arenas: int) -> None:
        """Make room for some arenas; they begin as zeros, because kernels keep the gaps of feature maps zero."""
        self._arena = aligned_memory(arenas * self._stage.arena_floats * FLOAT_BYTES, zeros=True)
        self._arenas = arenas


class _Memories(threading.local):
    """The memory of the thread that asks; to look that up once takes less than to keep each of its parts here."""

    def __init__(self, stage: SegmentStage, constants: ctypes.Array[ctypes.c_void_p], lengths: int) -> None:
        self.own = _Memory(stage, constants, lengths)


class SegmentRunner:
    """Runs a compiled segment; any thread may, each has an arena of its own."""

    def __init__(
        self,
        stage: SegmentStage,
        library: ctypes.CDLL,
        tensors: Mapping[str, Tensor],
        shapes: Shapes,
        places: Places,
        extents: tuple[Extent, ...] = (),
        lengths: int = 0,
    ) -> None:
        self._inputs = tuple(enumerate(places[name] for name in stage.inputs))
        self._steps = stage.steps
        self._function: Callable[..., int] = library[f"segment_{stage.index}"]
        self._tensors = [tensors[name] for name in stage.constants]  # kept alive for the pointers below
        addresses = [tensor.data_ptr() for tensor in self._tensors]
        constants = (ctypes.c_void_p * max(1, len(addresses)))(*addresses)
        self._like = _remembered_outputs([(name, shapes[name]) for name in stage.outputs], extents)
        self._memories = _Memories(stage, constants, lengths)

    def run(self, values: Values, sizes: Sizes, seconds: list[float] | None, threads: int) -> None:
        """Add the segment's outputs to `values`, and each step's time to `seconds` when that is given."""
        memory = self._memories.own
        if memory.sizes is not sizes or memory.threads != threads:
            memory.fit(sizes, threads, self._like(sizes.samples, sizes.lengths))
        copies = []  # of inputs whose elements do not lie in order, kept until they have been read
        for position, place in self._inputs:
            tensor = values[place]
            if not tensor.is_contiguous():
                tensor = tensor.contiguous()
                copies.append(tensor)
            memory.inputs[position] = tensor.data_ptr()
        for position, like in enumerate(memory.like):
            made = empty_like(like)
            memory.outputs[position] = made.data_ptr()
            values.append(made)
        if seconds is None:
            fault = self._function(*memory.arguments)
        else:
            clock = (ctypes.c_double * len(self._steps))()
            fault = self._function(*memory.timed_by(clock))
            seconds.extend(clock)
        if fault:
            layer = self._steps[fault - 1].layer
            raise SpokeshaveError(f"an input holds a number that is no row of layer {layer!r}'s table")


def _remembered_outputs(
    values: Sequence[tuple[str, tuple[int, ...]]], extents: tuple[Extent, ...]
) -> Callable[[int, tuple[int, ...]], tuple[Tensor, ...]]:
    """Tensors of named values' shapes, by the number of samples and the caller's lengths; the last are remembered.

    Their one element lies everywhere: outputs are made like them, in less time than from their shapes, and of the
    same kind whatever the caller's defaults.
    """

    each = [(name, shape[1:], extents_of(name, extents)) for name, shape in values]

    @lru_cache(maxsize=REMEMBERED)
    def outputs(samples: int, lengths: tuple[int, ...]) -> tuple[Tensor, ...]:
        element = torch.empty((), dtype=torch.float32, device="cpu")
        shapes = [at_lengths(name, sample, own, lengths) for name, sample, own in each]
        return tuple(_like(element, (samples, *shape)) for shape in shapes)

    return outputs


def _like(element: Tensor, shape: tuple[int, ...]) -> Tensor:
    """One element everywhere; what has a single element keeps the strides of a tensor of its own."""
    return element.reshape(shape) if prod(shape) == 1 else element.expand(shape)


@dataclass(frozen=True)
class ForeignRunner:
    """Runs one operation through PyTorch, one sample at a time, as it was recorded."""

    stage: ForeignStage
    tensors: Mapping[str, Tensor]
    shapes: Shapes
    places: Places

    def run(self, values: Values, sizes: Sizes, seconds: list[float] | None, threads: int) -> None:
        """Add the operation's outputs to `values`, and its time to `seconds` when that is given.

        The threads are PyTorch's own.
        """
        start = time.perf_counter()
        with torch.inference_mode():
            rows = [self._one(values, sample) for sample in range(sizes.samples)]
        for position, name in enumerate(self.stage.outputs):
            made = [row[position] for row in rows]
            values.append(torch.cat(made) if made else torch.empty((0, *self.shapes[name][1:])))
        if seconds is not None:
            seconds.append(time.perf_counter() - start)

    def _one(self, values: Values, sample: int) -> list[Tensor]:
        read = {name: values[self.places[name]][sample : sample + 1] for name in self.stage.inputs}
        shape = self.shapes[self.stage.outputs[0]]
        try:
            return run_operation(self.stage.operation, list(read.values()), self.tensors, shape, read)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise SpokeshaveError(
                f"layer {self.stage.layer!r} ({self.stage.target}) failed: {reason}"
            ) from error


def aligned(tensor: Tensor) -> Tensor:
    """The tensor itself if it is contiguous and starts at a cache line, else a copy that is so."""
    if tensor.is_contiguous() and tensor.data_ptr() % ALIGNMENT_BYTES == 0:
        return tensor
    memory = aligned_memory(tensor.numel() * tensor.element_size())
    return memory.view(tensor.dtype).view(tensor.shape).copy_(tensor)


def aligned_memory(size: int, zeros: bool = False) -> Tensor:
    """Bytes that start at a cache line; from the size of a huge page on at one, and on huge pages where there are any.

    Weights that stream from memory, and planes that each lie on another page, outrun the addresses a processor keeps.
    With `zeros` they are zeros, as the operating system gives them: what is never used takes no memory.
    """
    if size >= HUGE_PAGE_BYTES:
        return _on_huge_pages(size)
    memory = torch.from_numpy((np.zeros if zeros else np.empty)(size + ALIGNMENT_BYTES, np.uint8))
    start = -memory.data_ptr() % ALIGNMENT_BYTES
    return memory[start : start + size]


def _on_huge_pages(size: int) -> Tensor:
    """Zeros from the operating system, which has them back with the last tensor; a heap may keep what is freed.

    What does not fill a huge page at the end lies on small ones, so that no more than `size` becomes resident.
    """
    room = mmap.mmap(-1, size + HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory = torch.frombuffer(room, dtype=torch.uint8)
    start = -memory.data_ptr() % HUGE_PAGE_BYTES
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel may be without them
            room.madvise(mmap.MADV_HUGEPAGE, start, size - size % HUGE_PAGE_BYTES)
    return memory[start : start + size]
