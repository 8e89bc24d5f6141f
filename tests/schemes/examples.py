"""One or more of every scheme, and weights of every kind that they meet."""

from hypothesis import strategies as st
from torch import Tensor, tensor

from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.block_structured import BlockStructured
from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.crossbar_pruned import CrossbarPruned
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.quantizers import Binary, Codebook, FixedPoint, PowerOfTwo
from spokeshave.schemes.stacked import Stacked
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import BlockPunched, Blocks

EVERY = [
    Unstructured(0.5),
    BlockColumnRow(0.5, (4, 4)),
    BlockColumnRow(0.5, (3, 5), 0.25, "block"),
    BlockColumnRow(0.7, (3, 5), 0.3),
    BlockStructured(0.5, (4, 4)),
    BlockStructured(0.7, (3, 5), 0.3),
    CompressedBlocks(0.5, (4, 4)),
    CompressedBlocks(0.7, (3, 5)),
    Blocks(0.5, (2, 2)),
    Blocks(0.7, (3, 5)),
    BlockPunched(0.5, (2, 2)),
    BlockPunched(0.7, (3, 2)),
    NOfM(),
    NOfM(3, 5),
    NOfM(1, 8, along="columns"),
    DensityAdaptiveBlocks(0.5),
    DensityAdaptiveBlocks(0.7, longest=8),
    Patterns(),
    Patterns(0.5, "clicktrain_12", filters_sharing=2),
    Patterns(0.3, ("111 000 000", "000 000 111")),
    CrossbarPruned(0.6, crossbar=4, run=2),
    CrossbarPruned(0.6, "filters", crossbar=3),
    CrossbarPruned(0.7, crossbar=3, run=4, order="channel"),
    Polarized(3),
    Polarized(4, "channel"),
    Polarized(2, "height", by="sum"),
    FixedPoint(4),
    FixedPoint(2, per="tensor"),
    PowerOfTwo(3),
    PowerOfTwo(2, per="tensor"),
    Binary(),
    Codebook(2),
    MixedRows(FixedPoint(3), PowerOfTwo(2)),
    BlockColumnRow(0.5, (4, 4)) & FixedPoint(4),
    Patterns(0.5) & PowerOfTwo(3),
    NOfM() & Unstructured(0.7),
    Intersection((NOfM(), Codebook(2))),
    CrossbarPruned(0.6, crossbar=4, run=4) & Polarized(4) & FixedPoint(4),
    Stacked(NOfM(1, 2)),
    Stacked(BlockColumnRow(0.5, (2, 3)) & FixedPoint(4)),
]

SHAPES = {
    "linear": (10, 9),
    "one row": (1, 20),
    "one column": (9, 1),
    "gates": (12, 4),  # three gates of a recurrent layer, one below the other
    "convolution": (5, 4, 3, 3),
    "pointwise": (8, 6, 1, 1),
    "depthwise": (7, 1, 3, 3),
    "sequence": (6, 5, 3),
}


def best_of(units: list[tuple[int, float]], wanted: float) -> float:
    """The most that units of (weights, worth) are worth together: of all choices that are at most 1 % below what is
    wanted, or else that come nearest to it, of two that are equally near the smaller."""
    totals: dict[int, float] = {0: 0.0}
    for size, worth in units:
        for total, value in list(totals.items()):
            totals[total + size] = max(totals.get(total + size, 0.0), value + worth)
    met = [total for total in totals if 0.99 * wanted - 1e-6 <= total <= wanted + 1e-6]
    nearest = min(totals, key=lambda total: (round(abs(total - wanted), 6), total))
    return max(totals[total] for total in met or [nearest])


@st.composite
def weights(draw, shape: tuple[int, ...]) -> Tensor:
    """Small integers, so that ties and zeros are common."""
    size = tensor(shape).prod().item()
    numbers = draw(st.lists(st.integers(-4, 4), min_size=size, max_size=size))
    return tensor(numbers).float().reshape(shape)
