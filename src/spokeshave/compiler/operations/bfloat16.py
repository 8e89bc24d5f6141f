"""Layers in bfloat16, and the conversions from and to float32."""

from dataclasses import dataclass

from spokeshave.compiler.operations.layers import Convolution, Linear


@dataclass(frozen=True)
class Round:
    """float32 -> bfloat16: to the nearest, ties to even."""


@dataclass(frozen=True)
class Widen:
    """bfloat16 -> float32, exactly."""


@dataclass(frozen=True)
class Rounded:
    """A layer in bfloat16: bfloat16 inputs and weights; sums and everything after them are float32.

    `layer.weight` names the bfloat16 weight; the bias stays float32. The residual is bfloat16 with `residual`, else
    float32; the output is rounded to bfloat16 with `output`, else float32.
    """

    layer: Convolution | Linear
    residual: bool = False
    output: bool = False

    @property
    def weight(self) -> str:
        """Name of the bfloat16 weight."""
        return self.layer.weight

    @property
    def bias(self) -> str | None:
        """Name of the float32 bias."""
        return self.layer.bias
