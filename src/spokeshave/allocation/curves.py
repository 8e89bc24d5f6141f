"""What a layer's outputs suffer by how much of the layer remains: curves, smoothed, and their slopes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.intersection import LEVELS
from spokeshave.schemes.ranking import density
from spokeshave.schemes.scheme import Scheme, check_scheme

DAMPING = 1e-7  # what the Hessian's estimate has on its diagonal (arXiv 2407.02068, the authors' code)


def second_order_change(change: Tensor, gradient: Tensor) -> float:
    """`mean((d g)^2) + d^T H d / 2` for a weight's change d, with `H = g g^T + 1e-7 I`: LPViT's distortion.

    The Hessian has rank one, so nothing larger than the weight is ever made.

    >>> round(second_order_change(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0])), 6)
    1.0
    """
    parts = change.double() * gradient.double()
    curvature = parts.sum().square() + DAMPING * change.double().square().sum()
    return float(parts.square().mean() + curvature / 2)


def distortions(
    weight: Tensor,
    saliency: Tensor | None,
    shares: Sequence[float],
    scheme: Callable[[float], Scheme | None],
    lost: Callable[[Tensor], float],
) -> tuple[Tensor, Tensor]:
    """What is `lost` with the weight's projections at each of the shares, and what they keep; each `[shares]`, double.

    What is kept is rounded to the scheme's units; with levels, which remove nothing, it is the share. `saliency` ranks
    what the schemes keep (None: the squared weight). The curve ends before the first share that the scheme cannot
    keep; raises SpokeshaveError where that is the largest.
    """
    found: list[tuple[float, float]] = []
    for share in shares:
        try:
            chosen = _scheme_of(share, scheme, weight)
        except SpokeshaveError:
            if not found:
                raise
            break
        check_scheme(f"a share of {share:g}", chosen)
        point = weight if share else torch.zeros_like(weight)
        point = chosen.project(weight, saliency) if chosen is not None else point
        found.append((lost(point), share if isinstance(chosen, LEVELS) else density(point)))
    losses, kept = torch.tensor(found, dtype=torch.float64).unbind(1)
    return losses, kept


def _scheme_of(share: float, scheme: Callable[[float], Scheme | None], weight: Tensor) -> Scheme | None:
    """The scheme that keeps a share; raises SpokeshaveError where there is none for the weight."""
    chosen = scheme(share) if share else None
    reason = chosen.supports(tuple(weight.shape)) if isinstance(chosen, Scheme) else None
    if reason is not None:
        raise SpokeshaveError(reason)
    return chosen


def smoothed(curve: Tensor, weight: float) -> Tensor:
    """Exponential moving average along `[points]` without the bias towards 0 at its start.

    >>> smoothed(torch.tensor([2.0, 4.0]), 0.5)
    tensor([2.0000, 3.3333])
    """
    averages, average = [], curve.new_zeros(())
    for count, value in enumerate(curve, 1):
        average = weight * average + (1 - weight) * value
        averages.append(average / (1 - weight**count))
    return torch.stack(averages)


def derivative(curve: Tensor, step: float, half_width: int) -> Tensor:
    """Slope at every point of a curve `[points]` by the five-point stencil, `half_width` points to either side.

    One-sided differences within `half_width` of the ends; narrower where the curve has too few points.
    """
    points = len(curve)
    if points == 1:
        return torch.zeros_like(curve)
    inner = max(1, min(half_width, (points - 1) // 2) // 2)
    outer = 2 * inner
    place = torch.arange(points)
    before, after = (place - inner).clamp(min=0), (place + inner).clamp(max=points - 1)
    slopes = (curve[after] - curve[before]) / ((after - before) * step)
    first, last = outer, points - outer
    if first < last:
        middle = torch.arange(first, last)
        near, far = (
            curve[middle + inner] - curve[middle - inner],
            curve[middle + outer] - curve[middle - outer],
        )
        slopes[middle] = (8 * near - far) / (12 * inner * step)
    return slopes


def ascending(slopes: Tensor) -> Tensor:
    """The nearest slopes `[points]` that never fall: those of a convex curve (pool adjacent violators).

    >>> ascending(torch.tensor([1.0, 4.0, 2.0, 5.0]))
    tensor([1., 3., 3., 5.])
    """
    pools: list[tuple[float, int]] = []  # (mean, points)
    for value in slopes.tolist():
        mean, count = value, 1
        while pools and pools[-1][0] >= mean:
            other, points = pools.pop()
            mean, count = (mean * count + other * points) / (count + points), count + points
        pools.append((mean, count))
    return torch.cat([slopes.new_full((count,), mean) for mean, count in pools])
