"""Further part of RTMobile's check: networks of the paper's size on the clock, beside dense and sparse products.

    python -m papers.rtmobile_speed

2 x 1024 units, 39 inputs, calls of 30 steps, batch of one, random weights in BSP at the rates of `rtmobile.py`. Beside
our whole networks: PyTorch's, and the matrix products alone, the inputs' of all steps together, dense by PyTorch's BLAS
and in compressed sparse rows by PyTorch and, on one thread, SciPy. Each number of threads has one interleaved run. On
one thread processor time counts, the median. On two it would be the sum of both, so that is by wall clock, of which
other programs take their part: there the quickest call counts. What is found goes into `rtmobile.json`.
"""

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from papers.deployments import Store, Trial, store, timed
from papers.masks import Steps, block_structured
from papers.pruning import plan_of
from papers.record import HERE, Finding, add, take_no_arguments, verdict
from papers.rtmobile import RATES
from papers.speech import Recognizer
from papers.speech_trials import pruned_names
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.devices import RooflineDevice, load_device
from spokeshave.measure import interleave, limited_threads
from spokeshave.measure.quiet import quietly
from spokeshave.methods import OneShot, begin
from spokeshave.workload import trace

BEGINS = "the paper's size: "
HIDDEN, LAYERS, FEATURES, CLASSES, STEPS = 1024, 2, 39, 48, 30
ROUNDS = 21  # of 40 ms for everything, on one thread
SINGLE_CALLS, MOST_SECONDS = 200, 180.0  # on two
PHONES = ("galaxy-s10-gpu", "galaxy-s10-cpu")
FPGA_WATTS = 41  # ESE's, as its abstract has it (arXiv 1612.00694)
Times = dict[str, dict[str, float]]


def network_of(steps: Steps) -> nn.Module:
    """The network with random weights, brought at once into the last step's schemes."""
    torch.manual_seed(0)
    network = Recognizer("gru", FEATURES, HIDDEN, LAYERS, CLASSES).eval()
    if steps:
        begin(OneShot(), network, plan_of(network, pruned_names(network), steps[-1])).finish()
    return network


def compiled(kept: Store, label: str, steps: Steps) -> Trial:
    """That network, compiled, and how many weights are left."""

    def make() -> tuple[dict[str, Any], NativeDeployment]:
        network, example = network_of(steps), torch.randn(1, STEPS, FEATURES)
        names = pruned_names(network)
        plan = plan_of(network, names, steps[-1]) if steps else None
        weights = sum(int(network.get_parameter(name).count_nonzero()) for name in names)
        return {"weights": weights}, compile_network(network, example, plan)

    return kept.trial(f"full_size_{label}".replace(" ", "_"), (HIDDEN, LAYERS, STEPS, RATES, label), make)


def products(
    network: nn.Module, held: Callable[[Tensor], Any], as_columns: Callable[[Tensor], Any]
) -> Callable[[], list[Any]]:
    """The matrix products of a call: inputs of all steps at once, which flatters them, and states one by one."""
    generator = torch.Generator().manual_seed(0)
    pairs: dict[str, list[tuple[Any, Any]]] = {"_ih_": [], "_hh_": []}
    for name in pruned_names(network):
        weight = network.get_parameter(name).detach()
        kind = next(kind for kind in pairs if kind in name)
        shape = (weight.shape[1], STEPS) if kind == "_ih_" else (weight.shape[1],)
        pairs[kind].append((held(weight), as_columns(torch.randn(shape, generator=generator))))

    def run() -> list[Any]:
        found = [matrix @ columns for matrix, columns in pairs["_ih_"]]
        for _ in range(STEPS):
            states = [matrix @ state for matrix, state in pairs["_hh_"]]
        return found + states

    return run


def sparse_rows(weight: Tensor) -> Tensor:
    """Compressed sparse rows of PyTorch, which warns that they are new."""
    with quietly():
        return weight.to_sparse_csr()


def sparse_rows_of_scipy(weight: Tensor) -> Any:
    """Compressed sparse rows of SciPy."""
    from scipy.sparse import csr_matrix

    return csr_matrix(weight.numpy())


