"""OPQ (arXiv 2205.11141): sparsity and bits of every layer in closed form, from the weights alone.

A pretrained CIFAR-10 ResNet-20, pruned and quantized to 4 bits a weight that is left, without any training: batch-norm
statistics are measured afresh, on other images for each seed. Compared at equal size: one sparsity and one number of
bits for all layers, and random shares. Without the CIFAR-10 data, the built-in digits network is trained instead.
"""

import copy
import sys
import time
from functools import partial
from math import prod
from typing import Any

import torch
from torch import nn

from papers.record import Check, Finding, main, verdict
from papers.small_images import clock
from papers.trials import beats, random_shares, remembered
from spokeshave.allocation import EqualStep, GlobalThreshold, allocate_bits, allocate_sparsity
from spokeshave.compiler import compile_network
from spokeshave.data import DATA, Batches, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.measure.accuracy import evaluate
from spokeshave.methods import OneShot, begin, refresh_batch_norm, train
from spokeshave.networks import cifar_resnet, digits_network
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.ranking import density
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.weights import weights_of

SPARSITIES, BITS = (0.7, 0.8), 4.0
SEEDS = (0, 1, 2)
ALLOCATIONS = ("OPQ", "uniform", "random")
TESTED = 1500  # test images


def run(quick: bool) -> Check:
    """Allocate, prune, quantize and evaluate; what earlier runs measured comes from the disk."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, data, differences = _network_and_data(quick)
    key, seeds = f"opq/{data.name}{'-quick' if quick else ''}", SEEDS[:1] if quick else SEEDS
    rows = [
        remembered(f"{key}-{sparsity}-{name}-{seed}", partial(trial, network, data, sparsity, name, seed))
        for sparsity in (SPARSITIES[-1:] if quick else SPARSITIES)
        for name in ALLOCATIONS
        for seed in seeds
    ]
    compiled = remembered(f"{key}-compiled", partial(deployed, network, data))
    start = time.perf_counter()
    allocate_bits(EqualStep(BITS, whole=True), pruned(network, "OPQ", SPARSITIES[-1], 0))
    seconds = time.perf_counter() - start
    return Check(
        tuple(findings(rows, compiled, seconds)),
        (
            *differences,
            f"no fine-tuning: the allocations are compared as they are, on {TESTED:,} test images",
            "weights only, activations stay float32; the network has weights of one scale, batch norms not folded in",
        ),
        seeds,
        {"rows": rows, "compiled": compiled, "allocation_seconds": seconds},
    )


def trial(network: nn.Module, data: Data, sparsity: float, name: str, seed: int) -> dict[str, Any]:
    """One allocation: accuracy when pruned, and when quantized as well; density and bits as they came out."""
    only_pruned = pruned(network, name, sparsity, seed)
    both = quantized(only_pruned, name)
    record: dict[str, Any] = {"sparsity": sparsity, "allocation": name, "seed": seed}
    for label, one in (("pruned", only_pruned), ("quantized", both)):
        torch.manual_seed(seed)  # which images the statistics are measured on
        refresh_batch_norm(one, data.train, passes=10)
        record[label] = evaluate(one, tested(data)).top1
    sizes = {weight.parameter: prod(weight.shape) for weight in weights_of(network) if weight.wanted}
    kept = {n: density(only_pruned.get_parameter(n)) * size for n, size in sizes.items()}
    bits = allocate_bits(EqualStep(BITS, whole=True), only_pruned).mean_rate if name == "OPQ" else BITS
    return record | {"density": sum(kept.values()) / sum(sizes.values()), "mean_bits": bits}


def pruned(network: nn.Module, name: str, sparsity: float, seed: int) -> nn.Module:
    """A copy without the smallest weights, by an allocation of the sparsity."""
    if name == "OPQ":
        return projected(network, allocate_sparsity(GlobalThreshold(sparsity), network).plan)
    even = uniform(network, Unstructured(sparsity))
    return projected(network, even if name == "uniform" else random_plan(network, sparsity, seed))


def quantized(network: nn.Module, name: str) -> nn.Module:
    """A copy with four bits a weight, on average or everywhere."""
    if name == "OPQ":
        return projected(network, allocate_bits(EqualStep(BITS, whole=True), network).plan)
    return projected(network, uniform(network, FixedPoint(int(BITS))))


def tested(data: Data) -> Batches:
    """The first test images."""
    assert isinstance(data.held_out, Batches)
    return Batches(data.held_out.inputs[:TESTED], data.held_out.labels[:TESTED], 250)


def deployed(network: nn.Module, data: Data) -> dict[str, Any]:
    """The compiled networks at the hardest sparsity: accuracy, and microseconds of an image side by side."""
    networks, example = {"dense": network}, next(iter(data.held_out))[0][:1]
    for name in ALLOCATIONS[:2]:
        networks[name] = quantized(pruned(network, name, SPARSITIES[-1], 0), name)
        torch.manual_seed(0)
        refresh_batch_norm(networks[name], data.train, passes=10)
    return {
        "accuracies": {
            name: evaluate(compile_network(each, example), tested(data)).top1
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
                found.append(beats(claim, values(sparsity, label), "OPQ", peer))
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
        ),
        Finding("the allocation is found at once", "no search", f"{seconds:.2f} s", verdict(seconds < 10)),
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
