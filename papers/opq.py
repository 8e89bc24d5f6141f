"""OPQ (arXiv 2205.11141): sparsity and bits of every layer in closed form, from the weights alone.

A pretrained CIFAR-10 ResNet-20, pruned to 80 % and quantized to 4 bits a weight that is left, without any training:
batch-norm statistics are measured afresh. Compared at equal size: one sparsity and one number of bits for all layers,
and random shares. Without the CIFAR-10 data, the built-in digits network is trained for a few epochs instead.
"""

import copy
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from papers.record import Check, Finding, main, verdict
from spokeshave.allocation import EqualStep, GlobalThreshold, allocate_bits, allocate_sparsity
from spokeshave.data import DATA, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.measure.accuracy import evaluate
from spokeshave.methods import OneShot, begin, refresh_batch_norm, train
from spokeshave.networks import cifar_resnet, digits_network
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.weights import weights_of

SPARSITIES, BITS = (0.5, 0.7, 0.8), 4.0
SEEDS = (0, 1, 2)


def run(quick: bool) -> Check:
    """Allocate, prune, quantize and evaluate."""
    torch.set_num_threads(1)
    network, data, differences = _network_and_data(quick)
    dense = evaluate(network, data.held_out).top1
    rows, seconds = [], 0.0
    for sparsity in SPARSITIES[-1:] if quick else SPARSITIES:
        start = time.perf_counter()
        sparse = allocate_sparsity(GlobalThreshold(sparsity), network).plan
        seconds = max(seconds, time.perf_counter() - start)
        pruned = projected(network, sparse)
        step = allocate_bits(EqualStep(BITS, whole=True), pruned)
        plans: dict[str, tuple[Plan, Callable[[nn.Module], Plan]]] = {
            "OPQ": (sparse, lambda pruned: allocate_bits(EqualStep(BITS, whole=True), pruned).plan),
            "uniform": (
                uniform(network, Unstructured(sparsity)),
                lambda n: uniform(n, FixedPoint(int(BITS))),
            ),
        }
        for seed in SEEDS[:1] if quick else SEEDS:
            plans[f"random {seed}"] = (
                random_shares(network, sparsity, seed), lambda n: uniform(n, FixedPoint(int(BITS)))
            )  # fmt: skip
        for name, (first, second) in plans.items():
            only_pruned = projected(network, first)
            both = projected(only_pruned, second(only_pruned))
            row = {
                "sparsity": sparsity,
                "allocation": name,
                "mean_bits": step.mean_rate if name == "OPQ" else BITS,
            }
            for label, one in (("pruned", only_pruned), ("pruned_and_quantized", both)):
                refresh_batch_norm(one, data.train)
                row[label] = evaluate(one, data.held_out).top1
            rows.append(row)
    return Check(
        tuple(_findings(rows, dense, seconds)),
        (
            *differences,
            "no fine-tuning: the allocations are compared as they are; weights only, activations stay float32",
        ),
        SEEDS,
        {"dense_accuracy": dense, "rows": rows, "allocation_seconds": seconds},
    )


def _findings(rows: list[dict], dense: float, seconds: float) -> list[Finding]:
    hardest = max(row["sparsity"] for row in rows)
    found = {row["allocation"]: row for row in rows if row["sparsity"] == hardest}
    random = [row["pruned_and_quantized"] for name, row in found.items() if name.startswith("random")]
    opq, even = found["OPQ"], found["uniform"]
    return [
        Finding(
            f"at {hardest:.0%} sparsity and {BITS:g} bits the closed form keeps more accuracy than equal shares",
            "",
            f"{opq['pruned_and_quantized']:.2%} against {even['pruned_and_quantized']:.2%} (dense {dense:.2%}, "
            f"random shares {min(random):.2%} to {max(random):.2%})",
            verdict(opq["pruned_and_quantized"] > max(even["pruned_and_quantized"], *random)),
            "no table of the paper was seen; the direction is its claim",
        ),
        Finding(
            "the same for pruning alone",
            "",
            f"{opq['pruned']:.2%} against {even['pruned']:.2%}",
            verdict(opq["pruned"] > even["pruned"]),
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


def random_shares(network: nn.Module, sparsity: float, seed: int) -> Plan:
    """Random shares of the layers, scaled until the network's sparsity is right."""
    weights = [weight for weight in weights_of(network) if weight.wanted]
    sizes = torch.tensor([float(torch.Size(weight.shape).numel()) for weight in weights])
    draws = torch.rand(len(weights), generator=torch.Generator().manual_seed(seed)) + 0.1
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        kept = (draws * middle).clamp(max=1) @ sizes / sizes.sum()
        low, high = (low, middle) if kept > 1 - sparsity else (middle, high)
    shares = (draws * low).clamp(max=1)
    schemes = [Unstructured(float(1 - share)) if share < 1 else None for share in shares]
    return Plan(
        tuple(Rule(weight.parameter, scheme) for weight, scheme in zip(weights, schemes, strict=True))
    )


if __name__ == "__main__":
    sys.exit(main("opq", __doc__, run))
