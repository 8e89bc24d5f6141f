"""HeatViT whole: selectors, polynomials that are trained in and 8 bits, compiled; on a keyword transformer."""

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from papers.deployments import Store, Trial
from papers.keyword_transformer import HeardWords
from papers.record import Finding, verdict
from papers.selector_training import Recipe, fit_selectors, set_thresholds, warm_start
from papers.token_times import input_times
from papers.trials import ahead, spread, within
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.data import Batches
from spokeshave.devices import load_device
from spokeshave.devices.staircase import block_staircase
from spokeshave.methods import Polynomials, approximate
from spokeshave.tokens import Gumbel, Learned, Package, TokenReducer, insert
from spokeshave.tokens.blocks import find_blocks

ENGINE = "zcu102"
RECIPE = Recipe((3, 6, 9), (0.66, 0.44, 0.29), 4, 8, rate=1e-3, network_rate=2e-4, tokens=0.0, warm_steps=40)
QUICK = Recipe((1,), (0.5,), 4, 1, warm_steps=5)
FUNCTIONS: Mapping[str, Polynomials | None] = {
    "exact": None,
    "factors of one": Polynomials(1.0, 1.0),
    "halves": Polynomials(0.5, 0.5),
}
DENSE, DENSE_INT8 = "dense float32", "dense int8"
TIMED_INPUTS, ROUNDS = 30, 25
POINT = 0.01


@dataclass(frozen=True)
class Whole:
    """What a check needs of one seed: its test, and every deployment by name."""

    test: Batches
    trials: Mapping[str, Trial]


def trials(kept: Store, heard: HeardWords, seed: int, recipe: Recipe) -> Whole:
    """The dense network in float32 and int8, and HeatViT in int8 with each kind of function, compiled and judged."""
    test = heard.clips.held_out
    assert isinstance(test, Batches)
    makers: dict[str, Callable[[], tuple[dict[str, Any], NativeDeployment]]] = {
        DENSE: partial(_dense, heard, "float32"),
        DENSE_INT8: partial(_dense, heard, "int8"),
    }
    makers |= {
        name: partial(_reduced, kept, heard, seed, recipe, name, polynomials)
        for name, polynomials in FUNCTIONS.items()
    }
    settings = (seed, recipe, heard.about)
    names = {name: name.replace(" ", "_") for name in makers}
    return Whole(
        test, {name: kept.trial(f"heatvit/{names[name]}", settings, make) for name, make in makers.items()}
    )


def _dense(heard: HeardWords, precision: str) -> tuple[dict[str, Any], NativeDeployment]:
    deployment = _compiled(heard.network, heard, precision)
    return _judged(deployment, heard.network, heard), deployment


def _reduced(
    kept: Store, heard: HeardWords, seed: int, recipe: Recipe, name: str, polynomials: Polynomials | None
) -> tuple[dict[str, Any], NativeDeployment]:
    network: nn.Module = copy.deepcopy(heard.network)
    torch.manual_seed(seed)
    scorer = Learned(recipe.heads, narrow=True)
    reduced = insert(network, [TokenReducer(place, scorer, Gumbel(), Package()) for place in recipe.places])
    if polynomials:
        approximate(network, polynomials)

    def train(fresh: nn.Module) -> None:
        warm_start(fresh, reduced, heard.network, heard.clips, recipe)
        fit_selectors(fresh, reduced, heard.network, heard.clips, recipe, seed)

    kept.checkpoint(f"heatvit/{name.replace(' ', '_')}-trained", (seed, recipe, heard.about), network, train)
    set_thresholds(network, reduced, heard.clips, recipe)
    deployment = _compiled(network, heard, "int8")
    return _judged(deployment, network, heard), deployment


def _compiled(network: nn.Module, heard: HeardWords, precision: str) -> NativeDeployment:
    train = heard.clips.train
    assert isinstance(train, Batches)
    calibration = [train.inputs] if precision == "int8" else None
    return compile_network(network, train.inputs[:1], precision=precision, calibration=calibration)


@torch.no_grad()
def _judged(deployment: NativeDeployment, network: nn.Module, heard: HeardWords) -> dict[str, Any]:
    """Accuracy of the deployment and of the network in float32, how far apart their scores are, and tokens."""
    test = heard.clips.held_out
    assert isinstance(test, Batches)
    found, wanted = deployment(test.inputs), network(test.inputs)
    counts = [kept.float() for kept in deployment.token_counts.values()]
    return {
        "accuracy": _accuracy(found, test.labels),
        "float_accuracy": _accuracy(wanted, test.labels),
        "error": float((found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()),
        "tokens": [float(each.mean()) for each in counts],
        "most_tokens": [float(each.quantile(0.95)) for each in counts],
    }


def _accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).double().mean())


