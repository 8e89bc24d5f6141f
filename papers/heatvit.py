"""HeatViT (arXiv 2211.08110): polynomials in GELU's, softmax's and sigmoid's place, and what their slopes do to noise.

A pretrained transformer for MNIST gets the polynomials with the paper's factors of one half, without and with training,
and with factors of one. Uniform noise in front of GELU stands for errors of quantization. Then HeatViT whole on a
keyword transformer: selectors, packages, polynomials and 8 bits, compiled and timed (`papers/heatvit_trials.py`).
Placement is SPViT's, checked in `papers/spvit.py`; the engine is the FPGA device's.
"""

import copy
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from papers import heatvit_trials
from papers.deployments import store
from papers.keyword_transformer import digit_rows, heard_words
from papers.record import Check, Finding, main, verdict
from papers.small_vit import network_and_data
from papers.trials import remembered, spread, within
from spokeshave.data import Data
from spokeshave.measure import evaluate
from spokeshave.methods import Polynomials, approximate, train
from spokeshave.polynomials import polynomial_gelu

SEEDS = (0, 1, 2)
SAMPLES, EPOCHS, RATE = 6_400, 1, 1e-3
HALVES, WHOLE = Polynomials(0.5, 0.5), Polynomials(1.0, 1.0)
EIGHT_BITS = 8 / 255  # a step of eight bits over values from -4 to 4


def run(quick: bool) -> Check:
    """Everything; one short training when quick."""
    network, data, about = network_and_data()
    samples = 640 if quick else SAMPLES
    seeds = SEEDS[:1] if quick else SEEDS
    untrained = {
        name: _accuracy(network, data, each) for name, each in (("halves", HALVES), ("whole", WHOLE))
    }
    exact = evaluate(network, data.held_out).top1
    trained = {
        name: [_trained(network, data, each, name, seed, samples, quick) for seed in seeds]
        for name, each in (("exact", None), ("whole", WHOLE), ("halves", HALVES))
    }
    noise = {name: _noise(network, data, function) for name, function in GELUS.items()}
    records, times, engine = _whole(seeds, quick)
    return Check(
        (
            *_slopes(),
            _shrinking(noise),
            *training(exact, untrained, trained),
            *heatvit_trials.findings(records, times, engine),
        ),
        (
            f"data and network: {about}; {EPOCHS} epoch of {samples} images, AdamW at {RATE}",
            "the whole runs on this CPU instead of an FPGA, its 8 bits are calibrated after training",
            f"the whole: {heard_words(seeds[0]).about}, {heatvit_trials.RECIPE.epochs} epochs of 150 clips",
        ),
        seeds,
        {
            "exact": exact,
            "untrained": untrained,
            "trained": trained,
            "noise": noise,
            "whole": records,
            "milliseconds": times,
            "engine": engine,
        },
    )


def _whole(
    seeds: Sequence[int], quick: bool
) -> tuple[list[dict[str, Any]], dict[str, float], dict[str, float]]:
    """What was found of every deployment, by seed, the times of the first seed's, and those of the engine's model."""
    recipe = heatvit_trials.QUICK if quick else heatvit_trials.RECIPE
    with store(quick) as kept:
        hear = digit_rows if quick else heard_words
        found = [heatvit_trials.trials(kept, hear(seed), seed, recipe) for seed in seeds]
        records = [{name: trial.record for name, trial in whole.trials.items()} for whole in found]
        engine = heatvit_trials.engine_times(hear(seeds[0]), recipe, records[0]["factors of one"])
        return records, heatvit_trials.latencies(found[0], quick), engine


def _exact(x: Tensor) -> Tensor:
    return F.gelu(x)


GELUS = {
    "exact": _exact,
    "whole": lambda x: polynomial_gelu(x, 1.0),
    "halves": lambda x: polynomial_gelu(x, 0.5),
}


def _slopes() -> list[Finding]:
    line = torch.linspace(-8, 8, 16_001, dtype=torch.float64, requires_grad=True)
    steepest = {}
    for name, function in GELUS.items():
        (slope,) = torch.autograd.grad(function(line).sum(), line)
        steepest[name] = float(slope.abs().max())
    measured = (
        f"steepest slope {steepest['halves']:.3f}; exact {steepest['exact']:.3f}, "
        f"without the half {steepest['whole']:.3f}"
    )
    return [
        Finding("the polynomial GELU's slope stays below one", "", measured, verdict(steepest["halves"] < 1))
    ]


def _noise(network: nn.Module, data: Data, function: Any) -> float:
    """How much of uniform noise of an eight-bit step is left behind GELU, on what the network's GELUs see."""
    seen: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda _, given, output: seen.append(output.detach()))
        for name, module in network.named_modules()
        if name.endswith("fc1") and "blocks" in name
    ]
    with torch.no_grad():
        network(next(iter(data.held_out))[0])
    for handle in handles:
        handle.remove()
    values = torch.cat([one.flatten() for one in seen]).double()
    noise = (torch.rand(values.shape, generator=torch.Generator().manual_seed(0)) - 0.5).double() * EIGHT_BITS
    return float(
        (function(values + noise) - function(values)).square().mean().sqrt() / noise.square().mean().sqrt()
    )


def _shrinking(noise: Mapping[str, float]) -> Finding:
    measured = f"{noise['halves']:.2f} of it is left, {noise['exact']:.2f} behind the exact GELU"
    return Finding(
        "errors of quantization shrink more on their way through than in the exact GELU",
        "",
        measured,
        verdict(noise["halves"] < noise["exact"]),
        "over what the network's own GELUs see, most of it negative: the exact one is flat there, where the halves' "
        "slope is a quarter; the steepest slope alone is bounded",
    )


def training(
    exact: float, untrained: Mapping[str, float], trained: Mapping[str, list[float]]
) -> list[Finding]:
    """What the halves do to a network that was trained without them, and with them."""
    return [
        Finding(
            "put into a trained network as they are, the halves destroy it",
            "0.8 % top-1 (an independent re-implementation, 8 bits, ImageNet)",
            f"{untrained['halves']:.1%}, against {exact:.1%} exact and {untrained['whole']:.1%} with factors of one",
            verdict(untrained["halves"] < exact - 0.1),
        ),
        Finding(
            "trained with them inside, nothing is lost",
            "",
            f"halves {spread(trained['halves'])}, factors of one {spread(trained['whole'])}, exact and trained as long "
            f"{spread(trained['exact'])}",
            verdict(within(trained["halves"], trained["exact"], 0.005)),
            "nothing: shown to be less than half a point; so short a training takes in factors of one, and brings back "
            "most of what the halves cost",
        ),
    ]


def _trained(
    dense: nn.Module,
    data: Data,
    polynomials: Polynomials | None,
    name: str,
    seed: int,
    samples: int,
    quick: bool,
) -> float:
    def make() -> dict[str, float]:
        network = copy.deepcopy(dense)
        inside = approximate(network, polynomials) if polynomials else None
        optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.05)
        train(network, data.shortened(samples), EPOCHS, optimizer=optimizer, seed=seed)
        accuracy = evaluate(network, data.held_out).top1
        if inside is not None:
            inside.remove()
        return {"accuracy": accuracy}

    found: float = remembered(f"heatvit/polynomials{'-quick' if quick else ''}-{name}-{seed}", make)[
        "accuracy"
    ]
    return found


def _accuracy(network: nn.Module, data: Data, polynomials: Polynomials) -> float:
    with approximate(network, polynomials):
        return evaluate(network, data.held_out).top1


if __name__ == "__main__":
    sys.exit(main("heatvit", __doc__, run))
