"""A sampler that trains on a part of the examples and exchanges some of them by what training shows."""

from collections.abc import Iterator, Mapping
from dataclasses import fields

import torch
import torch.distributed as distributed
from torch import Tensor
from torch.utils.data import Sampler

from spokeshave.errors import SpokeshaveError
from spokeshave.samples.history import Epoch, History
from spokeshave.samples.pruning import ExamplePruning
from spokeshave.samples.scores import SCORES


class ExampleSampler(Sampler[int]):
    """Numbers of the examples to train on, for anybody's `DataLoader(Indexed(dataset), sampler=...)` and loop.

        for numbers, (inputs, labels) in loader:
            ...                                             a step as ever
            sampler.after_batch(numbers, scores, labels)    every step
        sampler.after_epoch()                               every epoch

    `count` examples are trained on for `epochs` epochs. Order and exchanges follow from `seed` and the epoch alone, so
    that all processes agree; of several, each passes its `share`, (number, processes), and gets its part of every
    pass, all equally many. `used` says how many examples each past epoch had.
    """

    def __init__(
        self, count: int, pruning: ExamplePruning, epochs: int, seed: int = 0, share: tuple[int, int] = (0, 1)
    ) -> None:
        pruning.check_epochs(epochs)
        _check_share(share)
        if count - pruning.removed(count) < share[1]:
            raise SpokeshaveError(f"of {count} examples too few stay for {share[1]} processes")
        self.pruning, self.used = pruning, list[int]()
        self._count, self._seed, self._share = count, seed, share
        order = torch.randperm(count, generator=self._generator("first"))
        removed = pruning.removed(count)
        self._removed, self._kept = order[:removed], order[removed:]
        self._history, self._running = History.empty(count), Epoch.empty(count)

    @property
    def kept(self) -> Tensor:
        """Numbers of the examples that are trained on now, sorted."""
        return self._kept.sort().values

    @property
    def removed(self) -> Tensor:
        """Numbers of the examples that are left out now, sorted."""
        return self._removed.sort().values

    def __len__(self) -> int:
        return len(self._kept) // self._share[1]

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def order(self) -> Tensor:
        """The numbers of this process in this epoch, in the order of training."""
        mixed = self._kept[torch.randperm(len(self._kept), generator=self._generator("order"))]
        number, processes = self._share
        return mixed[: len(self) * processes][number::processes]

    def after_batch(self, numbers: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Call after every step: examples' numbers `[B]`, scores `[B, classes]`, labels `[B]` before any mixing."""
        self._check(numbers, scores, labels)
        self._running.add(numbers.long().cpu(), scores, labels.long().cpu())

    def after_epoch(self) -> None:
        """Call after every pass, on all processes: examples are exchanged where the schedule says so."""
        _sum_over_processes(self._running)
        self._history = self._history.after(self._running)
        self.used.append(int((self._running.seen > 0).sum()))
        self._running = Epoch.empty(self._count)
        if self.pruning.exchanges_after(len(self.used)):
            scores = SCORES[self.pruning.score](self._history)
            exchanged = self.pruning.exchanged(self._count)
            generator = self._generator("exchange")
            self._kept, self._removed = exchange(self._kept, self._removed, scores, exchanged, generator)
            self._history = History.empty(self._count)

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on from the last whole epoch."""
        own = {
            "kept": self._kept,
            "removed": self._removed,
            "used": torch.tensor(self.used, dtype=torch.int64),
        }
        return own | {f"history.{name}": value for name, value in self._history.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave; raises SpokeshaveError when it belongs to other examples."""
        history = {
            name.removeprefix("history."): value
            for name, value in state.items()
            if name.startswith("history.")
        }
        sizes = [len(state[name]) if name in state else -1 for name in ("kept", "removed")]
        if sizes != [len(self._kept), len(self._removed)] or "used" not in state:
            raise SpokeshaveError(
                f"the state is of {sizes[0]} examples kept and {sizes[1]} removed; here it is {len(self._kept)} and "
                f"{len(self._removed)}"
            )
        self._history = History.of(history)
        self._kept, self._removed = state["kept"].clone(), state["removed"].clone()
        self.used, self._running = state["used"].tolist(), Epoch.empty(self._count)

    def _generator(self, purpose: str) -> torch.Generator:
        purposes = ("first", "order", "exchange")
        seed = (self._seed * 1_000_003 + len(self.used)) * len(purposes) + purposes.index(purpose)
        return torch.Generator().manual_seed(seed)

    def _check(self, numbers: Tensor, scores: Tensor, labels: Tensor) -> None:
        if not isinstance(numbers, Tensor) or numbers.dim() != 1 or not _whole(numbers):
            raise SpokeshaveError(
                "after_batch needs the numbers [B] of the batch's examples; the loader gives them when its data set is "
                "wrapped: Indexed(dataset)"
            )
        if not isinstance(scores, Tensor) or not isinstance(labels, Tensor):
            raise SpokeshaveError(
                f"after_batch got scores as {type(scores).__name__} and labels as {type(labels).__name__}; both are "
                "tensors, [B, classes] and [B]"
            )
        if scores.dim() != 2 or labels.dim() != 1 or not len(numbers) == len(scores) == len(labels):
            raise SpokeshaveError(
                f"after_batch got {len(numbers)} numbers, scores of shape {tuple(scores.shape)} and labels of shape "
                f"{tuple(labels.shape)}; it needs [B], [B, classes] and [B]"
            )
        if not _whole(labels):
            raise SpokeshaveError(
                f"after_batch got labels of {labels.dtype}; they are whole numbers of classes, before any mixing"
            )
        if wrong := _outside(numbers, self._count):
            raise SpokeshaveError(f"there are examples 0 to {self._count - 1}, and no {wrong[0]}")
        if wrong := _outside(labels, scores.shape[1]):
            raise SpokeshaveError(
                f"labels are from 0 to {scores.shape[1] - 1}, as there are so many scores, not {wrong[0]}"
            )


def _whole(values: Tensor) -> bool:
    return not values.is_floating_point() and not values.is_complex() and values.dtype != torch.bool


def _outside(values: Tensor, count: int) -> list[int]:
    """Those that are not from 0 to `count - 1`."""
    return values[(values < 0) | (values >= count)].tolist()


def _check_share(share: tuple[int, int]) -> None:
    numbers = isinstance(share, tuple) and len(share) == 2 and all(isinstance(part, int) for part in share)
    if not numbers or not 0 <= share[0] < share[1]:
        raise SpokeshaveError(
            f"share is a process's number from 0 on and how many there are, such as (0, 1), not {share!r}"
        )


def exchange(
    kept: Tensor, removed: Tensor, scores: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Which examples are kept and removed once the `count` kept ones with the lowest `scores` have gone.

    As many return, drawn among those removed before, so that nothing comes back at once; chance decides between
    equal scores. Numbers are `[K]` and `[R]`, scores `[K + R]` by number.

    >>> scores = torch.tensor([3.0, 0.0, 2.0, 9.0])
    >>> exchange(torch.tensor([0, 1, 2]), torch.tensor([3]), scores, 1, torch.Generator())[1]
    tensor([1])
    """
    mixed = kept[torch.randperm(len(kept), generator=generator)]
    ranked = mixed[scores[mixed].argsort(stable=True)]
    drawn = removed[torch.randperm(len(removed), generator=generator)]
    return torch.cat((ranked[count:], drawn[:count])), torch.cat((drawn[count:], ranked[:count]))


def _sum_over_processes(epoch: Epoch) -> None:
    if distributed.is_available() and distributed.is_initialized():
        for field in fields(epoch):
            distributed.all_reduce(getattr(epoch, field.name))
