"""Which tokens matter: the kinds of scorers, as frozen configs, and what each says of the tokens it sees."""

from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.tokens.dither import place_odds

STRONGEST_DITHER = 4.0  # with more, places alone would count


@dataclass(frozen=True)
class CLSAttention:
    """How much the class token attends to each token in the block before, mean over heads (EViT, Tri-Level)."""


@dataclass(frozen=True)
class ReceivedAttention:
    """How much attention each token receives from all tokens in the block before, mean over heads.

    For networks without a class token, windows included (Tri-Level's form for Swin, arXiv 2211.10801).
    """


@dataclass(frozen=True)
class Learned:
    """A selector with a head branch, trained with the network (SPViT, arXiv 2112.13890; HeatViT, arXiv 2211.08110).

    `heads` that divide the width, the block's own unless told; `shared` gives all of them one perceptron, as the
    authors' code does; without `importance` every head counts the same; `narrow` ones have HeatViT's features, half as
    many as SPViT's. Scores are probabilities of keeping. With `dither` above 0 their odds are multiplied by a fixed
    pattern over the places, as strong as Gumbel's noise where it is 1, so that what is kept is spread over the image
    without noise as well (`dither.py`); that is ours, the papers have none.
    """

    heads: int | None = None
    shared: bool = False
    importance: bool = True
    narrow: bool = False
    dither: float = 0.0

    def __post_init__(self) -> None:
        if self.heads is not None and self.heads < 1:
            raise SpokeshaveError(f"Learned: heads must be at least 1, not {self.heads!r}")
        number = isinstance(self.dither, (int, float)) and not isinstance(self.dither, bool)
        if not number or not 0 <= self.dither <= STRONGEST_DITHER:
            raise SpokeshaveError(
                f"Learned: dither is a strength from 0 (none) to {STRONGEST_DITHER:g}, not {self.dither!r}"
            )


@dataclass(frozen=True)
class Random:
    """Any tokens, the control: others in every pass of training, in evaluation the places that `seed` draws."""

    seed: int = 0


@dataclass(frozen=True)
class Given:
    """What `Inserted.give` was told: a teacher's indices, or stored tickets (data-level lottery tickets)."""


Scorer = CLSAttention | ReceivedAttention | Learned | Random | Given
ATTENTION = (CLSAttention, ReceivedAttention)
SCORERS = (*ATTENTION, Learned, Random, Given)


@dataclass(frozen=True)
class Seen:
    """What a scorer may look at: tokens `[N, T, C]` behind the class tokens, packages included.

    `alive` `[N, T]` is 1 for tokens that take part (None: all do). `places` `[N, T]` are their places among the
    network's `patches` (None while a network with data-dependent counts is exported), packages behind them, `size`
    all of them.
    """

    tokens: Tensor
    alive: Tensor | None
    places: Tensor | None
    attention: Tensor | None
    given: Tensor | None
    training: bool
    patches: int
    size: int


@singledispatch
def score(scorer: object, seen: Seen, selector: nn.Module | None) -> Tensor:
    """Scores `[N, T]`, higher is better; those of tokens that take no part mean nothing. Attention has no gradient."""
    raise SpokeshaveError(
        f"{scorer!r} is no token scorer; give CLSAttention(), Learned(), Random() or Given()"
    )


@score.register(CLSAttention)
@score.register(ReceivedAttention)
def _(scorer: CLSAttention | ReceivedAttention, seen: Seen, selector: nn.Module | None) -> Tensor:
    if seen.attention is None:
        raise SpokeshaveError(
            f"{type(scorer).__name__}: the block before computed no attention that can be read; attention must be "
            "scaled_dot_product_attention or a softmax over all tokens"
        )
    return seen.attention.detach()


@score.register
def _(scorer: Learned, seen: Seen, selector: nn.Module | None) -> Tensor:
    assert selector is not None
    scores: Tensor = selector(seen.tokens, seen.alive, _odds(scorer.dither, seen) if scorer.dither else None)
    return scores


@score.register
def _(scorer: Random, seen: Seen, selector: nn.Module | None) -> Tensor:
    if seen.training:
        numbers = torch.rand(len(seen.tokens), seen.size, device=seen.tokens.device)
    else:
        numbers = _scattered(scorer.seed, seen.size, seen.tokens.device).expand(len(seen.tokens), -1)
    return _at_places(numbers.to(seen.tokens.dtype), seen)


@score.register
def _(scorer: Given, seen: Seen, selector: nn.Module | None) -> Tensor:
    if seen.given is None:
        raise SpokeshaveError("Given: nothing was given; call give(scores) before the network")
    given = seen.given.to(seen.tokens)
    if len(given) != len(seen.tokens) or given.shape[1] != seen.patches:
        raise SpokeshaveError(
            f"Given: scores of {given.shape[0]} samples of {given.shape[1]} patches were given for {len(seen.tokens)} "
            f"of {seen.patches}"
        )
    return _of_patches(given, seen)


def _odds(dither: float, seen: Seen) -> Tensor:
    odds = place_odds(seen.patches, dither).to(seen.tokens.device)
    return _of_patches(odds.expand(len(seen.tokens), -1), seen)


def _of_patches(numbers: Tensor, seen: Seen) -> Tensor:
    """Numbers `[N, patches]` of all patches, for the tokens that are there; packages have 1."""
    packages = numbers.new_ones(len(numbers), seen.size - seen.patches)
    return _at_places(torch.cat((numbers, packages), 1), seen)


def _scattered(seed: int, size: int, device: torch.device) -> Tensor:
    """Numbers from 0 to 1 without a pattern that matters, by arithmetic that can be exported."""
    places = torch.arange(1, size + 1, dtype=torch.float64, device=device)
    return ((places * 12.9898 + (seed + 1) * 78.233).sin() * 43758.5453) % 1


def _at_places(numbers: Tensor, seen: Seen) -> Tensor:
    if seen.places is None:
        raise SpokeshaveError(
            "Random and Given score places, which are not known behind another reducer while the network is exported"
        )
    return numbers.gather(1, seen.places)
