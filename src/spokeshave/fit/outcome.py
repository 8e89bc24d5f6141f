"""The steps that need no training: profile, compile, check, evaluate, time; and the result they add up to."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from spokeshave.compiler import LayerTime, NativeDeployment, load_deployment
from spokeshave.errors import SpokeshaveError
from spokeshave.fit.inputs import Inputs, first_batch
from spokeshave.fit.logits import scores
from spokeshave.fit.run_folder import DEPLOYMENT
from spokeshave.fit.state import State
from spokeshave.fit.token_outcome import (
    Counted,
    fixed_counts,
    image_seconds,
    reducer_facts,
    same_counts,
    typical_sample,
)
from spokeshave.fit.token_pictures import count_histogram, kept_patches
from spokeshave.fit.tokens import Reducers, adaptive, at_random, plan_beside, standing
from spokeshave.fit.work import Found, Work
from spokeshave.measure.accuracy import evaluate
from spokeshave.measure.peers import relative_error
from spokeshave.measure.side_by_side import side_by_side
from spokeshave.pictures import as_plain
from spokeshave.schemes.intersection import short_of_budget
from spokeshave.schemes.scheme import Scheme

PROFILE_REPEATS = 31
TOLERANCE = 1e-3
OTHER_COUNTS = 0.05  # share of samples that may keep another number of tokens than in PyTorch
TIMINGS = ("speedup_over_best_dense_fp32", "best_dense_peer", "table", "wall_seconds", "command")
"""Entries of a result that the clock decides, and the command that made it."""


def deploy_dense(inputs: Inputs) -> NativeDeployment:
    """The dense network compiled for this CPU; raises SpokeshaveError when that cannot be."""
    deployment = inputs.device.deploy(inputs.network, inputs.example, None)
    assert isinstance(deployment, NativeDeployment)
    return deployment


def deploy_reduced(inputs: Inputs) -> NativeDeployment:
    """The untrained network with its token reducers compiled for this CPU, as far as they are known."""
    with standing(inputs.network, inputs.reducers, inputs.recipe.seed) as network:
        deployment = inputs.device.deploy(network, inputs.example, None)
    assert isinstance(deployment, NativeDeployment)
    return deployment


def prepare(work: Work) -> Found:
    """Time every layer of the dense network, compiled by the same compiler."""
    dense = deploy_dense(work.inputs).profile(work.inputs.example, repeats=PROFILE_REPEATS)
    return Found({"dense_layers": [asdict(layer) for layer in dense]})


def compile_fitted(work: Work) -> Found:
    """Compile the fitted network into the run's folder `deployment`, and count what is left of it."""
    inputs = work.inputs
    network = work.network_after("fine_tune")
    deployment = inputs.device.deploy(network, inputs.example, plan_beside(inputs.plan, network))
    deployment.save(work.run.path / DEPLOYMENT)
    return Found(count_weights(network, inputs.schemes))


def count_weights(network: nn.Module, schemes: Mapping[str, Scheme]) -> dict[str, Any]:
    """How many times fewer weights the pruned layers and the network hold, each weight's density, missed budgets."""
    parameters = dict(network.named_parameters())
    pruned = {name: parameters[name] for name in schemes}
    kept = {name: int(torch.count_nonzero(weight)) for name, weight in pruned.items()}
    everything = sum(weight.numel() for weight in parameters.values())
    in_pruned = sum(weight.numel() for weight in pruned.values())
    left = sum(kept.values())
    short = short_of_budget(schemes, {name: weight.detach() for name, weight in pruned.items()})
    return {
        "compression": max(1, in_pruned) / max(1, left),
        "compression_network": everything / max(1, everything - in_pruned + left),
        "density": {name: count / pruned[name].numel() for name, count in kept.items()},
        "short_of_budget": [] if short is None else [f"{short}."],
    }


