"""What a peer is, and the check that it computes what PyTorch computes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

TOLERANCE = 1e-3
"""Largest accepted difference to eager PyTorch, relative to the largest output: half formats leave 1e-2."""

Run = Callable[[], Any]
"""Runs the network on the sample and returns its outputs."""


@dataclass(frozen=True)
class Peer:
    """A way to run the same network on the same sample, ready and checked."""

    name: str
    precision: str
    version: str
    run: Run


@dataclass(frozen=True)
class Absent:
    """A peer that takes no part, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Task:
    """What every peer has to run: a network in evaluation mode, one sample of its inputs, threads."""

    network: nn.Module
    inputs: tuple[Tensor, ...]
    threads: int


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
