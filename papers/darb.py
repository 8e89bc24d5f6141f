"""DARB (arXiv 1911.08020): one weight in each segment of a row, and segments as long as the row is redundant.

An LSTM that names the phone of every frame of read speech is pruned by ADMM with DARB, with segments of one length
(BMWM), as many weights in every bank of 32 (BBS), single weights, blocks, whole rows, and DARB at random, at equal
realised density and with three seeds, and judged through the compiled deployment. Decoding is compared by the bits of
index that the packed form spends on a weight and by the time of a step of the compiled network, all in one interleaved
run. `darb_images.py` does the same with convolutions.
"""

import sys
from itertools import pairwise
from typing import Any

import torch

from papers.deployments import Trial, first_seed, store, timed
from papers.masks import Shape, Steps, banks, width
from papers.record import Check, Finding, Verdict, main, verdict
from papers.speech_trials import (
    LOSS,
    ROUNDS,
    Study,
    Subject,
    borne,
    densities,
    in_order,
    judged,
    per_step,
    study,
)  # fmt: skip
from papers.trials import ahead, spread
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import Blocks

SUBJECT = Subject("lstm", 128)
LENGTHS = (4, 16)  # of BMWM's segments, which set the density of all others
BANK = 32
DIRECTION = ("unstructured", "DARB", "BBS", "BMWM", "blocks", "rows")  # from the most accuracy to the least


def share(shape: Shape, length: int) -> float:
    """Sparsity of one weight in each segment; the shorter one at the end of a row keeps its share, rounded, as BMWM's.

    >>> round(1 - share((512, 39), 16), 4)
    0.0513
    """
    inputs = width(shape)
    return 1 - (2 * inputs + length) // (2 * length) / inputs


def schemes(length: int) -> dict[str, tuple[Steps, bool]]:
    """What is compared at the density of BMWM with segments of `length`, and whether it is chosen at random."""
    darb: Steps = [lambda shape: DensityAdaptiveBlocks(share(shape, length))]
    return {
        "DARB": (darb, False),
        "BMWM": ([lambda shape: NOfM(1, length, "columns")], False),
        "BBS": (banks(length, BANK), False),
        "unstructured": ([lambda shape: Unstructured(share(shape, length))], False),
        "blocks": ([lambda shape: Blocks(share(shape, length), (8, 8))], False),
        "rows": ([lambda shape: Blocks(share(shape, length), (1, width(shape)))], False),
        "random DARB": (darb, True),
    }


def run(quick: bool) -> Check:
    """Prune, judge, time."""
    torch.set_num_threads(1)
    with store(quick) as kept:
        setting = study(kept, quick)
        subject = Subject("lstm", 32) if quick else SUBJECT
        lengths = LENGTHS[:1] if quick else LENGTHS
        trials = pruned(setting, subject, lengths)
        times = timed(first_seed(trials, setting.speech.example), 3 if quick else ROUNDS)
        densities = row_densities(setting, subject, lengths[-1])
    data = {
        "subject": f"LSTM of {subject.hidden} units; {setting.speech.about}",
        "trials": [one.record for one in trials],
        "microseconds_per_step": per_step(times, setting.speech.example.shape[1]),
        "rates": borne([one.record for one in trials]),
        "row_densities": densities,
    }
    differences = (
        f"{data['subject']}; the paper's LSTM for words, its TIMIT network, AlexNet and VGG-16 are not repeated, a "
        "ResNet-20 stands for convolutions",
        f"BBS has banks of {BANK} inputs; whether the paper compares with it was not seen",
        "decoding on this CPU and in bits of index; the paper's is a circuit, its measure of efficiency was not seen",
        "BMWM's last segment of 39 inputs, 7 long, keeps 7/16 of a weight, rounded to none; all others keep as many",
        "a row's length is chosen for what the row keeps with it, not read off its density under unstructured pruning",
    )
    return Check(tuple(findings(data, lengths)), differences, setting.seeds, data)


def pruned(setting: Study, subject: Subject, lengths: tuple[int, ...]) -> list[Trial]:
    """Every scheme at every density and seed, and the dense network."""
    trials = setting.trials(subject, "dense", [])
    for length in lengths:
        for name, (steps, random) in schemes(length).items():
            trials += setting.trials(subject, f"{name} 1:{length}", steps, random)
    return trials


