"""What a batch may be: inputs and labels as a pair, a mapping of named ones, or inputs alone."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError

LABELS = "labels"


def parted(batch: Any) -> tuple[Any, Tensor | None]:
    """Inputs and labels of a batch; labels are None where it holds none.

    >>> parted({"input_ids": 1, "labels": 2}), parted((1, 2)), parted([1])
    (({'input_ids': 1}, 2), (1, 2), (1, None))
    """
    if isinstance(batch, Mapping):
        return {name: part for name, part in batch.items() if name != LABELS}, batch.get(LABELS)
    if isinstance(batch, tuple | list) and len(batch) in (1, 2):
        return batch[0], batch[1] if len(batch) == 2 else None
    if isinstance(batch, Tensor):
        return batch, None
    raise SpokeshaveError(
        f"a batch is a pair (inputs, labels), a mapping of named inputs or inputs alone, not {type(batch).__name__}"
    )


def run_on(network: nn.Module, inputs: Any) -> Any:
    """What the network gives for the inputs of a batch; raises SpokeshaveError with its reason where it cannot."""
    try:
        return network(**inputs) if isinstance(inputs, Mapping) else network(inputs)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        what = f"of shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else "of these inputs"
        reason = str(error).strip().partition("\n")[0]
        raise SpokeshaveError(f"the network cannot be run on a batch {what}: {reason}") from error
