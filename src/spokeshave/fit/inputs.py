"""What a recipe names, found and checked against each other before anything is written or trained."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spokeshave.criteria.registry import criterion_of
from spokeshave.data import Data
from spokeshave.devices import Device, HostDevice, RooflineDevice, load_device
from spokeshave.devices.assignment import check_schemes
from spokeshave.devices.crossbars.aqfp import AQFPDevice
from spokeshave.devices.proposals import proposed
from spokeshave.errors import SpokeshaveError
from spokeshave.fit.builtin import builtin_plan, builtin_plan_names
from spokeshave.fit.logits import scores
from spokeshave.fit.recipe import ONE_SOURCE, Epochs, Recipe
from spokeshave.fit.tokens import check_tokens
from spokeshave.methods import (
    ADMM,
    DuringTraining,
    OneShot,
    QuantizationAware,
    RandomizedBinary,
    Reconstruction,
    ReweightedGroupLasso,
)
from spokeshave.plan import Plan
from spokeshave.references import resolve_data, resolve_network
from spokeshave.samples import ExamplePruning, ExampleSampler, PrunedLoader
from spokeshave.samples.loading import count_examples
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Workload, trace

METHODS: dict[str, type] = {
    "admm": ADMM,
    "during_training": DuringTraining,
    "one_shot": OneShot,
    "quantization_aware": QuantizationAware,
    "randomized_binary": RandomizedBinary,
    "reconstruction": Reconstruction,
    "reweighted_group_lasso": ReweightedGroupLasso,
}


@dataclass(frozen=True)
class Inputs:
    """The parts of a job; `example` is one sample, `schemes` go by parameter name.

    `reducers` are the token reducers as far as they are known before training, as plain data.
    """

    recipe: Recipe
    network: nn.Module
    data: Data
    example: Tensor
    device: Device
    plan: Plan
    schemes: Mapping[str, Scheme]
    workload: Workload
    reducers: Sequence[Mapping[str, Any]] = ()


def gather(recipe: Recipe, own_plan: Callable[[], Plan] | None = None) -> Inputs:
    """Find and check everything that a recipe names; a resumed run reads its own plan.

    It is read once the network's module has been imported, which may bring a scheme of its own.

    Where a recipe names no plan the device may propose one, and the recipe is completed by it. Raises SpokeshaveError
    at the first thing that does not fit.
    """
    seed_everything(recipe.seed)
    network = trainable_network(recipe.network)
    data = _sized(resolve_data(recipe.data), recipe)
    device = load_device(recipe.device)
    example = check_data(network, data, recipe)
    workload = trace(network, example)
    if own_plan is None:
        recipe, plan = planned(recipe, network, device, workload)
    else:
        plan = own_plan()
    method_config(recipe, data, device)
    check_examples(recipe, data)
    schemes = plan.resolve(network)
    reducers = check_tokens(recipe, network, example, device)
    if not schemes and not reducers and not quantizes(device):
        raise SpokeshaveError("the plan leaves every layer dense; name a scheme for at least one layer")
    check_schemes(device, workload, schemes)
    return Inputs(recipe, network, data, example, device, plan, schemes, workload, reducers)


def quantizes(device: Device) -> bool:
    """Whether a device puts dense layers into numbers of its own, so that a plan may leave all layers dense."""
    return bool(device.deployment) and not isinstance(device, HostDevice | RooflineDevice | AQFPDevice)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch: a user's loaders may draw from any of them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def trainable_network(reference: str) -> nn.Module:
    """The network that a reference names; raises SpokeshaveError for an exported program."""
    network = resolve_network(reference)
    if not isinstance(network, nn.Module):
        raise SpokeshaveError(
            f"{reference} is an exported program, which cannot be trained; name a callable that makes it"
        )
    return network


def method_config(recipe: Recipe, data: Data, device: Device) -> Any:
    """The configuration of the recipe's method; raises SpokeshaveError for a setting it does not have.

    Binary networks are trained with the columns of the device that will read them.
    """
    method = METHODS[recipe.method]
    known = [field.name for field in fields(method) if field.name not in ("batches", "columns")]
    for name in recipe.settings:
        if name not in known:
            choice = f"its settings are {', '.join(known)}" if known else "it has none"
            raise SpokeshaveError(f"the method {recipe.method} has no setting {name!r}; {choice}")
    needs_data = any(field.name == "batches" for field in fields(method))
    given: dict[str, Any] = {"batches": data.train} if needs_data else {}
    if method is DuringTraining:  # a third and three quarters of its epochs, as the authors' CIFAR-10 runs
        given |= {"choose_at": recipe.epochs.method // 3, "cut_at": max(1, recipe.epochs.method * 3 // 4)}
    if method is RandomizedBinary and isinstance(device, AQFPDevice):
        given |= {"columns": device.columns}
    return method(**(given | recipe.settings | _criterion(recipe)))


def check_examples(recipe: Recipe, data: Data) -> None:
    """Raises SpokeshaveError where examples are to be left out and cannot be."""
    for phase in Epochs.model_fields:
        examples_of(recipe, data, phase)


def examples_of(recipe: Recipe, data: Data, phase: str) -> PrunedLoader | None:
    """The training data of a phase with the examples that the recipe leaves in it; None where it leaves all."""
    epochs, examples = getattr(recipe.epochs, phase), recipe.examples
    if examples is None or not epochs:
        return None
    pruning = ExamplePruning.for_epochs(epochs, examples.keep, examples.swap, examples.score)
    seed = phase_seed(recipe.seed, phase)
    return PrunedLoader(data.train, ExampleSampler(count_examples(data.train), pruning, epochs, seed))


def phase_seed(seed: int, phase: str) -> int:
    """A seed of its own for every phase.

    >>> phase_seed(0, "dense") != phase_seed(0, "method") != phase_seed(1, "method")
    True
    """
    return int.from_bytes(sha256(f"{seed}/{phase}".encode()).digest()[:4], "little")


def _criterion(recipe: Recipe) -> dict[str, Any]:
    """The criterion that a recipe names, if it names one."""
    setting = recipe.settings.get("criterion")
    return {} if setting is None else {"criterion": criterion_of(setting)}


def _sized(data: Data, recipe: Recipe) -> Data:
    data = data.batched(recipe.batch_size)
    return data if recipe.samples_per_epoch is None else data.shortened(recipe.samples_per_epoch)


def planned(recipe: Recipe, network: nn.Module, device: Device, workload: Workload) -> tuple[Recipe, Plan]:
    """The plan that a recipe names, asks for or leaves to the device, and the recipe with the method that it takes."""
    if recipe.compression is not None:
        return recipe, Plan.for_compression(network, recipe.compression)
    if recipe.plan is not None:
        return recipe, named_plan(recipe.plan)
    if recipe.tokens:
        return recipe, Plan(())
    proposal = proposed(device, workload)
    if proposal is None:
        raise SpokeshaveError(f"recipe: {ONE_SOURCE}, for {device.name} proposes no plan of its own")
    return recipe.trained_by(proposal.method, proposal.trained_last), proposal.plan


def named_plan(name: str) -> Plan:
    """A built-in plan, or that of a YAML file."""
    if name in builtin_plan_names():
        return builtin_plan(name)
    if not Path(name).is_file():
        known = ", ".join(builtin_plan_names())
        raise SpokeshaveError(f"there is no plan {name!r}; name a YAML file or one of {known}")
    return Plan.load(Path(name))


def check_data(network: nn.Module, data: Data, recipe: Recipe) -> Tensor:
    """One held-out sample, once data and network agree on shapes, element types and number of classes."""
    inputs, labels = first_batch(data.held_out, f"the held-out data of {recipe.data}")
    train_inputs, train_labels = first_batch(data.train, f"the training data of {recipe.data}")
    if train_inputs.shape[1:] != inputs.shape[1:]:
        shapes = f"{tuple(train_inputs.shape[1:])} and {tuple(inputs.shape[1:])}"
        raise SpokeshaveError(f"training and held-out samples of {recipe.data} differ in shape: {shapes}")
    classes = count_outputs(network, inputs[:1], recipe)
    if classes != data.classes:
        raise SpokeshaveError(
            f"{recipe.network} tells {classes} classes apart, but {recipe.data} has {data.classes}"
        )
    for batch in (labels, train_labels):
        _check_labels(batch, classes, recipe.data)
    return inputs[:1].clone()


def first_batch(loader: Any, what: str) -> tuple[Tensor, Tensor]:
    """The first batch of a loader; raises SpokeshaveError unless it is a pair of tensors of equal length."""
    try:
        inputs, labels = next(iter(loader))
        fits = inputs.dim() > 1 and labels.dim() == 1 and 0 < len(inputs) == len(labels)
    except StopIteration as error:
        raise SpokeshaveError(f"{what} is empty") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise SpokeshaveError(f"{what} does not come as batches (inputs, labels) of tensors") from error
    if not fits:
        shapes = f"{tuple(inputs.shape)} and {tuple(labels.shape)}"
        raise SpokeshaveError(
            f"{what} has batches of shapes {shapes}; inputs (N, ...) and labels (N,) are needed"
        )
    return inputs, labels


def count_outputs(network: nn.Module, example: Tensor, recipe: Recipe) -> int:
    """Number of classes that the network tells apart on one sample of the data."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.inference_mode():
            output = network(example)
    except Exception as error:  # any exception of the user's network
        reason = " ".join(str(error).split())
        shape = tuple(example.shape[1:])
        raise SpokeshaveError(
            f"{recipe.network} cannot take samples of shape {shape} of {recipe.data}: {reason}"
        ) from error
    finally:
        for module, training in modes:
            module.training = training
    output = scores(output)
    if not isinstance(output, Tensor) or output.dim() != 2:
        found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise SpokeshaveError(
            f"{recipe.network} gives {found}; fit needs one tensor of shape (samples, classes)"
        )
    return output.shape[1]


def _check_labels(labels: Tensor, classes: int, data: str) -> None:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise SpokeshaveError(f"{data} has labels of type {labels.dtype}; labels must be integers")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise SpokeshaveError(
            f"{data} has label {high if high >= classes else low}; labels must be 0 to {classes - 1}"
        )
