"""Auto-ViT-Acc (arXiv 2208.05163): rows of two formats, so that DSP blocks and LUTs of an FPGA work side by side.

DeiT-T, S and B are mapped whole on a modelled ZCU102, each on an engine searched for it: products of 8 bits in DSP
blocks alone, and with a share of the rows that are powers of two in LUTs, on the whole chip and on fewer DSP blocks;
the largest with weights of 4 bits too. A DSP block makes two products in either case.
What the mix costs in accuracy is measured on a small pretrained transformer whose layers all have the formats and the
ratio of the engine that is fastest on the largest, trained quantization-aware and judged on the integers of the FPGA.
"""

import sys
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from bench.catalogue import CASES, make

from papers.auto_vit_acc_trials import FLOAT, IMAGES, MIXED, SEEDS, SHARE, TESTED, subject, trials
from papers.record import Check, Finding, Verdict, main, verdict
from papers.trials import spread, within
from spokeshave.devices import load_device
from spokeshave.devices.fpga.answer import PRECISIONS, Precision, answer, best_engine, everywhere
from spokeshave.devices.fpga.device import FPGADevice
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.workload import Workload, trace

FIXED, MIX, NARROW_MIX = PRECISIONS[:3]
NARROW = Precision("4 bits", lambda share: everywhere(FixedPoint(4)), (0.0,))
SHARES = tuple(part / 32 for part in (8, 16, 17, 18, 20))  # of rows that are powers of two
FEW = (0.375, 0.5)  # for the others than the largest network on the whole chip
NETWORKS, RECURRENT = ("deit_tiny", "deit_small", "deit_base"), ("gru_1x1024", "lstm_1x1024")
BLOCKS = (1_500,)  # DSP blocks that the engine may take, besides all that the chip gives
TARGETS = (20, 30)  # frames a second of DeiT-B
GAIN, LOSS = 1.5, 0.005


def run(quick: bool) -> Check:
    """Map, search, train; what earlier runs trained comes from the disk."""
    torch.set_num_threads(1)
    networks = ("deit_tiny",) if quick else NETWORKS
    shares = (0.25,) if quick else SHARES
    loads = {name: workload(name) for name in (*networks, *(() if quick else RECURRENT))}
    largest = networks[-1]
    curves = {name: designs(zcu102(), loads[name], shares if name == largest else FEW) for name in networks}
    whole = f"{zcu102().budget.dsp:.0f}"
    budgets = {whole: curves[largest]} | {
        str(dsp): designs(zcu102(dsp), loads[largest], FEW) for dsp in (BLOCKS[-1:] if quick else BLOCKS)
    }
    narrow = designs(zcu102(), loads[largest], FEW[1:], NARROW, NARROW_MIX)
    targets = {} if quick else {str(rate): answered(loads[largest], rate) for rate in TARGETS}
    recurrent = {name: designs(zcu102(), loads[name], (0.5,)) for name in loads if name in RECURRENT}
    records = trials(quick)
    findings = [*rates(curves, budgets, narrow, largest), precision(records)]
    if f"{SHARE:g}" in curves[largest]:
        findings.append(together(curves[largest], records, largest))
    if targets:
        findings.append(answers(targets))
    differences = (
        "the engine is this project's own; it has been simulated and counted in open tools, not placed, routed or run",
        f"{subject()[2]} in DeiT's and ImageNet's place: trained on {IMAGES:,} images, tested on {TESTED:,}",
        "the paper's table of bit widths, its resources and its power were not seen",
        "its frame rates are beside a 32-bit floating-point design; here beside the same engine with DSP blocks alone",
        "attention's products are of bytes and run in DSP blocks; softmax, norms and GELU are not in the modelled time",
    )
    found = {
        "designs": curves,
        "by DSP blocks": budgets,
        "4 bits": narrow,
        "answers": targets,
        "recurrent": recurrent,
        "trials": records,
    }
    return Check(tuple(findings), differences, SEEDS[:1] if quick else SEEDS, found)


def zcu102(dsp: int | None = None) -> FPGADevice:
    """The board, with a budget of DSP blocks."""
    device = load_device("zcu102")
    assert isinstance(device, FPGADevice)
    return device.with_budget(dsp=dsp)


def workload(name: str) -> Workload:
    """What a network of the benchmarks asks for."""
    return trace(*make(CASES[name]))


def designs(
    device: FPGADevice,
    work: Workload,
    shares: Sequence[float],
    fixed: Precision = FIXED,
    mixed: Precision = MIX,
) -> dict[str, dict[str, Any]]:
    """The best engine for every share of rows that are powers of two; 0 is DSP blocks alone."""
    found = {}
    for share in (0.0, *shares):
        design = best_engine(device, work, mixed if share else fixed, share).design
        chip = design.device
        found[f"{share:g}"] = {
            "frames_per_second": design.samples_per_second,
            "frames_per_joule": design.samples_per_joule,
            "watts": chip.watts,
            "utilisation": design.mapped.utilisation,
            "engine": str(chip.engine),
            "of_budget": chip.used.shares(chip.budget),
        }
    return found


def answered(work: Workload, rate: float) -> dict[str, Any]:
    """What the question gets for an answer at a rate."""
    found = answer(zcu102(), work, rate)
    return {
        "precision": found.precision,
        "share": found.share,
        "frames_per_second": found.design.samples_per_second,
        "of_budget": found.design.device.used.shares(found.design.device.budget),
    }


