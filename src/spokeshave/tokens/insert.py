"""Putting token reducers into a network, without rewriting it, and taking them out again."""

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType

import torch
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.tokens.blocks import Block, count_class_tokens, find_blocks
from spokeshave.tokens.check import check_reducers
from spokeshave.tokens.decisions import Decision
from spokeshave.tokens.flow import Flow, Form
from spokeshave.tokens.reducer import TokenReducer
from spokeshave.tokens.runner import Runner
from spokeshave.tokens.scorers import Learned
from spokeshave.tokens.selector import Selector

SELECTORS = "token_selectors"
HANDLE = "_token_reducers"


class Inserted:
    """Reducers at work in a network, until `remove` (or the end of a `with`).

    In training mode tokens are masked, in evaluation they are gathered; `form` ("masked" or "gathered") decides
    otherwise. Both give equal scores for equal decisions. The figures are those of the last forward pass.
    """

    def __init__(
        self, network: nn.Module, flow: Flow, runners: Sequence[Runner], blocks: Sequence[Block]
    ) -> None:
        self._network, self._flow, self._runners = network, flow, tuple(runners)
        self.blocks = tuple(blocks)

    @property
    def reducers(self) -> tuple[TokenReducer, ...]:
        """In the order of their places."""
        return tuple(self._flow.reducers.values())

    @property
    def leading(self) -> int:
        """How many class tokens stand in front."""
        return self._flow.leading

    @property
    def form(self) -> Form | None:
        """None: masked in training, gathered in evaluation."""
        return self._flow.form

    @form.setter
    def form(self, form: Form | None) -> None:
        if form not in (None, "masked", "gathered"):
            raise SpokeshaveError(f"the form is 'masked', 'gathered' or None, not {form!r}")
        self._flow.form = form

    @property
    def kept(self) -> tuple[Tensor, ...]:
        """For every reducer `[N, patches]`: 1 where a patch of its stage still takes part; gradients as in training."""
        return tuple(self._flow.kept)

    @property
    def decisions(self) -> tuple[Tensor, ...]:
        """`kept` as truth values, without gradients."""
        return tuple(kept.detach() > 0.5 for kept in self._flow.kept)

    @property
    def scores(self) -> tuple[Tensor, ...]:
        """What every reducer decided by, `[N, patches]`; 0 for patches that were gone before."""
        return tuple(self._flow.scores)

    @property
    def counts(self) -> Tensor:
        """How many tokens each block worked on, class tokens and packages included: `[blocks, N]`."""
        return torch.stack(self._flow.counts) if self._flow.counts else torch.zeros(0, 0)

    @property
    def learns(self) -> bool:
        """Whether the last pass was in training mode."""
        return self._flow.training

    @property
    def features(self) -> Tensor | None:
        """What the last block gave."""
        return self._flow.features

    @property
    def selectors(self) -> dict[int, Selector]:
        """The learned selectors, by the block they stand before; they are layers of the network too."""
        return dict(self._flow.selectors)

    def decide(self, before: int, decision: Decision) -> None:
        """Let the reducer before a block decide otherwise; its selector and everything else stay."""
        if before not in self._flow.reducers:
            raise SpokeshaveError(
                f"no reducer stands before block {before}; they do before {list(self._flow.reducers)}"
            )
        self._flow.reducers[before] = replace(self._flow.reducers[before], decision=decision)

    def give(self, scores: Tensor | None) -> None:
        """Tell `Given` scorers the patches' scores `[N, patches]` for the passes to come; truth values will do."""
        if scores is not None and scores.dim() != 2:
            raise SpokeshaveError(f"scores are [samples, patches], not of shape {tuple(scores.shape)}")
        self._flow.given = scores

    def remove(self) -> None:
        """Leave the network as it was before; a second time does nothing."""
        if self._network.__dict__.get(HANDLE) is not self:
            return
        for runner in self._runners:
            runner.leave()
        if SELECTORS in self._network._modules:
            delattr(self._network, SELECTORS)
        delattr(self._network, HANDLE)

    def __enter__(self) -> "Inserted":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def insert(
    network: nn.Module,
    reducers: TokenReducer | Sequence[TokenReducer],
    blocks: str | None = None,
    class_tokens: int | None = None,
) -> Inserted:
    """Put token reducers into a transformer in place; its code and its weights' names stay what they are.

    `blocks` is a pattern of the blocks' names and `class_tokens` how many tokens stand in front of the patches; both
    are found where they are not told. Blocks take tokens `[N, T, C]` first and give as many (alone, or first of a
    tuple), and attend by `scaled_dot_product_attention` or a softmax. Learned selectors become layers of the network
    under `token_selectors`. Raises SpokeshaveError for reducers that do not fit the network.

    >>> layer = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    >>> insert(nn.Sequential(layer), TokenReducer(1))
    Traceback (most recent call last):
        ...
    spokeshave.errors.SpokeshaveError: TokenReducer before block 1: the network has 1 block, 0 to 0
    """
    ordered = (
        [reducers] if isinstance(reducers, TokenReducer) else sorted(reducers, key=lambda one: one.before)
    )
    found = find_blocks(network, blocks)
    if any(isinstance(getattr(block.module.forward, "__self__", None), Runner) for block in found):
        raise SpokeshaveError(f"{type(network).__name__} has token reducers already; remove() those first")
    leading = count_class_tokens(network) if class_tokens is None else class_tokens
    if not isinstance(leading, int) or isinstance(leading, bool) or leading < 0:
        raise SpokeshaveError(
            f"class_tokens counts the tokens in front of the patches, 0 or more, not {leading!r}"
        )
    check_reducers(network, ordered, found, leading)
    selectors = {one.before: _selector(one, found) for one in ordered if isinstance(one.scorer, Learned)}
    flow = Flow(leading, {one.before: one for one in ordered}, selectors)
    runners = [
        Runner(
            flow, block, index, index == 0 or found[index - 1].stage != block.stage, index == len(found) - 1
        )
        for index, block in enumerate(found)
    ]
    for runner in runners:
        runner.take_over()
    if selectors:
        named = {str(place): selector for place, selector in selectors.items()}
        network.add_module(SELECTORS, nn.ModuleDict(named))
    inserted = Inserted(network, flow, runners, found)
    network.__dict__[HANDLE] = inserted
    return inserted


def inserted_in(network: nn.Module) -> Inserted:
    """The reducers of a network, which a copy of it has of its own; raises SpokeshaveError where there are none."""
    found = network.__dict__.get(HANDLE)
    if found is None:
        raise SpokeshaveError(
            f"{type(network).__name__} has no token reducers; insert(network, reducers) puts them in"
        )
    return found


def _selector(reducer: TokenReducer, blocks: Sequence[Block]) -> Selector:
    scorer, block = reducer.scorer, blocks[reducer.before]
    assert isinstance(scorer, Learned)
    heads = scorer.heads or block.heads
    if heads is None:
        raise SpokeshaveError(
            f"block {block.name!r} does not say how many heads it has; give Learned(heads=...)"
        )
    if block.width % heads or block.width // heads < 4:
        raise SpokeshaveError(
            f"Learned: {heads} heads do not divide the width {block.width} of block {block.name!r} into slices "
            "of 4 or more"
        )
    like = next(block.module.parameters())
    selector = Selector(block.width, heads, scorer.shared, scorer.importance, scorer.narrow)
    return selector.to(like.device, like.dtype).train(block.module.training)
