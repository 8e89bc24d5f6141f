"""Recurrent layers in whole numbers to the end: gates by tables, states of sixteen bits."""

from dataclasses import dataclass

from spokeshave.compiler.operations.integers import Quantization, Quantized, QuantizedSum
from spokeshave.compiler.operations.layers import Recurrent
from spokeshave.compiler.operations.transformers import Divided

STATE_BITS = 16
UNIT_BITS = STATE_BITS - 1  # what a gate multiplies by is so many bits behind the point
BEFORE_GATES = Quantization(2.0**-10, 0, -(1 << STATE_BITS - 1), (1 << STATE_BITS - 1) - 1)


@dataclass(frozen=True)
class WholeRecurrent:
    """A recurrent layer without a floating-point number between its steps and what it makes of them.

    `layer` names whole weights, and no biases: these are in the sums. Both products bring their sums to levels of
    `BEFORE_GATES`; of the sum of two of them `sigmoid` and `tanh` make 2^15 times what a gate lets through. Products of
    gates and states are shifted back, halves up. States have sixteen bits: `hidden`, and `cell` of an LSTM, whose
    tanh has a table of its own; `narrow` is what the next step's product reads of h. The sequence and the last h leave
    as levels, as `outputs` say, or as float32, like the last c; states that are given are float32.
    """

    layer: Recurrent
    input_product: Quantized
    state_product: Quantized
    narrow: QuantizedSum
    sigmoid: Divided
    tanh: Divided
    hidden: Quantization
    outputs: tuple[QuantizedSum | None, QuantizedSum | None]
    cell: Quantization | None = None
    cell_tanh: Divided | None = None
