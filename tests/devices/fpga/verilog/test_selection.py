"""Token selection in a simulator, held to whole numbers and to the mean that it stands for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.devices.fpga.verilog.simulators import needs

from spokeshave.devices.fpga.verilog.selection import select_tokens, token_selector
from spokeshave.devices.fpga.verilog.simulation import lint
from spokeshave.devices.fpga.verilog.vectors import run_vectors

COLUMNS, WORDS, MOST = 4, 3, 60
DIVIDING = 9 * WORDS


def simulated(images, threshold):
    """What the control writes for one image after the other: words, addresses, token numbers and packages."""
    rows = []
    for scores, tokens in images:
        rows.append((1, 0, 0, 0, torch.zeros(COLUMNS, dtype=torch.int64)))
        for number, (score, token) in enumerate(zip(scores.tolist(), tokens, strict=True)):
            last = int(number == len(tokens) - 1)
            rows += [(0, 1, last, score, word) for word in token.view(WORDS, COLUMNS)]
        rows += [(0, 0, 0, 0, rows[-1][-1])] * DIVIDING
    reset, valid, last, score = (torch.tensor([row[index] for row in rows]) for index in range(4))
    given_ = {
        "reset": reset,
        "token_valid": valid,
        "last_token": last,
        "score": score,
        "threshold": torch.full_like(reset, threshold),
        "x": torch.stack([row[4] for row in rows]),
    }
    made = run_vectors(token_selector(COLUMNS, WORDS, MOST), given_)
    images_of = reset.cumsum(0)
    for image in range(1, len(images) + 1):
        yield {name: values[(images_of == image) & (made["written"] == 1)] for name, values in made.items()}


@needs("icarus")
@pytest.mark.parametrize("threshold", [128, 1, 255])
def test_what_is_written_is_what_was_selected(threshold):
    images = [
        (torch.randint(0, 256, (count,)), torch.randint(-128, 128, (count, WORDS * COLUMNS)))
        for count in (1, 2, 17, MOST, 40, MOST)
    ]
    images += [(torch.zeros(9, dtype=torch.int64), torch.full((9, WORDS * COLUMNS), -128))]
    images += [(torch.full((5,), 255), torch.randint(-128, 128, (5, WORDS * COLUMNS)))]
    for (scores, tokens), made in zip(images, simulated(images, threshold), strict=True):
        expected = select_tokens(scores, tokens, threshold)
        assert torch.equal(made["written_word"].view(-1, WORDS * COLUMNS), expected.tokens)
        assert made["address"].tolist() == list(range(expected.tokens.numel() // COLUMNS))
        assert torch.equal(made["index"][made["is_package"] == 0][::WORDS], expected.kept)
        assert int(made["is_package"].sum()) == WORDS * (len(expected.tokens) - len(expected.kept))


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
