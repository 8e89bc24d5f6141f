"""What runs one operation: a function of the operation, its inputs, the weights by name, and the output's shape."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

Weights = Mapping[str, Tensor]
Runner = Callable[..., Tensor | Sequence[Tensor]]
