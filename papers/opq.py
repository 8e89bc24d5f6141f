"""OPQ (arXiv 2205.11141): sparsity and bits of every layer in closed form, from the weights alone.

A pretrained CIFAR-10 ResNet-20, pruned and quantized to 4 bits a weight that is left: without any training, batch-norm
statistics measured afresh, on other images for each seed; and, pruned harder, fine-tuned for a few steps in which zeros
and quantization steps stay as they were found. Compared at equal size: one sparsity and one number of bits for all
layers, and random shares. Without the CIFAR-10 data, the built-in digits network is trained instead.
"""

import copy
import sys
import time
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import torch
from torch import nn

from papers.record import Check, Finding, main, verdict
from papers.small_images import clock
from papers.trials import beats, random_shares, remembered, spread
from spokeshave.allocation import EqualStep, GlobalThreshold, allocate_bits, allocate_sparsity
from spokeshave.compiler import compile_network
from spokeshave.data import DATA, Batches, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.measure.accuracy import evaluate
from spokeshave.methods import OneShot, QuantizationAware, begin, refresh_batch_norm, train
from spokeshave.networks import cifar_resnet, digits_network
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.ranking import density
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.weights import weights_of

SPARSITIES, BITS = (0.7, 0.8), 4.0
TUNED, SAMPLES, TUNING_RATE = 0.9, 6_400, 0.01  # sparsity that is fine-tuned, images that it sees once
SEEDS = (0, 1, 2)
ALLOCATIONS = ("OPQ", "uniform", "random")
TESTED = 1500  # test images


