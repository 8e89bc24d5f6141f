"""Further part of LPViT's check: on a DeiT-tiny, which Tiny-ImageNet-50 was taught, in blocks of 16 x 16.

    python -m papers.lpvit_deit

The network is the paper's own smallest (`papers/deit_tiny.py`); its images are small, enlarged to 112 x 112. Who is
compared is as in `lpvit`. At half of the multiply-adds the measured slopes' network is fine-tuned, compiled and timed
beside the dense one, compiled and in PyTorch. What is found goes into `lpvit.json`.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from papers.deit_tiny import deit_tiny
from papers.deployments import timed
from papers.lpvit import MEASURED, QUARTERS, Subject, accuracy, findings, plan_of, trial, tune
from papers.lpvit_sweeps import inferred
from papers.record import HERE, Finding, add, take_no_arguments, verdict
from papers.trials import remembered
from spokeshave.compiler import compile_network
from spokeshave.measure import evaluate

BEGINS = "DeiT-tiny: "
SEEDS, CALIBRATION = (0, 1, 2), 64
BLOCK, RATE = (16, 16), 1e-4  # a twelfth of the width
REMAINING = (0.7, 0.5)
IMAGES, LONGER = 2_560, 10_000  # of fine-tuning: of every allocation, and of the one that is compiled
ROUNDS = 31
REASON = "see the ranks that the closed form gives layers of the MNIST transformer, above"
PYTORCH, DENSE = "dense, PyTorch", "dense"


def compiled(subject: Subject) -> dict[str, Any]:
    """At half of the multiply-adds, fine-tuned: accuracy of the deployments, and milliseconds of an image."""
    shares = subject.allocated(0.5, **subject.slopes(MEASURED)).shares
    plan, network = plan_of(shares, subject.block), subject.pruned(shares)
    tune(network, subject, plan, LONGER)
    example = subject.example
    deployed = {
        DENSE: compile_network(subject.network, example),
        MEASURED: compile_network(network.eval(), example, plan),
    }
    calls: dict[str, Callable[[], Any]] = {name: partial(one, example) for name, one in deployed.items()}
    times = timed(calls | {PYTORCH: partial(inferred, subject.network, example)}, ROUNDS)
    return {
        "accuracies": {name: evaluate(one, subject.data.held_out).top1 for name, one in deployed.items()},
        "milliseconds": {name: time["milliseconds"] for name, time in times.items()},
    }


def all_findings(trials: Sequence[dict[str, Any]], found: Mapping[str, Any]) -> list[Finding]:
    """LPViT's claims over draws, and what is compiled."""
    times, accuracies = found["milliseconds"], found["accuracies"]
    own = times[MEASURED]
    clocked = Finding(
        "half of the blocks run faster than the dense network",
        "up to 1.79x on GPU for DeiT-B",
        f"{times[DENSE] / own:.2f} times as fast as the dense network compiled, {times[PYTORCH] / own:.2f} times as "
        f"PyTorch's: {own:.2f}, {times[DENSE]:.2f} and {times[PYTORCH]:.2f} ms",
        verdict(own < min(times[DENSE], times[PYTORCH])),
        f"compiled and fine-tuned on {LONGER:,} images {accuracies[MEASURED]:.1%}, dense {accuracies[DENSE]:.1%}; "
        "float32, batch of one, one thread, processor time of interleaved runs",
    )
    return [replace(one, claim=f"{BEGINS}{one.claim}") for one in [*findings(trials, REASON), clocked]]


def main() -> int:
    """Put the findings into the check's result, in the place of those that were there."""
    take_no_arguments(__doc__)
    torch.set_num_threads(1)
    network, data = deit_tiny()
    subjects = [Subject(network, data, seed, CALIBRATION, QUARTERS, BLOCK, RATE) for seed in SEEDS]
    key = f"lpvit/deit-{BLOCK[0]}-{CALIBRATION}"
    trials = [
        remembered(f"{key}-{one.seed}-{IMAGES}", partial(trial, one, IMAGES, REMAINING)) for one in subjects
    ]
    found = remembered(f"{key}-compiled-{LONGER}", partial(compiled, subjects[0]))
    figures = {
        "about": f"DeiT-tiny on {data.name}, blocks of {BLOCK[0]} x {BLOCK[1]}",
        "dense_accuracy": accuracy(network, data),
        "trials": trials,
        "compiled": found,
    }
    add(HERE / "results" / "lpvit.json", BEGINS, all_findings(trials, found), "deit_tiny", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
