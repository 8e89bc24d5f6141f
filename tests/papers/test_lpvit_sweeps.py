"""What the sweeps of LPViT's check decide by themselves."""

import pytest
import torch
from papers.lpvit_sweeps import BETAS, SIZES, block_norms, power_finding, size_findings


def test_a_block_has_the_mean_of_its_squares():
    weight = torch.arange(12.0).view(3, 4)
    assert block_norms(weight, (2, 3)).tolist() == pytest.approx(
        [(0 + 1 + 4 + 16 + 25 + 36) / 6, (9 + 49) / 2, (64 + 81 + 100) / 3, 121]
    )


@pytest.mark.parametrize(("step", "verdict"), [(-0.1, "reproduced"), (0.1, "not reproduced")])
def test_beta_is_judged_by_power_and_by_the_hungriest(step, verdict):
    record = {
        str(beta): {"power": 0.5 + step * place, "hungriest": 0.5 - 0.1 * place, "accuracy": 0.9}
        for place, beta in enumerate(BETAS)
    }
    assert power_finding([record]).verdict == verdict


def test_blocks_are_judged_by_accuracy_and_by_time():
    accuracies = {str(side): 0.9 - side / 100 for side in SIZES}
    times = {"dense, PyTorch": 100.0, "dense": 90.0}
    times |= {f"{share}, {side} x {side}": 120.0 - side for share in ("70%", "50%") for side in SIZES}
    verdicts = [one.verdict for one in size_findings([accuracies, accuracies], times)]
    assert verdicts == ["reproduced", "reproduced", "not reproduced"]
