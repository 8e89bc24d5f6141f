"""A whole product on the CSB engine: vectors that go through it, and the sums of every row."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from spokeshave.devices.fpga.csb import CSBEngine, CSBSchedule, Sharing, kept_places, schedule
from spokeshave.devices.fpga.verilog.blocks import (
    BEFORE,
    BEHIND,
    BITS,
    OWN,
    BlockEngine,
    Program,
    block_engine,
    item_words,
    program_of,
)
from spokeshave.devices.fpga.verilog.simulation import Simulator
from spokeshave.devices.fpga.verilog.vectors import run_vectors
from spokeshave.errors import SpokeshaveError

SETTLING = 12  # cycles behind the last item in which all sums arrive, for trees of up to 64 columns
ITEM_PART = 8  # items go to the simulator as numbers of so many bits


@dataclass(frozen=True)
class BlockProduct:
    """A matrix of int8 levels in blocks, and what every lane of the engine does of it."""

    engine: BlockEngine
    schedule: CSBSchedule
    program: Program
    block_rows: int
    rows: int

    @property
    def modelled_cycles(self) -> int:
        """Of one product of matrix and vector: a neighbour's sums cost nothing, for they are added as they are read."""
        return self.schedule.cycles - (self.schedule.engine.sharing != "none")

    @property
    def settled(self) -> int:
        """Cycles of a vector before its sums are read: a reset, the program and what is still on its way."""
        return 1 + len(self.program[0]) + SETTLING

    @property
    def period(self) -> int:
        """Cycles of a vector with those in which its sums are read, row by row of all lanes."""
        return self.settled + self.engine.rows

    @cached_property
    def last(self) -> tuple[int, int]:
        """Lane and row whose sum the last item changes."""
        lane, (whose, item) = next(
            (lane, items[-1]) for lane, items in enumerate(self.program) if items[-1] is not None
        )
        return lane + {OWN: 0, BEFORE: -1, BEHIND: 1}[whose], item.rows[0]

    def vectors(self, x: Tensor) -> dict[str, Tensor]:
        """What the engine's ports are given, cycle by cycle, for int8 vectors `[n, inputs]`, one after the other."""
        bits = self.engine.lanes * sum(self.engine.fields)
        words = [0, *item_words(self.engine, self.program), *[0] * (SETTLING + self.engine.rows)]
        parts = -(-bits // ITEM_PART)
        data = b"".join(word.to_bytes(parts, "little") for word in words)
        digits = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(len(words), parts)
        items = (digits[:, :, None] >> torch.arange(ITEM_PART) & 1).flatten(1)[:, :bits]
        row = torch.cat((torch.full((self.settled,), self.last[1]), torch.arange(self.engine.rows)))
        return {
            "reset": (torch.arange(self.period) == 0).long().repeat(len(x)),
            "x": x.repeat_interleave(self.period, 0),
            "row": row.repeat(len(x)),
            "items": items.repeat(len(x), 1),
        }

    def sums(self, totals: Tensor) -> Tensor:
        """`[n, rows]` of what came out, `[n * period, lanes]`."""
        read = totals.view(-1, self.period, self.engine.lanes)[:, self.settled :]
        rows = torch.arange(self.rows)
        bands = rows // self.block_rows
        local = bands // self.engine.lanes * self.block_rows + rows % self.block_rows
        return read[:, local, bands % self.engine.lanes]

    def cycles(self, totals: Tensor) -> list[int]:
        """By vector: cycles until the sum that the last item changes stands; too few where it adds 0 to it."""
        watched = totals.view(-1, self.period, self.engine.lanes)[:, : self.settled, self.last[0]]
        return [1 + int((one != one[-1]).nonzero().max()) for one in watched]  # items come from cycle 1 on


def block_product(
    levels: Tensor, block: tuple[int, int], lanes: int, columns: int, sharing: Sharing = "down"
) -> BlockProduct:
    """The schedule of int8 levels `[rows, inputs]` in blocks, on a chain of lanes of `2 * columns` products a cycle.

    Raises SpokeshaveError where nothing is left to compute, or no block is without a row or column.
    """
    reason = reason_against_blocks(levels, block)
    if reason is not None:
        raise SpokeshaveError(reason)
    bands = -(-len(levels) // block[0])
    engine = BlockEngine(lanes, columns, -(-bands // lanes) * block[0], levels.shape[1])
    found = schedule(CSBEngine(lanes, 1, 2, columns, sharing), levels, block)
    return BlockProduct(engine, found, program_of(found, levels, block[0], engine), block[0], len(levels))


def reason_against_blocks(levels: Tensor, block: tuple[int, int]) -> str | None:
    """Why a matrix is none for the CSB engine, or None: it needs rows or columns of blocks that are not kept."""
    if block[0] > levels.shape[0] or block[1] > levels.shape[1]:
        return (
            f"blocks of {block[0]}x{block[1]} are larger than its matrix, {levels.shape[0]}x{levels.shape[1]}"
        )
    if int(levels.abs().max()) >= 1 << BITS - 1:
        return f"its weights are more than {(1 << BITS - 1) - 1}, which two that share a DSP block cannot be"
    kept = kept_places(levels, block)
    count = sum(len(rows) * len(columns) for rows, columns in kept.values())
    if count == 0:
        return "all its weights are 0"
    if count == levels.numel():
        return (
            f"its blocks of {block[0]}x{block[1]} keep every row and column: the plan gives it no scheme "
            "compressed_blocks of such blocks"
        )
    return None


def run_blocks(product: BlockProduct, x: Tensor, simulator: Simulator | None = None) -> Tensor:
    """`totals` of every cycle, `[n * period, lanes]`, of int8 vectors `[n, inputs]` through the generated engine."""
    made: Mapping[str, Tensor] = run_vectors(block_engine(product.engine), product.vectors(x), simulator)
    return made["totals"]