def check(work: Work) -> Found:
    """Largest difference to PyTorch on a batch of held-out samples, relative to the largest output.

    With token reducers, on those that keep as many tokens in both: a score next to its threshold may fall either way.
    """
    inputs, _ = first_batch(work.inputs.data.held_out, "the held-out data")
    network, deployment = work.network_after("fine_tune").eval(), _deployment(work)
    with torch.inference_mode():
        expected = network(inputs)
    found = deployment(inputs)
    facts: dict[str, Any] = {}
    if deployment.token_counts:
        alike = same_counts(network, deployment)
        expected, found = scores(expected)[alike], scores(found)[alike]
        facts["samples_of_other_counts"] = int((~alike).sum())
    error = relative_error(found, expected)
    if error > TOLERANCE or facts.get("samples_of_other_counts", 0) > OTHER_COUNTS * len(inputs):
        raise SpokeshaveError(
            f"the deployment differs from PyTorch by {error:.1e} of the largest output (limit {TOLERANCE}); "
            f"this is a fault of the compiler: please report it with {work.run.path / DEPLOYMENT}"
        )
    return Found({"max_relative_error": error, **facts})


def evaluate_all(work: Work) -> Found:
    """Accuracy of the dense network, of the deployment, and of the same plan filled at random, untrained."""
    inputs, held_out = work.inputs, work.inputs.data.held_out
    counted = Counted(_deployment(work))
    deployed = evaluate(counted, held_out)
    work.observer.advance(1 / 3)
    dense = evaluate(work.network_after("dense"), held_out)
    work.observer.advance(2 / 3)
    reducers = work.facts_of("fine_tune").get("tokens", ())
    keep_at_random(inputs.network, inputs.schemes, inputs.recipe.seed)
    with standing(inputs.network, at_random(reducers, inputs.recipe.seed), inputs.recipe.seed) as network:
        random = evaluate(network, held_out)
    facts = {
        "dense_accuracy": dense.top1,
        "deployment_accuracy": deployed.top1,
        "random_baseline_accuracy": random.top1,
        "held_out_samples": deployed.total,
    }
    return Found(facts | (_token_facts(work, reducers, counted) if reducers else {}))


def _token_facts(work: Work, reducers: Reducers, counted: Counted) -> dict[str, Any]:
    """What each reducer left of every held-out sample, and which sample is a typical one."""
    inputs = work.inputs
    before, *fixed = fixed_counts(work.network_after("fine_tune"), inputs.example)
    samples, labels = first_batch(inputs.data.held_out, "the held-out data")
    counts = counted.counts if all(adaptive(one) for one in reducers) else [[count] for count in fixed]
    found = reducer_facts(reducers, counts)
    drawn = (kept_patches(inputs.network, samples, labels), count_histogram(found, before))
    return {
        "all_tokens": before,
        "reducers": found,
        "token_pictures": [as_plain(picture) for picture in drawn if picture is not None],
        "typical_sample": typical_sample(counts, len(samples)),
    }


def keep_at_random(network: nn.Module, schemes: Mapping[str, Scheme], seed: int) -> None:
    """Put every planned weight into its scheme with random saliency in place of its own."""
    generator = torch.Generator().manual_seed(seed)
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, scheme in schemes.items():
            weight = parameters[name]
            weight.copy_(scheme.project(weight, torch.rand(weight.shape, generator=generator)))


def time_beside_peers(work: Work) -> Found:
    """One interleaved run of the deployment and the peers that run the dense network, at one thread."""
    recipe, deployment = work.inputs.recipe, _deployment(work)
    example, facts = work.inputs.example, dict[str, Any]()
    if work.inputs.reducers:
        samples, _ = first_batch(work.inputs.data.held_out, "the held-out data")
        typical = work.facts_of("evaluate")["typical_sample"]
        example = samples[typical : typical + 1]
        facts["image_seconds"] = image_seconds(deployment, work.inputs.data.held_out)
    comparison = side_by_side(
        deployment,
        work.network_after("dense"),
        example,
        threads=1,
        rounds=recipe.rounds,
        peers=recipe.peers,
        progress=lambda done, total, _: work.observer.advance(done / total),
    )
    return Found({"comparison": comparison.as_dict(), **facts})


