"""LPViT's claims on the DeiT-tiny have a name of their own, and the deployment's time decides the last."""

import pytest

pytest.importorskip("transformers")

from papers.lpvit_deit import DENSE, MEASURED, PYTORCH, REMAINING, all_findings

from papers import lpvit


def trial(step):
    kinds = ("uniform", "random shares", lpvit.CLOSED, lpvit.MEASURED)
    names = [f"{kind}, {share:.0%}" for share in REMAINING for kind in kinds]
    found = {name: {"accuracy": 0.5 + step, "fine_tuned": 0.7 + step} for name in names}
    return {"accuracies": found | {name: {"accuracy": 0.5} for name in lpvit.criteria((8, 8))}, "power": 0.9}


@pytest.mark.parametrize(
    ("own", "judged"), [(1.0, "reproduced"), (2.5, "not reproduced"), (3.5, "not reproduced")]
)
def test_the_clock_has_the_last_word(own, judged):
    times = {MEASURED: own, DENSE: 2.0, PYTORCH: 3.0}
    compiled = {"accuracies": dict.fromkeys(times, 0.8), "milliseconds": times}
    found = all_findings([trial(0.0), trial(0.01)], compiled)
    assert all(one.claim.startswith("DeiT-tiny: ") for one in found)
    assert found[-1].verdict == judged
    assert len({one.claim for one in found}) == len(found)
