"""A layer as matrices: the rows that flow into it, and its weight as what they are multiplied by.

Most weights have a row for every output. Those of transposed convolutions and of transformers' `Conv1D` have a row for
every input channel; they are turned round here, and back.
"""

from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from spokeshave.schemes.scheme import as_matrix

PADDING = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def input_columns(layer: nn.Module, inputs: Tensor) -> Tensor:
    """The inputs of a layer as `[groups, positions, K]`: its output is these times its transposed `matrices_of`.

    >>> import torch
    >>> input_columns(nn.Conv2d(3, 8, 3, padding=1), torch.zeros(2, 3, 5, 5)).shape
    torch.Size([1, 50, 27])
    >>> input_columns(nn.ConvTranspose1d(6, 8, 3, stride=2, groups=2), torch.zeros(2, 6, 7)).shape
    torch.Size([2, 30, 9])
    """
    if not isinstance(layer, _ConvNd):
        return inputs.flatten(0, -2)[None]
    axes = len(layer.kernel_size)
    batched = inputs if inputs.dim() == axes + 2 else inputs[None]
    if isinstance(layer, _ConvTransposeNd):
        return _windows(layer, _spread(layer, batched), (1,) * axes)
    padded = F.pad(batched, layer._reversed_padding_repeated_twice, PADDING[layer.padding_mode])
    return _windows(layer, padded, layer.stride)


def matrices_of(layer: nn.Module, weight: Tensor) -> Tensor:
    """A weight of the layer as `[groups, outputs, K]`, K as in `input_columns`."""
    if isinstance(layer, _ConvTransposeNd):
        by_group = weight.unflatten(0, (layer.groups, -1)).transpose(1, 2)
        return by_group.flip(_kernel_axes(layer)).flatten(2)
    if is_input_major(layer):
        return weight.T[None]
    return as_matrix(weight).unflatten(0, (groups_of(layer), -1))


def weight_of(layer: nn.Module, matrices: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The weight of that shape which has these matrices."""
    if isinstance(layer, _ConvTransposeNd):
        by_group = matrices.unflatten(2, (-1, *layer.kernel_size)).flip(_kernel_axes(layer))
        return by_group.transpose(1, 2).reshape(shape).contiguous()
    if is_input_major(layer):
        return matrices[0].T.contiguous()
    return matrices.reshape(shape)


def groups_of(layer: nn.Module) -> int:
    """How many matrices a weight of the layer is."""
    return layer.groups if isinstance(layer, _ConvNd) else 1


def is_input_major(layer: nn.Module) -> bool:
    """Whether the layer is the `Conv1D` of transformers' GPT-2: a linear layer whose weight is `[inputs, outputs]`."""
    return type(layer).__name__ == "Conv1D" and isinstance(getattr(layer, "weight", None), Tensor)


def _kernel_axes(layer: _ConvTransposeNd) -> list[int]:
    return list(range(3, 3 + len(layer.kernel_size)))


def _spread(layer: _ConvTransposeNd, batched: Tensor) -> Tensor:
    """The inputs a stride apart with zeros between and around: what an ordinary convolution reads instead."""
    strides, cuts = layer.stride, cast(tuple[int, ...], layer.padding)
    sizes = [(size - 1) * step + 1 for size, step in zip(batched.shape[2:], strides, strict=True)]
    spread = batched.new_zeros(*batched.shape[:2], *sizes)
    spread[(slice(None), slice(None), *(slice(None, None, step) for step in strides))] = batched
    edges: list[int] = []
    for kernel, dilation, cut, more in zip(
        layer.kernel_size, layer.dilation, cuts, layer.output_padding, strict=True
    ):
        around = dilation * (kernel - 1) - cut
        edges = [around, around + more, *edges]  # the last axis first
    return F.pad(spread, edges)


def _windows(layer: _ConvNd, padded: Tensor, strides: tuple[int, ...]) -> Tensor:
    """What a kernel sees at each of its places, `[groups, places of all samples, channels x kernel]`."""
    axes, windows = len(strides), padded
    for axis, (size, stride, dilation) in enumerate(
        zip(layer.kernel_size, strides, layer.dilation, strict=True), 2
    ):
        windows = windows.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    windows = windows.unflatten(1, (layer.groups, -1)).movedim(1, 0)  # [groups, N, channels, places, kernel]
    order: list[Any] = [0, 1, *range(3, 3 + axes), 2, *range(3 + axes, 3 + 2 * axes)]
    return windows.permute(order).flatten(2 + axes).flatten(1, 1 + axes)
