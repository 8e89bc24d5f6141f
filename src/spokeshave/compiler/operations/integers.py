"""Layers in integers, and the conversions from and to float32."""

from dataclasses import dataclass

from spokeshave.compiler.operations.layers import Convolution, Linear


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
