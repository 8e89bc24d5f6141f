"""Runs layers in bfloat16: rounded inputs and weights, float32 sums."""

from collections.abc import Mapping

from torch import Tensor

from spokeshave.compiler.operations import Round, Rounded, Widen
from spokeshave.compiler.reference.layers import RUNNERS as FLOAT_RUNNERS
from spokeshave.compiler.reference.runner import Runner, Weights


def _rounded(op: Rounded, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    names = [op.weight, *([op.bias] if op.bias else [])]
    wide = {name: weights[name].float() for name in names}
    y = FLOAT_RUNNERS[type(op.layer)](op.layer, [value.float() for value in inputs], wide, shape)
    assert isinstance(y, Tensor)
    return y.bfloat16() if op.output else y


RUNNERS: Mapping[type, Runner] = {
    Round: lambda op, inputs, weights, shape: inputs[0].bfloat16(),
    Widen: lambda op, inputs, weights, shape: inputs[0].float(),
    Rounded: _rounded,
}
