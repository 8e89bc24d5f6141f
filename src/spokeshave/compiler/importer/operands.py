"""What an operator of the exported program reads: tensors that depend on the input, and weights."""

from dataclasses import dataclass

from torch import Tensor


class NotTypedError(Exception):
    """An operator that has no typed operation in this form; the text says why."""


@dataclass(frozen=True)
class Flow:
    """A tensor that depends on the network's input, and the graph's value that holds it.

    `shape` is what the network sees. A value always has the sample axis, 1, in front: where the network's own
    shape starts otherwise (a batch axis moved or merged away), the value has one axis more.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Shape of the graph's value."""
        return with_sample_axis(self.shape)

    @property
    def unbatched(self) -> bool:
        """Whether the value has one axis more than the network's tensor."""
        return len(self.value_shape) > len(self.shape)


@dataclass(frozen=True, eq=False)
class Weight:
    """A tensor that does not depend on the input."""

    name: str
    tensor: Tensor


@dataclass(frozen=True)
class Selected:
    """Matrices of a weight `[E, O, I]` that a value of numbers chooses, one for each token; only products read them."""

    weight: Weight
    numbers: Flow


Operand = Flow | Weight


def with_sample_axis(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with an axis of length 1 in front.

    >>> with_sample_axis((1, 3, 8)), with_sample_axis((7, 1, 3)), with_sample_axis(())
    ((1, 3, 8), (1, 7, 1, 3), (1,))
    """
    return shape if shape[:1] == (1,) else (1, *shape)


def dtype_name(tensor: Tensor) -> str:
    """Name of a tensor's element type: `float32`."""
    return str(tensor.dtype).removeprefix("torch.")
