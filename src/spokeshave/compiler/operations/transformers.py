"""What transformers need besides layers, in whole numbers: products of two values, layer norm and softmax by tables."""

from dataclasses import dataclass

from spokeshave.compiler.operations.integers import Quantization, Rounding
from spokeshave.compiler.operations.tokens import Attention


@dataclass(frozen=True)
class QuantizedMatMul:
    """`a @ b` over the last two axes of whole numbers, zero points taken off: the sums as they are."""

    first: Quantization
    second: Quantization
    output: Quantization


@dataclass(frozen=True)
class QuantizedAttention:
    """Attention whose two products are of whole numbers, with a softmax in float32 between them.

    `inputs`: what queries, keys and values are; probabilities are rounded to levels of `probability`. The second
    product's sums are brought to levels of `output` as those of a `QuantizedMean` are.
    """

    attention: Attention
    inputs: tuple[Quantization, ...]
    probability: Quantization
    output: Quantization
    multiplier: float
    shift: int | None = None
    rounding: Rounding = "once"


@dataclass(frozen=True)
class Divided:
    """A table (a weight's name) read by a number's upper digits: `table[clamp((x + start) >> shift, 0, last)]`."""

    table: str
    start: int
    shift: int


@dataclass(frozen=True)
class QuantizedNorm:
    """Layer norm over the last axis, its inverse deviation by a table.

    `mean = (sum * mean_multiplier + half) >> mean_shift`, `d = x - mean`, `r` is what `inverse` gives for the sum of
    d * d; then `(d * r * gamma + beta) >> shift`, clamped. `gamma` and `beta` name int64 weights.
    """

    input: Quantization
    output: Quantization
    mean_multiplier: int
    mean_shift: int
    inverse: Divided
    gamma: str
    beta: str
    shift: int


@dataclass(frozen=True)
class QuantizedSoftmax:
    """Softmax over the last axis: powers and reciprocals by tables.

    `e` = what `power` gives for how far x is below the largest, `total` its sum; the reciprocal comes from `near`, and
    from `far` where `near` ends; `(e * reciprocal + half) >> shift`, clamped, each table with a shift of its own.
    """

    input: Quantization
    output: Quantization
    power: Divided
    near: Divided
    near_shift: int
    far: Divided
    far_shift: int