def run(quick: bool) -> Check:
    """Allocate, prune, quantize and evaluate; what earlier runs measured comes from the disk."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, data, differences = _network_and_data(quick)
    if quick:
        data = replace(data.batched(16), held_out=judging_images(data, 200))
    key, seeds = f"opq/{data.name}{'-quick' if quick else ''}", SEEDS[:1] if quick else SEEDS
    rows = [
        remembered(f"{key}-{sparsity}-{name}-{seed}", partial(trial, network, data, sparsity, name, seed))
        for sparsity in (SPARSITIES[-1:] if quick else SPARSITIES)
        for name in ALLOCATIONS
        for seed in seeds
    ]
    samples = 256 if quick else SAMPLES
    tuned = [
        remembered(
            f"{key}-tuned-{samples}-{name}-{seed}", partial(fine_tuned, network, data, name, seed, samples)
        )
        for name in ALLOCATIONS
        for seed in seeds
    ]
    compiled = remembered(f"{key}-compiled", partial(deployed, network, data))
    start = time.perf_counter()
    allocate_bits(EqualStep(BITS, whole=True), pruned(network, "OPQ", SPARSITIES[-1], 0))
    seconds = time.perf_counter() - start
    return Check(
        tuple(findings(rows, compiled, seconds) + after_tuning(tuned)),
        (
            *differences,
            f"up to {SPARSITIES[-1]:.0%} the allocations are compared as they are, on {TESTED:,} test images",
            f"at {TUNED:.0%} fine-tuned on {samples:,} images once, not for epochs",
            "weights only, activations stay float32; the network has weights of one scale, batch norms not folded in",
        ),
        seeds,
        {"rows": rows, "fine_tuned": tuned, "compiled": compiled, "allocation_seconds": seconds},
    )


def trial(network: nn.Module, data: Data, sparsity: float, name: str, seed: int) -> dict[str, Any]:
    """One allocation: accuracy when pruned, and when quantized as well; density and bits as they came out."""
    only_pruned = pruned(network, name, sparsity, seed)
    both = quantized(only_pruned, name)
    record: dict[str, Any] = {"sparsity": sparsity, "allocation": name, "seed": seed}
    for label, one in (("pruned", only_pruned), ("quantized", both)):
        torch.manual_seed(seed)  # which images the statistics are measured on
        refresh_batch_norm(one, data.train, passes=10)
        record[label] = evaluate(one, judging_images(data)).top1
    sizes = {weight.parameter: prod(weight.shape) for weight in weights_of(network) if weight.wanted}
    kept = {n: density(only_pruned.get_parameter(n)) * size for n, size in sizes.items()}
    bits = allocate_bits(EqualStep(BITS, whole=True), only_pruned).mean_rate if name == "OPQ" else BITS
    return record | {"density": sum(kept.values()) / sum(sizes.values()), "mean_bits": bits}


def fine_tuned(network: nn.Module, data: Data, name: str, seed: int, samples: int) -> dict[str, Any]:
    """Accuracy of an allocation before and after fine-tuning, and whether zeros and steps are then what they were."""
    student = pruned(network, name, TUNED, seed)
    plan = bits_plan(student, name)
    levels = projected(student, plan)
    torch.manual_seed(seed)
    refresh_batch_norm(levels, data.train, passes=10)
    record: dict[str, Any] = {
        "allocation": name,
        "seed": seed,
        "before": evaluate(levels, judging_images(data)).top1,
    }
    schemes = plan.resolve(student)
    zeros = {each: student.get_parameter(each).detach() == 0 for each in schemes}
    session = begin(QuantizationAware(fixed_step=True), student, plan)
    first = session.state()
    train(
        student, data.batched(64).shortened(samples), 1, learning_rate=TUNING_RATE, session=session, seed=seed
    )
    last = session.state()
    session.finish()
    torch.manual_seed(seed)
    refresh_batch_norm(student, data.train, passes=10)
    kept = all(bool((student.get_parameter(each)[gone] == 0).all()) for each, gone in zeros.items())
    return record | {
        "after": evaluate(student.eval(), judging_images(data)).top1,
        "compiled": evaluate(
            compile_network(student, next(iter(data.held_out))[0][:1]), judging_images(data)
        ).top1,
        "zeros_stay": kept,
        "steps_stay": all(torch.equal(value, last[key]) for key, value in first.items()),
        "in_the_plan": all(one.contains(student.get_parameter(each)) for each, one in schemes.items()),
    }


def pruned(network: nn.Module, name: str, sparsity: float, seed: int) -> nn.Module:
    """A copy without the smallest weights, by an allocation of the sparsity."""
    if name == "OPQ":
        return projected(network, allocate_sparsity(GlobalThreshold(sparsity), network).plan)
    even = uniform(network, Unstructured(sparsity))
    return projected(network, even if name == "uniform" else random_plan(network, sparsity, seed))


def quantized(network: nn.Module, name: str) -> nn.Module:
    """A copy with four bits a weight, on average or everywhere."""
    return projected(network, bits_plan(network, name))


def bits_plan(network: nn.Module, name: str) -> Plan:
    """Four bits a weight that is left, on average or everywhere."""
    if name == "OPQ":
        return allocate_bits(EqualStep(BITS, whole=True), network).plan
    return uniform(network, FixedPoint(int(BITS)))


def judging_images(data: Data, images: int = TESTED) -> Batches:
    """The first test images."""
    assert isinstance(data.held_out, Batches)
    return Batches(data.held_out.inputs[:images], data.held_out.labels[:images], 250)


def deployed(network: nn.Module, data: Data) -> dict[str, Any]:
    """The compiled networks at the hardest sparsity: accuracy, and microseconds of an image side by side."""
    networks, example = {"dense": network}, next(iter(data.held_out))[0][:1]
    for name in ALLOCATIONS[:2]:
        networks[name] = quantized(pruned(network, name, SPARSITIES[-1], 0), name)
        torch.manual_seed(0)
        refresh_batch_norm(networks[name], data.train, passes=10)
    return {
        "accuracies": {
            name: evaluate(compile_network(each, example), judging_images(data)).top1
            for name, each in networks.items()
        },
        "microseconds": clock({name: (each, None) for name, each in networks.items()}, example),
    }


def findings(rows: list[dict[str, Any]], compiled: dict[str, Any], seconds: float) -> list[Finding]:
    """The paper's claims, over seeds."""

    def values(sparsity: float, label: str) -> dict[str, list[float]]:
        at = [row for row in rows if row["sparsity"] == sparsity]
        return {name: [row[label] for row in at if row["allocation"] == name] for name in ALLOCATIONS}

    found = []
    for sparsity in sorted({row["sparsity"] for row in rows}):
        for label, what in (("pruned", "pruning"), ("quantized", f"pruning and {BITS:g} bits")):
            for peer in ALLOCATIONS[1:]:
                claim = f"{what} at {sparsity:.0%}: the closed form keeps more accuracy than {peer} shares"
                found.append(beats(claim, values(sparsity, label), "OPQ", peer, control=True))
    accuracies, clocked = compiled["accuracies"], compiled["microseconds"]
    return [
        *found,
        Finding(
            "the compiled network keeps it",
            "",
            f"{accuracies['OPQ']:.2%}, uniform {accuracies['uniform']:.2%}, dense {accuracies['dense']:.2%}; "
            + ", ".join(f"{name} {value:.0f} µs" for name, value in clocked.items()),
            verdict(accuracies["OPQ"] > accuracies["uniform"]),
            "its claim is size, not speed: small layers keep more, and they are where the work is",
            control=True,
        ),
        Finding("the allocation is found at once", "no search", f"{seconds:.2f} s", verdict(seconds < 10)),
    ]


