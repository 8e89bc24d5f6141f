"""What flows into the matrices of recurrent layers: the steps, and the states before them."""

from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError

PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


def recurrent_inputs(layer: nn.RNNBase, steps: Any, state: Any = None) -> dict[str, Tensor]:
    """By parameter of an RNN, LSTM or GRU: the rows `[1, steps, K]` that its matrix meets.

    Every layer and direction runs alone, so that its states come to light. The projection of an LSTM (`weight_hr`) is
    left out.
    """
    if not isinstance(steps, Tensor):
        raise SpokeshaveError(
            "the inputs of a recurrent layer are measured on tensors, not on packed sequences"
        )
    along = steps if steps.dim() == 3 else steps[:, None]
    along = along.transpose(0, 1) if layer.batch_first and steps.dim() == 3 else along  # [T, N, features]
    directions = ("", "_reverse") if layer.bidirectional else ("",)
    first = _first_states(layer, state, along.shape[1], len(directions))
    rows: dict[str, Tensor] = {}
    for number in range(layer.num_layers):
        outputs = []
        for place, direction in enumerate(directions, len(directions) * number):
            suffix = f"_l{number}{direction}"
            read = along.flip(0) if direction else along
            states = _run_alone(layer, suffix, read, tuple(part[place : place + 1] for part in first))
            rows[f"weight_ih{suffix}"] = read.flatten(0, 1)[None]
            rows[f"weight_hh{suffix}"] = states[:-1].flatten(0, 1)[None]
            outputs.append(states[1:].flip(0) if direction else states[1:])
        along = torch.cat(outputs, -1)
    return rows


def cell_inputs(layer: nn.RNNCellBase, step: Tensor, state: Any = None) -> dict[str, Tensor]:
    """The same for one step of a cell, `[N, features]` or `[features]`."""
    before = state[0] if isinstance(state, tuple | list) else state
    if before is None:
        before = step.new_zeros(*step.shape[:-1], layer.hidden_size)
    return {"weight_ih": step.view(1, -1, step.shape[-1]), "weight_hh": before.view(1, -1, before.shape[-1])}


def _first_states(layer: nn.RNNBase, state: Any, samples: int, directions: int) -> tuple[Tensor, ...]:
    """States before the first step, `[layers * directions, N, width]` each: one, or the two of an LSTM."""
    widths = (layer.proj_size or layer.hidden_size, layer.hidden_size)
    weight = next(layer.parameters())
    if state is None:
        count = layer.num_layers * directions
        found = [weight.new_zeros(count, samples, width) for width in widths]
    else:
        given = state if isinstance(state, tuple | list) else (state,)
        found = [part if part.dim() == 3 else part[:, None] for part in given]
    return tuple(found[: 2 if isinstance(layer, nn.LSTM) else 1])


def _run_alone(layer: nn.RNNBase, suffix: str, steps: Tensor, first: tuple[Tensor, ...]) -> Tensor:
    """States before and behind every step `[T + 1, N, width]` of one layer in one direction."""
    more: dict[str, Any] = {"proj_size": layer.proj_size} if layer.proj_size else {}
    if isinstance(layer, nn.RNN):
        more["nonlinearity"] = layer.nonlinearity
    kind: Any = type(layer)
    alone = kind(steps.shape[-1], layer.hidden_size, bias=layer.bias, device="meta", **more)
    for part in PARTS:
        if hasattr(layer, part + suffix):
            setattr(alone, f"{part}_l0", getattr(layer, part + suffix))
    states, _ = alone.eval()(steps, first if isinstance(layer, nn.LSTM) else first[0])
    return torch.cat((first[0], states))
