"""Quantization-aware training: the forward pass sees weights of the scheme, the gradient goes straight through."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spokeshave.errors import SpokeshaveError, naming
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
from spokeshave.schemes.checks import check_flag
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.ranking import support
from spokeshave.schemes.scheme import Scheme, as_matrix


@dataclass(frozen=True)
class QuantizationAware:
    """Straight-through training for any scheme; for `FixedPoint` the step may be learned as well.

    Without `learned_step` a weight acts as its projection, found anew in every forward pass, and takes its gradient
    (Bengio et al., arXiv 1308.3432). With it, the steps of `FixedPoint` are parameters of their own, of `session.steps`
    (learned step size quantization, arXiv 1902.08153): give them to the optimiser as well. With `fixed_step` they are
    those that `FixedPoint` finds for the weights at the start, and what is zero there stays zero: OPQ's fine-tuning of
    what an allocation left (arXiv 2205.11141).
    """

    learned_step: bool = False
    fixed_step: bool = False

    def __post_init__(self) -> None:
        for field in ("learned_step", "fixed_step"):
            check_flag("QuantizationAware", field, getattr(self, field))
        if self.learned_step and self.fixed_step:
            raise SpokeshaveError("QuantizationAware: a step is learned or fixed, not both")


class _Projected(nn.Module):
    """The projection forward, the identity backward; errors name the weight."""

    def __init__(self, name: str, scheme: Scheme) -> None:
        super().__init__()
        self.name, self.scheme = name, scheme

    def forward(self, weight: Tensor) -> Tensor:
        with naming(self.name):
            return weight + (self.scheme.project(weight.detach()) - weight).detach()


class _Stepped(nn.Module):
    """Whole multiples of a learned step, one for each row or one for all (arXiv 1902.08153, equations 1 to 5)."""

    def __init__(self, scheme: FixedPoint, weight: Tensor) -> None:
        super().__init__()
        self.most = _most(scheme)
        matrix = as_matrix(weight.detach()).abs()
        mean = matrix.mean(1, keepdim=True) if scheme.per == "row" else matrix.mean().view(1, 1)
        self.step = nn.Parameter(2 * mean.clamp(min=1e-8) / self.most**0.5)
        self.gradient_scale = (self.most * weight.numel() / self.step.numel()) ** -0.5

    def forward(self, weight: Tensor) -> Tensor:
        scaled = self.step * self.gradient_scale
        step = (self.step - scaled).detach() + scaled  # the step, its gradient scaled
        units = (as_matrix(weight) / step).clamp(-self.most, self.most)
        return ((units + (units.round() - units).detach()) * step).view(weight.shape)


class _Fixed(nn.Module):
    """Whole multiples of the first steps; the gradient goes straight through to what was not zero."""

    step: Tensor
    kept: Tensor

    def __init__(self, scheme: FixedPoint, weight: Tensor) -> None:
        super().__init__()
        self.most = _most(scheme)
        steps = scheme.encode(scheme.project(weight)).scales
        self.register_buffer("step", torch.where(steps > 0, steps, 1).to(weight)[:, None])
        self.register_buffer("kept", support(weight))

    def forward(self, weight: Tensor) -> Tensor:
        units = (as_matrix(weight.detach()) / self.step).round().clamp(-self.most, self.most)
        levels = (units * self.step).view(weight.shape)
        return (levels + (weight - weight.detach())) * self.kept  # a difference of zeros: levels to the bit


class QuantizationAwareSession:
    """Parametrizations on the planned weights while training lasts."""

    def __init__(
        self, method: QuantizationAware, network: nn.Module, constraints: tuple[Constraint, ...]
    ) -> None:
        self.constraints = constraints
        self._acting = [_acting(method, constraint) for constraint in constraints]
        self._places = [_place(network, constraint) for constraint in constraints]
        for (owner, name), acting in zip(self._places, self._acting, strict=True):
            parametrize.register_parametrization(owner, name, acting)
        owners = {owner for owner, _ in self._places if isinstance(owner, nn.RNNBase)}
        self._handles = [owner.register_forward_pre_hook(_flatten_again) for owner in owners]

    @property
    def steps(self) -> list[nn.Parameter]:
        """The learned steps, one tensor a weight: parameters for the optimiser."""
        return [acting.step for acting in self._acting if isinstance(acting, _Stepped)]

    def penalty(self) -> Tensor:
        """Zero."""
        return zero_penalty(self.constraints)

    def after_step(self) -> None:
        """Nothing."""

    def after_epoch(self) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Leave the weights as the network has seen them, in their schemes."""
        for owner, name in self._places:
            parametrize.remove_parametrizations(owner, name, leave_parametrized=True)
        for handle in self._handles:
            handle.remove()
        for owner, _ in self._places:
            if isinstance(owner, nn.RNNBase):
                _flatten_again(owner)
        self._places, self._acting = [], []
        project_weights(self.constraints)

    def residuals(self) -> dict[str, float]:
        """By weight: how far the trained weight is from its scheme, relative to its norm."""
        return distances(self.constraints)

    def state(self) -> dict[str, Tensor]:
        """Steps that are learned or fixed, and what stays zero; the weights themselves are the network's."""
        return {
            f"{key}.{constraint.name}": value.detach().clone()
            for constraint, acting in zip(self.constraints, self._acting, strict=False)
            for key, value in acting.state_dict().items()
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with the steps that `state` gave."""
        check_keys(state, self.state())
        for constraint, acting in zip(self.constraints, self._acting, strict=True):
            acting.load_state_dict({key: state[f"{key}.{constraint.name}"] for key in acting.state_dict()})


def _place(network: nn.Module, constraint: Constraint) -> tuple[nn.Module, str]:
    owner, _, name = constraint.name.rpartition(".")
    return network.get_submodule(owner), name


def _flatten_again(layer: nn.Module, inputs: object = None) -> None:
    """A recurrent layer computes with a list of its weights that it made before: make it again."""
    assert isinstance(layer, nn.RNNBase)
    layer._flat_weights = [getattr(layer, name) for name in layer._flat_weights_names]


def _acting(method: QuantizationAware, constraint: Constraint) -> nn.Module:
    if not method.learned_step and not method.fixed_step:
        return _Projected(constraint.name, constraint.scheme)
    if not isinstance(constraint.scheme, FixedPoint):
        what = "to learn" if method.learned_step else "to fix"
        raise SpokeshaveError(
            f"{constraint.name}: only FixedPoint has a step {what}, not {constraint.scheme}"
        )
    acting = _Stepped if method.learned_step else _Fixed
    return acting(constraint.scheme, constraint.weight)


def _most(scheme: FixedPoint) -> int:
    """The largest level at step 1."""
    return (1 << scheme.bits - 1) - 1


@open_session.register
def _(method: QuantizationAware, network: nn.Module, plan: Plan) -> QuantizationAwareSession:
    return QuantizationAwareSession(method, network, trainable_constraints(network, plan))
