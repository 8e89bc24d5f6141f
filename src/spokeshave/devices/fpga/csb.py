"""CSB-RNN's engine (arXiv 2005.05758): groups of multipliers that take work of their neighbours (*modelled*).

    y[rows] = weight[rows, columns] @ x[columns], the weight in blocks that keep rows and columns of their own

`down * across` groups have `lanes * width` multipliers each. The blocks of the matrix are dealt out tile by tile, one
block to a group. Of a block that keeps m rows and n columns a group makes `lanes` rows of `width` columns a cycle: it
takes ceil(m / lanes) * ceil(n / width) cycles. All groups wait for the last one of a tile. So a group with much to do
gives *strips* to a neighbour, which was decided before: `width` columns of all its rows to the left or right, or
`lanes` rows of all its columns up or down. A helper's sums go back to the owner, who adds them: `RETURN` cycles at the
end of a tile.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError

Sharing = Literal["none", "across", "down", "both"]
RETURN = 1
Place = tuple[int, int]


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
        """Cycles until the first sums are out: read, product, tree, accumulator."""
        return 3 + (self.width - 1).bit_length()


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
    """Cycles of the group with the most to do, and those in which sums go back."""
    busy: dict[Place, int] = {}
    for piece in tile:
        busy[piece.group] = busy.get(piece.group, 0) + piece.cycles(engine)
    returned = RETURN if any(piece.group != piece.owner for piece in tile) else 0
    return max(busy.values(), default=0) + returned


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
    """One tile's pieces with the fewest cycles that strips between neighbours allow, found by bisection."""
    alone = tuple(Piece(place, place, *kept) for place, kept in own.items())
    most = tile_cycles(engine, alone)
    if engine.sharing == "none":
        return alone
    best, low, high = alone, 1, most - RETURN - 1
    while low <= high:
        middle = (low + high) // 2
        found = within(engine, own, middle)
        if found is None:
            low = middle + 1
        else:
            best, high = found, middle - 1
    return best


def within(
    engine: CSBEngine, own: dict[Place, tuple[Tensor, Tensor]], cycles: int
) -> tuple[Piece, ...] | None:
    """The tile's pieces so that no group is busy longer, or None: strips across first, then down."""
    left = {place: Piece(place, place, *kept) for place, kept in own.items()}
    room = {
        (row, column): cycles - (left[row, column].cycles(engine) if (row, column) in left else 0)
        for row in range(engine.down)
        for column in range(engine.across)
    }
    given: list[Piece] = []
    ways = {"across": ((0, -1), (0, 1)), "down": ((-1, 0), (1, 0))}
    for way, steps in ways.items():
        if engine.sharing in (way, "both"):
            for place in sorted(left):
                for step in steps:
                    helper = (place[0] + step[0], place[1] + step[1])
                    given += _give(engine, left, room, place, helper, way == "across")
    return (*left.values(), *given) if min(room.values()) >= 0 else None


def _give(
    engine: CSBEngine,
    left: dict[Place, Piece],
    room: dict[Place, int],
    place: Place,
    helper: Place,
    across: bool,
) -> list[Piece]:
    """As many strips as the owner has too many, and the helper has room for."""
    piece, strip = left[place], engine.width if across else engine.lanes
    whole = piece.columns if across else piece.rows
    other = len(piece.rows) if across else len(piece.columns)
    price = -(-other // (engine.lanes if across else engine.width))
    wanted = -(-max(0, -room[place]) // price) if price else 0
    count = min(wanted, max(0, room.get(helper, 0)) // price if price else 0)
    if count == 0:
        return []
    stays = max(0, -(-len(whole) // strip) - count) * strip
    if across:
        left[place] = replace(piece, columns=whole[:stays])
        moved = replace(piece, group=helper, columns=whole[stays:])
    else:
        left[place] = replace(piece, rows=whole[:stays])
        moved = replace(piece, group=helper, rows=whole[stays:])
    room[place] += count * price
    room[helper] -= moved.cycles(engine)
    return [moved]
