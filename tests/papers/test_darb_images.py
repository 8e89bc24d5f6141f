"""Convolutions in DARB's check: what is compared keeps as much, and how it is judged."""

from math import prod

import pytest
import torch
from papers.darb import DIRECTION, schemes
from papers.darb_images import LENGTH, findings, pruned_names

from spokeshave.networks import cifar_resnet


def test_every_scheme_keeps_a_share_of_every_convolution():
    network = cifar_resnet(20)
    shapes = {tuple(network.get_parameter(name).shape) for name in pruned_names(network)}
    assert (16, 16, 3, 3) in shapes
    assert (16, 3, 3, 3) not in shapes
    for name, (steps, _) in schemes(LENGTH).items():
        for shape in shapes:
            kept = steps[-1](shape).project(torch.randn(shape)).count_nonzero() / prod(shape)
            assert float(kept) * LENGTH == pytest.approx(1, rel=0.02), (name, shape)


@pytest.mark.parametrize("faster", [True, False])
def test_images_are_judged_by_order_and_time(faster):
    accuracies = dict(zip((*DIRECTION, "random DARB"), (0.9, 0.88, 0.87, 0.86, 0.8, 0.7, 0.6), strict=True))
    trials = [
        {"scheme": label, "seed": seed, "density": 0.25, "test": value + seed / 100}
        for label, value in [("dense", 0.91), *((f"{k} 1:{LENGTH}", v) for k, v in accuracies.items())]
        for seed in range(3)
    ]
    times = {one["scheme"]: 1.0 for one in trials} | {f"DARB 1:{LENGTH}": 0.5 if faster else 2.0}
    order, clock = findings(trials, times)
    assert order.verdict == "reproduced"
    assert clock.verdict == ("reproduced" if faster else "not reproduced")
    shuffled = [
        one | {"test": 0.99 + one["seed"] / 1e3} if one["scheme"].startswith("rows") else one
        for one in trials
    ]
    assert findings(shuffled, times)[0].verdict == "not reproduced"
