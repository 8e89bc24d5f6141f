"""Trials over seeds: kept on disk, so that a run that was stopped goes on; and what their spread allows to say."""

import json
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
    """Whether `first` is above `second` by more than the spread over seeds of their difference.

    Both are by seed, in the same order.

    >>> ahead([0.9, 0.8, 0.85], [0.8, 0.71, 0.74])
    True
    >>> ahead([0.9, 0.7, 0.85], [0.8, 0.71, 0.84])
    False
    """
    gaps = [one - other for one, other in zip(first, second, strict=True)]
    return statistics.fmean(gaps) > (statistics.stdev(gaps) if len(gaps) > 1 else 0)


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
) -> Finding:
    """The finding that `one` is `ahead` of `other`; `values` are accuracies by name and seed."""
    measured = f"{one} {spread(values[one])}, {other} {spread(values[other])}"
    return Finding(claim, published, measured, verdict(ahead(values[one], values[other])), note)


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
