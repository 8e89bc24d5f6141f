"""What trials remember, and what their spread allows to say."""

import pytest
import torch

from papers import trials


def test_what_was_made_once_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "RUNS", tmp_path)
    made = []

    def make():
        made.append(1)
        return {"accuracy": 0.5}

    assert trials.remembered("paper/0", make) == trials.remembered("paper/0", make) == {"accuracy": 0.5}
    assert trials.remembered("paper/1", make) == {"accuracy": 0.5}
    assert len(made) == 2


def test_tensors_are_remembered_too(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "RUNS", tmp_path)
    made = {"initial.weight": torch.randn(2, 3).T, "masks.weight": torch.tensor([True, False])}
    first = trials.remembered_tensors("paper/0", lambda: made)
    again = trials.remembered_tensors("paper/0", dict)
    assert all(torch.equal(first[name], made[name]) and torch.equal(again[name], made[name]) for name in made)


def test_a_gap_within_its_error_over_seeds_is_not_reproduced():
    values = {"ours": [0.9, 0.8, 0.7], "theirs": [0.8, 0.71, 0.6], "alike": [0.8, 0.9, 0.7]}
    assert trials.beats("ours is better", values, "ours", "theirs").verdict == "reproduced"
    finding = trials.beats("ours is better", values, "ours", "alike")
    assert finding.verdict == "not reproduced"
    assert finding.measured == "ours 80.0 ± 10.0 %, alike 80.0 ± 10.0 %"


def test_ahead_is_the_paired_t_test():
    scipy = pytest.importorskip("scipy.stats")
    generator = torch.Generator().manual_seed(0)
    verdicts = []
    for seeds in (2, 3, 5, 10):
        for _ in range(100):
            seed_effect = torch.randn(seeds, generator=generator, dtype=torch.float64)
            first, second = (
                (seed_effect + shift + torch.randn(seeds, generator=generator, dtype=torch.float64)).tolist()
                for shift in (1.0, 0.0)
            )
            p = scipy.ttest_rel(first, second, alternative="greater").pvalue
            verdicts.append(trials.ahead(first, second))
            assert verdicts[-1] == (p < 0.05) or abs(p - 0.05) < 1e-4
    assert 50 < sum(verdicts) < 350


def test_one_seed_shows_nothing_and_equal_gaps_suffice():
    assert not trials.ahead([0.9], [0.1])
    assert trials.ahead([0.75, 0.5], [0.5, 0.25])
    assert not trials.ahead([0.5, 0.5], [0.5, 0.5])
