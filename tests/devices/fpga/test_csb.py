"""Work shared between neighbours: every product once, the same result, never slower."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spokeshave.devices.fpga.csb import CSBEngine, Sharing, schedule, tile_cycles
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.compressed_blocks import CompressedBlocks

SHARING: tuple[Sharing, ...] = ("none", "across", "down", "both")


def pruned(seed: int, sparsity: float, block: int = 16) -> Tensor:
    """A matrix whose rows and columns are of very different size, in CSB."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.randn(96, 1, generator=generator).exp(), torch.randn(80, generator=generator).exp()
    return CompressedBlocks(sparsity, (block, block)).project(
        torch.randn(96, 80, generator=generator) * rows * columns
    )


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 100),
    st.sampled_from((0.5, 0.9, 0.98)),
    st.sampled_from(SHARING),
    st.sampled_from((2, 4, 8)),
)
def test_groups_together_make_the_whole_product(
    seed: int, sparsity: float, sharing: Sharing, lanes: int
) -> None:
    weight, x = pruned(seed, sparsity).double(), torch.randn(80, dtype=torch.float64)
    found = schedule(CSBEngine(3, 2, lanes, 4, sharing), weight, (16, 16))
    torch.testing.assert_close(found.run(weight, x), weight @ x)
    covered = torch.zeros_like(weight)
    for tile in found.tiles:
        for piece in tile:
            covered[piece.rows[:, None], piece.columns] += 1
    assert covered.max() <= 1
    assert bool((covered[weight != 0] == 1).all())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.sampled_from((0.5, 0.9)))
def test_sharing_is_never_slower_and_both_ways_help_most(seed: int, sparsity: float) -> None:
    weight = pruned(seed, sparsity)
    cycles = {way: schedule(CSBEngine(sharing=way), weight, (16, 16)).cycles for way in SHARING}
    assert max(cycles.values()) <= cycles["none"] + 1
    assert cycles["both"] <= min(cycles["across"], cycles["down"])


def test_only_neighbours_help() -> None:
    found = schedule(CSBEngine(), pruned(3, 0.9), (16, 16))
    helped = [piece for tile in found.tiles for piece in tile if piece.group != piece.owner]
    assert helped
    for piece in helped:
        (a, b), (c, d) = piece.group, piece.owner
        assert abs(a - c) + abs(b - d) == 1


def test_one_heavy_block_is_cut_in_strips() -> None:
    weight = torch.zeros(32, 32)
    weight[:16, :16] = 1
    alone, shared = (schedule(CSBEngine(2, 2, 4, 4, way), weight, (16, 16)) for way in ("none", "across"))
    assert tile_cycles(alone.engine, alone.tiles[0]) == 16
    assert tile_cycles(shared.engine, shared.tiles[0]) == 8
    assert shared.utilisation == pytest.approx(256 / (64 * (8 + shared.engine.fill)))


def test_blocks_without_weights_take_no_cycles() -> None:
    assert schedule(CSBEngine(), torch.zeros(64, 64), (16, 16)).cycles == CSBEngine().fill


def test_impossible_engines() -> None:
    with pytest.raises(SpokeshaveError, match="lanes must be a whole number from 1 up, not 0"):
        CSBEngine(lanes=0)
    with pytest.raises(SpokeshaveError, match="sharing must be one of none, across, down, both, not 'all'"):
        CSBEngine(sharing="all")  # type: ignore[arg-type]
