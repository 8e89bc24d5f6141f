"""What trials remember, and what their spread allows to say."""

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


def test_a_gap_within_the_spread_is_not_reproduced():
    values = {"ours": [0.9, 0.8, 0.7], "theirs": [0.8, 0.71, 0.6], "alike": [0.8, 0.9, 0.7]}
    assert trials.beats("ours is better", values, "ours", "theirs").verdict == "reproduced"
    finding = trials.beats("ours is better", values, "ours", "alike")
    assert finding.verdict == "not reproduced"
    assert finding.measured == "ours 80.0 ± 10.0 %, alike 80.0 ± 10.0 %"
