"""Convolutions in DARB's check: what is compared keeps as much, and how it is judged."""

from math import prod

import pytest
import torch
from papers.darb import DIRECTION, schemes
from papers.darb_images import LENGTHS, findings
from papers.pruning import inner_matrices

from spokeshave.networks import cifar_resnet


@pytest.mark.parametrize("length", LENGTHS)
def test_every_scheme_keeps_a_share_of_every_convolution(length):
    network = cifar_resnet(20)
    shapes = {tuple(network.get_parameter(name).shape) for name in inner_matrices(network)}
    assert (16, 16, 3, 3) in shapes
    assert (16, 3, 3, 3) not in shapes
    for name, (steps, _) in schemes(length).items():
        for shape in shapes:
            kept = steps[-1](shape).project(torch.randn(shape)).count_nonzero() / prod(shape)
            assert float(kept) * length == pytest.approx(1, rel=0.02), (name, shape)


@pytest.mark.parametrize("faster", [True, False])
def test_images_are_judged_by_order_and_time(faster):
    accuracies = dict(zip((*DIRECTION, "random DARB"), (0.9, 0.88, 0.87, 0.86, 0.8, 0.7, 0.6), strict=True))
    means = {f"{name} 1:{length}": value for length in LENGTHS for name, value in accuracies.items()}
    trials = [
        {"scheme": label, "seed": seed, "density": 0.25, "test": value + seed / 100}
        for label, value in ({"dense": 0.91} | means).items()
        for seed in range(3)
    ]
    darb = {"milliseconds": 0.5 if faster else 2.0}
    times = {one["scheme"]: {"milliseconds": 1.0} for one in trials} | {f"DARB 1:{n}": darb for n in LENGTHS}
    *orders, clock = findings(trials, times)
    assert [one.verdict for one in orders] == ["reproduced"] * len(LENGTHS)
    assert clock.verdict == ("reproduced" if faster else "not reproduced")
    for one in trials:
        if one["scheme"].startswith("rows"):
            one["test"] = 0.99 + one["seed"] / 1e3
    assert findings(trials, times)[0].verdict == "not reproduced"
