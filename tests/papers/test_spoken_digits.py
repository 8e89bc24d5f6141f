"""Features of spoken digits, and what RTMobile's further part decides by itself."""

import math

import pytest
import torch
from papers.rtmobile_digits import RATES, findings
from papers.spoken_digits import BANDS, FAINT, FRAMES, bands, clip_accuracy
from torch import nn

from spokeshave.data import Batches


def test_a_tone_is_loudest_in_its_band_and_what_follows_it_is_silence():
    time = torch.arange(4000) / 8000
    found = bands(torch.sin(2 * math.pi * 1000 * time))
    assert found.shape == (FRAMES, BANDS)
    assert set(found[:20].argmax(1).tolist()) == {int(1000 / 4000 * BANDS)}
    assert torch.equal(found[-5:], torch.full((5, BANDS), math.log(FAINT)))


def test_long_clips_are_cut_and_short_ones_filled():
    noise = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(bands(noise), bands(noise[:10_000]))
    assert bands(noise[:100]).shape == (FRAMES, BANDS)


def test_the_last_frame_is_judged():
    scores = torch.zeros(4, FRAMES, 2)
    scores[:, -1, 1] = 1.0
    labels = torch.tensor([1, 1, 0, 1])[:, None].repeat(1, FRAMES)
    assert clip_accuracy(nn.Identity(), Batches(scores, labels, 3)) == 0.75


@pytest.mark.parametrize(("kept", "verdicts"), [(0.98, ["reproduced"] * 3), (0.80, ["not reproduced"] * 3)])
def test_verdicts(kept, verdicts):
    first, *others = RATES
    at = {"dense": 0.983, f"BSP {first}x": kept, f"unstructured {first}x": 0.98}
    at |= {f"BSP {rate}x": min(0.95, kept - 0.07 * (kept < 0.9)) for rate in others}
    at |= {f"{name} {first}x": 0.85 for name in ("rows", "columns", "random BSP")}
    records = [{"scheme": label, "seed": seed, "test": test} for label, test in at.items() for seed in (0, 1)]
    assert [one.verdict for one in findings(records)] == verdicts
