"""CIFAR-10 at 16 x 16 and two networks, residual and plain: small enough to train many times on one core."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.compiler import compile_network
from spokeshave.data import DATA, Batches, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.measure import evaluate, interleave
from spokeshave.methods import Session, Steps, train
from spokeshave.networks.residual import ResidualNetwork
from spokeshave.plan import Plan

HELD_BACK = 10  # one in so many training images is kept for choices


@dataclass(frozen=True)
class Images:
    """Training and test images, and some of the former held back for choices; `about` says what they are of."""

    data: Data
    held_back: Batches
    about: str

    @property
    def example(self) -> Tensor:
        """One image, `[1, C, 16, 16]`."""
        return next(iter(self.data.held_out))[0][:1]

    @property
    def test(self) -> Batches:
        """The test images."""
        assert isinstance(self.data.held_out, Batches)
        return self.data.held_out


@dataclass(frozen=True)
class Recipe:
    """One training: SGD with Nesterov momentum 0.9 and weight decay 5e-4, its rate divided by ten at parts `drops`.

    An epoch is `samples` images, drawn from all.
    """

    epochs: int = 6
    rate: float = 0.1
    drops: tuple[float, ...] = (8 / 15, 12 / 15)
    samples: int = 5_000


def images(tested: int | None = None) -> Images:
    """CIFAR-10 at half its side, or the digits where it is absent; the first `tested` of the test images, or all."""
    try:
        data, about = _halved(DATA["cifar10"]()), "CIFAR-10 at 16 x 16"
    except SpokeshaveError as reason:
        data, about = DATA["digits"](), f"digits in CIFAR-10's place ({reason})"
    train, test = data.train, data.held_out
    assert isinstance(train, Batches)
    assert isinstance(test, Batches)
    kept = len(train.labels) - len(train.labels) // HELD_BACK
    held_back = Batches(train.inputs[kept:], train.labels[kept:], 500)
    return Images(
        replace(
            data,
            train=replace(train, inputs=train.inputs[:kept], labels=train.labels[:kept]),
            held_out=replace(test, inputs=test.inputs[:tested], labels=test.labels[:tested]),
        ),
        held_back,
        about,
    )


def small_network(images: Images, seed: int) -> nn.Module:
    """Fresh weights, 78 thousand; 3.1 million multiply-adds for a colour image."""
    torch.manual_seed(seed)
    return ResidualNetwork(images.example.shape[1], images.data.classes, (16, 32, 64), (1, 2, 2))


def plain_network(images: Images, seed: int) -> nn.Sequential:
    """Convolutions in a row, as in VGG: 61 thousand fresh weights, 1.2 million multiply-adds for a colour image."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    inputs = images.example.shape[1]
    for outputs, stride in ((16, 2), (32, 1), (64, 2), (64, 1)):
        layers += [
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
        inputs = outputs
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, images.data.classes)
    )


def fit(
    network: nn.Module,
    images: Images,
    recipe: Recipe,
    seed: int,
    session: Session | None = None,
    **hooks: Any,
) -> None:
    """One whole training, in bfloat16 where autocast allows; the order of the images is the seed's.

    `hooks` are those of `train`.
    """
    train(
        network,
        images.data.batched(64).shortened(recipe.samples),
        recipe.epochs,
        learning_rate=recipe.rate,
        schedule=Steps(recipe.drops),
        session=session,
        seed=seed,
        precision=torch.bfloat16,
        **hooks,
    )
    network.eval()


def deployed_accuracy(network: nn.Module, images: Images, plan: Plan | None = None) -> float:
    """On the test images, by the compiled network."""
    return evaluate(compile_network(network.eval(), images.example, plan), images.test).top1


def clock(
    networks: Mapping[str, tuple[nn.Module, Plan | None]], example: Tensor, rounds: int = 31
) -> dict[str, float]:
    """Microseconds of one image for each of the networks, compiled, side by side: medians."""
    deployed = {
        name: compile_network(network.eval(), example, plan) for name, (network, plan) in networks.items()
    }
    run = interleave({name: partial(each, example) for name, each in deployed.items()}, rounds)
    return {name: 1e6 * run.timing(name).median_seconds for name in networks}


def _halved(data: Data) -> Data:
    """The same images at half their side, by means of 2 x 2."""
    train, test = data.train, data.held_out
    assert isinstance(train, Batches)
    assert isinstance(test, Batches)
    pooled = [replace(each, inputs=F.avg_pool2d(each.inputs, 2)) for each in (train, test)]
    return replace(data, train=pooled[0], held_out=pooled[1])
