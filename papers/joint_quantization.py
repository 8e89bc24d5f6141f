"""Joint quantization (arXiv 1901.02064): sums brought back by shifts alone, scales searched for together.

A pretrained CIFAR-10 ResNet-20 and a small pretrained detector, Yolo-FastestV2 on a sample of COCO, quantized without
any training and run by the integer executor, bit for bit. Compared at equal bits: a scale behind every operator;
modules with the scale that holds everything; modules whose scales are searched for together (the paper); and any scale,
one a row, by multipliers.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from papers import detector
from papers.record import Check, Finding, main, verdict
from papers.trials import ahead, remembered, spread
from spokeshave.compiler.integers import (
    IntegerDeployment,
    IntegerForm,
    JointSearch,
    WholeNetwork,
    joint_network,
    whole_network,
)
from spokeshave.compiler.integers.network import quantization_operations
from spokeshave.data import DATA, Batches, Data
from spokeshave.deployment import Cost
from spokeshave.devices import load_device
from spokeshave.measure.accuracy import evaluate
from spokeshave.networks import cifar_resnet
from spokeshave.workload import trace

BITS, DETECTOR_BITS = (8, 5, 6), (8,)
SEEDS, TESTED, CALIBRATED, PICTURES = (0, 1, 2), 500, 32, 64
SHIFTS = IntegerForm(per="tensor", scales="power_of_two", rescale="shift", signed=True, observer="min_max")
SCALES = IntegerForm(rescale="multiplier", observer="min_max")
UNKNOWN = Cost("modelled", "not asked for")

Way = tuple[IntegerForm, JointSearch | None]
WAYS: dict[str, Way] = {
    "every operator": (replace(SHIFTS, joins="operators"), None),
    "modules": (SHIFTS, None),
    "joint": (SHIFTS, JointSearch()),
    "any scale a row": (SCALES, None),
}
DETECTED = ("modules", "joint", "any scale a row")


def run(quick: bool) -> Check:
    """Quantize and evaluate; what earlier runs measured comes from the disk."""
    torch.set_num_threads(1)
    network, data = cifar_resnet(20, "pretrained").eval(), DATA["cifar10"]()
    key, seeds = f"joint_quantization/{'quick-' if quick else ''}", SEEDS[:1] if quick else SEEDS
    tested = first(data, 64 if quick else TESTED)
    float32 = remembered(f"{key}float32", lambda: {"accuracy": evaluate(network, tested).top1})["accuracy"]
    rows = [
        remembered(f"{key}{name}-{bits}-{seed}", partial(classified, network, data, tested, name, bits, seed))
        for bits in (BITS[1:2] if quick else BITS)
        for name in WAYS
        for seed in seeds
    ]
    boxes = [
        remembered(f"{key}detector-{name}-{bits}", partial(detected, name, bits, 4 if quick else PICTURES))
        for bits in (DETECTOR_BITS[:1] if quick else DETECTOR_BITS)
        for name in ("float32", *DETECTED)
    ]
    modelled = energies(network, tested.inputs[:1])
    return Check(
        tuple(findings(rows, float32, boxes, modelled)),
        (
            "CIFAR-10 and COCO in place of ImageNet and KITTI, a ResNet-20 and a ShuffleNetV2 detector of today",
            f"{TESTED:,} test images, {CALIBRATED} training images to calibrate on, others for each seed",
            f"the first {PICTURES} of the 128 pictures of COCO's sample",
            "area and energy need synthesis, which is not done here; energies are modelled from the paper's ratio",
        ),
        seeds,
        {"float32": float32, "rows": rows, "detector": boxes, "energy": modelled},
    )


def first(data: Data, count: int) -> Batches:
    """The first test images."""
    assert isinstance(data.held_out, Batches)
    return Batches(data.held_out.inputs[:count], data.held_out.labels[:count], 250)


def quantized(network: nn.Module, images: Tensor, name: str, bits: int) -> WholeNetwork:
    """A network in integers, one of the ways."""
    form, search = WAYS[name]
    form = replace(form, weight_bits=bits, activation_bits=bits)
    if search is None:
        return whole_network(network, images[:1], [images], form, samples=CALIBRATED)
    return joint_network(network, images[:1], [images], form, replace(search, samples=CALIBRATED))


def classified(
    network: nn.Module, data: Data, tested: Batches, name: str, bits: int, seed: int
) -> dict[str, Any]:
    """Accuracy of the classifier, the seconds that quantizing took, and how often numbers are rounded."""
    assert isinstance(data.train, Batches)
    chosen = torch.randperm(len(data.train.labels), generator=torch.Generator().manual_seed(seed))[
        :CALIBRATED
    ]
    start = time.perf_counter()
    whole = quantized(network, data.train.inputs[chosen], name, bits)
    seconds = time.perf_counter() - start
    accuracy = evaluate(IntegerDeployment(whole, WAYS[name][0], UNKNOWN), tested).top1
    return {
        "way": name,
        "bits": bits,
        "seed": seed,
        "accuracy": accuracy,
        "seconds": seconds,
        "operations": quantization_operations(whole.graph),
    }


def detected(name: str, bits: int, count: int) -> dict[str, Any]:
    """mAP@0.5 of the detector, calibrated on training images."""
    network: nn.Module = detector.pretrained()
    run_it: Callable[[Tensor], tuple[Tensor, ...]] = network
    if name != "float32":
        images, _ = detector.sample("train", min(count, CALIBRATED))
        run_it = IntegerDeployment(quantized(network, images, name, bits), WAYS[name][0], UNKNOWN)
    found = detector.evaluate(run_it, *detector.sample("val", count))
    return {"way": name, "bits": bits, "map": found}


def energies(network: nn.Module, example: Tensor) -> dict[str, float]:
    """Joules of an image on both modelled arrays, which differ in their rescaling alone."""
    found = {}
    for kind in ("shift", "multiplier"):
        joules = load_device(f"integers-{kind}").cost(trace(network, example)).energy_joules
        assert joules is not None
        found[kind] = joules
    return found


def findings(
    rows: list[dict[str, Any]], float32: float, boxes: list[dict[str, Any]], modelled: dict[str, float]
) -> list[Finding]:
    """The paper's claims."""
    at: dict[tuple[str, int], list[float]] = {(row["way"], row["bits"]): [] for row in rows}
    for row in rows:
        at[row["way"], row["bits"]].append(row["accuracy"])
    tried = sorted({bits for _, bits in at}, reverse=True)
    found = [_ordered(at, bits, better, worse) for bits in tried for better, worse in ORDERS]
    if 8 in tried:
        lost = float32 - sum(at["joint", 8]) / len(at["joint", 8])
        claim = "8 bits, shifts alone: half a point of accuracy at most"
        told = f"{spread(at['joint', 8])}, float32 {float32:.1%}"
        found.append(Finding(claim, "state-of-the-art results", told, verdict(lost <= 0.005)))
    seconds = max(row["seconds"] for row in rows if row["way"] == "joint")
    counts = {row["way"]: row["operations"] for row in rows}
    fewer = counts["joint"] < counts["every operator"]
    told = f"{counts['joint']} in ResNet-20, {counts['every operator']} behind every operator"
    return [
        *found,
        Finding("modules quantize less often", "fewer quantization operations", told, verdict(fewer)),
        Finding(
            "the search is quick and needs no labels",
            "",
            f"{seconds:.0f} s for 20 layers, 5 x 5 x 5 candidates each",
            verdict(seconds < 300),
        ),
        *(_boxes(boxes, bits) for bits in sorted({row["bits"] for row in boxes}, reverse=True)),
        _energy(modelled),
    ]


