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
    if patches < 1 or places < 0:
        raise SpokeshaveError(
            f"a ticket is of 1 patch or more, left at 0 places or more, not of {patches!r} at {places!r}"
        )
    for _ in range(places):
        patches = -int(-(keep * patches - 1e-9) // 1)
    return patches


def tickets_of(kept: Tensor) -> Tensor:
    """Numbers `[N, K]`, in order, of the patches where `kept` `[N, patches]` is true: a selector's last decision.

    >>> tickets_of(torch.tensor([[True, False, True]])).tolist()
    [[0, 2]]
    """
    if kept.dim() != 2 or kept.dtype != torch.bool or not len(kept):
        raise SpokeshaveError(
            f"tickets are made of truth values [N, patches] of one image or more, not of {kept.dtype} of shape "
            f"{tuple(kept.shape)}"
        )
    counts = kept.sum(1)
    if int(counts.min()) != int(counts.max()):
        raise SpokeshaveError(
            f"tickets need as many patches of every image; here they are {int(counts.min())} to {int(counts.max())}"
        )
    return kept.nonzero()[:, 1].view(len(kept), -1)


def random_tickets(samples: int, patches: int, size: int, generator: torch.Generator | None = None) -> Tensor:
    """The control: `size` patches of each image, drawn uniformly, other ones for every image: `[samples, size]`."""
    if samples < 0:
        raise SpokeshaveError(f"tickets are drawn for 0 images or more, not for {samples!r}")
    if not isinstance(size, int) or not 0 < size <= patches:
        raise SpokeshaveError(f"a ticket of {patches} patches has 1 to {patches} of them, not {size!r}")
    return torch.rand(samples, patches, generator=generator).topk(size, dim=1).indices.sort(1).values


def kept_by(tickets: Tensor, patches: int) -> Tensor:
    """Truth values `[N, patches]` of tickets `[N, K]`: what `Inserted.give` takes.

    >>> kept_by(torch.tensor([[0, 2]]), 3).tolist()
    [[True, False, True]]
    """
    _check_tickets(tickets, patches)
    empty = torch.zeros(len(tickets), patches, dtype=torch.bool, device=tickets.device)
    return empty.scatter(1, tickets, True)


def blank(images: Tensor, tickets: Tensor, patch: int) -> Tensor:
    """Images `[N, C, H, W]` whose other patches of `patch` x `patch` are zeros: the form for windowed networks."""
    high, wide = _grid(images, tickets, patch)
    mask = kept_by(tickets, high * wide).view(-1, 1, high, wide)
    return images * mask.repeat_interleave(patch, 2).repeat_interleave(patch, 3)


def pack(images: Tensor, tickets: Tensor, patch: int) -> Tensor:
    """The chosen patches as a smaller square image, in raster order, so that a windowed network computes less.

    >>> pack(torch.arange(16.0).view(1, 1, 4, 4), torch.tensor([[3]]), 2)[0, 0].tolist()
    [[10.0, 11.0], [14.0, 15.0]]
    """
    high, wide = _grid(images, tickets, patch)
    side = isqrt(tickets.shape[1])
    if side == 0 or side**2 != tickets.shape[1]:
        near = " or ".join(str(one**2) for one in (side, side + 1) if one)
        raise SpokeshaveError(
            f"{tickets.shape[1]} patches make no square; choose {near}, or blank() the others"
        )
    pieces = images.unflatten(3, (wide, patch)).unflatten(2, (high, patch)).permute(0, 2, 4, 1, 3, 5)
    pieces = pieces.flatten(1, 2)
    index = tickets.sort(1).values[:, :, None, None, None].expand(-1, -1, *pieces.shape[2:])
    chosen = pieces.gather(1, index).unflatten(1, (side, side))
    return chosen.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def _check_tickets(tickets: Tensor, patches: int) -> None:
    if tickets.dim() != 2 or tickets.dtype not in (torch.int32, torch.int64):
        raise SpokeshaveError(
            f"tickets are numbers of patches [N, K], not {tickets.dtype} of shape {tuple(tickets.shape)}"
        )
    wrong = tickets[(tickets < 0) | (tickets >= patches)].tolist()
    if wrong:
        raise SpokeshaveError(f"there are patches 0 to {patches - 1}, and no {wrong[0]}")


def _grid(images: Tensor, tickets: Tensor, patch: int) -> tuple[int, int]:
    if images.dim() != 4 or len(images) != len(tickets):
        raise SpokeshaveError(
            f"images are [N, C, H, W] with a ticket each, not of shape {tuple(images.shape)} with "
            f"{len(tickets)} tickets"
        )
    height, width = images.shape[2:]
    if patch < 1 or height % patch or width % patch:
        raise SpokeshaveError(f"patches of {patch} x {patch} do not tile images of {height} x {width}")
    grid = height // patch, width // patch
    _check_tickets(tickets, grid[0] * grid[1])
    return grid
