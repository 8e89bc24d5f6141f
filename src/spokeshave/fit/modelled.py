"""The steps of a run whose device is a model: deploy, judge what it computes, vary its noise, model costs.

Every step makes the deployment anew from the network on disk; calibration is seeded, so it is the same each time.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import wraps
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.compiler.graph_folder import cost_from
from spokeshave.compiler.integers import IntegerDeployment
from spokeshave.deployment import Cost, Deployment
from spokeshave.devices import Device
from spokeshave.devices.assignment import assign, costed_layers, layer_told
from spokeshave.devices.code_elsewhere import CodeElsewhere
from spokeshave.devices.crossbars.aqfp_deployment import AQFPDeployment
from spokeshave.devices.crossbars.deployment import CrossbarDeployment
from spokeshave.devices.crossbars.reram import ReRAMDevice
from spokeshave.devices.pictures import pictures_of
from spokeshave.devices.roofline import parts_of, scheme_name
from spokeshave.devices.sweeps import Sweep, sweeps
from spokeshave.devices.whole import parted
from spokeshave.errors import SpokeshaveError
from spokeshave.fit.inputs import Inputs, seed_everything
from spokeshave.fit.outcome import count_weights, keep_at_random, origin
from spokeshave.fit.run_folder import DEPLOYMENT
from spokeshave.fit.state import State
from spokeshave.fit.work import Found, Work
from spokeshave.measure.accuracy import evaluate
from spokeshave.measure.machine import describe_machine
from spokeshave.pictures import Curve, as_plain
from spokeshave.processor import limited_threads
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer

CALIBRATION_BATCHES = 4
SWEPT = 240  # held-out samples that each point of a sweep is judged by, at most
BY_CODE = "the same float32 code, built for this CPU"
BY_PYTORCH = "the fitted network in float32, through PyTorch"


def try_out(inputs: Inputs) -> None:
    """Deploy the untrained network, put into the plan: what the device refuses is known before training."""
    network = copy.deepcopy(inputs.network)
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, scheme in inputs.schemes.items():
            parameters[name].copy_(scheme.project(parameters[name]))
    inputs.device.cost(inputs.workload, inputs.plan)
    deployed(inputs, network)


def deployed(inputs: Inputs, network: nn.Module, device: Device | None = None) -> Callable[..., Any]:
    """The network as the device, or one beside it, runs it; through PyTorch where it exists as costs alone."""
    device = device or inputs.device
    network.eval()
    if not device.deployment:
        return network
    seed_everything(inputs.recipe.seed)
    shown = [batch for batch, _ in islice(inputs.data.train, CALIBRATION_BATCHES)]
    return device.deploy(network, inputs.example, inputs.plan, shown)


def on_one_thread(step: Callable[[Work], Found]) -> Callable[[Work], Found]:
    """A step whose operators are too small to share: on a busy machine threads would only wait for each other."""

    @wraps(step)
    def run(work: Work) -> Found:
        with limited_threads(1):
            return step(work)

    return run


@on_one_thread
def deploy(work: Work) -> Found:
    """Deploy the fitted network into the run's folder, where it can be saved; model what it costs, and draw that."""
    inputs = work.inputs
    network = work.network_after("fine_tune")
    made = deployed(inputs, network)
    if not isinstance(made, nn.Module):
        made.save(work.run.path / DEPLOYMENT)  # type: ignore[attr-defined]
    deployment: Deployment | None = None if isinstance(made, nn.Module) else made  # type: ignore[assignment]
    cost = inputs.device.cost(inputs.workload, inputs.plan) if deployment is None else deployment.cost
    drawn = pictures_of(inputs.device, inputs.workload, inputs.plan, deployment)
    dense, reason = _dense_cost(inputs, cost)
    return Found(
        {
            **count_weights(network, inputs.schemes),
            "cost": asdict(cost),
            "dense_cost": asdict(dense) if dense is not None else None,
            "no_dense_cost": reason,
            "deployed_by": runs_as(inputs.device, made),
            "float32": stays_float(made),
            "pictures": [as_plain(picture) for picture in drawn],
        }
    )


def runs_as(device: Device, made: Any) -> str:
    """How a deployment computes."""
    return BY_CODE if isinstance(made, CodeElsewhere) else device.deployment or BY_PYTORCH


def stays_float(made: Any) -> list[tuple[str, str]]:
    """Layers that stay float32 though the device has numbers of its own, and why."""
    if isinstance(made, AQFPDeployment):
        return list(made.cost.left_out)
    return list(made.manifest.floats) if isinstance(made, IntegerDeployment) else []


def _dense_cost(inputs: Inputs, fitted: Cost) -> tuple[Cost | None, str]:
    """The cost of the same layers of the dense network there, or why it has none."""
    elsewhere = {layer for layer, _ in fitted.left_out}

    def left_out(layer: Layer) -> str | None:
        return "" if layer_told(layer) in elsewhere and not layer.weight_shape else None

    try:
        return inputs.device.cost(parted(inputs.workload, left_out)[0]), ""
    except SpokeshaveError as reason:
        return None, str(reason)