ORDERS = (
    ("modules", "every operator"),
    ("joint", "modules"),
)


def _ordered(at: dict[tuple[str, int], list[float]], bits: int, better: str, worse: str) -> Finding:
    one, other = at[better, bits], at[worse, bits]
    rows = at["any scale a row", bits]
    return Finding(
        f"{bits} bits: {better} above {worse}",
        "",
        f"{spread(one)} against {spread(other)}",
        verdict(ahead(one, other)),
        f"any scale a row: {spread(rows)}" if better == "joint" and worse == "modules" else "",
    )


def _boxes(boxes: list[dict[str, Any]], bits: int) -> Finding:
    found = {row["way"]: row["map"] for row in boxes if row["bits"] == bits}
    told = ", ".join(f"{name} {value:.1%}" for name, value in found.items())
    return Finding(
        f"detector, {bits} bits: joint above modules (mAP@0.5)",
        "state-of-the-art results",
        told,
        "differs" if found["joint"] > found["modules"] else "not reproduced",
        f"one draw of {PICTURES} pictures and one set of calibration images, no spread: joint is above float32 too, so "
        "a few points are chance; float32 has 31.3 % on all 128 pictures, where the data's notes say 34.1 %",
    )


def _energy(modelled: dict[str, float]) -> Finding:
    ratio = modelled["multiplier"] / modelled["shift"]
    return Finding(
        "shifts save energy",
        "9 times less an operation",
        f"{ratio:.2f} times less for the whole network, modelled ({modelled['shift'] * 1e6:.1f} µJ an image)",
        "differs",
        "the ratio of an operation is the paper's; a network multiplies hundreds of times for each rescaling",
    )


if __name__ == "__main__":
    sys.exit(main("joint_quantization", __doc__, run))
