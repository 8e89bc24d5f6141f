"""Mobile or FPGA? (arXiv 2106.09166): the same compressed networks on phones and on an FPGA, energy an inference.

Convolutional networks and a recurrent one are pruned by blocks and put into eight and four bits; latency and energy on
four phone processors and on a ZCU102 are modelled, every option against the dense network of the same device. Of three
of the networks accuracy is measured here: images of CIFAR-10, digits of MNIST, speech. A plot lies beside the results.
"""

import sys
from functools import partial
from typing import Any

import torch

from papers.energy_models import BESIDE, COMPRESSED, FPGA, OPTIONS, PHONES, costs, gain, subjects
from papers.energy_trials import ON_BOARD, convolutional_trial, lenet_trial, recurrent_trial
from papers.record import HERE, Check, Finding, main, verdict
from papers.trials import remembered, spread, within
from spokeshave.atomic import write_atomically
from spokeshave.report import figures
from spokeshave.report.chart import Bar, alone, bar_chart

SEEDS = (0, 1, 2)
POINTS = 0.005  # the study compares at equal accuracy, within half a point
SMALL_GAIN = 1.05


def run(quick: bool) -> Check:
    """Model and measure; what earlier runs found comes from the disk."""
    torch.set_num_threads(1)
    suffix, seeds = ("-quick", SEEDS[:1]) if quick else ("", SEEDS)
    modelled = {
        one.name: remembered(f"fpga_vs_mobile/{one.name}{suffix}", partial(costs, one))
        for one in subjects(quick)
    }
    trials = {"ResNet-20": convolutional_trial, "LeNet-5": lenet_trial, "GRU 128": recurrent_trial}
    measured = {
        name: [
            remembered(f"fpga_vs_mobile/accuracy-{name}{suffix}-{seed}", partial(trial, seed, quick))
            for seed in seeds
        ]
        for name, trial in trials.items()
    }
    if not quick:
        write_atomically(HERE / "results" / "fpga_vs_mobile.svg", plot(modelled))
    return Check(
        (
            *(accuracy(name, rows) for name, rows in measured.items()),
            *(energies(name, found, measured.get(name)) for name, found in modelled.items()),
            pruning_pays(modelled),
            quantization_pays(modelled),
            depthwise(modelled),
        ),
        (
            "no table of the paper was seen: its claims are of direction alone, and no ratio of it is quoted",
            "phones' power is above idle, the FPGA's that of the whole chip; without its static power beside it",
            "eight bits on phones by their integer instructions, for which no code is written here",
            "dense on the FPGA is eight bits, for its engine has no floats; on phones float32 (CPU) or half (GPU)",
            "pruned layers on the FPGA are smaller products; an engine that gathers columns was not generated",
            "accuracy is measured of the three networks that are trained here, and of no four-bit rows (Auto-ViT-Acc's "
            "check does); no board, phone or meter",
        ),
        seeds,
        {"modelled": modelled, "measured": measured},
    )


def accuracy(name: str, rows: list[dict[str, Any]]) -> Finding:
    """What compression costs, on a phone's numbers and on the FPGA's."""
    told = {option: [row[option] for row in rows] for option in (*OPTIONS, ON_BOARD) if option in rows[0]}
    return Finding(
        f"{name}: pruned by blocks and in eight bits, as accurate as dense within half a point",
        "accuracy is kept",
        "; ".join(f"{option} {spread(values)}" for option, values in told.items()),
        verdict(all(within(told[option], told["dense"], POINTS) for option in (COMPRESSED, ON_BOARD))),
        f"{rows[0]['about']}; within: shown over seeds",
    )


