"""One-shot pruning: one projection, no preparation."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from spokeshave.criteria import saliencies
from spokeshave.criteria.criterion import Batches
from spokeshave.criteria.ranks import mean_over_ranks
from spokeshave.methods.constraints import Constraint, check_rankable, constraints_of, project_weights
from spokeshave.methods.finish_only import FinishOnly
from spokeshave.methods.session import open_session
from spokeshave.plan import Plan


@dataclass(frozen=True)
class OneShot:
    """Project every weight in `finish`, keeping what a criterion of `spokeshave.criteria` finds salient.

    None is every scheme's own, the squared weight. Criteria that look at data are given `batches`, pairs (inputs,
    labels). All saliencies are found before the first weight changes.
    """

    criterion: Any = None
    batches: Batches | None = None


def project(method: OneShot, network: nn.Module, constraints: tuple[Constraint, ...]) -> None:
    """Project every weight."""
    check_rankable(constraints)
    names = [constraint.name for constraint in constraints]
    chosen = method.criterion is not None
    found = mean_over_ranks(saliencies(method.criterion, network, names, method.batches)) if chosen else None
    project_weights(constraints, found)


@open_session.register
def _(method: OneShot, network: nn.Module, plan: Plan) -> FinishOnly:
    constraints = constraints_of(network, plan)
    return FinishOnly(constraints, partial(project, method, network, constraints))
