"""The nearest weight of a scheme as a layer's outputs see it: ADMM on one layer's least squares.

    minimise ||(W - W0) X||^2  with W in the scheme,  given only the second moments X X^T

Every step has a closed form, so no training is needed (Boza, arXiv 2401.02938, for unstructured sparsity).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spokeshave.criteria.layer_matrices import matrices_of, weight_of
from spokeshave.schemes.intersection import removing_part
from spokeshave.schemes.scheme import Scheme

RHO, RHO_GROWTH, STAGES = 0.1, 2.0, 6
ITERATIONS, ITERATIONS_ON_LEVELS = 5, 1  # of each stage; projections onto levels are searches and take long
DAMPING = 0.01  # of the mean second moment: keeps inputs that are always 0 harmless
LINEAR = nn.Linear(1, 1, device="meta")


@dataclass(frozen=True)
class _Members:
    """The weights of a scheme, seen as the matrices `[groups, rows, K]` that a layer's inputs meet."""

    scheme: Scheme
    layer: nn.Module
    shape: tuple[int, ...]

    def nearest(self, matrices: Tensor) -> Tensor:
        return matrices_of(self.layer, self.scheme.project(self.weight(matrices)))

    def hold(self, matrices: Tensor) -> bool:
        return self.scheme.contains(self.weight(matrices))

    def weight(self, matrices: Tensor) -> Tensor:
        return weight_of(self.layer, matrices, self.shape)


@torch.no_grad()
def reconstruct(weight: Tensor, moments: Tensor, scheme: Scheme, layer: nn.Module = LINEAR) -> Tensor:
    """The weight of the scheme whose outputs are near those of `weight`, a weight of `layer`.

    `moments` is `X X^T`, `[groups, K, K]`: as many rows of the matrix meet the inputs of each group. Columns are scaled
    by the size of their inputs first, so that the projection ranks by what reaches outputs; not so for schemes that
    prescribe values, whose levels would not stay levels. Where some parts of an intersection only remove weights, what
    these leave is fitted first and then brought to its levels.
    """
    size = moments.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    damped = moments + DAMPING * size * torch.eye(moments.shape[-1])
    members, wanted = _Members(scheme, layer, tuple(weight.shape)), matrices_of(layer, weight)
    if not _prescribe_values(members, wanted) and members.hold(pruned := _pruned(wanted, damped, members)):
        return members.weight(pruned)
    found = _with_levels(wanted, damped / size, members)
    if (removing := removing_part(scheme)) is not None:
        found.append(members.nearest(matrices_of(layer, reconstruct(weight, moments, removing, layer))))
    return members.weight(min(found, key=lambda point: _lost(point - wanted, damped)))


def _prescribe_values(members: _Members, wanted: Tensor) -> bool:
    """Whether a member is none with its columns scaled: what only removes weights does not mind."""
    return not members.hold(members.nearest(wanted) * torch.linspace(1, 1.5, wanted.shape[-1]))


def _pruned(weight: Tensor, damped: Tensor, members: _Members) -> Tensor:
    """What the scheme leaves of the weight, refitted freely."""
    scale = damped.diagonal(dim1=1, dim2=2).sqrt()[:, None]
    correlations = damped / scale.transpose(1, 2) / scale
    wanted = weight * scale
    nearest = _alternate(wanted, correlations, members)
    fitted = [_refit(*group) for group in zip(nearest != 0, wanted @ correlations, correlations, strict=True)]
    return torch.stack(fitted) / scale


def _with_levels(wanted: Tensor, correlations: Tensor, members: _Members) -> list[Tensor]:
    """The point that ADMM ends in and the nearest one: a hard problem, so either may be the better."""
    return [_alternate(wanted, correlations, members, ITERATIONS_ON_LEVELS), members.nearest(wanted)]


def _lost(change: Tensor, moments: Tensor) -> float:
    """What a change of the weight does to the outputs, squared."""
    return float(((change @ moments) * change).sum())


def _alternate(
    wanted: Tensor, correlations: Tensor, members: _Members, iterations: int = ITERATIONS
) -> Tensor:
    """W, Z and U steps on `||(W - wanted) X||^2`, `[groups, rows, K]`; returns Z."""
    target, identity = wanted @ correlations, torch.eye(correlations.shape[-1])
    nearest = members.nearest(wanted)
    multipliers = torch.zeros_like(wanted)
    for stage in range(STAGES):
        rho = RHO * RHO_GROWTH**stage
        inverse = torch.linalg.inv(correlations + rho * identity)
        multipliers /= RHO_GROWTH if stage else 1
        for _ in range(iterations):
            free = (target + rho * (nearest - multipliers)) @ inverse
            nearest = members.nearest(free + multipliers)
            multipliers += free - nearest
    return nearest


def _refit(support: Tensor, target: Tensor, correlations: Tensor) -> Tensor:
    """Least squares on the support: rows that share their columns are solved together."""
    fitted = torch.zeros_like(target)
    patterns, group = support.unique(dim=0, return_inverse=True)
    for index, pattern in enumerate(patterns):
        columns, rows = pattern.nonzero()[:, 0], (group == index).nonzero()
        inner = correlations[columns][:, columns]
        fitted[rows, columns] = torch.linalg.solve(inner, target[rows, columns].T).T
    return fitted
