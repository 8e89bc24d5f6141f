"""Runs products whose matrices are values, or are chosen by values."""

from collections.abc import Mapping

from torch import Tensor

from spokeshave.compiler.operations import MatMul, SelectedLinear
from spokeshave.compiler.reference.runner import Runner, Weights


def _selected_linear(
    op: SelectedLinear, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]
) -> Tensor:
    matrices = weights[op.weight][inputs[1][0].long()]
    return (matrices @ inputs[0][0].unsqueeze(-1)).reshape(shape)


RUNNERS: Mapping[type, Runner] = {
    MatMul: lambda op, inputs, weights, shape: inputs[0] @ inputs[1],
    SelectedLinear: _selected_linear,
}
