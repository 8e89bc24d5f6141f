"""Runs operations on every element by itself."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from spokeshave.compiler.activation import activate
from spokeshave.compiler.operations import Activate, Affine, Binary, Convert, Where
from spokeshave.compiler.reference.runner import Runner, Weights, prefix

BINARIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "less": torch.lt,
    "less_equal": torch.le,
    "greater": torch.gt,
    "greater_equal": torch.ge,
}


def _binary(op: Binary, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    first, second = inputs[0], prefix(weights[op.constant], shape) if op.constant else inputs[1]
    if op.reverse:
        first, second = second, first
    result = BINARIES[op.kind](first, second)
    return activate(op.activation, result.float() if result.dtype == torch.bool else result)


def _affine(op: Affine, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    channels = (-1, *(1 for _ in shape[2:]))
    return activate(
        op.activation, inputs[0] * weights[op.scale].view(channels) + weights[op.shift].view(channels)
    )


def _convert(op: Convert, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    """Whole numbers, or whether they are 0, as float32."""
    return (inputs[0] != 0).float() if op.truth else inputs[0].float()


def _where(op: Where, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    """The operands that are no constants follow the condition."""
    given = iter(inputs[1:])
    yes = weights[op.yes] if op.yes else next(given)
    no = weights[op.no] if op.no else next(given)
    return torch.where(inputs[0] != 0, yes, no)


RUNNERS: Mapping[type, Runner] = {
    Activate: lambda op, inputs, weights, shape: activate(op.activation, inputs[0]),
    Binary: _binary,
    Affine: _affine,
    Convert: _convert,
    Where: _where,
}
