"""Layers whose weights are matrices: convolution, linear, recurrent."""

from dataclasses import dataclass
from typing import Literal

from spokeshave.compiler.operations.elementwise import Activation

RecurrentKind = Literal["gru", "lstm"]


@dataclass(frozen=True)
class Convolution:
    """2-D convolution of `[1, C, H, W]` (a 1-D convolution has H = 1), then residual, then activation.

    `padding` is (top, left, bottom, right). With `residual`, the second input is added before the activation.
    """

    weight: str
    bias: str | None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    residual: bool = False
    activation: Activation | None = None


@dataclass(frozen=True)
class Linear:
    """`x @ weight.T + bias` over the last axis, then residual, then activation; weight is `[out, in]`."""

    weight: str
    bias: str | None
    residual: bool = False
    activation: Activation | None = None


@dataclass(frozen=True)
class Recurrent:
    """One layer and direction of a GRU or LSTM over the steps of `[1, T, F]`, as PyTorch defines them.

    Weights are `[gates * H, F]` and `[gates * H, H]`, gates in PyTorch's order: reset, update, new of a GRU; input,
    forget, cell, output of an LSTM. Outputs: the sequence `[1, T, H]`, and the state after the last step, h `[1, H]`
    (and c of an LSTM). The state before the first step comes as further inputs, or as the constants
    `hidden_state` (and `cell_state`), or is zero. With `reverse` the steps run from the last to the first.
    """

    kind: RecurrentKind
    input_weight: str
    hidden_weight: str
    input_bias: str | None
    hidden_bias: str | None
    reverse: bool = False
    hidden_state: str | None = None
    cell_state: str | None = None
