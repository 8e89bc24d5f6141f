"""Learning from the dense network as well as from the labels (Hinton et al., arXiv 1503.02531)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.data.labels import scores_of
from spokeshave.errors import SpokeshaveError
from spokeshave.methods.session import open_session
from spokeshave.methods.unconfined import Unconfined, check_teacher, taught
from spokeshave.plan import Plan
from spokeshave.schemes.checks import check_above, check_least
from spokeshave.weights import check_network

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Teacher:
    """A network to imitate: its scores at `temperature` make up `share` of the loss, labels the rest."""

    network: nn.Module
    share: float = 0.7
    temperature: float = 4.0

    def __post_init__(self) -> None:
        check_network("Teacher", self.network)
        check_least("Teacher", "share", self.share, 0)
        check_above("Teacher", "temperature", self.temperature)

    @torch.no_grad()
    def scores(self, inputs: Tensor) -> Tensor:
        """The teacher's scores `[N, classes]`, float32."""
        self.network.eval()
        return self.network(inputs).float()

    def loss(self, scores: Tensor, wanted: Tensor, label_loss: Tensor) -> Tensor:
        """Blend the label loss with the distance of `scores` `[N, classes]` from the teacher's `wanted`."""
        distance = soft_cross_entropy(scores / self.temperature, wanted / self.temperature)
        distance = distance * self.temperature**2
        return self.share * distance + (1 - self.share) * label_loss


def soft_cross_entropy(scores: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler divergence between the softmax of both, mean over the batch.

    >>> float(soft_cross_entropy(torch.ones(2, 3), torch.ones(2, 3)))
    0.0
    """
    return F.kl_div(scores.log_softmax(-1), wanted.log_softmax(-1), reduction="batchmean", log_target=True)


@dataclass(frozen=True)
class Distillation:
    """Draw the network's scores towards the teacher's on the same inputs, in anybody's loop.

    The penalty is `strength * temperature^2 * KL(softmax(teacher / temperature) || softmax(student / temperature))`
    over the last axis, mean over all others. Networks may give scores, or what transformers' networks give
    (`logits`).
    """

    teacher: nn.Module
    strength: float = 1.0
    temperature: float = 4.0

    def __post_init__(self) -> None:
        check_network("Distillation", self.teacher)
        check_above("Distillation", "strength", self.strength)
        check_above("Distillation", "temperature", self.temperature)


class DistillationSession(Unconfined):
    """A hook that runs the teacher beside the student in training mode."""

    needs = ("penalty",)
    reads_forward = True

    def __init__(self, method: Distillation, network: nn.Module) -> None:
        self._method = method
        self._distance: Tensor | None = None
        self._handle = network.register_forward_hook(self._compare, with_kwargs=True)

    def penalty(self) -> Tensor:
        """The distance in the last forward pass; raises SpokeshaveError when there was none in training mode."""
        if self._distance is None:
            raise SpokeshaveError("scores are compared after a forward pass in training mode; there was none")
        distance, self._distance = self._distance, None
        return self._method.strength * distance

    def finish(self) -> None:
        """Take the hook off."""
        self._handle.remove()
        self._distance = None

    def _compare(
        self, network: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> None:
        if not network.training:
            return
        wanted = _scores(taught(self._method.teacher, inputs, named))
        found, temperature = _scores(output), self._method.temperature
        if found.shape != wanted.shape:
            raise SpokeshaveError(
                f"the network's scores are {tuple(found.shape)}, the teacher's {tuple(wanted.shape)}"
            )
        rows = (scores.float().flatten(0, -2) / temperature for scores in (found, wanted))
        self._distance = temperature**2 * soft_cross_entropy(*rows)


def _scores(output: Any) -> Tensor:
    scores = scores_of(output)
    if isinstance(scores, Tensor):
        return scores
    raise SpokeshaveError(f"scores or `logits` are compared; the network gives {type(output).__name__}")


@open_session.register
def _(method: Distillation, network: nn.Module, plan: Plan) -> DistillationSession:
    check_teacher("Distillation", method.teacher, network)
    return DistillationSession(method, network)
