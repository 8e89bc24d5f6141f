"""A block run on the tokens that take part and no others, samples with about as many of them together."""

from collections.abc import Callable

import torch
from torch import Tensor

from spokeshave.tokens.attention import Attending, Wanted

STEP = 8  # counts are rounded up to multiples of it: few buckets, little padding


def run_alive(
    run: Callable[[Tensor], Tensor], tokens: Tensor, alive: Tensor, count: int | None, wanted: Wanted | None
) -> tuple[Tensor, Tensor | None]:
    """Tokens `[N, T, C]` behind a block that runs on those alone whose `alive` `[N, T]` is 1; others stay as they are.

    `count` is how many every sample has, where that is known. Also gives the attention that is `wanted`, `[N, T]`.
    """
    order = alive.detach().argsort(dim=1, descending=True, stable=True)
    if count is not None:
        return _run(run, tokens, order[:, :count], None, wanted)
    counts = (alive.detach() > 0.5).sum(1)
    sizes = (-(-counts // STEP) * STEP).clamp(max=tokens.shape[1])
    result = tokens.clone()
    attention = torch.zeros_like(tokens[:, :, 0]) if wanted else None
    for size in sizes.unique().tolist():
        rows = (sizes == size).nonzero()[:, 0]
        if size == 0:
            continue
        places = order[rows, :size]
        live = (torch.arange(size, device=tokens.device) < counts[rows, None]).to(tokens.dtype)
        result[rows], found = _run(run, tokens[rows], places, live, wanted)
        if attention is not None and found is not None:
            attention[rows] = found
    return result, attention


def _run(
    run: Callable[[Tensor], Tensor],
    tokens: Tensor,
    places: Tensor,
    live: Tensor | None,
    wanted: Wanted | None,
) -> tuple[Tensor, Tensor | None]:
    """As many tokens of every sample, of which the last may be padding (`live` is 0)."""
    index = places[:, :, None].expand(-1, -1, tokens.shape[2])
    part = tokens.gather(1, index)
    attending = Attending(None if live is None or live.all() else live, places.shape[1], wanted)
    with attending:
        done = run(part)
    if live is not None:
        done = torch.where(live[:, :, None] > 0, done, part)
    found = attending.attention
    if found is not None:
        found = found.to(tokens.dtype)
        found = torch.zeros_like(tokens[:, :, 0]).scatter(1, places, found if live is None else found * live)
    return tokens.scatter(1, index, done), found
