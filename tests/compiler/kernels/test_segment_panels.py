"""Rows that keep different columns, for one vector: packed without loss or padding, computed as PyTorch does."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import instruction_set
from spokeshave.compiler.kernels.instances import SEGMENT_LENGTHS, places_per_word
from spokeshave.compiler.kernels.segment_panels import SegmentPanels, Way, pack_segments
from spokeshave.compiler.operations import Activation, Linear
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.n_of_m import NOfM

SCATTERED = [NOfM(2, 4), NOfM(8, 64), NOfM(1, 64), DensityAdaptiveBlocks(0.9)]


def as_kernels_read(panels: SegmentPanels, width: int) -> np.ndarray:
    """The matrix, from the words of places."""
    shared = places_per_word(panels.segment)
    words, found = panels.place_words().view(np.uint32), {}
    for panel in range(panels.count):
        start, end = panels.column_start[panel : panel + 2]
        rows = panels.row_numbers[panel * panels.rows :][: panels.rows]
        matrix = np.zeros((panels.rows, width), np.float32)
        for j in range(end - start):
            word = words[start // shared + panel + j // shared] >> (32 // shared * (j % shared))
            column = panels.columns[start + j] + (word & (panels.segment - 1))
            matrix[np.arange(panels.rows), column] += panels.weights[start + j]
        for row, sums in zip(rows, matrix, strict=True):
            np.testing.assert_array_equal(found.setdefault(row, sums), sums)
    return np.stack([found[row] for row in sorted(found)])


@settings(deadline=None)
@given(
    height=st.integers(1, 37), width=st.integers(16, 300), seed=st.integers(0, 10_000), by_weights=st.booleans(),
    density=st.sampled_from([0.0, 0.05, 0.3, 1.0]), rows=st.sampled_from([4, 16]), align=st.sampled_from([4, 16]),
)  # fmt: skip
def test_panels_hold_the_matrix(height, width, seed, by_weights, density, rows, align):
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((height, width)) * (generator.random((height, width)) < density)
    for segment in filter(lambda length: length <= width, SEGMENT_LENGTHS):
        panels = pack_segments(matrix.astype(np.float32), Way(rows, segment, by_weights), align)
        assert panels.columns.min(initial=0) >= 0
        assert panels.columns.max(initial=0) + segment <= width
        np.testing.assert_array_equal(as_kernels_read(panels, width), matrix.astype(np.float32))


@pytest.mark.parametrize(
    ("scheme", "segment"), [(NOfM(2, 4), 16), (NOfM(1, 8), 16), (NOfM(3, 32), 32)], ids=str
)
def test_equally_many_weights_a_segment_need_no_padding(scheme, segment):
    matrix = scheme.project(torch.randn(64, 256)).numpy()
    panels = pack_segments(matrix, Way(16, segment, by_weights=False), align=16)
    assert panels.weights.size == np.count_nonzero(matrix)
    packed = panels.weights.nbytes + panels.place_words().nbytes + 2 * len(panels.columns)
    assert packed <= 1.12 * scheme.pack(torch.from_numpy(matrix)).nbytes


def linears(weights: dict[str, torch.Tensor], operations: dict[str, Linear]) -> Graph:
    """Layers that all read `x`, and `r` as residual, by the names of what they make."""
    rows, columns = next(iter(weights.values())).shape
    values = {name: Value(name, (1, rows)) for name in ("r", *operations)} | {"x": Value("x", (1, columns))}
    nodes = (
        Node(made, operation, ("x", "r") if operation.residual else ("x",), (made,))
        for made, operation in operations.items()
    )
    return Graph(("x", "r"), tuple(operations), values, tuple(nodes), weights)


def test_one_vector_equals_pytorch(back_end, isa):
    """Rows that fill no panel, columns that no segment divides, epilogues and bfloat16 weights."""
    generator = torch.Generator().manual_seed(0)
    random = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    weights = {str(scheme): scheme.project(random(131, 331)) for scheme in SCATTERED}
    weights |= {f"{name} rounded": weight.bfloat16().float() for name, weight in weights.items()}
    operations = {name: Linear(name, None) for name in weights}
    weights["b"], relu = random(131), Activation("relu")
    ends = (SCATTERED[0], SCATTERED[-1])
    operations |= {f"{s} whole": Linear(str(s), "b", residual=True, activation=relu) for s in ends}
    x, r = random(3, 331), random(3, 131)
    results = back_end(linears(weights, operations), [x, r], isa)
    for (name, operation), result in zip(operations.items(), results, strict=True):
        expected = F.linear(x, weights[operation.weight])
        expected = F.relu(expected + weights["b"] + r) if operation.residual else expected
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=2e-5, msg=name)


CHOICES = {
    NOfM(2, 4): (16, False),
    NOfM(1, 8): (16, False),
    NOfM(1, 32): (32, False),
    NOfM(1, 64): (64, False),
    NOfM(1, 128): (128, False),
    DensityAdaptiveBlocks(0.875): (16, True),
    BlockColumnRow(0.875, (32, 64)): (0, False),
}  # fmt: skip


@pytest.mark.parametrize("scheme", CHOICES, ids=str)
def test_rows_that_share_no_columns_choose_segments(scheme):
    generator = torch.Generator().manual_seed(0)
    strength = torch.randn(256, 1, generator=generator).exp()
    weight = scheme.project(torch.randn(256, 1024, generator=generator) * strength)
    (kernel,) = lower(linears({"w": weight}, {"y": Linear("w", None)}), instruction_set("avx512"), {}).kernels
    assert (kernel.segment, kernel.scattered) == CHOICES[scheme]


def test_too_few_columns_for_a_segment(back_end, isa):
    weight, x = torch.eye(40, 9), torch.randn(2, 9)
    (result,) = back_end(linears({"w": weight}, {"y": Linear("w", None)}), [x, torch.zeros(2, 40)], isa)
    torch.testing.assert_close(result, F.linear(x, weight))