def latencies(whole: Whole, quick: bool) -> dict[str, float]:
    """Milliseconds of one input, batch of one, one thread, all in one interleaved run: dense, and input by input."""
    inputs = whole.test.inputs[: 3 if quick else TIMED_INPUTS]
    dense = {name: whole.trials[name].deployment for name in (DENSE, DENSE_INT8)}
    return input_times(dense, whole.trials["factors of one"].deployment, inputs, 3 if quick else ROUNDS)


def engine_times(heard: HeardWords, recipe: Recipe, record: Mapping[str, Any]) -> dict[str, float]:
    """Modelled milliseconds of all blocks on the ZCU102's engine: dense, at the mean numbers of tokens, at the 95 %."""
    blocks = find_blocks(heard.network)
    whole = heard.network.pos.shape[1]
    counts = range(3, whole + 1, 8)
    stairs = block_staircase(blocks[0].module, blocks[0].width, [*counts, whole], load_device(ENGINE))
    starts, ends = (0, *recipe.places), (*recipe.places, len(blocks))

    def all_blocks(tokens: Sequence[float]) -> float:
        spans = zip(starts, ends, (whole, *tokens), strict=True)
        return 1e3 * sum((end - start) * stairs.at(count) for start, end, count in spans)

    dense = [whole] * len(recipe.places)
    found = (("dense", dense), ("mean", record["tokens"]), ("tail", record["most_tokens"]))
    return {name: all_blocks(tokens) for name, tokens in found}


def findings(
    records: Sequence[Mapping[str, Mapping[str, Any]]],
    times: Mapping[str, float],
    engine: Mapping[str, float],
) -> list[Finding]:
    """Claims beside what seeds and clocks say; records are those of the trials, by seed and name."""
    accuracy = {name: [each[name]["accuracy"] for each in records] for name in records[0]}
    error = {name: [each[name]["error"] for each in records] for name in FUNCTIONS}
    near = within(accuracy["factors of one"], accuracy[DENSE], POINT)
    faster = times[DENSE] / times["mean"]
    first = records[0]["factors of one"]
    return [
        Finding(
            "selectors, 8 bits and polynomials together: 3 times as fast as the dense float32 network, within a point",
            "3.46 to 4.89 times its own dense accelerator",
            f"{faster:.2f} times ({times[DENSE] / times[DENSE_INT8]:.2f} by 8 bits alone), "
            f"{spread(accuracy['factors of one'])} against {spread(accuracy[DENSE])}",
            verdict(faster >= 3 and near),
            "this CPU, compiled, batch of one, one thread; polynomials with factors of one; within: shown over seeds",
        ),
        Finding(
            "on the FPGA's engine, too, fewer tokens are less time",
            "",
            f"{engine['dense'] / engine['mean']:.2f} times at the mean numbers of tokens, "
            f"{engine['dense'] / engine['tail']:.2f} at 95 %: {engine['mean']:.2f} and {engine['tail']:.2f} of "
            f"{engine['dense']:.2f} ms",
            verdict(engine["dense"] > engine["tail"]),
            f"*modelled*: all blocks on the engine of {ENGINE}, by the staircase of one; selectors left out",
        ),
        Finding(
            "selectors cost at most 2 % of the time",
            "",
            f"{times['selectors']:.1%} of the int8 network's",
            verdict(times["selectors"] <= 0.02),
            "four heads of 16 channels at three places beside blocks of width 64 in int8: it is spent in some 180 "
            "operations of a tenth of a microsecond each",
        ),
        Finding(
            "halves leave less of the error of quantization than the exact functions",
            "",
            "; ".join(f"{name} {statistics.fmean(error[name]):.3f}" for name in FUNCTIONS)
            + " of the scores' size between int8 and float32, each trained",
            verdict(ahead(error["exact"], error["halves"])),
        ),
        Finding(
            "halves trained in cost no accuracy",
            "",
            "; ".join(f"{name} {spread(accuracy[name])}" for name in FUNCTIONS) + ", all in int8",
            verdict(within(accuracy["halves"], accuracy["exact"], POINT)),
            "no: shown to be less than a point; 150 clips are few to learn other functions from",
        ),
        Finding(
            "tokens and latency are a distribution over inputs",
            "",
            f"tokens behind each place {_listed(first['tokens'])} (95 %: {_listed(first['most_tokens'])}); "
            f"{times['mean']:.3f} ms on average, {times['tail']:.3f} at 95 %",
            verdict(all(after < before for before, after in pairwise([99.0, *first["tokens"]]))),
        ),
    ]


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.0f}" for number in numbers)
