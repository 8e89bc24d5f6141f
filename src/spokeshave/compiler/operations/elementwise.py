"""Operations on every element by itself."""

from dataclasses import dataclass
from typing import Literal

ActivationKind = Literal[
    "relu",
    "clamp",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "silu",
    "gelu",
    "gelu_tanh",
    "hardsigmoid",
    "hardswish",
    "elu",
    "exp",
    "sqrt",
    "rsqrt",
    "sign",
    "polynomial_gelu",
    "polynomial_sigmoid",
]

BinaryKind = Literal[
    "add",
    "subtract",
    "multiply",
    "divide",
    "maximum",
    "minimum",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
]


@dataclass(frozen=True)
class Activation:
    """An element-wise function; `parameters`: (low, high) of clamp, (slope,) of leaky_relu, (alpha,) of elu,
    (scale,) of polynomial_gelu (`spokeshave.polynomials`). `sign` is -1 below 0 and 1 from 0 up: it never gives 0.
    """

    kind: ActivationKind
    parameters: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The kind and parameters as part of a C name.

        >>> Activation("clamp", (-0.1, 6.0)).name
        'clamp_m0d1_6d0'
        """
        letters = str.maketrans({"-": "m", ".": "d", "+": "p"})
        return "_".join((self.kind, *(repr(float(value)).translate(letters) for value in self.parameters)))


@dataclass(frozen=True)
class Activate:
    """An activation that no producing kernel took in."""

    activation: Activation


@dataclass(frozen=True)
class Binary:
    """Element-wise `a op b` with broadcasting, comparisons as 0 and 1.

    `constant` names a weight that stands for the second operand; with `reverse` it is the first (`constant - x`).
    """

    kind: BinaryKind
    constant: str | None = None
    reverse: bool = False
    activation: Activation | None = None


@dataclass(frozen=True)
class Affine:
    """`x * scale + shift` per channel (axis 1): a batch norm in evaluation mode that no convolution took in."""

    scale: str
    shift: str
    activation: Activation | None = None


@dataclass(frozen=True)
class Convert:
    """Whole numbers as float32; with `truth`, 1 for every number but 0."""

    truth: bool = False


@dataclass(frozen=True)
class Where:
    """`yes` where the first input is not 0, else `no`: constants, or the inputs that follow."""

    yes: str | None = None
    no: str | None = None
