"""Further part of LPViT's check: how far its distortion can be trusted, block sizes, the weight of the power term.

    python -m papers.lpvit_sweeps

On the MNIST transformer of `lpvit`, without training and over draws of calibration images: the closed form's distortion
where a single layer is pruned, beside the measured one; equal slopes beside one threshold for the blocks of all layers;
the power term's weight beta; sizes of blocks. Blocks are clocked in a layer of DeiT-small's size, as one of the small
transformer would clock little but calls. What is found goes into `lpvit.json`.
"""

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from papers.lpvit import BLOCK, MEASURED, RANKING, SLOPES, Subject, accuracy, agreement, left
from papers.record import HERE, Finding, add, take_no_arguments, verdict
from papers.small_vit import network_and_data
from papers.trials import beats, remembered, spread
from spokeshave.allocation.work import block_power, work_of
from spokeshave.compiler import compile_network
from spokeshave.criteria import Magnitude
from spokeshave.measure.interleave import interleave
from spokeshave.methods import OneShot, begin
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_packing import tiling_of
from spokeshave.schemes.whole_blocks import Blocks
from spokeshave.workload import trace

BEGINS = "sweeps: "
SEEDS, CALIBRATION = (0, 1, 2), 256
AGREED_AT = (0.95, 0.85, 0.75, 0.5, 0.25)
TRUSTED = 0.9  # a rank correlation
BETAS = (0.0, 0.01, 0.1, 1.0, 10.0)
POWERED, HALF = 0.7, 0.5  # of the multiply-adds
LEAST = 0.05  # of a layer's blocks, for both ways alike
SIZES = (4, 8, 16, 32)
WIDE, TALL, TOKENS = 384, 1536, 197  # the first layer of DeiT-small's perceptrons
GLOBAL = "one threshold for all layers"


def agreed(subject: Subject) -> dict[str, float]:
    """By share of a layer: how far the closed form's distortion ranks layers as the measured one does."""
    return agreement(subject, AGREED_AT)


def thresholds(subject: Subject) -> dict[str, float]:
    """Accuracy at half of the multiply-adds: blocks of the least magnitude anywhere, and equal slopes."""
    magnitudes = {name: block_norms(subject.network.get_parameter(name), BLOCK) for name in subject.names}
    parts = work_of(trace(subject.network, subject.example), subject.names).parts

    def kept(threshold: float) -> dict[str, float]:
        return {
            name: max(LEAST, float((norms > threshold).float().mean())) for name, norms in magnitudes.items()
        }

    candidates = torch.cat(list(magnitudes.values())).sort().values.tolist()
    shares = next(
        found
        for found in map(kept, candidates)
        if sum(parts[name] * share for name, share in found.items()) <= HALF
    )
    choices = {
        GLOBAL: subject.pruned(shares, Magnitude()),
        MEASURED: subject.pruned(subject.allocated(HALF, **SLOPES[MEASURED]).shares),
    }
    return {name: accuracy(network, subject.data) for name, network in choices.items()} | {
        f"{name}, left": left(network, parts) for name, network in choices.items()
    }


def block_norms(weight: Tensor, block: tuple[int, int]) -> Tensor:
    """Mean squared weight of every block."""
    tiling = tiling_of(weight, block)
    return tiling.split(weight.detach().square()).sum((1, 2)) / tiling.sizes()


def powered(subject: Subject) -> dict[str, Any]:
    """By beta: the modelled power that is left, the part of it that the hungriest layers have, and accuracy."""
    hungry, work = block_power(BLOCK), work_of(trace(subject.network, subject.example), subject.names)
    whole = sum(hungry(layer, 1.0) for layer in work.layers.values())
    widest = max(layer.columns for layer in work.layers.values())
    found = {}
    for beta in BETAS:
        settings = SLOPES[MEASURED] | {"power": hungry, "power_weight": beta}
        shares = subject.allocated(POWERED, **settings).shares
        most = [share for name, share in shares.items() if work.layers[name].columns == widest]
        found[str(beta)] = {
            "power": sum(hungry(work.layers[name], share) for name, share in shares.items()) / whole,
            "hungriest": fmean(most),
            "accuracy": accuracy(subject.pruned(shares), subject.data),
        }
    return found


def sizes(subject: Subject) -> dict[str, float]:
    """By the side of a block of weights: accuracy of half of them in every layer of the transformer's blocks."""
    found = {}
    for side in SIZES:
        network, scheme = copy.deepcopy(subject.network), Blocks(HALF, (side, side))
        plan = Plan((Rule("blocks.*.weight", scheme),))  # of the transformer: other matrices are too small
        begin(OneShot(RANKING, subject.calibrating), network, plan).finish()
        found[str(side)] = accuracy(network.eval(), subject.data)
    return found


