"""What flows into a layer: its inputs as the rows that its matrices meet, batch by batch."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from spokeshave.criteria.layer_matrices import input_columns, is_input_major
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

    for parameter in parameters:
        _check_parameter(parameter)
    with ExitStack() as handles:
        for name in dict.fromkeys(layer_of(parameter) for parameter in parameters):
            layer = network.get_submodule(name)
            _check_kind(name, layer)
            handle = layer.register_forward_pre_hook(partial(hook, name), with_kwargs=True)
            handles.callback(handle.remove)
        yield


def _check_kind(name: str, layer: nn.Module) -> None:
    known = isinstance(layer, _ConvNd | nn.Linear | nn.RNNBase | nn.RNNCellBase)
    if not known and not is_input_major(layer):
        raise SpokeshaveError(
            f"{name} is a {type(layer).__name__}; the inputs of linear layers, convolutions, "
            "and RNN, LSTM and GRU layers and cells can be measured"
        )


def _check_parameter(parameter: str) -> None:
    if parameter.rpartition(".")[2].startswith("weight_hr"):
        raise SpokeshaveError(
            f"{parameter} projects the state of an LSTM, whose inputs cannot be measured; "
            "leave it dense, or choose a criterion or method that needs no inputs"
        )
