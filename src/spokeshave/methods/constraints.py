"""The weights that a plan confines, with their schemes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError, check_kind, naming
from spokeshave.plan import Plan
from spokeshave.schemes.scheme import Scheme


@dataclass(frozen=True)
class Constraint:
    """One parameter of a network and the set that it must end in."""

    name: str
    weight: nn.Parameter
    scheme: Scheme

    def nearest(self, point: Tensor, saliency: Tensor | None = None) -> Tensor:
        """The point of the set nearest to `point`, by its saliency when that is given; errors name the weight."""
        with naming(self.name):
            return self.scheme.project(point, saliency)


def trainable_constraints(network: nn.Module, plan: Plan) -> tuple[Constraint, ...]:
    """The same for methods that train; raises SpokeshaveError for a weight that has no gradient, too."""
    found = constraints_of(network, plan)
    for constraint in found:
        if not constraint.weight.requires_grad:
            raise SpokeshaveError(
                f"{constraint.name} is frozen (requires_grad is False), so training cannot move it; "
                "leave it out of the plan or let it have a gradient"
            )
    return found


def constraints_of(network: nn.Module, plan: Plan) -> tuple[Constraint, ...]:
    """What `plan` says about `network`; raises SpokeshaveError when that is nothing at all, and for NaN."""
    parameters = dict(network.named_parameters())
    found = tuple(
        Constraint(name, parameters[name], scheme) for name, scheme in plan.resolve(network).items()
    )
    if not found:
        raise SpokeshaveError(
            "the plan leaves every weight of the network dense; give at least one layer a scheme"
        )
    _check_finite(found)
    return found


def check_rankable(constraints: tuple[Constraint, ...]) -> None:
    """Raise SpokeshaveError for a weight that is not finite, and for one of zeros of which some are to be removed.

    To be called where weights are chosen: of zeros none ranks above another. Levels hold zeros as they are.
    """
    _check_finite(constraints)
    for constraint in constraints:
        weight = constraint.weight.detach()
        if not weight.any() and not constraint.scheme.contains(torch.ones_like(weight)):
            raise SpokeshaveError(
                f"{constraint.name} is all zeros, so none of its weights ranks above another; "
                "load or train them before they are pruned, or leave the layer dense"
            )


def _check_finite(constraints: tuple[Constraint, ...]) -> None:
    for constraint in constraints:
        if not torch.isfinite(constraint.weight).all():
            raise SpokeshaveError(
                f"{constraint.name} holds infinite values or NaN; nothing can be ranked by it"
            )


@torch.no_grad()
def project_weights(
    constraints: tuple[Constraint, ...], saliencies: Mapping[str, Tensor] | None = None
) -> None:
    """Move every weight to the nearest point of its set, by its saliency where one is given.

    Raises SpokeshaveError, before any has moved, where weights say nothing (`check_rankable`).
    """
    check_rankable(constraints)
    for constraint in constraints:
        saliency = (saliencies or {}).get(constraint.name)
        constraint.weight.copy_(constraint.nearest(constraint.weight.detach(), saliency))


@torch.no_grad()
def round_weights(constraints: tuple[Constraint, ...]) -> None:
    """Move weights that were trained under a mask to the levels of their schemes; members stay as they are."""
    for constraint in constraints:
        constraint.weight.copy_(constraint.nearest(constraint.weight.detach()))


@torch.no_grad()
def distances(constraints: tuple[Constraint, ...]) -> dict[str, float]:
    """By weight: distance from its set relative to its norm (0 for a weight of zeros)."""
    return {
        constraint.name: relative_gap(constraint.weight, constraint.nearest(constraint.weight.detach()))
        for constraint in constraints
    }


def relative_gap(weight: Tensor, point: Tensor) -> float:
    """`||weight - point|| / ||weight||`.

    >>> round(relative_gap(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 4.0])), 4)
    0.6
    """
    norm = float(weight.norm())
    return float((weight - point).norm()) / norm if norm else 0.0


def zero_penalty(constraints: tuple[Constraint, ...]) -> Tensor:
    """The penalty of methods that have none, on the device of the weights."""
    return constraints[0].weight.new_zeros(())


def check_keys(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise SpokeshaveError unless both have the same names and shapes."""
    check_kind("the state to restore", state, Mapping, "what state() gave")
    if shapes_of(state) != shapes_of(expected):
        raise SpokeshaveError(
            "the state to restore belongs to another network, plan or method than this session's"
        )


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The shape of every tensor of a state, None for what is no tensor."""
    return {key: getattr(value, "shape", None) for key, value in state.items()}
