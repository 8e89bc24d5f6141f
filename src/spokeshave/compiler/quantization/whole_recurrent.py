"""Steps of recurrent layers in whole numbers, with PyTorch: gates by tables, products of gates by shifts."""

from collections.abc import Callable, Mapping, Sequence
from math import frexp

import torch
from torch import Tensor

from spokeshave.compiler.operations import Divided, Quantization, Quantized, QuantizedSum, WholeRecurrent
from spokeshave.compiler.operations.recurrent import BEFORE_GATES, UNIT_BITS
from spokeshave.compiler.quantization.arithmetic import dequantize, quantize
from spokeshave.compiler.quantization.executor import SumsOf, exact_sums, finish_whole, first_states, run_sum
from spokeshave.compiler.quantization.transformers import look_up, rounded_shift

TABLE_BITS, TABLE_SCALE = 12, 2.0**-8  # of the numbers that gates' tables are read with
MOST_ORDER = 7  # states up to 2^7, beyond which a table's step is finer than a level
Weights = Mapping[str, Tensor]


def run_whole_recurrent(
    operation: WholeRecurrent, weights: Weights, inputs: Sequence[Tensor], sums_of: SumsOf | None = None
) -> list[Tensor]:
    """A recurrent layer over all steps of `[N, T, F]`: the sequence, and the states after the last step."""
    layer = operation.layer
    sequence, *given = inputs
    shares = [
        _share_of_gates(product, weights, sums_of)
        for product in (operation.input_product, operation.state_product)
    ]
    reals = first_states(layer, weights, given, len(sequence), sequence.device)
    states = [quantize(real, grid).long() for real, grid in zip(reals, _grids(operation), strict=True)]
    projected = shares[0](sequence)
    steps = range(projected.shape[1])
    made = []
    for step in reversed(steps) if layer.reverse else steps:
        product = shares[1](run_sum(operation.narrow, states[0]))
        states = CELLS[layer.kind](operation, weights, projected[:, step], product, *states)
        made.append(states[0])
    every = torch.stack(made[::-1] if layer.reverse else made, 1)
    leaving = zip((every, states[0]), operation.outputs, strict=True)
    memory = [] if operation.cell is None else [dequantize(states[1], operation.cell)]
    return [*(_left(levels, output, operation.hidden) for levels, output in leaving), *memory]


def _grids(operation: WholeRecurrent) -> list[Quantization]:
    return [operation.hidden, *([operation.cell] if operation.cell else [])]


def _share_of_gates(
    product: Quantized, weights: Weights, sums_of: SumsOf | None
) -> Callable[[Tensor], Tensor]:
    """What multiplies levels by a weight and brings the sums to those that gates add, int64."""
    sums = (sums_of or exact_sums)(product, weights[product.weight])
    assert product.rescale is not None
    rescale = product.rescale
    return lambda x: finish_whole(product, rescale, weights, sums(x), None).long()


def _left(levels: Tensor, output: QuantizedSum | None, grid: Quantization) -> Tensor:
    return dequantize(levels, grid) if output is None else run_sum(output, levels)


def _gru_step(
    operation: WholeRecurrent, weights: Weights, projected: Tensor, product: Tensor, h: Tensor
) -> list[Tensor]:
    (reset, update, new), (from_reset, from_update, from_new) = projected.chunk(3, 1), product.chunk(3, 1)
    reset, update = (
        look_up(operation.sigmoid, weights, gate) for gate in (reset + from_reset, update + from_update)
    )
    new = look_up(operation.tanh, weights, new + rounded_shift(reset * from_new, UNIT_BITS))
    new = rounded_shift(new, order_of_state(operation.hidden))
    return [new + rounded_shift(update * (h - new), UNIT_BITS)]


def _lstm_step(
    operation: WholeRecurrent, weights: Weights, projected: Tensor, product: Tensor, h: Tensor, c: Tensor
) -> list[Tensor]:
    assert operation.cell is not None
    assert operation.cell_tanh is not None
    entry, forget, cell, output = (projected + product).chunk(4, 1)
    entry, forget, output = (look_up(operation.sigmoid, weights, gate) for gate in (entry, forget, output))
    entering = rounded_shift(
        entry * look_up(operation.tanh, weights, cell), UNIT_BITS + order_of_state(operation.cell)
    )
    c = (rounded_shift(forget * c, UNIT_BITS) + entering).clamp(operation.cell.low, operation.cell.high)
    shown = output * look_up(operation.cell_tanh, weights, c)
    return [rounded_shift(shown, UNIT_BITS + order_of_state(operation.hidden)), c]


CELLS: Mapping[str, Callable[..., list[Tensor]]] = {"gru": _gru_step, "lstm": _lstm_step}


def state_of(largest: float) -> Quantization:
    """Sixteen bits for a state that gets no larger than this, at a scale that is a power of two, 2^-15 at least.

    >>> [state_of(largest).scale * 2**15 for largest in (0.0, 1.0, 1.5, 4.0, 5.0)]
    [1.0, 1.0, 2.0, 4.0, 8.0]
    """
    fraction, exponent = frexp(max(1.0, largest))
    order = min(exponent - (fraction == 0.5), MOST_ORDER)
    return Quantization(2.0 ** (order - UNIT_BITS), 0, BEFORE_GATES.low, BEFORE_GATES.high)


def order_of_state(state: Quantization) -> int:
    """The power of two that a state's sixteen bits reach to."""
    return frexp(state.scale)[1] - 1 + UNIT_BITS


def gate_table(function: Callable[[Tensor], Tensor]) -> Tensor:
    """2^15 times what a gate makes of -8 to 8 in steps of 2^-8, int16."""
    most = 1 << TABLE_BITS - 1
    places = torch.arange(-most, most, dtype=torch.float64) * TABLE_SCALE
    return (function(places) * (1 << UNIT_BITS) + 0.5).floor().clamp(max=BEFORE_GATES.high).to(torch.int16)


def reads_table(table: str, of: Quantization) -> Divided:
    """How a gate's table is read with whole numbers whose scale is a power of two, the nearest entry."""
    shift = frexp(TABLE_SCALE / of.scale)[1] - 1
    return Divided(table, (1 << TABLE_BITS - 1 + shift) + (1 << shift >> 1), shift)
