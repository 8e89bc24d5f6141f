"""One network or chain of layers beside its peers: who takes part in a heat, and what is recorded of it."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.catalogue import Case, make
from bench.contest import (
    Contender,
    contender_records,
    contest,
    load_now,
    own_contender,
    peer_contenders,
    standings,
)
from bench.own import Makes, Own, deployments, kept_share, plan_for, pruned
from bench.records import provenance, read
from bench.workers import DENSE, SPARSE
from spokeshave.measure import Absent, Clock, dense_peers
from spokeshave.workload import Workload, trace

HEATS: dict[str, tuple[float, ...]] = {
    "peers": (1.0, 10.0),
    "compressions": (1.0, 2.0, 4.0, 8.0, 10.0, 16.0),
}
"""Two heats, each one interleaved run, and our compressions in it: beside every peer that there is; then ours at every
compression beside those peers that came close to the fastest."""

CLOSE = 1.2
"""A peer takes part in the second heat when it was at most so many times slower than the fastest of its class."""

UNSTRUCTURED_COMPRESSION = 10.0
"""Compression of the network, pruned without structure, that peers with sparse code run."""


@dataclass(frozen=True)
class Unstructured:
    """The network pruned without structure, for contenders that make use of zeros; `own` makes ours of it."""

    network: nn.Module
    inputs: tuple[Tensor, ...]
    workload: Workload
    kept: float
    own: Callable[[], Own]


Extra = Callable[[Unstructured, int], list[Contender]]
"""Further contenders on the unstructured network, for a number of threads."""


def trial(
    case: Case, heat: str, threads: int, arguments: argparse.Namespace, extra: Extra | None = None
) -> dict[str, Any] | None:
    """The record of one heat; with `arguments.prepare` everything is made and kept for later, and nothing timed."""
    network, sample = make(case)
    name, inputs = in_batches(case.name, arguments.batch), batch_of(sample, arguments.batch)
    tell(f"{name}, {heat}, {threads} threads: our deployments")
    folder = arguments.conversions / f"{case.name}-{_digest(network, sample)}"
    makes = Makes(case, network, sample, folder / "own", arguments.tune)
    ours, impossible = deployments(makes, arguments.compression or HEATS[heat], arguments.precision)
    workload = trace(network, sample)
    names = arguments.peer or (
        list(DENSE) if heat == "peers" else close_peers(arguments.output, name, threads)
    )
    found, absent = _peers(network, inputs, threads, names, folder / f"dense-{arguments.batch}")
    contenders = [*(own_contender(own, inputs, threads) for own in ours), *peer_contenders(found)]
    if heat == "peers" and arguments.batch == 1:
        more, missing = _sparse(
            makes, workload, threads, None if arguments.peer else folder / "sparse", extra
        )
        contenders, absent = contenders + more, absent + missing
    if arguments.prepare:
        return None
    about = {"network": name, "heat": heat, "about": case.about, "rows_sharing_columns": case.rows}
    return {
        **about,
        "tuned": arguments.tune,
        **_timed(contenders, threads, arguments, workload),
        "absent": [vars(one) for one in (*impossible, *absent)],
        "build_seconds": {f"{own.precision} {own.compression:g}x": own.build_seconds for own in ours},
    }


def in_batches(name: str, batch: int) -> str:
    """What a network is called that is given so many samples at a time."""
    return name if batch == 1 else f"{name}, batch of {batch}"


def batch_of(sample: tuple[Tensor, ...], batch: int) -> tuple[Tensor, ...]:
    """Different samples: one of them, its last axis turned."""
    return tuple(torch.cat([tensor.roll(turn, -1) for turn in range(batch)]) for tensor in sample)


def close_peers(results: Path, network: str, threads: int) -> list[str]:
    """Peers that were `CLOSE` to the fastest, in float32 or of all precisions, in the first heat of as many threads.

    Where there was none, in that of another number of threads; and every peer where the network has not been timed.
    """
    runs = [run for run in read(results)["runs"] if (run["network"], run["heat"]) == (network, "peers")]
    if not runs:
        return list(DENSE)
    run = min(runs, key=lambda run: abs(run["threads"] - threads))
    dense = [one for one in run["contenders"] if not one["own"] and one["compression"] == 1]
    single = [one for one in dense if one["precision"] == "fp32"]
    close = {one["label"] for group in (dense, single) for one in _close(group)}
    return [name for name, maker in DENSE.items() if f"{maker.label} {maker.precision}" in close]


def _close(contenders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    least = min((one["milliseconds"] for one in contenders), default=0.0)
    return [one for one in contenders if one["milliseconds"] <= CLOSE * least]


def _timed(
    contenders: Sequence[Contender], threads: int, arguments: argparse.Namespace, workload: Workload
) -> dict[str, Any]:
    tell(f"  {len(contenders)} contenders, {arguments.rounds} rounds")
    origin = provenance(threads)
    clock: Clock = arguments.clock if threads == 1 else "wall"
    run = contest(contenders, threads, arguments.rounds, clock, arguments.seconds)
    multiply_adds = arguments.batch * sum(layer.multiply_adds for layer in workload.layers)
    return {
        "rounds": run.timings[0].rounds,
        "clock": clock,
        **origin,
        "load_average_after": load_now(),
        "multiply_adds": multiply_adds,
        "rows": standings(run, contenders),
        "contenders": contender_records(run, contenders, multiply_adds),
    }


def _peers(
    network: nn.Module, inputs: tuple[Tensor, ...], threads: int, names: list[str], folder: Path
) -> Any:
    def ready(done: int, total: int, what: str) -> None:
        tell(f"  {done} of {total}: {what}")

    return dense_peers(network, inputs, threads, names, ready, DENSE, folder, batched=True)


def _sparse(
    makes: Makes, workload: Workload, threads: int, folder: Path | None, extra: Extra | None
) -> tuple[list[Contender], list[Absent]]:
    """Those that make use of zeros, on the network pruned without structure; peers only where there is a `folder`."""
    if folder is None and extra is None:
        return [], []
    plan = plan_for(makes.network, UNSTRUCTURED_COMPRESSION, makes.case, unstructured=True)
    network = pruned(makes.network, plan)
    share = kept_share(network)
    own = lambda: makes.one(UNSTRUCTURED_COMPRESSION, "fp32", unstructured=True)  # noqa: E731
    contenders = extra(Unstructured(network, makes.inputs, workload, share, own), threads) if extra else []
    if folder is None:
        return contenders, []
    found, absent = dense_peers(network, makes.inputs, threads, list(SPARSE), None, SPARSE, folder)
    return contenders + peer_contenders(found, UNSTRUCTURED_COMPRESSION, share), absent


def _digest(network: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """Tells apart weights and samples, so that a conversion is never taken for another network's."""
    digest = sha256()
    for tensor in (*network.state_dict().values(), *inputs):
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()[:12]


def tell(what: str) -> None:
    """Say on standard error how far the work is."""
    print(what, file=sys.stderr, flush=True)
