"""CSB-RNN's engine (arXiv 2005.05758): groups of multipliers that take work of their neighbours (*modelled*).

    y[rows] = weight[rows, columns] @ x[columns], the weight in blocks that keep rows and columns of their own

`down * across` groups have `lanes * width` multipliers each. The blocks of the matrix are dealt out tile by tile, one
block to a group. Of a block that keeps m rows and n columns a group makes `lanes` rows of `width` columns a cycle: it
takes ceil(m / lanes) * ceil(n / width) cycles. All groups wait for the last one of a tile. So a group with much to do
gives *strips* to a neighbour, which was decided before: `width` columns of all its rows to the left or right, or
`lanes` rows of all its columns up or down, and a neighbour may give on what is its own. A helper's sums go back to the
owner, who adds them while the next tile is computed, behind the last tile in the cycles of `fill`.

`verilog/blocks.py` is a chain of such groups (`across` 1, `lanes` 2) that carries a schedule out in the same cycles,
less the one in which sums are handed over: they are added as they are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError

Sharing = Literal["none", "across", "down", "both"]
Place = tuple[int, int]


@dataclass(frozen=True)
class SharingPlan:
    """In which order strips are given, across or not; `relayed`: also to those who then give on."""

    across: tuple[bool, ...]
    relayed: bool


PLANS: dict[Sharing, tuple[SharingPlan, ...]] = {
    "none": (),
    "across": tuple(SharingPlan((True,), relayed) for relayed in (False, True)),
    "down": tuple(SharingPlan((False,), relayed) for relayed in (False, True)),
    "both": tuple(
        SharingPlan(order, relayed)
        for order in ((True,), (False,), (True, False), (False, True), (True, False, True))
        for relayed in (False, True)
    ),
}


@dataclass(frozen=True)
class CSBEngine:
    """Groups, multipliers of a group, and with which neighbours they share."""

    down: int = 4
    across: int = 4
    lanes: int = 4
    width: int = 4
    sharing: Sharing = "both"

    def __post_init__(self) -> None:
        for field in ("down", "across", "lanes", "width"):
            if type(getattr(self, field)) is not int or getattr(self, field) < 1:
                raise SpokeshaveError(
                    f"{field} must be a whole number from 1 up, not {getattr(self, field)!r}"
                )
        if self.sharing not in get_args(Sharing):
            raise SpokeshaveError(
                f"sharing must be one of {', '.join(get_args(Sharing))}, not {self.sharing!r}"
            )

    @property
    def multipliers(self) -> int:
        """All of them."""
        return self.down * self.across * self.lanes * self.width

    @property
    def fill(self) -> int:
        """Cycles behind the last pair: read, product, tree, accumulator, and a neighbour's sums where shared."""
        return 3 + (self.width - 1).bit_length() + (self.sharing != "none")


