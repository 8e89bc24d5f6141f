"""What the clock and the deployments of the DeiT-tiny with selectors are made into."""

import pytest

pytest.importorskip("transformers")

from papers.spvit_deit import DENSE, REDUCED, clock_findings

TIMES = {DENSE: 3.0, f"{DENSE} in 8 bits": 1.0, "tail": 2.1, "selectors": 0.01}
EIGHT_BITS = f"{REDUCED} in 8 bits"


def accuracies(loss):
    return [{DENSE: 0.8 + step, EIGHT_BITS: 0.8 + step - loss} for step in (0.0, 0.01, 0.003)]


@pytest.mark.parametrize(
    ("single", "eight", "loss", "verdicts"),
    [
        (1.9, 0.9, 0.005, ["reproduced"] * 3),
        (2.1, 1.1, 0.005, ["not reproduced", "reproduced", "not reproduced"]),
        (1.9, 0.9, 0.011, ["reproduced", "reproduced", "not reproduced"]),
    ],
)
def test_verdicts_are_of_times_and_losses(single, eight, loss, verdicts):
    times = {"float32": TIMES | {"mean": single}, "int8": TIMES | {"mean": eight}}
    found = clock_findings("DeiT-tiny, digits", accuracies(loss), times)
    assert [one.verdict for one in found] == verdicts
    assert all(one.claim.startswith("DeiT-tiny, digits: ") for one in found)


def test_one_seed_shows_no_loss():
    times = {name: TIMES | {"mean": 0.9} for name in ("float32", "int8")}
    assert clock_findings("DeiT-tiny, digits", accuracies(0.0)[:1], times)[-1].verdict == "not reproduced"
