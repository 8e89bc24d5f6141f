"""Training of binary networks that knows the randomness of superconducting columns (SupeRBNN, arXiv 2309.12212)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.methods.columns import Read, noisy, reading, rectified_bound
from spokeshave.methods.constraints import (
    Constraint,
    check_keys,
    distances,
    project_weights,
    trainable_constraints,
    zero_penalty,
)
from spokeshave.methods.session import open_session
from spokeshave.plan import Plan
from spokeshave.schemes.checks import is_number
from spokeshave.schemes.quantizers import Binary
from spokeshave.superconducting import Columns


@dataclass(frozen=True)
class RandomizedBinary:
    """Straight-through training in the scheme `Binary`, layers read by random columns; None trains without noise.

    Forward a layer gives the sum of its columns' streams, drawn anew every time; backward its expectation. Batch norms
    behind the layers so learn the statistics of what the device gives. After every step weights are clamped at the size
    below which the share `rectify` of them would lie were they Laplace-distributed (ReCU, ICCV 2021); 1 clamps none.
    """

    columns: Columns | None = None
    rectify: float = 0.95

    def __post_init__(self) -> None:
        check_kind("RandomizedBinary: columns", self.columns, (Columns, NoneType), "Columns(...) or None")
        if not is_number(self.rectify) or not 0.5 < self.rectify <= 1:
            raise SpokeshaveError(
                f"RandomizedBinary: rectify must be above 0.5 and at most 1, not {self.rectify!r}"
            )


class _Signed(nn.Module):
    """A row's mean size times signs forward, the identity backward."""

    def forward(self, weight: Tensor) -> Tensor:
        rows = weight.detach().flatten(1)
        size = rows.abs().mean(1).view(-1, *[1] * (weight.dim() - 1))
        return weight + (torch.where(weight >= 0, size, -size) - weight).detach()


class RandomizedBinarySession:
    """Signs for weights, and columns for the layers' forward passes, while training lasts."""

    def __init__(
        self, method: RandomizedBinary, network: nn.Module, constraints: tuple[Constraint, ...]
    ) -> None:
        self._method, self.constraints = method, constraints
        self._layers = [_layer_of(network, constraint) for constraint in constraints]
        for layer in self._layers:
            parametrize.register_parametrization(layer, "weight", _Signed())
        if method.columns is not None:
            read = noisy(method.columns)
            names = [constraint.name for constraint in constraints]
            replace_forwards(dict(zip(names, self._layers, strict=True)), read, method.columns.height)

    def penalty(self) -> Tensor:
        """Zero."""
        return zero_penalty(self.constraints)

    @torch.no_grad()
    def after_step(self) -> None:
        """Bring weights far out back."""
        if self._method.rectify < 1:
            for constraint in self.constraints:
                bound = rectified_bound(constraint.weight, self._method.rectify)
                constraint.weight.copy_(torch.minimum(torch.maximum(constraint.weight, -bound), bound))

    def after_epoch(self) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Leave binary weights, and layers that compute exact sums again (batch norms keep what they learned)."""
        for layer in self._layers:
            restore_forward(layer)
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        self._layers = []
        project_weights(self.constraints)

    def residuals(self) -> dict[str, float]:
        """By weight: how far the trained weight is from two levels, relative to its norm."""
        return distances(self.constraints)

    def state(self) -> dict[str, Tensor]:
        """Nothing: the weights themselves are the network's."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to put back."""
        check_keys(state, {})


def replace_forwards(layers: Mapping[str, nn.Module], read: Read, height: int) -> None:
    """Let layers compute through columns from now on."""
    forwards = {name: reading(layer, name, read, height) for name, layer in layers.items()}
    for name, layer in layers.items():
        replace_forward(layer, forwards[name])


def replace_forward(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
    """Let a module compute something else from now on; `restore_forward` undoes it."""
    module.__dict__["forward"] = forward


def restore_forward(module: nn.Module) -> None:
    """Let a module compute what its class says again."""
    module.__dict__.pop("forward", None)


def _layer_of(network: nn.Module, constraint: Constraint) -> nn.Module:
    if constraint.scheme != Binary():
        raise SpokeshaveError(
            f"{constraint.name}: RandomizedBinary trains the scheme Binary, not {constraint.scheme}"
        )
    return network.get_submodule(constraint.name.rpartition(".")[0])


@open_session.register
def _(method: RandomizedBinary, network: nn.Module, plan: Plan) -> RandomizedBinarySession:
    return RandomizedBinarySession(method, network, trainable_constraints(network, plan))
