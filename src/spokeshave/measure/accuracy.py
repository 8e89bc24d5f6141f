"""Top-1 accuracy of anything that can be called with the network's inputs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True)
class Accuracy:
    """How many of the samples were given their own label."""

    correct: int
    total: int

    @property
    def top1(self) -> float:
        """Share of correct samples, between 0 and 1."""
        return self.correct / self.total


def evaluate(
    network: Callable[..., Any],
    batches: Iterable[tuple[Any, Tensor]],
    progress: Callable[[int], None] | None = None,
) -> Accuracy:
    """Top-1 accuracy of a network, a deployment or any callable over batches of `(inputs, labels)`.

    `inputs` is a tensor or a tuple of tensors, `labels` is `[samples]` of integers, the outputs are
    `[samples, classes]` (or a mapping that holds them under `logits`). A module is put into evaluation mode
    meanwhile. `progress` is told how many samples are done. Raises SpokeshaveError when a batch is something
    else.

    >>> evaluate(lambda x: x, [(torch.eye(3), torch.tensor([0, 1, 1]))])
    Accuracy(correct=2, total=3)
    """
    correct = total = 0
    with _evaluation_mode(network), torch.inference_mode():
        for index, batch in enumerate(batches):
            inputs, labels = _parts(batch, f"batch {index}")
            outputs = _logits(network(*inputs), f"batch {index}")
            _check(outputs, labels, f"batch {index}")
            correct += int((outputs.argmax(1) == labels).sum())
            total += len(labels)
            if progress:
                progress(total)
    if not total:
        raise SpokeshaveError(
            "the data holds no samples; accuracy needs at least one batch of (inputs, labels)"
        )
    return Accuracy(correct, total)


def _parts(batch: Any, where: str) -> tuple[tuple[Any, ...], Tensor]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise SpokeshaveError(f"{where} of the data is not a pair (inputs, labels)")
    inputs, labels = batch
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.dtype not in INTEGERS:
        found = (
            f"{tuple(labels.shape)} of {labels.dtype}"
            if isinstance(labels, Tensor)
            else type(labels).__name__
        )
        raise SpokeshaveError(f"the labels of {where} must be one integer a sample, not {found}")
    return (tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)), labels


def _logits(outputs: Any, where: str) -> Tensor:
    if isinstance(outputs, Mapping) and "logits" in outputs:
        outputs = outputs["logits"]
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        raise SpokeshaveError(f"the outputs for {where} must be (samples, classes), not {found}")
    return outputs


def _check(outputs: Tensor, labels: Tensor, where: str) -> None:
    samples, classes = outputs.shape
    if samples != len(labels):
        raise SpokeshaveError(f"{where} has {len(labels)} labels, but the network gave {samples} outputs")
    if samples and (int(labels.min()) < 0 or int(labels.max()) >= classes):
        low, high = int(labels.min()), int(labels.max())
        raise SpokeshaveError(
            f"the labels of {where} run from {low} to {high}, "
            f"but the network has {classes} classes, 0 to {classes - 1}"
        )


@contextmanager
def _evaluation_mode(network: Any) -> Iterator[None]:
    modules = list(network.modules()) if isinstance(network, nn.Module) else []
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
