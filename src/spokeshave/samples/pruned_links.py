"""Attention with fewer links inside anybody's network, put in and taken out without rewriting it."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spokeshave.attention_call import AttentionCall
from spokeshave.errors import SpokeshaveError
from spokeshave.samples.links import (
    Alive,
    LinkPruning,
    attention_map,
    kept_keys,
    received,
    restrict,
    row_mask,
)
from spokeshave.token_selection import take_tokens


def prune_links(network: nn.Module, pruning: LinkPruning, alive: Alive | None = None) -> "PrunedLinks":
    """Prune links of a network's attention in every forward pass from now on, in training and evaluation.

    Attention must be `scaled_dot_product_attention` over `[N, heads, T, D]`, one call a block. Where token reducers are
    at work too, `alive` says which patches are left (`lambda: inserted.decisions[-1] if inserted.decisions else None`),
    and links are chosen among those. Raises SpokeshaveError in a pass without such attention.
    """
    return PrunedLinks(network, pruning, alive)


class PrunedLinks:
    """Links being pruned in a network, until `remove`; `keep` may be changed between passes (`KeepSchedule`)."""

    def __init__(self, network: nn.Module, pruning: LinkPruning, alive: Alive | None) -> None:
        self._pruning, self._alive = pruning, alive or (lambda: None)
        self._pass: _Pass | None = None
        self._handles = (
            network.register_forward_pre_hook(self._begin),
            network.register_forward_hook(self._end, always_call=True),
        )
        self.keys: tuple[int, ...] = ()

    @property
    def keep(self) -> float:
        """The share of links that stays."""
        return self._pruning.keep

    @keep.setter
    def keep(self, share: float) -> None:
        self._pruning = replace(self._pruning, keep=share)

    def remove(self) -> None:
        """Leave the network as it was before."""
        for handle in self._handles:
            handle.remove()

    def _begin(self, network: nn.Module, inputs: Any) -> None:
        self._pass = _Pass(self._pruning, self._alive)
        self._pass.__enter__()

    def _end(self, network: nn.Module, inputs: Any, outputs: Any) -> None:
        now, self._pass = self._pass, None
        if now is None:
            return
        now.__exit__(None, None, None)
        self.keys = tuple(now.keys)
        last = max(self._pruning.after)
        if outputs is not None and len(self.keys) < last + 2:
            raise SpokeshaveError(
                f"LinkPruning: after {last} needs an attention behind it, but the network called "
                f"scaled_dot_product_attention {len(self.keys)} times; networks that attend in another way are not "
                "supported"
            )


class _Pass(TorchFunctionMode):
    """One forward pass; `keys` is how many tokens each attention read, per query."""

    def __init__(self, pruning: LinkPruning, alive: Alive) -> None:
        super().__init__()
        self.keys: list[int] = []
        self._pruning, self._alive = pruning, alive
        self._scores: Tensor | None = None
        self._chosen_among: Tensor | None = None

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: Any = None
    ) -> Any:
        if function is not F.scaled_dot_product_attention:
            return function(*arguments, **(named or {}))
        return self._attend(AttentionCall.of(*arguments, **(named or {})))

    def _attend(self, call: AttentionCall) -> Tensor:
        number = len(self.keys)
        if call.mask is not None or call.causal or call.query.shape[2] != call.key.shape[2]:
            raise SpokeshaveError(
                f"LinkPruning: attention {number} has a mask or other queries than keys; links are pruned in plain "
                "self-attention alone"
            )
        following = self._map(call) if number in self._pruning.after else None
        found = self._pruned(call).attend()
        if following is not None:
            self._scores, self._chosen_among = following, self._alive()
        return found

    def _pruned(self, call: AttentionCall) -> AttentionCall:
        """The call with the links that stay."""
        tokens = call.key.shape[2]
        scores = self._current(tokens)
        if scores is None or self._pruning.keep == 1:
            self.keys.append(tokens)
            return call
        if self._pruning.per == "row":
            self.keys.append(self._pruning.count(tokens - self._pruning.leading) + self._pruning.leading)
            return replace(call, mask=row_mask(scores, self._pruning)[:, None])
        places = kept_keys(scores, self._pruning)
        self.keys.append(places.shape[1])
        rows = (places + tokens * torch.arange(len(places), device=places.device)[:, None]).flatten()
        key, value = (
            take_tokens(each.transpose(1, 2), rows).transpose(1, 2) for each in (call.key, call.value)
        )
        return replace(call, key=key, value=value)

    def _map(self, call: AttentionCall) -> Tensor:
        with torch.no_grad():
            return attention_map(call) if self._pruning.per == "row" else received(call, self._pruning)

    def _current(self, tokens: int) -> Tensor | None:
        """What chooses now, among the tokens that are left."""
        front = self._pruning.leading if self._pruning.per == "key" else 0
        if self._scores is None or self._scores.shape[1] + front == tokens:
            return self._scores
        left, before = self._alive(), self._chosen_among
        if left is None:
            raise SpokeshaveError(
                f"LinkPruning: the tokens have become {tokens}; give prune_links an `alive` that says which are left"
            )
        stayed = left if before is None else left[before].view(len(left), -1)
        self._scores = restrict(self._scores, stayed, self._pruning.leading)
        self._chosen_among = left
        return self._scores
