"""Activations run by PyTorch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.compiler.operations import Activation
from spokeshave.polynomials import polynomial_gelu, polynomial_sigmoid

ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "relu": F.relu,
    "clamp": torch.clamp,
    "leaky_relu": F.leaky_relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "elu": F.elu,
    "exp": torch.exp,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "sign": lambda x: torch.where(x >= 0, 1.0, -1.0).to(x.dtype),
    "polynomial_gelu": polynomial_gelu,
    "polynomial_sigmoid": polynomial_sigmoid,
}


def activate(activation: Activation | None, x: Tensor) -> Tensor:
    """Apply an activation with PyTorch."""
    return x if activation is None else ACTIVATIONS[activation.kind](x, *activation.parameters)
