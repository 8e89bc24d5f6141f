"""What training has shown of each example since the last exchange, kept without a step of Python per example."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.errors import SpokeshaveError


@dataclass(frozen=True)
class Epoch:
    """Sums of one epoch by example, `[N]`: presentations, how many were right, losses, gradient norms."""

    seen: Tensor
    right: Tensor
    loss: Tensor
    gradient: Tensor

    @classmethod
    def empty(cls, count: int) -> "Epoch":
        """Before the first batch."""
        return cls(*(torch.zeros(count) for _ in fields(cls)))

    def add(self, numbers: Tensor, scores: Tensor, labels: Tensor) -> None:
        """A batch: examples' numbers `[B]`, the network's scores `[B, classes]`, their labels `[B]`.

        The gradient is that of the loss by the scores (EL2N, arXiv 2107.07075).
        """
        scores = scores.detach().float().cpu()
        wanted = F.one_hot(labels, scores.shape[1])
        found = {
            "seen": torch.ones(len(numbers)),
            "right": (scores.argmax(1) == labels).float(),
            "loss": F.cross_entropy(scores, labels, reduction="none"),
            "gradient": (scores.softmax(1) - wanted).norm(dim=1),
        }
        for name, values in found.items():
            getattr(self, name).index_add_(0, numbers, values)


@dataclass(frozen=True)
class History:
    """By example, `[N]`: in how many epochs it was seen, whether it was right last, whether ever, how often forgotten
    (right in one epoch, wrong in the next that saw it), and sums of its epochs' mean losses and gradient norms.
    """

    seen: Tensor
    right: Tensor
    learned: Tensor
    forgotten: Tensor
    loss: Tensor
    gradient: Tensor

    @classmethod
    def empty(cls, count: int) -> "History":
        """Nothing has been seen."""
        return cls(*(torch.zeros(count) for _ in fields(cls)))

    def after(self, epoch: Epoch) -> "History":
        """With one epoch more; an example that was shown several times was right when it was so each time."""
        times = epoch.seen.clamp(min=1)
        shown = (epoch.seen > 0).float()
        right = ((epoch.right == epoch.seen) & (epoch.seen > 0)).float()
        return replace(
            self,
            seen=self.seen + shown,
            right=torch.where(shown > 0, right, self.right),
            learned=torch.maximum(self.learned, right),
            forgotten=self.forgotten + self.right * shown * (1 - right),
            loss=self.loss + epoch.loss / times,
            gradient=self.gradient + epoch.gradient / times,
        )

    def state(self) -> dict[str, Tensor]:
        """As tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "History":
        """What `state` gave; raises SpokeshaveError when something is missing."""
        missing = [field.name for field in fields(cls) if field.name not in state]
        if missing:
            raise SpokeshaveError(f"the state of the examples lacks {', '.join(missing)}")
        return cls(*(state[field.name].clone() for field in fields(cls)))
