"""Masks by rounds of training and pruning, then training under them from trained, early, first or fresh weights."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.methods.constraints import shapes_of, trainable_constraints
from spokeshave.methods.dense import DenseSession, State, snapshot
from spokeshave.methods.finite import check_trained
from spokeshave.methods.masked import MaskedFineTuning
from spokeshave.methods.one_shot import OneShot
from spokeshave.methods.session import Session, begin
from spokeshave.plan import Plan
from spokeshave.schemes.checks import check_choice, check_count, check_fraction, check_function
from spokeshave.schemes.freedom import frozen_signs
from spokeshave.schemes.ranking import support
from spokeshave.weights import check_network

OWNER = "iterative magnitude"
STARTS = ("trained", "early", "initial", "random")
Train = Callable[[nn.Module, Session], None]


@dataclass(frozen=True)
class IterativeMagnitude:
    """Masks by rounds of training and magnitude pruning, then training under the mask (arXiv 2102.11068, section 2).

    `start`: "trained", the densely trained weights (pruning and fine-tuning); "early", the weights after `early_epochs`
    of dense training (rewinding, arXiv 1903.01611); "initial", the first ones (a lottery ticket); "random", a fresh
    draw. `rounds`: 1 is one-shot; more prune an equal part of what is left each, and start each round from the first
    weights.
    """

    sparsity: float
    start: str = "trained"
    rounds: int = 1
    early_epochs: int = 10

    def __post_init__(self) -> None:
        check_fraction(OWNER, "sparsity", self.sparsity)
        check_choice(OWNER, "start", self.start, STARTS)
        check_count(OWNER, "rounds", self.rounds)
        check_count(OWNER, "early_epochs", self.early_epochs)

    def sparsities(self) -> tuple[float, ...]:
        """After each round.

        >>> [round(sparsity, 3) for sparsity in IterativeMagnitude(0.488, rounds=3).sparsities()]
        [0.2, 0.36, 0.488]
        """
        kept = 1 - self.sparsity
        return (*(1 - kept ** (number / self.rounds) for number in range(1, self.rounds)), self.sparsity)


@dataclass(frozen=True)
class Weights:
    """States of the network on its way: `initial`, `early` (None when training was shorter), densely `trained`.

    `masks`: by parameter, True where a weight stayed.
    """

    initial: State
    early: State | None
    trained: State
    masks: dict[str, Tensor] = field(default_factory=dict)


def prune_and_train(
    method: IterativeMagnitude,
    network: nn.Module,
    plan: Callable[[float], Plan],
    train: Train,
    reinitialise: Callable[[nn.Module], None] | None = None,
) -> Weights:
    """Find a mask and train the network under it; `train(network, session)` is the user's loop, all epochs of it.

    It is called once a round and once more at the end, each time with a session whose hooks it calls; it must begin
    its learning rates afresh. `plan` makes the plan for a sparsity, of schemes that only remove weights. `reinitialise`
    draws fresh weights (every module's own `reset_parameters` if it is not given). Of all comparisons the cost is the
    same. Raises SpokeshaveError when training diverges: masks of such weights mean nothing.
    """
    _check(method, network, plan, train, reinitialise)
    found = find_masks(method, network, plan, train)
    train_under(found, method, network, plan, train, reinitialise)
    return found


def train_under(
    found: Weights,
    method: IterativeMagnitude,
    network: nn.Module,
    plan: Callable[[float], Plan],
    train: Train,
    reinitialise: Callable[[nn.Module], None] | None = None,
) -> None:
    """The last training alone, under masks that were found before: several starts can share them."""
    _check(method, network, plan, train, reinitialise)
    check_kind(f"{OWNER}: found", found, Weights, "what find_masks gave")
    if shapes_of(found.initial) != shapes_of(network.state_dict()):
        raise SpokeshaveError(f"{OWNER}: the weights that were found are of another network than this one")
    _check_masks(network, plan, (method.sparsity,))
    network.load_state_dict(_start(method, network, found, reinitialise))
    session = _masked(network, plan(method.sparsity), found.masks)
    _run(train, network, session, "the last training")


def find_masks(
    method: IterativeMagnitude, network: nn.Module, plan: Callable[[float], Plan], train: Train
) -> Weights:
    """The rounds alone. The network is left as the last round trained it, and pruned."""
    _check(method, network, plan, train)
    _check_masks(network, plan, method.sparsities())
    initial = snapshot(network)
    dense = DenseSession(network, method.early_epochs)
    masks: dict[str, Tensor] = {}
    trained = initial
    for number, sparsity in enumerate(method.sparsities()):
        if number:
            network.load_state_dict(initial)
        session = _masked(network, plan(method.sparsities()[number - 1]), masks) if number else dense
        _run(train, network, session, f"round {number + 1}")
        trained = trained if number else snapshot(network)
        begin(OneShot(), network, plan(sparsity)).finish()
        masks = {name: network.get_parameter(name).detach() != 0 for name in plan(sparsity).resolve(network)}
    return Weights(initial, dense.early, trained, masks)


def _check(
    method: object, network: object, plan: object, train: object, reinitialise: object | None = None
) -> None:
    check_kind("the method", method, IterativeMagnitude, "IterativeMagnitude(...)")
    check_network(OWNER, network)
    check_function(OWNER, "plan", plan)
    check_function(OWNER, "train", train)
    if reinitialise is not None:
        check_function(OWNER, "reinitialise", reinitialise)


def _check_masks(network: nn.Module, plan: Callable[[float], Plan], sparsities: Iterable[float]) -> None:
    """Raise SpokeshaveError, before anything is trained, for a scheme that asks for more than a mask's zeros."""
    for sparsity in sparsities:
        found = plan(sparsity)
        check_kind(f"{OWNER}: plan({sparsity:.4g})", found, Plan, "a Plan")
        for constraint in trainable_constraints(network, found):
            weight, scheme = constraint.weight.detach(), constraint.scheme
            point = constraint.nearest(weight)
            if frozen_signs(scheme, point) is not None or not scheme.contains(weight * support(point)):
                raise SpokeshaveError(
                    f"{OWNER}: {constraint.name}: {scheme} asks for levels or signs, which a mask does not keep; give "
                    "schemes that only remove weights, and bring the others in afterwards"
                )


def _run(train: Train, network: nn.Module, session: Session, which: str) -> None:
    """One training by the user's loop; raises SpokeshaveError when it changed no weight, or spoiled some."""
    before = [parameter.detach().clone() for parameter in network.parameters()]
    train(network, session)
    if all(map(torch.equal, before, network.parameters())):
        raise SpokeshaveError(
            f"{OWNER}: {which} left every weight as it was; train(network, session) must train that network"
        )
    session.finish()
    check_trained(network, which)


def _masked(network: nn.Module, plan: Plan, masks: dict[str, Tensor]) -> Session:
    """A session that keeps the masks, which are applied first; a weight may be zero and stay."""
    with torch.no_grad():
        for name, mask in masks.items():
            network.get_parameter(name).mul_(mask)
    session = begin(MaskedFineTuning(), network, plan)
    session.restore({f"support.{name}": mask for name, mask in masks.items()})
    return session


def _start(
    method: IterativeMagnitude,
    network: nn.Module,
    found: Weights,
    reinitialise: Callable[[nn.Module], None] | None,
) -> State:
    if method.start == "random":
        network.load_state_dict(found.initial)  # buffers as they were
        (reinitialise or _reset)(network)
        return snapshot(network)
    states = {"trained": found.trained, "early": found.early, "initial": found.initial}
    state = states[method.start]
    if state is None:
        raise SpokeshaveError(
            f"{OWNER}: training called after_epoch fewer than early_epochs, {method.early_epochs}, times"
        )
    return state


def _reset(network: nn.Module) -> None:
    for name, module in network.named_modules():
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
        elif any(True for _ in module.parameters(recurse=False)):
            raise SpokeshaveError(
                f"{name or 'the network'} cannot draw fresh weights of its own; give reinitialise"
            )
