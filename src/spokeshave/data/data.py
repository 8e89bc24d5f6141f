"""Training and held-out images with their labels."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]
Augmentation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Batches:
    """A loader over tensors in memory: each pass gives `(inputs [N, ...] float32, labels [N] int64)`.

    A training loader (`shuffle`) draws its order and its augmentation from torch's global generator, so that
    `torch.manual_seed` before a pass makes it repeat exactly. `per_pass` is the most samples of a pass, `share` the
    part of every batch that is given.

    >>> loader = Batches(torch.zeros(10, 1, 2, 2), torch.arange(10), size=4)
    >>> [len(labels) for _, labels in loader]
    [4, 4, 2]
    """

    inputs: Tensor
    labels: Tensor
    size: int
    shuffle: bool = False
    augment: Augmentation | None = None
    per_pass: int | None = None
    share: tuple[int, int] = (0, 1)

    def __len__(self) -> int:
        whole, rest = divmod(self.samples, self.size)
        return whole + (rest >= max(1, self.share[1]))

    def __iter__(self) -> Iterator[Batch]:
        count = len(self.labels)
        order = torch.randperm(count) if self.shuffle else torch.arange(count)
        for _, inputs, labels in self.in_order(order[: self.samples]):
            yield inputs, labels

    def in_order(self, order: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """One pass over the samples of these numbers: `(numbers, inputs, labels)`."""
        number, processes = self.share
        for chosen in order.split(self.size):
            if len(chosen) < processes:
                return  # nobody may be left without a sample
            inputs = self.inputs[chosen]
            inputs = self.augment(inputs) if self.augment else inputs
            own = chosen.tensor_split(processes)[number]
            yield own, inputs.tensor_split(processes)[number], self.labels[own]

    def shared(self, number: int, processes: int) -> "Batches":
        """What process `number` of so many takes: its part of every batch, so that all make the same steps."""
        return replace(self, share=(number, processes))

    @property
    def samples(self) -> int:
        """Samples that one pass gives."""
        return min(len(self.labels), self.per_pass or len(self.labels))


@dataclass(frozen=True)
class Data:
    """What a network is trained on and judged by.

    `train` and `held_out` can be iterated again and again and give `(inputs, labels)` batches: float32 inputs
    `[N, ...]`, int64 labels `[N]` below `classes`.
    """

    train: Iterable[Batch]
    held_out: Iterable[Batch]
    classes: int
    name: str

    def batched(self, size: int) -> "Data":
        """The same data with another training batch size; loaders of the user's own stay as they are."""
        return self._with_train(lambda train: replace(train, size=size))

    def shortened(self, samples: int) -> "Data":
        """The same data with shorter training passes; loaders of the user's own stay as they are."""
        return self._with_train(lambda train: replace(train, per_pass=samples))

    def _with_train(self, change: Callable[[Batches], Batches]) -> "Data":
        return replace(self, train=change(self.train)) if isinstance(self.train, Batches) else self
