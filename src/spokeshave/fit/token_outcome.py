"""What became of tokens in a fitted network: how many stayed of every held-out image, and the time that it takes."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean, median, pstdev
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.compiler import NativeDeployment
from spokeshave.fit.tokens import Reducers, first_samples
from spokeshave.processor import limited_threads
from spokeshave.tokens import inserted_in

TIMED, CALLS = 48, 5  # held-out images that are timed one by one, calls of each
TAIL = 0.95


class Counted:
    """A deployment that writes down how many tokens each selector left of every sample that it is called with."""

    def __init__(self, deployment: NativeDeployment) -> None:
        self._deployment, self._counts = deployment, list[Tensor]()

    def __call__(self, *inputs: Any) -> Any:
        """What the deployment gives."""
        outputs = self._deployment(*inputs)
        if counts := list(self._deployment.token_counts.values()):
            self._counts.append(torch.stack(counts, 1))
        return outputs

    @property
    def counts(self) -> list[list[int]]:
        """By selector, every sample's, in the order of calls."""
        return torch.cat(self._counts).T.tolist()


@torch.no_grad()
def fixed_counts(network: nn.Module, example: Tensor) -> list[int]:
    """How many tokens each block works on for one sample, behind each reducer and, first, without any."""
    network.eval()(example[:1])
    reduced = inserted_in(network)
    behind = [int(reduced.counts[reducer.before, 0]) for reducer in reduced.reducers]
    return [reduced.kept[0].shape[1] + reduced.leading, *behind]


def same_counts(network: nn.Module, deployment: NativeDeployment) -> Tensor:
    """Of the last call's samples, those of which both kept as many tokens behind every selector, `[N]`."""
    reduced = inserted_in(network)
    ours = torch.stack(list(deployment.token_counts.values()))
    theirs = torch.stack([reduced.counts[reducer.before] for reducer in reduced.reducers])
    return (ours == theirs.long()).all(0)


def count_facts(counts: Sequence[int]) -> dict[str, Any]:
    """Mean, spread and tail of one reducer's counts; `images` are `[tokens, how many images]`.

    >>> count_facts([3, 5, 5, 7])["images"]
    [[3, 1], [5, 2], [7, 1]]
    """
    images = sorted(Counter(counts).items())
    return {
        **distribution(counts),
        "least": images[0][0],
        "most": images[-1][0],
        "images": [list(pair) for pair in images],
    }


def distribution(values: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation, and what all but a twentieth stay at or below.

    >>> distribution([1.0, 2.0, 3.0])["tail"]
    3.0
    """
    ordered = sorted(values)
    tail = ordered[math.ceil(TAIL * len(ordered)) - 1]
    return {"mean": fmean(values), "deviation": pstdev(values), "tail": tail}


def typical_sample(counts: Sequence[Sequence[int]], among: int) -> int:
    """Which of the first samples keeps tokens most like the mean over all.

    >>> typical_sample([[1, 9, 5, 5]], 3)
    2
    """
    totals = [sum(each) for each in zip(*counts, strict=True)]
    mean = fmean(totals)
    return min(range(min(among, len(totals))), key=lambda index: abs(totals[index] - mean))


def image_seconds(deployment: Callable[..., Any], held_out: Any) -> dict[str, float]:
    """Time of one image over held-out ones, each the median of a few calls at one thread."""
    inputs = torch.cat(first_samples(held_out, TIMED))[:TIMED]
    with limited_threads(1):
        return distribution([_seconds(deployment, one) for one in inputs.split(1)])


def _seconds(deployment: Callable[..., Any], one: Tensor) -> float:
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        deployment(one)
        times.append(time.perf_counter() - started)
    return median(times)


def reducer_facts(reducers: Reducers, counts: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Each reducer with what it did."""
    return [{**one, "tokens": count_facts(each)} for one, each in zip(reducers, counts, strict=True)]