def row_densities(setting: Study, subject: Subject, length: int) -> list[float]:
    """Tenth, half and nine tenths of the rows of the recurrent matrix, pruned weight by weight, are less dense."""
    weight = setting.dense(subject, setting.seeds[0]).get_parameter("layers.weight_hh_l0").detach()
    kept = Unstructured(1 - 1 / length).project(weight) != 0
    return kept.float().mean(1).quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()


def findings(data: dict[str, Any], lengths: tuple[int, ...]) -> list[Finding]:
    """Rows differ; the order of accuracies; the rates borne; decoding."""
    low, middle, high = data["row_densities"]
    rates, prior = data["rates"], max(data["rates"]["blocks"], data["rates"]["rows"])
    gain = rates["DARB"] / prior
    ours: Verdict = "reproduced" if gain >= 2.8 else "differs" if gain > 1 else "not reproduced"
    return [
        Finding(
            "rows of a matrix that is pruned weight by weight differ much in density",
            "",
            f"a tenth are below {low:.1%}, half below {middle:.1%}, a tenth above {high:.1%} (1 in {lengths[-1]} kept)",
            verdict(high > 2 * low),
        ),
        *(order(data["trials"], length) for length in lengths),
        Finding(
            "DARB bears a higher rate than structured pruning",
            "13x to 25x, 2.8x to 4.3x above structured pruning",
            ", ".join(f"{name} {rate:.1f}x" for name, rate in rates.items())
            + f": {gain:.2f}x the best structured",
            ours,
            f"rate at {100 * LOSS:g} point below the dense network; structured: blocks of 8 x 8, rows",
        ),
        _decoding(data, lengths[-1]),
    ]


def order(
    records: list[dict[str, Any]], length: int, of: str = "frame accuracy", begins: str = ""
) -> Finding:
    """Whether schemes stand in the paper's order at a density."""
    test = judged(records, "test")
    at = {name: test[f"{name} 1:{length}"] for name in (*DIRECTION, "random DARB")}
    wrong = [
        f"{worse} ahead of {better}" for better, worse in pairwise(DIRECTION) if ahead(at[worse], at[better])
    ]
    wrong += ["DARB not ahead of its random choice"] * (not ahead(at["DARB"], at["random DARB"]))
    free = not ahead(test["dense"], at["unstructured"])
    figures = ", ".join(f"{name} {spread(values)}" for name, values in at.items())
    return Finding(
        f"{begins}at one weight in {length}: single weights >= DARB >= BBS >= BMWM >= blocks >= rows, and DARB above "
        "random",
        "",
        f"{of}: {figures} (dense {spread(test['dense'])})",
        verdict(in_order([at[name] for name in DIRECTION]) and not wrong),
        f"{densities(records, f'1:{length}')}; "
        "ahead is by a paired test over seeds (`papers/trials.py`); "
        + (
            "single weights lose nothing yet, so the order says little"
            if free
            else f"the loss shows at this rate{''.join(f'; {one}' for one in wrong)}"
        ),
    )


def _decoding(data: dict[str, Any], length: int) -> Finding:
    times = data["microseconds_per_step"]
    bits = {}
    for record in data["trials"]:
        name, _, at = record["scheme"].rpartition(" ")
        if at == f"1:{length}":
            kept = record["weights"] * record["density"]
            bits[name] = 8 * record["packed_bytes"] / kept - 32
    figures = [f"{name} {times[f'{name} 1:{length}']:.2f} us, {bits[name]:.1f} bits" for name in bits]
    faster = times[f"blocks 1:{length}"] / times[f"DARB 1:{length}"]
    return Finding(
        "DARB decodes more efficiently than block pruning",
        "14.3x the decoding efficiency of block pruning, at a higher rate",
        f"a step of the dense network takes {times['dense']:.2f} us; at one in {length} with bits of index a weight: "
        + ", ".join(figures),
        verdict(faster > 1),
        f"blocks take {faster:.2f} of DARB's time: a vector CPU loads dense blocks whole and gathers for DARB; "
        "the paper's circuit has a multiplexer a lane; zeros that fill up the last segments of BMWM and BBS count",
    )


if __name__ == "__main__":
    sys.exit(main("darb", __doc__, run))
