"""The parts of the MoE-Pruner script on random tokens: no claim is tested, only that each does what it says."""

import pytest
import torch

pytest.importorskip("transformers")
from papers import moe_pruner, small_mixtral

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokens():
    """Every token is followed by the next number, so that there is something to learn."""
    starts = torch.randint(0, 64, (8, 1), generator=torch.Generator().manual_seed(0))
    return (starts + torch.arange(24)) % 64


@pytest.fixture(scope="module")
def trained(tokens):
    return small_mixtral.train_network(tokens, small_mixtral.Training(steps=8))


def test_training_learns(trained, tokens):
    assert small_mixtral.perplexity(trained, tokens) < small_mixtral.VOCABULARY / 2


def test_findings_judge_by_means():
    def record(scheme, criterion, perplexity):
        return {"scheme": scheme, "criterion": criterion, "perplexity": perplexity}

    records = [record("dense", "dense", 3.0)]
    for scheme, ours in (("50 %", 4.0), ("2:4", 9.0)):
        records += [
            record(scheme, "moe_pruner", ours),
            record(scheme, "wanda", 6.0),
            record(scheme, "wanda", 4.0),
        ]
        records += [record(scheme, "magnitude", 7.0), record(scheme, "random", 8.0)]
    records += [record("50 %", "moe_pruner, fine-tuned", 3.8), record("50 %", "moe_pruner, distilled", 3.5)]
    found = moe_pruner.findings(records)
    assert [finding.verdict for finding in found] == ["reproduced", "not reproduced", "reproduced"]
    assert "wanda 5.00" in found[0].measured
