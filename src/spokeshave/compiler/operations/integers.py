"""Layers in integers, and the conversions from and to float32."""

from dataclasses import dataclass
from typing import Literal

from spokeshave.compiler.operations.elementwise import Activation
from spokeshave.compiler.operations.layers import Convolution, Linear, Recurrent
from spokeshave.compiler.operations.products import SelectedLinear
from spokeshave.compiler.operations.reduction import Mean, Pool

Rounding = Literal["once", "twice"]


@dataclass(frozen=True)
class Quantization:
    """How whole numbers from `low` to `high` (uint8 unless said) stand for real ones: `scale * (q - zero_point)`.

    Zero is always one of the numbers.
    """

    scale: float
    zero_point: int
    low: int = 0
    high: int = 255

    @property
    def dtype(self) -> str:
        """The smallest element type that holds the numbers."""
        return whole_type(self.low, self.high)


def whole_type(low: int, high: int) -> str:
    """The smallest integer element type for numbers from `low` to `high`.

    >>> [whole_type(*span) for span in ((0, 255), (-8, 7), (0, 256), (-40000, 0), (0, 1 << 31))]
    ['uint8', 'int8', 'int16', 'int32', 'int64']
    """
    if low >= 0 and high <= 255:
        return "uint8"
    return next(f"int{bits}" for bits in (8, 16, 32, 64) if low >= -(1 << bits - 1) and high < 1 << bits - 1)


@dataclass(frozen=True)
class Rescale:
    """Sums to levels without a floating-point number: `(sum * multiplier + 2^(shift - 1)) >> shift`, row by row.

    `multiplier` and `shift` name int64 weights `[rows]`; a residual is multiplied by `residual`, int64 `[rows]`, and
    added to the product before the shift; `bias`, int64 `[rows]`, is added to the sum. Where all multipliers are powers
    of two the hardware needs shifts alone. With `rounding` "twice" the product is first rounded to its upper half, as
    gemmlowp does and TensorFlow Lite's reference kernels do (halves away from zero at the second).
    """

    multiplier: str
    shift: str
    bias: str | None = None
    residual: str | None = None
    rounding: Rounding = "once"


@dataclass(frozen=True)
class Quantize:
    """float32 -> whole numbers: scaled, rounded to the nearest (ties to even), clamped."""

    quantization: Quantization


@dataclass(frozen=True)
class Dequantize:
    """Whole numbers -> float32."""

    quantization: Quantization


@dataclass(frozen=True)
class Quantized:
    """A layer in integers: whole inputs and weights, exact sums; what comes after the sums is float32, or `rescale`.

    `layer.weight` names the integer weight, `weight_scale` its scales, one an output row; the bias stays float32 where
    there is no `rescale`. The residual is quantized as `residual` says, else float32; the output as `output` says, else
    float32. Kernels take uint8 values and int8 weights, without `rescale`.
    """

    layer: Convolution | Linear
    weight_scale: str
    input: Quantization
    residual: Quantization | None = None
    output: Quantization | None = None
    rescale: Rescale | None = None

    @property
    def weight(self) -> str:
        """Name of the integer weight."""
        return self.layer.weight

    @property
    def bias(self) -> str | None:
        """Name of the float32 bias."""
        return self.layer.bias


@dataclass(frozen=True)
class QuantizedRecurrent:
    """A recurrent layer both of whose products run in integers; gates and a cell's memory are float32.

    `layer` names int8 weights, `input_scale` and `hidden_scale` theirs, one an output row. Steps and state are float32
    values that are rounded to uint8 for the products: a step as `input` says, the state after each step as `state`.
    """

    layer: Recurrent
    input_scale: str
    hidden_scale: str
    input: Quantization
    state: Quantization

    @property
    def input_product(self) -> Quantized:
        """The input's share of the gates, without a bias."""
        return Quantized(Linear(self.layer.input_weight, None), self.input_scale, self.input)

    @property
    def state_product(self) -> Quantized:
        """The state's share of the gates, without a bias."""
        return Quantized(Linear(self.layer.hidden_weight, None), self.hidden_scale, self.state)


@dataclass(frozen=True)
class QuantizedSelected:
    """A product with matrices that tokens choose, in integers; tokens are float32 values that are rounded for it.

    `layer` names int8 matrices, `weight_scale` their scales, one an output row of each.
    """

    layer: SelectedLinear
    weight_scale: str
    input: Quantization

    @property
    def product(self) -> Quantized:
        """The product with all rows of all matrices, one below the other."""
        return Quantized(Linear(self.layer.weight, None), self.weight_scale, self.input)


@dataclass(frozen=True)
class QuantizedPool:
    """Max pooling of whole numbers: the largest number is the largest level. It reads and makes the same levels."""

    pool: Pool
    quantization: Quantization


@dataclass(frozen=True)
class Steps:
    """A sum that is rounded on the way, as TensorFlow Lite's reference kernels do: "twice" (see `Rescale`) every time.

    Inputs get `headroom` more bits, each is rescaled by its multiplier and shift, and the sum by these here.
    """

    headroom: int
    shifts: tuple[int, ...]
    multiplier: int
    shift: int


@dataclass(frozen=True)
class QuantizedSum:
    """Whole numbers of several quantizations added (or subtracted), element by element, then relu or clamp.

    `(sum of (q - zero_point) * multiplier, plus half) >> shift`; without a `shift` the multipliers are float32 numbers,
    unless there are `steps`. A single input is a change of quantization.
    """

    inputs: tuple[Quantization, ...]
    multipliers: tuple[float, ...]
    output: Quantization
    shift: int | None = None
    activation: Activation | None = None
    steps: Steps | None = None


@dataclass(frozen=True)
class QuantizedMean:
    """Mean over axes, or average pooling that counts its padding: sums of `q - zero_point`, rescaled.

    `(sum * multiplier, plus half) >> shift`, rounded as in `Rescale`; without a `shift` the multiplier is a float32
    number.
    """

    operation: Mean | Pool
    input: Quantization
    output: Quantization
    multiplier: float
    shift: int | None = None
    rounding: Rounding = "once"


@dataclass(frozen=True)
class Lookup:
    """An element-wise function as a table: `table[clamp((q + start) >> shift, 0, last)]`.

    `table` names a weight of whole numbers; they are levels of `output`.
    """

    table: str
    start: int
    shift: int
    output: Quantization
