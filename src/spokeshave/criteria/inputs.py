"""What flows into a layer: its inputs as the rows that its matrix meets, batch by batch."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.export import evaluating

Receive = Callable[[str, Tensor], None]


@torch.no_grad()
def stream_inputs(
    network: nn.Module,
    layers: Iterable[str],
    batches: Iterable[tuple[Tensor, Tensor]],
    passes: int | None,
    receive: Receive,
) -> None:
    """Run the network in evaluation mode on the first `passes` batches (all for None); nothing is kept.

    `receive` is given a layer's name and the rows `[positions, K]` of every call of it, K counting (input channel,
    kernel row, kernel column) positions of a convolution, or features. Raises SpokeshaveError for layers of another
    kind, and when there is no batch.
    """
    seen = False
    with evaluating(network), _receiving(network, layers, receive):
        for inputs, _ in islice(batches, passes):
            network(inputs)
            seen = True
    if not seen:
        raise SpokeshaveError("there is not one batch of calibration data")


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


@contextmanager
def _receiving(network: nn.Module, layers: Iterable[str], receive: Receive) -> Iterator[None]:
    def hook(name: str, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        receive(name, input_columns(layer, inputs[0]))

    with ExitStack() as handles:
        for name in layers:
            layer = network.get_submodule(name)
            _check_kind(name, layer)
            handles.callback(layer.register_forward_pre_hook(partial(hook, name)).remove)
        yield


def _check_kind(name: str, layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros":
        return
    if not isinstance(layer, nn.Linear):
        raise SpokeshaveError(
            f"{name} is a {type(layer).__name__}; the inputs of linear layers and of ungrouped, zero-padded 2-D "
            "convolutions can be measured"
        )
