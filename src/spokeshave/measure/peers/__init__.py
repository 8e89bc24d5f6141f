"""What people run networks with today, on the same sample and as many threads."""

from spokeshave.measure.peers.dense import PEERS, dense_peers
from spokeshave.measure.peers.peer import TOLERANCE, Absent, Peer, relative_error

__all__ = ["PEERS", "TOLERANCE", "Absent", "Peer", "dense_peers", "relative_error"]
