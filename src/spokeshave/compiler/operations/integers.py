"""Layers in integers, and the conversions from and to float32."""

from dataclasses import dataclass

from spokeshave.compiler.operations.layers import Convolution, Linear, Recurrent
from spokeshave.compiler.operations.reduction import Pool


@dataclass(frozen=True)
class Quantization:
    """How uint8 stands for a real number: `scale * (q - zero_point)`; zero is always one of the numbers."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class Quantize:
    """float32 -> uint8: scaled, rounded to the nearest (ties to even), clamped."""

    quantization: Quantization


@dataclass(frozen=True)
class Dequantize:
    """uint8 -> float32."""

    quantization: Quantization


@dataclass(frozen=True)
class Quantized:
    """A layer in integers: uint8 inputs, int8 weights, int32 sums; everything after the sums is float32.

    `layer.weight` names the int8 weight, `weight_scale` its scales, one an output row; the bias stays float32.
    The residual is uint8 with `residual`, else float32; the output is uint8 with `output`, else float32.
    """

    layer: Convolution | Linear
    weight_scale: str
    input: Quantization
    residual: Quantization | None = None
    output: Quantization | None = None

    @property
    def weight(self) -> str:
        """Name of the int8 weight."""
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
class QuantizedPool:
    """Max pooling of uint8: the largest number is the largest level. What it reads and makes is quantized alike."""

    pool: Pool
    quantization: Quantization
