"""One network or chain of layers beside every peer: who takes part, and what is recorded."""

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

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
from bench.own import Own, deployments, kept_share, plan_for, pruned
from bench.records import provenance
from bench.workers import DENSE, SPARSE
from spokeshave.measure import Absent, dense_peers
from spokeshave.workload import Workload, trace

UNSTRUCTURED_COMPRESSION = 10.0
"""Compression of the network, pruned without structure, that peers with sparse code run."""


@dataclass(frozen=True)
class Unstructured:
    """The network pruned without structure, for contenders that make use of zeros."""

    network: nn.Module
    inputs: tuple[Tensor, ...]
    workload: Workload
    kept: float


Extra = Callable[[Unstructured, int], list[Contender]]
"""Further contenders on the unstructured network, for a number of threads."""


def trial(case: Case, arguments: argparse.Namespace, extra: Extra | None = None) -> list[dict[str, Any]]:
    """One record for each number of threads; our deployments and the peers' converted networks serve all."""
    network, inputs = make(case)
    tell(f"{case.name}: our deployments")
    ours, impossible = deployments(
        case, network, inputs, arguments.compression, arguments.precision, arguments.tune
    )
    folder = arguments.conversions / f"{case.name}-{_digest(network, inputs)}"
    workload = trace(network, inputs)
    sparse = pruned(network, plan_for(network, UNSTRUCTURED_COMPRESSION, case, unstructured=True))
    unstructured = Unstructured(sparse, inputs, workload, kept_share(sparse))
    records = []
    for threads in arguments.threads:
        peers, absent = _peers(network, unstructured, threads, folder, arguments.peer)
        contenders = [own_contender(own, inputs, threads) for own in ours] + peers
        contenders += extra(unstructured, threads) if extra else []
        record = _timed(contenders, threads, arguments, workload)
        about = {
            "network": case.name,
            "about": case.about,
            "rows_sharing_columns": case.rows,
            "tuned": arguments.tune,
        }
        records.append(
            {**about, **record, "absent": [vars(one) for one in (*impossible, *absent)], **_builds(ours)}
        )
        del peers, contenders
        gc.collect()
    return records


def _timed(
    contenders: Sequence[Contender], threads: int, arguments: argparse.Namespace, workload: Workload
) -> dict[str, Any]:
    tell(f"  {len(contenders)} contenders, {threads} threads, {arguments.rounds} rounds")
    origin = provenance(threads)
    clock = arguments.clock if threads == 1 else "wall"
    run = contest(contenders, threads, arguments.rounds, clock)
    multiply_adds = sum(layer.multiply_adds for layer in workload.layers)
    return {
        "rounds": arguments.rounds,
        "clock": clock,
        **origin,
        "load_average_after": load_now(),
        "multiply_adds": multiply_adds,
        "rows": standings(run, contenders),
        "contenders": contender_records(run, contenders, multiply_adds),
    }


def _builds(ours: list[Own]) -> dict[str, Any]:
    return {"build_seconds": {f"{own.precision} {own.compression:g}x": own.build_seconds for own in ours}}


def _peers(
    network: nn.Module, sparse: Unstructured, threads: int, folder: Path, only: list[str] | None
) -> tuple[list[Contender], list[Absent]]:
    """Peers on the dense network, and those that make use of zeros on the one that was pruned without structure."""

    def ready(done: int, total: int, what: str) -> None:
        tell(f"  {done} of {total}: {what}")

    names = only or list(DENSE)
    dense, absent = dense_peers(network, sparse.inputs, threads, names, ready, DENSE, folder / "dense")
    contenders = peer_contenders(dense)
    if only is None:
        place = folder / "sparse"
        found, missing = dense_peers(
            sparse.network, sparse.inputs, threads, list(SPARSE), ready, SPARSE, place
        )
        contenders += peer_contenders(found, UNSTRUCTURED_COMPRESSION, sparse.kept)
        absent += missing
    return contenders, absent


def _digest(network: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """Tells apart weights and samples, so that a conversion is never taken for another network's."""
    digest = sha256()
    for tensor in (*network.state_dict().values(), *inputs):
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()[:12]


def tell(what: str) -> None:
    """Say on standard error how far the work is."""
    print(what, file=sys.stderr, flush=True)
