"""The nearest weight of a scheme as a layer's outputs see it: ADMM on one layer's least squares.

    minimise ||(W - W0) X||^2  with W in the scheme,  given only the second moments X X^T

Every step has a closed form, so no training is needed (Boza, arXiv 2401.02938, for unstructured sparsity).
"""

import torch
from torch import Tensor

from spokeshave.schemes.scheme import Scheme, as_matrix

RHO, RHO_GROWTH, STAGES = 0.1, 2.0, 6
ITERATIONS, ITERATIONS_ON_LEVELS = 5, 1  # of each stage; projections onto levels are searches and take long
DAMPING = 0.01  # of the mean second moment: keeps inputs that are always 0 harmless


@torch.no_grad()
def reconstruct(weight: Tensor, moments: Tensor, scheme: Scheme) -> Tensor:
    """The weight of the scheme whose outputs are near those of `weight`.

    `moments` is `X X^T`, `[groups, K, K]`: as many rows of the matrix meet the inputs of each group. Columns are scaled
    by the size of their inputs first, so that the projection ranks by what reaches outputs; not so for schemes that
    prescribe values, whose levels would not stay levels.
    """
    size = moments.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    damped = moments + DAMPING * size * torch.eye(moments.shape[-1])
    if not _prescribes_values(scheme, weight) and scheme.contains(pruned := _pruned(weight, damped, scheme)):
        return pruned
    return _with_levels(weight, damped / size, scheme)


def _prescribes_values(scheme: Scheme, weight: Tensor) -> bool:
    """Whether a member is none with its columns scaled: what only removes weights does not mind."""
    member = scheme.project(weight)
    factors = torch.linspace(1, 1.5, as_matrix(member).shape[1])
    return not scheme.contains((as_matrix(member) * factors).reshape(weight.shape))


def _pruned(weight: Tensor, damped: Tensor, scheme: Scheme) -> Tensor:
    """What the scheme leaves of the weight, refitted freely."""
    scale = damped.diagonal(dim1=1, dim2=2).sqrt()[:, None]
    correlations = damped / scale.transpose(1, 2) / scale
    wanted = as_matrix(weight).unflatten(0, (len(damped), -1)) * scale
    nearest = _alternate(wanted, correlations, scheme, weight.shape)
    fitted = [_refit(*group) for group in zip(nearest != 0, wanted @ correlations, correlations, strict=True)]
    return (torch.stack(fitted) / scale).reshape(weight.shape)


def _with_levels(weight: Tensor, correlations: Tensor, scheme: Scheme) -> Tensor:
    """The better of the point that ADMM ends in and of the nearest one: a hard problem, so either may be."""
    wanted = as_matrix(weight).unflatten(0, (len(correlations), -1))
    alternated = _alternate(wanted, correlations, scheme, weight.shape, ITERATIONS_ON_LEVELS)
    found = [alternated, _project(scheme, wanted, weight.shape)]
    lost = [float((((point - wanted) @ correlations) * (point - wanted)).sum()) for point in found]
    return found[lost.index(min(lost))].reshape(weight.shape)


def _alternate(
    wanted: Tensor, correlations: Tensor, scheme: Scheme, shape: torch.Size, iterations: int = ITERATIONS
) -> Tensor:
    """W, Z and U steps on `||(W - wanted) X||^2`, `[groups, rows, K]`; returns Z."""
    target, identity = wanted @ correlations, torch.eye(correlations.shape[-1])
    nearest = _project(scheme, wanted, shape)
    multipliers = torch.zeros_like(wanted)
    for stage in range(STAGES):
        rho = RHO * RHO_GROWTH**stage
        inverse = torch.linalg.inv(correlations + rho * identity)
        multipliers /= RHO_GROWTH if stage else 1
        for _ in range(iterations):
            free = (target + rho * (nearest - multipliers)) @ inverse
            nearest = _project(scheme, free + multipliers, shape)
            multipliers += free - nearest
    return nearest


def _project(scheme: Scheme, matrices: Tensor, shape: torch.Size) -> Tensor:
    return scheme.project(matrices.reshape(shape)).reshape(matrices.shape)


def _refit(support: Tensor, target: Tensor, correlations: Tensor) -> Tensor:
    """Least squares on the support: rows that share their columns are solved together."""
    fitted = torch.zeros_like(target)
    patterns, group = support.unique(dim=0, return_inverse=True)
    for index, pattern in enumerate(patterns):
        columns, rows = pattern.nonzero()[:, 0], (group == index).nonzero()
        inner = correlations[columns][:, columns]
        fitted[rows, columns] = torch.linalg.solve(inner, target[rows, columns].T).T
    return fitted
