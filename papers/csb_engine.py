"""Further part of CSB-RNN's check: what sharing work between neighbours is worth on its engine, modelled.

The keyword GRU-400 is brought into CSB layer by layer, and its real matrices are scheduled on groups of multipliers
that share with nobody, across, down, and both ways. Every schedule is carried out and compared with the product itself.
`python -m papers.csb_engine` puts what it finds into papers/results/csb_rnn.json, beside what `csb_rnn.py` found.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any, get_args

import torch
from torch import Tensor

from papers.keywords import Listener, keywords
from papers.record import HERE, Finding, Verdict, add, take_no_arguments
from papers.trials import remembered
from spokeshave.devices import load_device
from spokeshave.devices.fpga.csb import CSBEngine, CSBSchedule, Sharing, schedule
from spokeshave.methods import Reconstruction, begin
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.compressed_blocks import CompressedBlocks

RATE, BLOCKS, PASSES = 8, (32, 64), 2
SEEDS = (0, 1, 2)
ENGINES = {"4 x 4 groups": (4, 4), "8 x 8 groups": (8, 8)}
SHARING: tuple[Sharing, ...] = get_args(Sharing)
MATRICES = ("gates", "candidate")
BEGINS = "engine: "
RESULT = HERE / "results" / "csb_rnn.json"


def pruned(seed: int, block: int) -> list[Tensor]:
    """The recurrent matrices of GRU-400 in CSB, fitted to the clips of a seed."""
    words = keywords(seed)
    scheme = CompressedBlocks(1 - 1 / RATE, (block, block))
    plan = Plan(tuple(Rule(f"cell.{name}", scheme) for name in MATRICES))
    listener = Listener(words.cell, words.cell.hidden)
    begin(Reconstruction(words.clips.train, PASSES), listener, plan).finish()
    return [words.cell.get_parameter(f"{name}.weight").detach() for name in MATRICES]


def trial(seed: int, block: int) -> dict[str, Any]:
    """Cycles, use and error of every engine on the matrices of a seed."""
    matrices = pruned(seed, block)
    found: dict[str, Any] = {"seed": seed, "block": block}
    for name, (down, across) in ENGINES.items():
        engines = {way: CSBEngine(down, across, sharing=way) for way in SHARING}
        found[name] = {
            way: carried_out([schedule(engine, one, (block, block)) for one in matrices], matrices)
            for way, engine in engines.items()
        }
    return found


def carried_out(schedules: Sequence[CSBSchedule], matrices: Sequence[Tensor]) -> dict[str, float]:
    """One step of the recurrence: both matrices one behind the other, each compared with its own product."""
    cycles, kept = sum(one.cycles for one in schedules), sum(one.kept for one in schedules)
    error = 0.0
    for one, matrix in zip(schedules, matrices, strict=True):
        weight, x = matrix.double(), torch.randn(matrix.shape[1], dtype=torch.float64)
        error = max(error, float((one.run(weight, x) - weight @ x).abs().max()))
    groups = schedules[0].engine.down * schedules[0].engine.across
    pooled = sum(
        -(-sum(piece.cycles(one.engine) for piece in tile) // groups)
        for one in schedules
        for tile in one.tiles
    )
    return {
        "cycles": cycles,
        "utilisation": kept / (schedules[0].engine.multipliers * cycles),
        "pooled": kept / (schedules[0].engine.multipliers * pooled),
        "largest_error": error,
    }


def finding(name: str, block: int, trials: Sequence[Mapping[str, Any]]) -> Finding:
    """Use of the multipliers by the way of sharing."""
    used = {way: [one[name][way]["utilisation"] for one in trials] for way in SHARING}
    pool = fmean(one[name]["none"]["pooled"] for one in trials)
    gain = fmean(used["both"]) / fmean(used["none"])
    exact = max(one[name][way]["largest_error"] for one in trials for way in SHARING) < 1e-9
    met: Verdict = (
        "reproduced" if gain > 2 and exact else "differs" if gain > 1 and exact else "not reproduced"
    )
    return Finding(
        f"{BEGINS}sharing with neighbours uses the multipliers more than twice as well, {name}, blocks of {block}",
        "utilisation more than 2x the vanilla design",
        ", ".join(f"{way} {fmean(values):.1%}" for way, values in used.items()) + f": {gain:.2f}x",
        met,
        f"modelled; GRU-400 at {RATE}x, 4 x 4 multipliers a group, strips of 4 rows or columns to neighbours alone; "
        f"every schedule gives the product of its matrix; could every group help every other, {pool:.1%}",
    )


def latency(trials: Sequence[Mapping[str, Any]]) -> Finding:
    """Microseconds of the products of a step at the clock of the FPGA."""
    name, clock = "8 x 8 groups", load_device("zcu102").figures["clock"].value  # type: ignore[attr-defined]
    times = {way: fmean(one[name][way]["cycles"] for one in trials) / clock * 1e6 for way in ("none", "both")}
    return Finding(
        f"{BEGINS}a step takes microseconds",
        "0.79 to 6.58 microseconds a step",
        f"{times['none']:.2f} without sharing, {times['both']:.2f} with",
        "differs",
        f"modelled: the recurrent products of GRU-400 at {RATE}x on {name} at {clock / 1e6:.0f} MHz; "
        "the paper's networks, chip and clock were not seen",
    )


def main() -> int:
    """Put the engine's findings into the check's result, in the place of those that were there."""
    take_no_arguments(__doc__)
    torch.manual_seed(0)
    trials = [
        remembered(f"csb_engine/{block}-{seed}", partial(trial, seed, block))
        for block in BLOCKS
        for seed in SEEDS
    ]
    by_block = {block: [one for one in trials if one["block"] == block] for block in BLOCKS}
    compared = [finding(name, block, found) for block, found in by_block.items() for name in ENGINES]
    findings = [*compared, latency(by_block[BLOCKS[-1]])]
    add(RESULT, BEGINS, findings, "engine", {"trials": trials})
    return 0


if __name__ == "__main__":
    sys.exit(main())
