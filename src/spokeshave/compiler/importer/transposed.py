"""Imports transposed convolutions, as ordinary ones whose outputs interleave.

A transposed convolution of stride s makes rows s * i + phase. Those of one phase are an ordinary convolution of
stride 1, by the rows of the kernel that meet the phase:

    row s*i + phase  =  sum over ky of  input row i + (phase + padding - ky * dilation) / s,   where that divides

All phases together are one convolution with s * s times as many outputs, over a window that holds the taps of all of
them: what a phase does not use is zero, and zeros cost nothing. So pruned weights keep their packed kernels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.maps import map_shape, over_both_axes, to_maps
from spokeshave.compiler.importer.operands import Flow, NotTypedError
from spokeshave.compiler.operations import Convolution, Interleave, Linear


@dataclass(frozen=True)
class Axis:
    """One spatial axis: `read` elements become `written`, by a kernel of `taps`."""

    read: int
    written: int
    taps: int
    stride: int
    padding: int
    dilation: int

    @property
    def rows(self) -> int:
        """What every phase makes, the last ones perhaps one too many."""
        return -(-self.written // self.stride)

    def shift(self, phase: int, tap: int) -> int | None:
        """How far behind its own row a phase reads a tap; None where it does not."""
        shift, rest = divmod(phase + self.padding - tap * self.dilation, self.stride)
        return None if rest else shift

    @property
    def window(self) -> tuple[int, int]:
        """The first and the last shift, such that neither end of the input needs to be cut off."""
        pairs = ((phase, tap) for phase in range(self.stride) for tap in range(self.taps))
        shifts = [shift for pair in pairs if (shift := self.shift(*pair)) is not None]
        return min(0, *shifts), max(self.read - self.rows, *shifts)

    @property
    def size(self) -> int:
        """Taps of the ordinary convolution."""
        first, last = self.window
        return last - first + 1


def transposed_convolution(context: Context, call: Call) -> Flow:
    """A 1-D or 2-D transposed convolution; the 1-D one becomes a 2-D one over maps of one row."""
    source, weight = call.flow("input"), call.weight("weight")
    spatial = weight.tensor.dim() - 2
    if spatial not in (1, 2):
        raise NotTypedError(f"{spatial}-D transposed convolutions have no kernel")
    read, written = map_shape(source.shape, spatial), map_shape(call.shape, spatial)
    kernel = weight.tensor.unsqueeze(2) if spatial == 1 else weight.tensor
    down, across = (
        Axis(read[2 + axis], written[2 + axis], kernel.shape[2 + axis], stride, padding, dilation)
        for axis, (stride, padding, dilation) in enumerate(_settings(call, spatial))
    )
    maps = to_maps(context, call, source, spatial)
    if read[2:] == (1, 1):
        return context.result(call, _from_one_position(context, call, kernel, maps, written))
    bias = call.weight_name("bias")
    groups, phases = call["groups"], down.stride * across.stride
    if bias is not None and phases > 1:
        shared = call.weight("bias").tensor.view(groups, 1, -1).expand(-1, phases, -1)
        bias = context.constant(f"{bias}.phases", shared.reshape(-1))
    below, beyond = (axis.rows - axis.read + axis.window[1] for axis in (down, across))
    operation = Convolution(
        context.constant(f"{weight.name}.phases", phase_kernels(kernel, groups, down, across)),
        bias,
        padding=(-down.window[0], -across.window[0], below, beyond),
        groups=groups,
    )
    made = context.add(call, operation, (maps,), (1, written[1] * phases, down.rows, across.rows))
    if phases > 1:
        made = context.add(call, Interleave(down.stride, across.stride, groups), (made,), written)
    return context.result(call, made)


def _settings(call: Call, spatial: int) -> tuple[tuple[int, int, int], ...]:
    """Stride, padding and dilation of each axis."""
    pairs = (("stride", 1), ("padding", 0), ("dilation", 1))
    return tuple(zip(*(over_both_axes(call[name], spatial, fill) for name, fill in pairs), strict=True))


def phase_kernels(kernel: Tensor, groups: int, down: Axis, across: Axis) -> Tensor:
    """The weight `[O * phases, C / groups, ...]` of the ordinary convolution from `[C, O / groups, ...]`.

    Its rows are group by group, then phase by phase, row of the phase first.
    """
    inputs, outputs = kernel.shape[0] // groups, kernel.shape[1]
    given = kernel.view(groups, inputs, *kernel.shape[1:]).transpose(1, 2)
    strides = (down.stride, across.stride)
    made = kernel.new_zeros(groups, *strides, outputs, inputs, down.size, across.size)
    for y, ky in ((y, ky) for y in range(down.stride) for ky in range(down.taps)):
        for x, kx in ((x, kx) for x in range(across.stride) for kx in range(across.taps)):
            shifts = down.shift(y, ky), across.shift(x, kx)
            if shifts[0] is not None and shifts[1] is not None:
                row, column = shifts[0] - down.window[0], shifts[1] - across.window[0]
                made[:, y, x, :, :, row, column] = given[..., ky, kx]
    return made.reshape(-1, inputs, down.size, across.size)


def _from_one_position(
    context: Context, call: Call, kernel: Tensor, maps: str, written: tuple[int, ...]
) -> str:
    """From a map of one position: a linear layer to all elements of the output."""
    channels, spatial = len(kernel), call.weight("weight").tensor.dim() - 2
    stride, padding, more, dilation = (
        over_both_axes(call[name], spatial, fill)
        for name, fill in (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1))
    )
    basis = torch.eye(channels, dtype=kernel.dtype).view(channels, channels, 1, 1)
    columns = F.conv_transpose2d(basis, kernel, None, stride, padding, more, call["groups"], dilation)
    matrix = context.constant(
        f"{call.weight('weight').name}.matrix", columns.reshape(channels, -1).t().contiguous()
    )
    bias = call.weight_name("bias")
    if bias is not None:
        repeated = call.weight("bias").tensor.repeat_interleave(written[2] * written[3])
        bias = context.constant(f"{bias}.repeated", repeated)
    row = context.reshaped(call, maps, (1, channels))
    made = context.add(call, Linear(matrix, bias), (row,), (1, len(columns[0].reshape(-1))))
    return context.reshaped(call, made, written)


OPERATORS: dict[str, ImportFunction] = dict.fromkeys(
    ("conv_transpose1d", "conv_transpose2d"), transposed_convolution
)
