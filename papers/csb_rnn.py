"""CSB-RNN (arXiv 2005.05758): compressed structured blocks of an LSTM and a GRU, and the rate that each scheme bears.

Networks that name the phone of every frame of read speech are pruned by ADMM with CSB, BSP, whole rows, whole columns,
single weights, and CSB at random, at several rates and with three seeds, and judged through the compiled deployment.
The rate of a scheme is where its accuracy, between the measured rates, falls `LOSS` below the dense network's. All
deployments of the first seed are timed in one interleaved run.
"""

import sys
from statistics import fmean
from typing import Any

import torch

from papers.csb_engine import engine
from papers.csb_integers import in_integers, judgement
from papers.deployments import Trial, first_seed, store, timed
from papers.masks import Steps, block_structured, columns, compressed_blocks, rows, unstructured
from papers.record import Check, Finding, Verdict, main, verdict
from papers.speech_trials import (
    LOSS,
    Study,
    Subject,
    borne,
    densities,
    judged,
    per_step,
    study,
    times_borne,
)  # fmt: skip

SUBJECTS = (Subject("lstm", 128), Subject("gru", 128))
RATES = (3, 4.9, 9.8)  # whole columns of 39 and of 128 inputs meet them to 1 %, as everything finer does
CLEAR = 0.97  # of another's time: less than 3 % apart is no difference
PRIOR = ("BSP", "rows", "columns")


def schemes(rate: float) -> dict[str, Steps]:
    """What is compared at a rate."""
    return {
        "CSB": compressed_blocks(rate),
        "BSP": block_structured(rate / 2, 2),
        "rows": rows(rate),
        "columns": columns(rate),
    }


def run(quick: bool) -> Check:
    """Prune, judge, time."""
    torch.set_num_threads(1)
    findings: list[Finding] = []
    data: dict[str, Any] = {}
    with store(quick) as kept:
        setting, label = study(kept, quick), f"CSB {RATES[-1]}x"
        for subject in (Subject("lstm", 32),) if quick else SUBJECTS:
            trials = pruned(setting, subject, RATES[-1:] if quick else RATES)
            times = timed(first_seed(trials, setting.speech.example), 3 if quick else 31)
            records = [one.record for one in trials]
            found = {
                "trials": records,
                "microseconds_per_step": per_step(times, setting.speech.example.shape[1]),
                "rates": borne(records),
                "integers": in_integers(setting, subject, label, compressed_blocks(RATES[-1])),
            }
            data[f"{subject.kind}, {subject.hidden} units"] = found
            findings += [*judgements(subject, found), judgement(subject, label, found)]
    if not quick:
        shared, data["engine"] = engine()
        findings += shared
    differences = (
        f"{setting.speech.about}; networks of one layer of 128 units; the paper's ten networks were not to be had",
        "the rate is read between measured rates where accuracy falls by a point, not searched step by step",
        "times are this CPU's; the FPGA's engine is modelled, on the keyword GRU-400 pruned layer by layer",
        "all gates of a layer are one matrix, its threshold is the matrix's",
        "BSP's two steps share the epochs of ADMM that every other scheme has in one",
    )
    return Check(tuple(findings), differences, setting.seeds, data)


def pruned(setting: Study, subject: Subject, rates: tuple[float, ...]) -> list[Trial]:
    """Every scheme at every rate and seed, and the dense network."""
    trials = setting.trials(subject, "dense", [])
    for rate in rates:
        for name, steps in schemes(rate).items():
            trials += setting.trials(subject, f"{name} {rate}x", steps)
    trials += setting.trials(subject, f"unstructured {rates[-1]}x", unstructured(rates[-1]))
    return trials + setting.trials(
        subject, f"random CSB {rates[-1]}x", compressed_blocks(rates[-1]), random=True
    )


def judgements(subject: Subject, found: dict[str, Any]) -> list[Finding]:
    """CSB's rate beside the others', and its time beside theirs at equal accuracy and at equal density."""
    rates, times = found["rates"], found["microseconds_per_step"]
    prior = max(rates[name] for name in PRIOR)
    gain = rates["CSB"] / prior
    ours: Verdict = "reproduced" if gain >= 1.6 else "differs" if gain > 1 else "not reproduced"
    equal = times_borne(found)
    highest = max(
        (label.split()[-1] for label in times if label != "dense"), key=lambda rate: float(rate[:-1])
    )
    at = {label.rpartition(" ")[0]: value for label, value in times.items() if label.endswith(f" {highest}")}
    kilobytes = {
        name: next(one["weight_bytes"] for one in found["trials"] if one["scheme"] == f"{name} {highest}")
        / 1e3
        for name in ("CSB", "BSP", "unstructured")
    }
    return [
        Finding(
            f"{subject.kind.upper()}: CSB bears a higher rate than BSP, whole rows and whole columns",
            "loss-free rates of 3.5x to 25x, 1.6x to 3.9x above prior designs",
            ", ".join(f"{name} {rates[name]:.1f}x" for name in ("CSB", *PRIOR))
            + f": {gain:.2f}x the best of the others",
            ours,
            f"rate at {100 * LOSS:g} point below the dense network; at {highest} "
            + densities(found["trials"], highest)
            + "; CSB and BSP "
            + side_by_side(found["trials"]),
        ),
        Finding(
            f"{subject.kind.upper()}: at equal accuracy CSB takes less time than BSP, whole rows and whole columns",
            "",
            f"microseconds of a step at {100 * LOSS:g} point of loss: "
            + ", ".join(f"{name} {equal[name]:.2f} ({rates[name]:.1f}x)" for name in ("CSB", *PRIOR)),
            verdict(all(equal["CSB"] < equal[name] for name in PRIOR)),
            f"read between measured rates; at {highest} kernels read CSB as {kilobytes['CSB']:.0f} kB and BSP as "
            f"{kilobytes['BSP']:.0f}: rows of a block of their own leave panels of 16 rows few columns in common",
        ),
        Finding(
            f"{subject.kind.upper()}: at {highest} CSB takes less time than single weights",
            "",
            f"microseconds of a step: dense {times['dense']:.2f}, "
            + ", ".join(f"{name} {value:.2f}" for name, value in at.items()),
            verdict(at["CSB"] < CLEAR * at["unstructured"]),
            f"{1 - at['CSB'] / at['unstructured']:.1%} less, clear from {1 - CLEAR:.0%}; as kernels read them, "
            "the head's 33 kB included: "
            + ", ".join(f"{name} {size:.0f} kB" for name, size in kilobytes.items()),
        ),
    ]


def side_by_side(records: list[dict[str, Any]]) -> str:
    """The mean accuracies of CSB and BSP at every rate."""
    means = {label: 100 * fmean(values) for label, values in judged(records, "test").items()}
    rates = [label.split()[1] for label in means if label.startswith("CSB ")]
    return ", ".join(
        f"{means[f'CSB {rate}']:.1f} and {means[f'BSP {rate}']:.1f} % at {rate}" for rate in rates
    )


if __name__ == "__main__":
    sys.exit(main("csb_rnn", __doc__, run))
