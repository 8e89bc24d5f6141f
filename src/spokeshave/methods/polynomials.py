"""GELU, softmax and sigmoid as polynomials that an FPGA computes cheaply (HeatViT, arXiv 2211.08110, equations 11-14).

Constants as an open re-implementation quotes them. With scales of one half the slopes of GELU and of attention stay
below one, so that errors of quantization shrink on their way through; but they change the network, which must be
trained with them inside.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spokeshave.attention_call import AttentionCall
from spokeshave.errors import SpokeshaveError
from spokeshave.tokens.attention import SOFTMAXES, masked_softmax

CURVATURE, REACH = -0.2888, -1.769  # a and b of the error function's polynomial
EXPONENTIAL = (0.3585, 1.353, 0.344)
SMALLEST = -80.0  # exponents below it are this one: 2^-115 is nothing
SIGMOID = ((5.0, 0.0, 1.0), (2.375, 1 / 32, 27 / 32), (1.0, 1 / 8, 5 / 8), (0.0, 1 / 4, 1 / 2))
SIGMOIDS = (F.sigmoid, torch.sigmoid, Tensor.sigmoid)


@dataclass(frozen=True)
class Polynomials:
    """Factors of GELU's error function (the paper's d1) and of attention's softmax (d2); 1 regularises nothing."""

    gelu: float = 0.5
    attention: float = 0.5

    def __post_init__(self) -> None:
        for name in ("gelu", "attention"):
            if not 0 < getattr(self, name) <= 1:
                raise SpokeshaveError(
                    f"Polynomials: {name} must be above 0 and at most 1, not {getattr(self, name)!r}"
                )


def polynomial_gelu(x: Tensor, scale: float = 0.5) -> Tensor:
    """`x/2 (1 + L(x / sqrt 2))`, `L(u) = sign(u) scale (a (min(|u|, -b) + b)^2 + 1)`.

    >>> polynomial_gelu(torch.tensor([0.0, 4.0]), 1.0)
    tensor([0., 4.])
    """
    scaled = x / math.sqrt(2)
    near = scaled.abs().clamp(max=-REACH)
    error_function = scaled.sign() * scale * (CURVATURE * (near + REACH).square() + 1)
    return x / 2 * (1 + error_function)


def polynomial_exp(x: Tensor) -> Tensor:
    """A parabola between halvings: `(0.3585 (p + 1.353)^2 + 0.344) / 2^z`, `z = floor(-x / ln 2)`, `p = x + z ln 2`."""
    x = x.clamp(min=SMALLEST)
    halvings = (-x / math.log(2)).floor()
    rest = x + halvings * math.log(2)
    factor, shift, offset = EXPONENTIAL
    return (factor * (rest + shift).square() + offset) * torch.exp2(-halvings)


def polynomial_softmax(x: Tensor, dim: int = -1, scale: float = 1.0) -> Tensor:
    """Softmax by `polynomial_exp`; its rows add up to `scale`."""
    parts = polynomial_exp(x - x.detach().amax(dim, keepdim=True).clamp(min=torch.finfo(x.dtype).min))
    return scale * parts / parts.sum(dim, keepdim=True)


def polynomial_sigmoid(x: Tensor) -> Tensor:
    """Four pieces of lines (PLAN).

    >>> polynomial_sigmoid(torch.tensor([-6.0, 0.0, 1.0]))
    tensor([0.0000, 0.5000, 0.7500])
    """
    size, found = x.abs(), torch.zeros_like(x)
    for least, slope, offset in reversed(SIGMOID):
        found = torch.where(size >= least, slope * size + offset, found)
    return torch.where(x < 0, 1 - found, found)


class Approximated:
    """A network that computes with polynomials, until `remove` (or the end of a `with`)."""

    def __init__(self, network: nn.Module, polynomials: Polynomials) -> None:
        self._network, self._polynomials = network, polynomials
        self._original = network.forward
        network.forward = self.forward

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The network's own forward."""
        with _Polynomial(self._polynomials):
            return self._original(*inputs, **named)

    def remove(self) -> None:
        """Let the network compute exactly again."""
        del self._network.forward

    def __enter__(self) -> "Approximated":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def approximate(network: nn.Module, polynomials: Polynomials) -> Approximated:
    """Let a network's GELU, softmax (`scaled_dot_product_attention` included) and sigmoid be polynomials, in place.

    Weights, training loops, exports and token reducers see nothing of it. The scale of attention is for softmaxes over
    `[N, heads, Q, K]`; a selector's stay whole, so that one half keeps its meaning.
    """
    if "forward" in network.__dict__:
        raise SpokeshaveError(
            f"{type(network).__name__} computes with polynomials already; remove() those first"
        )
    return Approximated(network, polynomials)


class _Polynomial(TorchFunctionMode):
    def __init__(self, polynomials: Polynomials) -> None:
        super().__init__()
        self._scales = polynomials

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        arguments: tuple[Any, ...] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(named or {})
        if function is F.gelu:
            return polynomial_gelu(arguments[0], self._scales.gelu)
        if function in SIGMOIDS:
            return polynomial_sigmoid(arguments[0])
        if function in SOFTMAXES:
            return self._softmax(*arguments, **named)
        if function is masked_softmax:
            return masked_softmax(*arguments, exponential=polynomial_exp) * self._scales.attention
        if function is F.scaled_dot_product_attention:
            return self._attend(AttentionCall.of(*arguments, **named))
        return function(*arguments, **named)

    def _softmax(self, x: Tensor, dim: int = -1, dtype: torch.dtype | None = None, **others: Any) -> Tensor:
        scale = self._scales.attention if x.dim() == 4 else 1.0
        return polynomial_softmax(x if dtype is None else x.to(dtype), dim, scale)

    def _attend(self, call: AttentionCall) -> Tensor:
        if call.causal:
            raise SpokeshaveError("attention by polynomials is for encoders; this one is causal")
        return call.weigh(self._softmax(call.scores()))
