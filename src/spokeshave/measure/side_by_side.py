"""A deployment beside the dense network on everything people run networks with, in one interleaved run."""

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.export import ExportedProgram

from spokeshave.batch import first_sample
from spokeshave.deployment import Deployment
from spokeshave.errors import SpokeshaveError
from spokeshave.measure.interleave import InterleavedRun, Progress, Ratio, Timing, interleave
from spokeshave.measure.machine import Machine, describe_machine
from spokeshave.measure.peers import FLOAT32_PEERS, Absent, Peer, dense_peers
from spokeshave.processor import limited_threads

OWN_NAME = "spokeshave"
REST_SECONDS = 0.03


@dataclass(frozen=True)
class Row:
    """One contender of a comparison; times are seconds of one sample.

    `speedup` says how many times faster the deployment is than this contender (1 for the deployment itself):
    the median of the ratios within each round, with its quartiles.
    """

    name: str
    own: bool
    precision: str
    version: str
    median_seconds: float
    lower_quartile: float
    upper_quartile: float
    rounds: int
    calls: int
    speedup: float
    speedup_lower_quartile: float
    speedup_upper_quartile: float


@dataclass(frozen=True)
class Comparison:
    """One side-by-side run, the fastest contender first.

    `speedup` is that over `best_dense_peer`, the fastest float32 peer of the same run, or the fastest of any precision
    where none computes in float32.
    """

    table: tuple[Row, ...]
    best_dense_peer: str
    speedup: Ratio
    absent: tuple[Absent, ...]
    threads: int
    machine: Machine

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain dictionaries, lists and numbers, ready for JSON."""
        return asdict(self)


def side_by_side(
    deployment: Deployment,
    network: nn.Module | ExportedProgram,
    example: Tensor | tuple[Tensor, ...],
    threads: int = 1,
    rounds: int = 15,
    peers: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Time a deployment beside the dense `network` on the peers, all on the first sample of `example`.

    `peers` names some of `spokeshave.measure.peers.PEERS`; those of float32 that are installed take part
    otherwise, on `threads` threads; a native deployment has its own property of that name. Raises
    SpokeshaveError when no peer can run the network.
    """
    inputs = first_sample(network, example)
    names = FLOAT32_PEERS if peers is None else tuple(peers)
    steps = (len(names), rounds)
    present, absent = dense_peers(
        network, inputs, threads, names, _part(progress, 0, sum(steps)), batched=True
    )
    if not present:
        reasons = "; ".join(f"{entry.name}: {entry.reason}" for entry in absent)
        raise SpokeshaveError(f"no peer can run the network, so there is nothing to compare with ({reasons})")
    contenders: dict[str, Callable[[], Any]] = {OWN_NAME: partial(deployment, *inputs)}
    contenders |= {peer.label: peer.run for peer in present}
    with limited_threads(threads):
        rest = REST_SECONDS if threads > 1 else 0.0
        run = interleave(
            contenders, rounds=rounds, rest_seconds=rest, progress=_part(progress, steps[0], sum(steps))
        )
    return _comparison(run, present, absent, threads)


def _part(progress: Progress | None, before: int, total: int) -> Progress | None:
    """One part of a longer work, of which `before` steps are done."""
    return progress and (lambda done, _, what: progress(before + done, total, what))


def _comparison(run: InterleavedRun, present: list[Peer], absent: list[Absent], threads: int) -> Comparison:
    machine = describe_machine(threads)
    by_label = {peer.label: peer for peer in present}
    in_float32 = [peer.label for peer in present if peer.precision == "fp32"]
    best = run.fastest(in_float32 or by_label)
    by_label[OWN_NAME] = Peer(OWN_NAME, "fp32", machine.versions.get("spokeshave", ""), lambda: None, 0.0)
    return Comparison(
        table=tuple(_row(run, timing, by_label[timing.name]) for timing in run.timings),
        best_dense_peer=by_label[best].name,
        speedup=run.ratio(best, OWN_NAME),
        absent=tuple(absent),
        threads=threads,
        machine=machine,
    )


def _row(run: InterleavedRun, timing: Timing, peer: Peer) -> Row:
    speedup = run.ratio(timing.name, OWN_NAME)
    return Row(
        name=peer.name,
        own=peer.name == OWN_NAME,
        precision=peer.precision,
        version=peer.version,
        median_seconds=timing.median_seconds,
        lower_quartile=timing.lower_quartile,
        upper_quartile=timing.upper_quartile,
        rounds=timing.rounds,
        calls=timing.calls,
        speedup=speedup.median,
        speedup_lower_quartile=speedup.lower_quartile,
        speedup_upper_quartile=speedup.upper_quartile,
    )
