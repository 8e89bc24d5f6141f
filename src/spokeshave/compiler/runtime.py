"""How the stages of a deployment run: compiled segments by one native call, everything else by PyTorch.

The path of a call is kept short, because a small pruned network takes no longer than a few dozen lines of Python.
"""

import ctypes
import mmap
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spokeshave.compiler.dynamic import Extent, at_lengths
from spokeshave.compiler.layout import FLOAT_BYTES
from spokeshave.compiler.manifest import ForeignStage, SegmentStage
from spokeshave.compiler.reference import run_operation
from spokeshave.errors import SpokeshaveError

ALIGNMENT_BYTES = 64
HUGE_PAGE_BYTES = 2 << 20  # of x86-64 and aarch64 with 4 KiB pages; a wrong size costs nothing but their use

Values = dict[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]


class _Memory(threading.local):
    """What one caller's thread needs to run a segment: arenas, and room for the pointers of inputs and outputs."""

    def __init__(self, stage: SegmentStage) -> None:
        self.arena_floats = stage.arena_floats
        self.reserve(1)
        self.inputs = (ctypes.c_void_p * (len(stage.inputs) + 1))()
        self.outputs = (ctypes.c_void_p * max(1, len(stage.outputs)))()

    def reserve(self, arenas: int) -> None:
        """Make room for some arenas; they begin as zeros, because kernels keep the gaps of feature maps zero."""
        self.arenas = arenas
        self.arena = aligned_memory(arenas * self.arena_floats * FLOAT_BYTES, zeros=True).view(torch.float32)
        self.address = ctypes.c_void_p(self.arena.data_ptr())


class SegmentRunner:
    """Runs a compiled segment; any thread may, each has an arena of its own."""

    def __init__(
        self,
        stage: SegmentStage,
        library: ctypes.CDLL,
        tensors: Mapping[str, Tensor],
        shapes: Mapping,
        extents: tuple[Extent, ...] = (),
    ) -> None:
        self._stage = stage
        self._function: Callable[..., int] = library[f"segment_{stage.index}"]
        self._tensors = [tensors[name] for name in stage.constants]  # kept alive for the pointers below
        addresses = [tensor.data_ptr() for tensor in self._tensors]
        self._constants = (ctypes.c_void_p * max(1, len(addresses)))(*addresses)
        self._outputs = [(name, tuple(shapes[name][1:])) for name in stage.outputs]
        self._extents = extents
        self._memory = _Memory(stage)

    def run(
        self,
        values: Values,
        samples: int,
        seconds: list[float] | None,
        threads: int,
        lengths: tuple[int, ...] = (),
    ) -> None:
        """Add the segment's outputs to `values`, and each step's time to `seconds` when that is given.

        `lengths` are the caller's, where they may change.
        """
        memory = self._memory
        groups = -(-samples // self._stage.together)
        if memory.arenas < threads <= groups:  # the library then shares out groups of samples
            memory.reserve(threads)
        read = [values[name].contiguous() for name in self._stage.inputs]
        for position, tensor in enumerate(read):
            memory.inputs[position] = tensor.data_ptr()
        given = (ctypes.c_int * len(lengths))(*lengths)
        memory.inputs[len(read)] = ctypes.addressof(given)
        for position, (name, most) in enumerate(self._outputs):
            shape = at_lengths(name, most, self._extents, lengths) if self._extents else most
            values[name] = made = torch.empty((samples, *shape))
            memory.outputs[position] = made.data_ptr()
        clock = None if seconds is None else (ctypes.c_double * len(self._stage.steps))()
        fault = self._function(
            self._constants,
            memory.address,
            memory.inputs,
            memory.outputs,
            ctypes.c_long(samples),
            clock,
            threads,
        )
        if fault:
            step = self._stage.steps[fault - 1]
            raise SpokeshaveError(f"an input holds a number that is no row of layer {step.layer!r}'s table")
        if seconds is not None and clock is not None:
            seconds.extend(clock)


@dataclass(frozen=True)
class ForeignRunner:
    """Runs one operation through PyTorch, one sample at a time, as it was recorded."""

    stage: ForeignStage
    tensors: Mapping[str, Tensor]
    shapes: Shapes

    def run(
        self,
        values: Values,
        samples: int,
        seconds: list[float] | None,
        threads: int,
        lengths: tuple[int, ...] = (),
    ) -> None:
        """Add the operation's outputs to `values`, and its time to `seconds` when that is given.

        The threads are PyTorch's own.
        """
        start = time.perf_counter()
        with torch.inference_mode():
            rows = [self._one(values, sample) for sample in range(samples)]
        for position, name in enumerate(self.stage.outputs):
            made = [row[position] for row in rows]
            values[name] = torch.cat(made) if made else torch.empty((0, *self.shapes[name][1:]))
        if seconds is not None:
            seconds.append(time.perf_counter() - start)

    def _one(self, values: Values, sample: int) -> list[Tensor]:
        read = {name: values[name][sample : sample + 1] for name in self.stage.inputs}
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
    boundary = HUGE_PAGE_BYTES if size >= HUGE_PAGE_BYTES else ALIGNMENT_BYTES
    memory = torch.from_numpy((np.zeros if zeros else np.empty)(size + boundary, np.uint8))
    start = -memory.data_ptr() % boundary
    memory = memory[start : start + size]
    if boundary == HUGE_PAGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        address = ctypes.c_void_p(memory.data_ptr())
        ctypes.CDLL(None).madvise(address, ctypes.c_size_t(size), mmap.MADV_HUGEPAGE)
    return memory
