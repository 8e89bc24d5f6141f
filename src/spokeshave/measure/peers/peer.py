"""What a peer is, and the check that it computes what PyTorch computes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Precision = Literal["fp32", "bf16", "int8"]

TOLERANCES: dict[Precision, float] = {"fp32": 1e-3, "bf16": 0.1, "int8": 0.5}
"""Largest accepted difference to eager float32 PyTorch, relative to the largest output.

The limits of bf16 and int8 only tell a network from a wrong one: what these formats cost in accuracy is for `evaluate`
to say, on data.
"""

Run = Callable[[], Any]
"""Runs the network on the sample and returns its outputs."""


@dataclass(frozen=True)
class Peer:
    """A way to run the same network on the same sample, ready and checked.

    `error` is the largest difference of its outputs to eager float32 PyTorch's, relative to the largest output.
    """

    name: str
    precision: Precision
    version: str
    run: Run
    error: float

    @property
    def label(self) -> str:
        """Name and precision, which no two peers of a run share."""
        return f"{self.name} {self.precision}"


@dataclass(frozen=True)
class Absent:
    """A peer that takes no part, and why."""

    name: str
    reason: str
    precision: Precision = "fp32"


@dataclass(frozen=True)
class Task:
    """What every peer has to run: a network in evaluation mode, one sample of its inputs, threads.

    `folder` is where conversions of the network lie, so that peers can share them.
    """

    network: nn.Module
    inputs: tuple[Tensor, ...]
    threads: int
    folder: Path


class PeerError(Exception):
    """A peer that cannot take part; the message says why."""


def relative_error(outputs: Any, expected: Any) -> float:
    """Largest difference of nested outputs, relative to the largest expected; infinite for other shapes.

    >>> relative_error([torch.tensor([1.0, 2.0])], {"logits": torch.tensor([1.0, 4.0])})
    0.5
    """
    found, wanted = _tensors(outputs), _tensors(expected)
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in wanted]:
        return float("inf")
    return max((_difference(*pair) for pair in zip(found, wanted, strict=True)), default=0.0)


def _tensors(outputs: Any) -> list[Tensor]:
    leaves = [leaf for leaf in tree_leaves(outputs) if leaf is not None]
    return [torch.as_tensor(leaf).double() for leaf in leaves]


def _difference(found: Tensor, wanted: Tensor) -> float:
    if not wanted.numel():
        return 0.0
    difference = float((found - wanted).abs().max()) / max(float(wanted.abs().max()), 1e-30)
    return difference if difference == difference else float("inf")
