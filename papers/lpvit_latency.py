"""Further part of LPViT's check: blocks shared out by measured time, not by multiply-adds.

    python -m papers.lpvit_latency

Every layer of the MNIST transformer is timed on this CPU at every tenth of its blocks (`devices.host`: compiled alone,
one thread), and the shares at equal slopes are those at which the sum of times is the target. Beside it stand equal
shares, in tenths, and the allocation by multiply-adds, in hundredths of what is left of them, each at the most that
fits the same measured time; accuracy is without training, over draws of calibration images. What is found goes into
`lpvit.json`.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import torch

from papers.lpvit import MEASURED, SLOPES, Subject, accuracy, blocks, left, plan_of
from papers.record import HERE, Finding, add, take_no_arguments
from papers.small_vit import network_and_data
from papers.trials import beats, remembered
from spokeshave.allocation import EqualSlope, allocate_equal_slope
from spokeshave.allocation.work import work_of
from spokeshave.devices import load_device
from spokeshave.plan import Plan
from spokeshave.workload import trace

BEGINS = "by measured time: "
TARGET = 0.7  # of the dense layers' time
TENTHS = tuple(step / 10 for step in range(10, -1, -1))
HUNDREDTHS = tuple(step / 100 for step in range(100, 0, -1))
SETTINGS: dict[str, Any] = SLOPES[MEASURED] | {"shares": TENTHS, "half_width": 1}
SEEDS, CALIBRATION = (0, 1, 2), 256
TIME, WORK, EVEN = "slopes by time", "slopes by multiply-adds", "equal shares"
Shares = dict[str, float]
Seconds = Callable[[Plan | None], float]


def trial(subject: Subject, seconds: Seconds) -> dict[str, Any]:
    """Measured time, work and accuracy of every way to share out one target of time."""
    whole = seconds(None)
    by_work = subject.allocated(0.5, **SETTINGS)
    by_time = allocate_equal_slope(
        EqualSlope(TARGET, **SETTINGS),
        subject.network,
        subject.example,
        subject.calibrating,
        blocks,
        cost=seconds,
        curves=by_work.curves,
    )
    fits = partial(fitting, lambda shares: seconds(plan_of(shares)) <= TARGET * whole)
    choices = {
        TIME: by_time.shares,
        WORK: fits(lambda share: subject.allocated(share, by_work.curves, **SETTINGS).shares, HUNDREDTHS),
        EVEN: fits(lambda share: dict.fromkeys(subject.names, share), TENTHS),
    }
    parts = work_of(trace(subject.network, subject.example), subject.names).parts
    return {name: judged(subject, shares, seconds, whole, parts) for name, shares in choices.items()}


def judged(
    subject: Subject, shares: Shares, seconds: Seconds, whole: float, parts: dict[str, float]
) -> dict[str, Any]:
    """What a choice of shares leaves of time, multiply-adds and accuracy."""
    network = subject.pruned(shares)
    return {
        "time": seconds(plan_of(shares)) / whole,
        "multiply_adds": left(network, parts),
        "accuracy": accuracy(network, subject.data),
        "shares": shares,
    }


def fitting(
    fits: Callable[[Shares], bool], choose: Callable[[float], Shares], parts: Sequence[float]
) -> Shares:
    """The first choice that fits, of parts that go down."""
    return next(shares for shares in map(choose, parts) if fits(shares))


def findings(trials: Sequence[dict[str, Any]]) -> list[Finding]:
    """Accuracy at equal measured time, over draws."""
    values = {name: [one[name]["accuracy"] for one in trials] for name in trials[0]}
    spent = "; ".join(
        f"{name}: {fmean(one[name]['time'] for one in trials):.2f} of the time, "
        f"{fmean(one[name]['multiply_adds'] for one in trials):.2f} of the multiply-adds"
        for name in values
    )
    whys = {WORK: "; layers of one small width, whose time goes with their multiply-adds", EVEN: ""}
    return [
        beats(
            f"{BEGINS}at {TARGET:.0%} of the layers' time {TIME} keep more than {other}",
            values,
            TIME,
            other,
            note=spent + why,
        )
        for other, why in whys.items()
    ]


def main() -> int:
    """Put the findings into the check's result, in the place of those that were there."""
    take_no_arguments(__doc__)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, data, _ = network_and_data()
    subjects = [Subject(network, data, seed, CALIBRATION) for seed in SEEDS]
    device, workload = load_device("host"), trace(network, subjects[0].example)

    def seconds(plan: Plan | None) -> float:
        latency = device.cost(workload, plan).latency_seconds
        assert latency is not None
        return latency

    trials = [
        remembered(f"lpvit/{data.name}-{CALIBRATION}-{one.seed}-time", partial(trial, one, seconds))
        for one in subjects
    ]
    add(HERE / "results" / "lpvit.json", BEGINS, findings(trials), "latency", {"trials": trials})
    return 0


if __name__ == "__main__":
    sys.exit(main())
