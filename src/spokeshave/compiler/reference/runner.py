"""What runs one operation: a function of the operation, its inputs, the weights by name, and the output's shape."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

Weights = Mapping[str, Tensor]
Runner = Callable[..., Tensor | Sequence[Tensor]]


def prefix(constant: Tensor, shape: Sequence[int]) -> Tensor:
    """What a constant begins with, where a length has left less of its last axes than it has.

    >>> import torch
    >>> prefix(torch.tensor([1, 2, 3]), (1, 2)).tolist()
    [1, 2]
    """
    for axis, size in zip(reversed(range(constant.dim())), reversed(shape), strict=False):
        constant = constant.narrow(axis, 0, min(constant.shape[axis], int(size)))
    return constant
