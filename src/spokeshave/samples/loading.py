"""Loaders that know which examples they give."""

from collections.abc import Iterator
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

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


class PrunedLoader:
    """A loader of the examples that a sampler keeps, for loops that know nothing of numbers, such as `train`.

    Give `train` such data, `on_scores=pruned.after_batch` and `on_epoch=lambda _: pruned.after_epoch()`. The loader
    that is pruned is `Batches` or a `DataLoader` over a data set with a length, whose batches are (inputs, labels);
    where `per_pass` shortens passes, it does so by the same share.
    """

    def __init__(self, loader: Any, sampler: ExampleSampler) -> None:
        self.loader, self.sampler = loader, sampler
        self.samples = max(1, samples_of_pass(loader) * len(sampler) // count_examples(loader))
        self._numbers: Tensor | None = None

    def __len__(self) -> int:
        return -(-self.samples // batch_size(self.loader))

    def __iter__(self) -> Iterator[Batch]:
        for numbers, inputs, labels in numbered(self.loader, self.sampler.order()[: self.samples]):
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


@singledispatch
def numbered(loader: Any, order: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """One pass over the examples of these numbers, in this order: `(numbers, inputs, labels)`."""
    raise _without_numbers(loader)


@numbered.register
def _(loader: Batches, order: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    return loader.in_order(order)


@numbered.register
def _(loader: DataLoader, order: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    def collate(pairs: list[tuple[int, Any]]) -> tuple[Tensor, Any]:
        return torch.tensor([number for number, _ in pairs]), loader.collate_fn(
            [sample for _, sample in pairs]
        )

    again = DataLoader(
        Indexed(loader.dataset),
        batch_size=batch_size(loader),
        sampler=order.tolist(),
        collate_fn=collate,
        num_workers=loader.num_workers,
    )
    return ((numbers, inputs, labels) for numbers, (inputs, labels) in again)


def count_examples(loader: Any) -> int:
    """How many examples a loader can give; raises SpokeshaveError for one whose examples have no numbers."""
    if isinstance(loader, Batches):
        return len(loader.labels)
    if isinstance(loader, DataLoader) and loader.batch_size and hasattr(loader.dataset, "__len__"):
        return len(loader.dataset)
    raise _without_numbers(loader)


def samples_of_pass(loader: Any) -> int:
    """How many of them one pass gives."""
    return loader.samples if isinstance(loader, Batches) else count_examples(loader)


def batch_size(loader: Any) -> int:
    """How many examples a batch has."""
    size = loader.size if isinstance(loader, Batches) else loader.batch_size
    return int(size)


def _without_numbers(loader: Any) -> SpokeshaveError:
    return SpokeshaveError(
        f"examples of {type(loader).__name__} have no numbers, so that none can be left out; give Batches, or a "
        "DataLoader with a batch size over a data set with a length"
    )