def profile_layers(work: Work) -> Found:
    """Time every layer of the deployment."""
    times = _deployment(work).profile(work.inputs.example, repeats=PROFILE_REPEATS)
    return Found({"pruned_layers": [asdict(layer) for layer in times]})


def result(work: Work, state: State) -> dict[str, Any]:
    """Everything a run found, as `result.json` holds it; times are in seconds, accuracies between 0 and 1."""
    facts = state.facts()
    comparison = facts["comparison"]
    return {
        "compression": facts["compression"],
        "compression_network": facts["compression_network"],
        "short_of_budget": facts["short_of_budget"],
        "dense_accuracy": facts["dense_accuracy"],
        "deployment_accuracy": facts["deployment_accuracy"],
        "random_baseline_accuracy": facts["random_baseline_accuracy"],
        "speedup_over_best_dense_fp32": comparison["speedup"]["median"],
        "best_dense_peer": comparison["best_dense_peer"],
        "max_relative_error": facts["max_relative_error"],
        "held_out_samples": facts["held_out_samples"],
        "table": comparison["table"],
        "absent": comparison["absent"],
        "layers": layer_rows(work.inputs, facts),
        **({"tokens": token_result(facts)} if work.inputs.reducers else {}),
        **origin(work, state, comparison["machine"]),
    }


def token_result(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What token reducers did to held-out samples, as `result.json` holds it."""
    placed = {key: facts[key] for key in ("staircase", "blocks_seconds") if key in facts}
    return {
        "all_tokens": facts["all_tokens"],
        "reducers": facts["reducers"],
        "image_seconds": facts["image_seconds"],
        "pictures": facts["token_pictures"],
        "samples_of_other_counts": facts.get("samples_of_other_counts", 0),
        **placed,
    }


def origin(work: Work, state: State, machine: dict[str, Any]) -> dict[str, Any]:
    """Where a result comes from: training, machine, recipe, command."""
    recipe = work.inputs.recipe
    return {
        "epochs": [asdict(record) for record in state.epochs],
        "machine": machine,
        "versions": machine["versions"],
        "wall_seconds": {record.name: record.seconds for record in state.steps},
        "recipe": recipe.model_dump(mode="json"),
        "recipe_digest": recipe.digest,
        "command": state.command,
    }


def without_timings(result: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal in two runs of one recipe: everything but what the clock decides."""
    rest = {key: value for key, value in result.items() if key not in TIMINGS}
    for rows in ("layers", "epochs"):
        rest[rows] = [{k: v for k, v in row.items() if "seconds" not in k} for row in result[rows]]
    if "tokens" in result:
        rest["tokens"] = {k: v for k, v in result["tokens"].items() if "seconds" not in k}
    return rest


def layer_rows(inputs: Inputs, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a layer of the deployment: weight, density, seconds in the dense and in the pruned network."""
    dense = _seconds_by_layer([LayerTime(**entry) for entry in facts["dense_layers"]])
    pruned = [LayerTime(**entry) for entry in facts["pruned_layers"]]
    seconds = _seconds_by_layer(pruned)
    weights = {layer.name: layer for layer in inputs.workload.layers}
    rows = []
    for name in seconds:
        layer = weights.get(name)
        parameter = layer.parameter if layer is not None else None
        rows.append(
            {
                "layer": name,
                "weight_shape": list(layer.weight_shape) if layer is not None and parameter else None,
                "density": facts["density"].get(parameter),
                "dense_seconds": dense.get(name),
                "seconds": seconds[name],
                "kernel": next((row.kernel for row in pruned if _name(row) == name and row.kernel), ""),
            }
        )
    return rows


def _seconds_by_layer(times: list[LayerTime]) -> dict[str, float]:
    """Seconds of each layer, in the order in which they first run; several steps may belong to one layer."""
    seconds: dict[str, float] = {}
    for row in times:
        seconds[_name(row)] = seconds.get(_name(row), 0.0) + row.seconds
    return seconds


def _name(row: LayerTime) -> str:
    return row.layer or row.operation


def _deployment(work: Work) -> NativeDeployment:
    return load_deployment(work.run.path / DEPLOYMENT)
