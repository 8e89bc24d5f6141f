"""Which weights an allocation is about, and the plan that comes out of it."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.plan import Plan, Rule, pattern_for
from spokeshave.schemes.checks import check_function, check_patterns, is_number
from spokeshave.schemes.scheme import Scheme, check_scheme
from spokeshave.weights import Weight, weights_of

Sensitivity = Callable[[str, Tensor], float]


def allocated_weights(network: nn.Module, dense: Sequence[str] = ()) -> dict[str, Tensor]:
    """By parameter name, detached: weights that wildcards of a plan mean and no pattern of `dense` covers.

    Raises SpokeshaveError when none is left, for a pattern that covers none, and for weights that are not finite.
    """
    wanted = [weight for weight in weights_of(network) if weight.wanted]
    kept_dense = [[weight for weight in wanted if Rule(pattern, None).covers(weight)] for pattern in dense]
    for pattern, covered in zip(dense, kept_dense, strict=True):
        if not covered:
            raise SpokeshaveError(f"dense: {pattern!r} names no layer with weights that could be allocated")
    left = [weight for weight in wanted if not any(weight in covered for covered in kept_dense)]
    if not left:
        raise SpokeshaveError("there is no weight to allocate: the network has none, or all stay dense")
    found = {weight.parameter: network.get_parameter(weight.parameter).detach() for weight in left}
    for name, values in found.items():
        if not torch.isfinite(values).all():
            raise SpokeshaveError(f"{name} holds infinite values or NaN; nothing can be allocated by it")
    if not any(bool(values.any()) for values in found.values()):
        raise SpokeshaveError("all weights are zero, so none says what it is worth; load or train them first")
    return found


def check_arguments(method: object, kind: type, scheme: object) -> None:
    """Raise SpokeshaveError unless the method is of the kind that an allocator takes, and `scheme` can be called."""
    check_kind("the method", method, kind, f"{kind.__name__}(...)")
    check_kind("scheme", scheme, Callable, "a function of a layer's share or bits")  # type: ignore[arg-type]


def check_settings(owner: str, dense: object, sensitivity: object = None) -> None:
    """Raise SpokeshaveError unless these are patterns of layers and a function or None."""
    check_patterns(owner, "dense", dense)
    if sensitivity is not None:
        check_function(owner, "sensitivity", sensitivity)


def plan_of(network: nn.Module, schemes: Mapping[str, Scheme | None]) -> Plan:
    """A plan with a rule for each named parameter; what is not named stays dense.

    Raises SpokeshaveError for a scheme that does not suit its weight.
    """
    weights = weights_of(network)
    by_name = {weight.parameter: weight for weight in weights}
    for name, scheme in schemes.items():
        _check(by_name[name], scheme)
    return Plan(tuple(Rule(pattern_for(by_name[name], weights), scheme) for name, scheme in schemes.items()))


def sensitivities(sensitivity: Sensitivity | None, weights: Mapping[str, Tensor]) -> dict[str, float]:
    """What a squared error in each weight costs, 1 without a function; raises SpokeshaveError unless above 0."""
    found = {name: sensitivity(name, values) if sensitivity else 1.0 for name, values in weights.items()}
    for name, value in found.items():
        if not is_number(value) or not value > 0:
            raise SpokeshaveError(f"the sensitivity of {name} must be a number above 0, not {value!r}")
    return found


def relative_error(name: str, weight: Tensor) -> float:
    """A sensitivity that counts errors relative to the layer's mean square.

    Scaling a layer's weights, as a batch norm behind it undoes, then changes nothing.
    """
    mean_square = float(weight.double().square().mean())
    return 1 / mean_square if mean_square > 0 else 1.0


def _check(weight: Weight, scheme: Scheme | None) -> None:
    check_scheme(weight.parameter, scheme)
    shape = weight.shape[1:] if weight.stacked else weight.shape
    reason = scheme.supports(shape) if scheme is not None else None
    if reason is not None:
        raise SpokeshaveError(f"{weight.parameter}: {reason}; name the layer in dense, or choose by share")
