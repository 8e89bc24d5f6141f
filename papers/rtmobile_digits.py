"""Further part of RTMobile's check: spoken digits, of which a dense network names nearly all.

    python -m papers.rtmobile_digits

A GRU of 128 units reads a clip (`spoken_digits.py`) and is judged at its last frame, through the compiled deployment.
BSP at 10x and beyond, as in `rtmobile.py`, and at the first of these rates beside single weights, whole rows, whole
columns and a random choice, three seeds, trained as there. What is found goes into `rtmobile.json`.
"""

import sys
from functools import partial
from statistics import fmean
from typing import Any

import torch

from papers.deployments import store
from papers.masks import Steps
from papers.pruning import Training
from papers.record import HERE, Finding, add, take_no_arguments, verdict
from papers.rtmobile import LOGS, MAIN, SLOWLY, SUBJECT, compared, free, slowly
from papers.speech_trials import Study, judged
from papers.spoken_digits import clip_accuracy, spoken_digits
from papers.trials import ahead, remembered, spread
from spokeshave.compiler import compile_network

BEGINS = "spoken digits: "
SEEDS = (0, 1, 2)
RATES = (MAIN, 103, 301)


def trial(setting: Study, label: str, steps: Steps, random: bool, seed: int) -> dict[str, Any]:
    """Accuracy of one network through its deployment."""
    plans = setting.plans(SUBJECT, steps)
    network = setting.network(SUBJECT, label, steps, seed, random)
    deployment = compile_network(network, setting.speech.example, plans[-1] if plans else None)
    test = clip_accuracy(deployment, setting.speech.test)
    return {"scheme": label, "seed": seed, "test": test}


def findings(records: list[dict[str, Any]]) -> list[Finding]:
    """What 10x costs, what 301x costs beyond it, and the order of the schemes."""
    test = judged(records, "test")
    rates = [f"BSP {rate}x" for rate in RATES]
    figures = ", ".join(f"{label} {spread(test[label])}" for label in ("dense", *rates))
    at = {label.removesuffix(f" {MAIN}x"): values for label, values in test.items()}
    beside = ("BSP", "unstructured", "rows", "columns", "random BSP")
    return [
        Finding(
            f"{BEGINS}10x is free",
            LOGS,
            f"clips right: {figures}",
            free(test, rates[0]),
            "shown to be less than half a point below the dense network; 300 test clips",
        ),
        Finding(
            f"{BEGINS}the error rises slowly from 10x to 301x",
            LOGS,
            f"{100 * (fmean(test[rates[0]]) - fmean(test[rates[-1]])):.1f} points",
            slowly(test, rates[0], rates[-1]),
            f"slowly: shown to cost less than {100 * SLOWLY:.1f} points, as in the released logs",
        ),
        Finding(
            f"{BEGINS}at {MAIN}x BSP keeps more than whole rows, whole columns and a random choice",
            "",
            "clips right: " + ", ".join(f"{name} {spread(at[name])}" for name in beside),
            verdict(all(ahead(at["BSP"], at[name]) for name in beside[2:])),
            "",
        ),
    ]


def main() -> int:
    """Put the findings into the check's result, in the place of those that were there."""
    take_no_arguments(__doc__)
    torch.set_num_threads(1)
    with store(False) as kept:
        setting = Study(kept, spoken_digits(), Training(), SEEDS)
        records = [
            remembered(
                f"rtmobile/digits-{label}-{seed}".replace(" ", "_"),
                partial(trial, setting, label, steps, random, seed),
            )
            for label, (steps, random) in compared(RATES, RATES[:1]).items()
            for seed in SEEDS
        ]
    add(HERE / "results" / "rtmobile.json", BEGINS, findings(records), "digits", {"trials": records})
    return 0


if __name__ == "__main__":
    sys.exit(main())