def clocked() -> dict[str, float]:
    """Microseconds of a layer of DeiT-small's size, by share and side of a block, beside PyTorch's dense one."""
    torch.manual_seed(0)
    layer, tokens = nn.Linear(WIDE, TALL).eval(), torch.randn(1, TOKENS, WIDE)
    calls: dict[str, Callable[[], object]] = {
        "dense, PyTorch": partial(inferred, layer, tokens),
        "dense": partial(compile_network(layer, tokens), tokens),
    }
    for share in (0.7, 0.5):
        for side in SIZES:
            plan = Plan((Rule("weight", Blocks(1 - share, (side, side))),))
            network = nn.Linear(WIDE, TALL)
            network.load_state_dict(layer.state_dict())
            begin(OneShot(Magnitude()), network, plan).finish()
            deployment = compile_network(network.eval(), tokens, plan)
            calls[f"{share:.0%}, {side} x {side}"] = partial(deployment, tokens)
    run = interleave(calls, rounds=41)
    return {name: 1e6 * run.timing(name).median_seconds for name in calls}


def inferred(layer: nn.Module, tokens: Tensor) -> Tensor:
    """A call as PyTorch makes it."""
    with torch.inference_mode():
        result: Tensor = layer(tokens)
    return result


def findings(records: Mapping[str, Sequence[dict[str, Any]]], times: Mapping[str, float]) -> list[Finding]:
    """What the brief's questions come to, over draws."""
    ranked = {share: [each[str(share)] for each in records["agreed"]] for share in AGREED_AT}
    values = {name: [each[name] for each in records["thresholds"]] for name in (MEASURED, GLOBAL)}
    return [
        Finding(
            f"{BEGINS}where little is pruned the closed form ranks layers as measurements do",
            "",
            ", ".join(
                f"{min(found):.2f} to {max(found):.2f} at {share:.0%}" for share, found in ranked.items()
            ),
            verdict(min(ranked[AGREED_AT[0]]) > TRUSTED),
            f"rank correlation over {len(records['thresholds'])} draws of each layer's distortion where that share "
            f"of it alone is left; {TRUSTED} counts as agreement",
        ),
        beats(f"{BEGINS}equal slopes beat one threshold for all layers' blocks", values, MEASURED, GLOBAL),
        power_finding(records["powered"]),
        *size_findings(records["sizes"], times),
    ]


def power_finding(records: Sequence[dict[str, Any]]) -> Finding:
    """Of beta."""
    means = {
        beta: {what: fmean(each[str(beta)][what] for each in records) for what in records[0][str(beta)]}
        for beta in BETAS
    }
    powers = [means[beta]["power"] for beta in BETAS]
    shares = [means[beta]["hungriest"] for beta in BETAS]
    return Finding(
        f"{BEGINS}the larger beta, the less power and the less of the hungriest layers, at equal multiply-adds",
        "power down 1.4x on GPUs (another quantity)",
        "; ".join(
            f"beta {beta:g}: {each['power']:.1%} of the power, {each['hungriest']:.0%} of those layers, "
            f"{each['accuracy']:.1%}"
            for beta, each in means.items()
        ),
        verdict(powers == sorted(powers, reverse=True) and shares == sorted(shares, reverse=True)),
        f"modelled; {POWERED:.0%} of the multiply-adds; the hungriest are the layers of the most input features",
    )


def size_findings(records: Sequence[dict[str, float]], times: Mapping[str, float]) -> list[Finding]:
    """Of the size of blocks: what it costs and what it gives."""
    accuracies = {side: [each[str(side)] for each in records] for side in SIZES}
    means = [fmean(found) for found in accuracies.values()]
    half = [times[f"50%, {side} x {side}"] for side in SIZES]
    dense = f"dense {times['dense']:.0f} µs, PyTorch's {times['dense, PyTorch']:.0f} µs"
    told = ", ".join(f"{name} {value:.0f} µs" for name, value in times.items() if "%" in name)
    return [
        Finding(
            f"{BEGINS}the larger the blocks, the less accurate",
            "",
            ", ".join(f"{side} x {side} {spread(found)}" for side, found in accuracies.items()),
            verdict(means == sorted(means, reverse=True)),
            "half of the blocks of every layer of the transformer's blocks, without training",
        ),
        Finding(
            f"{BEGINS}the larger the blocks, the faster",
            "",
            f"{dense}; {told}",
            verdict(half == sorted(half, reverse=True)),
            f"{TALL} x {WIDE} weights, {TOKENS} tokens, one thread; judged at half of the blocks",
        ),
        Finding(
            f"{BEGINS}half of the blocks take less time than the dense layer of PyTorch",
            "",
            f"{times['dense, PyTorch'] / half[1]:.2f}x of blocks of {SIZES[1]} x {SIZES[1]}, "
            f"{times['dense, PyTorch'] / half[-1]:.2f}x of {SIZES[-1]} x {SIZES[-1]}",
            verdict(max(half) < times["dense, PyTorch"]),
            "every size of block must be faster",
        ),
    ]


def main() -> int:
    """Put the findings into the check's result, in the place of those that were there."""
    take_no_arguments(__doc__)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, data, _ = network_and_data()
    subjects = [Subject(network, data, seed, CALIBRATION) for seed in SEEDS]
    records = {
        sweep.__name__: [
            remembered(f"lpvit/{data.name}-{CALIBRATION}-{one.seed}-{sweep.__name__}", partial(sweep, one))
            for one in subjects
        ]
        for sweep in (agreed, thresholds, powered, sizes)
    }
    times = remembered(f"lpvit/{data.name}-block-times", clocked)
    found = {**records, "microseconds": times}
    add(HERE / "results" / "lpvit.json", BEGINS, findings(records, times), "sweeps", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
