"""Runs operators that have no typed operation, by name."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverloadPacket

from spokeshave.compiler.operations import Foreign
from spokeshave.compiler.reference.runner import Weights
from spokeshave.errors import SpokeshaveError

READ_FILES = frozenset({"from_file"})


def run_foreign(operation: Foreign, values: Mapping[str, Tensor], weights: Weights) -> list[Tensor]:
    """Run an ATen operator by name for one sample; results get the sample axis in front where they lack it.

    Raises SpokeshaveError for anything that is not an operator of `torch.ops.aten`, or that reads files.
    """
    overload = _overload(operation.target)
    positional, keywords = json.loads(operation.arguments)
    named = {key: _resolve(value, values, weights) for key, value in keywords.items()}
    result = overload(*(_resolve(entry, values, weights) for entry in positional), **named)
    results = [result] if isinstance(result, Tensor) else list(result)
    return [entry if entry.shape[:1] == (1,) else entry.unsqueeze(0) for entry in results]


def _overload(target: str) -> Callable[..., Any]:
    """The operator that a saved deployment names: its text is not trusted."""
    namespace, _, rest = target.partition(".")
    name, _, overload = rest.partition(".")
    allowed = namespace == "aten" and name.isidentifier() and name not in READ_FILES
    packet = getattr(torch.ops.aten, name, None) if allowed else None
    if not isinstance(packet, OpOverloadPacket) or overload not in packet.overloads():
        raise SpokeshaveError(f"this version of PyTorch has no operator {target}")
    function: Callable[..., Any] = getattr(packet, overload)
    return function


def _resolve(argument: Any, values: Mapping[str, Tensor], weights: Weights) -> Any:
    if isinstance(argument, list):
        return [_resolve(entry, values, weights) for entry in argument]
    if not isinstance(argument, dict):
        return argument
    if "value" in argument:
        value = values[argument["value"]]
        return value.squeeze(0) if argument.get("unbatched") else value
    ((kind, name),) = argument.items()
    if kind == "weight":
        return weights[name]
    return getattr(torch, name) if kind == "dtype" else torch.device(name)
