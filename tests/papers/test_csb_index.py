"""The bits of an index, counted by hand."""

import pytest
import torch
from papers.csb_index import Index, index_of, judgement
from papers.speech_trials import Subject

from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.unstructured import Unstructured


def test_compressed_blocks_name_rows_and_columns_once():
    weight = torch.zeros(32, 64)
    weight[2:5, 3:11] = 1.0  # 3 rows and 8 columns of the first block; the second is empty
    counts = 2 * 2 * 6  # of rows and of columns, 0 to 32, in two blocks
    expected = Index(weights=24, entries=3 + 8 + 4, bits=(3 + 8) * 5 + counts)
    assert index_of(CompressedBlocks(0.9, (32, 32)), weight) == expected


def test_compressed_sparse_rows_name_every_column():
    weight = torch.zeros(4, 128)
    weight[0, :5] = 1.0
    assert index_of(Unstructured(0.9), weight) == Index(weights=5, entries=10, bits=5 * 7 + 5 * 3)


def test_banks_need_no_beginnings_of_rows():
    weight = NOfM(4, 32, "columns").project(torch.randn(8, 64))
    assert index_of(NOfM(4, 32, "columns"), weight) == Index(weights=64, entries=64, bits=64 * 5)


def test_density_adaptive_blocks_name_their_rows():
    weight = torch.zeros(2, 16)
    weight[0, ::4], weight[1, 3] = 1.0, 1.0  # segments of 4, and of 16
    assert index_of(DensityAdaptiveBlocks(0.8), weight) == Index(5, entries=7, bits=4 * 2 + 1 * 4 + 2 * 1)


@pytest.mark.parametrize(("bits", "verdict"), [(2.0, "reproduced"), (5.0, "not reproduced")])
def test_far_shorter_is_less_than_half(bits, verdict):
    index = {"CSB": {"bits": bits, "entries": 0.3}, "CSB as CSR": {"bits": 9.0, "entries": 1.1}}
    assert judgement(Subject("gru", 8), index).verdict == verdict
