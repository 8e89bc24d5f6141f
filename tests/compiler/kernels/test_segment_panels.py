"""Rows that keep different columns, for one vector: packed without loss or padding, computed as PyTorch does."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compiler.conftest import run_program

from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import instruction_set
from spokeshave.compiler.kernels.instances import SEGMENT_LENGTHS, place_bits, places_per_word
from spokeshave.compiler.kernels.segment_panels import SegmentPanels, Way, pack_segments
from spokeshave.compiler.operations import Activation, Linear, Quantization
from spokeshave.compiler.quantization.integers import to_integers
from spokeshave.compiler.reference import run_reference
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.n_of_m import NOfM

SCATTERED = [NOfM(2, 4), NOfM(8, 64), NOfM(1, 64), DensityAdaptiveBlocks(0.9)]


def as_kernels_read(panels: SegmentPanels, width: int) -> np.ndarray:
    """The matrix, from the words of places; of weights of int8, every one of a word in its turn."""
    shared, bits = places_per_word(panels.segment, panels.each), place_bits(panels.segment)
    words, found = panels.place_words().view(np.uint32), {}
    weights = panels.weights.view(np.float32 if panels.each == 1 else np.int8)
    weights = weights.reshape(-1, panels.rows, panels.each)
    for panel in range(panels.count):
        start, end = panels.column_start[panel : panel + 2]
        rows = panels.row_numbers[panel * panels.rows :][: panels.rows]
        matrix = np.zeros((panels.rows, width), weights.dtype)
        for j, part in product(range(end - start), range(panels.each)):
            word = words[start // shared + panel + j // shared] >> (bits * (j % shared))
            word = word >> (32 // panels.each * part)
            column = panels.columns[start + j] + (word & (panels.segment - 1))
            matrix[np.arange(panels.rows), column] += weights[start + j, :, part]
        for row, sums in zip(rows, matrix, strict=True):
            np.testing.assert_array_equal(found.setdefault(row, sums), sums)
    return np.stack([found[row] for row in sorted(found)])


@settings(deadline=None)
@given(
    height=st.integers(1, 37), width=st.integers(16, 300), seed=st.integers(0, 10_000), by_weights=st.booleans(),
    density=st.sampled_from([0.0, 0.05, 0.3, 1.0]), rows=st.sampled_from([4, 16]), align=st.sampled_from([4, 16]),
    dtype=st.sampled_from([np.float32, np.int8]),
)  # fmt: skip
def test_panels_hold_the_matrix(height, width, seed, by_weights, density, rows, align, dtype):
    generator = np.random.default_rng(seed)
    matrix = generator.integers(-127, 128, (height, width)) * (generator.random((height, width)) < density)
    for segment in filter(lambda length: length <= width, SEGMENT_LENGTHS):
        panels = pack_segments(matrix.astype(dtype), Way(rows, segment, by_weights), align)
        assert panels.columns.min(initial=0) >= 0
        assert panels.columns.max(initial=0) + segment <= width
        np.testing.assert_array_equal(as_kernels_read(panels, width), matrix.astype(dtype))


UNPADDED = [
    *((scheme, length, np.float32) for scheme, length in ((NOfM(2, 4), 16), (NOfM(1, 8), 16), (NOfM(3, 32), 32))),
    *((scheme, length, np.int8) for scheme, length in ((NOfM(2, 4), 16), (NOfM(8, 64), 64), (NOfM(1, 32), 128))),
]  # fmt: skip


@pytest.mark.parametrize(("scheme", "segment", "dtype"), UNPADDED, ids=str)
def test_equally_many_weights_a_segment_need_no_padding(scheme, segment, dtype):
    matrix = scheme.project(torch.randint(1, 128, (64, 256)).float()).numpy().astype(dtype)
    panels = pack_segments(matrix, Way(16, segment, by_weights=False), align=16)
    assert panels.weights.nbytes == np.count_nonzero(matrix) * matrix.itemsize
    packed = panels.weights.nbytes + panels.place_words().nbytes + 2 * len(panels.columns)
    if dtype == np.float32:  # of whose places the packed form is
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


def scattered_integers() -> tuple[Graph, list[torch.Tensor]]:
    """The same in integers, and inputs: what is read, added and made is of uint8 or of float32."""
    generator = torch.Generator().manual_seed(0)
    random = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    schemes = [NOfM(2, 4), NOfM(4, 64), NOfM(1, 32), DensityAdaptiveBlocks(0.9)]
    relu, ends = Activation("relu"), schemes[1::2]
    weights = {str(scheme): scheme.project(random(131, 331)) for scheme in schemes} | {"b": random(131)}
    operations = {f"{scheme} alone": Linear(str(scheme), None) for scheme in schemes}
    operations |= {f"{s} whole": Linear(str(s), "b", residual=True, activation=relu) for s in ends}
    graph = linears(weights, operations)
    again = {f"{s} again": (f"{s} whole", Linear(f"{s} square", "b")) for s in ends}
    weights |= {f"{s} square": s.project(random(131, 131)) for s in ends}
    values = graph.values | {name: Value(name, (1, 131)) for name in again}
    nodes = [Node(name, layer, (read,), (name,)) for name, (read, layer) in again.items()]
    made = (*(f"{s} alone" for s in schemes), *again)
    graph = replace(graph, values=values, nodes=(*graph.nodes, *nodes), weights=weights, outputs=made)
    ranges = {name: Quantization(0.05, 128) for name in values}
    graph = to_integers(graph, frozenset((*operations, *again)), ranges)
    return graph, [random(3, 331), random(3, 131)]


def test_one_vector_in_integers_equals_the_executor_bit_for_bit(back_end, integer_isa):
    graph, inputs = scattered_integers()
    assert all(map(torch.equal, back_end(graph, inputs, integer_isa), run_reference(graph, inputs)))


@pytest.mark.parametrize("name", ["avx512_bf16", "avx2"])
def test_integers_without_the_instructions_that_permute_bytes(name):
    """Code of a CPU that has them, built for one that has not."""
    (graph, inputs), isa = scattered_integers(), instruction_set(name)
    program = lower(graph, isa, {})
    assert {kernel.segment for kernel in program.kernels} >= {16, 64}
    without = replace(isa, march="", extra=())
    assert all(map(torch.equal, run_program(program, graph, inputs, without), run_reference(graph, inputs)))


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


@pytest.mark.parametrize(
    ("scheme", "segment", "name"),
    [
        (NOfM(2, 4), 16, "avx512_bf16"),
        (NOfM(8, 64), 64, "avx512_bf16"),
        (NOfM(1, 32), 128, "avx512_bf16"),
        (NOfM(2, 4), 16, "avx2"),
        (NOfM(8, 64), 64, "avx2"),
        (NOfM(1, 64), 0, "portable"),
        (BlockColumnRow(0.875, (32, 64)), 0, "avx512_bf16"),
    ],
    ids=str,
)
def test_integer_kernels_choose_by_what_permutes_bytes(scheme, segment, name):
    weight = scheme.project(torch.randn(256, 1024, generator=torch.Generator().manual_seed(0)))
    graph = linears({"w": weight}, {"y": Linear("w", None)})
    graph = to_integers(graph, frozenset("y"), {"x": Quantization(0.05, 128)})
    (kernel,) = lower(graph, instruction_set(name), {}).kernels
    assert kernel.segment == segment


def test_too_few_columns_for_a_segment(back_end, isa):
    weight, x = torch.eye(40, 9), torch.randn(2, 9)
    (result,) = back_end(linears({"w": weight}, {"y": Linear("w", None)}), [x, torch.zeros(2, 40)], isa)
    torch.testing.assert_close(result, F.linear(x, weight))
