"""How many CIFAR-10 images a minute the simulated crossbars compute, for ResNet-20.

    python -m bench.crossbar_rate CHIP [--threads N] [--input-bits N] [--output FILE]

Weights are polarized in fragments of 8 and have eight bits, so that every chip takes them. Inputs have as many bits as
the chip's file says, or as told, and cells vary as it says. A round runs one batch; the median of the rounds counts, by
wall time and, at one thread, by processor time, which is the fairer clock on a shared machine. Two threads need a
machine at rest.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.records import RESULTS, join, provenance
from spokeshave.data import DATA
from spokeshave.devices import load_device
from spokeshave.devices.crossbars.reram import ReRAMDevice
from spokeshave.methods import OneShot, begin
from spokeshave.networks import cifar_resnet
from spokeshave.plan import Plan, Rule
from spokeshave.processor import limited_threads
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.quantizers import FixedPoint

CHIPS = ("isaac", "forms")
ROUNDS, IMAGES, SHOWN, WANTED = 7, 32, 16, 1_000
PLAN = Plan((Rule("*.weight", Polarized(8) & FixedPoint(8)),))


def rate(chip: str, threads: int, bits: int | None) -> dict[str, Any]:
    """Images a minute on one chip, with so many bits of inputs, or its own."""
    device = load_device(chip)
    assert isinstance(device, ReRAMDevice)
    if bits is not None:
        device = device.with_figures(input_bits=bits, effective_bits=bits)
    network = cifar_resnet(20, "pretrained").eval()
    begin(OneShot(), network, PLAN).finish()
    images, _ = next(iter(DATA["cifar10"]().batched(IMAGES).held_out))
    images = images[:IMAGES]
    with limited_threads(threads):
        made = device.deploy(network, images[:1], PLAN, [images[:SHOWN]])
        made(images)
        clocks = {"wall": time.perf_counter} | ({"processor": time.process_time} if threads == 1 else {})
        rounds = [_seconds(lambda: made(images), clocks) for _ in range(ROUNDS)]
    rates = {f"images_a_minute_{name}": [60 * len(images) / one[name] for one in rounds] for name in clocks}
    medians = {name: round(statistics.median(each)) for name, each in rates.items()}
    told = {"chip": chip, "input_bits": device.array.input_bits}
    return {**told, **medians, "wanted": WANTED, "rounds": ROUNDS, "images": len(images)}


def _seconds(run: Callable[[], object], clocks: dict[str, Callable[[], float]]) -> dict[str, float]:
    before = {name: clock() for name, clock in clocks.items()}
    run()
    return {name: clock() - before[name] for name, clock in clocks.items()}


def main() -> None:
    """Measure, print, and keep beside what was measured of other chips and numbers of threads."""
    parser = argparse.ArgumentParser(prog="python -m bench.crossbar_rate", description=__doc__)
    parser.add_argument("chip", choices=CHIPS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--input-bits", type=int)
    parser.add_argument("--output", type=Path, default=RESULTS / "crossbar_rate.json")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    origin = provenance(arguments.threads)
    run = origin | rate(arguments.chip, arguments.threads, arguments.input_bits)
    join(arguments.output, run, ["chip", "input_bits", "threads"])
    print(json.dumps({name: value for name, value in run.items() if name.startswith("images")}))


if __name__ == "__main__":
    main()
