"""Loaders that know which examples they give."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from spokeshave.data.data import Batch, Batches
from spokeshave.errors import SpokeshaveError
from spokeshave.samples.sampler import ExampleSampler


class Indexed(Dataset[tuple[int, Any]]):
    """A data set whose samples come with their numbers: `(number, sample)`.

    >>> Indexed(["a", "b"])[1]
    (1, 'b')
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, number: int) -> tuple[int, Any]:
        return number, self._dataset[number]


class PrunedBatches:
    """`Batches` of the examples that a sampler keeps, for loops that know nothing of numbers, such as `train`.

    Give `train` such data, `on_scores=pruned.after_batch` and `on_epoch=lambda _: pruned.after_epoch()`.
    Where `per_pass` shortens passes, it does so by the same share.
    """

    def __init__(self, batches: Batches, sampler: ExampleSampler) -> None:
        self.batches, self.sampler = batches, sampler
        self._numbers: Tensor | None = None

    def __len__(self) -> int:
        return -(-self.samples // self.batches.size)

    @property
    def samples(self) -> int:
        """Samples that one pass gives."""
        return max(1, self.batches.samples * len(self.sampler) // len(self.batches.labels))

    def __iter__(self) -> Iterator[Batch]:
        for numbers, inputs, labels in self.batches.in_order(self.sampler.order()[: self.samples]):
            self._numbers = numbers
            yield inputs, labels

    def after_batch(self, scores: Tensor, labels: Tensor) -> None:
        """What the network made of the batch that was given last."""
        if self._numbers is None:
            raise SpokeshaveError(
                "after_batch comes after a batch that this loader gave; it has given none yet"
            )
        self.sampler.after_batch(self._numbers, scores, labels)

    def after_epoch(self) -> None:
        """The sampler's."""
        self.sampler.after_epoch()
