"""Token selection in a simulator, held to whole numbers and to the mean that it stands for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.devices.fpga.verilog.simulators import needs

from spokeshave.devices.fpga.verilog.selection import select_tokens, token_selector
from spokeshave.devices.fpga.verilog.selection_run import run_selection, selection_cycles
from spokeshave.devices.fpga.verilog.simulation import lint

COLUMNS, WORDS, MOST = 4, 3, 60


@needs("icarus")
@pytest.mark.parametrize("threshold", [128, 1, 255])
def test_what_is_written_is_what_was_selected(threshold):
    """Bit for bit, one token behind the other, in the cycles that the model counts."""
    images = [
        (torch.randint(0, 256, (count,)), torch.randint(-128, 128, (count, WORDS * COLUMNS)))
        for count in (1, 2, 17, MOST, 40, MOST)
    ]
    images += [(torch.zeros(9, dtype=torch.int64), torch.full((9, WORDS * COLUMNS), -128))]
    images += [(torch.full((5,), 255), torch.randint(-128, 128, (5, WORDS * COLUMNS)))]
    for (scores, tokens), made in zip(images, run_selection(images, threshold, COLUMNS), strict=True):
        expected = select_tokens(scores, tokens, threshold)
        dropped = len(tokens) - len(expected.kept)
        assert torch.equal(made.selected.tokens, expected.tokens)
        assert torch.equal(made.selected.kept, expected.kept)
        assert made.in_order
        assert made.packages == len(expected.tokens) - len(expected.kept)
        assert made.cycles == selection_cycles(len(tokens), WORDS, dropped)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 30), st.integers(0, 1 << 30))
def test_the_package_is_the_weighted_mean(count, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(1, 100, (count,), generator=generator)
    tokens = torch.randint(-128, 128, (count, 5), generator=generator)
    weights, dropped = scores[1:].double(), tokens[1:].double()
    mean = (weights @ dropped) / weights.sum()
    made = select_tokens(scores, tokens, 100).tokens
    assert len(made) == 2
    assert float((made[-1] - mean).abs().max()) <= 0.5


@needs("verilator")
def test_the_strictest_check_finds_nothing(tmp_path):
    assert lint(token_selector(COLUMNS, WORDS, MOST), tmp_path) == ""