@dataclass(frozen=True)
class Piece:
    """Rows times columns of one block that one group computes in a tile; the sums belong to `owner`."""

    group: Place
    owner: Place
    rows: Tensor
    columns: Tensor

    def cycles(self, engine: CSBEngine) -> int:
        """Of its group."""
        return -(-len(self.rows) // engine.lanes) * -(-len(self.columns) // engine.width)


@dataclass(frozen=True)
class CSBSchedule:
    """Tiles of pieces, in order: what every group does."""

    engine: CSBEngine
    tiles: tuple[tuple[Piece, ...], ...]

    @property
    def cycles(self) -> int:
        """Of one product of matrix and vector."""
        return self.engine.fill + sum(tile_cycles(self.engine, tile) for tile in self.tiles)

    @property
    def kept(self) -> int:
        """Weights that are multiplied with."""
        return sum(len(piece.rows) * len(piece.columns) for tile in self.tiles for piece in tile)

    @property
    def utilisation(self) -> float:
        """Multiplications that count, as a share of those that the multipliers could have made."""
        return self.kept / (self.engine.multipliers * self.cycles)

    def run(self, weight: Tensor, x: Tensor) -> Tensor:
        """`weight @ x`, piece by piece as the groups compute it."""
        y = torch.zeros(weight.shape[0], dtype=x.dtype)
        for tile in self.tiles:
            for piece in tile:
                y[piece.rows] += weight[piece.rows][:, piece.columns] @ x[piece.columns]
        return y


def tile_cycles(engine: CSBEngine, tile: Sequence[Piece]) -> int:
    """Cycles of the group with the most to do."""
    busy: dict[Place, int] = {}
    for piece in tile:
        busy[piece.group] = busy.get(piece.group, 0) + piece.cycles(engine)
    return max(busy.values(), default=0)


def schedule(engine: CSBEngine, weight: Tensor, block: tuple[int, int]) -> CSBSchedule:
    """What every group does for a matrix in blocks of `block`; zeros that fill no row or column of a block are work."""
    kept = kept_places(weight, block)
    tall, wide = (-(-size // part) for size, part in zip(weight.shape, block, strict=True))
    tiles = []
    for top in range(0, tall, engine.down):
        for left in range(0, wide, engine.across):
            own = {
                (row - top, column - left): kept[row, column]
                for row in range(top, min(top + engine.down, tall))
                for column in range(left, min(left + engine.across, wide))
                if (row, column) in kept
            }
            if own:
                tiles.append(share(engine, own))
    return CSBSchedule(engine, tuple(tiles))


def kept_places(weight: Tensor, block: tuple[int, int]) -> dict[Place, tuple[Tensor, Tensor]]:
    """Rows and columns of the matrix that each block keeps, by its place; blocks that keep nothing are left out."""
    found = {}
    for top in range(0, weight.shape[0], block[0]):
        for left in range(0, weight.shape[1], block[1]):
            part = weight[top : top + block[0], left : left + block[1]] != 0
            rows, columns = part.any(1).nonzero()[:, 0] + top, part.any(0).nonzero()[:, 0] + left
            if len(rows):
                found[top // block[0], left // block[1]] = rows, columns
    return found


def share(engine: CSBEngine, own: dict[Place, tuple[Tensor, Tensor]]) -> tuple[Piece, ...]:
    """One tile's pieces with the fewest cycles that strips between neighbours allow, as far as the plans find them."""
    best = tuple(Piece(place, place, *kept) for place, kept in own.items())
    for plan in PLANS[engine.sharing]:
        low, high = 1, tile_cycles(engine, best) - 1
        while low <= high:
            middle = (low + high) // 2
            found = within(engine, own, middle, plan)
            if found is None:
                low = middle + 1
            else:
                best, high = found, middle - 1
    return best


def within(
    engine: CSBEngine, own: dict[Place, tuple[Tensor, Tensor]], cycles: int, plan: SharingPlan
) -> tuple[Piece, ...] | None:
    """The tile's pieces so that no group is busy longer, or None where this plan finds no such way."""
    left = {place: Piece(place, place, *kept) for place, kept in own.items()}
    room = {
        (row, column): cycles - (left[row, column].cycles(engine) if (row, column) in left else 0)
        for row in range(engine.down)
        for column in range(engine.across)
    }
    given: list[Piece] = []
    for across in plan.across:
        for place in sorted(left):
            back, ahead = (
                (place[0], place[1] + step) if across else (place[0] + step, place[1]) for step in (-1, 1)
            )
            given += _give(engine, left, room, place, back, across)
            given += _give(engine, left, room, place, ahead, across, plan.relayed)
    return (*left.values(), *given) if min(room.values()) >= 0 else None


def _give(
    engine: CSBEngine,
    left: dict[Place, Piece],
    room: dict[Place, int],
    place: Place,
    helper: Place,
    across: bool,
    relayed: bool = False,
) -> list[Piece]:
    """As many strips as the owner has too many; `relayed`: more than the helper has room for, who gives on its own."""
    piece = left[place]
    strip, whole = (engine.width, piece.columns) if across else (engine.lanes, piece.rows)
    strips = -(-len(whole) // strip)
    if helper not in room or room[place] >= 0 or piece.cycles(engine) == 0:
        return []
    price = piece.cycles(engine) // strips
    count = min(-(room[place] // price), strips)
    if not relayed:
        count = min(count, max(0, room[helper]) // price)
    if count == 0:
        return []
    stays = (strips - count) * strip
    if across:
        left[place] = replace(piece, columns=whole[:stays])
        moved = replace(piece, group=helper, columns=whole[stays:])
    else:
        left[place] = replace(piece, rows=whole[:stays])
        moved = replace(piece, group=helper, rows=whole[stays:])
    room[place] += count * price
    room[helper] -= count * price
    return [moved]
