"""What flows into a layer: the second moments of its inputs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError


@torch.no_grad()
def input_moments(
    network: nn.Module, layers: Iterable[str], batches: Iterable[tuple[Tensor, Tensor]], passes: int
) -> dict[str, Tensor]:
    """By layer: `X X^T` `[K, K]` over the first `passes` batches, X the inputs that the layer's matrix meets.

    K counts (input channel, kernel row, kernel column) positions of a convolution, or features.
    Raises SpokeshaveError for layers of another kind.
    """
    training = network.training
    network.eval()
    with _recording(network, layers) as moments:
        for inputs, _ in islice(batches, passes):
            network(inputs)
    network.train(training)
    return moments


@contextmanager
def _recording(network: nn.Module, layers: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    moments: dict[str, Tensor] = {}

    def record(name: str, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        columns = input_columns(layer, inputs[0])
        moments[name] = moments.get(name, 0) + columns.T @ columns

    handles = []
    try:
        for name in layers:
            layer = network.get_submodule(name)
            _check_kind(name, layer)
            handles.append(layer.register_forward_pre_hook(lambda m, x, name=name: record(name, m, x)))
        yield moments
    finally:
        for handle in handles:
            handle.remove()


def input_columns(layer: nn.Module, inputs: Tensor) -> Tensor:
    """The inputs of a layer as `[positions, K]`: its output is these times its transposed matrix.

    >>> input_columns(nn.Conv2d(3, 8, 3, padding=1), torch.zeros(2, 3, 5, 5)).shape
    torch.Size([50, 27])
    """
    if not isinstance(layer, nn.Conv2d):
        return inputs.flatten(0, -2)
    padded = F.pad(inputs, layer._reversed_padding_repeated_twice)
    patches = F.unfold(padded, layer.kernel_size, layer.dilation, stride=layer.stride)
    return patches.transpose(1, 2).flatten(0, 1)


def _check_kind(name: str, layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros":
        return
    if not isinstance(layer, nn.Linear):
        raise SpokeshaveError(
            f"{name} is a {type(layer).__name__}; reconstruction knows linear layers and ungrouped, "
            "zero-padded 2-D convolutions"
        )