FORMS: dict[str, tuple[Callable[[Tensor], Any], Callable[[Tensor], Any]]] = {
    "BLAS": (Tensor.contiguous, Tensor.contiguous),
    "PyTorch CSR": (sparse_rows, Tensor.contiguous),
    "SciPy CSR": (sparse_rows_of_scipy, Tensor.numpy),
}
"""How a peer holds a matrix, and what it is multiplied with."""


def contenders(trials: Mapping[str, Trial], threads: int) -> dict[str, Callable[[], Any]]:
    """Everything that is timed on so many threads."""
    example, dense = torch.randn(1, STEPS, FEATURES), network_of([])
    calls: dict[str, Callable[[], Any]] = {
        "PyTorch": partial(dense, example),
        "BLAS products": products(dense, *FORMS["BLAS"]),
    }
    for label, one in trials.items():
        deployment = one.deployment
        deployment.threads = threads
        calls[label] = partial(deployment, example)
    for rate, rates in RATES.items():
        network = network_of(block_structured(*rates))
        calls[f"PyTorch CSR {rate}x"] = products(network, *FORMS["PyTorch CSR"])
        if threads == 1:
            calls[f"SciPy CSR {rate}x"] = products(network, *FORMS["SciPy CSR"])
    return calls


def measured(trials: Mapping[str, Trial], threads: int) -> dict[str, Any]:
    """Milliseconds of a call of everything on so many threads, and how busy the machine was when that began."""
    load = os.getloadavg()[0]
    calls = contenders(trials, threads)
    times = timed(calls, ROUNDS) if threads == 1 else quickest(calls, threads)
    return {"load_average": round(load, 2), "times": times}


def quickest(calls: Mapping[str, Callable[[], Any]], threads: int) -> Times:
    """Milliseconds by wall clock, the least and the median of single calls, each after one that is not counted."""
    with limited_threads(threads), torch.inference_mode():
        run = interleave(calls, SINGLE_CALLS, slot_seconds=0.0, most_seconds=MOST_SECONDS)
    return {
        label: {
            "milliseconds": round(1e3 * min(seconds), 6),
            "median": round(1e3 * median(seconds), 6),
            "calls": len(seconds),
        }
        for label, seconds in run.seconds.items()
    }


def energies() -> dict[str, dict[str, dict[str, float]]]:
    """*Modelled* microseconds and millijoules of a call, by phone and rate."""
    network, example = network_of([]), torch.zeros(1, STEPS, FEATURES)
    workload, names = trace(network, example), pruned_names(network)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for phone in PHONES:
        device = load_device(phone)
        assert isinstance(device, RooflineDevice)
        for label, steps in choices().items():
            cost = device.cost(workload, plan_of(network, names, steps[-1]) if steps else None)
            assert cost.latency_seconds is not None
            assert cost.energy_joules is not None
            entry = {
                "microseconds": round(1e6 * cost.latency_seconds, 1),
                "millijoules": round(1e3 * cost.energy_joules, 4),
            }
            found.setdefault(phone, {})[label] = entry
    return found


def choices() -> dict[str, Steps]:
    """The dense network and BSP at every rate, by label."""
    return {"dense": [], **{f"BSP {rate}x": block_structured(*rates) for rate, rates in RATES.items()}}


def fixed_cost(operations: list[float], seconds: list[float]) -> tuple[float, float, float]:
    """`t = fixed + operations / rate` by least squares of relative errors: fixed, rate, the largest such error.

    >>> fixed, rate, error = fixed_cost([1e6, 2e6, 8e6], [2.0, 3.0, 9.0])
    >>> round(fixed, 6), round(rate), round(error, 6)
    (1.0, 1000000, 0.0)
    """
    times = np.array(seconds)
    terms = np.stack([1 / times, np.array(operations) / times], axis=1)
    found, *_ = np.linalg.lstsq(terms, np.ones(len(times)), rcond=None)
    return float(found[0]), float(1 / found[1]), float(np.abs(terms @ found - 1).max())


def findings(data: dict[str, Any]) -> list[Finding]:
    """Time by rate, arithmetic by rate, the peers, and the modelled energy."""
    found = []
    for threads, run in data["threads"].items():
        found += by_threads(threads, run, data["weights"])
    return [*found, energy(data["modelled"])]


