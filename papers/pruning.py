"""How the checks of the weight schemes prune: ADMM, or a mask drawn at random, then training of what is left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.criteria import Random
from spokeshave.data import Data
from spokeshave.methods import ADMM, MaskedFineTuning, OneShot, Session, Together, begin, train
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.scheme import Scheme
from spokeshave.weights import weights_of

Loss = Callable[[Tensor, Tensor], Tensor]

METHOD = ADMM(rho=0.01, update_steps=10)


@dataclass(frozen=True)
class Training:
    """Epochs of the dense network, under ADMM, and of what is left; everything runs with Adam and one seed.

    Epochs under ADMM are enough for two steps: a scheme that has one takes all of them.
    """

    dense: int = 10
    admm: int = 8
    masked: int = 3
    rate: float = 6e-3
    pruning_rate: float = 1e-2
    method: ADMM = METHOD

    @property
    def pruning(self) -> int:
        """Epochs that a pruned network is trained more than the dense one."""
        return self.admm + self.masked


QUICK = Training(dense=1, admm=1, masked=1, method=replace(METHOD, update_steps=1))


def trained(
    network: nn.Module,
    data: Data,
    epochs: int,
    rate: float,
    seed: int,
    session: Session | None = None,
    loss: Loss = F.cross_entropy,
) -> None:
    """Train with Adam and one cycle of the learning rate, and finish the session."""
    optimizer = torch.optim.Adam(network.parameters(), rate)
    train(network, data, epochs, optimizer=optimizer, session=session, seed=seed, loss=loss)
    if session is not None:
        session.finish()


def by_admm(
    network: nn.Module, data: Data, plans: Sequence[Plan], training: Training, seed: int, loss: Loss
) -> None:
    """Bring a network into the last plan: ADMM for each plan in turn, under the zeros of those before, and retraining.

    All plans share `training.admm` epochs, so that a scheme with two steps trains no longer than one with one.
    """
    epochs = max(1, training.admm // len(plans))
    held: tuple[Session, ...] = ()
    for position, plan in enumerate(plans):
        session = Together((*held, begin(training.method, network, plan)))
        trained(network, data, epochs, training.pruning_rate, seed + 100 * position, session, loss)
        held = (begin(MaskedFineTuning(), network, plan),)
    trained(network, data, training.masked, training.pruning_rate, seed + 1000, held[0], loss)


def at_random(network: nn.Module, data: Data, plan: Plan, training: Training, seed: int, loss: Loss) -> None:
    """Bring a network into the plan by a random choice, and train as many epochs as ADMM and retraining take."""
    begin(OneShot(Random(seed)), network, plan).finish()
    session = begin(MaskedFineTuning(), network, plan)
    trained(network, data, training.pruning, training.pruning_rate, seed, session, loss)


def trained_on(network: nn.Module, data: Data, training: Training, seed: int, loss: Loss) -> None:
    """Train a dense network as many more epochs as the pruned ones have: what they are to be compared with."""
    trained(network, data, training.pruning, training.pruning_rate, seed, loss=loss)


def plan_of(network: nn.Module, names: Sequence[str], scheme: Callable[[tuple[int, ...]], Scheme]) -> Plan:
    """A scheme made for the shape of each named parameter."""
    shapes = {name: tuple(network.get_parameter(name).shape) for name in names}
    return Plan(tuple(Rule(name, scheme(shape)) for name, shape in shapes.items()))


def inner_matrices(network: nn.Module) -> list[str]:
    """Parameters of all layers that may be pruned but the first and the last."""
    return [weight.parameter for weight in weights_of(network) if weight.wanted][1:-1]


def realised_density(network: nn.Module, names: Sequence[str]) -> float:
    """Share of the named weights, taken together, that is not zero."""
    weights = [network.get_parameter(name) for name in names]
    return sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)
