"""A binary network whose layers are read by superconducting columns and compared with whole thresholds."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from spokeshave.deployment import Cost
from spokeshave.devices.crossbars.thresholds import Thresholds, match
from spokeshave.errors import SpokeshaveError
from spokeshave.methods.columns import reading
from spokeshave.methods.randomized_binary import replace_forward
from spokeshave.networks.binary import Sign
from spokeshave.plan import Plan
from spokeshave.superconducting import Columns


@dataclass(frozen=True)
class AQFPDeployment:
    """Callable like the network; two calls differ by the random bits."""

    network: nn.Module
    cost: Cost

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """Layers that are not binary, and run in float32."""
        return tuple(layer for layer, _ in self.cost.left_out)

    def __call__(self, *inputs: Any) -> Any:
        """Run a batch."""
        with torch.inference_mode():
            return self.network(*inputs)

    def save(self, folder: Path) -> None:
        """Always raises SpokeshaveError: a simulation is made anew from network, plan and device."""
        raise SpokeshaveError(
            "a simulation is not saved: save the network and its plan, and deploy them again"
        )


def deploy_binary(
    network: nn.Module, example: Any, plan: Plan, columns: Columns, cost: Cost, seed: int
) -> AQFPDeployment:
    """A copy of the network with its planned layers on columns; see `AQFPDevice.deploy`."""
    network, generator = copy.deepcopy(network).eval(), torch.Generator().manual_seed(seed)
    layers = {name.rpartition(".")[0]: scheme for name, scheme in plan.resolve(network).items()}
    for name, scheme in layers.items():
        if not scheme.contains(network.get_parameter(f"{name}.weight").detach()):
            raise SpokeshaveError(
                f"{name}.weight is not binary yet; train it with RandomizedBinary, or project it"
            )
    followers = _followers(network, example)
    for name in layers:
        layer = network.get_submodule(name)
        norm, sign = _behind(name, layer, followers)
        pieces = -(-network.get_parameter(f"{name}.weight")[0].numel() // columns.height)

        def counted(sums: Tensor) -> Tensor:
            return columns.counts(sums, generator).sum(2)

        replace_forward(layer, _checked(name, reading(layer, name, counted, columns.height)))
        if sign is None:
            replace_forward(norm, _rescaled(norm.forward, pieces * columns.stream, columns.stream))
        else:
            replace_forward(norm, _compared(match(norm, pieces, columns.stream)))
            replace_forward(sign, _unchanged)
    return AQFPDeployment(network, cost)


def _followers(network: nn.Module, example: Any) -> dict[nn.Module, nn.Module]:
    """Which module reads what a module has made, as seen in one run."""
    made: dict[int, tuple[nn.Module, Tensor]] = {}
    found: dict[nn.Module, nn.Module] = {}

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        for value in inputs:
            if id(value) in made:
                found[made[id(value)][0]] = module
        made[id(output)] = module, output

    leaves = [module for module in network.modules() if not any(module.children())]
    handles = [module.register_forward_hook(watch) for module in leaves]
    with torch.inference_mode():
        network(*(example if isinstance(example, tuple) else (example,)))
    for handle in handles:
        handle.remove()
    return found


def _behind(
    name: str, layer: nn.Module, followers: dict[nn.Module, nn.Module]
) -> tuple[_BatchNorm, nn.Module | None]:
    norm = followers.get(layer)
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None:
        raise SpokeshaveError(
            f"{name}: a binary layer needs a batch norm with running statistics right behind it"
        )
    sign = followers.get(norm)
    if sign is not None and not (isinstance(sign, Sign) and sign.threshold == 0):
        raise SpokeshaveError(f"{name}: its batch norm needs a sign right behind it, or nothing at all")
    return norm, sign


def _checked(name: str, forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        if not bool((x.abs() == 1).all()):
            raise SpokeshaveError(
                f"{name}: it reads numbers other than -1 and 1; put a Sign before it, and pad with 1"
            )
        return forward(x)

    return run


def _compared(thresholds: Thresholds) -> Callable[[Tensor], Tensor]:
    return lambda counts: thresholds.signs(counts.movedim(1, -1)).movedim(-1, 1)


def _rescaled(norm: Callable[[Tensor], Tensor], most: int, stream: int) -> Callable[[Tensor], Tensor]:
    """The last layer: counts as sums of streams, and its batch norm in floating point outside of the cold."""
    return lambda counts: norm((2 * counts - most) / stream)


def _unchanged(x: Tensor) -> Tensor:
    return x
