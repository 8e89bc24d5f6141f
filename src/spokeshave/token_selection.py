"""The operator that removes tokens by their scores: one for networks, their export and the compiler.

How many tokens it leaves follows from the scores, so it differs from image to image (SPViT, arXiv 2112.13890; HeatViT,
arXiv 2211.08110). An export, which needs sizes, sees as many as there can be, or those that `tokens_left` tells.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError

RESTS = ("drop", "package", "merge")
SMALLEST_WEIGHT = 1e-6  # below this sum of scores, a package is the plain mean
_ASSUMED: ContextVar[Mapping[str, int]] = ContextVar("assumed tokens", default=MappingProxyType({}))


def select_tokens(
    tokens: Tensor,
    scores: Tensor,
    name: str,
    *,
    threshold: float = 0.5,
    count: int | None = None,
    leading: int = 1,
    packages: int = 0,
    rest: str = "drop",
) -> Tensor:
    """The tokens that stay, in their order: `[B, T, C]` by scores `[B, T - leading]` to `[B, K, C]`.

    The first `leading` tokens (class and distillation tokens, which have no score) stay, and so do the last `packages`.
    Of the others those stay whose score is at least `threshold`, or the `count` with the largest scores (of equal ones
    the first). What is removed is dropped; or with `rest="package"` its mean, weighted by scores (plain where these
    are all 0, zeros where nothing is removed), is one token more at the end; or with `rest="merge"` older packages go
    into that mean, so that there is never more than one. Where nothing else would stay, the token with the largest
    score does. `name` tells the selectors of a network apart.

    All samples of a batch, one at least, must keep equally many tokens; scores have the tokens' own type. Raises
    SpokeshaveError where they do not, or where shapes or settings do not fit.

    >>> tokens, scores = torch.arange(8.0).view(1, 4, 2), torch.tensor([[0.9, 0.2, 0.7]])
    >>> select_tokens(tokens, scores, "first")
    tensor([[[0., 1.],
             [2., 3.],
             [6., 7.]]])
    """
    chosen: Tensor = _select(tokens, scores, name, threshold, count, leading, packages, rest)
    return chosen


@torch.library.custom_op("spokeshave::select_tokens", mutates_args=())
def _select(
    tokens: Tensor,
    scores: Tensor,
    name: str,
    threshold: float,
    count: int | None,
    leading: int,
    packages: int,
    rest: str,
) -> Tensor:
    _check(tokens, scores, leading, packages, rest, count)
    if len(tokens) == 0:
        raise SpokeshaveError(
            f"tokens are selected in a batch of one sample or more, and {name!r} was given none"
        )
    kept = kept_tokens(scores, threshold, count, leading, packages, rest)
    counts = kept.sum(1).tolist()
    if len(set(counts)) > 1:
        raise SpokeshaveError(
            f"the samples of a batch keep {min(counts)} to {max(counts)} tokens at {name!r}; run them one by one, or "
            "those together that keep equally many"
        )
    chosen = tokens[kept].view(len(tokens), -1, tokens.shape[2])
    if rest == "drop":
        return chosen
    return torch.cat((chosen, package_token(tokens[:, leading:], scores, ~kept[:, leading:])), 1)


@_select.register_fake
def _(
    tokens: Tensor,
    scores: Tensor,
    name: str,
    threshold: float,
    count: int | None,
    leading: int,
    packages: int,
    rest: str,
) -> Tensor:
    """Shapes alone: as many tokens as there can be where nothing tells how many."""
    _check(tokens, scores, leading, packages, rest, count)
    most = most_tokens(tokens.shape[1], count, leading, packages, rest)
    left = most if count is not None else _ASSUMED.get().get(name, most)
    return tokens.new_empty(tokens.shape[0], left, tokens.shape[2])


def most_tokens(tokens: int, count: int | None, leading: int, packages: int, rest: str) -> int:
    """How many tokens a selector leaves at most.

    >>> most_tokens(197, None, 1, 0, "package"), most_tokens(197, 98, 1, 0, "drop")
    (198, 99)
    """
    scored = tokens - leading - packages
    chosen = scored if count is None else min(count, scored)
    return leading + chosen + packages * (rest != "merge") + (rest != "drop")


def kept_tokens(
    scores: Tensor, threshold: float, count: int | None, leading: int, packages: int, rest: str = "drop"
) -> Tensor:
    """Which of `[B, T]` tokens stay, as truth values; what masked training needs. Arguments as of `select_tokens`."""
    scored = scores[:, : scores.shape[1] - packages]
    chosen = scored >= threshold if count is None else _largest(scored, count)
    if leading + packages == 0 and rest == "drop":
        chosen = chosen | (_largest(scored, 1) & ~chosen.any(1, keepdim=True))
    front = chosen.new_ones(len(scores), leading)
    behind = chosen.new_full((len(scores), packages), rest != "merge")
    return torch.cat((front, chosen, behind), 1)


def package_token(tokens: Tensor, scores: Tensor, removed: Tensor) -> Tensor:
    """The mean of the tokens that are removed now, weighted by their scores: `[B, T, C]` to `[B, 1, C]`.

    `scores` and the truth values `removed` are `[B, T]`. Zeros where nothing is removed.
    """
    chosen = removed.to(scores.dtype)
    weights = chosen * scores
    total = weights.sum(1, keepdim=True)
    weights = torch.where(total > SMALLEST_WEIGHT, weights, chosen)
    total = torch.where(total > SMALLEST_WEIGHT, total, chosen.sum(1, keepdim=True).clamp(min=1))
    return (weights / total).unsqueeze(1) @ tokens


def take_tokens(tokens: Tensor, rows: Tensor) -> Tensor:
    """Of tokens `[N, T, ...]` those of `rows` `[N * M]`, counted through all samples, equally many of each.

    `[N, M, ...]`. Rows of one axis go back two to three times as fast as truth values, or as `gather`, do.

    >>> take_tokens(torch.tensor([[1, 2], [3, 4]]), torch.tensor([1, 2]))
    tensor([[2],
            [3]])
    """
    return tokens.flatten(0, 1).index_select(0, rows).unflatten(0, (len(tokens), -1))


@contextmanager
def tokens_left(sizes: Mapping[str, int]) -> Iterator[None]:
    """While the block runs, exports see that the selectors of these names leave so many tokens."""
    before = _ASSUMED.set(sizes)
    try:
        yield
    finally:
        _ASSUMED.reset(before)


def _largest(scores: Tensor, count: int) -> Tensor:
    """A stable sort: of equal scores the first are taken."""
    places = scores.sort(dim=1, descending=True, stable=True).indices[:, :count]
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(
        1, places, torch.ones_like(places, dtype=torch.bool)
    )


def _check(tokens: Tensor, scores: Tensor, leading: int, packages: int, rest: str, count: int | None) -> None:
    if tokens.dim() != 3 or leading < 0 or packages < 0 or leading + packages > tokens.shape[1]:
        raise SpokeshaveError(
            f"tokens of shape {tuple(tokens.shape)} hold no {leading} leading tokens and {packages} packages; "
            "tokens are [batch, tokens, channels]"
        )
    wanted = (tokens.shape[0], tokens.shape[1] - leading)
    if tuple(scores.shape) != wanted:
        raise SpokeshaveError(f"scores have shape {tuple(scores.shape)}; one for each token is {wanted}")
    if not tokens.is_floating_point() or scores.dtype != tokens.dtype:
        raise SpokeshaveError(
            f"tokens are {_short(tokens)} and scores {_short(scores)}; both must be of one floating type"
        )
    if rest not in RESTS:
        raise SpokeshaveError(f"there is no rest {rest!r}; what is removed can be {', '.join(RESTS)}")
    if count is not None and count < 0:
        raise SpokeshaveError(f"{count} tokens cannot be kept; the count is 0 or more")


def _short(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
