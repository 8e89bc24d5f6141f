"""Trials over seeds: kept on disk, so that a run that was stopped goes on; and what their spread allows to say."""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from papers.record import Finding, verdict
from spokeshave.atomic import write_atomically

RUNS = Path("runs/papers")
# Student's t, one-sided 95 %, from 1 degree of freedom.
STUDENT = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833)


def remembered(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` gives, or gave in an earlier run; kept in runs/papers/NAME.json, to be deleted by hand."""
    path = RUNS / f"{name}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(make(), indent=1))
    return json.loads(path.read_text())


def remembered_tensors(name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The same for tensors by name; kept in runs/papers/NAME.safetensors."""
    path = RUNS / f"{name}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save({key: tensor.contiguous() for key, tensor in make().items()}))
    return load_file(path)


def ahead(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether `first` is above `second` in a paired t test over seeds, one-sided at 95 %.

    Both are by seed, in the same order; what they share of a seed (weights, data) cancels in the difference. It must
    be above its standard error times Student's t: for three seeds 1.69 of the differences' standard deviations. One
    seed shows nothing. This is the rule of every verdict that compares trainings; a claim that something is *not*
    better holds where this does not show that it is, which is weaker. Of twenty gaps that are none one passes.

    >>> ahead([0.9, 0.8, 0.85], [0.8, 0.71, 0.74])
    True
    >>> ahead([0.9, 0.8, 0.85], [0.8, 0.78, 0.8]), ahead([0.9], [0.8])
    (False, False)
    """
    gaps = [one - other for one, other in zip(first, second, strict=True)]
    if len(gaps) < 2:
        return False
    student = STUDENT[min(len(gaps) - 1, len(STUDENT)) - 1]
    return statistics.fmean(gaps) > student * statistics.stdev(gaps) / math.sqrt(len(gaps))


def within(first: Sequence[float], second: Sequence[float], loss: float) -> bool:
    """Whether `first` is shown to be less than `loss` below `second`, by the same test.

    >>> within([0.9, 0.8, 0.85], [0.9, 0.81, 0.85], 0.02), within([0.9, 0.8, 0.85], [0.9, 0.84, 0.85], 0.02)
    (True, False)
    """
    return ahead([one + loss for one in first], second)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds, in percent; of a single seed the figure alone.

    >>> spread([0.9, 0.8, 0.85]), spread([0.9])
    ('85.0 ± 5.0 %', '90.0 %')
    """
    deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{deviation} %"


def beats(
    claim: str,
    values: Mapping[str, Sequence[float]],
    one: str,
    other: str,
    published: str = "",
    note: str = "",
    control: bool = False,
) -> Finding:
    """The finding that `one` is `ahead` of `other`; `values` are accuracies by name and seed."""
    measured = f"{one} {spread(values[one])}, {other} {spread(values[other])}"
    return Finding(claim, published, measured, verdict(ahead(values[one], values[other])), note, control)


def random_shares(sizes: Mapping[str, float], kept: float, seed: int) -> dict[str, float]:
    """Shares drawn at random and scaled until `kept` of the whole is kept, by name."""
    generator, whole = torch.Generator().manual_seed(seed), sum(sizes.values())
    draws = {name: 0.1 + float(torch.rand((), generator=generator)) for name in sizes}
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        found = sum(min(1.0, middle * draws[name]) * size for name, size in sizes.items()) / whole
        low, high = (low, middle) if found > kept else (middle, high)
    return {name: min(1.0, low * draw) for name, draw in draws.items()}
