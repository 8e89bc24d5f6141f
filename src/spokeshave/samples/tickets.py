"""Data-level lottery tickets (arXiv 2211.01484): few patches of each image that a network is trained on alone."""

from math import isqrt

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError


def ticket_size(patches: int, keep: float, places: int = 3) -> int:
    """How many patches a selector leaves that keeps the share `keep` at each of its places, rounded up.

    >>> [ticket_size(196, keep) for keep in (0.95, 0.9, 0.85, 0.8, 0.75)]
    [170, 144, 121, 101, 84]
    """
    if not 0 < keep <= 1:
        raise SpokeshaveError(f"a ticket keeps a share of patches above 0 and at most 1, not {keep!r}")
    for _ in range(places):
        patches = -int(-(keep * patches - 1e-9) // 1)
    return patches


def tickets_of(kept: Tensor) -> Tensor:
    """Numbers `[N, K]`, in order, of the patches where `kept` `[N, patches]` is true: a selector's last decision.

    >>> tickets_of(torch.tensor([[True, False, True]])).tolist()
    [[0, 2]]
    """
    counts = kept.sum(1)
    if len(counts) and int(counts.min()) != int(counts.max()):
        raise SpokeshaveError(
            f"tickets need as many patches of every image; here they are {int(counts.min())} to {int(counts.max())}"
        )
    return kept.nonzero()[:, 1].view(len(kept), -1)


def random_tickets(samples: int, patches: int, size: int, generator: torch.Generator | None = None) -> Tensor:
    """The control: `size` patches of each image, drawn uniformly, other ones for every image: `[samples, size]`."""
    if not 0 < size <= patches:
        raise SpokeshaveError(f"a ticket of {patches} patches has 1 to {patches} of them, not {size}")
    return torch.rand(samples, patches, generator=generator).topk(size, dim=1).indices.sort(1).values


def kept_by(tickets: Tensor, patches: int) -> Tensor:
    """Truth values `[N, patches]` of tickets `[N, K]`: what `Inserted.give` takes.

    >>> kept_by(torch.tensor([[0, 2]]), 3).tolist()
    [[True, False, True]]
    """
    empty = torch.zeros(len(tickets), patches, dtype=torch.bool, device=tickets.device)
    return empty.scatter(1, tickets, True)


def blank(images: Tensor, tickets: Tensor, patch: int) -> Tensor:
    """Images `[N, C, H, W]` whose other patches of `patch` x `patch` are zeros: the form for windowed networks."""
    high, wide = _grid(images, patch)
    mask = kept_by(tickets, high * wide).view(-1, 1, high, wide)
    return images * mask.repeat_interleave(patch, 2).repeat_interleave(patch, 3)


def pack(images: Tensor, tickets: Tensor, patch: int) -> Tensor:
    """The chosen patches as a smaller square image, in raster order, so that a windowed network computes less.

    >>> pack(torch.arange(16.0).view(1, 1, 4, 4), torch.tensor([[3]]), 2)[0, 0].tolist()
    [[10.0, 11.0], [14.0, 15.0]]
    """
    high, wide = _grid(images, patch)
    side = isqrt(tickets.shape[1])
    if side**2 != tickets.shape[1]:
        raise SpokeshaveError(
            f"{tickets.shape[1]} patches make no square; choose {side**2} or {(side + 1) ** 2}, or blank() the others"
        )
    pieces = images.unflatten(3, (wide, patch)).unflatten(2, (high, patch)).permute(0, 2, 4, 1, 3, 5)
    pieces = pieces.flatten(1, 2)
    index = tickets.sort(1).values[:, :, None, None, None].expand(-1, -1, *pieces.shape[2:])
    chosen = pieces.gather(1, index).unflatten(1, (side, side))
    return chosen.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def _grid(images: Tensor, patch: int) -> tuple[int, int]:
    height, width = images.shape[2:]
    if height % patch or width % patch:
        raise SpokeshaveError(f"patches of {patch} x {patch} do not tile images of {height} x {width}")
    return height // patch, width // patch
