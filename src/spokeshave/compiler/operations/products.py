"""Products whose matrices are not the same for every input."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MatMul:
    """Matrices times matrices, both values: `[1, ..., M, K] @ [1, ..., K, N]` with equal axes in front."""


@dataclass(frozen=True)
class SelectedLinear:
    """Every token times a matrix of its own: `y[t] = weight[number[t]] @ x[t]`.

    Inputs are tokens `[1, T, I]` and, for each, the number of a matrix, `[1, T]` in float32; `weight` is `[E, O, I]`.
    Matrices that no token asks for cost nothing: the experts of a mixture (arXiv 2401.04088).
    """

    weight: str
