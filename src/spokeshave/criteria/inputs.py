"""What flows into a layer: its inputs as the rows that its matrices meet, batch by batch."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from spokeshave.criteria.recurrent_inputs import cell_inputs, recurrent_inputs
from spokeshave.data.batch_forms import parted, run_on
from spokeshave.errors import SpokeshaveError
from spokeshave.export import evaluating
from spokeshave.weights import layer_of

Receive = Callable[[str, Tensor], None]


@torch.no_grad()
def stream_inputs(
    network: nn.Module,
    parameters: Iterable[str],
    batches: Iterable[Any],
    passes: int | None,
    receive: Receive,
) -> None:
    """Run the network in evaluation mode on the first `passes` batches (all for None); nothing is kept.

    `receive` is given a parameter's name and the rows `[groups, positions, K]` that its matrix meets in every call of
    its layer: K counts features, or (input channel, kernel position) of a convolution, each group of which has rows
    of its own; a recurrent layer's matrices meet its steps and its states. Raises SpokeshaveError for layers of
    another kind, for layers that no batch reaches, and when there is no batch.
    """
    missing, seen = dict.fromkeys(parameters), False

    def received(name: str, rows: Tensor) -> None:
        missing.pop(name, None)
        receive(name, rows)

    with evaluating(network), _receiving(network, list(missing), received):
        for batch in islice(batches, passes):
            run_on(network, parted(batch)[0])
            seen = True
    if not seen:
        raise SpokeshaveError("there is not one batch of calibration data")
    for name in missing:
        raise SpokeshaveError(f"nothing flows through the layer of {name}, so its inputs cannot be measured")


def input_columns(layer: nn.Module, inputs: Tensor) -> Tensor:
    """The inputs of a layer as `[groups, positions, K]`: its output is these times its groups' transposed matrices.

    >>> input_columns(nn.Conv2d(3, 8, 3, padding=1), torch.zeros(2, 3, 5, 5)).shape
    torch.Size([1, 50, 27])
    >>> input_columns(nn.Conv1d(6, 8, 3, groups=2), torch.zeros(2, 6, 7)).shape
    torch.Size([2, 10, 9])
    """
    if not isinstance(layer, _ConvNd):
        return inputs.flatten(0, -2)[None]
    axes = len(layer.kernel_size)
    batched = inputs if inputs.dim() == axes + 2 else inputs[None]
    windows = F.pad(batched, layer._reversed_padding_repeated_twice, _PADDING[layer.padding_mode])
    for axis, (size, stride, dilation) in enumerate(
        zip(layer.kernel_size, layer.stride, layer.dilation, strict=True), 2
    ):
        windows = windows.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    places = range(2, 2 + axes)
    windows = windows.unflatten(1, (layer.groups, -1)).movedim(1, 0)  # [groups, N, channels, places, kernel]
    ordered = windows.permute(0, 1, *(place + 1 for place in places), 2, *range(3 + axes, 3 + 2 * axes))
    return ordered.flatten(2 + axes).flatten(1, 1 + axes)


_PADDING = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def _rows(layer: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Tensor]:
    """By parameter of a layer: the rows that it meets."""
    given = (*inputs, *named.values())
    if isinstance(layer, nn.RNNBase):
        return recurrent_inputs(layer, *given)
    if isinstance(layer, nn.RNNCellBase):
        return cell_inputs(layer, *given)
    return {"weight": input_columns(layer, given[0])}


@contextmanager
def _receiving(network: nn.Module, parameters: list[str], receive: Receive) -> Iterator[None]:
    def hook(layer_name: str, layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        rows = _rows(layer, inputs, named)
        for name in parameters:
            if layer_of(name) == layer_name and (found := rows.get(name.rpartition(".")[2])) is not None:
                receive(name, found)

    with ExitStack() as handles:
        for name in dict.fromkeys(layer_of(parameter) for parameter in parameters):
            layer = network.get_submodule(name)
            _check_kind(name, layer)
            handle = layer.register_forward_pre_hook(partial(hook, name), with_kwargs=True)
            handles.callback(handle.remove)
        yield


def _check_kind(name: str, layer: nn.Module) -> None:
    convolution = isinstance(layer, _ConvNd) and not isinstance(layer, _ConvTransposeNd)
    if not convolution and not isinstance(layer, nn.Linear | nn.RNNBase | nn.RNNCellBase):
        raise SpokeshaveError(
            f"{name} is a {type(layer).__name__}; the inputs of linear layers, convolutions (not transposed ones), "
            "and RNN, LSTM and GRU layers and cells can be measured"
        )