def after_tuning(rows: list[dict[str, Any]]) -> list[Finding]:
    """What fine-tuning with frozen zeros and steps leaves of the allocations' differences."""
    values = {name: [row["after"] for row in rows if row["allocation"] == name] for name in ALLOCATIONS}
    before = {name: [row["before"] for row in rows if row["allocation"] == name] for name in ALLOCATIONS}
    what = f"pruning at {TUNED:.0%}, {BITS:g} bits, fine-tuned: the closed form keeps more accuracy than"
    same = [row["zeros_stay"] and row["steps_stay"] and row["in_the_plan"] for row in rows]
    apart = max(abs(row["after"] - row["compiled"]) for row in rows)
    return [
        *(
            beats(
                f"{what} {peer} shares",
                values,
                "OPQ",
                peer,
                note=f"before: {spread(before['OPQ'])}, {spread(before[peer])}",
                control=True,
            )
            for peer in ALLOCATIONS[1:]
        ),
        Finding(
            "zeros and steps are fixed while fine-tuning",
            "both frozen",
            f"the same to the bit in {sum(same)} of {len(same)} trainings; every weight a multiple of its step",
            verdict(all(same)),
        ),
        Finding(
            "what is deployed is what was trained",
            "",
            f"accuracies of compiled and trained networks differ by {apart:.2%} at most",
            verdict(apart <= 1 / TESTED),
            "levels in a table and a number a weight; one image of rounding in float32 is allowed",
            control=True,
        ),
    ]


def _network_and_data(quick: bool) -> tuple[nn.Module, Data, tuple[str, ...]]:
    try:
        data = DATA["cifar10"]()
        network: nn.Module = cifar_resnet(20, "pretrained")
    except SpokeshaveError as reason:
        data, network = DATA["digits"](), digits_network()
        train(network, data, 1 if quick else 4)
        return network, data, (f"digits in CIFAR-10's place ({reason})",)
    return network, data, ("CIFAR-10 and ResNet-20 in place of ImageNet's networks",)


def projected(network: nn.Module, plan: Plan) -> nn.Module:
    """A copy in the plan's schemes."""
    network = copy.deepcopy(network)
    begin(OneShot(), network, plan).finish()
    return network.eval()


def uniform(network: nn.Module, scheme: Unstructured | FixedPoint) -> Plan:
    """The same scheme for every weight."""
    return Plan(tuple(Rule(weight.parameter, scheme) for weight in weights_of(network) if weight.wanted))


def random_plan(network: nn.Module, sparsity: float, seed: int) -> Plan:
    """Random shares of the layers at the network's sparsity."""
    sizes = {weight.parameter: float(prod(weight.shape)) for weight in weights_of(network) if weight.wanted}
    shares = random_shares(sizes, 1 - sparsity, seed)
    return Plan(
        tuple(Rule(name, Unstructured(1 - share) if share < 1 else None) for name, share in shares.items())
    )


if __name__ == "__main__":
    sys.exit(main("opq", __doc__, run))
