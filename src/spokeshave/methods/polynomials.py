"""Networks that compute GELU, softmax and sigmoid by `spokeshave.polynomials` (HeatViT, arXiv 2211.08110).

With scales of one half the slopes of GELU and of attention stay below one, so that errors of quantization shrink on
their way through; but they change the network, which must be trained with them inside.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spokeshave.attention_call import AttentionCall
from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.polynomials import polynomial_exp, polynomial_gelu, polynomial_sigmoid, polynomial_softmax
from spokeshave.schemes.checks import check_share
from spokeshave.tokens.attention import SOFTMAXES, masked_softmax
from spokeshave.weights import check_network

SIGMOIDS = (F.sigmoid, torch.sigmoid, Tensor.sigmoid)


@dataclass(frozen=True)
class Polynomials:
    """Factors of GELU's error function (the paper's d1) and of attention's softmax (d2); 1 regularises nothing."""

    gelu: float = 0.5
    attention: float = 0.5

    def __post_init__(self) -> None:
        for name in ("gelu", "attention"):
            check_share("Polynomials", name, getattr(self, name))


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
    check_network("approximate", network)
    check_kind("approximate: polynomials", polynomials, Polynomials, "Polynomials(...)")
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
