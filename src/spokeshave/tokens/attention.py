"""Attention inside anybody's block: some tokens left out, and what was attended to written down."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function

from spokeshave.attention_call import AttentionCall
from spokeshave.errors import SpokeshaveError

Wanted = Literal["class", "received"]

SOFTMAXES = (F.softmax, torch.softmax, Tensor.softmax)
MOST = 20.0  # exponent of a key that is left out: it counts for nothing, but its gradient must be finite
MOST_OF_HALF = 10.0  # float16 ends at exp(11)


class Attending(TorchFunctionMode):
    """While it is entered, attention over `alive.shape[1]` tokens passes by those whose `alive` `[N, T]` is 0.

    Every token attends to itself, so that no row is empty. Attention is `scaled_dot_product_attention`, or a softmax
    over the last axis of `[N, heads, T, T]`. `attention` `[N, T]` is what was `wanted` of it, mean over heads: what the
    first token attends to, or what each token receives from all that are alive.
    """

    def __init__(self, alive: Tensor | None, tokens: int, wanted: Wanted | None = None) -> None:
        super().__init__()
        self.attention: Tensor | None = None
        self._alive, self._tokens, self._wanted = alive, tokens, wanted
        self._handled = False

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        arguments: tuple[Any, ...] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(named or {})
        if function is F.scaled_dot_product_attention:
            return self._attend(AttentionCall.of(*arguments, **named))
        if function in SOFTMAXES:
            scores = arguments[0] if arguments else named.pop("input")
            return self._replace_softmax(function, (scores, *arguments[1:]), named)
        return function(*arguments, **named)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if kind is None and self._alive is not None and not self._handled:
            raise SpokeshaveError(
                f"a block attended to its {self._tokens} tokens in a way that cannot be masked; attention must be "
                "scaled_dot_product_attention, or a softmax over the last axis of [samples, heads, tokens, tokens]"
            )

    def _replace_softmax(self, function: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
        if not self._concerns(arguments[0].shape[-1], arguments[0]):
            return function(*arguments, **named)
        self._handled = True
        if self._alive is None:
            found: Tensor = function(*arguments, **named)
        else:
            scores, dtype = arguments[0], named.get("dtype")
            found = _softmax(scores if dtype is None else scores.to(dtype), self._alive)
        self._write_down(found)
        return found

    def _concerns(self, keys: int, queries: Tensor) -> bool:
        return queries.dim() == 4 and keys == self._tokens and queries.shape[2] == self._tokens

    def _attend(self, call: AttentionCall) -> Tensor:
        if not self._concerns(call.key.shape[-2], call.query):
            return call.attend()
        self._handled = True
        if self._wanted is not None:
            seen = call.first_queries(1) if self._wanted == "class" else call
            self._write_down(_softmax(seen.scores(), self._alive))
        if self._alive is None:
            return call.attend()
        if call.causal:
            raise SpokeshaveError("tokens are masked in encoders; this attention is causal")
        if self._alive.requires_grad:
            return call.weigh(_softmax(call.scores(), self._alive))
        mask = _allowed(self._alive, self._tokens)[:, None].log().to(call.query.dtype)
        return replace(call, mask=mask if call.bias is None else mask + call.bias).attend()

    def _write_down(self, probabilities: Tensor) -> None:
        if self._wanted is None:
            return
        heads = probabilities.mean(1)
        if self._wanted == "class":
            self.attention = heads[:, 0]
        else:
            rows = torch.ones_like(heads[:, :, 0]) if self._alive is None else self._alive
            self.attention = (heads * rows[:, :, None]).sum(1)


def _softmax(scores: Tensor, alive: Tensor | None) -> Tensor:
    """The softmax over the keys that are alive and each query's own; gradients reach `alive`."""
    if alive is None:
        return F.softmax(scores, -1)
    return masked_softmax(scores, _allowed(alive, scores.shape[-2])[:, None].to(scores.dtype))


def masked_softmax(
    scores: Tensor, allowed: Tensor, exponential: Callable[[Tensor], Tensor] = torch.exp
) -> Tensor:
    """The softmax over the last axis where `allowed` is 1, with gradients for `allowed`; modes may replace it."""
    if exponential is torch.exp and has_torch_function((scores, allowed)):
        replaced: Tensor = handle_torch_function(masked_softmax, (scores, allowed), scores, allowed)
        return replaced
    greatest = scores.detach().masked_fill(allowed < 0.5, -math.inf).amax(-1, keepdim=True)
    most = MOST_OF_HALF if scores.dtype == torch.float16 else MOST
    weights = exponential((scores - greatest).clamp(max=most)) * allowed
    return weights / weights.sum(-1, keepdim=True)


def _allowed(alive: Tensor, queries: int) -> Tensor:
    """`[N, Q, T]`: 1 where a key takes part, or is the query itself (queries are the first Q tokens)."""
    own = torch.eye(queries, alive.shape[1], dtype=alive.dtype, device=alive.device)
    return alive[:, None] * (1 - own) + own
