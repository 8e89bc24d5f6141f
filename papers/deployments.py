"""Networks that a check makes, compiled and judged once, and kept in `runs/papers` with their figures.

What takes long is done once: a second run of a script finds its networks and deployments there and only times them.
A folder's name holds a digest of everything that decides what is in it, except the code: after a change of that, remove
`runs/papers`; after one of the compiler alone its folders: trained networks are files beside them, compiled anew then.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from papers.trials import RUNS
from spokeshave.atomic import write_atomically
from spokeshave.compiler import NativeDeployment, load_deployment
from spokeshave.compiler.integers import IntegerDeployment
from spokeshave.measure import interleave, limited_threads


@dataclass(frozen=True)
class Trial:
    """A compiled network and what was found of it."""

    record: dict[str, Any]
    folder: Path

    @property
    def figures(self) -> dict[str, Any]:
        """The record without what was said of single samples."""
        return {key: value for key, value in self.record.items() if key != "right"}

    @property
    def deployment(self) -> NativeDeployment:
        """The network as it was compiled and judged."""
        return load_deployment(self.folder)


@dataclass(frozen=True)
class Store:
    """A folder of trials and checkpoints."""

    folder: Path

    def trial(
        self,
        name: str,
        settings: Any,
        make: Callable[[], tuple[dict[str, Any], NativeDeployment | IntegerDeployment]],
    ) -> Trial:
        """The trial of that name and settings, made unless it is there."""
        folder = self._path(name, settings)
        record = folder / "record.json"
        if not record.exists():
            found, deployment = make()
            shutil.rmtree(folder, ignore_errors=True)
            deployment.save(folder)
            write_atomically(record, json.dumps(found))
            print(f"{name}: {Trial(found, folder).figures}", flush=True)
        return Trial(json.loads(record.read_text()), folder)

    def checkpoint(
        self, name: str, settings: Any, network: nn.Module, train: Callable[[nn.Module], None]
    ) -> nn.Module:
        """The network with its trained weights, trained unless they are there."""
        folder = self._path(name, settings)
        path = folder.with_name(f"{folder.name}.safetensors")  # a name may have a dot
        if path.exists():
            network.load_state_dict(load_file(path))
            return network.eval()
        train(network)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(network.state_dict(), path)
        return network.eval()

    def _path(self, name: str, settings: Any) -> Path:
        digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
        return self.folder / f"{name}-{digest}"


def first_seed(trials: Sequence[Trial], *example: Tensor) -> dict[str, Callable[[], Any]]:
    """The deployments of the first seed by scheme, ready to be timed on an example."""
    first = trials[0].record["seed"]
    return {
        one.record["scheme"]: partial(one.deployment, *example)
        for one in trials
        if one.record["seed"] == first
    }


def with_times(trials: Sequence[Trial], example: Sequence[Tensor], rounds: int) -> list[dict[str, Any]]:
    """The figures of each trial, single answers left out, and its time on an example beside all others."""
    calls = {str(place): partial(one.deployment, *example) for place, one in enumerate(trials)}
    times = timed(calls, rounds)
    return [one.figures | times[str(place)] for place, one in enumerate(trials)]


def discard(trials: Sequence[Trial]) -> None:
    """Remove deployments, which take much room and are quickly made again: the trained networks stay."""
    for one in trials:
        shutil.rmtree(one.folder, ignore_errors=True)


@contextmanager
def store(quick: bool) -> Iterator[Store]:
    """`runs/papers`; for a quick run a folder that is gone afterwards."""
    if not quick:
        yield Store(RUNS)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Store(Path(folder))


def timed(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Milliseconds of a call, median and quartiles, of everything side by side in one interleaved run, one thread.

    They are of processor time, which leaves out what other programs of the machine took.
    """
    with limited_threads(1), torch.inference_mode():
        run = interleave(calls, rounds, clock="processor")
    found = {}
    for timing in run.timings:
        values = (timing.median_seconds, timing.lower_quartile, timing.upper_quartile)
        keys = ("milliseconds", "lower_quartile", "upper_quartile")
        found[timing.name] = {key: round(value * 1e3, 6) for key, value in zip(keys, values, strict=True)}
    return found