@on_one_thread
def evaluate_all(work: Work) -> Found:
    """Accuracies: dense, fitted in float32, on the device, and the same plan at random, all on the same samples."""
    inputs, held_out = work.inputs, judged(work.inputs)
    network = work.network_after("fine_tune")
    on_device = evaluate(deployed(inputs, network), held_out)
    work.observer.advance(1 / 2)
    fitted = evaluate(network, held_out).top1
    dense = evaluate(work.network_after("dense"), held_out).top1
    keep_at_random(inputs.network, inputs.schemes, inputs.recipe.seed)
    return Found(
        {
            "dense_accuracy": dense,
            "fitted_accuracy": fitted,
            "deployment_accuracy": on_device.top1,
            "random_baseline_accuracy": evaluate(inputs.network, held_out).top1,
            "held_out_samples": on_device.total,
        }
    )


@on_one_thread
def vary_noise(work: Work) -> Found:
    """Accuracy on devices beside this one, with more and less noise."""
    inputs, held_out = work.inputs, list(_first(judged(work.inputs), SWEPT))
    network, found = work.network_after("fine_tune"), sweeps(work.inputs.device)
    own = deployed(inputs, network) if found else network
    count, done, curves = sum(len(sweep.points) for sweep in found), 0, []
    for sweep in found:
        points = []
        for value, device in sweep.points:
            points.append((value, evaluate(_beside(inputs, network, own, device), held_out).top1))
            done += 1
            work.observer.advance(done / count)
        curves.append(_curve(sweep, points, sum(len(labels) for _, labels in held_out)))
    return Found({"curves": [as_plain(curve) for curve in curves]})


def _beside(inputs: Inputs, network: nn.Module, own: Any, device: Device) -> Callable[..., Any]:
    """The network on a device that differs by one figure; crossbars are written anew, for all else is the same."""
    if isinstance(own, CrossbarDeployment) and isinstance(device, ReRAMDevice):
        return device.reprogrammed(own, inputs.schemes)
    return deployed(inputs, network, device)


def _curve(sweep: Sweep, points: Iterable[tuple[float, float]], samples: int) -> Curve:
    note = f"Of the deployment on {samples} held-out samples, simulated; the device's own figure is marked."
    return Curve(sweep.title, note, sweep.x_label, sweep.own, tuple(points))


def judged(inputs: Inputs) -> list[tuple[Tensor, Tensor]]:
    """The held-out samples that a simulated device is judged by, `judged_samples` at most."""
    return list(_first(inputs.data.held_out, inputs.recipe.judged_samples))


def _first(batches: Iterable[tuple[Tensor, Tensor]], most: int) -> Iterator[tuple[Tensor, Tensor]]:
    for samples, labels in batches:
        if most <= 0:
            return
        yield samples[:most], labels[:most]
        most -= len(labels)


def result(work: Work, state: State) -> dict[str, Any]:
    """Everything a run found, as `result.json` holds it; costs are *modelled*, accuracies between 0 and 1."""
    facts, device = state.facts(), work.inputs.device
    machine = asdict(describe_machine())
    return {
        "device": {"name": device.name, "kind": device.kind, "about": device.about},
        **{key: facts[key] for key in RESULTS},
        "pictures": [*facts["pictures"], *facts["curves"]],
        "layers": layer_rows(work.inputs, facts),
        **origin(work, state, machine),
    }


RESULTS = (
    "compression",
    "compression_network",
    "short_of_budget",
    "dense_accuracy",
    "fitted_accuracy",
    "deployment_accuracy",
    "random_baseline_accuracy",
    "held_out_samples",
    "deployed_by",
    "float32",
    "cost",
    "dense_cost",
    "no_dense_cost",
)


def layer_rows(inputs: Inputs, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a layer of the modelled cost: scheme, density, modelled seconds dense and fitted."""
    dense = defaultdict[str, list[float]](list)
    for name, seconds in facts["dense_cost"]["by_layer"] if facts["dense_cost"] else ():
        dense[name].append(seconds)
    schemes = assign(inputs.workload, inputs.plan)
    rows = []
    for layer, seconds in costed_layers(inputs.workload, cost_from(facts["cost"])):
        name, parameter = layer.name, layer.parameter or ""
        rows.append(
            {
                "layer": name,
                "weight_shape": list(layer.weight_shape) if parameter else None,
                "scheme": _told(schemes.get(parameter)) if parameter else "",
                "density": facts["density"].get(parameter),
                "dense_modelled": dense[name].pop(0) if dense[name] else None,
                "modelled": seconds,
            }
        )
    return rows


def _told(scheme: Scheme | None) -> str:
    """`polarized & fixed_point`: a scheme by its names in plans."""
    if scheme is None:
        return "dense"
    return " & ".join(map(scheme_name, parts_of(scheme)))
