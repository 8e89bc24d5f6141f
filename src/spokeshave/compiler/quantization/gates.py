"""Gates and cells of recurrent layers with PyTorch, bit for bit those of `kernels/recurrent.h`."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from spokeshave.compiler.operations import Recurrent

# Nothing is fused: products are rounded before they are added.
EDGE = 7.9
NUMERATOR = (1.15333451e-5, 2.9606109e-3, 1.29345447e-1, 9.99999881e-1)
DENOMINATOR = (2.49303383e-7, 2.40031601e-4, 2.3854645e-2, 4.62677717e-1, 1.0)
POWER_OF_TWO = (1.3264725e-3, 9.671513e-3, 5.5507336e-2, 2.4022242e-1, 6.93147e-1, 1.0)
ROUNDS_TO_EXPONENT = (
    12583039.0  # 1.5 * 2^23 + 127: added to x, it leaves the exponent of 2^x in the lowest bits
)


def gate_tanh(v: Tensor) -> Tensor:
    """tanh of float32, relative error below 5e-7."""
    x = v.clamp(-EDGE, EDGE)
    square = x * x
    return x * _polynomial(NUMERATOR, square) / _polynomial(DENOMINATOR, square)


def _polynomial(factors: tuple[float, ...], u: Tensor) -> Tensor:
    value = torch.full_like(u, factors[0])
    for factor in factors[1:]:
        value = value * u + factor
    return value


def gate_sigmoid(v: Tensor) -> Tensor:
    """1 / (1 + exp(-v)) of float32, absolute error below 2e-7."""
    x = (v * -1.44269504).clamp(-126, 126)
    shifted = x + ROUNDS_TO_EXPONENT
    power = _polynomial(POWER_OF_TWO, x - (shifted - ROUNDS_TO_EXPONENT))
    return 1 / (1 + power * (shifted.view(torch.int32) << 23).view(torch.float32))


def gru_cell(projected: Tensor, product: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    """The state after a step, `[1, H]`, from the input's and the state's share of the gates, `[1, 3 * H]`."""
    (reset, update, new), (from_reset, from_update, from_new) = projected.chunk(3, 1), product.chunk(3, 1)
    new = gate_tanh(new + gate_sigmoid(reset + from_reset) * from_new)
    return (new + gate_sigmoid(update + from_update) * (h - new),)


def lstm_cell(projected: Tensor, product: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    """States h and c after a step; gates are `[1, 4 * H]`."""
    entry, forget, cell, output = (projected + product).chunk(4, 1)
    c = gate_sigmoid(forget) * c + gate_sigmoid(entry) * gate_tanh(cell)
    return gate_sigmoid(output) * gate_tanh(c), c


CELLS: Mapping[str, Callable[..., tuple[Tensor, ...]]] = {"gru": gru_cell, "lstm": lstm_cell}


def merged_biases(layer: Recurrent, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The biases of the input's and the state's product: all in the first, but for a GRU's new gate, whose second bias
    is multiplied by the reset gate."""
    gates = weights[layer.hidden_weight].shape[0]
    if layer.input_bias is None or layer.hidden_bias is None:
        none = weights[layer.hidden_weight].new_zeros(gates, dtype=torch.float32)
        return none, none
    outer, inner = weights[layer.input_bias].detach().float(), weights[layer.hidden_bias].detach().float()
    apart = torch.zeros_like(inner)
    if layer.kind == "gru":
        apart[gates // 3 * 2 :] = inner[gates // 3 * 2 :]
    return outer + (inner - apart), apart
