"""Packed weights hold exactly the matrix they were made from."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spokeshave.compiler.isa import instruction_set
from spokeshave.compiler.kernels.packing import Panels, best_vectors, pack_blocks, pack_panels
from spokeshave.compiler.kernels.reorder import similar_rows


def unpacked(panels: Panels, shape: tuple[int, int]) -> np.ndarray:
    """The matrix that a panel kernel multiplies by (with blocks: their sum)."""
    matrix = np.zeros(shape, np.float32)
    for panel in range(panels.count):
        rows = panels.row_numbers[panel * panels.rows : (panel + 1) * panels.rows]
        for j in range(panels.column_start[panel], panels.column_start[panel + 1]):
            once, first, again = np.unique(rows, return_index=True, return_inverse=True)
            matrix[once, panels.columns[j]] += panels.weights[j][first]
            np.testing.assert_array_equal(panels.weights[j], panels.weights[j][first][again])
    return matrix


@st.composite
def matrices(draw):
    groups = draw(st.integers(1, 3))
    shape = (groups * draw(st.integers(1, 11)), draw(st.integers(1, 14)))
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    density = draw(st.sampled_from([0.0, 0.2, 1.0]))
    return (generator.standard_normal(shape) * (generator.random(shape) < density)).astype(np.float32), groups


@given(case=matrices(), rows=st.sampled_from([1, 2, 4, 8]))
def test_panels_hold_the_matrix(case, rows):
    matrix, groups = case
    height, width = matrix.shape
    whole = np.zeros((height, width * groups), np.float32)
    for group in range(groups):
        part = slice(group * height // groups, (group + 1) * height // groups)
        whole[part, group * width : (group + 1) * width] = matrix[part]
    np.testing.assert_array_equal(unpacked(pack_panels(matrix, rows, groups), whole.shape), whole)
    reordered = pack_panels(matrix, rows, groups, similar_rows(matrix != 0, groups))
    np.testing.assert_array_equal(unpacked(reordered, whole.shape), whole)


@given(case=matrices())
def test_the_best_vectors_hold_the_matrix_and_say_whether_rows_are_in_order(case):
    matrix, _ = case
    panels = best_vectors(matrix, instruction_set("avx2"))
    np.testing.assert_array_equal(unpacked(panels, matrix.shape), matrix)
    in_order = list(dict.fromkeys(panels.row_numbers.tolist())) == list(range(len(matrix)))
    assert panels.scattered != in_order


def test_pruned_rows_of_a_recurrent_matrix_take_no_room():
    """Half of the rows are gone, here and there: panels of the others alone, each with a number for its row."""
    matrix = np.random.default_rng(0).standard_normal((768, 256)).astype(np.float32)
    gone = np.random.default_rng(1).permutation(768)[:384]
    matrix[gone] = 0
    panels = best_vectors(matrix, instruction_set("avx2"))
    assert panels.scattered
    assert panels.weights.size == 384 * 256
    assert sorted(set(panels.row_numbers)) == list(range(768))


def test_a_panel_fills_a_register_where_that_streams_few_bytes_more():
    """Eights of rows keep 64 columns, of which those of a sixteen share 52: in the caches a panel of 16 is quicker."""
    matrix = np.zeros((64, 256), np.float32)
    for eight in range(8):
        first = 12 * (eight % 2) + 100 * (eight // 2 % 2)
        matrix[8 * eight : 8 * eight + 8, first : first + 64] = 1
    assert best_vectors(matrix, instruction_set("avx512")).rows == 16
    assert best_vectors(matrix, instruction_set("avx2")).rows == 8


@given(case=matrices(), rows=st.sampled_from([2, 4]))
def test_blocks_add_up_to_the_matrix(case, rows):
    matrix, _ = case
    halves = np.array_split(np.arange(matrix.shape[1]), 2)
    every = np.arange(len(matrix))
    blocks = [(every, columns, matrix[:, columns]) for columns in halves]
    np.testing.assert_array_equal(unpacked(pack_blocks(blocks, rows), matrix.shape), matrix)