def gain(found: Mapping[str, Mapping[str, Any]]) -> tuple[str, float]:
    """The best share, and its rate over that of DSP blocks alone."""
    best = max(found, key=lambda share: float(found[share]["frames_per_second"]))
    return best, found[best]["frames_per_second"] / found["0"]["frames_per_second"]


def rates(
    curves: Mapping[str, Any], budgets: Mapping[str, Any], narrow: Mapping[str, Any], largest: str
) -> list[Finding]:
    """Modelled frame rates: what the mix gains, where, and until when."""
    whole = {name: gain(found) for name, found in curves.items()}
    by_budget = {dsp: gain(found)[1] for dsp, found in budgets.items()}
    enough = [dsp for dsp, ratio in by_budget.items() if ratio >= GAIN]
    reached: Verdict = (
        "reproduced" if whole[largest][1] >= GAIN else "differs" if enough else "not reproduced"
    )
    base = curves[largest]
    best = max(float(one["frames_per_second"]) for one in base.values())
    joules = max(float(one["frames_per_joule"]) for one in base.values())
    curve = {float(share): float(one["frames_per_second"]) for share, one in base.items()}
    peak = max(curve, key=lambda share: curve[share])
    rising = [curve[share] for share in sorted(curve) if share <= peak]
    at_peak = base[f"{peak:g}"]["of_budget"]
    return [
        Finding(
            f"rows of two formats give {GAIN}x the frames of DSP blocks alone on the same chip",
            "",
            ", ".join(
                f"{name} {ratio:.2f}x at {float(share):.1%} of the rows"
                for name, (share, ratio) in whole.items()
            )
            + f"; {largest} on "
            + ", ".join(f"{dsp} DSP blocks {ratio:.2f}x" for dsp, ratio in by_budget.items())
            + f", in 4 bits {gain(narrow)[1]:.2f}x",
            reached,
            "modelled; each side's engine searched for it"
            + (
                f"; {GAIN}x is reached with at most {max(int(dsp) for dsp in enough):,} DSP blocks"
                if enough
                else ""
            ),
        ),
        Finding(
            f"{largest} on a ZCU102",
            "DeiT-B: 56.8 frames a second, 5.6x a 32-bit floating-point design",
            f"{best:.1f} frames a second, {joules:.1f} a joule; DSP blocks alone {base['0']['frames_per_second']:.1f}",
            "differs",
            "modelled at 150 MHz and 80 % of every resource; the paper's resources were not seen",
        ),
        Finding(
            "frames rise with the share of power-of-two rows until a resource runs out",
            "",
            ", ".join(f"{share:.1%}: {curve[share]:.1f}" for share in sorted(curve))
            + "; at the best "
            + ", ".join(f"{100 * part:.0f} % of {name.upper()}" for name, part in at_peak.items()),
            verdict(peak > 0 and rising == sorted(rising) and max(at_peak.values()) > 0.9),
            f"modelled, {largest}, frames a second by share",
        ),
    ]


def precision(records: Sequence[Mapping[str, Any]]) -> Finding:
    """What the mix costs in accuracy."""
    values = _by_way(records)
    told = ", ".join(f"{way} {spread(found)}" for way, found in values.items())
    lost = fmean(values[FLOAT]) - fmean(values[MIXED])
    return Finding(
        f"rows of two formats lose at most {100 * LOSS:g} points",
        "DeiT-B loses 0.71 points at 56.8 frames a second",
        told,
        verdict(within(values[MIXED], values[FLOAT], LOSS)),
        f"{100 * lost:.2f} points below float32 trained as long; at most: shown over seeds; {SHARE:.1%} of the rows of "
        "every layer powers of two; on the FPGA's integers",
    )


def together(
    curve: Mapping[str, Mapping[str, Any]], records: Sequence[Mapping[str, Any]], largest: str
) -> Finding:
    """Rate and accuracy of one configuration: every layer with the same share of its rows in each format."""
    ratio = float(curve[f"{SHARE:g}"]["frames_per_second"]) / float(curve["0"]["frames_per_second"])
    values = _by_way(records)
    return Finding(
        f"one configuration gives {GAIN}x the frames and loses at most {100 * LOSS:g} points",
        "",
        f"{SHARE:.1%} of all rows powers of two, the others of 8 bits: {largest} {ratio:.2f}x the frames of DSP blocks "
        f"alone (modelled); {spread(values[MIXED])} where float32 has {spread(values[FLOAT])}",
        verdict(ratio >= GAIN and within(values[MIXED], values[FLOAT], LOSS)),
        "first and last layers included, in the modelled network as in the trained one, which is a smaller transformer",
    )


def _by_way(records: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for record in records:
        found.setdefault(record["way"], []).append(record["accuracy"])
    return found


def answers(targets: Mapping[str, Mapping[str, Any]]) -> Finding:
    """The question, for several rates."""
    met = all(found["frames_per_second"] >= float(rate) for rate, found in targets.items())
    fits = all(max(found["of_budget"].values()) <= 1 for found in targets.values())
    return Finding(
        "for a rate and a chip the framework finds bit width, ratio and engine by itself",
        "",
        "; ".join(
            f"{rate}: {found['precision']}, {found['share']:.1%} powers of two"
            for rate, found in targets.items()
        ),
        verdict(met and fits),
        "DeiT-B on the ZCU102, frames a second; the most precise formats that reach the rate",
    )


if __name__ == "__main__":
    sys.exit(main("auto_vit_acc", __doc__, run))
