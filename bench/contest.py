"""Contenders of any kind in one interleaved run, and the run as a record."""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from bench.own import OWN_NAME, Own
from spokeshave import __version__
from spokeshave.measure import Clock, InterleavedRun, Peer, interleave, limited_threads

REST_SECONDS = 0.03
"""Rest before a slot with two threads: idle workers of the runtime before spin for a while."""


@dataclass(frozen=True)
class Contender:
    """Anything that runs the network; `compression` is 1 for a dense one, `kept` the share of weights it has."""

    name: str
    own: bool
    precision: str
    compression: float
    version: str
    run: Callable[[], Any]
    error: float
    kept: float = 1.0
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Its name among the others of the run."""
        pruning = f" {self.compression:g}x" if self.compression > 1 else ""
        return f"{self.name} {self.precision}{pruning}"


def own_contender(own: Own, inputs: tuple[Tensor, ...], threads: int, name: str = OWN_NAME) -> Contender:
    """One of our deployments, told to use `threads` threads."""
    own.deployment.threads = threads
    fallen = tuple(f"{stage.target} through PyTorch" for stage in own.deployment.fallen_out)
    run = partial(own.deployment, *inputs)
    return Contender(
        name, True, own.precision, own.compression, __version__, run, own.error, own.kept, fallen
    )


def peer_contenders(peers: Iterable[Peer], compression: float = 1.0, kept: float = 1.0) -> list[Contender]:
    """Peers, of which those that make use of zeros run a pruned network."""
    return [
        Contender(peer.name, False, peer.precision, compression, peer.version, peer.run, peer.error, kept)
        for peer in peers
    ]


def contest(
    contenders: Sequence[Contender],
    threads: int,
    rounds: int,
    clock: Clock = "wall",
    most_seconds: float = math.inf,
) -> InterleavedRun:
    """Time them all in one interleaved run; labels must differ."""
    with limited_threads(threads):
        return interleave(
            {contender.label: contender.run for contender in contenders},
            rounds=rounds,
            rest_seconds=REST_SECONDS if threads > 1 else 0.0,
            clock=clock,
            most_seconds=most_seconds,
        )


def contender_records(
    run: InterleavedRun, contenders: Sequence[Contender], multiply_adds: float = 0.0
) -> list[dict[str, Any]]:
    """Every contender with its quartiles, the fastest first."""
    by_label = {contender.label: contender for contender in contenders}
    return [_record(run, by_label[timing.name], multiply_adds) for timing in run.timings]


def _record(run: InterleavedRun, contender: Contender, multiply_adds: float) -> dict[str, Any]:
    timing = run.timing(contender.label)
    return {
        "label": contender.label,
        "name": contender.name,
        "own": contender.own,
        "precision": contender.precision,
        "compression": contender.compression,
        "kept_share": round(contender.kept, 5),
        "version": contender.version,
        "milliseconds": timing.median_seconds * 1e3,
        "lower_quartile": timing.lower_quartile * 1e3,
        "upper_quartile": timing.upper_quartile * 1e3,
        "effective_gflops": 2 * multiply_adds / timing.median_seconds / 1e9,
        "max_relative_error": contender.error,
        "notes": list(contender.notes),
    }


def standings(run: InterleavedRun, contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """For each compression our time beside the best dense peer's: within float32, and the best of any precision.

    The speed-up is the median of the ratios within each round, with its quartiles. Contenders of ours by another
    name than `OWN_NAME` have no standing: they run other weights.
    """
    rows = []
    for precision in ("fp32", "best"):
        suitable = [one for one in contenders if precision in ("best", one.precision)]
        peers = [one.label for one in suitable if not one.own and one.compression == 1]
        own = [one for one in suitable if one.name == OWN_NAME]
        for compression in sorted({one.compression for one in own}):
            ours = [one.label for one in own if one.compression == compression]
            if peers:
                rows.append(_standing(run, precision, compression, run.fastest(ours), run.fastest(peers)))
    return rows


def _standing(
    run: InterleavedRun, precision: str, compression: float, ours: str, peer: str
) -> dict[str, Any]:
    own, best, ratio = run.timing(ours), run.timing(peer), run.ratio(peer, ours)
    return {
        "precision": precision,
        "compression": compression,
        "ours": ours,
        "milliseconds": own.median_seconds * 1e3,
        "lower_quartile": own.lower_quartile * 1e3,
        "upper_quartile": own.upper_quartile * 1e3,
        "speedup_over_best_dense_same_class": ratio.median,
        "speedup_lower_quartile": ratio.lower_quartile,
        "speedup_upper_quartile": ratio.upper_quartile,
        "best_peer": peer,
        "best_peer_milliseconds": best.median_seconds * 1e3,
    }


def load_now() -> float:
    """Processes that wanted to run in the last minute."""
    return os.getloadavg()[0]