def by_threads(threads: str, run: dict[str, Any], weights: dict[str, int]) -> list[Finding]:
    """What one interleaved run shows."""
    times: Times = run["times"]
    on = "one thread" if threads == "1" else f"{threads} threads"
    clock = "processor time" if threads == "1" else "wall clock, the quickest call"
    about = f"{clock}; calls of {STEPS} steps, weights warm; load average {run['load_average']} before"
    us = {label: 1e3 * entry["milliseconds"] / STEPS for label, entry in times.items()}
    bsp = [label for label in weights if label != "dense"]
    operations = {label: 2 * STEPS * count for label, count in weights.items()}
    speeds = {label: operations[label] / (1e6 * times[label]["milliseconds"]) for label in weights}
    fixed, rate, error = fixed_cost(
        [operations[label] for label in bsp], [1e-3 * times[label]["milliseconds"] for label in bsp]
    )
    megabytes = {label: 4e-6 * count for label, count in weights.items()}
    peers = [label for label in times if label not in weights]
    slower = [label for label in bsp if any(us[peer] <= us[label] for peer in rivals(peers, label))]
    return [
        Finding(
            f"{BEGINS}a step takes less time at every higher rate, {on}",
            "",
            f"microseconds: {_listed(us, weights)}; {us['dense'] / us[bsp[-1]]:.1f}x from dense to the last",
            verdict(all(us[a] >= us[b] for a, b in pairwise(weights))),
            about,
        ),
        Finding(
            f"{BEGINS}arithmetic gets slower as the rate rises, for a cost that is fixed, {on}",
            "",
            f"GOP/s: {_listed(speeds, weights)}; fixed {1e6 * fixed:.0f} us of a call of {STEPS} steps, beyond it "
            f"{rate / 1e9:.0f} GOP/s, within {error:.0%}",
            verdict(fixed > 0 and all(speeds[a] > speeds[b] for a, b in pairwise(bsp))),
            "least squares of relative errors over the rates of BSP; what does not fit a core's caches is read at the "
            f"speed of memory: MB of weights {_listed(megabytes, weights)}; {about}",
        ),
        Finding(
            f"{BEGINS}BSP takes less time than dense and sparse products alone, {on}",
            "",
            f"microseconds: {_listed(us, peers)}",
            verdict(not slower),
            f"not less than each: {', '.join(slower) or 'none'}; ours are whole networks; PyTorch is its whole dense "
            f"one; {about}",
            control=True,
        ),
    ]


def rivals(peers: list[str], label: str) -> list[str]:
    """The dense peers, and those of the same rate.

    >>> rivals(["PyTorch", "PyTorch CSR 9.8x", "PyTorch CSR 103x"], "BSP 103x")
    ['PyTorch', 'PyTorch CSR 103x']
    """
    return [peer for peer in peers if "CSR" not in peer or peer.split()[-1] == label.split()[-1]]


def energy(modelled: dict[str, dict[str, dict[str, float]]]) -> Finding:
    """The paper's energy, by its own constants."""
    gpu = modelled[PHONES[0]]
    first, last = (list(gpu)[place] for place in (0, -1))
    power = gpu[last]["millijoules"] / gpu[last]["microseconds"] * 1e3
    figures = "; ".join(
        f"{phone} {first} {entries[first]['millijoules']:.2f} mJ, {last} {entries[last]['millijoules']:.3f} mJ"
        for phone, entries in modelled.items()
    )
    return Finding(
        f"{BEGINS}a phone's GPU takes far less energy than the FPGA in the same time, modelled",
        "about 40x the energy efficiency of ESE's FPGA in the same time, on an Adreno 640",
        f"{figures}; the FPGA's {FPGA_WATTS} W for as long are {FPGA_WATTS / power:.0f}x",
        "differs",
        "modelled, not measured, and no test of the claim: the phones' power and speed were read off the paper's own "
        "table, as far as it is remembered",
    )


def _listed(values: Mapping[str, float], labels: Any) -> str:
    return ", ".join(f"{label} {values[label]:.1f}" for label in labels)


def main() -> int:
    """Put the findings into the check's result, in the place of those that were there."""
    take_no_arguments(__doc__)
    with store(False) as kept:
        trials = {label: compiled(kept, label, steps) for label, steps in choices().items()}
        data = {
            "weights": {label: one.record["weights"] for label, one in trials.items()},
            "threads": {str(threads): measured(trials, threads) for threads in (1, 2)},
            "modelled": energies(),
        }
    add(HERE / "results" / "rtmobile.json", BEGINS, findings(data), "full_size", data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
