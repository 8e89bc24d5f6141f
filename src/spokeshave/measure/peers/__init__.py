"""What people run networks with today, on the same sample and as many threads."""

from spokeshave.measure.peers.dense import FLOAT32_PEERS, PEERS, Maker, dense_peers
from spokeshave.measure.peers.peer import (
    TOLERANCES,
    Absent,
    Peer,
    PeerError,
    Precision,
    Run,
    Task,
    relative_error,
)
from spokeshave.measure.peers.worker import PeerLateError, WorkerRun

__all__ = [
    "FLOAT32_PEERS",
    "PEERS",
    "TOLERANCES",
    "Absent",
    "Maker",
    "Peer",
    "PeerError",
    "PeerLateError",
    "Precision",
    "Run",
    "Task",
    "WorkerRun",
    "dense_peers",
    "relative_error",
]
