"""GELU, softmax and sigmoid as polynomials (HeatViT, arXiv 2211.08110, equations 11-14), for networks and the compiler.

Constants as an open re-implementation quotes them. They are operators (`spokeshave::polynomial_gelu` and so on), which
an export keeps whole and anybody else's decomposition takes apart into PyTorch's own.
"""

import math
from typing import Any

import torch
from torch import Tensor

CURVATURE, REACH = -0.2888, -1.769  # a and b of the error function's polynomial
EXPONENTIAL = (0.3585, 1.353, 0.344)
SMALLEST = -80.0  # exponents below it are this one: 2^-115 is nothing
SIGMOID = ((5.0, 0.0, 1.0), (2.375, 1 / 32, 27 / 32), (1.0, 1 / 8, 5 / 8), (0.0, 1 / 4, 1 / 2))


def polynomial_gelu(x: Tensor, scale: float = 0.5) -> Tensor:
    """`x/2 (1 + L(x / sqrt 2))`, `L(u) = sign(u) scale (a (min(|u|, -b) + b)^2 + 1)`.

    >>> polynomial_gelu(torch.tensor([0.0, 4.0]), 1.0)
    tensor([0., 4.])
    """
    found: Tensor = OPERATORS.polynomial_gelu(x, scale)
    return found


def polynomial_softmax(x: Tensor, dim: int = -1, scale: float = 1.0) -> Tensor:
    """Softmax by `polynomial_exp`; its rows add up to `scale`.

    >>> polynomial_softmax(torch.tensor([1.0, 1.0]), scale=0.5)
    tensor([0.2500, 0.2500])
    """
    found: Tensor = OPERATORS.polynomial_softmax(x, dim, scale)
    return found


def polynomial_sigmoid(x: Tensor) -> Tensor:
    """Four pieces of lines (PLAN).

    >>> polynomial_sigmoid(torch.tensor([-6.0, 0.0, 1.0]))
    tensor([0.0000, 0.5000, 0.7500])
    """
    found: Tensor = OPERATORS.polynomial_sigmoid(x)
    return found


def polynomial_exp(x: Tensor) -> Tensor:
    """A parabola between halvings: `(0.3585 (p + 1.353)^2 + 0.344) / 2^z`, `z = floor(-x / ln 2)`, `p = x + z ln 2`."""
    x = x.clamp(min=SMALLEST)
    halvings = (-x / math.log(2)).floor()
    rest = x + halvings * math.log(2)
    factor, shift, offset = EXPONENTIAL
    return (factor * (rest + shift).square() + offset) * torch.exp2(-halvings)


def _gelu(x: Tensor, scale: float) -> Tensor:
    scaled = x / math.sqrt(2)
    near = scaled.abs().clamp(max=-REACH)
    error_function = scaled.sign() * scale * (CURVATURE * (near + REACH).square() + 1)
    return x / 2 * (1 + error_function)


def _softmax(x: Tensor, dim: int, scale: float) -> Tensor:
    parts = polynomial_exp(x - x.detach().amax(dim, keepdim=True).clamp(min=torch.finfo(x.dtype).min))
    return scale * parts / parts.sum(dim, keepdim=True)


def _sigmoid(x: Tensor) -> Tensor:
    (last, *_), *_, (_, slope, offset) = SIGMOID
    size = x.abs().clamp(max=last)
    found = slope * size + offset
    for least, slope, offset in SIGMOID[-2::-1]:
        found = torch.where(size >= least, slope * size + offset, found)
    return torch.where(x < 0, 1 - found, found)


_LIBRARY = torch.library.Library("spokeshave", "FRAGMENT")
for _schema, _function in (
    ("polynomial_gelu(Tensor self, float scale) -> Tensor", _gelu),
    ("polynomial_softmax(Tensor self, int dim, float scale) -> Tensor", _softmax),
    ("polynomial_sigmoid(Tensor self) -> Tensor", _sigmoid),
):
    _LIBRARY.impl(_LIBRARY.define(_schema), _function, "CompositeImplicitAutograd")
OPERATORS: Any = torch.ops.spokeshave
