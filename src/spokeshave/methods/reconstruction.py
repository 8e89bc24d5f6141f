"""Layer-wise reconstruction: one-shot pruning that keeps each layer's outputs rather than its weights."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from spokeshave.criteria.criterion import required
from spokeshave.methods.constraints import Constraint, check_rankable, constraints_of
from spokeshave.methods.finish_only import FinishOnly
from spokeshave.methods.least_squares import reconstruct
from spokeshave.methods.moments import input_moments
from spokeshave.methods.session import open_session
from spokeshave.methods.statistics import refresh_batch_norm
from spokeshave.plan import Plan
from spokeshave.schemes.checks import check_count
from spokeshave.weights import layer_of


@dataclass(frozen=True)
class Reconstruction:
    """Prune in `finish`, refitting what is left to the layer's outputs on `passes` batches of `batches`.

    It serves linear layers, convolutions (grouped and transposed ones too) and recurrent layers; no labels are used.
    Where batch norms follow, their statistics are measured afresh.
    """

    batches: Iterable[tuple[Tensor, Tensor]]
    passes: int = 8

    def __post_init__(self) -> None:
        required(self.batches, self)
        check_count("Reconstruction", "passes", self.passes)


def reconstruct_layers(
    method: Reconstruction, network: nn.Module, constraints: tuple[Constraint, ...]
) -> None:
    """Replace every weight by the one of its scheme that changes the layer's outputs least."""
    check_rankable(constraints)
    batches = list(islice(method.batches, method.passes))  # they are needed twice, and may be a stream
    names = [constraint.name for constraint in constraints]
    moments = input_moments(network, names, batches, method.passes)
    with torch.no_grad():
        for constraint in constraints:
            weight = constraint.weight
            layer = network.get_submodule(layer_of(constraint.name))
            weight.copy_(reconstruct(weight.detach(), moments[constraint.name], constraint.scheme, layer))
    refresh_batch_norm(network, batches, method.passes)


@open_session.register
def _(method: Reconstruction, network: nn.Module, plan: Plan) -> FinishOnly:
    constraints = constraints_of(network, plan)
    return FinishOnly(constraints, partial(reconstruct_layers, method, network, constraints))
