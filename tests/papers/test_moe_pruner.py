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


def test_findings_judge_by_gaps_and_their_spread():
    def records(scheme, criterion, *perplexities):
        """One a seed; the second seed's draws lie around it."""
        first, second = perplexities
        values = [(0, first), (1, second - 1), (1, second + 1)]
        described = {"scheme": scheme, "criterion": criterion}
        return [described | {"seed": seed, "perplexity": value} for seed, value in values]

    found = moe_pruner.findings(
        [
            *records("dense", "dense", 3.0, 4.0),
            *records("50 %", "moe_pruner", 5.0, 7.0),
            *records("50 %", "wanda", 6.0, 8.1),
            *records("50 %", "magnitude", 8.0, 10.0),
            *records("50 %", "random", 9.0, 11.0),
            *records("2:4", "moe_pruner", 5.0, 7.0),
            *records("2:4", "wanda", 4.9, 7.2),
            *records("2:4", "magnitude", 8.0, 9.0),
            *records("2:4", "random", 4.0, 10.0),
            *records("50 %", "moe_pruner, fine-tuned", 4.0, 6.0),
            *records("50 %", "moe_pruner, distilled", 3.0, 5.0),
        ]
    )
    verdicts = [finding.verdict for finding in found]
    assert verdicts == ["reproduced", "reproduced", "not reproduced", "not reproduced", "reproduced"]
    assert "wanda 7.05 ± 1.48" in found[0].measured
    assert "dense 3.50 ± 0.71" in found[0].measured