def energies(name: str, found: dict[str, Any], rows: list[dict[str, Any]] | None) -> Finding:
    """Joules of the same compressed network on every device, with its accuracy there, and which takes least."""
    by_device = found["by_device"]
    told = [
        f"{device} {figures.joules(options['dense']['joules'])} to {figures.joules(options[COMPRESSED]['joules'])} "
        f"({figures.seconds(options[COMPRESSED]['seconds'])})"
        for device, options in by_device.items()
    ]
    above = figures.joules(by_device[FPGA][COMPRESSED]["above_idle"])
    four = figures.joules(by_device[FPGA][OPTIONS[-1]]["joules"])
    flips = ", ".join(found["flips"]) or "none"
    return Finding(
        f"{name}: energy of an inference, dense and {COMPRESSED} ({_accuracies(rows)})",
        "FPGA and phone are compared; no figure was seen",
        "; ".join(told) + f"; {FPGA} without static power {above}, in four bits {four} (modelled)",
        "differs",
        f"constants that, 30 % up or down, change whether {BESIDE} or {FPGA} takes less: {flips}",
    )


def _accuracies(rows: list[dict[str, Any]] | None) -> str:
    if rows is None:
        return "not trained, accuracy not measured"
    dense, phone, board = (
        spread([row[option] for row in rows]) for option in ("dense", COMPRESSED, ON_BOARD)
    )
    return f"accuracy dense {dense}, on phones {phone}, on the FPGA {board}"


def pruning_pays(modelled: dict[str, Any]) -> Finding:
    """One structure for both kinds of device."""
    gains = {
        name: {device: gain(found["by_device"][device], "pruned") for device in (*PHONES, FPGA)}
        for name, found in modelled.items()
    }
    told = "; ".join(
        f"{name}: {', '.join(f'{device} {value:.2f}x' for device, value in row.items())}"
        for name, row in gains.items()
    )
    return Finding(
        "block pruning saves energy on both kinds of device",
        "one framework of block-based pruning serves both",
        f"{told} (modelled)",
        verdict(all(value > SMALL_GAIN for row in gains.values() for value in row.values())),
        "without retraining's cost; small networks on phones are bound by launches",
    )


def quantization_pays(modelled: dict[str, Any]) -> Finding:
    """Where fewer bits pay."""
    told = []
    for name, found in modelled.items():
        eight = {device: gain(found["by_device"][device], "8 bits") for device in PHONES}
        four = gain(found["by_device"][FPGA], "pruned, 4 bits", "pruned")
        best, least = max(eight.values()), min(eight.values())
        told.append((name, best, least, four))
    return Finding(
        "fewer bits save energy where arithmetic in them exists: phone CPUs and the FPGA, not phone GPUs",
        "quantization is the other strategy considered",
        "; ".join(
            f"{name}: eight bits on phones {least:.2f}x to {best:.2f}x, four bits on {FPGA} {four:.2f}x"
            for name, best, least, four in told
        )
        + " (modelled)",
        verdict(all(best > 2 and four > SMALL_GAIN for _, best, _, four in told)),
        "on phone GPUs bytes are unpacked to half precision, so they save memory traffic alone",
    )


def depthwise(modelled: dict[str, Any]) -> Finding:
    """The phone's advantage on networks of little reuse."""
    ratio = {
        name: found["by_device"][FPGA][COMPRESSED]["joules"]
        / found["by_device"][BESIDE][COMPRESSED]["joules"]
        for name, found in modelled.items()
    }
    return Finding(
        "the FPGA does better, against a phone's GPU, on regular convolutions than on other networks",
        "expected by the study's brief, not seen",
        ", ".join(f"{name} {value:.2f}x the joules" for name, value in ratio.items())
        + f" of {BESIDE} (modelled)",
        verdict(min(ratio, key=lambda name: ratio[name]).startswith("ResNet")),
        "recurrent weights and depthwise layers are moved for few products each",
    )


def plot(modelled: dict[str, Any]) -> str:
    """Times less energy than dense on the same device, for two devices and every option."""
    bars = [
        Bar(
            f"{name}, {option}, {device}",
            gain(found["by_device"][device], option),
            figures.times(gain(found["by_device"][device], option)),
            "own" if device == FPGA else "peer",
        )
        for name, found in modelled.items()
        for option in OPTIONS[1:]
        for device in (BESIDE, FPGA)
    ]
    return alone(bar_chart(bars, "Times less energy than the dense network on the same device (modelled)"))


if __name__ == "__main__":
    sys.exit(main("fpga_vs_mobile", __doc__, run))
