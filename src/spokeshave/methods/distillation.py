"""Learning from the dense network as well as from the labels (Hinton et al., arXiv 1503.02531)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Teacher:
    """A network to imitate: its scores at `temperature` make up `share` of the loss, labels the rest."""

    network: nn.Module
    share: float = 0.7
    temperature: float = 4.0

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
